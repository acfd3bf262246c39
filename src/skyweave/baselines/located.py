"""Where each observation lies: what methods need that know points and values but no operators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from skyweave.grid import Grid
from skyweave.observe.operator import StateOperator
from skyweave.state import StateSpec, apply_bounds

__all__ = ["LocatedObservations", "Observed", "fill_maps", "locate"]

Floats = NDArray[np.float64]


class Observed(Protocol):
    """Observations of one segment: operator, values ``(n,)`` in physical units, error covariance."""

    @property
    def operator(self) -> StateOperator: ...

    @property
    def y(self) -> Any: ...

    @property
    def R(self) -> Any: ...


@dataclass(frozen=True, eq=False)
class LocatedObservations:
    """Observations as points; all arrays have shape ``(n,)``.

    Args:
        lat: degrees north.
        lon: degrees east.
        frame: index along the time axis of the state.
        channel: index of the variable.
        value: physical units.
        variance: of its error, physical units squared.
    """

    lat: Floats
    lon: Floats
    frame: NDArray[np.int64]
    channel: NDArray[np.int64]
    value: Floats
    variance: Floats

    def where(self, rows: NDArray[Any]) -> LocatedObservations:
        """The observations of a boolean mask or of indices."""
        return LocatedObservations(
            *(getattr(self, name)[rows] for name in ("lat", "lon", "frame", "channel", "value", "variance"))
        )


def locate(observed: Observed, grid: Grid) -> LocatedObservations:
    r"""The position of each observation: the centroid of its row of the operator.

    .. math:: \phi = \frac{\sum_c w_c \phi_c}{\sum_c w_c}, \qquad v = \frac{y}{\sum_c w_c}

    and likewise for longitude, as a difference from that of the heaviest cell so that it may wrap. Frame and
    channel are those of the heaviest cell. The centroid of the bicubic weights used for stations lies within
    0.05 cells of the station, other operators' where they should.

    Args:
        observed: operator on ``(T, C, H, W)``, values and errors.
        grid: of the state, ``H x W``.
    """
    matrix = observed.operator.matrix.tocsr()
    n = matrix.shape[0]
    _, C, H, W = observed.operator.shape
    lengths = np.diff(matrix.indptr)
    row, cell, weight = np.repeat(np.arange(n), lengths), matrix.indices.astype(np.int64), matrix.data
    order = np.lexsort((np.abs(weight), row))  # the heaviest cell of each row comes last
    heaviest = cell[order][np.cumsum(lengths) - 1]
    total = np.bincount(row, weight, n)

    def centroid(values: Floats) -> Floats:
        return np.bincount(row, weight * values, n) / total

    reference = grid.lon[heaviest % W]
    east = (grid.lon[cell % W] - reference[row] + 180.0) % 360.0 - 180.0
    return LocatedObservations(
        np.clip(centroid(grid.lat[cell // W % H]), -90.0, 90.0),
        reference + centroid(east),
        heaviest // (C * H * W),
        heaviest // (H * W) % C,
        np.asarray(observed.y, dtype=np.float64) / total,
        np.asarray(observed.R.diagonal, dtype=np.float64) / total**2,
    )


def fill_maps(
    observed: Observed,
    spec: StateSpec,
    grid: Grid,
    method: Callable[[LocatedObservations, Grid], Floats],
    fallback: Floats | None = None,
) -> NDArray[np.float32]:
    """Apply a method to each frame of each variable by itself.

    Frames without observations are interpolated linearly in time between those that have some, and take the
    nearest one's map before the first and after the last. A variable that is never observed takes `fallback`.

    Args:
        observed: operator on ``(T, C, H, W)``, values and errors.
        spec: holds the bounds of the variables, to which the maps keep.
        grid: of the state.
        method: makes a map ``(H, W)`` of at least one observation.
        fallback: maps ``(C, H, W)`` in physical units; NaN when absent.

    Returns:
        One member, ``(1, T, C, H, W)``, physical units.
    """
    T, C, H, W = observed.operator.shape
    points = locate(observed, grid)
    maps = np.full((T, C, H, W), np.nan)
    for c in range(C):
        here = points.where(points.channel == c)
        frames = np.unique(here.frame)
        for t in frames:
            maps[t, c] = method(here.where(here.frame == t), grid)
        if len(frames) == 0:
            if fallback is not None:
                maps[:, c] = fallback[c]
            continue
        for t in np.setdiff1d(np.arange(T), frames):
            after = int(np.searchsorted(frames, t))
            left, right = frames[max(after - 1, 0)], frames[min(after, len(frames) - 1)]
            share = (t - left) / (right - left) if left < t < right else 0.0
            source = right if after == 0 else left
            maps[t, c] = maps[source, c] + (share * (maps[right, c] - maps[left, c]) if share else 0.0)
    return apply_bounds(torch.from_numpy(maps[None]), spec)[0].float().numpy()
