"""What the parts of the multimodal experiment share: cases, sources, methods, and scores over several cases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from common import DATA, ROOT
from common import emit as emit_on
from torch import Tensor

import skyweave
from skyweave.baselines import BASELINES, Climatology
from skyweave.grid import Grid
from skyweave.io.igra import read_station_list
from skyweave.observe.assemble import assemble
from skyweave.observe.footprint import footprint
from skyweave.observe.simulate import station_table
from skyweave.prior.storage import LearntPrior
from skyweave.regrid import coarsen, nearest
from skyweave.verify import coverage, crps, melr, rmse, spread_skill_ratio

ERA5 = DATA / "era5-global-1deg-2026-03/era5_sfc_global_1deg_20260325_20260331.nc"
STATIONS = DATA / "igra-radiosondes/igra2-station-list.txt"
PAGE = ROOT / "docs/results/multimodal.md"
TRAINING, TEST = slice("2026-03-25", "2026-03-29"), slice("2026-03-31", "2026-03-31")
REGIONS = {
    "North America": (20, 235),
    "Europe": (25, 340),
    "East Asia": (10, 85),
    "South America": (-50, 270),
    "Africa": (-35, 0),
    "Australia": (-50, 105),
}
"""South-western corners of 48 x 64 cells."""
COARSE = {"t2m": 0.2, "u10": 0.2, "v10": 0.2, "msl": 20.0}
"""Standard deviation of the errors of coarse grids, K, m s-1, Pa."""
SOUNDING = {"t2m": 0.5, "u10": 0.5, "v10": 0.5, "msl": 50.0}
"""That of stations."""
TASKS: dict[str, tuple[str | None, bool]] = {
    "LR, bicubic": ("bicubic", False),
    "LR, antialiased": ("bicubic-antialias", False),
    "LR, means": ("mean", False),
    "IGRA": (None, True),
    "IGRA + LR": ("bicubic", True),
}
"""Operator of the coarse grid, and whether stations are there."""
Members = Callable[["Case", Sequence[Any], int], np.ndarray]


@cache
def prior() -> LearntPrior:
    """The prior that ships with the package, learnt on the first five days."""
    return skyweave.open_prior("era5")


@cache
def record() -> xr.Dataset:
    return xr.open_dataset(ERA5)[list(prior().spec.names)].load()


@cache
def stations() -> pd.DataFrame:
    """Positions of radiosonde stations that stay where they are and reported in the last year of the list."""
    known = read_station_list(STATIONS)
    still = known[(known.last_year == known.last_year.max()) & known.lat.notna()]
    return still[["station", "lat", "lon"]].reset_index(drop=True)


@dataclass(frozen=True, eq=False)
class Case:
    """The truth in a region at one test time."""

    name: str
    truth: xr.Dataset
    number: int

    @property
    def grid(self) -> Grid:
        return Grid.from_dataset(self.truth)

    @property
    def states(self) -> Tensor:
        """``(C, H, W)``, physical."""
        return torch.from_numpy(np.stack([self.truth[n].values[0] for n in prior().spec.names]))

    @property
    def stations(self) -> pd.DataFrame:
        inside = self.grid.contains(stations().lat, stations().lon)
        return stations()[inside].reset_index(drop=True)

    @property
    def sensors(self) -> Tensor:
        """Cells with a station, ``(H, W)``."""
        seen = torch.zeros(self.grid.size, dtype=torch.bool)
        seen[nearest(self.grid, self.stations.lat, self.stations.lon).indices] = True
        return seen.reshape(self.grid.shape)


def cases(count: int) -> list[Case]:
    """Regions in turn, each at another step of the test day."""
    day = record().sel(time=TEST)
    out = []
    for n in range(count):
        name = list(REGIONS)[n % len(REGIONS)]
        south, west = REGIONS[name]
        i, j = Grid.from_dataset(day).region((south, south + 47), (west, west + 63))
        step = [(n + n // len(REGIONS)) % day.sizes["time"]]
        out.append(Case(name, day.isel(time=step, latitude=i, longitude=j), n))
    return out


def globe(step: int = 1) -> Case:
    """The whole Earth at one step of the test day."""
    return Case("globe", record().sel(time=TEST).isel(time=[step]), 100 + step)


def observe(
    case: Case,
    coarse: str | None,
    sounded: bool,
    names: Sequence[str] | None = None,
    factor: int = 8,
) -> list[Any]:
    """Noisy sources of a case: a coarse grid of each variable, stations, or both.

    Args:
        coarse: operator of the coarse grid.
        sounded: stations report.
        names: variables observed; all by default.
        factor: cells of the state along a side of a coarse one; 1 observes every cell.
    """
    rng = np.random.default_rng(case.number)
    names, grid = list(names or prior().spec.names), case.grid
    out: list[Any] = []
    if coarse is not None:
        # Rows that are left over, as on a global grid with poles, have no block of their own.
        spare = [n % factor for n in grid.shape]
        inner = [slice(k // 2, n - k + k // 2) for n, k in zip(grid.shape, spare, strict=True)]
        low = coarsen(grid.isel(*inner), factor)
        weights = footprint(low, grid, coarse, "coarse").matrix
        for name in names:
            true = case.truth[name]
            values = (weights @ true.values.ravel()).reshape(1, *low.shape)
            values = values + COARSE[name] * rng.standard_normal(values.shape)
            axes = {"time": true.time, "latitude": low.lat, "longitude": low.lon}
            data = xr.DataArray(values, axes, tuple(axes), name=name, attrs=true.attrs)
            out.append(
                skyweave.GridObservation(
                    data, COARSE[name], operator=coarse, name=f"LR {name}", variable=name
                )
            )
    if sounded:
        table = station_table(case.truth[names], case.stations, dict(SOUNDING), rng, "bicubic")
        out.append(skyweave.PointObservation(table, SOUNDING, name="IGRA", interpolation="bicubic"))
    return out


def posterior(case: Case, given: Sequence[Any], members: int, **how: Any) -> np.ndarray:
    """Members ``(M, C, H, W)``; without observations, of the prior."""
    like = case.truth.coords.to_dataset()
    if given:
        out = skyweave.reconstruct(
            prior(), given, like=like, members=members, seed=case.number, progress=False, **how
        )
    else:
        out = skyweave.sample(prior(), like, members=members, seed=case.number, progress=False, **how)
    return np.stack([out[n].values[:, 0] for n in prior().spec.names], 1)


def baseline(
    name: str, case: Case, given: Sequence[Any], members: int, climate: str = "record"
) -> np.ndarray:
    """What a method that is not ours makes of the same observations, ``(M, C, H, W)``."""
    spec, grid, times = prior().spec, case.grid, case.truth.time.values
    observed = assemble(given, spec, grid, times, prior().transform).segment(0, 1)
    known = climatology(case) if climate == "record" else Climatology.from_prior(prior(), grid, times)
    how = {"transform": prior().transform, "climatology": known, "members": members, "seed": case.number}
    return np.asarray(BASELINES[name](observed, spec, grid, **how))[:, 0]


@cache
def _climatology(north: float, west: float, shape: tuple[int, int]) -> Climatology:
    past = record().sel(time=TRAINING)
    grid = Grid.from_dataset(past)
    i0, j0 = (round(float(k)) for k in grid.index(north, west))
    i, j = np.arange(i0, i0 + shape[0]), np.arange(j0, j0 + shape[1]) % grid.shape[1]
    part = past.isel(latitude=i, longitude=j)
    states = torch.from_numpy(np.stack([part[n].values for n in prior().spec.names], 1))
    return Climatology.fit(states.float(), prior().transform, local=True, periodic=shape[1] == grid.shape[1])


def climatology(case: Case) -> Climatology:
    """Mean and deviation of every cell, and the covariance of all variables, over the days of training."""
    grid = case.grid
    return _climatology(float(grid.lat[0]), float(grid.lon[0]), grid.shape)


def deviations() -> Tensor:
    """Standard deviation of each variable about the mean of its cell over the days of training, ``(C,)``."""
    past = record().sel(time=TRAINING)
    area = np.cos(np.deg2rad(past.latitude))
    return torch.tensor([float(past[n].var("time").weighted(area).mean()) ** 0.5 for n in prior().spec.names])


def scales() -> dict[str, float]:
    """Physical units of one normalised unit of each variable."""
    zero = torch.zeros(len(prior().spec.names), 1, 1)
    found = prior().transform.inverse(zero + 1) - prior().transform.inverse(zero)
    return dict(zip(prior().spec.names, found.flatten().tolist(), strict=True))


def bare_seconds(case: Case, members: int, repeats: int = 5) -> float:
    """Of one evaluation of the network, for each member of a batch."""
    denoiser = prior().denoiser(case.grid, case.truth.time.values)
    x, sigma = torch.randn(members, 1, len(prior().spec.names), *case.grid.shape), torch.tensor(1.0)
    with torch.no_grad():
        denoiser(x, sigma)
        began = time.perf_counter()
        for _ in range(repeats):
            denoiser(x, sigma)
    return (time.perf_counter() - began) / repeats / members


@contextmanager
def backward_passes() -> Iterator[list[int]]:
    """Counts the backward passes through the network that are made meanwhile."""
    count, plain = [0], torch.autograd.grad

    def counted(*args: Any, **how: Any) -> Any:
        count[0] += 1
        return plain(*args, **how)

    torch.autograd.grad = counted
    try:
        yield count
    finally:
        torch.autograd.grad = plain


@dataclass(eq=False)
class Pool:
    """Ensembles of one method over several cases, and the truth."""

    members: list[np.ndarray] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, method: Members, case: Case, given: Sequence[Any], members: int) -> None:
        began = time.perf_counter()
        self.members.append(method(case, given, members))
        self.seconds += time.perf_counter() - began
        self.cases.append(case)

    @property
    def seconds_a_member(self) -> float:
        return self.seconds / sum(len(m) for m in self.members)

    def _good(self) -> list[np.ndarray]:
        """Members that are finite and nowhere farther than 20 standard deviations from the truth."""
        reach = 20 * deviations()[:, None, None].numpy()
        return [
            x[(np.abs(x - case.states.numpy()) < reach).all((1, 2, 3))]
            for x, case in zip(self.members, self.cases, strict=True)
        ]

    @property
    def diverged(self) -> float:
        """Share of the members that are not such."""
        return 1 - sum(len(x) for x in self._good()) / sum(len(x) for x in self.members)

    def scores(self, where: str = "all") -> dict[str, dict[str, float]]:
        """Scores of each variable over all cases, at "all" cells, at those with "sensors", or the "others".

        Diverged members are left out, and cases in which no two are left.
        """
        least = min(2, *(len(x) for x in self.members))
        kept = [(x, c) for x, c in zip(self._good(), self.cases, strict=True) if len(x) >= least]
        if not kept:
            blank = dict.fromkeys(("RMSE", "CRPS", "SSR", "coverage", "MELR"), float("nan"))
            return {name: blank for name in prior().spec.names}
        size = min(len(x) for x, _ in kept)
        ensembles = torch.from_numpy(np.stack([x[:size] for x, _ in kept], 1)).double()
        truths = torch.stack([c.states for _, c in kept])
        area = torch.stack([torch.as_tensor(c.grid.area.copy()) for _, c in kept])
        seen = torch.stack([c.sensors for _, c in kept])
        cells = {"all": torch.ones_like(seen), "sensors": seen, "others": ~seen}[where]
        periodic = self.cases[0].grid.periodic
        out = {}
        for c, name in enumerate(prior().spec.names):
            x, true = ensembles[:, :, c], truths[:, c]
            out[name] = {
                "RMSE": float(rmse(x.mean(0), true, weights=area, where=cells)),
                "CRPS": float(crps(x, true, weights=area, where=cells)),
                "SSR": float(spread_skill_ratio(x, true, weights=area, where=cells)),
                "coverage": float(coverage(x, true, 0.9, weights=area, where=cells)),
                "MELR": float(melr(x, true, periodic=periodic)),
            }
        return out

    def summary(self, where: str = "all") -> dict[str, float]:
        """Means over the variables, errors in standard deviations of each (see `deviations`)."""
        cards, unit = list(self.scores(where).values()), deviations().tolist()
        out = {}
        for key in cards[0]:
            scaled = key in ("RMSE", "CRPS")
            values = [c[key] / (u if scaled else 1.0) for c, u in zip(cards, unit, strict=True)]
            out[f"n{key}" if scaled else key] = float(np.mean(values))
        return out


def emit(title: str, rows: Sequence[dict[str, Any]], note: str = "") -> None:
    emit_on(title, rows, note, PAGE)
