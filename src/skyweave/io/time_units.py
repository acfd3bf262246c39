"""Times in units that xarray does not decode: months and years, dates written as numbers, odd names of calendars."""

from __future__ import annotations

import datetime
import re
from typing import Any

import cftime
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from skyweave.errors import SkyweaveError

__all__ = ["decode_times", "refuse_missing_dates", "why_undated"]

CALENDARS = {
    "360": "360_day", "360d": "360_day", "360_days": "360_day", "thirty_day": "360_day",
    "365": "noleap", "365d": "noleap", "365_days": "noleap", "no_leap": "noleap",
    "366": "all_leap", "366_days": "all_leap", "gregorian_proleptic": "proleptic_gregorian", "": "standard",
}  # fmt: skip
MONTHS = {"month": 1, "months": 1, "mon": 1, "mons": 1, "year": 12, "years": 12, "yr": 12, "yrs": 12}
ABSOLUTE = {"day as %y%m%d.%f": 3, "yyyymmdd": 3, "month as %y%m.%f": 2, "yyyymm": 2, "year as %y.%f": 1}
"""Dates written as numbers (of CDO and others), and how many of year, month and day they hold."""

REFERENCE = re.compile(
    r"(?P<date>-?\d+-\d{1,2}-\d{1,2})([T ] ?(?P<hour>\d{1,2})(?P<rest>:[\d:.]*)?)? ?(?P<zone>Z|UTC|GMT)?",
    re.IGNORECASE,
)
"""A reference date in UTC: year, month and day, and the time of day."""
ZONE = re.compile(
    r"\d ?\(?(?P<zone>(UTC|GMT) ?[+-]\d\S*|(?!(Z|UTC|GMT|AM|PM)\b)[A-Za-z]{2}[A-Za-z/_]*([+-]\d+)?)\)?$",
    re.IGNORECASE,
)
"""What ends a reference date and is no offset: decoders pass over abbreviations, and turn the sign of UTC+2."""
EITHER = re.compile(r"(0?[1-9]|1[0-2])[-/.](0?[1-9]|1[0-2])[-/.]\d{4}\b.*")


class _UndatedError(ValueError):
    """Why numbers cannot be read as dates."""


def decode_times(ds: xr.Dataset) -> xr.Dataset:
    """Decode each variable of dates by itself, so that one that cannot be decoded does not spoil the others.

    Whole months and years are those of the calendar, counted from the reference date (31 January and a month is the
    last of February); parts of a month are exact only where every month has 30 days, and are left as numbers elsewhere.

    Args:
        ds: a dataset opened without decoding times.

    Returns:
        The dataset; what is left as numbers is what `why_undated` has a reason for.
    """
    variables = {name: var.copy(deep=False) for name, var in ds.variables.items()}
    for var in list(variables.values()):
        for key in ("bounds", "climatology"):
            bounds = variables.get(var.attrs.get(key))
            if bounds is not None and "since" in str(var.attrs.get("units", "")):
                bounds.attrs = {
                    k: var.attrs[k] for k in ("units", "calendar") if k in var.attrs
                } | bounds.attrs
    decoded = {}
    for name, var in variables.items():
        try:
            found = _decoded(str(name), var)
        except _UndatedError:
            found = None
        if found is not None:
            decoded[name] = found
    coords = {n: v for n, v in decoded.items() if n in ds.coords}
    out = ds.assign({n: v for n, v in decoded.items() if n not in coords})
    return out.assign_coords(coords)


def refuse_missing_dates(ds: xr.Dataset, raw: xr.Dataset, where: str) -> None:
    """Refuse missing numbers that became dates of cftime, which cannot be missing: they read as the reference date.

    Args:
        ds: decoded.
        raw: the same, times not decoded.
        where: file named in errors.

    Raises:
        SkyweaveError: there are some.
    """
    for name, coord in ds.coords.items():
        if coord.dtype != object or raw[name].dtype.kind != "f":
            continue
        gone = np.flatnonzero(~np.isfinite(np.atleast_1d(raw[name].values).ravel()))
        if gone.size:
            places = ", ".join(map(str, gone[:8])) + (", ..." if gone.size > 8 else "")
            raise SkyweaveError(
                f"{where}: {name} has no date at {gone.size} of {coord.size} steps (counted from 0: {places}); write "
                "them into the file, or leave these steps out"
            )


def why_undated(coordinate: xr.DataArray) -> str:
    """Why the numbers of a time axis were not read as dates, in words for a message."""
    units = str(coordinate.attrs.get("units", "")).strip()
    if not units:
        return f"{coordinate.name!r} holds plain numbers without units"
    try:
        found = _decoded(str(coordinate.name), coordinate.variable)
    except _UndatedError as why:
        return f"{coordinate.name!r} holds plain numbers: {units!r} cannot be read as dates: {why}"
    reason = "" if found is None else ", which this reader decodes when it opens the file"
    return f"{coordinate.name!r} holds plain numbers in {units!r}{reason}"


def _decoded(name: str, var: xr.Variable) -> xr.Variable | None:
    """Dates of one variable, or None where it means to hold none."""
    units = " ".join(str(var.attrs.get("units", "")).split())
    if var.dtype.kind not in "iuf" or not (" since " in units or units.lower() in ABSOLUTE):
        return None
    stated = str(var.attrs.get("calendar", "standard")).strip().lower()
    calendar = CALENDARS.get(stated, stated)
    units = _in_utc(units, calendar)
    unit = units.split(" since ")[0].strip().lower()
    if units.lower() in ABSOLUTE or unit in MONTHS:
        values = np.asarray(var.values)
        if units.lower() in ABSOLUTE:
            dates = _from_digits(values, ABSOLUTE[units.lower()], calendar)
        else:
            dates = _from_months(values, MONTHS[unit], units, calendar)
        attrs = {k: v for k, v in var.attrs.items() if k not in ("units", "calendar")}
        return xr.Variable(var.dims, dates, attrs, {"units": units, "calendar": calendar, "dtype": var.dtype})
    plain = var.copy(deep=False)
    plain.attrs = {**var.attrs, "units": units, "calendar": calendar}
    try:
        return xr.conventions.decode_cf_variable(
            name, plain, mask_and_scale=False, decode_times=True, decode_timedelta=False
        )
    except (ValueError, OverflowError, TypeError) as exc:
        raise _UndatedError(_reason(units, stated, exc)) from exc


def _in_utc(units: str, calendar: str) -> str:
    """Units whose reference date the decoders read in full: they take 6 for 00:00 and EST for UTC without a word."""
    head, since, reference = units.partition(" since ")
    if not since:
        return units
    zone = ZONE.search(reference[:80])
    if zone is not None:
        raise _UndatedError(
            f"the zone {zone['zone']!r} of its reference date is not read; write its offset as in "
            "2020-01-01 00:00 -05:00, or the reference date in UTC"
        )
    if EITHER.fullmatch(reference):
        raise _UndatedError(f"day and month of {reference!r} may be either; write year-month-day")
    if reference.startswith("-") and calendar in ("standard", "gregorian", "julian"):
        raise _UndatedError(
            f"years before 1 are counted in two ways in the calendar {calendar!r}; write a later reference date, or "
            "state the calendar proleptic_gregorian, which has a year 0"
        )
    match = REFERENCE.fullmatch(reference)
    if match is None or match["hour"] is None or match["rest"]:
        return units
    return f"{head} since {match['date']} {int(match['hour']):02d}:00:00"


def _reason(units: str, calendar: str, exc: Exception) -> str:
    year = units.partition(" since ")[2].strip().split("-")[0]
    if year.strip("0") == "" and year:
        return (
            f"the calendar {calendar!r} has no year 0; write the true reference date into the units, or state the "
            "calendar it is of, such as proleptic_gregorian"
        )
    told = str(exc.__cause__ or exc).splitlines() or [type(exc).__name__]
    return f"in the calendar {calendar!r} they are none ({told[0]})"


def _from_months(values: NDArray[Any], months: int, units: str, calendar: str) -> NDArray[Any]:
    try:
        start = cftime.num2date(0, f"days since {units.partition(' since ')[2].strip()}", calendar=calendar)
    except ValueError as exc:
        raise _UndatedError(_reason(units, calendar, exc)) from exc
    flat = np.asarray(values, np.float64).ravel()
    whole = np.round(flat)
    known = np.isfinite(flat)
    most = np.abs(values[np.isfinite(values)]).max(initial=1)
    slack = 1e-6 if values.dtype.kind != "f" else max(1e-6, float(np.spacing(values.dtype.type(most))))
    part = np.where(np.abs(flat - whole) <= slack, 0.0, flat - np.floor(flat))
    if calendar != "360_day" and part[known].any():
        place = int(np.flatnonzero(known & (part != 0))[0])
        raise _UndatedError(
            f"{flat[place]:g} is no whole number of {units.split()[0]}, and their lengths differ; "
            "write days since the reference date"
        )
    count = np.where(part == 0, whole, np.floor(flat)) * months
    days = np.zeros(flat.size) if calendar != "360_day" else part * months * 30
    return _array(
        [
            _later(start, int(n), float(d)) if ok else None
            for n, d, ok in zip(count, days, known, strict=True)
        ],
        calendar,
    ).reshape(values.shape)


def _later(start: Any, months: int, days: float) -> Any:
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    first = start.replace(day=1, month=month + 1, year=year)
    return first.replace(day=min(start.day, first.daysinmonth)) + datetime.timedelta(days=days)


def _from_digits(values: NDArray[Any], parts: int, calendar: str) -> NDArray[Any]:
    if values.dtype.kind == "f" and np.spacing(np.nanmax(np.abs(values))) > 0.01:
        raise _UndatedError(f"{values.dtype} is too coarse for such numbers")
    made: list[Any] = []
    for value in np.asarray(values, np.float64).ravel():
        if not np.isfinite(value):
            made.append(None)
            continue
        number, part = int(value), value - int(value)
        if part > 1e-7 and parts < 3:
            raise _UndatedError(f"{value:g} has a part of a month or year, whose lengths differ")
        whole = {
            3: (number // 10000, number // 100 % 100, number % 100),
            2: (number // 100, number % 100),
            1: (number,),
        }
        digits = whole[parts]
        try:
            date = cftime.datetime(*digits, *[1] * (3 - parts), calendar=calendar)
        except ValueError as exc:
            raise _UndatedError(f"{value:.8g} is no date") from exc
        made.append(date + datetime.timedelta(seconds=round(part * 86400)))
    return _array(made, calendar).reshape(values.shape)


def _array(dates: list[Any], calendar: str) -> NDArray[Any]:
    """numpy's dates where it has the calendar and the years, else cftime's."""
    known = [d for d in dates if d is not None]
    plain = calendar in ("standard", "gregorian", "proleptic_gregorian")
    if plain and all(1582 < d.year < 2262 and d.year > 1677 for d in known):
        return np.array(["NaT" if d is None else d.isoformat() for d in dates], "datetime64[us]").astype(
            "datetime64[ns]"
        )
    if len(known) < len(dates):
        raise _UndatedError("some of them are missing")
    out = np.empty(len(dates), object)
    out[:] = dates
    return out
