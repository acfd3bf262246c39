"""How datasets are laid down on disk: CF attributes, encodings built afresh, chunks for maps and for series.

Encodings that came with the input are never reused: inherited int16 packing would wrap values outside its old
range without a word.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Hashable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import xarray as xr

from skyweave.io.axes import find_time, has_dates
from skyweave.io.edges import as_bounds

CONVENTIONS = "CF-1.11"
CHUNK_BYTES = 4 * 2**20
MAP_SIDE = 512
MISSING = {"f": np.nan}

# Belong to how a file stored the values, not to the values.
STORAGE_ATTRS = (
    "_FillValue",
    "missing_value",
    "scale_factor",
    "add_offset",
    "_Unsigned",
    "coordinates",
    "_ChunkSizes",
)
PACKED_LIMITS = ("valid_min", "valid_max", "valid_range")


def prepared(ds: xr.Dataset, message: str = "written") -> xr.Dataset:
    """A dataset with CF-1.11 attributes and a line of history, and without any inherited encoding.

    Values of coordinates and variables are the caller's, bit for bit; only attributes that CF needs and the
    caller left out are added.

    Args:
        ds: dataset to be written.
        message: what happened, for the history.
    """
    out = as_bounds(ds.copy(deep=False))
    names = _axes(out)
    for name in list(out.variables):
        var = out[name].variable.copy(deep=False)
        packed = "scale_factor" in var.encoding or "add_offset" in var.encoding
        dropped = STORAGE_ATTRS + (PACKED_LIMITS if packed else ())
        var.attrs = {
            str(k): _attribute(v) for k, v in var.attrs.items() if k not in dropped and v is not None
        }
        if has_dates(var):
            for key in ("units", "calendar"):  # of undecoded input; they are written with the encoded numbers
                var.attrs.pop(key, None)
        for key, value in names.get(name, {}).items():
            var.attrs.setdefault(key, value)
        var.encoding = {}
        if name in out.indexes and var.dims == (name,):
            out[name].attrs = var.attrs
            out[name].encoding = {}
        else:
            out[name] = var
    out.attrs = {str(k): _attribute(v) for k, v in ds.attrs.items() if v is not None}
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    line = f"{now} skyweave {_version()}: {message}"
    history = str(out.attrs.get("history", "")).strip()
    out.attrs |= {"Conventions": CONVENTIONS, "history": f"{line}\n{history}" if history else line}
    out.encoding = {}
    return out


def _version() -> str:
    try:
        return version("skyweave")
    except PackageNotFoundError:
        return "(not installed)"


def _attribute(value: Any) -> Any:
    """A value that NetCDF and Zarr both take: text, numbers or an array of numbers; the rest as JSON."""
    if isinstance(value, (str, int, float, np.number)) and not isinstance(value, bool):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "iuf":
        return value
    if isinstance(value, (list, tuple)) and value and all(type(v) in (int, float) for v in value):
        return list(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return json.dumps(value, default=str)


def _axes(ds: xr.Dataset) -> dict[Hashable, dict[str, str]]:
    from skyweave.errors import SkyweaveError
    from skyweave.grid import Grid

    names: dict[Hashable, dict[str, str]] = {}
    try:
        grid = Grid.from_dataset(ds)
    except SkyweaveError:
        grid = None  # tables of scores or profiles are written too
    if grid is not None:
        names[grid.lat_name] = {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"}
        names[grid.lon_name] = {"standard_name": "longitude", "units": "degrees_east", "axis": "X"}
    time = find_time(ds)
    if time is not None and time in ds.coords and has_dates(ds[time]):
        names[time] = {"standard_name": "time"} | ({"axis": "T"} if time in ds.dims else {})
    if "member" in ds.coords:
        names["member"] = {"standard_name": "realization", "units": "1"}
    return names


def encodings(
    ds: xr.Dataset, kind: str, chunks: Mapping[Hashable, int] | None = None, compression: int = 4
) -> dict[Hashable, dict[str, Any]]:
    """Fresh encodings of every variable: dtype as in memory, NaN as fill, compression, chunks.

    Args:
        ds: dataset from `prepared`.
        kind: "zarr" or "netcdf".
        chunks: sizes by dimension that override the default of `chunk_sizes`.
        compression: level, 0 (none) to 9.
    """
    out: dict[Hashable, dict[str, Any]] = {}
    for name, var in ds.variables.items():
        encoding: dict[str, Any] = {}
        plain = var.dtype.kind in "fiub"
        if "bounds" in var.attrs and has_dates(var):
            encoding["units"] = "seconds since 1970-01-01"  # one that its bounds are written in as well
        if var.dtype.kind == "f":
            # CF forbids missing values in coordinates; elsewhere NaN is what cells never written hold.
            encoding["_FillValue"] = var.dtype.type(np.nan) if name in ds.data_vars else None
            if kind == "zarr" and name in ds.data_vars:
                encoding["fill_value"] = float("nan")
        if var.ndim and plain and var.size:
            sizes = tuple(
                chunk_sizes(
                    dict(var.sizes), var.dtype.itemsize, chunks if name in ds.data_vars else None
                ).values()
            )
            if name not in ds.data_vars:
                sizes = var.shape
            if kind == "zarr":
                encoding |= {"chunks": sizes} | _zstd(compression)
            else:
                encoding |= {
                    "chunksizes": sizes,
                    "zlib": compression > 0,
                    "complevel": compression,
                    "shuffle": True,
                }
        out[name] = encoding
    return out


def _zstd(level: int) -> dict[str, Any]:
    from zarr.codecs import BloscCodec

    return {"compressors": (BloscCodec(cname="zstd", clevel=level, shuffle="shuffle"),) if level else ()}


def chunk_sizes(
    sizes: Mapping[Hashable, int],
    itemsize: int,
    fixed: Mapping[Hashable, int] | None = None,
    limit: int = CHUNK_BYTES,
) -> dict[Hashable, int]:
    """Chunks that suit maps and time series: a map is few chunks, and so is the series of a point.

    The two last dimensions are cut into tiles of at most 512 x 512; the dimension before them (time) fills
    what is left of ``limit`` bytes; all others (member, quantile) have chunks of one.

    Args:
        sizes: length by dimension, in order.
        itemsize: bytes of one value.
        fixed: sizes that are decided already, such as those of work units.
        limit: bytes of one chunk, uncompressed.
    """
    dims = list(sizes)
    fixed = {d: min(n, sizes[d]) for d, n in (fixed or {}).items() if d in sizes}
    plane = dims[-2:] if len(dims) >= 2 else dims
    chunks: dict[Hashable, int] = {d: fixed.get(d, 1) for d in dims}
    for dim in plane:
        tiles = -(-sizes[dim] // MAP_SIDE) or 1
        chunks[dim] = fixed.get(dim, max(1, -(-sizes[dim] // tiles)))
    left = limit // max(1, itemsize * int(np.prod([chunks[d] for d in dims])))
    for dim in reversed(dims[:-2]):
        if dim not in fixed:
            chunks[dim] = max(1, min(sizes[dim], left))
            break
    return chunks
