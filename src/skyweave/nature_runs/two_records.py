"""Two records of one dusty world: a fine free run and a coarse, biased one under the same large-scale weather."""

from __future__ import annotations

from dataclasses import asdict
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from skyweave.errors import SkyweaveError
from skyweave.grid import EARTH_RADIUS, Grid
from skyweave.nature_runs.dust import Dust, DustPhysics, Large, Terrain, Weather
from skyweave.nature_runs.red_noise import RedNoise, red_noise
from skyweave.nature_runs.transport import speed
from skyweave.regrid import coarsen

__all__ = ["TwoRecords", "two_records"]

Floats = NDArray[np.floating]
MARGIN = 3
"""Coarse cells of the plane beyond the domain, which the coarse record has too."""
DEM_FACTOR = 3


class TwoRecords(NamedTuple):
    """The records, and elevation (m) on a grid three times as fine as the fine one's."""

    coarse: xr.Dataset
    fine: xr.Dataset
    elevation: xr.Dataset


def two_records(
    days: int,
    shape: tuple[int, int] = (48, 64),
    *,
    factor: int = 8,
    resolution: float = 0.125,
    south_west: tuple[float, float] = (22.0, 44.0),
    seed: int = 0,
    start: str = "2000-01-01",
    spin_up: int = 20,
    step_hours: int = 3,
    agreement: float = 0.9,
    tuning: float = 1.25,
    winds: bool = False,
    physics: DustPhysics | None = None,
) -> TwoRecords:
    r"""Daily means of dust optical depth in two runs of a synthetic world, as a nature run and a reanalysis are.

    Both carry a tracer on a doubly periodic plane,

    .. math::
        \frac{\partial c}{\partial t} + \mathbf u \cdot \nabla c
            = K \nabla^2 c - \left(\frac{1 + h}{T_d} + \frac{r}{T_w}\right) c + E,
        \qquad
        E \propto s(\mathbf x)\, a(t)\, |\mathbf u|^2 (|\mathbf u| - u_t)_+

    with terrain `h`, rain `r`, and sources `s` in dry basins that give dust when the wind exceeds a threshold; the
    annual cycle and the slow variation of years are in `a`, the mean wind turns with the season, rain falls mostly in
    winter. Eddies weaken over mountains and stand round them.

    The fine run resolves terrain and sources and has small eddies of its own. The coarse run is no mean of it: it is
    computed on cells `factor` times as wide, with means of the terrain, the coarse winds' own emission and diffusion,
    no small eddies, large scales that agree with the fine run's in part,

    .. math:: \psi_{coarse} = \sqrt{a}\,\psi_{shared} + \sqrt{1 - a}\,\psi_{own},

    its emission multiplied by `tuning` for the winds it lacks, and a lasting local bias of some 15 %. Random numbers
    are drawn step by step, so that a run is the beginning of a longer one with the same arguments.

    Args:
        days: length of both records.
        shape: ``(H, W)`` fine cells, multiples of `factor`.
        factor: fine cells along a coarse one.
        resolution: of the fine grid, degrees.
        south_west: latitude and longitude of the domain's corner, degrees.
        seed: of geography and weather.
        start: first day, UTC.
        spin_up: days before it that are run and dropped.
        step_hours: time step; divides the day.
        agreement: `a`, share of the variance of the large scales that both runs have in common, 0 to 1.
        tuning: what multiplies the coarse run's emission; by default its mean AOD is about a fifth less than the
            fine run's.
        winds: add the daily mean winds.
        physics: constants other than the default.

    Returns:
        ``coarse`` and ``fine`` with ``AOD (time, lat, lon)``, 1, positive, float32 (and ``eastward_wind``,
        ``northward_wind``, m s-1), and ``elevation`` with ``elevation (lat, lon)``, m. The coarse record reaches three
        coarse cells beyond the fine one.

    Raises:
        SkyweaveError: a shape that the factor does not divide, or numbers out of range.
    """
    _check(days, shape, factor, resolution, south_west, spin_up, step_hours, agreement)
    p = physics or DustPhysics()
    try:
        first = pd.Timestamp(start).tz_localize(None).normalize()
    except ValueError as error:
        raise SkyweaveError(f"start = {start!r} is not a date such as '2000-01-01'") from error
    world = _World(shape, factor, resolution, south_west, seed, step_hours, agreement, tuning, p)
    names = ("AOD", "eastward_wind", "northward_wind") if winds else ("AOD",)
    fine = np.empty((len(names), days, *shape), np.float32)
    coarse = np.empty((len(names), days, *world.coarse_shape), np.float32)
    for day in range(-spin_up, days):
        date = first + pd.Timedelta(days=day)
        fine_mean, coarse_mean = world.day(24.0 * (date.dayofyear - 1))
        if day >= 0:
            fine[:, day], coarse[:, day] = fine_mean[: len(names)], coarse_mean[: len(names)]
    time = pd.date_range(first, periods=days, freq="D")
    run = {
        "seed": seed,
        "spin_up_days": spin_up,
        "step_hours": step_hours,
        "agreement": agreement,
        "tuning": tuning,
    }
    run |= {f"physics_{key}": value for key, value in asdict(p).items()}
    return TwoRecords(
        _labelled(coarse, names, time, world.coarse_grid, "coarse, biased run", run),
        _labelled(fine, names, time, world.grid, "fine run", run),
        world.elevation(),
    )


class _World:
    """Both runs and the weather that they share."""

    def __init__(
        self,
        shape: tuple[int, int],
        factor: int,
        resolution: float,
        south_west: tuple[float, float],
        seed: int,
        step_hours: int,
        agreement: float,
        tuning: float,
        physics: DustPhysics,
    ) -> None:
        small = (shape[0] // factor + 2 * MARGIN, shape[1] // factor + 2 * MARGIN)
        plane = (small[0] * factor, small[1] * factor)
        self.hours, self.agreement, self.factor = float(step_hours), agreement, factor
        lat = south_west[0] + resolution * (np.arange(plane[0], dtype=np.float64) - MARGIN * factor + 0.5)
        lon = south_west[1] + resolution * (np.arange(plane[1], dtype=np.float64) - MARGIN * factor + 0.5)
        inside = (
            slice(MARGIN * factor, plane[0] - MARGIN * factor),
            slice(MARGIN * factor, plane[1] - MARGIN * factor),
        )
        self.inside, self.coarse_shape = inside, small
        self.grid, self.coarse_grid = Grid(lat[inside[0]], lon[inside[1]]), coarsen(Grid(lat, lon), factor)
        metres = EARTH_RADIUS * np.deg2rad(resolution)
        cell = (metres, metres * float(np.cos(np.deg2rad(lat[inside[0]].mean()))))
        wide = (cell[0] * factor, cell[1] * factor)

        keys = ("geography", "shared", "own", "eddies", "coarse eddies", "bias")
        seeds = np.random.SeedSequence(seed).spawn(len(keys))
        rng = {key: np.random.default_rng(s) for key, s in zip(keys, seeds, strict=True)}
        self.terrain = Terrain.draw(plane, cell, factor, rng["geography"])
        self.shared = Weather.create(small, wide, physics, self.hours, rng["shared"])
        self.own = Weather.create(small, wide, physics, self.hours, rng["own"])
        eddies = red_noise(
            plane, slope=3.0, largest=1.5 * factor, smallest=2.5, hours=physics.small_hours / self.hours
        )
        eddies = RedNoise(
            plane,
            eddies.amplitude * (physics.small_speed / speed(eddies.amplitude, plane, cell)),
            eddies.memory,
        )
        lasting = red_noise(small, slope=2.0, largest=max(small) / 2)
        self.local_bias = np.exp(0.15 * lasting.field(lasting.start(rng["bias"])))
        typical = physics.emission / 24 * physics.lifetime
        # Eddies that the coarse run does not resolve spread the tracer all the same.
        spread = physics.diffusivity + 0.3 * physics.small_speed * wide[0] / 4
        self.fine = Dust(
            physics,
            cell,
            self.terrain,
            factor,
            physics.diffusivity,
            1.0,
            eddies,
            rng["eddies"],
            np.full(plane, typical),
        )
        self.coarse = Dust(
            physics, wide, self.terrain.coarse(factor), 1, spread, tuning, None, rng["coarse eddies"],
            np.full(small, typical),
        )  # fmt: skip
        self.physics = physics
        self._dem_seed = seeds[0].spawn(1)[0]

    def day(self, hour: float) -> tuple[Floats, Floats]:
        """Means of tracer and winds over the day that begins at `hour` of the year, of each run."""
        sums: list[Floats] = [np.zeros((3, *run.shape)) for run in (self.fine, self.coarse)]
        steps = round(24 / self.hours)
        for k in range(steps):
            shared, own = self.shared.step(), self.own.step()
            a, b = np.sqrt(self.agreement), np.sqrt(1 - self.agreement)
            mixed = Large(a * shared.psi + b * own.psi, a * shared.rain + b * own.rain, shared.slow)
            for run, large, total in ((self.fine, shared, sums[0]), (self.coarse, mixed, sums[1])):
                run.step(large, hour + (k + 0.5) * self.hours, self.hours)
                assert run.wind is not None
                total += np.stack([self.physics.background + run.tracer, run.wind[1], run.wind[0]])
        fine, coarse = sums[0] / steps, sums[1] / steps
        coarse[0] *= self.local_bias
        return fine[(slice(None), *self.inside)], coarse

    def elevation(self) -> xr.Dataset:
        """The terrain on a finer grid, whose means over fine cells are what the fine run saw."""
        n = DEM_FACTOR
        height = 2500.0 * np.kron(self.terrain.height[self.inside], np.ones((n, n)))
        blocks_of = height.reshape(height.shape[0] // n, n, height.shape[1] // n, n)
        rough = np.random.default_rng(self._dem_seed).normal(0, 0.03, blocks_of.shape) * blocks_of
        rough -= rough.mean(axis=(1, 3), keepdims=True)
        grid = self.grid
        lat, lon = (
            np.asarray(axis[0] - step / 2 + step / n * (np.arange(n * axis.size) + 0.5), np.float64)
            for axis, step in zip((grid.lat, grid.lon), grid.resolution, strict=True)
        )
        attrs = {"standard_name": "surface_altitude", "long_name": "elevation", "units": "m"}
        values = (blocks_of + rough).reshape(height.shape).astype(np.float32)
        ds = xr.Dataset({"elevation": (("lat", "lon"), values, attrs)}, _axes(Grid(lat, lon)))
        return ds.assign_attrs(Conventions="CF-1.11", source="skyweave.nature_runs.two_records")


def _axes(grid: Grid) -> dict[str, tuple[str, Floats, dict[str, str]]]:
    return {
        "lat": ("lat", grid.lat, {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"}),
        "lon": ("lon", grid.lon, {"standard_name": "longitude", "units": "degrees_east", "axis": "X"}),
    }


def _labelled(
    values: NDArray[np.float32],
    names: tuple[str, ...],
    time: pd.DatetimeIndex,
    grid: Grid,
    what: str,
    run: dict[str, float],
) -> xr.Dataset:
    about = {
        "AOD": {
            "standard_name": "atmosphere_optical_thickness_due_to_dust_ambient_aerosol_particles",
            "long_name": "dust extinction optical depth at 550 nm", "units": "1",
        },
        "eastward_wind": {"standard_name": "eastward_wind", "units": "m s-1"},
        "northward_wind": {"standard_name": "northward_wind", "units": "m s-1"},
    }  # fmt: skip
    fields = {
        name: (("time", "lat", "lon"), part, {**about[name], "cell_methods": "time: mean"})
        for name, part in zip(names, values, strict=True)
    }
    dates = ("time", time.to_numpy().astype("datetime64[ns]"), {"standard_name": "time", "axis": "T"})
    attrs = {"Conventions": "CF-1.11", "title": f"Synthetic daily dust, {what}"}
    return xr.Dataset(fields, {"time": dates, **_axes(grid)}).assign_attrs(
        **attrs, source="skyweave.nature_runs.two_records", **run
    )


def _check(
    days: int,
    shape: tuple[int, int],
    factor: int,
    resolution: float,
    south_west: tuple[float, float],
    spin_up: int,
    step_hours: int,
    agreement: float,
) -> None:
    if days < 1 or spin_up < 0:
        raise SkyweaveError(f"{days} days after {spin_up} of spin-up; a record has at least one day")
    if factor < 2 or any(n < factor or n % factor for n in shape):
        raise SkyweaveError(
            f"a domain of {shape} fine cells; both sides are multiples of the factor {factor}, from 2 on"
        )
    north = south_west[0] + resolution * (shape[0] + MARGIN * factor)
    if resolution <= 0 or south_west[0] - resolution * MARGIN * factor < -80 or north > 80:
        raise SkyweaveError(
            f"the domain reaches from {south_west[0]:g} to {north:g} degrees north with its margin; the plane of this "
            "world ends at 80 degrees"
        )
    if step_hours < 1 or 24 % step_hours:
        raise SkyweaveError(f"step_hours = {step_hours}; it must divide the day")
    if not 0 <= agreement <= 1:
        raise SkyweaveError(f"agreement = {agreement}, a share of variance lies between 0 and 1")
