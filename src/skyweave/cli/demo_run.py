"""The demo's work: observe, reconstruct, compare, draw."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from skyweave.baselines import BASELINES, Climatology
from skyweave.cli.demo_cases import Case, make_cases
from skyweave.cli.demo_figures import LABELS, draw_case, draw_scores
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io.read import open_fields
from skyweave.observe.assemble import assemble
from skyweave.prior.storage import LearntPrior, open_prior
from skyweave.reconstruction.reconstruct import plan, reconstruct
from skyweave.verify import scorecards, table

REGION = {"lat": (20.0, 83.0), "lon": (-60.0, 35.0)}  # 64 x 96 cells
TIME = "2026-03-31T23"
DRAWN = ("t2m", "msl")
COLUMNS = (
    "observations", "method", "rmse", "crps", "ssr", "coverage90", "melr_member", "evaluations", "seconds",
)  # fmt: skip


def run(out: Path, members: int, seed: int, overwrite: bool) -> None:
    """The whole demo; files go to `out`, the tables to standard output as well.

    Raises:
        SkyweaveError: `out` is not empty and `overwrite` is false, or fewer than two members.
    """
    if members < 2:
        raise SkyweaveError(f"--members {members}: an ensemble needs at least two members")
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not overwrite:
        raise SkyweaveError(f"{out} exists and is not empty; choose another --out, or allow --overwrite")
    out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    data = files("skyweave") / "data"
    prior = open_prior(Path(str(data / "era5_prior.safetensors")))
    truth = open_fields(str(data / "era5_sample.nc"), prior.spec.names, region=REGION, time=TIME).load()
    grid = Grid.from_dataset(truth)
    print(f"ERA5, {TIME} UTC, {grid.shape[0]} x {grid.shape[1]} cells; {members} members per case")

    climatology = Climatology.from_prior(prior, grid, truth.time.values)
    rows: list[dict[str, Any]] = []
    ensembles: dict[str, xr.Dataset] = {}
    for case in make_cases(truth, grid, seed):
        fields, seconds, used = _reconstruct(prior, case, truth, out, members, seed, overwrite)
        ensembles[case.title] = fields
        rows += _rows(case, "skyweave", _stack(fields, prior), truth, grid, prior, seconds, used)
        for method, ensemble, taken, calls in _baselines(
            case, prior, truth, grid, climatology, members, seed
        ):
            rows += _rows(case, method, ensemble, truth, grid, prior, taken, calls)
        for name in DRAWN:
            draw_case(case, name, truth, fields, grid, out / f"{case.name}_{name}.png")
        print(f"  {case.title:<14} {seconds:5.1f} s")
    for name in DRAWN:
        drawn = {title: fields[name].values[:, 0] for title, fields in ensembles.items()}
        draw_scores(name, truth, drawn, [row for row in rows if row["variable"] == name], grid, out)
    _write_tables(rows, prior.spec.names, truth, out)
    print(f"\nfigures, Zarr and tables in {out}/ after {time.perf_counter() - started:.0f} s")


def _reconstruct(
    prior: LearntPrior, case: Case, truth: xr.Dataset, out: Path, members: int, seed: int, overwrite: bool
) -> tuple[xr.Dataset, float, int]:
    like = truth.coords.to_dataset()  # the grid and the time alone: not a value of the truth
    used = plan(prior, case.sources, like=like, members=members, seed=seed).evaluations
    begun = time.perf_counter()
    fields = reconstruct(
        prior,
        case.sources,
        like=like,
        members=members,
        seed=seed,
        out=out / f"{case.name}.zarr",
        overwrite=overwrite,
        progress=False,
    ).load()
    return fields, time.perf_counter() - begun, used


def _baselines(
    case: Case,
    prior: LearntPrior,
    truth: xr.Dataset,
    grid: Grid,
    climatology: Climatology,
    members: int,
    seed: int,
) -> Iterator[tuple[str, np.ndarray, float, int]]:
    """Name, states ``(M, 1, C, H, W)``, seconds and network evaluations of what the demo compares with."""
    observed = assemble(case.sources, prior.spec, grid, truth.time.values, prior.transform).segment(0, 1)
    # Upsampling is for a coarse grid alone.
    upsampled = ["bicubic"] if case.coarse is not None and case.points is None else []
    for name in [*upsampled, "inverse-distance", "optimal-interpolation"]:
        begun = time.perf_counter()
        states = BASELINES[name](
            observed,
            prior.spec,
            grid,
            transform=prior.transform,
            climatology=climatology,
            members=members,
            seed=seed,
        )
        # The climatological mean took one evaluation.
        used = int(name == "optimal-interpolation")
        yield name.replace("-", " "), states, time.perf_counter() - begun, used


def _stack(fields: xr.Dataset, prior: LearntPrior) -> np.ndarray:
    """Members of every variable, ``(M, 1, C, H, W)``."""
    return np.stack([fields[name].values for name in prior.spec.names], axis=2)


def _rows(
    case: Case,
    method: str,
    ensemble: np.ndarray,
    truth: xr.Dataset,
    grid: Grid,
    prior: LearntPrior,
    seconds: float,
    evaluations: int,
) -> list[dict[str, Any]]:
    names = list(prior.spec.names)
    y = torch.tensor(np.stack([truth[name].values for name in names], axis=1))
    cards = scorecards(torch.tensor(ensemble), y, names, grid=grid)
    shared = {"observations": case.title, "method": method, "seconds": seconds, "evaluations": evaluations}
    return [{"variable": name, **shared, **card} for name, card in cards.items()]


def _write_tables(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], truth: xr.Dataset, out: Path
) -> None:
    parts = []
    for name in names:
        title = f"{LABELS[name].capitalize()} ({truth[name].attrs['units']})"
        parts.append(f"{title}\n\n{table([r for r in rows if r['variable'] == name], COLUMNS)}")
    text = "\n\n".join(parts)
    print(f"\n{text}")
    (out / "scores.md").write_text(text + "\n")
    with (out / "scores.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
