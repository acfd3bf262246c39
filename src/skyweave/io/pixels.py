"""Fields whose cells have a latitude and a longitude each (swaths, projections, reduced grids), to a regular grid."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from skyweave.errors import SkyweaveError, did_you_mean, note
from skyweave.grid import Grid
from skyweave.io.axes import find_time, require_names
from skyweave.io.combine import in_sequence
from skyweave.io.formats import expand, open_one
from skyweave.io.positions import cell_positions
from skyweave.io.read import select_values, with_times
from skyweave.io.regridded import moved_fields, regular_cells
from skyweave.io.select import select_time
from skyweave.io.stamps import in_order
from skyweave.io.swath import PixelCells, no_pixel
from skyweave.io.valid_time import with_valid_time

__all__ = ["PIXEL_METHODS", "open_pixels", "pixel_grid", "regrid_pixels"]

PIXEL_METHODS = ("conservative", "nearest")
NEIGHBOURS = 4
"""The nearest pixel of a place may be as far away as a pixel's fourth neighbour usually is."""


def open_pixels(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    variables: Sequence[str] | None = None,
    *,
    time: Any = None,
    select: Mapping[str, Any] | None = None,
) -> tuple[xr.Dataset, xr.DataArray, xr.DataArray]:
    """Open fields whose cells have a latitude and a longitude each, lazily.

    Args:
        paths: one file, or several of the same cells that follow one another in time.
        variables: names; all with the dimensions of latitude and longitude if None.
        time: period, as for `skyweave.io.open_fields`.
        select: values along other dimensions.

    Returns:
        The fields, dimensions (others, time, those of the cells); latitude and longitude of the cells, degrees.

    Raises:
        SkyweaveError: no positions, no such variable, files of other cells.
    """
    files = expand(paths)
    pieces, places = [], []
    for path in files:
        ds = open_one(path)
        lat, lon = cell_positions(ds, path)
        plane = lat.dims
        fields = [
            str(n) for n, v in ds.data_vars.items() if set(plane) <= set(v.dims) and v.dtype.kind in "fiub"
        ]
        fields = [n for n in fields if n not in (lat.name, lon.name)]
        require_names(list(variables or []), fields, path)
        ds = with_times(ds, path, plane)
        source = ds.encoding["source"]
        chosen = {n: select_values(ds[n].chunk(), select or {}, path) for n in (variables or fields)}
        ds = with_valid_time(xr.Dataset(chosen, attrs=ds.attrs), path, plane=plane)
        name = find_time(ds)
        if name is not None and name not in ds.dims:
            ds = ds.expand_dims(name)
        ds.encoding["source"] = source
        pieces.append(ds.transpose(..., *([name] if name else []), *plane))
        places.append((lat, lon))
        if any(not np.array_equal(a, b, equal_nan=True) for a, b in zip(places[0], places[-1], strict=True)):
            raise SkyweaveError(
                f"{path}: its cells are elsewhere than those of {files[0]}; regrid files of different cells, such as "
                "granules of a swath, one at a time"
            )
    out = pieces[0] if len(pieces) == 1 else in_sequence(pieces)
    where = files[0] if len(files) == 1 else f"{files[0]} ... ({len(files)} files)"
    name = find_time(out)
    out = out if name is None else in_order(out, name, where)
    out = out if time is None else select_time(out, time, where)
    out.encoding["source"] = where
    return out, *places[0]


def pixel_grid(resolution: float | tuple[float, float], lat: ArrayLike, lon: ArrayLike) -> Grid:
    """Regular cells over the extent of pixels, also across 0 and 180 degrees; edges are multiples of their size.

    Args:
        resolution: degrees, or ``(latitude, longitude)``.
        lat: degrees north, any shape, NaN off the Earth.
        lon: degrees east, any convention.

    Raises:
        SkyweaveError: no positive size, or no pixel on Earth.
    """
    known = np.isfinite(np.asarray(lat)) & np.isfinite(np.asarray(lon))
    if not known.any():
        raise SkyweaveError("no pixel has a latitude and longitude")
    rows, columns = np.asarray(lat, float)[known], np.asarray(lon, float)[known]
    ordered = np.sort(np.unique(np.round(columns % 360, 6)))
    gaps = np.diff(np.append(ordered, ordered[0] + 360))
    widest = int(np.argmax(gaps))
    west = ordered[(widest + 1) % ordered.size]
    east = west + 360 - gaps[widest]
    if columns.min() < 0 and west > 180:
        west, east = west - 360, east - 360
    return regular_cells(resolution, (float(rows.min()), float(rows.max())), (float(west), float(east)))


def regrid_pixels(
    ds: xr.Dataset, lat: xr.DataArray, lon: xr.DataArray, target: Grid, method: str = "conservative"
) -> xr.Dataset:
    r"""Fields of pixels on a grid; nothing is read before a value is asked for.

    "conservative" is the plain mean of the pixels whose centres lie in a cell, of those that have a value:
    :math:`\bar v_c = \frac{1}{n_c} \sum_{p \in c} v_p`. "nearest" is the pixel nearest to the cell's centre, no farther
    than neighbouring pixels are from each other.

    Args:
        ds: fields, the dimensions of the pixels last.
        lat: degrees north of each pixel.
        lon: degrees east.
        target: the grid wanted.
        method: one of `PIXEL_METHODS`.

    Raises:
        SkyweaveError: another method, or no pixel in the grid.
    """
    where = str(ds.encoding.get("source", "dataset"))
    if method not in PIXEL_METHODS:
        raise SkyweaveError(
            f"{where}: its cells have a latitude and longitude each, so the method is one of "
            f"{', '.join(PIXEL_METHODS)}, not {method!r}{did_you_mean(method, PIXEL_METHODS)}"
        )
    places = np.asarray(lat.values, float).ravel(), np.asarray(lon.values, float).ravel()
    weights = (_means if method == "conservative" else _nearest)(*places, target)
    filled = np.asarray(np.diff(weights.indptr) > 0)
    if not filled.any():
        raise SkyweaveError(no_pixel(where, *places, target))
    if method == "conservative":
        reached = np.asarray(np.diff(_nearest(*places, target).indptr) > 0)
        empty = int((reached & ~filled).sum())
        if empty:
            note(
                f"{where}: {empty} of {int((reached | filled).sum())} cells among its pixels hold no centre of one and "
                "are missing; --method nearest fills them, or choose larger cells"
            )
    return moved_fields(ds, tuple(map(str, lat.dims)), target, lambda _: weights, method)


def _means(lat: NDArray[np.float64], lon: NDArray[np.float64], grid: Grid) -> sp.csr_array:
    cells = PixelCells.find(lat, lon, grid)
    share = 1.0 / np.maximum(np.bincount(cells.cell, minlength=grid.size), 1)
    return sp.csr_array((share[cells.cell], (cells.cell, cells.inside)), shape=(grid.size, lat.size))


def _nearest(lat: NDArray[np.float64], lon: NDArray[np.float64], grid: Grid) -> sp.csr_array:
    from scipy.spatial import cKDTree

    known = np.flatnonzero(np.isfinite(lat) & np.isfinite(lon))
    tree = cKDTree(_on_sphere(lat[known], lon[known]))
    sample = known[:: max(1, known.size // 10000)]
    # The first neighbour of a pixel is itself.
    apart = tree.query(_on_sphere(lat[sample], lon[sample]), k=min(NEIGHBOURS + 1, known.size))[0]
    apart = np.asarray(apart, np.float64).reshape(sample.size, -1)
    spacing = float(np.median(apart[:, -1])) if known.size > 1 else 0.0
    distance, pixel = tree.query(_on_sphere(*(part.ravel() for part in grid.mesh())))
    near = np.flatnonzero(np.asarray(distance) <= max(spacing * (1 + 1e-6), 1e-9))
    chosen = known[np.asarray(pixel)[near]]
    return sp.csr_array((np.ones(near.size), (near, chosen)), shape=(grid.size, lat.size))


def _on_sphere(lat: NDArray[np.float64], lon: NDArray[np.float64]) -> NDArray[np.float64]:
    phi, lam = np.deg2rad(lat), np.deg2rad(lon)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=1)
