"""Which axis of a dataset is time, which is the level, and how a variable of a level is asked for."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import cftime
import numpy as np
import xarray as xr

from skyweave.errors import SkyweaveError, did_you_mean

TIME_NAMES = ("time", "valid_time", "t", "times", "date", "datetime", "XTIME", "forecast_reference_time")
LEVEL_NAMES = (
    "level", "lev", "plev", "pressure_level", "isobaricInhPa", "pressure", "pres", "height", "altitude",
    "depth", "z",
)  # fmt: skip
PASCAL_PER = {"Pa": 1.0, "hPa": 100.0, "mb": 100.0, "mbar": 100.0, "millibar": 100.0, "millibars": 100.0}


@dataclass(frozen=True)
class VariableRequest:
    """A variable as the user asks for it: ``name`` or ``name@level``, such as ``t@850`` or ``t@850hPa``."""

    asked: str
    name: str
    level: float | None = None
    units: str = ""


def parse_request(asked: str, known: list[str] | None = None) -> VariableRequest:
    """Read ``name`` or ``name@level[unit]``; a variable whose own name holds an ``@`` wins.

    Raises:
        SkyweaveError: what follows the ``@`` is not a number.
    """
    if "@" not in asked or asked in (known or []):
        return VariableRequest(asked, asked)
    name, _, text = asked.rpartition("@")
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    try:
        return VariableRequest(asked, name, float(digits), text[len(digits) :].strip())
    except ValueError as exc:
        raise SkyweaveError(
            f"variable {asked!r}: the level after '@' must be a number, with or without its unit, as in "
            "'t@850' or 't@850hPa'"
        ) from exc


def has_dates(var: xr.DataArray | xr.Variable) -> bool:
    """Whether the values are dates: numpy's, or cftime's of another calendar."""
    if np.issubdtype(var.dtype, np.datetime64):
        return True
    return (
        var.dtype == object and var.size > 0 and isinstance(np.asarray(var.values).flat[0], cftime.datetime)
    )


def _is_time(name: Hashable, var: xr.DataArray) -> bool:
    return (
        var.attrs.get("axis") == "T"
        or var.attrs.get("standard_name") == "time"
        or str(name).lower() in [n.lower() for n in TIME_NAMES]
    )


def find_time(ds: xr.Dataset | xr.DataArray) -> str | None:
    """Name of the time coordinate, or of a time axis without dates, or None.

    Dates on a dimension come first, then dates that belong to the whole file, then a dimension that is only
    called time.
    """
    dated = [n for n, c in ds.coords.items() if c.ndim <= 1 and has_dates(c)]

    def rank(name: Hashable) -> tuple[bool, bool, bool, int]:
        coord = ds.coords[name]
        known = [n.lower() for n in TIME_NAMES]
        place = known.index(str(name).lower()) if str(name).lower() in known else len(known)
        return (coord.ndim == 0, name not in ds.dims, not _is_time(name, coord), place)

    if dated:
        return str(min(dated, key=rank))
    for dim in ds.dims:
        if (dim in ds.coords and _is_time(dim, ds[dim])) or str(dim).lower() in ("time", "valid_time"):
            return str(dim)
    return None


def find_level(var: xr.DataArray) -> str | None:
    """Name of the vertical dimension of one variable, found by CF meaning and then by name, or None."""
    for dim in var.dims:
        if dim in var.coords:
            attrs: dict[str, Any] = var[dim].attrs
            if (
                attrs.get("axis") == "Z"
                or "positive" in attrs
                or attrs.get("standard_name") == "air_pressure"
            ):
                return str(dim)
            if str(attrs.get("units", "")) in PASCAL_PER and attrs.get("axis") is None:
                return str(dim)
    lower = [n.lower() for n in LEVEL_NAMES]
    return next((str(d) for d in var.dims if str(d).lower() in lower), None)


def at_level(var: xr.DataArray, request: VariableRequest, where: str) -> xr.DataArray:
    """One level of a variable, named as it was asked for, with the level kept as attributes.

    The level is an attribute and not a scalar coordinate because a dataset that holds ``t@850`` beside
    ``z@500`` has room for one scalar coordinate of each name only.

    Args:
        var: variable with a vertical dimension.
        request: the level, in the coordinate's own unit, in the unit given, or in hPa where the file has Pa.
        where: file named in errors.

    Raises:
        SkyweaveError: no vertical dimension, or no such level.
    """
    dim = find_level(var)
    if dim is None:
        raise SkyweaveError(
            f"{where}: variable {request.name!r} has no vertical dimension (its dimensions are "
            f"{', '.join(map(str, var.dims))}); "
            f"ask for it as {request.name!r}, without '@'"
        )
    if dim not in var.coords:
        raise SkyweaveError(
            f"{where}: dimension {dim!r} of {request.name!r} has no values, so no level can be picked"
        )
    assert request.level is not None
    levels = np.asarray(var[dim].values, dtype=float)
    units = str(var[dim].attrs.get("units", ""))
    scales = [1.0]
    if request.units and request.units != units:
        if request.units not in PASCAL_PER or units not in PASCAL_PER:
            raise SkyweaveError(
                f"{where}: levels of {request.name!r} are in {units!r}, {request.asked!r} asks for "
                f"{request.units!r}"
            )
        scales = [PASCAL_PER[request.units] / PASCAL_PER[units]]
    elif not request.units and units == "Pa":
        scales = [1.0, 100.0]
    for scale in scales:
        hit = np.flatnonzero(np.isclose(levels, request.level * scale, rtol=1e-6, atol=0))
        if hit.size:
            picked = var.isel({dim: int(hit[0])}, drop=True)
            picked.attrs |= {"level": float(levels[hit[0]]), "level_units": units, "level_name": dim}
            return picked.rename(request.asked)
    raise SkyweaveError(
        f"{where}: variable {request.name!r} has no level {request.level:g}; its {dim} are "
        f"{', '.join(f'{x:g}' for x in levels)} {units}".rstrip()
    )


def require_names(asked: list[str], known: list[str], where: str, kind: str = "variable") -> None:
    """Refuse names that are not there, with a hint and the list of what is.

    Raises:
        SkyweaveError: at least one name is unknown.
    """
    for name in asked:
        if name not in known:
            listed = ", ".join(known) if known else "none"
            raise SkyweaveError(f"{where}: no {kind} {name!r}{did_you_mean(name, known)}; it has: {listed}")
