"""Which weights on the state's grid an observed grid sees: chosen by how the two grids lie, or as asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.regrid import bicubic_downsample, bilinear, conservative, nearest

__all__ = ["Footprint", "choose", "coverage", "footprint"]

# Grids agree when their cells do to this fraction of a cell.
ALIGNED = 0.02


@dataclass(frozen=True, eq=False)
class Footprint:
    """Weights of one observed grid.

    Args:
        operator: its name, as in `GridObservation`.
        matrix: shape ``(cells, H*W)``, empty rows for cells that are not inside.
        inside: share of each observed cell in the domain, shape ``(cells,)``; 0 or 1 where only the centre
            counts.
        cell: state cell that an observed cell stands for, -1 where it is the mean of several.
        reduce: for ``"aggregate"``, area weights that average the observation onto the state's cells, shape
            ``(H*W, cells)``, rows summing to the share of the state's cell that is covered.
    """

    operator: str
    matrix: sp.csr_array
    inside: np.ndarray
    cell: np.ndarray
    reduce: sp.csr_array | None = None


def choose(observed: Grid, grid: Grid) -> str:
    """The operator that ``"auto"`` stands for.

    The state's own cells: ``"mask"``; cells of s x s of the state's: ``"block-mean"``; twice as fine or more:
    ``"aggregate"``; coarser in any direction, or as coarse but shifted: ``"mean"``; between: ``"bilinear"``.
    """
    if _aligned(observed, grid):
        return "mask"
    if _nested(observed, grid):
        return "block-mean"
    ratio = np.array(observed.resolution) / np.array(grid.resolution)
    if (ratio <= 0.51).all():
        return "aggregate"
    return "bilinear" if (ratio < 0.99).all() else "mean"


def footprint(observed: Grid, grid: Grid, operator: str, what: str) -> Footprint:
    """Weights of an observed grid by an operator of `GridObservation`.

    Raises:
        SkyweaveError: when the grids do not lie as the operator needs.
    """
    operator = choose(observed, grid) if operator == "auto" else operator
    lat, lon = (part.ravel() for part in observed.mesh())
    if operator in ("mask", "bilinear"):
        if operator == "mask" and not _aligned(observed, grid):
            raise SkyweaveError(
                f"observation {what!r}: operator 'mask' needs the state's own cells ({grid.describe()}), its grid "
                f"is {observed.describe()}; try 'auto'"
            )
        inside = grid.contains(lat, lon)
        cells = nearest(grid, lat, lon, outside="empty")
        matrix = cells if operator == "mask" else bilinear(grid, lat, lon, outside="empty")
        return Footprint(operator, matrix, inside.astype(float), _only_column(cells))
    if operator == "aggregate":
        share = coverage(grid, observed)
        weights = sp.csr_array(sp.diags_array(share) @ conservative(observed, grid))
        touched = np.asarray(abs(weights).sum(axis=0)).ravel() > 0
        identity = sp.csr_array(sp.eye_array(grid.size))
        return Footprint(operator, identity, touched.astype(float), np.arange(grid.size), weights)
    inside = coverage(observed, grid)
    none = np.full(observed.size, -1)
    if operator.startswith("bicubic"):
        return Footprint(operator, _bicubic(observed, grid, operator == "bicubic-antialias"), inside, none)
    matrix = conservative(grid, observed)
    if operator == "block-mean":
        factors = _nested(observed, grid)
        if factors is None:
            raise SkyweaveError(
                f"observation {what!r}: operator 'block-mean' needs cells made of whole cells of the state "
                f"({grid.describe()}), its grid is {observed.describe()}; use 'mean'"
            )
        # Edges that agree but for rounding leave slivers of neighbours in the overlap.
        matrix.data = np.where(matrix.data > 0.1 / (factors[0] * factors[1]), 1.0, 0.0)
        matrix.eliminate_zeros()
        count = np.maximum(np.diff(matrix.indptr), 1)
        matrix = sp.csr_array(sp.diags_array(1 / count) @ matrix)
    return Footprint(operator, matrix, inside, none)


def coverage(cells: Grid, domain: Grid) -> np.ndarray:
    """Share of the area of each cell that lies inside another grid's outer edges, shape ``(cells.size,)``."""
    south, north = np.sort(np.sin(np.radians(domain.lat_bounds[[0, -1]])))
    low, high = np.sort(np.sin(np.radians(np.stack([cells.lat_bounds[:-1], cells.lat_bounds[1:]]))), axis=0)
    lat = np.clip(np.minimum(high, north) - np.maximum(low, south), 0, None) / (high - low)
    west, east = np.sort(domain.lon_bounds[[0, -1]])
    low, high = np.sort(np.stack([cells.lon_bounds[:-1], cells.lon_bounds[1:]]), axis=0)
    if domain.periodic:
        lon = np.ones(cells.shape[1])
    else:
        # The copy of each cell that starts less than a turn east of the domain, and the one before it.
        turn = 360.0 * np.floor((low - west) / 360.0)
        parts = [
            np.clip(np.minimum(high - turn - back, east) - np.maximum(low - turn - back, west), 0, None)
            for back in (0.0, 360.0)
        ]
        lon = (parts[0] + parts[1]) / (high - low)
    return np.clip(np.outer(lat, lon), 0, 1).ravel()


def _aligned(observed: Grid, grid: Grid) -> bool:
    """Whether the observed cells inside the domain are cells of the state."""
    ratio = np.array(observed.resolution) / np.array(grid.resolution)
    if np.abs(ratio - 1).max() > ALIGNED:
        return False
    i, j = grid.index(*observed.mesh())
    off = [np.abs(k[np.isfinite(k)] - np.round(k[np.isfinite(k)])) for k in (i, j)]
    return bool(off[0].size == 0 or max(off[0].max(), off[1].max()) < ALIGNED)


def _nested(observed: Grid, grid: Grid) -> tuple[int, int] | None:
    """Whole factors ``(s_lat, s_lon)`` when every observed edge in the domain is an edge of the state's cells."""
    factors = []
    edges = ((observed.lat_bounds, grid.lat_bounds, None), (observed.lon_bounds, grid.lon_bounds, 360.0))
    for axis, (coarse, fine, period) in enumerate(edges):
        step = grid.resolution[axis]
        ratio = observed.resolution[axis] / step
        factor = round(ratio)
        if factor < 1 or abs(ratio - factor) > ALIGNED:
            return None
        low, high = fine.min(), fine.max()
        if period is not None:
            coarse = (coarse - low + ALIGNED * step) % period + low - ALIGNED * step
        within = coarse[(coarse > low + ALIGNED * step) & (coarse < high - ALIGNED * step)]
        ordered = np.sort(fine)
        near = np.clip(np.searchsorted(ordered, within), 1, len(ordered) - 1)
        off = np.minimum(np.abs(within - ordered[near]), np.abs(within - ordered[near - 1]))
        # Cells cut by a pole are narrower, so that they are not made of `factor` whole ones.
        whole = np.ptp(np.abs(np.diff(coarse if period is None else observed.lon_bounds))) < ALIGNED * step
        if (off > ALIGNED * step).any() or not whole:
            return None
        factors.append(factor)
    return (factors[0], factors[1]) if max(factors) > 1 else None


def _bicubic(observed: Grid, grid: Grid, antialias: bool) -> sp.csr_array:
    """Bicubic weights onto the observed cells whose centres are in the domain; empty rows elsewhere."""
    centred = grid.contains(*observed.mesh())
    i, j = np.flatnonzero(centred.any(1)), np.flatnonzero(centred.any(0))
    if not len(i):
        return sp.csr_array((observed.size, grid.size))
    breaks = np.flatnonzero(np.diff(j) > 1)
    if len(breaks):
        j = np.roll(j, -(breaks[0] + 1))
    part = bicubic_downsample(grid, observed.isel(i, j), antialias).tocoo()
    row = (i[:, None] * observed.shape[1] + j[None]).ravel()[part.row]
    return sp.coo_array((part.data, (row, part.col)), shape=(observed.size, grid.size)).tocsr()


def _only_column(matrix: sp.csr_array) -> np.ndarray:
    """Column of the single entry of each row, -1 for an empty row."""
    cell = np.full(matrix.shape[0], -1)
    coo = matrix.tocoo()
    cell[coo.row] = coo.col
    return cell
