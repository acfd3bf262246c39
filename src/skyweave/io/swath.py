"""Area means of pixels with two-dimensional latitude and longitude on a regular grid."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from skyweave.damage import reading
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io.axes import find_time, require_names
from skyweave.io.edges import edge_coordinates
from skyweave.io.formats import open_one
from skyweave.io.missing import Decoding, decoding_of
from skyweave.io.positions import cell_positions

__all__ = ["PixelCells", "bin_to_grid", "grid_coordinates", "grid_swath"]

BLOCK = 2**20
"""Pixels looked up at once: a full disk has thirty million, and the look-up needs many times their memory."""


@dataclass(frozen=True, eq=False)
class PixelCells:
    """Which pixels have their centre in which cell of a grid; found once, used for every field.

    Args:
        grid: of the cells, ``(H, W)``.
        inside: places of those pixels in the flattened array of all, shape ``(n,)``.
        cell: the flattened cell of each, shape ``(n,)``.
    """

    grid: Grid
    inside: NDArray[np.int64]
    cell: NDArray[np.int64]

    @classmethod
    def find(cls, lat: ArrayLike, lon: ArrayLike, grid: Grid) -> PixelCells:
        """Look up pixel centres (degrees, any shape, NaN off the Earth) in the cells of a grid."""
        lat_, lon_ = np.asarray(lat).ravel(), np.asarray(lon).ravel()
        places, cells = [], []
        height, width = grid.shape
        for start in range(0, lat_.size, BLOCK):
            i, j = grid.index(lat_[start : start + BLOCK], lon_[start : start + BLOCK], by_cell=True)
            inside = np.flatnonzero(np.isfinite(i) & np.isfinite(j))
            row = np.clip(np.floor(i[inside] + 0.5).astype(np.int64), 0, height - 1)
            column = np.floor(j[inside] + 0.5).astype(np.int64)
            column = column % width if grid.periodic else np.clip(column, 0, width - 1)
            places.append(start + inside)
            cells.append(row * width + column)
        none = [np.zeros(0, np.int64)]
        return cls(grid, np.concatenate(places or none), np.concatenate(cells or none))

    @property
    def pixels(self) -> NDArray[np.int64]:
        """Number of pixel centres in each cell, with or without a value, shape ``(H, W)``."""
        return np.bincount(self.cell, minlength=self.grid.size).reshape(self.grid.shape)

    def mean(self, values: ArrayLike, minimum_share: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Mean of the finite values in each cell, and how many they are.

        Args:
            values: of all pixels, any shape.
            minimum_share: of a cell's pixels that must have a value; cells with fewer are NaN.

        Returns:
            Mean (float64, NaN where missing) and count (int64), each ``(H, W)``.
        """
        chosen = np.asarray(values).ravel()[self.inside].astype(np.float64)
        known = np.isfinite(chosen)
        cell, size = self.cell[known], self.grid.size
        count = np.bincount(cell, minlength=size).reshape(self.grid.shape)
        total = np.bincount(cell, weights=chosen[known], minlength=size).reshape(self.grid.shape)
        enough = (count > 0) & (count >= minimum_share * self.pixels)
        return np.where(enough, total / np.maximum(count, 1), np.nan), count


def bin_to_grid(
    values: ArrayLike, lat: ArrayLike, lon: ArrayLike, grid: Grid, *, minimum_share: float = 0.0
) -> np.ndarray:
    r"""Area means: the plain mean of the finite pixels whose centres lie in a cell.

    .. math:: \bar v_c = \frac{1}{n_c} \sum_{p \in c} v_p

    Pixels of one cell are taken to have the same area.

    Args:
        values: shape ``(..., y, x)``, NaN where missing.
        lat: degrees north, shape ``(y, x)``.
        lon: degrees east, any convention, shape ``(y, x)``.
        grid: cells of shape ``(H, W)``.
        minimum_share: of a cell's pixels that must have a value, 0 to 1.

    Returns:
        Shape ``(..., H, W)``, NaN where no pixel or too few have a value.
    """
    array, where = np.asarray(values), np.shape(lat)
    cells = PixelCells.find(lat, lon, grid)
    leading = array.shape[: array.ndim - len(where)]
    means = [cells.mean(field, minimum_share)[0] for field in array.reshape(-1, *where)]
    return np.stack(means).reshape(*leading, *grid.shape)


def grid_swath(
    ds: xr.Dataset | str | os.PathLike[str], variable: str, grid: Grid, *, minimum_share: float = 0.2
) -> xr.Dataset:
    """Area means of a swath, or of any field whose cells have a latitude and a longitude each.

    Made for level-2 files (MODIS, VIIRS, GOES cut-outs), projected, rotated, reduced and unstructured grids. Values
    that the file declares missing or invalid are, also where xarray opened it and overlooked a fill of another type;
    negative ones are kept. Screen by quality first: ``ds.where(ds.flag <= 1)``.

    Args:
        ds: a file, or a dataset from xarray; holds the variable, dimensions (time,) y, x, and latitude and longitude
            (y, x), as coordinates or variables; or all of them along one dimension of cells; or a rotated pole, see
            `skyweave.io.positions.cell_positions`.
        variable: its name.
        grid: of the result, ``(H, W)``.
        minimum_share: of a cell's pixels that must have a value; cells with fewer are missing.

    Returns:
        The variable and ``<variable>_count``, pixels with a value in each cell, on (time,) lat, lon.

    Raises:
        SkyweaveError: no such variable, no two-dimensional latitude and longitude on its dimensions, or no
            pixel in the grid.
    """
    ds = ds if isinstance(ds, xr.Dataset) else open_one(os.fspath(ds))
    where = str(ds.encoding.get("source", "dataset"))
    _check_share(minimum_share)
    require_names([variable], [str(n) for n in ds.data_vars], where)
    field = ds[variable]
    lat, lon = cell_positions(ds, where)
    plane = lat.dims
    if not set(plane) <= set(field.dims):
        raise SkyweaveError(
            f"{where}: {variable!r} ({', '.join(map(str, field.dims))}), {lat.name!r} "
            f"({', '.join(map(str, plane))}) and {lon.name!r} ({', '.join(map(str, lon.dims))}) do not share "
            "two dimensions; give a variable on those of its latitude and longitude"
        )
    with reading(where):
        cells = PixelCells.find(lat.values, lon.values, grid)
    if cells.inside.size == 0:
        raise SkyweaveError(no_pixel(where, lat.values, lon.values, grid))
    field = field.transpose(..., *plane)
    leading = field.dims[: -len(plane)]
    shape = tuple(field.sizes[d] for d in leading)
    mean = np.full((*shape, *grid.shape), np.nan, np.float32)
    count = np.zeros((*shape, *grid.shape), np.int32)
    known = _decoding(field)
    for step in np.ndindex(*shape):
        with reading(f"{where}: {variable!r}"):
            values = known(field.isel(dict(zip(leading, step, strict=True))).values)
        mean[step], count[step] = cells.mean(values, minimum_share)
    coords: dict[Any, Any] = {d: field[d] for d in leading if d in field.coords}
    dims = (*leading, grid.lat_name, grid.lon_name)
    attrs = {k: v for k, v in field.attrs.items() if k not in ("coordinates", "grid_mapping", "valid_range")}
    out = xr.Dataset(
        {
            variable: (dims, mean, attrs | {"cell_methods": "area: mean", "minimum_share": minimum_share}),
            f"{variable}_count": (
                dims,
                count,
                {"units": "1", "long_name": "pixels with a value in the cell"},
            ),
        },
        coords | grid_coordinates(grid),
        attrs=ds.attrs,
    )
    time = find_time(field)
    if time is not None and time not in dims and field[time].ndim == 0:
        out = out.expand_dims({time: field[time].values[None]})
    out.encoding["source"] = where
    return out


def _decoding(field: xr.DataArray) -> Decoding:
    """What masks declared fills and invalid values of a field that xarray decoded; those of packed ones it masked."""
    told = field.encoding | field.attrs
    keys = ("_FillValue", "missing_value", "valid_min", "valid_max", "valid_range")
    packed = field.dtype.kind != "f" or "scale_factor" in told or "add_offset" in told
    attrs = {} if packed else {key: told[key] for key in keys if key in told}
    return decoding_of(field.dtype, attrs, limits=True, default=not packed, promote=False)[0]


def grid_coordinates(grid: Grid) -> dict[str, tuple[str, np.ndarray, dict[str, str]]]:
    """Latitude and longitude of a grid as xarray takes them, with CF attributes."""
    axes: dict[str, tuple[str, np.ndarray, dict[str, str]]] = {
        grid.lat_name: (grid.lat_name, grid.lat, {"standard_name": "latitude", "units": "degrees_north"}),
        grid.lon_name: (grid.lon_name, grid.lon, {"standard_name": "longitude", "units": "degrees_east"}),
    }
    for name, edges in ((grid.lat_name, grid.lat_edges), (grid.lon_name, grid.lon_edges)):
        if edges is not None:
            pair = edge_coordinates(name, edges[:-1], edges[1:])
            axes |= {n: (name, np.asarray(v.values), dict(v.attrs)) for n, v in pair.items()}
    return axes


def no_pixel(where: str, lat: np.ndarray, lon: np.ndarray, grid: Grid) -> str:
    """The message where a file and a grid do not meet."""
    on_earth = np.isfinite(lat) & np.isfinite(lon)
    if not on_earth.any():
        return f"{where}: none of its {lat.size} pixels has a latitude and longitude"
    lat, lon = lat[on_earth], lon[on_earth]
    return (
        f"{where}: no pixel lies in the grid ({grid.describe()}); the file covers {lat.min():.2f} to "
        f"{lat.max():.2f} N, {lon.min():.2f} to {lon.max():.2f} E"
    )


def _check_share(share: float) -> None:
    if not 0 <= share <= 1:
        raise SkyweaveError(f"minimum_share {share}: give a share of the pixels of a cell, 0 to 1")
