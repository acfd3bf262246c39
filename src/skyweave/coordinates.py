"""Which coordinates of an xarray object are latitude and longitude, in degrees, and what bounds their cells have."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from skyweave.errors import NotRectilinearError, SkyweaveError

__all__ = [
    "NAMES", "REGRID_HINT", "bounds_of", "degrees_per", "edge_names", "find_axis", "grid_mapping", "in_degrees",
    "is_edge",
]  # fmt: skip

NAMES = {
    "latitude": ("lat", "latitude", "lats", "latitudes", "nav_lat", "xlat", "y"),
    "longitude": ("lon", "longitude", "long", "lons", "longitudes", "nav_lon", "xlong", "x"),
}
_OTHER_AXES = ("grid_latitude", "grid_longitude", "projection_x_coordinate", "projection_y_coordinate")
_DEGREES = (
    "", "degree", "degrees", "deg", "arc_degree", "arc_degrees", "\N{DEGREE SIGN}",
    "degrees_north", "degrees_east", "degree_north", "degree_east", "degrees_n", "degrees_e", "degree_n", "degree_e",
    "degreesn", "degreese", "degreen", "degreee",
)  # fmt: skip
_RADIANS = ("rad", "rads", "radian", "radians")

REGRID_HINT = (
    "`skyweave regrid FILE --resolution DEGREES --out OUT.nc` brings it to a regular grid (in Python "
    "skyweave.io.grid_swath), `--points FILE` takes every cell as a report"
)
"""What works for fields whose cells have a latitude and a longitude each."""
EDGE = "cell_edge_of"
"""Attribute of a coordinate that holds the lower or the upper edges of the cells of another."""


def degrees_per(units: object) -> float | None:
    """How many degrees one unit is: 1 for degrees or no unit, 57.3 for radian; None for what is no angle on Earth."""
    text = str(units or "").strip().lower().replace(" ", "_")
    if text in _DEGREES:
        return 1.0
    return 180 / np.pi if text in _RADIANS else None


def find_axis(data: xr.Dataset | xr.DataArray, axis: str) -> str:
    """Name of the one-dimensional coordinate that means ``axis``, "latitude" or "longitude".

    By CF attributes first, then by name; ``y`` and ``x`` count only where they state degrees.

    Raises:
        NotRectilinearError: two-dimensional or rotated coordinates.
        SkyweaveError: none, several, or one in units that are no angle.
    """
    import cf_xarray  # noqa: F401  (registers the .cf accessor)

    candidates = [str(n) for n in data.cf.coordinates.get(axis, []) if n in data.coords]
    candidates = [n for n in candidates if not is_edge(data[n])]
    if not candidates:
        candidates = _by_name(data, axis)
    flat = [n for n in candidates if data[n].ndim == 1]
    own = [n for n in flat if data[n].dims == (n,)]
    where = f" in {data.encoding['source']}" if data.encoding.get("source") else ""
    if len(own) == 1 or len(flat) == 1:
        found = (own or flat)[0]
        if degrees_per(data[found].attrs.get("units")) is None:
            raise SkyweaveError(
                f"{found}{where} is in {data[found].attrs['units']!r}, which is neither degrees "
                f"{'north' if axis == 'latitude' else 'east'} nor radian; projected grids must be regridded to "
                f"latitude and longitude first: where each cell has a latitude and a longitude, {REGRID_HINT}"
            )
        return found
    if flat:
        raise SkyweaveError(f"several coordinates{where} are a {axis}: {', '.join(flat)}; drop all but one.")
    if candidates and data[candidates[0]].ndim >= 2:
        raise NotRectilinearError(
            f"{candidates[0]}{where} is two-dimensional {data[candidates[0]].dims}: only rectilinear "
            f"latitude-longitude grids are read as they are; {REGRID_HINT}."
        )
    if candidates:
        raise SkyweaveError(
            f"{candidates[0]}{where} is a single value, not an axis; keep the dimension by selecting with a "
            f"list, e.g. ds.isel({candidates[0]}=[0])."
        )
    _none_found(data, axis, where)
    raise AssertionError


def _none_found(data: xr.Dataset | xr.DataArray, axis: str, where: str) -> None:
    found = ", ".join(
        f"{n} ({data[n].attrs.get('standard_name') or data[n].attrs.get('units') or 'no units'})"
        for n in data.coords
    )
    check_not_geostationary(data, f"no {axis} found{where}")
    mapping = grid_mapping(data)
    rotated = mapping is not None and mapping[0] == "rotated_latitude_longitude"
    raise (NotRectilinearError if rotated else SkyweaveError)(
        f"no {axis} found{where}: none of the coordinates [{found or 'none'}] has standard_name='{axis}', "
        f"units='degrees_{'north' if axis == 'latitude' else 'east'}' or a name such as {NAMES[axis][0]!r}. "
        "Rotated and projected grids must be regridded to latitude and longitude first: where each cell has a "
        f"two-dimensional latitude and longitude, or the pole of rotation is stated, {REGRID_HINT}; otherwise add them "
        "with `cdo setgridtype,curvilinear IN OUT`."
    )


def is_geostationary(data: xr.Dataset | xr.DataArray) -> bool:
    """Whether pixels lie on the scan angles of a geostationary satellite."""
    mapping = grid_mapping(data)
    return mapping is not None and mapping[0] == "geostationary"


def check_not_geostationary(data: xr.Dataset | xr.DataArray, what: str) -> None:
    """Refuse images of geostationary satellites.

    Raises:
        SkyweaveError: with what is said of them first, and what reads them.
    """
    if is_geostationary(data):
        raise SkyweaveError(
            f"{what}: its pixels lie on the scan angles of a geostationary satellite; granules of GOES AOD "
            "(OR_ABI-L2-AOD*.nc) are `goes: FILES` among the observations of a YAML (docs/cli.md), "
            "skyweave.io.read_goes_aod in Python"
        )


def _by_name(data: xr.Dataset | xr.DataArray, axis: str) -> list[str]:
    lower = {
        str(n).lower(): str(n) for n in (data.variables if isinstance(data, xr.Dataset) else data.coords)
    }
    attrs = {lower[n]: data[lower[n]].attrs for n in NAMES[axis] if n in lower}
    angles = [n for n, a in attrs.items() if degrees_per(a.get("units")) is not None]
    # Counts, pixels and kilometres are called x and y as well, and often without a unit.
    angles = [n for n in angles if n.lower() not in "xy" or str(attrs[n].get("units", "")).strip()]
    angles = [n for n in angles if n.lower() not in "xy" or degrees_per(attrs[n].get("units")) == 1.0]
    return [n for n in angles if attrs[n].get("standard_name") not in _OTHER_AXES]


def in_degrees(data: xr.Dataset | xr.DataArray, lat: str, lon: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Values of two axes that `find_axis` found, in degrees; those in radian are converted.

    Raises:
        NotRectilinearError: axes of a rotated pole.
        SkyweaveError: no units, and values that look like radian.
    """
    where = f" in {data.encoding['source']}" if data.encoding.get("source") else ""
    mapping = grid_mapping(data, {*data[lat].dims, *data[lon].dims})
    if mapping is not None and mapping[0] == "rotated_latitude_longitude":
        raise NotRectilinearError(
            f"{lat} and {lon}{where} are those of a rotated pole (grid mapping {mapping[1]!r}), not degrees north and "
            f"east; {REGRID_HINT}."
        )
    values = [np.asarray(data[n].values, np.float64) for n in (lat, lon)]
    scales = [degrees_per(data[n].attrs.get("units")) or 1.0 for n in (lat, lon)]
    stated = any(str(data[n].attrs.get("units", "")).strip() for n in (lat, lon))
    if not stated and _radian_globe(*values):
        raise SkyweaveError(
            f"{lat} and {lon}{where} state no units and look like radian: {lat} ends at {np.abs(values[0]).max():g}, "
            f"{lon} spans {np.ptp(values[1]):g}; set their units to 'radian' or to 'degrees_north' and 'degrees_east'."
        )
    return values[0] * scales[0], values[1] * scales[1]


def _radian_globe(lat: NDArray[Any], lon: NDArray[Any]) -> bool:
    """Whether the cells of two axes without units fill the Earth if taken as radian, to a thousandth."""
    if lat.ndim != 1 or lon.ndim != 1 or min(lat.size, lon.size) < 4:
        return False
    dlat, dlon = np.median(np.abs(np.diff(lat))), np.median(np.abs(np.diff(lon)))
    north = np.abs(lat).max() < np.pi / 2 + 1e-3 and np.abs(lat).max() + dlat > np.pi / 2 - 1e-3
    east = abs((np.ptp(lon) + dlon) / (2 * np.pi) - 1) < 1e-3 or abs(np.ptp(lon) / (2 * np.pi) - 1) < 1e-3
    return bool(north and east)


def grid_mapping(
    data: xr.Dataset | xr.DataArray, dims: set[Hashable] | None = None
) -> tuple[str, str] | None:
    """CF name of the map projection of gridded variables and the name of the variable that holds it, if any.

    Args:
        data: a dataset or variable.
        dims: only variables with these dimensions are asked.
    """
    fields = [data] if isinstance(data, xr.DataArray) else list(data.data_vars.values())
    for field in fields:
        if dims is not None and not dims <= set(field.dims):
            continue
        name = (
            str(field.attrs.get("grid_mapping", field.encoding.get("grid_mapping", ""))).split(":")[0].strip()
        )
        if not name:
            continue
        there = name in data.coords or (isinstance(data, xr.Dataset) and name in data)
        kind = str(data[name].attrs.get("grid_mapping_name", "")) if there else ""
        if not kind and "rotated" in name.lower():
            kind = "rotated_latitude_longitude"
        if kind:
            return kind, name
    return None


def edge_names(name: str) -> tuple[str, str]:
    """Names of the coordinates that hold the lower and the upper edges of the cells of an axis."""
    return f"{name}_lower", f"{name}_upper"


def is_edge(coordinate: xr.DataArray | xr.Variable) -> bool:
    """Whether a coordinate holds edges of cells of another, not places or times of its own."""
    return EDGE in coordinate.attrs


def bounds_of(data: xr.Dataset | xr.DataArray, name: str) -> tuple[str, xr.Variable] | None:
    """Bounds of the cells along a coordinate: the name of what states them, and values of shape ``(n, 2)``.

    They are the variable that CF's attribute ``bounds`` names, or one called ``<name>_bnds`` or ``<name>_bounds``, or
    the two coordinates of `edge_names`.
    """
    pair = edge_names(name)
    if all(n in data.coords and data[n].dims == data[name].dims for n in pair):
        dims = (*data[name].dims, "bnds")
        return pair[0], xr.Variable(dims, np.stack([data[n].values for n in pair], axis=-1))
    stated = data[name].attrs.get("bounds", data[name].encoding.get("bounds"))
    known = data.variables if isinstance(data, xr.Dataset) else data.coords
    for found in (stated, f"{name}_bnds", f"{name}_bounds"):
        if found and found in known:
            variable = data[found].variable
            if variable.ndim == 2 and variable.dims[0] == data[name].dims[0]:
                return str(found), variable
    return None
