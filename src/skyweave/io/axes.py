"""Which axis of a dataset is time, and which is the level; how a variable of a level is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from skyweave.errors import SkyweaveError, UnknownNameError, did_you_mean
from skyweave.time_axes import LEAD_NAMES as LEAD_NAMES
from skyweave.time_axes import LEAD_UNITS as LEAD_UNITS
from skyweave.time_axes import REFERENCE_NAMES as REFERENCE_NAMES
from skyweave.time_axes import TIME_NAMES as TIME_NAMES
from skyweave.time_axes import find_time as find_time
from skyweave.time_axes import has_dates as has_dates
from skyweave.time_axes import lead_unit as lead_unit
from skyweave.time_axes import moments as moments
from skyweave.time_axes import time_role as time_role
from skyweave.units import conversion

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
            if str(attrs.get("units", "")) in (*PASCAL_PER, "kPa") and attrs.get("axis") is None:
                return str(dim)
    lower = [n.lower() for n in LEVEL_NAMES]
    return next((str(d) for d in var.dims if str(d).lower() in lower), None)


def at_level(var: xr.DataArray, request: VariableRequest, where: str) -> xr.DataArray:
    """One level of a variable, named as it was asked for, with the level kept as attributes.

    The level is an attribute and not a scalar coordinate because a dataset that holds ``t@850`` beside
    ``z@500`` has room for one scalar coordinate of each name only.

    Args:
        var: variable with a vertical dimension.
        request: the level, in the unit given; without one in the coordinate's own unit or, for a pressure, in hPa.
        where: file named in errors.

    Raises:
        SkyweaveError: no vertical dimension, no such level, or two that a number without a unit can mean.
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
    levels = np.asarray(var[dim].values, dtype=float)
    units = str(var[dim].attrs.get("units", "")).strip()
    hits = {scale: _places(levels, request, scale) for scale in _scales(request, units, where)}
    hits = {scale: found for scale, found in hits.items() if found.size}
    if len(hits) > 1:
        raise SkyweaveError(
            f"{where}: {request.asked!r} can mean two levels of {dim}, which is in {units!r}; ask for "
            f"'{request.name}@{request.level:g}{units}' or '{request.name}@{request.level:g}hPa'"
        )
    for found in hits.values():
        if found.size > 1:
            raise SkyweaveError(
                f"{where}: {dim} holds the level {levels[found[0]]:g} {found.size} times; drop all but one of them"
            )
        picked = var.isel({dim: int(found[0])}, drop=True)
        picked.attrs |= {"level": float(levels[found[0]]), "level_units": units, "level_name": dim}
        return picked.rename(request.asked)
    raise SkyweaveError(
        f"{where}: variable {request.name!r} has no level {request.level:g}; its {dim} are "
        f"{', '.join(f'{x:g}' for x in levels)} {units}".rstrip()
    )


def _scales(request: VariableRequest, units: str, where: str) -> list[float]:
    """What a level asked for is multiplied by to be in the unit of the axis: one number, or two to choose from."""
    if request.units and request.units != units:
        if not units:
            raise SkyweaveError(
                f"{where}: levels of {request.name!r} state no units, {request.asked!r} asks for {request.units!r}; "
                "ask without a unit, for the number as it is in the file"
            )
        scale, offset = conversion(
            request.units, units, f"{where}: {request.asked!r} and the levels in {units!r}"
        )
        if offset:
            raise SkyweaveError(
                f"{where}: {request.asked!r}: {request.units!r} is no unit of a level in {units!r}"
            )
        return [scale]
    if request.units or not units:
        return [1.0]
    # Pressure is in hPa where people do not say otherwise; dimensionless and other numbers are the file's own.
    try:
        scale = conversion("hPa", units, "")[0] if units != "1" else 1.0
    except SkyweaveError:
        return [1.0]
    return [1.0] if np.isclose(scale, 1.0) else [1.0, scale]


def _places(levels: np.ndarray, request: VariableRequest, scale: float) -> np.ndarray:
    assert request.level is not None
    return np.flatnonzero(np.isclose(levels, request.level * scale, rtol=1e-6, atol=0))


def require_names(asked: list[str], known: list[str], where: str, kind: str = "variable") -> None:
    """Refuse names that are not there, with a hint and the list of what is.

    Raises:
        SkyweaveError: at least one name is unknown.
    """
    for name in asked:
        if name not in known:
            listed = ", ".join(known) if known else "none"
            message = f"{where}: no {kind} {name!r}{did_you_mean(name, known)}; it has: {listed}"
            raise UnknownNameError(message, name, known)
