"""Rows of the stacked operator, and what point tables and grids share in making them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import scipy.sparse as sp

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io.missing import SINGLE
from skyweave.observe.errors import ErrorCovariance
from skyweave.observe.match import (
    TimeAxis,
    TimeMatch,
)
from skyweave.observe.quantities import WIND_COMPONENTS, quantity_of
from skyweave.observe.report import SourceReport
from skyweave.regrid import bicubic, bilinear
from skyweave.state import StateSpec
from skyweave.units import conversion

__all__ = [
    "Frame",
    "Rows",
    "beyond_limits",
    "expand",
    "point_weights",
    "weights_at",
]


@dataclass(frozen=True, eq=False)
class Frame:
    """The state that observations are matched to.

    Args:
        spec: its variables.
        grid: its grid.
        times: its times.
        wanted: cells that may be filled, flat ``(T*C*H*W,)``; ``None`` for all.
    """

    spec: StateSpec
    grid: Grid
    times: TimeAxis
    wanted: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (len(self.times), len(self.spec.variables), *self.grid.shape)

    def column(self, frame: np.ndarray, channel: np.ndarray | int) -> np.ndarray:
        """First column of a map."""
        return (frame.astype(np.int64) * self.shape[1] + channel) * self.grid.size

    def cell(self, at: np.ndarray, channel: np.ndarray, match: TimeMatch) -> np.ndarray:
        """Cells of the state by their place on a map, at the nearer frame; -1 stays."""
        frame = np.where(match.weight > 0.5, match.last, match.first)
        return np.where(at >= 0, self.column(frame, channel) + at, -1)

    def free(self, frames: Iterable[int], channel: int) -> np.ndarray:
        """Cells of a map that may be filled in all of some frames, flat."""
        out = np.ones(self.grid.size, bool)
        if self.wanted is not None:
            for frame in frames:
                start = int(self.column(np.array(frame), channel))
                out &= self.wanted[start : start + self.grid.size]
        return out

    def masked(self, matrix: sp.csr_array) -> np.ndarray:
        """Whether each row weighs a cell that must stay missing."""
        if self.wanted is None:
            return np.zeros(matrix.shape[0], bool)
        return abs(matrix) @ (~self.wanted).astype(float) > 0


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of one source.

    Args:
        matrix: shape ``(n, T*C*H*W)``.
        value: units of the state, shape ``(n,)``.
        R: error covariance, units of the state squared, without the source's weight.
        channel: of each row.
        first, last: frames that a row weighs.
        cell: flat state cell that a row observes directly, -1 where it is a mean of several.
        report: what became of the source.
        predictors: of the source's bias, by name, one number a row.
    """

    matrix: sp.csr_array
    value: np.ndarray
    R: ErrorCovariance
    channel: np.ndarray
    first: np.ndarray
    last: np.ndarray
    cell: np.ndarray
    report: SourceReport
    predictors: Mapping[str, np.ndarray] = field(default_factory=dict)


def weights_at(
    method: Callable[..., sp.csr_array], grid: Grid, lat: np.ndarray, lon: np.ndarray
) -> sp.csr_array:
    """Interpolation weights of points, of which there may be none, shape ``(n, H*W)``."""
    return method(grid, lat, lon) if len(lat) else sp.csr_array((0, grid.size))


def point_weights(
    interpolation: str, spec: StateSpec, grid: Grid, lat: np.ndarray, lon: np.ndarray, channel: np.ndarray
) -> sp.csr_array:
    """Weights of points on one map each, shape ``(n, H*W)``: bicubic ones of winds turn round at the poles."""
    if interpolation == "bilinear":
        return weights_at(bilinear, grid, lat, lon)
    wind = np.array([quantity_of(v) in WIND_COMPONENTS for v in spec.variables])[channel]
    plain = weights_at(bicubic, grid, lat, lon)
    if not wind.any():
        return plain
    turned = weights_at(partial(bicubic, vector=True), grid, lat, lon)
    return sp.csr_array(
        sp.diags_array((~wind).astype(float)) @ plain + sp.diags_array(wind.astype(float)) @ turned
    )


def expand(weights: sp.csr_array, channel: np.ndarray, match: TimeMatch, state: Frame) -> sp.csr_array:
    """Weights on one map as weights on the whole state, at one frame or two."""
    part = sp.csr_array(weights).tocoo()
    row = part.row
    late = match.weight[row]
    columns = [state.column(frame[row], channel[row]) + part.col for frame in (match.first, match.last)]
    both = late > 0
    data = np.concatenate([part.data * (1 - late), (part.data * late)[both]])
    rows, column = np.concatenate([row, row[both]]), np.concatenate([columns[0], columns[1][both]])
    # Weights that are zero but for rounding would tie a row to cells it does not see.
    seen = np.abs(data) > 1e-9
    size = int(np.prod(state.shape))
    return sp.coo_array((data[seen], (rows[seen], column[seen])), shape=(weights.shape[0], size)).tocsr()


def unit_law(found: str, wanted: str, what: str, *, stated: bool) -> tuple[float, float]:
    """Scale and offset from the units of observations to the state's.

    Args:
        found, wanted, what: as for `skyweave.units.conversion`.
        stated: whether the caller states the units, rather than the file.

    Raises:
        SkyweaveError: units that are unknown or of another kind, with the key that overrides those of the file.
    """
    try:
        return conversion(found, wanted, what)
    except SkyweaveError as error:
        if stated:
            raise
        raise SkyweaveError(
            f"{error} Or say what they are at the source, which then counts: units: {wanted} (or another) in the YAML, "
            f"units={wanted!r} in Python"
        ) from error


def beyond_limits(value: np.ndarray, limits: tuple[float | None, float | None]) -> np.ndarray:
    """Whether each value lies outside (low, high), both included, ``None`` for open.

    Limits have the tolerance of single precision: -0.05 stored in it lies below -0.05 by a unit in its last place.
    """
    low, high = (-np.inf if limits[0] is None else limits[0], np.inf if limits[1] is None else limits[1])
    slack = [SINGLE * abs(end) if np.isfinite(end) else 0.0 for end in (low, high)]
    return (value < low - slack[0]) | (value > high + slack[1])
