"""The lines of IGRA version 2 files: decompressed, checked to be whole, cut into numbers, codes told from values."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

import numpy as np
import pandas as pd

from skyweave.errors import SkyweaveError
from skyweave.io.bounded import read_bounded

__all__ = [
    "FLAGS",
    "HEADER_FIELDS",
    "HEADER_WIDTH",
    "LEVEL_FIELDS",
    "LEVEL_WIDTH",
    "characters",
    "check_kind",
    "check_whole",
    "integers",
    "launch_times",
    "level_numbers",
    "read_lines",
]

MISSING, REMOVED = -9999, -8888
KNOWN_FLAGS = (b"", b"A", b"B")
HEADER_WIDTH, LEVEL_WIDTH = 71, 51


class _Field(NamedTuple):
    """Columns of a number in a level's line, and the least and greatest value that it can mean."""

    start: int
    stop: int
    low: int
    high: int


# Elapsed time as minutes and seconds MMMSS, Pa, m, tenths of degrees Celsius, of a percent and of m s-1, degrees.
LEVEL_FIELDS = {
    "elapsed time": _Field(3, 8, 0, 99959),
    "pressure": _Field(9, 15, 1, 120000),
    "height": _Field(16, 21, -1000, 99999),
    "temperature": _Field(22, 27, -1500, 700),
    "relative humidity": _Field(28, 33, 0, 1200),
    "dew-point depression": _Field(34, 39, 0, 999),
    "wind direction": _Field(40, 45, 0, 360),
    "wind speed": _Field(46, 51, 0, 2500),
}
FLAGS = {"pressure_flag": 15, "height_flag": 21, "temperature_flag": 27}
HEADER_FIELDS = {
    "year": (13, 17), "month": (18, 20), "day": (21, 23), "hour": (24, 26), "release time": (27, 31),
    "number of levels": (32, 36), "latitude": (55, 62), "longitude": (63, 71),
}  # fmt: skip


def read_lines(path: str) -> list[bytes]:
    """Lines of a file, decompressed."""
    raw = read_bounded(path, members=lambda name: name.endswith(".txt"))
    return raw.splitlines()


def check_kind(path: str, lines: list[bytes], starts: np.ndarray) -> None:
    """The lines are the plain text of IGRA version 2 data."""
    opening = lines[0][:60].decode("ascii", "replace") if lines else "nothing"
    wanted = "expected the data of IGRA version 2, <station>-data.txt"
    if not len(starts) or starts[0] != 0:
        raise SkyweaveError(
            f"{path}: is not an IGRA file: it starts with {opening!r}, not with '#'; {wanted}"
        )
    header = lines[0].rstrip()
    if re.match(rb"#\d{19}", header):
        raise SkyweaveError(f"{path}: is of IGRA version 1 (first line {opening!r}); {wanted}")
    if len(header) > HEADER_WIDTH + 8:
        raise SkyweaveError(f"{path}: holds derived parameters (<station>-drvd.txt), not soundings; {wanted}")
    odd = next((n for n, line in enumerate(lines) if not line.isascii() or b"\0" in line), None)
    if odd is not None:
        raise SkyweaveError(
            f"{path}: line {odd + 1} holds bytes that are no text: {lines[odd][:60]!r}; the file is damaged, download "
            "it again"
        )
    if not re.match(rb"#[A-Za-z0-9_-]{11} \d{4} \d\d \d\d ", header):
        raise SkyweaveError(f"{path}: line 1 is not the head of an IGRA sounding: {opening!r}; {wanted}")


def check_whole(path: str, lines: list[bytes], starts: np.ndarray, stated: np.ndarray) -> None:
    """Each sounding has the levels that its head announces, each of them whole."""
    found = np.diff(np.append(starts, len(lines))) - 1
    bad = np.flatnonzero(found != stated)
    if bad.size:
        k = int(bad[0])
        where = f"{path}: the sounding at line {starts[k] + 1} announces {stated[k]} levels, found {found[k]}"
        if k == len(starts) - 1 and found[k] < stated[k]:
            raise SkyweaveError(f"{where} before the end of the file: it is truncated, download it again")
        raise SkyweaveError(f"{where}: the file is damaged or was edited")
    short = next((n for n, line in enumerate(lines) if len(line) < LEVEL_WIDTH), None)
    if short is not None:
        end = ", the last one" if short == len(lines) - 1 else ""
        raise SkyweaveError(
            f"{path}: line {short + 1}{end}, is cut short ({len(lines[short])} of {LEVEL_WIDTH} characters): the "
            "file is truncated or damaged, download it again"
        )


def characters(lines: list[bytes], rows: np.ndarray, width: int) -> np.ndarray:
    """Characters of some lines, shape ``(n, width)``."""
    text = b"".join(lines[n][:width].ljust(width) for n in rows)
    return np.frombuffer(text, "S1").reshape(-1, width)


def integers(matrix: np.ndarray, start: int, stop: int, what: str, path: str, rows: np.ndarray) -> np.ndarray:
    words = np.ascontiguousarray(matrix[:, start:stop]).view(f"S{stop - start}").ravel()
    try:
        return words.astype(np.int64)
    except ValueError:
        bad = next(n for n, w in enumerate(words) if not re.fullmatch(rb"\s*-?\d+\s*", w))
        raise SkyweaveError(
            f"{path}: line {rows[bad] + 1} has {words[bad].decode('ascii', 'replace')!r} in columns {start + 1} to "
            f"{stop}, where the {what} should be; the file is damaged or not of IGRA version 2"
        ) from None


def launch_times(
    n: dict[str, np.ndarray], path: str, rows: np.ndarray, counts: Counter[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Nominal times, or releases where the hour is missing, and times of release."""
    dates = pd.DataFrame({k: n[k] for k in ("year", "month", "day")})
    days = pd.to_datetime(dates, errors="coerce").to_numpy("M8[ns]")
    bad = np.flatnonzero(np.isnat(days))
    if bad.size:
        k = int(bad[0])
        date = f"{n['year'][k]}-{n['month'][k]}-{n['day'][k]}"
        raise SkyweaveError(f"{path}: line {rows[k] + 1} has the date {date}, which does not exist")
    hour, minute, odd = n["release time"] // 100, n["release time"] % 100, n["hour"]
    lacking = (odd < 0) | (odd > 23)
    counts["nominal hours missing"] += int((odd == 99).sum())
    counts["unknown codes of the hour"] += int((lacking & (odd != 99)).sum())
    nominal = np.where(lacking, np.datetime64("NaT"), days + odd.astype("m8[h]"))
    # Of a release of which only the hour is known, the minutes are 99.
    known = (n["release time"] >= 0) & (hour <= 23) & ((minute <= 59) | (minute == 99))
    counts["unknown codes of the release time"] += int((~known & (n["release time"] != 9999)).sum())
    since = (hour * 60 + np.where(minute == 99, 30, minute)).astype("m8[m]")
    release = np.where(known, days + since, np.datetime64("NaT"))
    # A balloon for midnight is released the day before.
    away = (release - nominal) / np.timedelta64(1, "h")
    release = release + np.where(away > 12, -1, np.where(away < -12, 1, 0)).astype("m8[D]")
    return np.where(lacking, release, nominal), release


def level_numbers(
    text: np.ndarray, path: str, rows: np.ndarray, counts: Counter[str]
) -> dict[str, np.ndarray]:
    """Values of each level in the file's units, NaN where missing, removed or impossible; counts the last two.

    Args:
        text: characters of the lines, shape ``(n, LEVEL_WIDTH)``.
        path: for messages.
        rows: number of each line from 0, for messages.
        counts: by what was found.
    """
    raw = {}
    for name, field in LEVEL_FIELDS.items():
        number = integers(text, field.start, field.stop, name, path, rows)
        coded = (number == MISSING) | (number == REMOVED)
        counts["values removed by IGRA's quality control"] += int((number == REMOVED).sum())
        below, above = ~coded & (number < field.low), ~coded & (number > field.high)
        if name == "elapsed time":
            above |= ~coded & (number % 100 > 59)
        counts[f"unknown codes of {name}"] += int((below & (number < 0)).sum())
        counts[f"impossible values of {name}"] += int((above | (below & (number >= 0))).sum())
        raw[name] = np.where(coded | below | above, np.nan, number)
    return raw
