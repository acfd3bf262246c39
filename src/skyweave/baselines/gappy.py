"""Maps with gaps: what observations say of the cells that they cover, for methods that work cell by cell."""

from __future__ import annotations

import numpy as np

from skyweave.baselines.interpolation import linear_map
from skyweave.baselines.located import Floats, LocatedObservations, Observed, locate
from skyweave.grid import Grid

__all__ = ["fill_space", "fill_time", "gappy_maps"]


def gappy_maps(observed: Observed, grid: Grid) -> Floats:
    """Observed maps on the grid of the state, NaN where nothing was seen.

    A cell that was observed itself has the mean of its values, weighted by ``1 / variance``. An observation of
    several cells, such as an area mean or a point between centres, covers those with half of its greatest weight
    or more, and they have the value of the linear interpolation of the frame's observations.

    Args:
        observed: operator on ``(T, C, H, W)``, values and errors.
        grid: of the state, ``H x W``.

    Returns:
        ``(T, C, H, W)``, physical units.
    """
    T, C, H, W = shape = observed.operator.shape
    points = locate(observed, grid)
    matrix = observed.operator.matrix.tocsr()
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    weight = np.abs(matrix.data)
    greatest = np.zeros(matrix.shape[0])
    np.maximum.at(greatest, rows, weight)
    covered = weight >= (0.5 - 1e-6) * greatest[rows]
    rows, cells = rows[covered], matrix.indices[covered].astype(np.int64)
    alone = np.bincount(rows, minlength=matrix.shape[0])[rows] == 1
    maps = np.full(shape, np.nan).reshape(T * C, H * W)
    shared = cells[~alone]
    for map_ in np.unique(shared // (H * W)):
        here = points.where(points.frame * C + points.channel == map_)
        within = shared[shared // (H * W) == map_] % (H * W)
        maps[map_, within] = linear_map(here, grid).ravel()[within]
    precision = 1.0 / points.variance[rows[alone]]
    total = np.bincount(cells[alone], precision, maps.size)
    value = np.bincount(cells[alone], precision * points.value[rows[alone]], maps.size)
    seen = np.flatnonzero(total > 0)
    maps.reshape(-1)[seen] = value[seen] / total[seen]
    return maps.reshape(shape)


def fill_time(maps: Floats) -> Floats:
    """Linear in time between the frames in which a cell has a value, constant beyond; NaN where it never has.

    Args:
        maps: ``(T, ...)``.
    """
    T = len(maps)
    flat = maps.reshape(T, -1)
    seen = np.isfinite(flat)
    frame = np.arange(T)[:, None]
    before = np.maximum.accumulate(np.where(seen, frame, -1), axis=0)
    after = np.minimum.accumulate(np.where(seen, frame, T)[::-1], axis=0)[::-1]
    before, after = np.where(before < 0, after, before), np.where(after == T, before, after)
    ever = seen.any(0)
    left, right = (np.clip(k, 0, T - 1) for k in (before, after))
    share = np.where(right > left, (frame - left) / np.maximum(right - left, 1), 0.0)
    column = np.arange(flat.shape[1])
    out = (1 - share) * flat[left, column] + share * flat[right, column]
    return np.where(ever, np.where(seen, flat, out), np.nan).reshape(maps.shape)


def fill_space(field: Floats, grid: Grid) -> Floats:
    """A map ``(H, W)`` with its gaps filled by the linear interpolation of its values; all NaN if it has none."""
    known = np.isfinite(field)
    if known.all() or not known.any():
        return field
    lat, lon = (axis[known] for axis in grid.mesh())
    zero = np.zeros(len(lat), np.int64)
    points = LocatedObservations(lat, lon, zero, zero, field[known], np.ones(len(lat)))
    return np.where(known, field, linear_map(points, grid))
