"""Every cell of a file whose grid is not one of latitudes and longitudes, as a report."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from skyweave.damage import reading
from skyweave.errors import SkyweaveError
from skyweave.io.axes import at_level as level_of
from skyweave.io.axes import find_level, find_time, has_dates, parse_request, require_names
from skyweave.io.formats import HDF5, open_one
from skyweave.io.grib import is_grib, open_grib
from skyweave.io.members import find_members

__all__ = ["MOST_CELLS", "cells_as_points", "is_cells"]

MOST_CELLS = 20_000_000
"""Reports that are taken from one file at most; each needs some 150 bytes."""

NAMES = {
    "latitude": ("lat", "latitude", "nav_lat", "xlat", "clat", "latitudes", "lat_cell", "mesh2d_face_y"),
    "longitude": ("lon", "longitude", "nav_lon", "xlong", "clon", "longitudes", "lon_cell", "mesh2d_face_x"),
}
WINDS = ("eastward_wind", "northward_wind")
COLUMNS = ("time", "lat", "lon", "variable", "value", "error", "station", "elevation", "units")


def is_cells(path: str | os.PathLike[str]) -> bool:
    """Whether a file is gridded data (GRIB, NetCDF or HDF5), by its first bytes, rather than a table."""
    try:
        with open(path, "rb") as raw:
            head = raw.read(64)
    except OSError:
        return False
    return is_grib(head) or head.startswith(HDF5) or head[:4] in (b"CDF\x01", b"CDF\x02")


def cells_as_points(path: str | os.PathLike[str], variables: Sequence[str] | None = None) -> pd.DataFrame:
    """Cells of a curvilinear, rotated, projected, reduced or unstructured grid, or of a swath, a row each.

    Latitude and longitude are two-dimensional, or lie along one dimension of cells. Cells without a value or a place
    are counted and left out. Regular grids are refused: they are sources of their own.

    Args:
        path: NetCDF, HDF5, Zarr or GRIB.
        variables: names, or ``name@level``; all on the cells by default.

    Returns:
        Columns as of `skyweave.io.tables.read_stations`: time (datetime64[ns], UTC; NaT where the file has no date),
        lat, lon, variable, value, error (NaN), station (empty), elevation (NaN), units. ``.attrs["dropped"]`` counts
        what was left out by reason, ``.attrs["notes"]`` is empty.

    Raises:
        SkyweaveError: no such positions, a dimension beside time and the cells, more than `MOST_CELLS` reports, or
            none with a value.
    """
    where = os.fspath(path)
    with open(where, "rb") as raw:
        grib = is_grib(raw.read(64))
    ds = open_grib(where, cells=True) if grib else open_one(where)
    lat, lon = (_position(ds, axis, where) for axis in ("latitude", "longitude"))
    plane = lat.dims
    if lon.dims != plane:
        if lat.ndim == lon.ndim == 1:
            raise SkyweaveError(
                f"{where}: its {lat.name} and {lon.name} are the axes of a regular grid; give it with "
                f"`--grid {where}:VARIABLE=ERROR`"
            )
        raise SkyweaveError(
            f"{where}: {lat.name} {lat.dims} and {lon.name} {lon.dims} do not lie on the same cells"
        )
    own = [
        str(n) for n, v in ds.data_vars.items()
        if set(plane) <= set(v.dims) and v.dtype.kind in "fiu" and n not in (lat.name, lon.name)
    ]  # fmt: skip
    asked = own if variables is None else [variables] if isinstance(variables, str) else list(variables)
    require_names([parse_request(n, own).name for n in asked], own, where)
    fields = []
    for name in asked:
        request = parse_request(name, own)
        field = ds[request.name]
        fields.append(field if request.level is None else level_of(field, request, where))
    for field in fields:
        if field.attrs.get("GRIB_uvRelativeToGrid") == 1 and field.attrs.get("standard_name") in WINDS:
            raise SkyweaveError(
                f"{where}: {field.name!r} is a wind along the axes of its own grid, not along east or north; turn it "
                "with `cdo -f nc4 rotuvb,u,v IN OUT.nc`, or name other variables"
            )
    fields = [_plain(field, plane, where) for field in fields]
    count = sum(field.size for field in fields)
    if count > MOST_CELLS:
        raise SkyweaveError(
            f"{where}: {count} cells and times; at most {MOST_CELLS} are taken as reports. Cut it, name fewer "
            "variables, or take area means first with skyweave.io.grid_swath"
        )
    dropped: Counter[str] = Counter()
    parts = [_rows(field, lat, lon, dropped) for field in fields]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    if table.empty:
        told = ", ".join(f"{n} {reason}" for reason, n in dropped.items()) or "no variable on them"
        raise SkyweaveError(f"{where}: none of its cells is a report ({told})")
    table.attrs = {"dropped": dict(dropped), "notes": [], "source": where}
    return table


def _position(ds: xr.Dataset, axis: str, where: str) -> xr.DataArray:
    """Latitude or longitude in degrees, by standard name or by name."""
    found = [
        ds[n] for n in ds.variables
        if 1 <= ds[n].ndim <= 2
        and (ds[n].attrs.get("standard_name") == axis or str(n).lower() in NAMES[axis])
    ]  # fmt: skip
    if not found:
        listed = ", ".join(f"{n}({', '.join(map(str, ds[n].dims))})" for n in list(ds.variables)[:16])
        raise SkyweaveError(f"{where}: no {axis} of cells found; it has: {listed or 'nothing'}")
    field = max(found, key=lambda v: v.ndim)
    units = str(field.attrs.get("units", "degrees")).lower()
    if units in ("radian", "radians", "rad"):
        return field.load() * (180 / np.pi)
    if not units.startswith("deg"):
        raise SkyweaveError(f"{where}: {field.name} is in {units!r}, not in degrees or radians")
    return field.load()


def _plain(field: xr.DataArray, plane: tuple, where: str) -> xr.DataArray:
    """The field with no dimensions but its time and its cells."""
    time = find_time(field)
    if time is not None and time not in field.dims and field[time].ndim == 1:
        time = str(field[time].dims[0])
    field = field.squeeze([d for d, n in field.sizes.items() if n == 1 and d not in (*plane, time)])
    for dim in field.dims:
        if dim in plane or dim == time:
            continue
        told = "asked for as 'NAME@LEVEL' in Python" if dim == find_level(field) else "reduced to one first"
        what = "members" if dim == find_members(field) else "values"
        raise SkyweaveError(
            f"{where}: variable {field.name!r} has {field.sizes[dim]} {what} along {dim!r}; reports have one value for "
            f"a place and time: it has to be {told}"
        )
    return field.transpose(..., *plane)


def _rows(field: xr.DataArray, lat: xr.DataArray, lon: xr.DataArray, dropped: Counter[str]) -> pd.DataFrame:
    with reading(str(field.encoding.get("source", field.name))):
        values = np.asarray(field.values, np.float64)
    values = values.reshape(-1, lat.size)
    time = find_time(field)
    dated = time is not None and time in field.coords and has_dates(field[time])
    if dated and np.issubdtype(field[time].dtype, np.datetime64):
        stamps = np.broadcast_to(np.atleast_1d(field[time].values).astype("M8[ns]"), len(values))
    else:
        stamps = np.full(len(values), np.datetime64("NaT", "ns"))
    lat_, lon_ = (np.asarray(v.values, np.float64).ravel() for v in (lat, lon))
    placed = np.isfinite(lat_) & np.isfinite(lon_) & (np.abs(lat_) <= 90) & (np.abs(lon_) <= 720)
    known = np.isfinite(values)
    for reason, n in (
        ("cell without a position", int((~placed).sum()) * len(values)),
        ("cell without a value", int((~known & placed).sum())),
    ):
        if n:
            dropped[reason] += n
    step, cell = np.nonzero(known & placed)
    table = pd.DataFrame({"time": stamps[step], "lat": lat_[cell], "lon": (lon_[cell] + 180) % 360 - 180})
    table = table.assign(value=values[step, cell], variable=str(field.name), station="")
    table = table.assign(error=np.nan, elevation=np.nan, units=str(field.attrs.get("units", "")))
    return table[list(COLUMNS)]
