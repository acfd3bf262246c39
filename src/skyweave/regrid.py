"""Sparse interpolation weights from a grid to points and to other grids; every row sums to one."""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid

__all__ = [
    "bicubic",
    "bicubic_downsample",
    "bilinear",
    "block_mean",
    "coarsen",
    "conservative",
    "nearest",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Outside = Literal["error", "empty", "edge"]


def nearest(grid: Grid, lat: ArrayLike, lon: ArrayLike, *, outside: Outside = "error") -> sp.csr_array:
    """The cell that contains each point.

    Args:
        grid: the source grid, ``H x W``.
        lat: degrees north, ``n`` points of any shape, flattened.
        lon: degrees east, any convention.
        outside: what a point beyond the outermost cell edges is: an ``"error"``, an ``"empty"`` row, or
            taken to the ``"edge"``.

    Returns:
        Weights, shape ``(n, H*W)``.

    Raises:
        SkyweaveError: points outside the grid, unless ``outside`` says otherwise.
    """
    i, j = _locate(grid, lat, lon, outside, by_cell=True)
    rows, columns = _axis_nearest(i, grid.shape[0], False), _axis_nearest(j, grid.shape[1], grid.periodic)
    return _outer(rows, columns, grid.shape)


def bilinear(grid: Grid, lat: ArrayLike, lon: ArrayLike, *, outside: Outside = "error") -> sp.csr_array:
    """Linear interpolation in latitude and longitude between the four centres around each point.

    Exact for functions linear in latitude and longitude, on irregular axes too. Half a cell beyond the
    outermost centres (and between the last row and the pole) the outermost value is kept. Arguments as in
    `nearest`.
    """
    i, j = _locate(grid, lat, lon, outside)
    rows, columns = _axis_linear(i, grid.shape[0], False), _axis_linear(j, grid.shape[1], grid.periodic)
    return _outer(rows, columns, grid.shape)


def bicubic(
    grid: Grid,
    lat: ArrayLike,
    lon: ArrayLike,
    a: float = -0.75,
    *,
    outside: Outside = "error",
    vector: bool = False,
) -> sp.csr_array:
    r"""Cubic convolution over the 4 x 4 centres around each point.

    The kernel of Keys (1981), in units of the array index:

    .. math:: w(s) = \begin{cases} (a+2)|s|^3 - (a+3)|s|^2 + 1 & |s| \le 1 \\
                                   a|s|^3 - 5a|s|^2 + 8a|s| - 4a & 1 < |s| < 2 \end{cases}

    Longitudes wrap on a periodic grid. Where its outermost row lies no farther from a pole than one row from
    the next, rows go on beyond the pole on the opposite meridian,

    .. math:: f(\pm 180^\circ - \phi, \lambda) = \pm f(\phi, \lambda + 180^\circ),

    with the lower sign for the components of a vector, because east and north turn round at the pole. At other
    edges the outermost row or column is repeated. Other arguments as in `nearest`.

    Args:
        grid: the source grid.
        lat: degrees north.
        lon: degrees east.
        a: -0.75 is that of ``torch.nn.functional.grid_sample`` and so of the multimodal paper's station
            operator; -0.5 is exact for quadratic functions.
        outside: as in `nearest`.
        vector: the field is the eastward or northward component of a vector. Rows of points next to a pole
            then no longer sum to one.
    """
    i, j = _locate(grid, lat, lon, outside)
    columns = _axis_cubic(j, grid.shape[1], grid.periodic, a)
    ends = _ends_at_poles(grid)
    if not any(ends):
        return _outer(_axis_cubic(i, grid.shape[0], False, a), columns, grid.shape)
    p, q = (part.ravel() for part in np.broadcast_arrays(np.asarray(lat, float), np.asarray(lon, float)))
    (rows, weights), beyond = _axis_over_poles(grid, i, p, ends, a)
    opposite = _axis_cubic(grid.index(0 * q, q + 180, clamp=True)[1], grid.shape[1], True, a)
    near = _outer((rows, weights * ~beyond), columns, grid.shape)
    over = _outer((rows, weights * beyond), opposite, grid.shape)
    return sp.csr_array(near - over if vector else near + over)


def block_mean(grid: Grid, factor: int | tuple[int, int], *, area_weighted: bool = False) -> sp.csr_array:
    """Mean over blocks of cells, row-major over the cells of `coarsen`.

    Args:
        grid: the source grid, ``H x W``.
        factor: block size ``s``, or ``(s_lat, s_lon)``.
        area_weighted: weigh by cell area; by default a plain mean, as average pooling.

    Returns:
        Weights, shape ``(H/s * W/s, H*W)``.

    Raises:
        SkyweaveError: the factor does not divide the grid.
    """
    factors = _factors(grid, factor)
    weights = (np.ones(grid.shape[0]), np.ones(grid.shape[1]))
    if area_weighted:
        weights = (grid.area.sum(1), grid.area.sum(0))
    axes = []
    for n, s, w in zip(grid.shape, factors, weights, strict=True):
        share = w.reshape(-1, s) / w.reshape(-1, s).sum(1, keepdims=True)
        axes.append(sp.csr_array((share.ravel(), np.arange(n), np.arange(0, n + 1, s)), shape=(n // s, n)))
    return _kron(axes[0], axes[1])


def coarsen(grid: Grid, factor: int | tuple[int, int]) -> Grid:
    """The grid of blocks of cells: centres are the means of theirs, in the same order and convention.

    Args:
        grid: the fine grid.
        factor: block size, or ``(s_lat, s_lon)``.

    Raises:
        SkyweaveError: the factor does not divide the grid.
    """
    fy, fx = _factors(grid, factor)
    lat = grid.lat.reshape(-1, fy).mean(1)
    lon = grid.lon_unwrapped.reshape(-1, fx).mean(1)
    convention = float(grid.lon.min())
    lon = np.where((lon < convention) | (lon >= convention + 360), (lon - convention) % 360 + convention, lon)
    edges = [e if e is None else e[::f] for e, f in ((grid.lat_edges, fy), (grid.lon_edges, fx))]
    return Grid(lat, lon, grid.lat_name, grid.lon_name, *edges)


def _factors(grid: Grid, factor: int | tuple[int, int]) -> tuple[int, int]:
    fy, fx = (factor, factor) if isinstance(factor, int) else (int(factor[0]), int(factor[1]))
    if fy < 1 or fx < 1 or grid.shape[0] % fy or grid.shape[1] % fx:
        cropped = tuple(n - n % max(f, 1) for n, f in zip(grid.shape, (fy, fx), strict=True))
        raise SkyweaveError(
            f"blocks of {fy} x {fx} do not divide a grid of {grid.shape[0]} x {grid.shape[1]} cells; crop "
            f"it, e.g. to {cropped[0]} x {cropped[1]}, or use the conservative area mean."
        )
    return fy, fx


def conservative(source: Grid, target: Grid) -> sp.csr_array:
    r"""First-order conservative area mean onto another grid.

    .. math:: w_{ts} = \frac{|t \cap s|}{\sum_{s'} |t \cap s'|},

    areas on the sphere. A target cell that the source covers partly takes the mean over the covered part;
    one that it does not cover has an empty row.

    Args:
        source: grid of the field, ``H x W``.
        target: grid of the means, any resolution, order and longitude convention.

    Returns:
        Weights, shape ``(target.size, H*W)``.
    """
    sines = [np.sin(np.deg2rad(g.lat_bounds)) for g in (source, target)]
    return _kron(_cover(sines[0], sines[1], None), _cover(source.lon_bounds, target.lon_bounds, 360.0))


def bicubic_downsample(grid: Grid, target: Grid, antialias: bool) -> sp.csr_array:
    """Bicubic reduction to a coarser grid, as ``torch.nn.functional.interpolate(mode="bicubic")``.

    Args:
        grid: the fine grid, ``H x W``.
        target: the coarse grid, inside the fine one's outermost cell edges.
        antialias: widen the kernel by the ratio of the spacings (and take ``a = -0.5``, as torch and
            Pillow do); otherwise the fine field is sampled at the coarse centres with ``a = -0.75``.

    Returns:
        Weights, shape ``(target.size, H*W)``.

    Raises:
        SkyweaveError: coarse centres outside the fine grid.
    """
    lat, lon = target.mesh()
    i, j = (part.reshape(target.shape) for part in _locate(grid, lat, lon, "error"))
    axes = []
    for axis, places in enumerate((i[:, 0], j[0, :])):
        periodic = axis == 1 and grid.periodic
        n = grid.shape[axis]
        if antialias:
            scale = max(1.0, target.resolution[axis] / grid.resolution[axis])
            columns, weights = _axis_antialias(places, n, periodic, scale)
        else:
            columns, weights = _axis_cubic(places, n, periodic, -0.75)
        axes.append(_rows(columns, weights, n))
    return _kron(axes[0], axes[1])


# ---- one axis at a time: (columns (n, k), weights (n, k)) of fractional indices (n,)


def _axis_nearest(p: Floats, n: int, periodic: bool) -> tuple[Ints, Floats]:
    known = np.isfinite(p)
    index = np.floor(np.where(known, p, 0.0) + 0.5).astype(np.int64)
    return _fold(index[:, None], n, periodic), known[:, None].astype(np.float64)


def _axis_linear(p: Floats, n: int, periodic: bool) -> tuple[Ints, Floats]:
    index, t, known = _split(p, n, periodic)
    weights = np.stack([1 - t, t], axis=1) * known[:, None]
    return _fold(index[:, None] + np.arange(2), n, periodic), weights


def _axis_cubic(p: Floats, n: int, periodic: bool, a: float) -> tuple[Ints, Floats]:
    index, t, known = _split(p, n, periodic)
    offsets = np.arange(-1, 3)
    weights = _keys(t[:, None] - offsets, a) * known[:, None]
    return _fold(index[:, None] + offsets, n, periodic), weights


def _ends_at_poles(grid: Grid) -> tuple[bool, bool]:
    """Whether the first and the last row have a pole for a neighbour."""
    if not grid.periodic or grid.shape[0] < 2:
        return False, False
    first, last = 90 - np.abs(grid.lat[[0, -1]])
    return bool(first <= grid.resolution[0] + 1e-6), bool(last <= grid.resolution[0] + 1e-6)


def _axis_over_poles(
    grid: Grid, p: Floats, lat: Floats, ends: tuple[bool, bool], a: float
) -> tuple[tuple[Ints, Floats], NDArray[np.bool_]]:
    """Rows and weights as of `_axis_cubic`, and which of the rows lie beyond a pole; shapes ``(n, 4)``."""
    n = grid.shape[0]
    gaps = 90 - np.abs(grid.lat[[0, -1]])
    known = np.isfinite(p)
    p = np.where(known, p, 0.0)
    # Half a cell beyond the last centre, indices stop; towards a pole they go on to the row beyond it.
    for end, (gap, out) in enumerate(zip(gaps, (p < 0, p > n - 1), strict=True)):
        centre = n - 1 if end else 0
        if not ends[end]:
            p = np.where(out, centre, p)
        elif gap > 0:
            step = (np.minimum(np.abs(lat), 90) - np.abs(grid.lat[centre])) / (2 * gap)
            p = np.where(out, centre + (step if end else -step), p)
    base = np.floor(p).astype(np.int64)
    index = base[:, None] + np.arange(-1, 3)
    weights = _keys((p - base)[:, None] - np.arange(-1, 3), a) * known[:, None]
    # A row on the pole itself is not repeated beyond it.
    below, above = index < 0, index > n - 1
    mirrored = np.where(below, -index - (gaps[0] > 0), index)
    mirrored = np.where(above, 2 * (n - 1) - index + (gaps[1] > 0), mirrored)
    folded = np.where((below & ends[0]) | (above & ends[1]), mirrored, index)
    beyond = (below & ends[0]) | (above & ends[1])
    return (np.clip(folded, 0, n - 1), weights), beyond


def _axis_antialias(p: Floats, n: int, periodic: bool, scale: float) -> tuple[Ints, Floats]:
    reach = int(np.ceil(2 * scale)) + 1
    columns = np.floor(p).astype(np.int64)[:, None] + np.arange(-reach, reach + 1)
    weights = _keys((columns - p[:, None]) / scale, -0.5)
    if not periodic:
        weights = np.where((columns >= 0) & (columns < n), weights, 0.0)
    return _fold(columns, n, periodic), weights / weights.sum(1, keepdims=True)


def _keys(s: Floats, a: float) -> Floats:
    """Cubic convolution kernel of Keys (1981), Eq. 4 with a free parameter."""
    s = np.abs(s)
    near = ((a + 2) * s - (a + 3)) * s * s + 1
    far = ((a * s - 5 * a) * s + 8 * a) * s - 4 * a
    return np.where(s <= 1, near, np.where(s < 2, far, 0.0))


def _split(p: Floats, n: int, periodic: bool) -> tuple[Ints, Floats, NDArray[np.bool_]]:
    known = np.isfinite(p)
    p = np.where(known, p, 0.0)
    if not periodic:
        p = np.clip(p, 0, n - 1)
    index = np.floor(p).astype(np.int64)
    return index, p - index, known


def _fold(index: Ints, n: int, periodic: bool) -> Ints:
    return index % n if periodic else np.clip(index, 0, n - 1)


def _cover(source: Floats, target: Floats, period: float | None) -> sp.csr_array:
    """Share of each target interval's covered length that lies in each source interval."""
    n_source, n_target = source.size - 1, target.size - 1
    flip_source, flip_target = source[-1] < source[0], target[-1] < target[0]
    s = source[::-1] if flip_source else source
    t = target[::-1] if flip_target else target
    shifts = [0.0]
    if period is not None:
        t = t - period * np.floor((t[0] - s[0]) / period)
        shifts = [-period, 0.0, period]
    rows, columns, lengths = [], [], []
    for shift in shifts:
        low, high = t[:-1] + shift, t[1:] + shift
        first = np.clip(np.searchsorted(s, low, side="right") - 1, 0, n_source)
        last = np.clip(np.searchsorted(s, high, side="left"), 0, n_source)
        count = np.maximum(last - first, 0)
        row = np.repeat(np.arange(n_target), count)
        column = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
        length = np.minimum(high[row], s[column + 1]) - np.maximum(low[row], s[column])
        # Edges that differ by rounding alone do not overlap.
        keep = length > 1e-9 * (high - low)[row]
        rows.append(row[keep])
        columns.append(column[keep])
        lengths.append(length[keep])
    row, column, length = np.concatenate(rows), np.concatenate(columns), np.concatenate(lengths)
    covered = np.bincount(row, weights=length, minlength=n_target)
    weights = length / covered[row]
    if flip_target:
        row = n_target - 1 - row
    if flip_source:
        column = n_source - 1 - column
    return sp.coo_array((weights, (row, column)), shape=(n_target, n_source)).tocsr()


# ---- assembling


def _locate(
    grid: Grid, lat: ArrayLike, lon: ArrayLike, outside: Outside, by_cell: bool = False
) -> tuple[Floats, Floats]:
    i, j = grid.index(lat, lon, clamp=outside == "edge", by_cell=by_cell)
    lost = int(np.isnan(i).sum())
    if lost and outside != "empty":
        raise SkyweaveError(
            f"{lost} of {i.size} points lie outside the grid ({grid.describe()}) or have no position; "
            "drop them first (Grid.contains)."
        )
    return i.ravel(), j.ravel()


def _outer(rows: tuple[Ints, Floats], columns: tuple[Ints, Floats], shape: tuple[int, int]) -> sp.csr_array:
    """Weights of points from those of their two axes."""
    index = rows[0][:, :, None] * shape[1] + columns[0][:, None, :]
    weights = rows[1][:, :, None] * columns[1][:, None, :]
    n = index.shape[0]
    return _rows(index.reshape(n, -1), weights.reshape(n, -1), shape[0] * shape[1])


def _rows(index: Ints, weights: Floats, n_columns: int) -> sp.csr_array:
    n, k = index.shape
    matrix = sp.csr_array((weights.ravel(), index.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n_columns))
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix


def _kron(lat: sp.csr_array, lon: sp.csr_array) -> sp.csr_array:
    """Weights between two grids from those of their two axes: areas and stencils are products."""
    return sp.csr_array(sp.kron(lat, lon, format="csr"))
