"""Text of dates and times of day as moments: what is certain is read, what may be two things is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from skyweave.dates import nanoseconds
from skyweave.errors import SkyweaveError, clipped
from skyweave.io.table_zones import zone_of

__all__ = ["FORMATS", "Moments", "clock_seconds", "parse_dates", "refused"]

FORMATS = {
    "epoch_s": "seconds since 1970-01-01",
    "epoch_ms": "milliseconds since 1970-01-01",
    "epoch_us": "microseconds since 1970-01-01",
    "epoch_ns": "nanoseconds since 1970-01-01",
    "epoch_days": "days since 1970-01-01",
    "excel": "days since 1899-12-30",
}
"""Names that ``time_format`` takes for numbers, beside formats of ``strptime`` and CF's "hours since 1900-01-01"."""

NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
NANOSECONDS = {
    "d": 86_400 * 10**9, "h": 3_600 * 10**9, "min": 60 * 10**9, "s": 10**9, "mil": 10**6, "ms": 10**6, "mic": 10**3,
    "us": 10**3, "n": 1,
}  # fmt: skip
MONTHS = {name: k + 1 for k, name in enumerate(NAMES)}
SINCE = re.compile(
    r"(?P<unit>days?|d|hours?|hrs?|h|minutes?|mins?|seconds?|secs?|s|milliseconds?|msecs?|ms|microseconds?|us|"
    r"nanoseconds?|ns)\s+since\s+(?P<origin>.+)",
    re.IGNORECASE,
)
CLOCK = (
    r"(?P<H>\d{1,2})(?::(?P<M>\d{2})(?::(?P<S>\d{2})(?:[.,](?P<F>\d{1,9}))?)?|(?P<M2>\d{2})(?P<S2>\d{2})?)?"
    r"\s*(?P<half>[AaPp]\.?[Mm]\.?)?"
)
DATE = r"(?P<Y>\d{4})(?:(?P<sep>[-/. ])(?P<m>\d{1,2})(?P=sep)(?P<d>\d{1,2})|(?P<m2>\d{2})(?P<d2>\d{2}))"
NAMED = r"(?:(?P<nd>\d{1,2})[-. ]+(?P<nm>[A-Za-z]{3,9})\.?[-., ]+(?P<nY>\d{4}))"
ZONE = (
    r"(?P<zone>Z|[+-]\d{2}(?::?\d{2})?(?::?00)?|\s?(?:UTC|GMT)?[+-]\d{1,2}(?::?\d{2})?|\s[A-Z][A-Za-z]{1,5})"
)
FULL = re.compile(rf"(?:{DATE}|{NAMED})(?:(?P<join>T|t|\s*,\s*|\s+|_)?{CLOCK})?\s?{ZONE}?")
TURNED = re.compile(r"(\d{1,2})([-/.])(\d{1,2})[-/.](\d{4}|\d{2})(.*)")
FIRST_YEAR, FIRST_OF_DIGITS, LAST_YEAR = 1700, 1900, 2250


@dataclass(frozen=True, eq=False)
class Moments:
    """Times of a column.

    Args:
        time: without zone; midnight where there is a date alone; NaT where the cell is empty or not understood.
        zoned: rows that had an offset of their own, so that ``time`` is UTC.
        clock: rows that had a time of day.
        bad: rows that hold what is not understood.
    """

    time: pd.Series
    zoned: np.ndarray
    clock: np.ndarray
    bad: np.ndarray


def parse_dates(text: pd.Series, where: str, form: str | None = None) -> Moments:
    """Dates, with or without a time of day and an offset, of a column of text.

    ISO 8601 in its usual spellings, digits alone (``YYYYMMDD``, then HH, MM, SS), and months by their English
    names; 24:00 is the next day's midnight. Formats may differ from row to row.

    Args:
        text: of each row; missing cells are NaN.
        where: file and column, for messages.
        form: as ``time_format`` of `skyweave.io.read_stations`.

    Raises:
        SkyweaveError: a format that fits no row, offsets that are ambiguous.
    """
    if form is not None:
        return _by_format(text, where, form)
    words = pd.Series(text.dropna().unique(), dtype=object)
    parts = words.str.extract(FULL.pattern) if len(words) else pd.DataFrame()
    if not len(words):
        none = np.zeros(len(text), bool)
        return Moments(pd.Series(pd.NaT, text.index, dtype="datetime64[ns]"), none, none, none)
    whole = words.map(lambda word: FULL.fullmatch(word) is not None)
    months = parts["nm"].str[:3].str.lower().map(MONTHS)
    ymd = {
        "year": parts["Y"].fillna(parts["nY"]),
        "month": parts["m"].fillna(parts["m2"]).fillna(months),
        "day": parts["d"].fillna(parts["d2"]).fillna(parts["nd"]),
    }
    day = _days(pd.DataFrame({k: pd.to_numeric(v, errors="coerce") for k, v in ymd.items()}))
    seconds = _seconds(parts)
    clock = parts["H"].notna()
    time = day + pd.to_timedelta(seconds.where(clock, 0.0), unit="s")
    zones = {z: zone_of(z, where) for z in parts.loc[whole, "zone"].dropna().unique()}
    unknown = parts["zone"].map(lambda z: isinstance(z, str) and not isinstance(zones.get(z), float))
    offset = parts["zone"].map(zones).where(~unknown).astype(float)
    # Digits alone may be seconds since 1970, which began with 17 in 2023; 1 and 06 without a mark between is no hour.
    digits = words.str.fullmatch(r"\d+") & (
        ~words.str.len().isin((8, 10, 12, 14)) | (day.dt.year < FIRST_OF_DIGITS)
    )
    loose = clock & parts["join"].isna() & parts["m2"].isna()
    good = whole & time.notna() & ~unknown & ~digits & ~loose & ~(parts["zone"].notna() & ~clock)
    time = (time - pd.to_timedelta(offset.fillna(0), unit="m")).where(good)
    table = pd.DataFrame({"time": time, "zoned": offset.notna() & good, "clock": clock & good})
    table.index = pd.Index(words)
    rows = table.reindex(text.to_numpy())
    found = pd.Series(rows["time"].to_numpy("datetime64[ns]"), index=text.index)
    zoned, timed = (rows[k].eq(True).to_numpy() for k in ("zoned", "clock"))
    return Moments(found, zoned, timed, (text.notna() & found.isna()).to_numpy())


def _days(ymd: pd.DataFrame) -> pd.Series:
    """Dates of year, month and day; NaT for what is in no calendar, or in years that no report is of."""
    sane = (
        ymd["year"].between(FIRST_YEAR, LAST_YEAR) & ymd["month"].between(1, 12) & ymd["day"].between(1, 31)
    )
    return pd.to_datetime(ymd.where(sane), errors="coerce").astype("datetime64[ns]")


def _seconds(parts: pd.DataFrame) -> pd.Series:
    """Seconds of the day of the groups of `CLOCK`; NaN for what no clock shows."""
    hour = pd.to_numeric(parts["H"], errors="coerce")
    minute = pd.to_numeric(parts["M"].fillna(parts["M2"]), errors="coerce").fillna(0)
    second = pd.to_numeric(parts["S"].fillna(parts["S2"]), errors="coerce").fillna(0)
    fraction = pd.to_numeric("0." + parts["F"].astype(object), errors="coerce").fillna(0)
    half = parts["half"].str.lower().str[0]
    sane = (minute < 60) & (second < 60) & np.where(half.notna(), hour.between(1, 12), hour <= 24)
    hour = hour.where(half.isna(), hour % 12 + 12 * (half == "p"))
    total = 3600 * hour + 60 * minute + second + fraction
    return total.where(sane & (total <= 86400))


def clock_seconds(text: pd.Series, kind: str) -> pd.Series:
    """Seconds of the day of a column of times of day; NaN where one is not understood.

    Args:
        text: of each row.
        kind: ``"hour"`` (a number of hours), ``"minute"``, ``"second"``, or ``"clock"``: HH:MM, HHMM, HH, AM or PM.
    """
    plain = text.str.replace(r"\.0+$", "", regex=True)
    if kind in ("minute", "second"):
        value = pd.to_numeric(plain, errors="coerce")
        return value.where((value >= 0) & (value < 60)) * {"minute": 60.0, "second": 1.0}[kind]
    if kind == "hour" and plain.dropna().str.fullmatch(r"\d{1,2}(\.\d+)?").all():
        value = pd.to_numeric(plain, errors="coerce")
        return value.where((value >= 0) & (value <= 24)) * 3600
    # 600 is 06:00 and 0 is 00:00 where others have four digits.
    digits = plain.str.fullmatch(r"\d{1,4}").eq(True)
    if (plain.dropna().str.fullmatch(r"\d{1,4}")).all() and plain.dropna().str.len().max() > 2:
        plain = plain.where(~digits, plain.str.zfill(4))
    return _seconds(plain.str.extract(rf"^{CLOCK}\s*(?:Z|UTC|GMT)?$"))


def _by_format(text: pd.Series, where: str, form: str) -> Moments:
    match = SINCE.fullmatch(FORMATS.get(form, form))
    if match is not None:
        time = _since(text, where, match["unit"].lower(), match["origin"])
        clock, zoned = np.ones(len(text), bool), np.zeros(len(text), bool)
    elif "%" in form:
        zoned = np.full(len(text), "%z" in form.lower())
        time = pd.to_datetime(text, utc=True, errors="coerce", format=form).dt.tz_localize(None)
        clock = np.full(len(text), any(d in form for d in ("%H", "%I", "%c", "%X", "%T", "%f")))
    else:
        raise SkyweaveError(
            f"time_format {form!r}: write a format of strptime such as '%d/%m/%Y %H:%M', one of "
            f"{', '.join(FORMATS)}, or such as 'hours since 1900-01-01'"
        )
    time = nanoseconds(time)
    return Moments(time, zoned, clock, (time.isna() & text.notna()).to_numpy())


def _since(text: pd.Series, where: str, unit: str, origin: str) -> pd.Series:
    start = parse_dates(pd.Series([origin.strip()], dtype=object), f"{where}: origin {origin!r}")
    if start.bad[0]:
        raise SkyweaveError(f"{where}: {origin!r} is not a date to count from; write days since 1970-01-01")
    known = (key for key in NANOSECONDS if unit.startswith(key))
    size = NANOSECONDS[max(known, key=len)]
    counts = pd.to_numeric(text, errors="coerce").to_numpy(float)
    sane = np.abs(counts * size) < 9e18
    whole = np.where(sane, np.floor(counts), 0)
    # Fractions of days and hours are exact to a millisecond, not to a nanosecond.
    step = 1_000_000 if size > 1_000_000_000 else 1
    part = np.rint(np.where(sane, counts - whole, 0) * size / step).astype(np.int64) * step
    moments = start.time.iloc[0] + pd.to_timedelta(
        pd.Series(whole.astype(np.int64) * size + part, text.index), unit="ns"
    )
    return moments.where(pd.Series(sane, text.index) & moments.dt.year.between(FIRST_YEAR, LAST_YEAR))


def why_not(word: str) -> str:
    """What a text that is no certain date may be, and what would work for it; empty if nothing comes to mind."""
    turned = TURNED.fullmatch(word)
    if turned is not None:
        mark, year = turned[2], "%Y" if len(turned[4]) == 4 else "%y"
        tail = re.sub(r"\d{1,2}:\d{2}:\d{2}", "%H:%M:%S", turned[5])
        tail = re.sub(r"\d{1,2}:\d{2}", "%H:%M", tail)
        if re.search("[ap]m", tail, re.IGNORECASE):
            tail = re.sub("[ap]m", "%p", tail.replace("%H", "%I"), flags=re.IGNORECASE)
        forms = [f"%{a}{mark}%{b}{mark}{year}{tail}" for a, b in (("d", "m"), ("m", "d"))]
        return f"day and month may be either: say which with time_format: {forms[0]!r} or {forms[1]!r}"
    month = re.fullmatch(r"\d{4}(-?)(\d{2})?", word)
    if month is not None:
        form = "%Y" if month[2] is None else f"%Y{month[1]}%m"
        return (
            "a time of day, a month or a year? A time of day needs a column of dates, columns: {time: [date, hour]}; "
            f"time_format: {form!r} takes the first day that it names"
        )
    if re.fullmatch(r"\d{1,2}(:\d{2}){0,2}\s*([AaPp][Mm])?", word):
        return "a time of day needs a column of dates: name both, columns: {time: [date, hour]}"
    number = re.fullmatch(r"-?(\d+)(\.\d+)?", word)
    if number is None:
        return ""
    size = len(number[1])
    guess = {
        10: "epoch_s",
        9: "epoch_s",
        13: "epoch_ms",
        12: "epoch_ms",
        16: "epoch_us",
        19: "epoch_ns",
        5: "excel",
    }
    name = guess.get(size, "")
    told = f"time_format: {name} ({FORMATS[name]})" if name else "time_format: 'hours since 1900-01-01'"
    return f"a number does not say since when it counts: say so, as in {told}"


def refused(cell: object, where: str, row: int, count: int) -> SkyweaveError:
    """The message for a cell that is no date."""
    reason = why_not(str(cell).strip())
    return SkyweaveError(
        f"{where}: row {row + 1} holds {clipped(cell)}, which is not a date for certain ({count} such rows); "
        + (f"{reason}. Or " if reason else "")
        + "write 2019-03-01T06:00 (UTC, or with its zone as in +02:00), or give time_format, such as "
        "'%d/%m/%Y %H:%M'"
    )
