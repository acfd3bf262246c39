"""Edges of the cells of an axis: midway between centres, by Gaussian weights, or as a file states them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skyweave.errors import SkyweaveError

__all__ = [
    "edges_between", "edges_of_bounds", "gaussian_edges", "index_knots", "picked_edges", "unwrapped",
]  # fmt: skip

Floats = NDArray[np.float64]

GAUSSIAN_TOLERANCE = 1e-3
"""Degrees by which latitudes in files may differ from those of a Gaussian grid: they are often rounded so."""
MOST_ROWS = 4000


def edges_between(centres: Floats, spacing: float) -> Floats:
    """Midpoints between centres, and half a step beyond either end.

    Args:
        centres: monotonic, shape ``(n,)``.
        spacing: width of the cell where there is one only.

    Returns:
        Shape ``(n + 1,)``.
    """
    if centres.size == 1:
        return centres[0] + spacing * np.array([-0.5, 0.5])
    middle = (centres[1:] + centres[:-1]) / 2
    first, last = centres[0] - (middle[0] - centres[0]), centres[-1] + (centres[-1] - middle[-1])
    return np.concatenate([[first], middle, [last]])


def gaussian_edges(lat: Floats) -> Floats | None:
    r"""Edges of the rows of a whole Gaussian grid, or None where latitudes are of another kind.

    Rows are as wide as their weights in Gauss-Legendre quadrature, so that means by area are exact:

    .. math:: \sin\phi_{k + 1/2} = -1 + \sum_{j \le k} w_j

    Args:
        lat: degrees, all from pole to pole, in either order, shape ``(n,)``.

    Returns:
        Degrees, in the order of ``lat``, shape ``(n + 1,)``.
    """
    n = lat.size
    if not 4 <= n <= MOST_ROWS:
        return None
    south_first = np.sort(lat)
    # Close to the roots, and cheap: even steps differ from it by a quarter of a row at the poles.
    near = -90 + 180 * (np.arange(1, n + 1) - 0.25) / (n + 0.5)
    if np.abs(south_first - near).max() > 0.1 * 180 / n:
        return None
    from scipy.special import roots_legendre

    roots, weights = roots_legendre(n)
    if np.abs(south_first - np.rad2deg(np.arcsin(roots))).max() > GAUSSIAN_TOLERANCE:
        return None
    sines = np.clip(np.concatenate([[-1.0], -1 + np.cumsum(weights)]), -1, 1)
    sines[-1] = 1.0
    edges = np.rad2deg(np.arcsin(sines))
    return edges if lat[0] < lat[-1] else edges[::-1].copy()


def edges_of_bounds(bounds: Floats, centres: Floats, circle: bool = False) -> Floats:
    """Edges from the bounds of each cell, in either order within a cell.

    Args:
        bounds: shape ``(n, 2)``.
        centres: monotonic (longitudes unwrapped), shape ``(n,)``.
        circle: bounds may be in another longitude convention than the centres.

    Returns:
        Edges in the order of the centres, shape ``(n + 1,)``.

    Raises:
        ValueError: bounds of another shape, not finite, that do not enclose the centres, leave gaps or overlap; its
            text is the reason.
    """
    if bounds.shape != (centres.size, 2):
        raise ValueError(f"their shape is {bounds.shape}, not {(centres.size, 2)}")
    if not np.isfinite(bounds).all():
        raise ValueError("some are not finite")
    low, high = bounds.T.astype(float)
    if circle:
        width = high - low
        if centres.size > 1:
            width = np.where(np.abs(width) > 180, width - 360 * np.sign(width), width)
        low = centres + (low - centres + 180) % 360 - 180
        # A cell of half the circle or more reaches as far back as it reaches forward.
        low = np.where((width > 0) & (low > centres + 1e-6), low - 360, low)
        high = low + width
    low, high = np.minimum(low, high), np.maximum(low, high)
    slack = 1e-3 * float(np.median(high - low)) + 1e-9
    if not (high - low > 0).all():
        raise ValueError("some cells have no width")
    if ((centres < low - slack) | (centres > high + slack)).any():
        place = int(np.flatnonzero((centres < low - slack) | (centres > high + slack))[0])
        raise ValueError(f"{low[place]:g} to {high[place]:g} does not hold its centre, {centres[place]:g}")
    upwards = centres.size == 1 or centres[-1] > centres[0]
    if not upwards:
        low, high = low[::-1], high[::-1]
    if (np.abs(high[:-1] - low[1:]) > slack).any():
        place = int(np.flatnonzero(np.abs(high[:-1] - low[1:]) > slack)[0])
        raise ValueError(
            f"cells leave a gap or overlap: one ends at {high[place]:g}, the next starts at {low[place + 1]:g}"
        )
    edges = np.concatenate([low[:1], (high[:-1] + low[1:]) / 2, high[-1:]])
    if circle and edges[-1] - edges[0] > 360 * (1 + 1e-6):
        raise ValueError(f"they span {edges[-1] - edges[0]:g} degrees")
    return edges if upwards else edges[::-1].copy()


def picked_edges(edges: Floats | None, index: object, centres: Floats, circle: bool = False) -> Floats | None:
    """Edges of some cells of an axis, or None where they no longer touch.

    Args:
        edges: of all cells, or None.
        index: of those kept, as numpy takes it.
        centres: of those kept, unwrapped.
        circle: these are longitudes.
    """
    if edges is None:
        return None
    pairs = np.stack([edges[:-1], edges[1:]], axis=1)[index]  # type: ignore[call-overload]
    try:
        return edges_of_bounds(pairs, centres, circle)
    except ValueError:
        return None


def unwrapped(lon: Floats, name: str) -> tuple[int, Floats]:
    """Direction (+1 eastwards, -1 westwards) and degrees travelled from the first longitude."""
    if lon.size == 1:
        return 1, np.zeros(1)
    steps = np.diff(lon)
    east, west = steps % 360, -steps % 360
    # The direction that goes round the circle at most once; for two points, the shorter way.
    sign, taken = (
        (1, east) if east.sum() < west.sum() or (east.sum() == west.sum() and steps[0] > 0) else (-1, west)
    )
    # Three longitudes or more that leap half the circle are out of order rather than coarse.
    leap = lon.size > 2 and taken.max() >= 180
    if leap or taken.sum() > 360 + 1e-3 or (taken[:-1] <= 0).any() or (taken[-1] <= 0 and lon.size == 2):
        raise SkyweaveError(
            f"{name}: not monotonic ({lon[0]:g}, {lon[1]:g}, ... {lon[-1]:g}); sort it, drop duplicates."
        )
    return sign, np.concatenate([[0.0], np.cumsum(taken)])


def index_knots(centres: Floats, edges: Floats, inner: bool) -> tuple[Floats, Floats]:
    """Interpolation knots from outer edge to outer edge, `inner` ones too, and the array indices at which they lie."""
    n = centres.size
    knots = np.concatenate([edges, centres]) if inner else np.concatenate([edges[[0, -1]], centres])
    places = (
        np.concatenate([np.arange(n + 1) - 0.5, np.arange(n)])
        if inner
        else np.concatenate([[-0.5, n - 0.5], np.arange(n)])
    )
    order = np.argsort(places)
    knots, places = knots[order], places[order]
    # A row on a pole has its outer edge there too.
    distinct = np.ones(knots.size, bool)
    distinct[0], distinct[-1] = knots[0] != knots[1], knots[-1] != knots[-2]
    return knots[distinct], places[distinct]
