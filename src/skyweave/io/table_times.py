"""When each row of a table is: which columns tell it, in one, in two or in parts, and in what zone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from skyweave.dates import nanoseconds
from skyweave.errors import SkyweaveError, clipped
from skyweave.io.table_clashes import refuse_other_times
from skyweave.io.table_dates import FORMATS, SINCE, Moments, clock_seconds, parse_dates, refused
from skyweave.io.table_roles import TIME_NAMES, bare_name, heading_unit
from skyweave.io.table_values import MISSING_WORDS, is_missing
from skyweave.io.table_zones import AMBIGUOUS, LOCAL, zone_of, zones_to_utc

__all__ = ["PARTS", "TimeColumns", "table_times"]

# What a column with such a name tells, beside a date.
PARTS: dict[str, tuple[str, ...]] = {
    "hour": ("hour", "hr", "hrs", "hours", "hh", "hour_utc", "utc_hour", "obs_hour", "hour_of_day", "heure", "stunde"),
    "clock": (
        "hhmm", "hh:mm", "hhmmss", "hh:mm:ss", "hms", "clock", "time_of_day", "time", "time_utc", "utc_time", "utc",
        "time_gmt", "gmt", "obs_time", "observation_time", "local_time", "time_local", "uhrzeit", "zulu", "time_hhmm",
        "time_of_observation", "timeutc",
    ),
    "minute": ("minute", "minutes", "mn", "obs_minute"),
    "second": ("second", "seconds"),
    "year": ("year", "yr", "yyyy"),
    "month": ("month", "mon", "mo"),
    "day": ("day", "dy", "dd", "day_of_month"),
}  # fmt: skip
DATE_NAMES = (
    "date", "date_utc", "utc_date", "obs_date", "observation_date", "valid_date", "yyyymmdd", "ymd", "datum",
    "local_date", "date_local",
)  # fmt: skip
LOCAL_NAME = re.compile(r"(^|_)(local|lst|lt|lmt)(_|$)")
UTC_NAME = re.compile(r"(^|_)(utc|gmt|zulu|z)(_|$)|utc$")
EPOCH_NAMES = {
    "epoch": "epoch_s", "epoch_s": "epoch_s", "unix": "epoch_s", "unix_time": "epoch_s", "unixtime": "epoch_s",
    "epoch_time": "epoch_s", "epoch_ms": "epoch_ms", "unix_ms": "epoch_ms",
}  # fmt: skip


@dataclass(frozen=True)
class TimeColumns:
    """What a user says of the times.

    Args:
        columns: that hold them, date first; empty to find them by name.
        form: ``time_format``.
        zone: ``time_zone``: of times without one of their own.
        zone_column: column of zones or offsets.
    """

    columns: tuple[str, ...] = ()
    form: str | None = None
    zone: str | None = None
    zone_column: str | None = None


def table_times(
    frame: pd.DataFrame, given: TimeColumns, where: str, notes: list[str]
) -> tuple[pd.Series, list[str]] | None:
    """Times of the rows as UTC, and the columns that they were taken from; ``None`` without such columns.

    Args:
        frame: the table.
        given: what the user says.
        where: file, for messages.
        notes: takes what is to be known of how times were read.

    Raises:
        SkyweaveError: what may be several times, with what would tell.
    """
    names = {bare_name(c): str(c) for c in reversed(list(frame.columns))}
    if given.columns:
        first, rest = given.columns[0], list(given.columns[1:])
        time, used, own = _named(frame, first, rest, given, where, names, notes)
    else:
        found = _found(frame, given, where, names, notes)
        if found is None:
            return None
        time, used, own = found
    return _as_utc(time, own, frame, given, used, where, notes), used


Found = tuple[pd.Series, list[str], np.ndarray]


def _named(
    frame: pd.DataFrame, first: str, rest: list[str], given: TimeColumns, where: str, names: dict[str, str],
    notes: list[str],
) -> Found:  # fmt: skip
    """Times of the columns that the user names."""
    if given.form is not None and rest and re.search(r"%[HIcXT]", given.form):
        joined = _texts(frame[first])
        for name in rest:
            joined = joined + " " + _texts(frame[name])
        moments = parse_dates(joined, _column(where, first), given.form)
        _check(moments, joined, _column(where, first))
        return moments.time, [first, *rest], moments.zoned
    if rest and bare_name(first) in PARTS["year"]:
        return _from_parts(frame, dict(zip(("year", "month", "day"), [first, *rest[:2]], strict=False)), rest[2:],
                           where, notes)  # fmt: skip
    moments = _moments(frame[first], _column(where, first), _form_of(first, given.form))
    _check(moments, frame[first], _column(where, first))
    if not rest:
        clock = _clocks(frame, names, used=[first])
        if clock and not moments.clock.any() and _varies(frame, clock, where):
            told = ", ".join([first, *clock])
            raise SkyweaveError(
                f"{_column(where, first)} holds dates alone, and {', '.join(map(repr, clock))} the time of day: name "
                f"both, columns: {{time: [{told}]}}"
            )
        return moments.time, [first], moments.zoned
    return _joined(frame, first, moments, rest, where, notes)


def _found(
    frame: pd.DataFrame, given: TimeColumns, where: str, names: dict[str, str], notes: list[str]
) -> Found | None:
    """Times of the columns that their names tell."""
    candidates = [names[n] for n in (*TIME_NAMES, *EPOCH_NAMES, *DATE_NAMES) if n in names]
    candidates = list(dict.fromkeys([*candidates, *_odd_names(names)]))
    ymd = {k: next((names[n] for n in PARTS[k] if n in names), None) for k in ("year", "month", "day")}
    dates: list[tuple[str, Moments]] = []
    first_bad: tuple[str, Moments] | None = None
    for name in candidates:
        moments = _moments(frame[name], _column(where, name), _form_of(name, given.form))
        if not moments.bad.any() and moments.clock.any() and _has_hours(moments):
            refuse_other_times(frame, name, moments, candidates, where, notes)
            return _complete(frame, name, moments, names, where, notes)
        if not moments.bad.any() and moments.time.notna().any():
            dates.append((name, moments))
        elif first_bad is None and moments.bad.any() and not _is_clock(frame[name]):
            first_bad = (name, moments)
    if first_bad is not None and not dates:
        _check(first_bad[1], frame[first_bad[0]], _column(where, first_bad[0]))
    parts = {k: v for k, v in ymd.items() if v is not None}
    if len(parts) == 3 and not dates:
        clock = _clocks(frame, names, list(parts.values()))
        if not clock:
            _refuse_unread(frame, names, parts["day"], where)
        return _from_parts(frame, parts, clock, where, notes)
    if dates:
        name, moments = dates[0]
        clock = _clocks(frame, names, [name], local=not moments.clock.any())
        if not clock:
            _refuse_unread(frame, names, name, where)
        return _joined(frame, name, moments, clock, where, notes)
    lonely = next((c for c in candidates), None)
    if lonely is not None:
        moments = _moments(frame[lonely], _column(where, lonely), given.form)
        _check(moments, frame[lonely], _column(where, lonely))
        return moments.time, [lonely], moments.zoned
    return None


def _odd_names(names: dict[str, str]) -> list[str]:
    """Columns such as ``valid(UTC)`` or ``obs_time_utc`` that no list holds."""
    form = r"(valid|obs|observation|report)?_?(date_?)?time_?(utc|gmt)?"
    return [c for n, c in names.items() if re.fullmatch(form, n)]


def _has_hours(moments: Moments) -> bool:
    """Whether not every time is a midnight."""
    known = moments.time.dropna()
    return bool((known != known.dt.normalize()).any())


def _complete(
    frame: pd.DataFrame, name: str, moments: Moments, names: dict[str, str], where: str, notes: list[str]
) -> Found:
    """Times of one column with dates and hours, unless a column of hours contradicts them."""
    hour = next((names[n] for n in PARTS["hour"] if n in names and names[n] != name), None)
    if hour is not None:
        seconds = clock_seconds(_texts(frame[hour]), "hour")
        known = seconds.notna() & moments.time.notna() & ~moments.zoned
        differ = known & (seconds // 3600 != moments.time.dt.hour)
        if differ.any():
            row = int(np.flatnonzero(differ.to_numpy())[0])
            raise SkyweaveError(
                f"{where}: row {row + 1} has {clipped(frame[name].iloc[row])} as {name!r} and "
                f"{clipped(frame[hour].iloc[row])} as {hour!r}: which is the time? Say so, columns: {{time: {name}}}, "
                f"or columns: {{time: [{name}, {hour}]}}"
            )
    return moments.time, [name], moments.zoned


def _clocks(frame: pd.DataFrame, names: dict[str, str], used: list[str], local: bool = True) -> list[str]:
    """Columns of the time of day: an hour or a clock, then minutes and seconds; local ones where that is asked."""
    found: list[str] = []
    utc = sorted(PARTS["clock"], key=lambda n: (not UTC_NAME.search(n), LOCAL_NAME.search(n) is not None))
    for kind in (PARTS["hour"], utc):
        for n in kind:
            usable = n in names and names[n] not in used and (local or not LOCAL_NAME.search(n))
            if not found and usable and _is_clock(frame[names[n]], hours=n in PARTS["hour"]):
                found.append(names[n])
    for kind in (PARTS["minute"], PARTS["second"]):
        found += [names[n] for n in kind if found and n in names and names[n] not in used][:1]
    return found


def _refuse_unread(frame: pd.DataFrame, names: dict[str, str], date: str, where: str) -> None:
    """Refuse a column of hours that cannot be read: without it all reports would be at midnight."""
    for name in (names[n] for n in (*PARTS["hour"], *PARTS["clock"]) if n in names):
        text = _texts(frame[name])
        odd = text.notna() & text.str.contains(r"\d", regex=True).eq(True)
        if name == date or not odd.any() or not parse_dates(text, name, None).bad.any():
            continue
        row = int(np.flatnonzero(odd.to_numpy())[0])
        raise SkyweaveError(
            f"{where}: column {name!r}: row {row + 1} holds {clipped(frame[name].iloc[row])}, which is no time of day, "
            f"and {date!r} holds dates alone; write 06, 0600, 06:00 or 06:00 PM"
        )


def _is_clock(column: pd.Series, *, hours: bool = False) -> bool:
    given = pd.Series(_texts(column).dropna().unique(), dtype=object)
    form = r"\d{1,2}\.\d+|" if hours else ""  # 6.5 is half past six
    form += (
        r"\d{1,2}(\.0+)?|\d{3,4}|\d{6}|\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?(\s*(Z|UTC|GMT))?|"
        r"\d{1,2}(:\d{2}){0,2}\s*[AaPp]\.?[Mm]\.?"
    )
    return len(given) > 0 and bool(given.str.fullmatch(form).all())


def _varies(frame: pd.DataFrame, clock: list[str], where: str) -> bool:
    return bool((_clock_total(frame, clock, where).fillna(0) != 0).any())


def _kind(name: str, first: bool) -> str:
    bare = bare_name(name)
    if bare in PARTS["minute"] or bare in PARTS["second"]:
        return "minute" if bare in PARTS["minute"] else "second"
    return "hour" if bare in PARTS["hour"] else "clock" if first else "minute"


def _clock_total(frame: pd.DataFrame, clock: Sequence[str], where: str) -> pd.Series:
    """Seconds of the day of one column or several."""
    total = pd.Series(0.0, index=frame.index)
    for place, name in enumerate(clock):
        text = _texts(frame[name])
        seconds = clock_seconds(text, _kind(name, place == 0))
        bad = seconds.isna() & text.notna()
        if bad.any():
            row = int(np.flatnonzero(bad.to_numpy())[0])
            raise SkyweaveError(
                f"{where}: column {name!r}: row {row + 1} holds {clipped(frame[name].iloc[row])}, which is no time of "
                f"day ({int(bad.sum())} such rows); write 06, 0600, 06:00 or 06:00 PM"
            )
        total = total + seconds
    return total


def _joined(
    frame: pd.DataFrame, date: str, moments: Moments, clock: list[str], where: str, notes: list[str]
) -> Found:
    """Dates of one column and times of day of others."""
    if not clock:
        if not moments.clock.any():
            notes.append(f"column {date!r} has dates without a time of day: taken as 00:00")
        return moments.time, [date], moments.zoned
    if _has_hours(moments):
        raise SkyweaveError(
            f"{where}: column {date!r} has times of day of its own beside {', '.join(map(repr, clock))}; name one, "
            f"columns: {{time: {date}}}"
        )
    time = moments.time + pd.to_timedelta(_clock_total(frame, clock, where), unit="s")
    notes.append(f"times joined from the columns {', '.join([date, *clock])}")
    return nanoseconds(time), [date, *clock], np.zeros(len(frame), bool)


def _from_parts(
    frame: pd.DataFrame, parts: dict[str, str], clock: list[str], where: str, notes: list[str]
) -> Found:
    """Times of columns of the year, the month, the day and the time of day."""
    ymd = pd.DataFrame({k: pd.to_numeric(_texts(frame[c]), errors="coerce") for k, c in parts.items()})
    days = pd.to_datetime(ymd.where(ymd["year"].between(1700, 2250)), errors="coerce").astype(
        "datetime64[ns]"
    )
    bad = days.isna() & ymd.notna().any(axis=1)
    if bad.any():
        row = int(np.flatnonzero(bad.to_numpy())[0])
        found = ", ".join(clipped(frame[c].iloc[row], 20) for c in parts.values())
        raise SkyweaveError(
            f"{where}: row {row + 1} has {found} as {', '.join(parts.values())}, which is no day ({int(bad.sum())} "
            "such rows); write years with four digits, months 1 to 12"
        )
    none = np.zeros(len(frame), bool)
    return (
        _joined(frame, ", ".join(parts.values()), Moments(days, none, none, none), clock, where, notes)[0],
        [
            *parts.values(),
            *clock,
        ],
        none,
    )


def _form_of(name: str, form: str | None) -> str | None:
    """The format of a column: as given, or as its heading tells, ``time [hours since 1900-01-01]`` or ``unix_time``."""
    if form is not None:
        return form
    unit = heading_unit(name)
    if SINCE.fullmatch(unit):
        return unit
    return FORMATS.get(EPOCH_NAMES.get(bare_name(name), ""))


def _texts(column: pd.Series) -> pd.Series:
    """Text of each cell; empty ones and words for missing are NaN, whole floats lose their ``.0``."""
    codes, cells = pd.factorize(column)
    text = [t.isoformat() if hasattr(t, "isoformat") else str(t).strip() for t in cells]
    text = [re.sub(r"^(\d+)\.0$", r"\1", t) for t in text]
    known = [np.nan if not t or t.lower() in MISSING_WORDS else t for t in text]
    return pd.Series(np.array([*known, np.nan], object)[codes], index=column.index, dtype=object)


def _moments(column: pd.Series, where: str, form: str | None) -> Moments:
    if pd.api.types.is_datetime64_any_dtype(column):
        none = np.zeros(len(column), bool)
        zoned = getattr(column.dtype, "tz", None) is not None
        plain = column.dt.tz_convert("UTC").dt.tz_localize(None) if zoned else column
        time = nanoseconds(plain)
        gone = (time.isna() & plain.notna()).to_numpy()
        return Moments(time, ~none if zoned else none, column.notna().to_numpy(), gone)
    return parse_dates(_texts(column), where, form)


def _check(moments: Moments, column: pd.Series, where: str) -> None:
    if moments.bad.any():
        row = int(np.flatnonzero(moments.bad)[0])
        raise refused(column.iloc[row], where, row, int(moments.bad.sum()))


def _column(where: str, name: str) -> str:
    return f"{where}: column {name!r}"


def _as_utc(
    time: pd.Series, own: np.ndarray, frame: pd.DataFrame, given: TimeColumns, used: list[str], where: str,
    notes: list[str],
) -> pd.Series:  # fmt: skip
    """Times in UTC, by the zone that the user, a heading or a column of zones tells."""
    if own.all():
        return time
    if given.zone is not None:
        if zone_of(given.zone, f"{where}: time_zone") is None:
            raise SkyweaveError(
                f"{where}: time_zone {given.zone!r}: write 'UTC', '+02:00' or 'Europe/Berlin'"
            )
        return zones_to_utc(time, given.zone, own, f"{where}: time_zone")
    heading = next((z for c in used if (z := _heading_zone(c, where)) is not None), None)
    if given.zone_column is not None and heading != 0.0:
        cells = frame[given.zone_column].mask(is_missing(frame[given.zone_column]))
        told = f"{where}: column {given.zone_column!r}"
        if heading is not None:
            raise SkyweaveError(
                f"{told} and the heading of {used[0]!r} both tell a zone; say which: time_zone: '...'"
            )
        if (cells.dropna().map(str).str.strip().str.lower().isin(("utc", "gmt", "z", "0", "+00:00"))).all():
            return zones_to_utc(time, cells, own, told)
        notes.append(f"times are local by column {given.zone_column!r}, taken to UTC")
        return zones_to_utc(time, cells, own, told)
    if heading is not None:
        if heading != 0.0:
            notes.append(f"times taken to UTC by the zone in the heading {used[0]!r}")
        zone = (
            heading
            if isinstance(heading, str)
            else f"{'+' if heading >= 0 else '-'}{_clock_text(abs(heading))}"
        )
        return zones_to_utc(time, zone, own, where)
    return time


def _clock_text(minutes: float) -> str:
    return f"{int(minutes) // 60:02d}:{int(minutes) % 60:02d}"


def _heading_zone(column: str, where: str) -> float | str | None:
    """The zone that a heading tells: ``time [CEST]``, ``time_utc``, ``time (local)``."""
    told = _column(where, column)
    unit = heading_unit(column)
    if unit and not SINCE.fullmatch(unit):
        for word in [unit, *re.split(r"[\s,;]+", unit)]:
            if word.lower() in AMBIGUOUS | LOCAL or zone_of(word, told) is not None:
                return zone_of(word, told)
    name = bare_name(column)
    if LOCAL_NAME.search(name):
        return zone_of("local", told)
    tail = name.rpartition("_")[2] if "_" in name else ""
    if tail and (tail in AMBIGUOUS or zone_of(tail, told) is not None):
        return zone_of(tail, told)
    return 0.0 if UTC_NAME.search(name) else None
