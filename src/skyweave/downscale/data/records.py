"""The coarse and the fine record of an area on one axis of days, read when needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse as sp

from skyweave import regrid
from skyweave.dates import check_date
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid

__all__ = ["Frames", "Record"]

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
KEYS = -0.5
"""Of the cubic kernel; exact for quadratic functions."""


class Frames:
    """Fields of one record by index into an axis of days; days that the record lacks are missing.

    Args:
        dataset: variables with dimensions (time, latitude, longitude).
        names: of the ``C`` variables, in order.
        positions: index of each day in the dataset, -1 where it is absent, ``(T,)``.
        memory_bytes: a record up to this size is kept in memory once read.
    """

    def __init__(
        self, dataset: xr.Dataset, names: Sequence[str], positions: Indices, memory_bytes: float = 2e9
    ) -> None:
        self.dataset, self.names = dataset, tuple(names)
        self.positions = np.asarray(positions, np.int64)
        self.grid = Grid.from_dataset(dataset)
        self._time = str(dataset[self.names[0]].dims[0])
        self._keep = self.frame_bytes * int((self.positions >= 0).sum()) <= memory_bytes
        self._held: Floats | None = None
        self._missing: dict[int, NDArray[np.float64]] = {}

    @property
    def channels(self) -> int:
        """``C``."""
        return len(self.names)

    @property
    def frame_bytes(self) -> int:
        """Memory of one day in float32."""
        return 4 * self.channels * self.grid.size

    def read(self, days: Indices | slice, fill_days: int = 0) -> Floats:
        """Physical fields of some days, ``(n, C, H, W)``, NaN where missing.

        Args:
            days: indices, or a slice of them.
            fill_days: cells that are missing take the last value seen there, up to so many days earlier.
        """
        index = (
            np.arange(len(self.positions))[days] if isinstance(days, slice) else np.asarray(days, np.int64)
        )
        out = self._raw(index)
        for back in range(1, fill_days + 1):
            gaps = ~np.isfinite(out).all(axis=(1, 2, 3)) & (index >= back)
            if not gaps.any():
                break
            earlier = self._raw(index[gaps] - back)
            out[gaps] = np.where(np.isfinite(out[gaps]), out[gaps], earlier)
        return out

    def missing(self, fill_days: int = 0) -> NDArray[np.float64]:
        """Share of the cells of each day that are missing, after filling; ``(T,)``, 1 where the day is absent."""
        if fill_days not in self._missing:
            count = len(self.positions)
            share = np.ones(count)
            block = max(1, int(256e6 // self.frame_bytes))
            for start in range(0, count, block):
                days = np.arange(start, min(start + block, count))
                # Absent days need reading only where something could fill them.
                days = days if fill_days else days[self.positions[days] >= 0]
                if len(days):
                    share[days] = (~np.isfinite(self.read(days, fill_days))).mean(axis=(1, 2, 3))
            self._missing[fill_days] = share
        return self._missing[fill_days]

    def _raw(self, index: Indices) -> Floats:
        at = self.positions[index]
        if self._keep and self._held is None:
            self._held = self._load(np.arange(self.dataset.sizes[self._time]))
        out = np.full((len(index), self.channels, *self.grid.shape), np.nan, np.float32)
        there = at >= 0
        if there.any():
            out[there] = self._load(at[there]) if self._held is None else self._held[at[there]]
        return out

    def _load(self, at: Indices) -> Floats:
        unique, inverse = np.unique(at, return_inverse=True)
        part = self.dataset.isel({self._time: unique})
        fields = np.stack([np.asarray(part[name].values, np.float32) for name in self.names], axis=1)
        return fields[inverse]


@dataclass(frozen=True, eq=False)
class Record:
    """Both records of an area; a "day" is one step, whatever its length.

    Args:
        days: ``(T,)`` datetime64, even, the span of the coarse record.
        coarse: its fields on the coarse grid, ``Cc`` variables.
        fine: fields on the fine grid, ``C`` variables.
        shared: position among the coarse variables of the counterpart of each fine one.
        elevation: area means on the fine grid, ``(H, W)``, m; ``None`` where there is none.
        notes: what was noticed on opening, for people.

    Raises:
        SkyweaveError: a fine grid that is not finer than the coarse one, or reaches beyond it.
    """

    days: NDArray[np.datetime64]
    coarse: Frames
    fine: Frames
    shared: tuple[int, ...]
    elevation: Floats | None = None
    notes: tuple[str, ...] = ()
    weights: sp.csr_array = field(init=False, repr=False)
    """Of bicubic interpolation to the fine centres, ``(H * W, h * w)``."""

    def __post_init__(self) -> None:
        fine, coarse = self.fine.grid, self.coarse.grid
        if any(f >= 0.999 * c for f, c in zip(fine.resolution, coarse.resolution, strict=True)):
            raise SkyweaveError(
                f"the fine grid ({fine.describe()}) is not finer than the coarse one ({coarse.describe()}); "
                "are the two records exchanged?"
            )
        lat, lon = fine.mesh()
        outside = ~coarse.contains(lat, lon)
        if outside.any():
            raise SkyweaveError(
                f"{int(outside.sum())} of {fine.size} fine cells lie outside the coarse grid ({coarse.describe()}); "
                "choose an area inside it"
            )
        object.__setattr__(self, "weights", regrid.bicubic(coarse, lat, lon, a=KEYS))

    @property
    def grid(self) -> Grid:
        """The fine grid."""
        return self.fine.grid

    @property
    def step(self) -> np.timedelta64:
        """Between days."""
        return self.days[1] - self.days[0]

    def index(self, days: Any) -> Indices:
        """Indices of days (datetime64 or ISO text).

        Raises:
            SkyweaveError: a day outside the coarse record.
        """
        for day in np.atleast_1d(days):
            if isinstance(day, str):
                check_date(day, "day")
        wanted = np.atleast_1d(np.asarray(days, "datetime64[ns]"))
        places = np.searchsorted(self.days, wanted)
        found = self.days[np.minimum(places, len(self.days) - 1)] == wanted
        if not found.all():
            raise SkyweaveError(
                f"day {wanted[~found][0]!s:.16} is not one of the coarse record's, {self.days[0]!s:.16} to "
                f"{self.days[-1]!s:.16} every {self.step.astype('timedelta64[h]')}"
            )
        return places.astype(np.int64)

    def weights_of(self, rows: slice, columns: slice) -> sp.csr_array:
        """Those rows of `weights` that belong to a patch of fine cells."""
        cells = np.arange(self.grid.size).reshape(self.grid.shape)[rows, columns].ravel()
        return sp.csr_array(self.weights[cells])

    def interpolate(
        self, fields: Floats, weights: sp.csr_array | None = None, size: tuple[int, int] | None = None
    ) -> Floats:
        """Bicubic interpolation of coarse fields ``(..., h, w)`` to the fine centres.

        Args:
            fields: on the coarse grid, NaN where missing; a fine cell is missing where a value it needs is.
            weights: of a patch, from `weights_of`; the whole domain's without them.
            size: of the patch.
        """
        matrix, shape = (self.weights, self.grid.shape) if weights is None else (weights, size)
        assert shape is not None
        lead = fields.shape[:-2]
        flat = fields.reshape(-1, fields.shape[-2] * fields.shape[-1]).T
        out = np.empty((matrix.shape[0], flat.shape[1]), np.float32)
        for start in range(0, flat.shape[1], 256):
            out[:, start : start + 256] = matrix @ flat[:, start : start + 256]
        return np.ascontiguousarray(out.T).reshape(*lead, *shape)
