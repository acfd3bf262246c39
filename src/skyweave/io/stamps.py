"""Time stamps as one rule has them: each once, in order, none missing, and without the noise of single precision."""

from __future__ import annotations

import datetime
from typing import Any

import cftime
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from skyweave.errors import SkyweaveError, note
from skyweave.io.axes import has_dates

__all__ = ["check_stamps", "in_order", "steadied"]

STEPS = (86400, 43200, 21600, 10800, 3600, 1800, 900, 600, 300, 60, 30, 10, 1)
"""Lengths in seconds that stamps are taken to be multiples of, where they are so to within their own precision."""
UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}


def check_stamps(time: xr.DataArray, where: str) -> None:
    """Refuse missing and repeated stamps.

    Args:
        time: dates along one dimension.
        where: file named in errors.

    Raises:
        SkyweaveError: stamps that are missing, with their places, or there more than once, with their number.
    """
    values = np.atleast_1d(time.values)
    gone = np.flatnonzero(_missing(values))
    if gone.size:
        places = ", ".join(map(str, gone[:8])) + (", ..." if gone.size > 8 else "")
        raise SkyweaveError(
            f"{where}: {time.name} has no date at {gone.size} of {values.size} steps (counted from 0: {places}); "
            f"write them into the file, or leave these steps out (e.g. `ncks -d {time.name},FIRST,LAST IN OUT`)"
        )
    found, counts = np.unique(values, return_counts=True)
    if found.size < values.size:
        worst = int(np.argmax(counts))
        others = f" and {int((counts > 1).sum()) - 1} more" if (counts > 1).sum() > 1 else ""
        coarse = precision_of(time)
        told = (
            f"; it is stored as {time.encoding['dtype']} in {str(time.encoding.get('units', 'unknown'))!r}, which "
            f"tells times apart by {2 * coarse:.4g} s only" if coarse > 0.5 else ""
        )  # fmt: skip
        raise SkyweaveError(
            f"{where}: {time.name} holds {_text(found[worst])} {counts[worst]} times{others}{told}; each step must "
            "have a date of its own: correct the stamps or drop the steps that repeat (in Python ds.drop_duplicates"
            f"({str(time.name)!r}), where they hold the same)"
        )


def in_order(ds: xr.Dataset, name: str, where: str) -> xr.Dataset:
    """Steps from the first to the last, each with its values; an order that is neither forwards nor backwards is told.

    Steps that run backwards are left so.

    Raises:
        SkyweaveError: missing or repeated stamps, see `check_stamps`.
    """
    if name not in ds.dims or name not in ds.coords or not has_dates(ds[name]):
        return ds
    check_stamps(ds[name], where)
    values = ds[name].values
    if values.size < 3 or (values[1:] > values[:-1]).all() or (values[1:] < values[:-1]).all():
        return ds
    first = int(np.flatnonzero(values[1:] < values[:-1])[0])
    note(
        f"{where}: {name} is out of order ({_text(values[first + 1])} after {_text(values[first])}); its steps are "
        "sorted by time, each with its values"
    )
    source = ds.encoding.get("source")
    ds = ds.isel({name: np.argsort(values, kind="stable")})
    if source is not None:
        ds.encoding["source"] = source
    return ds


def precision_of(time: xr.DataArray) -> float:
    """Half of the step between the numbers that dates were stored as, seconds; 0 for integers or where not known."""
    kind, units = time.encoding.get("dtype"), str(time.encoding.get("units", ""))
    if kind is None or np.dtype(kind).kind != "f" or " since " not in units:
        return 0.0
    unit = UNITS.get(units.strip()[:1].lower())
    if unit is None or units.strip().lower().startswith(("mon", "mil", "mic", "ms")):
        return 0.0
    values = np.atleast_1d(time.values)
    values = values[~_missing(values)]
    if not values.size:
        return 0.0
    ends = [_plain(v) for v in (values.min(), values.max())]
    try:
        numbers = [
            cftime.date2num(v, units, calendar=time.encoding.get("calendar", "standard")) for v in ends
        ]
    except (ValueError, TypeError, OverflowError):
        return 0.0
    largest = max(abs(float(n)) for n in numbers)
    return float(np.spacing(np.dtype(kind).type(largest))) * unit / 2


def steadied(time: xr.DataArray, where: str) -> xr.DataArray:
    """Stamps moved to whole days, hours, minutes or seconds where they miss them by no more than their own precision.

    Times stored in single precision waver by seconds or minutes: 12:00 becomes 12:00:18. All of them must fit the same
    length; deviations of a millisecond or more are told.

    Args:
        time: dates, with the encoding that they were read with.
        where: file named in the note.
    """
    slack = precision_of(time)
    values = np.atleast_1d(time.values)
    if slack == 0 or values.size == 0 or _missing(values).any():
        return time
    slack = slack * (1 + 1e-3) + 1e-6
    start = _midnight(values.min())
    seconds = _seconds(values, start)
    for step in STEPS:
        if slack > step / 4:
            return time
        count = np.round(seconds / step)
        off = float(np.abs(seconds - count * step).max())
        if off > slack or np.unique(count).size < np.unique(seconds).size:
            continue
        if off == 0:
            return time
        if off >= 1e-3:
            note(
                f"{where}: {time.name} is stored as {time.encoding['dtype']}, which is good to {slack:.3g} s; its "
                f"stamps miss multiples of {_length(step)} by up to {off:.3g} s and are taken to be those"
            )
        moved = _moved(start, count * step, values.dtype).reshape(time.shape)
        out = time.copy(data=moved)
        out.encoding = dict(time.encoding)
        return out
    return time


def _missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    if values.dtype == object:
        return np.array([not isinstance(v, cftime.datetime) for v in values.ravel()]).reshape(values.shape)
    return np.isnat(values)


def _plain(value: Any) -> Any:
    """A date that cftime takes."""
    if isinstance(value, np.datetime64):
        return value.astype("datetime64[us]").item()
    return value


def _midnight(value: Any) -> Any:
    if isinstance(value, np.datetime64):
        return value.astype("datetime64[D]")
    return value.replace(hour=0, minute=0, second=0, microsecond=0)


def _seconds(values: NDArray[Any], start: Any) -> NDArray[np.float64]:
    if values.dtype == object:
        return np.array([(v - start).total_seconds() for v in values])
    return (values - start.astype(values.dtype)) / np.timedelta64(1, "s")


def _moved(start: Any, seconds: NDArray[np.float64], kind: np.dtype) -> NDArray[Any]:
    if kind.kind == "O":
        out = np.empty(seconds.size, object)
        out[:] = [start + datetime.timedelta(seconds=float(s)) for s in seconds]
        return out
    return start.astype(kind) + seconds.astype("timedelta64[s]").astype(kind.str.replace("M", "m"))


def _length(seconds: int) -> str:
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds % size == 0:
            return f"{seconds // size} {unit}{'s' * (seconds != size)}"
    return f"{seconds} s"


def _text(value: Any) -> str:
    return str(value)[:19]
