"""Station reports: any CSV or DataFrame of points as one long table, a row per observation.

Two layouts are understood. Long: one row per value, with columns time, lat, lon, variable, value and, if
there are any, error. Wide: one column per variable, with ``<variable>_error`` beside it if there is one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from skyweave.errors import SkyweaveError, UnknownNameError, clipped, did_you_mean
from skyweave.io.bounded import read_bounded
from skyweave.io.flags import Quality, flags_among
from skyweave.io.table_asked import Asked, Variables, named
from skyweave.io.table_checks import error_scale
from skyweave.io.table_flags import Flags
from skyweave.io.table_headings import with_units_above
from skyweave.io.table_places import heights, positions, refuse_two_columns
from skyweave.io.table_roles import ALIASES, heading_unit, listed, recognise, require, split_heading
from skyweave.io.table_text import text_frame, text_of
from skyweave.io.table_times import TimeColumns, table_times
from skyweave.io.table_values import has_decimal_commas, is_missing, without_missing_numbers, without_words
from skyweave.io.table_wide import melted

__all__ = ["COLUMNS", "read_stations"]

COLUMNS = ("time", "lat", "lon", "variable", "value", "error")


def read_stations(
    table: str | os.PathLike[str] | pd.DataFrame,
    *,
    variables: Variables = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    constants: Mapping[str, Any] | None = None,
    missing: Sequence[float | str] | None = None,
    time_format: str | None = None,
    time_zone: str | None = None,
    decimal: str | None = None,
    keep: Sequence[str] = (),
    quality: Quality | None = None,
) -> pd.DataFrame:
    """Read point observations as a table of time, lat, lon, variable, value, error.

    Nothing is dropped but by `quality`: rows with missing values stay, for the matching counts them by reason. Times
    are UTC without zone. The columns station, elevation and units are kept where they exist. Units in a heading,
    ``t2m [K]``, or in a line under it are understood, as are dates and times of day in columns of their own, zones in
    a heading or a column, degrees such as ``48.9N``, and words for missing values. What may mean two things is refused.

    Args:
        table: CSV file (``.csv``, ``.csv.gz``, separated by commas, semicolons, tabs, bars or blanks; local or any
            fsspec URL) or DataFrame.
        variables: variables to keep; in a wide table, the columns that are variables. All if None. A mapping
            ``{"t2m": "T2"}`` gives a column, or a name in the column of variables, another name.
        columns: which column is what where the names do not tell, ``{"value": "z", "variable": "proc"}``; times may
            be in several, ``{"time": ["date", "hour"]}``.
        constants: values for columns that the table lacks, such as ``{"lat": -30.2, "lon": -70.7}``.
        missing: numbers that mean "no value", such as -999, and words. Without numbers, well-known ones far from all
            other values are taken for missing; an empty list says that none is.
        time_format: format of dates that are not ISO 8601, as of ``datetime.strptime``; or ``epoch_s``, ``epoch_ms``,
            ``epoch_us``, ``epoch_ns``, ``epoch_days``, ``excel``, or ``"hours since 1900-01-01"`` for numbers.
        time_zone: of times that state none: ``"UTC"``, ``"+02:00"`` or ``"Europe/Berlin"``.
        decimal: the decimal mark, ``"."`` or ``","``, where the numbers leave it in doubt.
        keep: further columns of numbers to keep, such as a scan angle.
        quality: which reports are kept by columns of flags: ``{"t2m_qc": 1}`` the greatest flag, ``[0, 1]`` the least
            and the greatest, ``["V", "P"]`` the flags themselves. A column whose name holds that of a variable is of
            that variable. Without it flags are not applied, and told; ``{}`` says that all reports are wanted.

    Returns:
        One row per observation: time (datetime64[ns], UTC), lat and lon (degrees), variable, value (physical
        units), error (standard deviation, NaN where not given), then station, elevation, units if there are
        any, and what is to be kept. ``.attrs["notes"]`` says what was assumed and left out.

    Raises:
        SkyweaveError: no such file, a needed column missing (the columns found are listed), text where a
            number or a date is needed (the row is named), rows of too many or too few fields, a date, a zone or a
            comma that may mean two things, a variable that is not there.
    """
    if decimal not in (None, ".", ","):
        raise SkyweaveError(f"decimal {decimal!r}: the decimal mark is '.' or ','")
    notes: list[str] = []
    given = dict(columns or {})
    if isinstance(table, pd.DataFrame):
        frame, where = _plain(table), str(table.attrs.get("source", "table"))
        notes += list(table.attrs.get("notes", ()))
    else:
        where = os.fspath(table)
        frame = _read_csv(where, notes)
    frame.columns = pd.Index([str(c).strip() for c in frame.columns])
    if frame.columns.has_duplicates:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise SkyweaveError(f"{where}: column {clipped(twice)} is there twice")
    if frame.empty:
        raise SkyweaveError(
            f"{where}: the table has no rows; its columns are: {listed(list(frame.columns)) or 'none'}"
        )
    frame, given = with_units_above(frame, given, where, notes)
    frame, numbers = without_words(frame, missing, notes)
    times = TimeColumns(_listed_columns(given.get("time")), time_format, time_zone, None)
    found = recognise(frame, given, where)
    refuse_two_columns(frame, found, set(given), where)
    asked = Asked(named(variables), constants or {}, numbers, decimal, tuple(keep), quality)
    return _table(frame, found, times, asked, where, notes)


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    frame = table.reset_index() if any(n is not None for n in table.index.names) else table.copy()
    return frame.reset_index(drop=True)


def _listed_columns(given: str | Sequence[str] | None) -> tuple[str, ...]:
    return () if given is None else (given,) if isinstance(given, str) else tuple(given)


def _read_csv(path: str, notes: list[str]) -> pd.DataFrame:
    remote = "://" in path or "::" in path
    if not remote and not Path(path).is_file():
        parent = Path(path).parent
        if Path(path).is_dir():
            raise SkyweaveError(f"{path}: is a folder, not a table of stations")
        names = sorted(p.name for p in parent.iterdir()) if parent.is_dir() else []
        raise SkyweaveError(f"{path}: no such file{did_you_mean(Path(path).name, names)}")
    return text_frame(text_of(read_bounded(path), path, notes), path, notes)


def _table(
    frame: pd.DataFrame,
    found: dict[str, str],
    times: TimeColumns,
    asked: Asked,
    where: str,
    notes: list[str],
) -> pd.DataFrame:
    """The long table of a frame whose columns are known."""
    data = pd.DataFrame(index=frame.index)
    when = table_times(
        frame, TimeColumns(times.columns, times.form, times.zone, found.pop("time_zone", None)), where, notes
    ) if "time" not in asked.constants else None  # fmt: skip
    used = [*found.values(), *asked.keep]
    if when is not None:
        data["time"], columns = when
        used += columns
    for role, column in found.items():
        data[role] = frame[column]
    commas = any(has_decimal_commas(frame[c]) for c in frame.columns)
    for name in asked.keep:
        if name not in frame.columns and name not in ALIASES:
            names = [str(c) for c in frame.columns]
            raise SkyweaveError(
                f"{where}: no column {name!r}{did_you_mean(name, names)}; it has: {listed(names)}"
            )
        if name not in ALIASES:
            data[name] = asked.numbers(frame[name], f"{where}: column {name!r}", notes, commas)
    for role, constant in asked.constants.items():
        if role not in ALIASES:
            raise SkyweaveError(
                f"constants: unknown column {role!r}{did_you_mean(role, list(ALIASES))}; known: "
                f"{', '.join(ALIASES)}"
            )
        data[role] = constant
    if "time" in asked.constants:
        own = pd.DataFrame({"time": data["time"]})
        made = table_times(own, TimeColumns((), times.form, times.zone), f"{where}: constants", notes)
        if made is not None:
            data["time"] = made[0]
    for role in ("time", "lat", "lon"):
        require(role, data, frame, where)
    positions(data, frame, found, where, notes, asked, commas)
    for role in ("elevation",) if "value" in data else ("error", "elevation"):
        if role in data:
            told = f"{where}: column {found.get(role, role)!r}"
            data[role] = asked.numbers(data[role], told, notes, commas)
    if "elevation" in found:
        data["elevation"] = heights(data["elevation"], found["elevation"], where)
    if "value" in data:
        long = _long(data, frame, found, used, asked, where, notes, commas)
    else:
        long = melted(data, frame, used, asked, where, notes, commas)
    extra = [c for c in dict.fromkeys(("station", "elevation", "units", *asked.keep)) if c in long]
    extra = [c for c in extra if c not in COLUMNS]
    out = long[[*COLUMNS, *extra]].reset_index(drop=True)
    out.attrs = {"notes": tuple(dict.fromkeys(note.removeprefix(f"{where}: ") for note in notes))}
    return out


def _long(
    data: pd.DataFrame, frame: pd.DataFrame, found: Mapping[str, str], used: Sequence[str], asked: Asked, where: str,
    notes: list[str], commas: bool,
) -> pd.DataFrame:  # fmt: skip
    """Rows of the wanted variables of a table that has a row per value."""
    names = asked.names
    if "variable" not in data:
        if names is None or len(names) != 1:
            require("variable", data, frame, where)
        assert names is not None
        data["variable"] = next(iter(names.values()))
    absent = is_missing(data["variable"])
    data["variable"] = data["variable"].astype(str).str.strip().mask(absent)
    known = sorted(data["variable"].dropna().unique())
    for name in (names or {}).values():
        if name not in known:
            message = (
                f"{where}: no observation of {name!r}{did_you_mean(name, known)}; it has: {listed(known)}"
            )
            raise UnknownNameError(message, name, known)
    wanted = known if names is None else list(names.values())
    kept = _flagged(data, frame, used, asked, wanted, where, notes)
    for role in ("value", "error"):
        if role in data:
            told = f"{where}: column {found.get(role, role)!r}"
            data[role] = asked.numbers(data[role].where(kept), told, notes, commas)
    _with_units(data, found, where)
    data = data[kept]
    if names is not None:
        data = data[data["variable"].isin(wanted)]
        data = data.assign(variable=data["variable"].map({old: new for new, old in names.items()}))
    for column in ("value", "error"):
        parts = [
            without_missing_numbers(part, f"{where}: {column} of {name}", notes, asked.missing)
            for name, part in data.groupby("variable", dropna=False)[column]
        ]
        data = data.assign(**{column: pd.concat(parts).reindex(data.index) if parts else np.nan})
    return data


def _flagged(
    data: pd.DataFrame, frame: pd.DataFrame, used: Sequence[str], asked: Asked, wanted: Sequence[str], where: str,
    notes: list[str],
) -> np.ndarray:  # fmt: skip
    """Rows that columns of flags keep, of a table that has a row per value."""
    headings = {split_heading(c)[0]: str(c) for c in frame.columns if c not in used}
    limits = Flags.of(frame, flags_among(headings, wanted), headings, asked.quality, where)
    kept, there = np.ones(len(data), bool), ~is_missing(data["value"]).to_numpy()
    label = data["variable"].to_numpy(object)
    for name in wanted:
        here = label == name
        kept &= ~here | limits.kept(name, there & here, notes)
    notes += limits.unapplied(wanted)
    return kept


def _with_units(data: pd.DataFrame, found: Mapping[str, str], where: str) -> None:
    """The unit of a heading as a column, and errors in the units of their values; changes the table.

    Raises:
        SkyweaveError: a unit in the heading, and others in the rows.
    """
    unit = heading_unit(found.get("value", ""))
    if unit and "units" in data:
        others = sorted({str(u).strip() for u in data["units"].dropna()} - {unit, ""})
        if others:
            raise SkyweaveError(
                f"{where}: the heading {found['value']!r} states {unit!r}, and column {found.get('units', 'units')!r} "
                f"holds {clipped(others[0], 30)}: correct one of them"
            )
    if unit:
        data["units"] = unit
    if "error" not in data:
        data["error"] = np.nan
    elif "error" in found:
        told = f"{where}: column {found['error']!r}"
        data["error"] *= error_scale(heading_unit(found["error"]), unit, told)
