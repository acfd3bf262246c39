"""Reconstruction of real fields: every guidance method against optimal interpolation and interpolation.

    skyweave train experiments/configs/merra2_tqv.yaml
    python benchmarks/merra2.py [--cases 12] [--members 24] [--markdown docs/results/merra2.md]

MERRA-2 total precipitable water, 32 x 32 patches of days 21-24, unseen by the prior (trained on days 1-17, calibrated
on 18-20). Observed: 60 % missing in cloud-like gaps, 4 x 4 block means, 20 stations between the cells, all three;
errors of 5 % of the climatological standard deviation. All scores over all cells of all cases, in kg m-2.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from bench import data_folder, emit

from skyweave.baselines import BASELINES
from skyweave.baselines.climatology import Climatology
from skyweave.diffusion.noise import NoiseStream
from skyweave.grid import Grid
from skyweave.io import open_fields
from skyweave.observe.assemble import SegmentObservations, assemble
from skyweave.observe.observation import GridObservation, PointObservation
from skyweave.observe.simulate import cloud_mask, sample_points
from skyweave.posterior.background import Background, bind
from skyweave.posterior.problem import Problem
from skyweave.posterior.sample import Method, sample_posterior
from skyweave.prior.storage import LearntPrior, open_prior
from skyweave.regrid import block_mean, coarsen
from skyweave.verify import scorecard, table

FILE = "merra2-tqv-tropics-2014-06/merra2_tqv_tropics_3hourly_201406_d01-24.nc"
KINDS = ("60 % missing", "4 x 4 means", "20 stations", "all three")
SIZE = 32

METHODS: dict[str, Method] = {
    "covariance, SDE-DPM++(2M) 16": Method(),
    "covariance, DPM++(2M) 16": Method(sampler="dpm++2m"),
    "covariance, SDE-DPM++(2M) 8": Method(steps=8),
    "covariance, SDE-DPM++(2M) 32": Method(steps=32),
    "covariance, ancestral 32": Method(sampler="ancestral", steps=32),
    "covariance, Heun 31": Method(sampler="heun", steps=32, start="noise", sigma_max=80, rho=7),
    "MMPS 5 iterations, DPM++(2M) 32": Method(
        "mmps", "dpm++2m", 32, "noise", sigma_max=80, guidance_options={"iterations": 5}
    ),
    "SDA, derived Gamma, DPM++(2M) 32": Method("sda", "dpm++2m", 32, "noise", sigma_max=80),
    "SDA, Gamma 0.03, Heun 63": Method("sda", "heun", 64, "noise", 80, 0.01, 7, {"gamma": 0.03}),
    "PiGDM, SDE-DPM++(2M) 32": Method("pigdm", "dpm++2m-sde", 32, "noise", sigma_max=80),
    "DPS, ancestral 64": Method("dps", "ancestral", 64, "noise", sigma_max=80),
}


@dataclass(frozen=True, eq=False)
class Case:
    """One patch at one time, and its observations of every kind."""

    truth: torch.Tensor  # (1, C, H, W) physical
    grid: Grid
    time: np.ndarray
    observed: dict[str, SegmentObservations]
    background: Background
    index: int


def make_case(prior: LearntPrior, fields: xr.DataArray, index: int, error: float) -> Case:
    """A random patch of a random time, the same for every method."""
    rng = np.random.default_rng(1000 + index)
    grid = Grid.from_dataset(fields)
    i, j = int(rng.integers(0, grid.shape[0] - SIZE)), int(rng.integers(0, grid.shape[1] - SIZE))
    t = int(rng.integers(0, fields.sizes["time"]))
    patch = fields.isel(time=[t], lat=slice(i, i + SIZE), lon=slice(j, j + SIZE)).load()
    small, name = Grid.from_dataset(patch), str(fields.name)
    noisy = patch + error * rng.standard_normal(patch.shape)
    gappy = noisy.where(cloud_mask(small, 0.6, rng)).assign_attrs(patch.attrs)
    coarse_grid = coarsen(small, 4)
    means = (block_mean(small, 4) @ patch.values.ravel()).reshape(1, *coarse_grid.shape)
    coarse = xr.DataArray(
        means + error * rng.standard_normal(means.shape),
        {"time": patch.time, "lat": coarse_grid.lat, "lon": coarse_grid.lon},
        ("time", "lat", "lon"),
        name=name,
        attrs=patch.attrs,
    )
    lat = rng.uniform(small.lat.min(), small.lat.max(), 20)
    lon = rng.uniform(small.lon.min(), small.lon.max(), 20)
    values = sample_points(patch.isel(time=0), lat, lon) + error * rng.standard_normal(20)
    stations = pd.DataFrame(
        {"time": patch.time.values[0], "lat": lat, "lon": lon, "variable": name, "value": values}
    )
    sources: list[list[Any]] = [
        [GridObservation(gappy, error)],
        [GridObservation(coarse, error, operator="block-mean")],
        [PointObservation(stations, error)],
    ]
    sources.append([s for group in sources for s in group])
    times = patch.time.values
    observed = {
        kind: assemble(group, prior.spec, small, times, prior.transform).segment(0, 1)
        for kind, group in zip(KINDS, sources, strict=True)
    }
    truth = torch.from_numpy(patch.values.astype(np.float32))[:, None]
    return Case(truth, small, times, observed, bind(prior, small, times, 1, autocast=True), index)


def sample(prior: LearntPrior, case: Case, kind: str, method: Method, members: int) -> tuple[np.ndarray, int]:
    """Members in physical units ``(M, 1, C, H, W)``, and network evaluations for each."""
    before = case.background.denoiser.evaluations  # type: ignore[attr-defined]
    problem = Problem(case.background, case.observed[kind])
    x = sample_posterior(problem, NoiseStream(case.index, range(members), [0]), method)
    used = case.background.denoiser.evaluations - before  # type: ignore[attr-defined]
    return prior.transform.inverse(x).numpy(), used


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prior", default="runs/merra2_tqv/prior.safetensors")
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--members", type=int, default=24)
    parser.add_argument("--only", nargs="*", default=None, help="methods whose name contains one of these")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    prior = open_prior(args.prior)
    name = prior.spec.names[0]
    record = open_fields(data_folder() / FILE, [name])[name]
    error = 0.05 * float(prior.transform.derivative(torch.zeros(1, 1, 1, 1)).mean())
    test = record.sel(time=slice("2014-06-21", "2014-06-24"))
    cases = [make_case(prior, test, k, error) for k in range(args.cases)]
    runs = {
        label: (lambda c, k, m=method: sample(prior, c, k, m, args.members))
        for label, method in METHODS.items()
    }
    runs |= baseline_runs(prior, record, args.members)
    lines: list[dict[str, Any]] = []
    for kind in KINDS:
        rows = []
        for label, run in runs.items():
            if args.only and not any(word in label for word in args.only):
                continue
            began, results = time.perf_counter(), [run(case, kind) for case in cases]
            seconds = time.perf_counter() - began
            # Cases are stacked along time, so that every score pools all of them.
            ensemble = torch.from_numpy(np.concatenate([r[0] for r in results], axis=1))[:, :, 0]
            truth = torch.cat([case.truth for case in cases])[:, 0]
            card = scorecard(ensemble, truth)
            keep = ("rmse", "crps", "ssr", "coverage90", "melr_member", "melr_mean")
            rows.append(
                {
                    "method": label,
                    **{k: card[k] for k in keep},
                    "evaluations": results[0][1],
                    "seconds": seconds,
                }
            )
            lines.append({"observations": kind, **rows[-1]})
            print(f"{kind}: {label}: CRPS {card['crps']:.4f}, {seconds:.0f} s", file=sys.stderr, flush=True)
        emit(f"MERRA-2 {name}, {kind}", table(rows), args.markdown)


def baseline_runs(prior: LearntPrior, record: xr.DataArray, members: int) -> dict[str, Any]:
    """Optimal interpolation with two climatologies of the training days, and interpolation."""
    train = torch.from_numpy(record.sel(time=slice("2014-06-01", "2014-06-17")).values.astype(np.float32))[
        :, None
    ]
    grid = Grid.from_dataset(record)
    size = (2 * SIZE, 2 * SIZE)
    wide = Climatology.fit(train, prior.transform, patch=size, local=False, periodic=grid.periodic)
    local = Climatology.fit(train, prior.transform, patch=size, local=True, periodic=grid.periodic)

    def run(name: str, climatology: Climatology, case: Case, kind: str) -> tuple[np.ndarray, int]:
        i, j = (int(np.rint(k[0])) for k in grid.index(case.grid.lat[:1], case.grid.lon[:1]))
        here = climatology.isel(np.arange(i, i + SIZE), np.arange(j, j + SIZE))
        fields = BASELINES[name](
            case.observed[kind],
            prior.spec,
            case.grid,
            transform=prior.transform,
            climatology=here,
            members=members if name == "optimal-interpolation" else 1,
            seed=case.index,
        )
        return fields, 0

    def runner(name: str, climatology: Climatology) -> Any:
        return lambda case, kind: run(name, climatology, case, kind)

    return {
        "optimal interpolation, global mean": runner("optimal-interpolation", wide),
        "optimal interpolation, local mean and variance": runner("optimal-interpolation", local),
        "bicubic": runner("bicubic", wide),
        "inverse distance": runner("inverse-distance", wide),
    }


if __name__ == "__main__":
    main()
