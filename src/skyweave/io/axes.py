"""Which axis of a dataset is time, and which is the level; how a variable of a level is asked for."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import cftime
import numpy as np
import pandas as pd
import xarray as xr

from skyweave.coordinates import edge_names, is_edge
from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.units import conversion

TIME_NAMES = ("valid_time", "time", "t", "times", "date", "datetime", "xtime")
REFERENCE_NAMES = (
    "init_time", "forecast_reference_time", "initial_time", "reference_time", "forecast_time0", "analysis_time",
)  # fmt: skip
LEAD_NAMES = ("lead_time", "prediction_timedelta", "step", "forecast_period", "lead", "leadtime")
LEAD_UNITS = {
    "ns": 1e-9, "nanosecond": 1e-9, "us": 1e-6, "microsecond": 1e-6, "ms": 1e-3, "millisecond": 1e-3,
    "s": 1.0, "sec": 1.0, "second": 1.0, "min": 60.0, "minute": 60.0, "h": 3600.0, "hr": 3600.0,
    "hour": 3600.0, "d": 86400.0, "day": 86400.0, "w": 604800.0, "week": 604800.0,
}  # fmt: skip
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


def time_role(name: Hashable, coord: xr.DataArray) -> str | None:
    """What a coordinate says of time: "time" (valid at), "reference" (a forecast's start), "lead", or None.

    Its CF standard name decides; then its name, and for lead times a unit of duration.
    """
    if is_edge(coord):
        return None
    stated = {"time": "time", "forecast_reference_time": "reference", "forecast_period": "lead"}
    standard, lower = str(coord.attrs.get("standard_name", "")), str(name).lower()
    if standard in stated:
        return stated[standard]
    if lower in REFERENCE_NAMES:
        return "reference"
    if lower in LEAD_NAMES:
        return "lead" if lead_unit(coord) else None
    return "time" if coord.attrs.get("axis") == "T" or lower in TIME_NAMES else None


def lead_unit(coord: xr.DataArray) -> float | None:
    """Seconds in one unit of a coordinate of lead times, 1 for durations; None where it does not say its unit."""
    if np.issubdtype(coord.dtype, np.timedelta64):
        return 1.0
    units = str(coord.attrs.get("units", "")).strip().lower()
    if coord.dtype.kind not in "iuf" or not units:
        return None
    return LEAD_UNITS.get(units, LEAD_UNITS.get(units.rstrip("s")))


def find_time(ds: xr.Dataset | xr.DataArray) -> str | None:
    """Name of the coordinate of the time that fields are valid at, or of a time axis without dates, or None.

    What has the standard name ``time`` comes first, then dates on a dimension, then dates of the whole file that are
    called time; when a forecast started counts only where nothing else has dates, and when a file was made never.
    """
    dated = {str(n): c for n, c in ds.coords.items() if c.ndim <= 1 and not is_edge(c) and has_dates(c)}
    roles = {n: time_role(n, c) for n, c in dated.items()}
    known = {n: c for n, c in dated.items() if roles[n] == "time" or (n in ds.dims and roles[n] is None)}

    def rank(name: str) -> tuple[bool, bool, bool, bool, bool, int]:
        coord, lower = known[name], name.lower()
        place = TIME_NAMES.index(lower) if lower in TIME_NAMES else len(TIME_NAMES)
        stated = coord.attrs.get("standard_name") == "time"
        return (
            coord.ndim == 0,
            not stated,
            lower != "valid_time",
            name not in ds.dims,
            roles[name] is None,
            place,
        )

    if known:
        return min(known, key=rank)
    for dim in ds.dims:
        if (dim in ds.coords and time_role(dim, ds[dim]) == "time") or str(dim).lower() in (
            "time",
            "valid_time",
        ):
            return str(dim)
    return next((n for n in dated if roles[n] == "reference" and n in ds.dims), None)


def moments(ds: xr.Dataset | xr.DataArray, name: str) -> pd.Index:
    """When the steps along a time axis are: the middle of their bounds where they have bounds, else their stamps."""
    low, high = (ds.indexes[name] if n not in ds.coords else pd.Index(ds[n].values) for n in edge_names(name))
    return low + (high - low) / 2


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
            raise SkyweaveError(f"{where}: no {kind} {name!r}{did_you_mean(name, known)}; it has: {listed}")
