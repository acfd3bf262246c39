"""Interpolation of the observed values: nearest, piecewise linear, bicubic; no errors, no climatology."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CloughTocher2DInterpolator, LinearNDInterpolator
from scipy.spatial import QhullError, cKDTree

from skyweave import regrid
from skyweave.baselines.climatology import Climatology
from skyweave.baselines.located import Floats, LocatedObservations, Observed, fill_maps
from skyweave.grid import Grid
from skyweave.observe.errors import unit_vectors
from skyweave.state import StateSpec
from skyweave.transform import StateTransform

__all__ = ["bicubic", "cubic_map", "linear", "linear_map", "nearest", "nearest_map"]


def nearest(
    observed: Observed,
    spec: StateSpec,
    grid: Grid,
    *,
    transform: StateTransform | None = None,
    climatology: Climatology | None = None,
    members: int = 1,
    seed: int = 0,
) -> NDArray[np.float32]:
    """The value of the nearest observation along the great circle; arguments as in `skyweave.baselines`."""
    return fill_maps(observed, spec, grid, nearest_map, _fallback(climatology, transform))


def linear(
    observed: Observed,
    spec: StateSpec,
    grid: Grid,
    *,
    transform: StateTransform | None = None,
    climatology: Climatology | None = None,
    members: int = 1,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Linear interpolation on triangles between observations; arguments as in `skyweave.baselines`."""
    return fill_maps(observed, spec, grid, linear_map, _fallback(climatology, transform))


def bicubic(
    observed: Observed,
    spec: StateSpec,
    grid: Grid,
    *,
    transform: StateTransform | None = None,
    climatology: Climatology | None = None,
    members: int = 1,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Bicubic upsampling of a coarse grid, piecewise cubic interpolation of anything else.

    Arguments as in `skyweave.baselines`.
    """
    return fill_maps(observed, spec, grid, cubic_map, _fallback(climatology, transform))


def _fallback(climatology: Climatology | None, transform: StateTransform | None) -> Floats | None:
    return None if climatology is None else climatology.physical_mean(transform)


def nearest_map(points: LocatedObservations, grid: Grid) -> Floats:
    """Each cell takes the value of the observation nearest to it on the sphere, ``(H, W)``."""
    tree = cKDTree(unit_vectors(points.lat, points.lon))
    _, which = tree.query(unit_vectors(*grid.mesh()).reshape(-1, 3))
    return points.value[which].reshape(grid.shape)


def linear_map(points: LocatedObservations, grid: Grid) -> Floats:
    """Linear on the triangles of Delaunay, nearest outside their hull, ``(H, W)``.

    Triangles are drawn on the plane of latitude and longitude, the latter shrunk by the cosine of the middle
    latitude; exact for functions linear in latitude and longitude.
    """
    return _triangulated(points, grid, LinearNDInterpolator)


def cubic_map(points: LocatedObservations, grid: Grid) -> Floats:
    """Cubic convolution of a full, even lattice of points; else Clough-Tocher cubics on triangles, ``(H, W)``.

    The kernel is that of `skyweave.regrid.bicubic` with ``a = -0.5``, exact for quadratics away from the edges of
    the lattice. Edge rows and columns are repeated; longitudes wrap where the lattice goes round the globe.
    """
    upsampled = _lattice(points, grid)
    return _triangulated(points, grid, CloughTocher2DInterpolator) if upsampled is None else upsampled


def _indices(points: LocatedObservations, grid: Grid) -> tuple[Floats, Floats, Floats]:
    """Distinct fractional indices ``(i, j)`` and values; reports of one place averaged by ``1 / variance``."""
    i, j = grid.index(points.lat, points.lon, clamp=True)
    # Centroids are sums of rounded numbers, so that equal places differ in their last digits.
    places, which = np.unique(np.round(np.stack([i, j], axis=1), 4), axis=0, return_inverse=True)
    weight = 1.0 / points.variance
    which = which.reshape(-1)
    value = np.bincount(which, weight * points.value) / np.bincount(which, weight)
    return places[:, 0].astype(np.float64), places[:, 1].astype(np.float64), value


def _triangulated(points: LocatedObservations, grid: Grid, kind: Callable[..., Callable]) -> Floats:
    H, W = grid.shape
    i, j, value = _indices(points, grid)
    if grid.periodic:
        i, value = np.tile(i, 3), np.tile(value, 3)
        j = np.concatenate([j - W, j, j + W])
    middle = np.cos(np.deg2rad(0.5 * (grid.lat.min() + grid.lat.max())))
    scale = np.array([grid.resolution[0], grid.resolution[1] * max(middle, 0.1)])
    at = np.stack(np.meshgrid(np.arange(H), np.arange(W), indexing="ij"), axis=-1) * scale
    try:
        out = kind(np.stack([i, j], axis=1) * scale, value)(at)
    except (QhullError, ValueError):
        # Fewer than three points, or all on one line, span no triangle.
        out = np.full(grid.shape, np.nan)
    outside = np.isnan(out)
    return np.where(outside, nearest_map(points, grid), out) if outside.any() else out


def _lattice(points: LocatedObservations, grid: Grid) -> Floats | None:
    """Bicubic upsampling of points that fill an even lattice of at least 2 x 2; ``None`` of others."""
    i, j, value = _indices(points, grid)
    rows, columns = np.unique(i), np.unique(j)
    if len(value) != len(rows) * len(columns) or min(len(rows), len(columns)) < 2:
        return None
    if any(np.ptp(np.diff(axis)) > 1e-3 * np.diff(axis).mean() for axis in (rows, columns)):
        return None
    # On a periodic grid a column may lie between the last and the first.
    east = np.append(grid.lon_unwrapped, grid.lon_unwrapped[-1] + np.diff(grid.lon_unwrapped).mean())
    coarse = Grid(
        np.interp(rows, np.arange(grid.shape[0]), grid.lat), np.interp(columns, np.arange(len(east)), east)
    )
    weights = regrid.bicubic(coarse, *grid.mesh(), a=-0.5, outside="edge")
    # np.unique sorts by i, then j: the values are row-major already.
    return np.asarray(weights @ value).reshape(grid.shape)
