"""Radiosondes of the Integrated Global Radiosonde Archive, version 2: data files and station list as tables."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from skyweave.errors import SkyweaveError
from skyweave.io.formats import expand
from skyweave.io.igra_format import (
    FLAGS,
    HEADER_FIELDS,
    HEADER_WIDTH,
    LEVEL_WIDTH,
    characters,
    check_kind,
    check_whole,
    integers,
    launch_times,
    level_numbers,
    read_lines,
)
from skyweave.thermodynamics import (
    dew_point,
    relative_humidity,
    saturation_vapour_pressure,
    specific_humidity,
    wind_components,
)

__all__ = ["UNITS", "read_igra", "read_station_list", "without_duplicates"]

UNITS = {
    "elapsed": "s",
    "lat": "degrees_north",
    "lon": "degrees_east",
    "pressure": "hPa",
    "height": "m",
    "temperature": "K",
    "dew_point": "K",
    "relative_humidity": "1",
    "specific_humidity": "kg kg-1",
    "u": "m s-1",
    "v": "m s-1",
}
"""Units of the columns of `read_igra`."""

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def read_igra(
    paths: Paths,
    *,
    stations: str | os.PathLike[str] | pd.DataFrame | None = None,
    period: tuple[Any, Any] | None = None,
) -> pd.DataFrame:
    r"""IGRA version 2 soundings, a row per level.

    Humidity is over liquid water: vapour pressure is :math:`e_s(T - D)` of the dew-point depression D where there is
    one, else :math:`RH\, e_s(T)`, with ``e_s`` of Bolton (1980); both need a temperature. Values that IGRA's own
    quality control removed (-8888) are missing, as are numbers that no code stands for. Of launches of one
    station at one nominal time the fuller one is kept.

    Args:
        paths: data files ``<station>-data*.txt``, plain, ``.gz`` or ``.zip``; globs, URLs, a folder, or several.
        stations: station list, or its path, for positions that a file lacks.
        period: first and last nominal time that is read, dates or their text; ``None`` for all.

    Returns:
        Ordered by sounding and then as in the file: station, source (codes of the data sets that pressure levels
        and other levels come from), sounding (number from 0), time (nominal, UTC; the release where the hour is
        missing), release (NaT where missing), lat, lon (degrees, of the launch), elapsed (s since release),
        level_type (1 mandatory pressure, 2 other pressure, 3 height without pressure), level_kind (1 surface, 2
        tropopause, 0 other), pressure (hPa), height (geopotential, m), temperature, dew_point (K),
        relative_humidity (1), specific_humidity (kg kg-1), u, v (m s-1), and the flags of pressure, height and
        temperature ("A", "B", or ""). ``.attrs["counts"]`` says how many soundings and levels there are and what was
        left out, ``.attrs["units"]`` has `UNITS`.

    Raises:
        SkyweaveError: a file that is not IGRA 2 data, ends within a sounding, or has text in place of a number.

    Reference: Durre et al. (2018), J. Atmos. Oceanic Technol. 35, 1753-1770; format in ``igra2-data-format.txt``
    beside the data at NOAA NCEI.
    """
    counts: Counter[str] = Counter()
    known = _positions(stations)
    files = _files(paths)
    parts: list[pd.DataFrame] = []
    dated: list[np.ndarray] = []
    for path in files:
        part = _read_file(path, None if period is None else _limits(period), known, counts, dated)
        if len(part):
            part["sounding"] += parts[-1]["sounding"].iloc[-1] + 1 if parts else 0
            parts.append(part)
    where = files[0] if len(files) == 1 else f"{files[0]} ... ({len(files)} files)"
    if not parts:
        told = "".join(f"; {n} {what}" for what, n in counts.items() if n)
        when = f" between {period[0]} and {period[1]}{_span(dated)}" if period else ""
        raise SkyweaveError(f"{where}: no sounding with a time and a position{when}{told}")
    table = without_duplicates(pd.concat(parts, ignore_index=True), counts)
    counts["soundings"] = int(table["sounding"].iloc[-1]) + 1
    counts["levels"] = len(table)
    found = {what: n for what, n in counts.items() if n}
    table.attrs = {"counts": found, "units": dict(UNITS), "source": where}
    return table


def read_station_list(path: str | os.PathLike[str]) -> pd.DataFrame:
    """IGRA version 2 station list, a row per station.

    Args:
        path: ``igra2-station-list.txt``, plain, ``.gz`` or ``.zip``.

    Returns:
        station, lat, lon (degrees), elevation (m), state, name, first_year, last_year, soundings, mobile. Positions
        of mobile stations, and what is unknown, are NaN.

    Raises:
        SkyweaveError: the file is not such a list.
    """
    text = os.fspath(path)
    lines = [line.decode("utf-8", "replace") for line in read_lines(text) if line.strip()]
    bad = next((n for n, line in enumerate(lines) if not re.match(r"[A-Z0-9_-]{11} [ \d.-]{24}", line)), None)
    if bad is not None or not lines:
        found = repr(lines[bad][:50]) if bad is not None else "nothing"
        raise SkyweaveError(
            f"{text}: line {(bad or 0) + 1} is not one of an IGRA 2 station list (found {found}); give "
            "igra2-station-list.txt"
        )
    spans = {
        "station": (0, 11), "lat": (12, 20), "lon": (21, 30), "elevation": (31, 37), "state": (38, 40),
        "name": (41, 71), "first_year": (72, 76), "last_year": (77, 81), "soundings": (82, 88),
    }  # fmt: skip
    table = pd.DataFrame({k: [line[a:b].strip() for line in lines] for k, (a, b) in spans.items()})
    for column in ("lat", "lon", "elevation", "first_year", "last_year", "soundings"):
        table[column] = pd.to_numeric(table[column], errors="coerce")
    # -98.8888 and -998.8888 stand for a mobile station, -99.9999 and -999.9999 for an unknown position.
    table["mobile"] = (table["lat"] < -98) & (table["lat"] > -99)
    nowhere = (table["lat"].abs() > 90) | (table["lon"].abs() > 360)
    table[["lat", "lon"]] = table[["lat", "lon"]].mask(nowhere)
    table["elevation"] = table["elevation"].mask(table["elevation"] < -990)
    return table


def _files(paths: Paths) -> list[str]:
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    found: list[str] = []
    for entry in given:
        folder = Path(os.path.expanduser(os.fspath(entry)))
        if folder.is_dir():
            inside = sorted(p for p in folder.iterdir() if re.search(r"-data.*\.txt(\.gz|\.zip)?$", p.name))
            if not inside:
                names = ", ".join(sorted(p.name for p in folder.iterdir())[:5])
                raise SkyweaveError(
                    f"{folder}: no IGRA data files (<station>-data.txt, .txt.gz or .txt.zip) in this folder; "
                    f"it has {names or 'nothing'}"
                )
            found += [str(p) for p in inside]
        else:
            found += expand(entry)
    if not found:
        raise SkyweaveError("no IGRA file was given: give a path, a folder, a glob or a list of them")
    return list(dict.fromkeys(found))


def _limits(period: tuple[Any, Any]) -> tuple[pd.Timestamp, pd.Timestamp]:
    try:
        first, last = (pd.Period(t) if isinstance(t, str) else pd.Timestamp(t) for t in period)
        return (
            first.start_time if isinstance(first, pd.Period) else first,
            last.end_time if isinstance(last, pd.Period) else last,
        )
    except (ValueError, TypeError):
        raise SkyweaveError(
            f"period {period!r}: give two dates, such as ('2015-01-01', '2015-01-31')"
        ) from None


def _span(dated: list[np.ndarray]) -> str:
    """First and last time of all soundings, those that are not wanted too."""
    times = np.concatenate(dated)
    if not len(times):
        return ""
    first, last = (f"{pd.Timestamp(t):%Y-%m-%d %H:%M}" for t in (times.min(), times.max()))
    return f"; its times are {first}" + (f" to {last}" if last != first else "")


def _positions(stations: str | os.PathLike[str] | pd.DataFrame | None) -> dict[str, tuple[float, float]]:
    if stations is None:
        return {}
    table = stations if isinstance(stations, pd.DataFrame) else read_station_list(stations)
    return {s: (la, lo) for s, la, lo in zip(table["station"], table["lat"], table["lon"], strict=True)}


def _read_file(
    path: str,
    period: tuple[pd.Timestamp, pd.Timestamp] | None,
    known: dict[str, tuple[float, float]],
    counts: Counter[str],
    dated: list[np.ndarray],
) -> pd.DataFrame:
    """Soundings of the period; the times of all are added to ``dated``, what is left out to ``counts``."""
    lines = read_lines(path)
    while lines and not lines[-1].strip():
        lines.pop()
    starts = np.array([n for n, line in enumerate(lines) if line[:1] == b"#"], np.int64)
    check_kind(path, lines, starts)
    head = characters(lines, starts, HEADER_WIDTH)
    numbers = {k: integers(head, a, b, k, path, starts) for k, (a, b) in HEADER_FIELDS.items()}
    check_whole(path, lines, starts, numbers["number of levels"])
    station = np.ascontiguousarray(head[:, 1:12]).view("S11").ravel().astype(str)
    codes = [np.char.strip(np.ascontiguousarray(head[:, k : k + 8]).view("S8").ravel()) for k in (37, 46)]
    source = np.char.strip(np.char.add(np.char.add(codes[0], b" "), codes[1])).astype(str)
    time, release = launch_times(numbers, path, starts, counts)
    lat, lon = numbers["latitude"] / 1e4, numbers["longitude"] / 1e4
    nowhere = (np.abs(lat) > 90) | (np.abs(lon) > 360)
    listed = np.array([known.get(s, (np.nan, np.nan)) for s in station]).reshape(-1, 2)
    lat, lon = np.where(nowhere, listed[:, 0], lat), np.where(nowhere, listed[:, 1], lon)
    chosen = ~np.isnat(time)
    dated.append(time[chosen])
    counts["soundings without a time"] += int((~chosen).sum())
    if period is not None:
        chosen &= (time >= period[0].to_datetime64()) & (time <= period[1].to_datetime64())
    counts["soundings without a position"] += int((chosen & np.isnan(lat)).sum())
    chosen &= ~np.isnan(lat) & (numbers["number of levels"] > 0)
    many = numbers["number of levels"][chosen]
    if not len(many):
        return pd.DataFrame()
    first = np.cumsum(many) - many
    rows = np.repeat(starts[chosen] + 1 - first, many) + np.arange(many.sum())
    own = {
        "station": station, "source": source, "sounding": np.cumsum(chosen) - 1, "time": time, "release": release,
        "lat": lat, "lon": lon,
    }  # fmt: skip
    table = pd.DataFrame({k: np.repeat(v[chosen], many) for k, v in own.items()})
    return _levels(table, characters(lines, rows, LEVEL_WIDTH), path, rows, counts)


def _levels(
    table: pd.DataFrame, text: np.ndarray, path: str, rows: np.ndarray, counts: Counter[str]
) -> pd.DataFrame:
    """The columns of each level, in physical units."""
    raw = level_numbers(text, path, rows, counts)
    kinds = [integers(text, k, k + 1, "level type", path, rows) for k in (0, 1)]
    counts["unknown level types"] += int(
        (~np.isin(kinds[0], (1, 2, 3)) | ~np.isin(kinds[1], (0, 1, 2))).sum()
    )
    table["elapsed"] = raw["elapsed time"] // 100 * 60 + raw["elapsed time"] % 100
    table["level_type"], table["level_kind"] = (k.astype(np.int8) for k in kinds)
    table["pressure"], table["height"] = raw["pressure"] / 100, raw["height"]
    t = raw["temperature"] / 10 + 273.15
    rh = raw["relative humidity"] / 1000
    depression = raw["dew-point depression"] / 10
    by_depression = np.isfinite(depression)
    e = np.where(
        by_depression, saturation_vapour_pressure(t - depression), rh * saturation_vapour_pressure(t)
    )
    dew = np.where(by_depression, t - depression, dew_point(e))
    table["temperature"], table["dew_point"] = t, dew
    table["relative_humidity"] = np.where(np.isfinite(rh), rh, relative_humidity(t, dew))
    table["specific_humidity"] = specific_humidity(e, table["pressure"])
    table["u"], table["v"] = wind_components(raw["wind direction"], raw["wind speed"] / 10)
    for name, column in FLAGS.items():
        flag = np.char.strip(text[:, column])
        counts["unknown flags"] += int((~np.isin(flag, (b"", b"A", b"B"))).sum())
        table[name] = flag.astype(str)
    return table


def without_duplicates(table: pd.DataFrame, counts: Counter[str]) -> pd.DataFrame:
    """Of soundings of one station and time, the one with the most values; numbered anew in order of time.

    Args:
        table: levels as of `read_igra`.
        counts: told how many were left out.
    """
    values = ["pressure", "height", "temperature", "dew_point", "u"]
    full = table[values].notna().sum(axis=1).groupby(table["sounding"]).sum()
    launch = table.drop_duplicates("sounding")[["sounding", "station", "time"]].assign(full=full.to_numpy())
    ranked = launch.sort_values(["station", "time", "full", "sounding"], ascending=[True, True, False, True])
    repeated = ranked.duplicated(["station", "time"])
    counts["duplicate launches"] += int(repeated.sum())
    order = ranked.loc[~repeated].sort_values(["time", "station"])["sounding"].to_numpy()
    rank = pd.Series(np.arange(len(order)), index=order)
    table["sounding"] = table["sounding"].map(rank)
    table = table[table["sounding"].notna()].astype({"sounding": np.int64})
    return table.sort_values("sounding", kind="stable", ignore_index=True)
