"""Dates that people write: checked where they are given, in words that say what would do."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import AfterValidator, BeforeValidator

from skyweave.errors import SkyweaveError

__all__ = ["Moment", "Period", "check_date", "check_period", "equal_steps"]

WRITTEN = re.compile(r"\d{4}(-\d{2}(-\d{2}([T ]([01]\d|2[0-3])(:?[0-5]\d(:?[0-5]\d(\.\d+)?)?)?Z?)?)?)?")


def check_date(text: str, what: str = "") -> str:
    """A date in ISO 8601, or the beginning of one, as it was given.

    Raises:
        SkyweaveError: it is something else, or no day of the calendar of any year.
    """
    label = f"{what} " if what else ""
    if not WRITTEN.fullmatch(text.strip()):
        raise SkyweaveError(
            f"{label}{text!r} is not a date; write 2015, 2015-06, 2015-06-01 or 2015-06-01T03:00"
        )
    parts = [int(p) for p in re.split(r"[-T ]", text.strip().rstrip("Z"))[:3]]
    # Calendars of models have a 30 February.
    if any(not low <= p <= high for p, low, high in zip(parts[1:], (1, 1), (12, 31), strict=False)):
        raise SkyweaveError(f"{label}{text!r} is not a date: there is no such month or day")
    return text


def check_period(period: tuple[str, str], what: str = "") -> tuple[str, str]:
    """First and last date of a period, both inclusive; a year or a month stands for all of it.

    Raises:
        SkyweaveError: no dates, or the first after the last.
    """
    first, last = (check_date(p, what).replace(" ", "T").rstrip("Z") for p in period)
    size = min(len(first), len(last))
    if first[:size] > last[:size]:
        label = f"{what}: " if what else ""
        raise SkyweaveError(f"{label}the first date, {first}, is after the last, {last}")
    return period


def equal_steps(start: str, count: int, step: float) -> np.ndarray:
    """Times at equal steps, datetime64[ns] ``(count,)``.

    Args:
        start: first time, ISO 8601.
        count: of times.
        step: seconds.

    Raises:
        SkyweaveError: no date, or times beyond the years 1678 to 2261, which nanoseconds do not reach.
    """
    try:
        first = np.datetime64(start, "s")
    except ValueError:
        raise SkyweaveError(f"start {start!r}: a date such as 2000-01-01 or 2000-01-01T06:00") from None
    last = first + np.timedelta64(round((count - 1) * step), "s")
    if np.isnat(first) or first < np.datetime64("1678-01-01") or last >= np.datetime64("2262-01-01"):
        raise SkyweaveError(
            f"start {start!r}, {count} frames to {last}: years from 1678 to 2261 are possible"
        )
    return (first + np.arange(count) * np.timedelta64(round(step), "s")).astype("datetime64[ns]")


def nanoseconds(times: pd.Series) -> pd.Series:
    """Dates as datetime64[ns]; those that it cannot hold, before 1678 or after 2261, are NaT."""
    try:
        return times.astype("datetime64[ns]")
    except pd.errors.OutOfBoundsDatetime:
        inside = times.dt.year.between(1678, 2261)
        return times.where(inside).astype("datetime64[ns]")


def _valid(period: tuple[str, str]) -> tuple[str, str]:
    try:
        return check_period(period)
    except SkyweaveError as error:
        raise ValueError(str(error)) from None


def _moment(value: object) -> object:
    """A year, a date or a time as it stands in YAML; zones are read and taken to UTC."""
    if not isinstance(value, str | int) or isinstance(value, bool):
        return value
    text = f"{value:04d}" if isinstance(value, int) else value.strip()
    try:
        if not re.match(r"\d{4}(-|$)", text):
            raise ValueError
        found = pd.Timestamp(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a date; write 2015-06-01 or 2015-06-01T03:00") from None
    return (found if found.tz is None else found.tz_convert("UTC").tz_localize(None)).to_pydatetime()


Moment = Annotated[datetime, BeforeValidator(_moment)]
"""A time of a section of a configuration, UTC."""

Period = Annotated[tuple[str, str], AfterValidator(_valid)]
"""First and last date of a section of a configuration."""
