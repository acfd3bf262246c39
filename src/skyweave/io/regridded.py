"""Fields on another grid: lazily, in blocks of time, to NetCDF or to a Zarr store that can be resumed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Hashable
from functools import partial
from pathlib import Path

import dask.array as da
import numpy as np
import scipy.sparse as sp
import xarray as xr

from skyweave import regrid
from skyweave.errors import SkyweaveError, did_you_mean, note
from skyweave.grid import Grid
from skyweave.io.axes import find_time
from skyweave.io.encoding import PACKED_LIMITS
from skyweave.io.formats import is_url
from skyweave.io.inputs import content_of, file_states
from skyweave.io.made_with import digest_of
from skyweave.io.progress import Progress
from skyweave.io.regions import Regions, block_length
from skyweave.io.swath import grid_coordinates
from skyweave.io.write import write
from skyweave.limits import MOST

__all__ = ["METHODS", "regrid_fields", "regular_grid", "write_in_blocks"]

FLAGS = ("flag_values", "flag_masks", "flag_meanings")
METHODS = ("conservative", "bilinear", "bicubic", "nearest")
BLOCK_BYTES = 32 * 2**20


OF_THE_FIELD = frozenset(
    ("paramId", "shortName", "name", "units", "cfName", "cfVarName", "dataType", "typeOfLevel", "stepType", "stepUnits",
     "totalNumber", "edition", "centre", "centreDescription", "subCentre", "level", "number", "constituentType")
)  # fmt: skip
"""Keys of GRIB that describe the quantity; the others describe the grid that it was on."""
EXTENT = re.compile(
    r"geospatial_|(southern|northern|western|eastern)most(lat|lon)|(latitude|longitude|data)_?resolution$|"
    r"(nominal|spatial)_resolution$", re.IGNORECASE
)  # fmt: skip


def of_the_grid(key: str) -> bool:
    """Whether an attribute describes the grid of its file, which is no longer there on another."""
    if key.startswith("GRIB_"):
        return key.removeprefix("GRIB_") not in OF_THE_FIELD
    return EXTENT.match(key) is not None


def _with_means(ds: xr.Dataset, method: str) -> xr.Dataset:
    """The variables of which values between cells make sense: no flags, unless they are taken from the nearest.

    Raises:
        SkyweaveError: there is no other.
    """
    flags = [n for n, v in ds.data_vars.items() if any(key in v.attrs for key in FLAGS)]
    if method == "nearest" or not flags:
        return ds
    told = f"{ds.encoding.get('source', 'dataset')}: {', '.join(map(repr, flags[:6]))} hold flags, which have no mean"
    if len(flags) == len(ds.data_vars):
        raise SkyweaveError(f"{told}; take them from the nearest cell with --method nearest")
    note(f"{told}, and are left out; --method nearest takes them from the nearest cell")
    return ds.drop_vars(flags)


def regular_grid(resolution: float | tuple[float, float], like: Grid) -> Grid:
    """Cells of a given size over the extent of a grid, in its order and its names.

    On a global grid they fill the Earth: rows from pole to pole, the first column centred on 0 degrees (or on -180,
    where the given longitudes start below zero), as in WeatherBench. Elsewhere they start at the southern and western
    edge, and what is narrower than a cell is left over.

    Args:
        resolution: degrees, or ``(latitude, longitude)``. On a global grid it must divide the Earth to a thousandth.
        like: the grid whose extent is meant.

    Raises:
        SkyweaveError: a size that does not divide the Earth, or is wider than the region.
    """
    step = np.broadcast_to(np.asarray(resolution, float), (2,))
    if not (np.isfinite(step).all() and (step > 0).all()):
        raise SkyweaveError(f"resolution {resolution}: a positive number of degrees, or two")
    south, north = np.sort(like.lat_bounds[[0, -1]])
    cells = float((north - south) / step[0]) * float(np.ptp(like.lon_bounds) / step[1])
    if cells > MOST["cells"]:
        raise SkyweaveError(
            f"resolution {resolution}: {cells:.1e} cells over {like.describe()}; at most {MOST['cells']:.1e}"
        )
    whole = like.periodic and north - south > 180 - 1.5 * like.resolution[0]
    if whole:
        rows, columns = (_divisions(span, float(s)) for span, s in ((180, step[0]), (360, step[1])))
        lat = -90 + (np.arange(rows) + 0.5) * 180 / rows
        lon = np.arange(columns) * 360 / columns - (180 if like.lon.min() < 0 else 0)
    else:
        west, east = np.sort(like.lon_bounds[[0, -1]])
        count = [int((b - a) / s + 1e-6) for a, b, s in ((south, north, step[0]), (west, east, step[1]))]
        if min(count) < 1:
            raise SkyweaveError(f"resolution {resolution}: wider than the region, {like.describe()}")
        lat = south + (np.arange(count[0]) + 0.5) * step[0]
        lon = west + (np.arange(count[1]) + 0.5) * step[1]
    return Grid(lat[::-1].copy() if like.lat[0] > like.lat[-1] else lat, lon, like.lat_name, like.lon_name)


def regular_cells(
    resolution: float | tuple[float, float], lat: tuple[float, float], lon: tuple[float, float]
) -> Grid:
    """Cells that hold an extent, whose edges are multiples of their size.

    Args:
        resolution: degrees, or ``(latitude, longitude)``.
        lat: southernmost and northernmost place, degrees.
        lon: westernmost and easternmost, unwrapped, degrees.

    Raises:
        SkyweaveError: a size that is not positive, or does not divide the Earth where the extent is all of it.
    """
    step = np.broadcast_to(np.asarray(resolution, float), (2,))
    if not (np.isfinite(step).all() and (step > 0).all()):
        raise SkyweaveError(f"resolution {resolution}: a positive number of degrees, or two")
    first = [np.floor(lat[0] / step[0] + 1e-9), np.floor(lon[0] / step[1] + 1e-9)]
    last = [np.floor(lat[1] / step[0] + 1e-9), np.floor(lon[1] / step[1] + 1e-9)]
    rows = (np.arange(first[0], last[0] + 1) + 0.5) * step[0]
    rows = rows[np.abs(rows) < 90]
    columns = (np.arange(first[1], last[1] + 1) + 0.5) * step[1]
    if columns.size * step[1] > 360 - 1e-6:
        columns = (np.arange(_divisions(360, float(step[1]))) + 0.5) * step[1] - (180 if lon[0] < 0 else 0)
    return Grid(rows, columns)


def _divisions(span: float, step: float) -> int:
    count = max(1, round(span / step))
    if abs(span / step / count - 1) > 1e-3:
        near = ", ".join(f"{span / n:.6g} ({n} cells)" for n in (count + 1, count, count - 1) if n > 0)
        raise SkyweaveError(f"resolution {step:g}: does not divide {span:g} degrees; near it are {near}")
    return count


def regrid_fields(
    ds: xr.Dataset, target: Grid, method: str = "conservative", *, vectors: Collection[str] = ()
) -> xr.Dataset:
    """Every gridded variable on another grid; nothing is read before a value is asked for.

    A conservative mean is that of the part of a cell where values are present; elsewhere a value is missing where one
    that it is made of is. Cells whose centre lies outside the source stay missing.

    Args:
        ds: from `skyweave.io.open_fields`.
        target: the grid wanted.
        method: one of `METHODS`: area means, or interpolation to the centres of the cells.
        vectors: names of eastward and northward components, which turn round at the poles (for "bicubic").

    Returns:
        The variables with their attributes, other coordinates as they were.

    Raises:
        SkyweaveError: an unknown method, or grids that do not overlap.
    """
    if method not in METHODS:
        raise SkyweaveError(
            f"no method {method!r}{did_you_mean(method, METHODS)}; there are {', '.join(METHODS)}"
        )
    source = Grid.from_dataset(ds)
    inside = source.contains(*target.mesh()).ravel()
    where = str(ds.encoding.get("source", "dataset"))
    if not inside.any():
        raise SkyweaveError(
            f"{where}: covers {source.describe()}, and no cell of the grid wanted, {target.describe()}"
        )
    weights = {
        turned: _weights(source, target, method, inside, turned)
        for turned in {False, *(n in vectors for n in ds)}
    }
    whole = bool(inside.all())
    return moved_fields(ds, source.dims_in(ds), target, lambda name: weights[name in vectors], method, whole)


def moved_fields(
    ds: xr.Dataset,
    plane: tuple[str, ...],
    target: Grid,
    weights_of: Callable[[Hashable], sp.csr_array],
    method: str,
    whole: bool = False,
) -> xr.Dataset:
    """Every variable on the cells of some dimensions brought to a grid by weights, lazily.

    Args:
        ds: fields, the dimensions of the cells last.
        plane: names of those dimensions.
        target: the grid wanted.
        weights_of: weights for a variable, shape ``(target.size, cells)``.
        method: "conservative" takes means of what is present; "nearest" keeps the kind of numbers.
        whole: no cell of the target lies outside the source.
    """
    coordinates = {n: xr.Variable(*parts) for n, parts in grid_coordinates(target).items()}
    out = {}
    for name, field in _with_means(ds, method).items():
        if not set(plane) <= set(field.dims):
            out[name] = field
            continue
        kind = field.dtype if method == "nearest" or field.dtype.kind == "f" else np.dtype("float32")
        kind = kind if whole or kind.kind == "f" else np.dtype("float32")
        change = partial(_applied, weights_of(name), method == "conservative", target.shape, kind, len(plane))
        # Names that the input has as well must not meet the new coordinates.
        sizes = {"_lat": target.shape[0], "_lon": target.shape[1]}
        moved = xr.apply_ufunc(
            change, field.drop_vars(_positions(field, plane)), input_core_dims=[list(plane)],
            output_core_dims=[list(sizes)], exclude_dims=set(plane), dask="parallelized", keep_attrs=True,
            output_dtypes=[kind], dask_gufunc_kwargs={"output_sizes": sizes},
        )  # fmt: skip
        moved = moved.rename({"_lat": target.lat_name, "_lon": target.lon_name})
        # What the file said of its own cells and values; an interpolated value may lie a little beyond its limits.
        gone = (*PACKED_LIMITS, "grid_mapping", "coordinates", "cell_measures", "ancillary_variables")
        moved.attrs = {k: v for k, v in moved.attrs.items() if k not in gone and not of_the_grid(str(k))}
        if method == "conservative":
            moved.attrs["cell_methods"] = f"{moved.attrs.get('cell_methods', '')} area: mean".strip()
        out[name] = moved
    kept = {k: v for k, v in ds.attrs.items() if not of_the_grid(str(k))}
    result = xr.Dataset(out, attrs=kept).assign_coords(coordinates)
    result.encoding["source"] = str(ds.encoding.get("source", "dataset"))
    return result


def _positions(field: xr.DataArray, plane: tuple[str, ...]) -> list[Hashable]:
    return [n for n, c in field.coords.items() if set(c.dims) & set(plane)]


def _weights(source: Grid, target: Grid, method: str, inside: np.ndarray, turned: bool) -> sp.csr_array:
    if method == "conservative":
        matrix = regrid.conservative(source, target)
    else:
        makers: dict[str, Callable[..., sp.csr_array]] = {
            "nearest": regrid.nearest,
            "bilinear": regrid.bilinear,
            "bicubic": partial(regrid.bicubic, a=-0.5, vector=turned),
        }
        matrix = makers[method](source, *target.mesh(), outside="empty")
    return sp.csr_array(sp.diags_array(inside.astype(float)) @ matrix)


def _applied(
    weights: sp.csr_array, mean: bool, shape: tuple[int, int], kind: np.dtype, axes: int, values: np.ndarray
) -> np.ndarray:
    """Weights on the last axes of a block, those of the cells."""
    leading = values.shape[: values.ndim - axes]
    flat = values.reshape(-1, int(np.prod(values.shape[values.ndim - axes :])))
    if values.dtype.kind != "f":
        out = weights @ flat.T.astype(float)
        out[np.diff(weights.indptr) == 0] = np.nan
    else:
        present = np.isfinite(flat)
        out = weights @ np.where(present, flat, 0.0).T.astype(float)
        if present.all():
            out[np.diff(weights.indptr) == 0] = np.nan
        else:
            touching = sp.csr_array(
                (np.abs(weights.data), weights.indices, weights.indptr), shape=weights.shape
            )
            seen, all_of_it = touching @ present.T.astype(float), np.asarray(touching.sum(axis=1))[:, None]
            with np.errstate(divide="ignore", invalid="ignore"):
                whole = seen > 1e-9 if mean else (seen > all_of_it - 1e-6) & (all_of_it > 0)
                out = np.where(whole, out / seen if mean else out, np.nan)
    return np.ascontiguousarray(out.T).reshape(*leading, *shape).astype(kind)


def write_in_blocks(
    ds: xr.Dataset,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    message: str = "written",
    inputs: Collection[str] = (),
    progress: bool = False,
) -> Path | str:
    """Write lazy fields in blocks of time, to Zarr or NetCDF.

    What was interrupted goes on with the same call; what is missing is computed, nothing else.

    Args:
        ds: fields, of any length.
        path: ends in ``.zarr`` or ``.nc``; a URL of a Zarr store is written at one go.
        overwrite: replace what is there.
        message: what was done, for the history attribute; a store is resumed only with the same.
        inputs: files that the fields are read from; a run goes on only if none has changed.
        progress: a bar on a terminal, timed lines in a log.

    Raises:
        SkyweaveError: the output exists or is an input, an unfinished one was made with other settings or data, or an
            input changed while it was read.
    """
    time = find_time(ds)
    if is_url(str(path)) or time is None or time not in ds.dims:
        return write(ds, path, overwrite, message=message)
    count = ds.sizes[time]
    block = block_length(
        count, sum(v.nbytes for v in ds.data_vars.values()) // max(count, 1), limit=BLOCK_BYTES
    )
    settings = {
        "message": message,
        "block": block,
        "variables": sorted(map(str, ds)),
        "source": str(ds.encoding.get("source")),
        "sizes": {str(name): size for name, size in ds.sizes.items()},
        "times_data": digest_of({"times": ds[time].values}),
        "input_data": digest_of(file_states(inputs) if inputs else content_of(ds)),
    }
    moving = [n for n, v in ds.data_vars.items() if time in v.dims]
    still = {n: ds[n].compute() for n in ds.data_vars if n not in moving}
    chunks: dict[Hashable, int] = {d: n for d, n in ds.sizes.items()} | {time: block}
    starts = range(0, count, block)
    with (
        Regions(
            _lazy(ds, moving).assign(still), path, settings, message=message, chunks=chunks, overwrite=overwrite,
            inputs=inputs,
        ) as regions,
        Progress(len(starts), "blocks", progress) as bar,
    ):  # fmt: skip
        for start in starts:
            if str(start) in regions.done:
                bar.skip(1)
                continue
            part = slice(start, min(start + block, count))
            piece = ds[moving].isel({time: part}).compute()
            regions.put({str(n): v.values for n, v in piece.data_vars.items()}, {time: part})
            regions.mark(str(start))
            bar.to(bar.done + 1)
        regions.finish().close()
    return Path(path)


def _lazy(ds: xr.Dataset, names: Collection[Hashable]) -> xr.Dataset:
    """The dataset with no values of some variables."""
    return ds.assign({n: ds[n].copy(data=da.zeros(ds[n].shape, dtype=ds[n].dtype)) for n in names})
