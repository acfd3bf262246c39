"""Which axis of a dataset is time, and which is the level; how a variable of a level is asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from skyweave.errors import SkyweaveError, UnknownNameError, did_you_mean
from skyweave.levels import LEVEL_NAMES as LEVEL_NAMES
from skyweave.levels import find_level as find_level
from skyweave.levels import place_of_level
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
    assert request.level is not None
    wanted = [request.level * scale for scale in _scales(request, units, where)]
    places = [place_of_level(levels, level, f"{where}: {dim}") for level in wanted]
    found = [place for place in places if place is not None]
    if len(found) > 1:
        raise SkyweaveError(
            f"{where}: {request.asked!r} can mean two levels of {dim}, which is in {units!r}; ask for "
            f"'{request.name}@{request.level:g}{units}' or '{request.name}@{request.level:g}hPa'"
        )
    if found:
        picked = var.isel({dim: found[0]}, drop=True)
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
