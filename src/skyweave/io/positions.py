"""Where the cells of a field are that is on no latitude-longitude grid: a latitude and a longitude for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from skyweave.coordinates import degrees_per, grid_mapping, is_edge
from skyweave.errors import SkyweaveError

__all__ = ["cell_positions", "rectilinear", "unrotated"]

NAMES = {
    "latitude": ("lat", "latitude", "nav_lat", "xlat", "clat", "tlat"),
    "longitude": ("lon", "longitude", "nav_lon", "xlong", "clon", "tlong"),
}


def cell_positions(ds: xr.Dataset, where: str) -> tuple[xr.DataArray, xr.DataArray]:
    """Latitude and longitude of each cell, degrees: of two dimensions, of one that both share, or of a rotated pole.

    Args:
        ds: holds them as coordinates or variables, found by standard name or name; or rotated axes and their mapping.
        where: file named in errors.

    Returns:
        Two arrays of the same dimensions.

    Raises:
        SkyweaveError: neither is there, or their units are no angle.
    """
    try:
        lat, lon = (_position(ds, axis, where) for axis in NAMES)
    except SkyweaveError:
        found = unrotated(ds)
        if found is None:
            raise
        return found
    if lat.dims != lon.dims:
        raise SkyweaveError(
            f"{where}: {lat.name!r} ({', '.join(map(str, lat.dims))}) and {lon.name!r} "
            f"({', '.join(map(str, lon.dims))}) do not share their dimensions; one-dimensional coordinates are read "
            "with open_fields"
        )
    return lat, lon


def _position(ds: xr.Dataset, axis: str, where: str) -> xr.DataArray:
    there = {str(n): ds[n] for n in ds.variables if ds[n].dtype.kind == "f" and not is_edge(ds[n])}
    named = {
        n: f for n, f in there.items() if f.attrs.get("standard_name") == axis or n.lower() in NAMES[axis]
    }
    for name, field in named.items():
        field = _still(field)
        # One dimension is that of a list of cells only where latitude and longitude share it.
        if field.ndim == 2 or (field.ndim == 1 and field.dims != (name,)):
            scale = degrees_per(field.attrs.get("units"))
            if scale is None:
                raise SkyweaveError(
                    f"{where}: {name!r} is in {field.attrs['units']!r}, which is no angle on Earth"
                )
            return field.reset_coords(drop=True) * scale if scale != 1 else field.reset_coords(drop=True)
    found = ", ".join(f"{n}({', '.join(map(str, ds[n].dims))})" for n in list(ds.variables)[:16])
    raise SkyweaveError(
        f"{where}: no two-dimensional {axis} found; it has: {found or 'nothing'}. Name one {NAMES[axis][0]!r} or "
        f"give it standard_name={axis!r}; a fixed grid of GOES is read with read_goes_aod, one-dimensional "
        "coordinates with open_fields"
    )


def _still(field: xr.DataArray) -> xr.DataArray:
    """Positions without a time along which they do not change, as models write them."""
    if field.ndim < 3:
        return field
    extra = field.dims[:-2]
    first = field.isel(dict.fromkeys(extra, 0), drop=True)
    return first if bool((field == first).all() | first.isnull().all()) else field


def rectilinear(ds: xr.Dataset) -> xr.Dataset:
    """Two-dimensional latitude and longitude that change along one dimension each, as axes of one dimension.

    Other datasets are returned as they are.
    """
    try:
        lat, lon = (_position(ds, axis, "") for axis in NAMES)
    except SkyweaveError:
        return ds
    if lat.ndim != 2 or lat.dims != lon.dims or min(lat.shape) < 2:
        return ds
    rows, columns = np.asarray(lat.values, float), np.asarray(lon.values, float)
    for turned in (False, True):
        y, x = (rows.T, columns.T) if turned else (rows, columns)
        dims = lat.dims[::-1] if turned else lat.dims
        if _constant(y) and _constant(x.T):
            axes: Mapping[Any, Any] = {
                str(field.name): (
                    dim,
                    values,
                    {k: v for k, v in ds[field.name].attrs.items() if k != "bounds"},
                )
                for field, dim, values in ((lat, dims[0], y[:, 0]), (lon, dims[1], x[0]))
            }
            axes = {n: (d, v, a | {"units": u}) for (n, (d, v, a)), u in zip(
                axes.items(), ("degrees_north", "degrees_east"), strict=True)}  # fmt: skip
            index = [d for d in dims if d in ds.coords and d not in axes]
            return ds.drop_vars([*axes, *index]).assign_coords(axes)
    return ds


def _constant(values: NDArray[np.float64]) -> bool:
    """Whether rows hold one value each, and differ, to a thousandth of their step."""
    if not np.isfinite(values).all():
        return False
    steps = np.abs(np.diff(values.mean(1)))
    return bool(steps.min() > 0 and np.ptp(values, axis=1).max() < max(1e-3 * np.median(steps), 2e-5))


def unrotated(ds: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray] | None:
    r"""True latitude and longitude of the cells of a rotated pole (CF appendix F), or None where there is none.

    .. math:: \sin\phi = \sin\phi_r \sin\phi_p + \cos\phi_r \cos\lambda_r \cos\phi_p

    with the rotated latitude and longitude measured from the rotated pole's own meridian.
    """
    mapping = grid_mapping(ds)
    if mapping is None or mapping[0] != "rotated_latitude_longitude" or mapping[1] not in ds.variables:
        return None
    pole = ds[mapping[1]].attrs
    rows = _rotated_axis(ds, "grid_latitude", "rlat", "lat", "latitude", "y")
    columns = _rotated_axis(ds, "grid_longitude", "rlon", "lon", "longitude", "x")
    if rows is None or columns is None or "grid_north_pole_latitude" not in pole:
        return None
    lat, lon = (np.pi / 180 * axis for axis in xr.broadcast(rows.astype(float), columns.astype(float)))
    north = np.deg2rad(float(pole["grid_north_pole_latitude"]))
    west = float(pole.get("grid_north_pole_longitude", 0.0))
    lon = lon - np.deg2rad(float(pole.get("north_pole_grid_longitude", 0.0)))
    sine = np.sin(lat) * np.sin(north) + np.cos(lat) * np.cos(lon) * np.cos(north)
    east = -np.cos(lat) * np.sin(lon)
    ahead = np.sin(lat) * np.cos(north) - np.cos(lat) * np.cos(lon) * np.sin(north)
    true_lat = np.rad2deg(np.arcsin(np.clip(sine, -1, 1))).rename("latitude")
    true_lon = ((np.rad2deg(np.arctan2(east, ahead)) + west + 180) % 360 - 180).rename("longitude")
    return true_lat.reset_coords(drop=True), true_lon.reset_coords(drop=True)


def _rotated_axis(ds: xr.Dataset, standard_name: str, *names: str) -> xr.DataArray | None:
    for coord in ds.coords.values():
        if coord.ndim == 1 and coord.attrs.get("standard_name") == standard_name:
            return coord.reset_coords(drop=True)
    lower = {str(n).lower(): n for n, c in ds.coords.items() if c.ndim == 1}
    found = next((lower[n] for n in names if n in lower), None)
    return None if found is None else ds[found].reset_coords(drop=True)
