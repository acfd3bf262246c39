"""A turbulent world on the sphere: forced and damped rotating shallow water, as nature run and as forecast model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

from skyweave.errors import SkyweaveError
from skyweave.grid import EARTH_RADIUS, Grid
from skyweave.nature_runs.shallow_water_config import SHALLOW_WATER_VARIABLES, ShallowWaterConfig
from skyweave.nature_runs.spherical_dynamics import Dynamics, Harmonics, contract, gaussian_latitudes
from skyweave.state import StateSpec, attributes

__all__ = [
    "SHALLOW_WATER_VARIABLES",
    "ShallowWater",
    "ShallowWaterConfig",
    "shallow_water",
    "shallow_water_chunks",
]

DAY = 86400.0
GRAVITY = 9.80616


class ShallowWater:
    """A model of shallow water on the sphere that steps states on the grid, batched over members.

    It has what a forecaster has: `spec`, `grid`, `time_step` (s) and `step`. Between frames all is in double
    precision and spectral; a frame holds all there is to know, so a run can be continued from any of them. The same
    seed, member and time give the same stirring.

    Args:
        config: constants.
        variables: channels of a state, out of `SHALLOW_WATER_VARIABLES`; u, v and h among them.

    Raises:
        SkyweaveError: an unknown variable, or u, v or h left out.
    """

    def __init__(
        self,
        config: ShallowWaterConfig | None = None,
        variables: Sequence[str] = ("u", "v", "h", "vorticity"),
    ) -> None:
        self.config = c = config or ShallowWaterConfig()
        unknown = [name for name in variables if name not in SHALLOW_WATER_VARIABLES]
        absent = [name for name in ("u", "v", "h") if name not in variables]
        if unknown or absent:
            raise SkyweaveError(
                "a state of shallow water holds u, v and h, and perhaps vorticity; "
                f"{', '.join(variables)} were asked for"
            )
        longitudes = np.arange(c.shape[1]) * 360 / c.shape[1]
        self.grid = Grid(gaussian_latitudes(c.shape[0]), longitudes)
        self.time_step = float(c.time_step)
        self.spec = StateSpec(
            tuple(SHALLOW_WATER_VARIABLES[name] for name in variables), resolution=self.grid.resolution
        )
        self.harmonics = Harmonics(c.shape, None, EARTH_RADIUS)
        self.dynamics = Dynamics(
            self.harmonics,
            GRAVITY * c.mean_height,
            c.rotation,
            3600 * c.diffusion,
            c.diffusion_order,
            1000 * c.drag_length,
        )
        longest = c.substep or 1800.0 * 32 / c.shape[0]
        self.substeps = max(1, int(np.ceil(c.time_step / longest - 1e-9)))

    @property
    def noise(self) -> float:
        """What is random in a step: the stirring; members of equal states stay alike where it is zero."""
        return self.config.stirring

    # ---- between the grid and the spectrum

    def spectral(self, state: Tensor) -> Tensor:
        """Coefficients ``(M, 3, L, L)`` of vorticity, divergence, geopotential anomaly; of a state ``(M, C, H, W)``."""
        u, v, h = (state[:, self.spec.channel(name)].double() for name in ("u", "v", "h"))
        geopotential = GRAVITY * (h - self.config.mean_height)
        turned = self.harmonics.curl_and_divergence(torch.stack([u, v], dim=1))
        return torch.cat([turned, self.harmonics.to_spectrum(geopotential)[:, None]], dim=1)

    def gridded(self, spectral: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """The state ``(M, C, H, W)`` in physical units of its coefficients."""
        wind = self.harmonics.wind(spectral[:, :2])
        scalars = self.harmonics.to_grid(spectral[:, 0::2])
        fields = {
            "u": wind[:, 0],
            "v": wind[:, 1],
            "h": scalars[:, 1] / GRAVITY + self.config.mean_height,
            "vorticity": scalars[:, 0],
        }
        return torch.stack([fields[name] for name in self.spec.names], dim=1).to(dtype)

    # ---- time

    @torch.no_grad()
    def step(self, state: Tensor, time: Any = 0, members: Sequence[int] | None = None) -> Tensor:
        """The state one `time_step` later.

        Args:
            state: ``(M, C, H, W)``, physical units; vorticity is not looked at, for the winds hold it.
            time: of the state, a date or a number of seconds; it addresses the stirring.
            members: identity of each member, which addresses its stirring; ``0 .. M - 1`` by default.

        Raises:
            SkyweaveError: another shape than that of the model, or a flow too fast for its time step.
        """
        channels, rows, columns = expected = (len(self.spec.variables), *self.grid.shape)
        if state.ndim != 4 or tuple(state.shape[1:]) != expected:
            raise SkyweaveError(
                f"shallow water steps states of shape (member, {channels}, {rows}, {columns}), the channels being "
                f"{', '.join(self.spec.names)}; found {tuple(state.shape)}"
            )
        labels = range(len(state)) if members is None else members
        fixed = self._target / (DAY * self.config.relaxation)
        if self.config.stirring:
            fixed = fixed + torch.cat([self._stirring(time, m) for m in labels])
        damping = 1 / (DAY * self.config.relaxation)
        growth = self._growth

        def forcing(s: Tensor) -> Tensor:
            total = fixed - damping * s
            total[:, 0] += contract(s[:, 0], growth)
            return total

        x = self.spectral(state)
        for _ in range(self.substeps):
            x = self.dynamics.step(x, self.time_step / self.substeps, forcing)
        if not bool(x.abs().isfinite().all()):
            raise SkyweaveError(
                f"shallow water became unstable at {time}: the flow is too fast for substeps of "
                f"{self.time_step / self.substeps:g} s; give a smaller `substep`"
            )
        return self.gridded(x, state.dtype)

    def initial(self, members: Sequence[int] = (0,), eddies: float = 2e-6) -> Tensor:
        """States at rest in the jets, with random eddies of `eddies` s-1 in vorticity; ``(M, C, H, W)``, float32."""
        noise = torch.cat([self._noise(m, -1, 1, self.harmonics.truncation // 2) for m in members])
        start = self._target.expand(len(noise), -1, -1, -1).clone()
        start[:, 0] += eddies * noise
        return self.gridded(start)

    @cached_property
    def _target(self) -> Tensor:
        """The balanced jets, ``(1, 3, L, L)``."""
        c = self.config
        lat = self.grid.lat[:, None]
        speed = sum(np.exp(-(((lat - side * c.jet_latitude) / c.jet_width) ** 2)) for side in (-1, 1))
        east = torch.from_numpy(c.jet_speed * speed * np.cos(np.deg2rad(lat))).expand(self.grid.shape)
        count = self.harmonics.truncation + 1
        state = torch.zeros(1, 3, count, count, dtype=torch.complex128)
        turned = self.harmonics.curl_and_divergence(torch.stack([east, torch.zeros_like(east)])[None])
        state[:, 0] = turned[:, 0]
        return self.dynamics.balanced(state)

    @cached_property
    def _growth(self) -> Tensor:
        """The linear source of eddies per order, ``(M, L, L)``: grid values weighted by latitude, in the band alone."""
        first, last = self.config.eddy_degrees
        degree = self.harmonics.degree[:, 0]
        band = ((degree >= first) & (degree <= last)).double()
        weight = torch.from_numpy(np.sin(np.deg2rad(2 * self.grid.lat)) ** 2)
        matrices = self.harmonics.weighted(weight) * band[:, None] * band / (DAY * self.config.growth)
        matrices[0] = 0
        return matrices

    def _stirring(self, time: Any, member: int) -> Tensor:
        first, last = self.config.eddy_degrees
        source = torch.zeros_like(self._target)
        source[:, 0] = self.config.stirring / DAY * self._noise(member, _seconds(time), first, last)
        return source

    def _noise(self, member: int, time: int, first: int, last: int) -> Tensor:
        """Random field of unit variance in some degrees, all alike, ``(1, L, L)``; counter-based, so without memory."""
        count = self.harmonics.truncation + 1
        counter = np.array([0, 0, time & _WORD, member & _WORD], dtype=np.uint64)
        generator = np.random.Generator(np.random.Philox(key=self.config.seed & _WORD, counter=counter))
        draws = generator.standard_normal((2, count, count))
        degree, order = np.indices((count, count))
        inside = (degree >= first) & (degree <= min(last, count - 1)) & (order <= degree)
        real, imaginary = draws * inside
        waves = np.where(order == 0, real, (real + 1j * imaginary) / np.sqrt(2))
        modes = np.sum((2 * np.arange(count) + 1)[first : last + 1])
        return torch.from_numpy(waves * np.sqrt(4 * np.pi / modes))[None]


_WORD = (1 << 64) - 1


def _seconds(time: Any) -> int:
    """A date as seconds since 1970 in its own calendar, or a number as it is."""
    if hasattr(time, "calendar"):
        import cftime

        return int(cftime.date2num(time, "seconds since 1970-01-01", time.calendar))
    if isinstance(time, (np.datetime64, pd.Timestamp)):
        return int(pd.Timestamp(time).value // 10**9)
    return int(time)


def shallow_water_chunks(
    frames: int,
    config: ShallowWaterConfig | None = None,
    *,
    start: str = "2000-01-01",
    spin_up: float = 60.0,
    chunk: int = 100,
    restart: xr.Dataset | None = None,
) -> Iterator[xr.Dataset]:
    """A nature run of any length, a few frames at a time, so that memory does not grow with it.

    Args:
        frames: number of frames in all.
        config: constants.
        start: time of the first frame.
        spin_up: days that are run before it and dropped.
        chunk: frames per dataset.
        restart: frames of an earlier run with the same constants; the run goes on after the last of them, as if it
            had never stopped, and `start` and `spin_up` are not used.

    Yields:
        Datasets of `u`, `v`, `h`, `vorticity`, dimensions ``(time, lat, lon)``, float32, that follow one another.

    Raises:
        SkyweaveError: no frames, a date that is none, or a restart on another grid.
    """
    model = ShallowWater(config)
    if frames < 1 or chunk < 1:
        raise SkyweaveError(f"{frames} frames in chunks of {chunk}; a run has at least one of each")
    step = pd.Timedelta(seconds=model.time_step)
    if restart is None:
        try:
            now = pd.Timestamp(start)
        except ValueError as error:
            raise SkyweaveError(f"start = {start!r} is not a date such as '2000-01-01'") from error
        steps = round(spin_up * DAY / model.time_step)
        now -= steps * step
        state = model.initial()
    else:
        from skyweave.state import to_tensor

        steps = 1
        last = restart.isel(time=[-1])
        state, now = to_tensor(last, model.spec, model.grid), pd.Timestamp(last["time"].values[0])
    for _ in range(steps):
        state, now = model.step(state, now), now + step
    held: list[Tensor] = []
    for index in range(frames):
        held.append(state)
        if len(held) == chunk or index == frames - 1:
            times = pd.date_range(now - (len(held) - 1) * step, periods=len(held), freq=step)
            yield _labelled(torch.cat(held), times, model)
            held = []
        if index < frames - 1:
            state, now = model.step(state, now), now + step


def shallow_water(
    frames: int,
    config: ShallowWaterConfig | None = None,
    *,
    start: str = "2000-01-01",
    spin_up: float = 60.0,
    restart: xr.Dataset | None = None,
) -> xr.Dataset:
    """A nature run of shallow water in memory; see `shallow_water_chunks`."""
    run = shallow_water_chunks(frames, config, start=start, spin_up=spin_up, chunk=frames, restart=restart)
    return next(iter(run))


def _labelled(states: Tensor, times: pd.DatetimeIndex, model: ShallowWater) -> xr.Dataset:
    dims = ("time", "lat", "lon")
    constants = {
        k: list(v) if isinstance(v, tuple) else v for k, v in asdict(model.config).items() if v is not None
    }
    return xr.Dataset(
        {v.name: (dims, states[:, c].numpy(), attributes(v)) for c, v in enumerate(model.spec.variables)},
        coords={
            "time": (
                "time",
                times.to_numpy().astype("datetime64[ns]"),
                {"standard_name": "time", "axis": "T"},
            ),
            "lat": (
                "lat",
                model.grid.lat,
                {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
            ),
            "lon": (
                "lon",
                model.grid.lon,
                {"standard_name": "longitude", "units": "degrees_east", "axis": "X"},
            ),
        },
        attrs={
            "Conventions": "CF-1.11",
            "title": "Forced and damped rotating shallow water on the sphere",
            "source": "skyweave.nature_runs.shallow_water",
            **constants,
        },
    )
