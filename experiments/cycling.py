"""Cycled data assimilation with a diffusion prior inside, beside its parts and beside an ensemble Kalman filter.

    skyweave train experiments/configs/ncep_slp.yaml       # 15 minutes on one core
    python experiments/emulators.py --only NCEP           # 10 minutes
    skyweave train experiments/configs/merra2_tqv.yaml     # 25 minutes
    skyweave train experiments/configs/shallow_water.yaml  # 15 minutes; `python experiments/cycling.py world` first
    python experiments/cycling.py [ncep merra2 shallow] [--quick]

Every method is given the same model, observations and number of members. The table has, over the cycles after
spin-up, the root mean square error of the mean, the spread-skill ratio, and the share of cycles in which the cycled
analysis is better than that method. It is added to docs/results/cycling.md.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from common import DATA, FIGURES, HOURLY, ROOT, emit

import skyweave
from skyweave.cycle import Climate, Cycle, Cycler, CycleSettings
from skyweave.cycle.assimilate import climate_radius
from skyweave.cycle.base import EnsembleCycler
from skyweave.cycle.letkf import Domain, LETKFCycler, LETKFSettings
from skyweave.cycle.model_error import model_error_covariance
from skyweave.emulate import fit_forecaster, open_emulator
from skyweave.grid import Grid
from skyweave.io import open_fields, read_station_list
from skyweave.io.write import write
from skyweave.nature_runs.shallow_water import ShallowWater, ShallowWaterConfig, shallow_water
from skyweave.observe.assemble import assemble
from skyweave.observe.errors import EARTH_RADIUS_KM, ErrorModel
from skyweave.posterior.background import bind
from skyweave.posterior.sample import Method
from skyweave.prior.storage import LearntPrior
from skyweave.regrid import bilinear
from skyweave.report.style import heading, new_figure, save, style
from skyweave.state import to_tensor

PAGE = ROOT / "docs/results/cycling.md"
NCEP = DATA / "ncep-slp-north-atlantic/ncep_slp_daily_2001_2010.nc"
EMULATOR = ROOT / "runs/emulators/ncep/emulator.safetensors"
SHALLOW = ROOT / "runs/shallow_water.nc"
STATIONS = DATA / "igra-radiosondes/igra2-station-list.txt"


@dataclass(frozen=True)
class World:
    """What is cycled: truth at the analysis times, observations of it, a model and its error.

    `tuning` is a stretch before the truth on which the Kalman filter's radius and inflation are chosen.
    """

    name: str
    prior: LearntPrior
    model: Any
    truth: xr.Dataset
    tuning: xr.Dataset
    observe: Callable[[xr.Dataset], list[Any]]
    model_error: dict[str, ErrorModel] | None
    spin_up: int
    members: int
    method: Method = field(default_factory=lambda: Method(steps=32))


def cycler(world: World, record: xr.Dataset, **settings: Any) -> Cycler:
    """The cycle of a stretch of the world."""
    grid, times = Grid.from_dataset(record), record.time.values
    prior = world.prior
    fixed = None if prior.conditioning.needs_time else bind(prior, grid, None)
    climate = Climate(
        prior=lambda k: fixed or bind(prior, grid, times[k : k + 1]), periodic=(False, grid.periodic)
    )
    made = Cycler(
        climate=climate,
        spec=prior.spec,
        transform=prior.transform,
        model=world.model,
        observed=assemble(world.observe(record), prior.spec, grid, times, prior.transform),
        identities=times.astype("datetime64[s]").astype(int).tolist(),
        times=times,
        settings=CycleSettings(members=world.members, method=world.method, **settings),
        domain=Domain.sphere(grid),
        radius=climate_radius(bind(prior, grid, times[:1]), grid),
    )
    if world.model_error:
        error = model_error_covariance(world.model_error, prior.spec, prior.transform, grid, climate.padded)
        made = replace(made, model_error=error)
    return made


def letkf(own: Cycler, grid: Grid, start: torch.Tensor, settings: LETKFSettings) -> LETKFCycler:
    shared = {f.name: getattr(own, f.name) for f in fields(EnsembleCycler)}
    return LETKFCycler(**shared, domain=Domain.sphere(grid), settings=settings, background=start)


def scored(world: World, record: xr.Dataset, cycles: list[Cycle], what: str = "analysis") -> np.ndarray:
    """Mean square error and variance by cycle, over the climate's variance, mean of the variables, ``(K, 2)``."""
    truth = to_tensor(record, world.prior.spec)
    area = torch.from_numpy(Grid.from_dataset(record).area).float()
    area = area / area.mean()
    scale = truth.std((0, 2, 3), keepdim=True)[0]
    out = []
    for cycle in cycles:
        x = cycle.analysis if what == "analysis" else cycle.forecast
        if x is None:
            out.append([math.nan, math.nan])
            continue
        error = ((x.mean(0) - truth[cycle.index]) / scale).square() * area
        out.append([float(error.mean()), float(((x / scale).var(0) * area).mean())])
    return np.array(out)


def tuned(world: World, quick: bool) -> LETKFSettings:
    """The filter's best radius and inflation on the stretch before the test."""
    own, grid = cycler(world, world.tuning), Grid.from_dataset(world.tuning)
    start = own.analysis(None, 0)
    best = (math.inf, LETKFSettings(radius=2000.0))
    for radius in (1500.0, 3000.0):
        for inflation in (1.0, 1.1):
            settings = LETKFSettings(radius=radius, inflation=inflation)
            errors = scored(world, world.tuning, list(letkf(own, grid, start, settings).run(start, 1)))
            best = min(best, (float(errors[3:, 0].mean()), settings), key=lambda pair: pair[0])
    return best[1]


def tuned_refinement(world: World) -> float:
    """The best noise of a refinement on the stretch before the test."""
    errors = {}
    for noise in (0.5, 1.0, 2.0):
        cycles = list(cycler(world, world.tuning, refine_from=noise).run())
        errors[noise] = float(scored(world, world.tuning, cycles)[3:, 0].mean())
        print(f"{world.name}: refined from {noise:g}: {errors[noise] ** 0.5:.3f} before the test", flush=True)
    return min(errors, key=errors.__getitem__)


def run(world: World, quick: bool) -> None:
    """Cycle every method and print the table."""
    record, grid = world.truth, Grid.from_dataset(world.truth)
    noise = tuned_refinement(world)
    own = cycler(world, record, refine_from=noise)
    began = time.perf_counter()
    cycles = list(own.run())
    seconds = time.perf_counter() - began
    errors = {
        "cycled analysis": scored(world, record, cycles),
        "its forecast": scored(world, record, cycles, "forecast"),
    }
    alone = [Cycle(k, None, own.analysis(None, k), {}) for k in range(len(record.time))]
    errors["observations alone"] = scored(world, record, alone)
    free, members = [], cycles[0].analysis
    for k in range(1, len(record.time)):
        members = own.forecast(members, k)
        free.append(Cycle(k, None, members, {}))
    errors["model alone"] = np.vstack([errors["cycled analysis"][:1], scored(world, record, free)])
    settings = tuned(world, quick)
    filtered = list(letkf(own, grid, cycles[0].analysis, settings).run(cycles[0].analysis, 1))
    errors[f"LETKF, {settings.radius:.0f} km, inflation {settings.inflation:g}"] = np.vstack(
        [errors["cycled analysis"][:1], scored(world, record, filtered)]
    )
    stated = world.model_error
    if stated:
        told = cycler(world, record, information="stated", update="afresh")
        errors["cycled, stated error (paper)"] = scored(world, record, list(told.run()))
    late = slice(world.spin_up, None)
    ours = errors["cycled analysis"][late, 0]
    rows = []
    for name, values in errors.items():
        mse, variance = values[late].T
        rows.append(
            {
                "method": name,
                "RMSE / climate's std": float(np.sqrt(mse.mean())),
                "spread / RMSE": float(np.sqrt(variance.mean() / mse.mean() * (1 + 1 / world.members))),
                "worst cycle": float(np.sqrt(mse.max())),
                "analysis is better in": float((ours < mse).mean()),
            }
        )
    rms = [r for c in cycles[world.spin_up :] for _, r in c.innovation.values()]
    count = len(record.time)
    own_note = (
        f"{world.members} members, {own.settings.refine_steps} evaluations a cycle, refined from {noise:g}, "
        f"{seconds / count:.2f} s a cycle; "
        f"scaled innovations {np.mean(rms):.2f}.\n\n![errors by cycle](../figures/cycling_{world.name}.png)"
    )
    emit(f"{world.name}: {count} cycles, {world.spin_up} of spin-up", rows, own_note, PAGE)
    figure(world, errors)


def figure(world: World, errors: dict[str, np.ndarray]) -> None:
    """Error and spread by cycle."""
    with style():
        made = new_figure(9.0, 3.6)
        ax = made.add_axes((0.08, 0.16, 0.60, 0.68))
        for number, (name, values) in enumerate(errors.items()):
            line = ax.plot(np.sqrt(values[:, 0]), label=name, linewidth=1.4, color=f"C{number}")[0]
            if number == 0:
                ax.plot(
                    np.sqrt(values[:, 1]), "--", color=line.get_color(), label="its spread", linewidth=1.0
                )
        ax.set(xlabel="cycle", ylabel="error of the mean / climate's deviation", ylim=(0, None))
        ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
        heading(made, f"Cycling: {world.name}", "")
        save(made, FIGURES / f"cycling_{world.name}.png")


def stations(record: xr.Dataset, name: str, count: int, error: float, since: int = 0) -> list[Any]:
    """Values at real radiosonde sites, with errors; sites that were in use in the year ``since`` or later."""
    grid = Grid.from_dataset(record)
    listed = read_station_list(STATIONS)
    west = float(grid.lon.min())
    lon = west + np.mod(listed.lon - west, 360)
    near = listed.lat.between(grid.lat.min(), grid.lat.max()) & (listed.last_year >= since)
    inside = listed[near & (grid.periodic | (lon <= grid.lon.max()))]
    chosen = inside.sample(min(count, len(inside)), random_state=0)
    H, rng, rows = bilinear(grid, chosen.lat.to_numpy(), chosen.lon.to_numpy()), np.random.default_rng(7), []
    for k in range(len(record.time)):
        value = H @ record[name].values[k].ravel() + error * rng.standard_normal(len(chosen))
        rows.append(
            pd.DataFrame(
                {"time": record.time.values[k], "lat": chosen.lat, "lon": chosen.lon, "value": value}
            )
        )
    table = pd.concat(rows).assign(variable=name)
    return [skyweave.PointObservation(table, error=error, name=f"{name} at stations")]


def ncep(quick: bool) -> None:
    """NCEP daily sea level pressure, North Atlantic; an emulator that draws fields like its own past errors."""
    prior = skyweave.open_prior(ROOT / "runs/ncep_slp/prior.safetensors")
    record = open_fields(str(NCEP), ["slp"])
    model = open_emulator(EMULATOR).stochastic()
    days = 25 if quick else 70
    run(
        World(
            "ncep", prior, model,
            record.sel(time=slice("2009-01-01", None)).isel(time=slice(0, days)).load(),
            record.sel(time=slice("2008-01-01", None)).isel(time=slice(0, 16)).load(),
            lambda r: stations(r, "slp", 30, 100.0, 2009), None, 5, 32,
        ),
        quick,
    )  # fmt: skip


def merra2(quick: bool) -> None:
    """MERRA-2 hourly precipitable water over Africa; persistence, with the error of an hour's change."""
    prior = skyweave.open_prior(ROOT / "runs/merra2_tqv/prior.safetensors")
    record = open_fields(str(HOURLY), ["TQV"])
    training = record.sel(time=slice("2014-06-01", "2014-06-17")).load()
    model = fit_forecaster("persistence", training, prior.spec)
    hours = 25 if quick else 64
    run(
        World(
            "merra2", prior, model,
            record.sel(time=slice("2014-06-21", None)).isel(time=slice(0, hours)).load(),
            record.sel(time=slice("2014-06-18", None)).isel(time=slice(0, 16)).load(),
            lambda r: gridpoints(r, "TQV", 60, 0.7), one_step_error(training, "TQV"), 6, 16, Method(),
        ),
        quick,
    )  # fmt: skip


def shallow(quick: bool) -> None:
    """Turbulent shallow water on the sphere: the model is perfect but for the stirring, which is its own."""
    prior = skyweave.open_prior(ROOT / "runs/shallow_water_prior/prior.safetensors")
    record = xr.open_dataset(SHALLOW)
    errors = {"u": 2.0, "v": 2.0, "h": 20.0}
    frames = 25 if quick else 64
    run(
        World(
            "shallow", prior, ShallowWater(ShallowWaterConfig(seed=1, substep=600.0), list(errors)),
            record.sel(time=slice("2000-10-05", None)).isel(time=slice(0, frames)).load(),
            record.sel(time=slice("2000-09-01", None)).isel(time=slice(0, 16)).load(),
            lambda r: [s for name, error in errors.items() for s in stations(r, name, 100, error)], None, 8, 16,
            Method(sampler="dpm++2m"),
        ),
        quick,
    )  # fmt: skip


def world(quick: bool) -> None:
    """Make the nature run of `shallow`: 325 days, four frames a day."""
    write(shallow_water(1300)[["u", "v", "h"]], SHALLOW, overwrite=True)


def gridpoints(record: xr.Dataset, name: str, count: int, error: float) -> list[Any]:
    """Values at so many cells, others in every cycle, with errors: a thin swath."""
    rng, field = np.random.default_rng(7), record[name]
    noisy = field + error * rng.standard_normal(field.shape)
    size = field.shape[1] * field.shape[2]
    seen = np.stack([rng.permutation(size) < count for _ in range(len(field))]).reshape(field.shape)
    made = noisy.where(xr.DataArray(seen, dims=field.dims)).assign_attrs(field.attrs)
    return [skyweave.GridObservation(made, error=error, operator="mask", name="cells")]


def one_step_error(record: xr.Dataset, name: str) -> dict[str, ErrorModel]:
    """What persistence gets wrong in one step of the training record: its deviation and length of correlation."""
    change = record[name].diff(record[name].dims[0]).values
    deviation = float(change.std())
    step = np.radians(Grid.from_dataset(record).resolution[0]) * EARTH_RADIUS_KM
    correlations = [float((change[:, k:] * change[:, : -k or None]).mean()) / deviation**2 for k in range(20)]
    below = next(k for k, value in enumerate(correlations) if value < np.exp(-1))
    return {name: ErrorModel(absolute=deviation, correlation_length_km=step * below)}


PARTS: dict[str, Callable[[bool], None]] = {"ncep": ncep, "merra2": merra2, "shallow": shallow}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=list(PARTS), choices=["world", *PARTS])
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    for part in args.parts:
        (world if part == "world" else PARTS[part])(args.quick)


if __name__ == "__main__":
    main()
