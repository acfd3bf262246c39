"""Channels that tell a patch where and when it is: position, surface, hour of the day, day of the year."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from skyweave import regrid
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.prior.insolation import insolation

CONDITIONING: dict[str, int] = {
    "latitude": 1,
    "longitude": 2,
    "elevation": 1,
    "land_sea_mask": 1,
    "hour": 2,
    "day_of_year": 2,
    "insolation": 1,
}
"""Channels by the name asked for in a configuration, with how many each adds."""

STATIC = ("elevation", "land_sea_mask")
"""Those read from a file and stored in the prior."""

NEEDS_TIME = ("hour", "day_of_year", "insolation")

_STATIC_SCALE = {"elevation": 1e-3, "land_sea_mask": 1.0}


@dataclass(frozen=True, eq=False)
class StaticField:
    """A field of the surface on a grid of its own: `values` (H, W) in the file's units, NaN read as zero."""

    grid: Grid
    values: np.ndarray

    def on(self, grid: Grid, name: str) -> np.ndarray:
        """Bilinear interpolation to `grid` (H, W).

        Raises:
            SkyweaveError: the field does not cover the grid.
        """
        lat, lon = (a.ravel() for a in np.meshgrid(grid.lat, grid.lon, indexing="ij"))
        inside = self.grid.contains(lat, lon)
        if not inside.all():
            raise SkyweaveError(
                f"the {name} stored in this prior covers latitudes {self.grid.lat.min():g} to "
                f"{self.grid.lat.max():g} and longitudes {self.grid.lon.min():g} to {self.grid.lon.max():g}; "
                f"{(~inside).mean():.0%} of the grid lies outside it"
            )
        weights = regrid.bilinear(self.grid, lat, lon)
        return (weights @ np.nan_to_num(self.values).ravel()).reshape(grid.shape)


@dataclass(frozen=True, eq=False)
class Conditioning:
    """The conditioning channels of a prior: their names in order, and the static fields they need."""

    names: tuple[str, ...] = ()
    static: Mapping[str, StaticField] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of channels K."""
        return sum(CONDITIONING[name] for name in self.names)

    @property
    def needs_time(self) -> bool:
        return any(name in NEEDS_TIME for name in self.names)

    def bind(self, grid: Grid) -> BoundConditioning:
        """The channels on a particular grid."""
        surface = {
            name: (self.static[name].on(grid, name) * _STATIC_SCALE[name]).astype(np.float32)
            for name in self.names
            if name in STATIC
        }
        return BoundConditioning(self.names, grid.lat, grid.lon, surface)


@dataclass(frozen=True, eq=False)
class BoundConditioning:
    """Conditioning channels on one grid, cut out and put in time on demand."""

    names: tuple[str, ...]
    lat: np.ndarray
    lon: np.ndarray
    surface: Mapping[str, np.ndarray]

    def channels(
        self,
        times: Sequence[object] | np.ndarray | None,
        count: int = 1,
        rows: object = None,
        columns: object = None,
    ) -> Tensor:
        """Channels (T, K, H, W) at `times`, or for `count` equal frames where nothing depends on time.

        ``latitude``: sine. ``longitude``: sine and cosine. ``hour``: sine and cosine of local solar time,
        ``2 pi (UTC hour / 24 + lon / 360)``. ``day_of_year``: sine and cosine. ``insolation``: see
        `skyweave.prior.insolation`. Elevation in km.

        Args:
            times: datetime64 or cftime (T,), or None.
            rows: indices into the latitudes; all where None. Likewise `columns`.

        Raises:
            SkyweaveError: a channel depends on time and `times` is None.
        """
        i = np.arange(len(self.lat)) if rows is None else np.asarray(rows)
        j = np.arange(len(self.lon)) if columns is None else np.asarray(columns)
        lat, lon = np.deg2rad(self.lat[i])[:, None], np.deg2rad(self.lon[j])[None, :]
        frames = count if times is None else len(times)
        shape = (frames, len(i), len(j))
        planes: list[np.ndarray] = []
        for name in self.names:
            if name == "latitude":
                planes += [np.sin(lat)]
            elif name == "longitude":
                planes += [np.sin(lon), np.cos(lon)]
            elif name in STATIC:
                planes += [self.surface[name][np.ix_(i, j)]]
            else:
                if times is None:
                    raise SkyweaveError(f"this prior is conditioned on {name}: times are needed")
                hours, days = clock(times)
                if name == "insolation":
                    hours, days = hours[:, None, None], days[:, None, None]
                    planes += [insolation(hours, days, self.lat[i][:, None], self.lon[j])]
                    continue
                if name == "hour":
                    angle = 2 * np.pi * hours[:, None, None] / 24 + lon
                else:
                    angle = 2 * np.pi * days[:, None, None] / 365.25
                planes += [np.sin(angle), np.cos(angle)]
        if not planes:
            return torch.zeros((frames, 0, len(i), len(j)))
        stacked = np.stack([np.broadcast_to(p, shape) for p in planes], axis=1)
        return torch.from_numpy(stacked.astype(np.float32))


def clock(times: Sequence[object] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """UTC hour of the day and day of the year, both fractional, of datetime64 or cftime values."""
    values = np.asarray(times)
    if np.issubdtype(values.dtype, np.datetime64):
        index = pd.DatetimeIndex(values)
        hours = np.asarray(index.hour + index.minute / 60 + index.second / 3600, dtype=float)
        return hours, np.asarray(index.dayofyear - 1, dtype=float) + hours / 24
    hours = np.array([t.hour + t.minute / 60 + t.second / 3600 for t in values], dtype=float)
    return hours, np.array([t.timetuple().tm_yday - 1 for t in values], dtype=float) + hours / 24


def static_fields(grids: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, StaticField]:
    """The surfaces of a file, each on the grid that its header has for it.

    Raises:
        ValueError: none of that name, or of another shape than its grid.
    """
    fields = {}
    for name, values in grids.items():
        grid, surface = Grid.from_dict(values), tensors.get(f"static.{name}")
        if surface is None or tuple(surface.shape) != grid.shape or not surface.is_floating_point():
            found = "absent" if surface is None else f"{surface.dtype} of shape {tuple(surface.shape)}"
            raise ValueError(f"static.{name} is {found}, its grid has {grid.shape}")
        fields[name] = StaticField(grid, surface.float().numpy())
    return fields
