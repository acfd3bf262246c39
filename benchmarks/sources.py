"""Sources: the multimodal paper's sampler against the default, and weights from innovations against a grid.

    skyweave train experiments/configs/merra2_tqv.yaml
    python benchmarks/sources.py constants [--prior PRIOR] [--markdown docs/results/sources.md]
    python benchmarks/sources.py weights [--prior PRIOR] [--markdown docs/results/sources.md]

Cases are of times after the prior's validation period. `constants` (Table 1 of the paper): fields seen through bicubic
downsampling without noise, for every pair of Sigma_y and Gamma; the default is given the same stated errors. `weights`
(Table 2): two sources, the error of one misstated; the weight of that source over a grid, and from innovations.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from bench import data_folder, emit

import skyweave
from skyweave.evaluate import DIVERGED, score_fields, tune
from skyweave.evaluate.tuning import deviations
from skyweave.grid import Grid
from skyweave.io import open_fields
from skyweave.observe.footprint import footprint
from skyweave.observe.simulate import cloud_mask, sample_points
from skyweave.prior.storage import LearntPrior
from skyweave.reconstruction.diagnose import diagnose_sources
from skyweave.reconstruction.settings import Settings
from skyweave.regrid import coarsen
from skyweave.sources.estimates import ESTIMATORS
from skyweave.verify import coverage, crps, rmse, spread_skill_ratio, table

SIGMA_Y, GAMMA = (5e-1, 1e-1, 5e-2, 1e-2), (1e-2, 5e-3, 1e-3)
TABLE_1 = ((1e-1, 1e-2), (1e-1, 1e-3), (1e-1, 5e-3), (5e-1, 1e-3), (5e-1, 5e-3), (5e-2, 5e-3))
"""The pairs of the paper."""
LAMBDAS = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
ERRORS = {"satellite": 0.1, "stations": 0.05}
"""True errors of the two sources, climatological standard deviations."""


def record_of(prior: LearntPrior, path: str | None) -> xr.Dataset:
    """The fields after the prior's validation period, from the file that it was trained on or another."""
    where = path or next(data_folder().glob(f"*/{prior.metadata['files'][0]}"))
    record = open_fields(str(where), list(prior.spec.names))
    return record.sel(time=record.time > np.datetime64(prior.metadata["validation_range"][1]))


def patch_of(
    record: xr.Dataset, size: Sequence[int], times: Sequence[int], rng: np.random.Generator
) -> xr.Dataset:
    """A random part of the domain at some times."""
    grid = Grid.from_dataset(record)
    lat, lon = grid.dims_in(record)
    i, j = (int(rng.integers(0, n - k + 1)) for n, k in zip(grid.shape, size, strict=True))
    place = {lat: slice(i, i + size[0]), lon: slice(j, j + size[1])}
    return record.isel({"time": list(times), **place}).load()


def downsampled(truth: xr.Dataset, name: str, factor: int) -> xr.DataArray:
    """One variable on a coarser grid, by bicubic interpolation, without noise."""
    grid = Grid.from_dataset(truth)
    few, (lat, lon) = coarsen(grid, factor), grid.dims_in(truth)
    matrix = footprint(few, grid, "bicubic", name).matrix
    values = np.stack([(matrix @ field.ravel()).reshape(few.shape) for field in truth[name].values])
    coords = {
        "time": truth.time,
        lat: (lat, few.lat, truth[lat].attrs),
        lon: (lon, few.lon, truth[lon].attrs),
    }
    return xr.DataArray(values, coords, ("time", lat, lon), name=name, attrs=truth[name].attrs)


def constants(prior: LearntPrior, record: xr.Dataset, args: argparse.Namespace) -> None:
    """The paper's sampler over its constants, and the default under the same stated errors."""
    deviation, cases = deviations(prior), []
    for k in range(args.cases):
        rng = np.random.default_rng(1000 + k)
        truth = patch_of(record, prior.patch, [int(rng.integers(0, record.sizes["time"]))], rng)
        cases.append((truth, [downsampled(truth, name, args.factor) for name in deviation]))
    pairs = TABLE_1 if args.paper_only else [(s, g) for s in SIGMA_Y for g in GAMMA]
    rows = []
    for sigma_y, gamma in pairs:
        constants = {"sigma_y": sigma_y, "gamma": gamma}
        for label, more in (("paper", {}), ("paper, clip 1", {"clip": 1.0})):
            settings = {"method": "multimodal", "options": {**constants, **more}}
            own = {"sampler": label, "Sigma_y": f"{sigma_y:g}", "Gamma": f"{gamma:g}"}
            rows.append(own | scored(prior, cases, sigma_y, settings, args.members))
            print(rows[-1], flush=True)
    for sigma_y in (*dict.fromkeys(s for s, _ in pairs), 1e-4):
        own = {"sampler": "default", "Sigma_y": f"{sigma_y:g}", "Gamma": "any"}
        rows.append(own | scored(prior, cases, sigma_y, {}, args.members))
        print(rows[-1], flush=True)
    first = prior.spec.variables[0]
    note = (
        f"{len(cases)} cases of {prior.patch[0]} x {prior.patch[1]} cells seen at 1/{args.factor} resolution, "
        f"{args.members} members. RMSE of {first.name} in {first.units}; the rest over {len(deviation)} variable(s), "
        "CRPS in climatological standard deviations. Diverged: members with a value that is not finite, or an RMSE of "
        f"more than {DIVERGED:g} standard deviations in any variable. Seconds for a member."
    )
    emit(f"{prior_name(args)}: Sigma_y and Gamma", f"{note}\n\n{table(rows)}", args.markdown)


def scored(
    prior: LearntPrior, cases: Sequence[Any], sigma_y: float, settings: dict[str, Any], members: int
) -> dict[str, Any]:
    """Scores over all cases under one stated error."""
    deviation, parts, truths = deviations(prior), [], []
    began = time.perf_counter()
    for truth, fields in cases:
        given = [
            skyweave.GridObservation(
                field, math.sqrt(sigma_y) * deviation[str(field.name)], operator="bicubic", name="LR"
            )
            for field in fields
        ]
        out = skyweave.reconstruct(
            prior, given, like=truth, members=members, progress=False, quantiles=(), **settings
        )
        parts.append(np.stack([out[n].values / s for n, s in deviation.items()], 2))
        truths.append(np.stack([truth[n].values / s for n, s in deviation.items()], 1))
    seconds = time.perf_counter() - began
    x, y = torch.from_numpy(np.concatenate(parts, 1)), torch.from_numpy(np.concatenate(truths))
    each = ((x.double() - y) ** 2).mean((-2, -1)).sqrt()  # (member, case, variable)
    bad = ~(each < DIVERGED).all(-1)
    scale = next(iter(deviation.values()))
    return {
        "RMSE": scale * float(rmse(x[:, :, 0].double().mean(0), y[:, 0])),
        "CRPS": float(crps(x, y)),
        "SSR": float(spread_skill_ratio(x, y)),
        "coverage90": float(coverage(x, y, 0.9)),
        "diverged": f"{100 * float(bad.double().mean()):.0f} %",
        "evaluations": Settings(**settings).drawn.evaluations(),
        "seconds": seconds / (members * len(cases)),
    }


def two_sources(
    prior: LearntPrior, truth: xr.Dataset, misstated: str, factor: float, rng: np.random.Generator
) -> list[Any]:
    """A satellite with gaps and a network of stations, the stated error of one wrong by a factor."""
    grid, deviation, out = Grid.from_dataset(truth), deviations(prior), []
    stated = {name: error * (factor if name == misstated else 1.0) for name, error in ERRORS.items()}
    lat, lon = (rng.uniform(axis.min(), axis.max(), 60) for axis in (grid.lat, grid.lon))
    tables = []
    for name, scale in deviation.items():
        field = truth[name]
        seen = np.stack([cloud_mask(grid, 0.6, rng) for _ in field])
        noisy = field + ERRORS["satellite"] * scale * rng.standard_normal(field.shape)
        own = noisy.where(seen).assign_attrs(field.attrs)
        out.append(
            skyweave.GridObservation(own, stated["satellite"] * scale, operator="mask", name="satellite")
        )
        for k, stamp in enumerate(truth.time.values):
            values = sample_points(field.isel(time=k), lat, lon)
            values = values + ERRORS["stations"] * scale * rng.standard_normal(len(lat))
            rows = {"time": stamp, "lat": lat, "lon": lon, "variable": name, "value": values}
            tables.append(pd.DataFrame({**rows, "error": stated["stations"] * scale}))
    return [*out, skyweave.PointObservation(pd.concat(tables), name="stations")]


def weights(prior: LearntPrior, record: xr.Dataset, args: argparse.Namespace) -> None:
    """A grid of weights of a misstated source against weights from innovations."""
    size = [min(32, n) for n in Grid.from_dataset(record).shape]
    times = np.linspace(0, record.sizes["time"] - 1, args.times).astype(int).tolist()
    truth = patch_of(record, size, times, np.random.default_rng(args.seed))
    deviation = deviations(prior)
    how = {"like": truth, "members": args.members, "quantiles": ()}
    rows = []
    for misstated in ERRORS:
        for factor in (0.5, 2.0):
            given = two_sources(prior, truth, misstated, factor, np.random.default_rng(args.seed))
            grid = {f"observations.{misstated}.weight": list(LAMBDAS)}
            found = tune(prior, given, truth, grid, progress=False, **how)
            scores = [result.card.overall["crps"] for result in found]
            least = int(np.argmin(scores))
            row: dict[str, Any] = {
                "misstated": misstated,
                "factor": f"{factor:g}",
                "CRPS stated": scores[LAMBDAS.index(1.0)],
            }
            row |= {"best lambda": f"{LAMBDAS[least]:g}", "CRPS best": scores[least]}
            row["right lambda"] = f"{factor**2:g}"
            print(row, [round(s, 4) for s in scores], flush=True)
            for method in ESTIMATORS:
                options = {"innovations": {"method": method, "times": args.times}}
                estimate = diagnose_sources(prior, given, **how, **options)
                lambdas = [
                    estimate.weight(g)
                    for g, group in enumerate(estimate.groups)
                    if group.name.startswith(misstated)
                ]
                fields = skyweave.reconstruct(
                    prior, given, progress=False, weights="innovations", **how, **options
                )
                score = score_fields(fields, truth, deviation).overall["crps"]
                row[f"lambda, {method}"] = f"{np.exp(np.mean(np.log(lambdas))):.3g}"
                row[f"CRPS / best, {method}"] = f"{score / scores[least]:.3f}"
            rows.append(row)
            print(rows[-1], flush=True)
    note = (
        f"{size[0]} x {size[1]} cells at {args.times} times, {args.members} members. A satellite that sees 40 % of the "
        f"cells with an error of {ERRORS['satellite']:g} climatological standard deviations, 60 stations with "
        f"{ERRORS['stations']:g}; the stated error of one is the true one times the factor, so that lambda = factor^2 "
        f"mends it. Grid of lambda: {', '.join(f'{v:g}' for v in LAMBDAS)}. Innovations reweigh both sources. CRPS in "
        "climatological standard deviations."
    )
    emit(f"{prior_name(args)}: weights of two sources", f"{note}\n\n{table(rows)}", args.markdown)


def prior_name(args: argparse.Namespace) -> str:
    return Path(args.prior).parent.name


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["constants", "weights"])
    parser.add_argument("--prior", default="runs/merra2_tqv/prior.safetensors")
    parser.add_argument("--data", help="record of the prior's variables, other than that it was trained on")
    parser.add_argument("--cases", type=int, default=6)
    parser.add_argument("--factor", type=int, default=4, help="of the resolution, in `constants`")
    parser.add_argument("--paper-only", action="store_true", help="the six pairs of the paper's Table 1")
    parser.add_argument("--times", type=int, default=4, help="in `weights`")
    parser.add_argument("--members", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    prior = skyweave.open_prior(args.prior)
    record = record_of(prior, args.data)
    (constants if args.what == "constants" else weights)(prior, record, args)


if __name__ == "__main__":
    main()
