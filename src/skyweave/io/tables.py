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

from skyweave.errors import SkyweaveError, clipped, did_you_mean
from skyweave.io.bounded import read_bounded
from skyweave.io.table_checks import error_scale, refuse_hemispheres, refuse_text
from skyweave.io.table_roles import (
    ALIASES,
    bare_name,
    heading_unit,
    listed,
    recognise,
    require,
    split_heading,
)
from skyweave.io.table_text import text_frame, text_of
from skyweave.io.table_times import PARTS, TimeColumns, table_times
from skyweave.io.table_values import (
    degrees,
    has_decimal_commas,
    is_missing,
    looks_numeric,
    numbers,
    without_missing_numbers,
)

__all__ = ["COLUMNS", "read_stations"]

COLUMNS = ("time", "lat", "lon", "variable", "value", "error")
ERROR_TAILS = ("_error", "_err", "_sigma", "_std")
NOWHERE = 900.0
"""Degrees that stand for no place, as -999 and 9999 do."""

MOST = 8
"""Columns that a note lists, at most."""

Variables = Mapping[str, str] | Sequence[str] | str | None


def read_stations(
    table: str | os.PathLike[str] | pd.DataFrame,
    *,
    variables: Variables = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    constants: Mapping[str, Any] | None = None,
    missing: Sequence[float] | None = None,
    time_format: str | None = None,
    time_zone: str | None = None,
    decimal: str | None = None,
    keep: Sequence[str] = (),
) -> pd.DataFrame:
    """Read point observations as a table of time, lat, lon, variable, value, error.

    Nothing is dropped: rows with missing values stay, for the matching counts them by reason. Times are UTC
    without zone. The columns station, elevation and units are kept where they exist. Units in a heading,
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
        missing: numbers that mean "no value", such as -999. ``None`` takes well-known ones far from all other values
            for missing, an empty list none.
        time_format: format of dates that are not ISO 8601, as of ``datetime.strptime``; or ``epoch_s``, ``epoch_ms``,
            ``epoch_us``, ``epoch_ns``, ``epoch_days``, ``excel``, or ``"hours since 1900-01-01"`` for numbers.
        time_zone: of times that state none: ``"UTC"``, ``"+02:00"`` or ``"Europe/Berlin"``.
        decimal: the decimal mark, ``"."`` or ``","``, where the numbers leave it in doubt.
        keep: further columns of numbers to keep, such as a scan angle.

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
    frame, given = _without_units_row(frame, given, where, notes)
    times = TimeColumns(_listed_columns(given.get("time")), time_format, time_zone, None)
    found = recognise(frame, given, where)
    return _table(
        frame, found, times, _Asked(variables, constants or {}, missing, decimal, tuple(keep)), where, notes
    )


class _Asked:
    """What a user asks of a table's values."""

    def __init__(
        self,
        variables: Variables,
        constants: Mapping[str, Any],
        missing: Sequence[float] | None,
        decimal: str | None,
        keep: tuple[str, ...],
    ) -> None:
        mapped = isinstance(variables, Mapping)
        self.names: dict[str, str] | None
        if variables is None:
            self.names = None
        elif isinstance(variables, Mapping):
            self.names = dict(variables)
        else:
            self.names = {v: v for v in ([variables] if isinstance(variables, str) else variables)}
        self.mapped, self.constants, self.missing = mapped, constants, missing
        self.decimal, self.keep = decimal, keep


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
    asked: _Asked,
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
            data[name] = _numbers(frame[name], f"{where}: column {name!r}", notes, asked, commas)
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
    _positions(data, frame, found, where, notes, asked, commas)
    for role in ("value", "error", "elevation"):
        if role in data:
            data[role] = _numbers(
                data[role], f"{where}: column {found.get(role, role)!r}", notes, asked, commas
            )
    if "value" in data:
        if (unit := heading_unit(found.get("value", ""))) and "units" not in data:
            data["units"] = unit
        if "error" in found:
            told = f"{where}: column {found['error']!r}"
            data["error"] *= error_scale(heading_unit(found["error"]), unit, told)
        long = _long(data, frame, asked, where, notes)
    else:
        long = _melt(data, frame, used, asked, where, notes, commas)
    extra = [c for c in dict.fromkeys(("station", "elevation", "units", *asked.keep)) if c in long]
    extra = [c for c in extra if c not in COLUMNS]
    out = long[[*COLUMNS, *extra]].reset_index(drop=True)
    out.attrs = {"notes": tuple(dict.fromkeys(note.removeprefix(f"{where}: ") for note in notes))}
    return out


def _numbers(
    column: pd.Series, where: str, notes: list[str], asked: _Asked, commas: bool, *, screened: bool = False
) -> pd.Series:
    values = numbers(column, where, notes, decimal=asked.decimal, commas=commas)
    return without_missing_numbers(values, where, notes, asked.missing) if screened else values


def _positions(
    data: pd.DataFrame,
    frame: pd.DataFrame,
    found: dict[str, str],
    where: str,
    notes: list[str],
    asked: _Asked,
    commas: bool,
) -> None:
    """Latitudes and longitudes in degrees, refused where they seem to have changed places."""
    for role in ("lat", "lon"):
        told = f"{where}: column {found.get(role, role)!r}"
        values = degrees(data[role], role, told, notes, decimal=asked.decimal, commas=commas)
        far = values.abs() >= NOWHERE
        if far.any():
            notes.append(f"{told}: taken for missing: {int(far.sum())} of {NOWHERE:g} degrees and more")
        data[role] = without_missing_numbers(values.mask(far), told, [], asked.missing or ())
    refuse_hemispheres(frame, data, where)
    lat, lon = data["lat"], data["lon"]
    beyond = lat.abs() > 90
    if beyond.any() and (lon.dropna().abs() <= 90).all() and (lat.dropna().abs() <= 360).all():
        row = int(np.flatnonzero(beyond.to_numpy())[0])
        raise SkyweaveError(
            f"{where}: row {row + 1} has latitude {lat.iloc[row]:g}, beyond the pole ({int(beyond.sum())} such rows), "
            "and every longitude is within 90: are they exchanged? Say columns: {lat: "
            f"{found.get('lon', 'lon')}, lon: {found.get('lat', 'lat')}}}, or correct the row"
        )


def _long(
    data: pd.DataFrame, frame: pd.DataFrame, asked: _Asked, where: str, notes: list[str]
) -> pd.DataFrame:
    """Rows of the wanted variables of a table that has a row per value."""
    names = asked.names
    if "variable" not in data:
        if names is None or len(names) != 1:
            require("variable", data, frame, where)
        assert names is not None
        data["variable"] = next(iter(names.values()))
    absent = is_missing(data["variable"])
    data["variable"] = data["variable"].astype(str).str.strip().mask(absent)
    if "error" not in data:
        data["error"] = np.nan
    if names is not None:
        known = sorted(data["variable"].dropna().unique())
        for name in names.values():
            if name not in known:
                raise SkyweaveError(
                    f"{where}: no observation of {name!r}{did_you_mean(name, known)}; it has: {listed(known)}"
                )
        data = data[data["variable"].isin(list(names.values()))]
        data = data.assign(variable=data["variable"].map({old: new for new, old in names.items()}))
    for column in ("value", "error"):
        parts = [
            without_missing_numbers(part, f"{where}: {column} of {name}", notes, asked.missing)
            for name, part in data.groupby("variable", dropna=False)[column]
        ]
        data = data.assign(**{column: pd.concat(parts).reindex(data.index)})
    return data


def _melt(
    data: pd.DataFrame, frame: pd.DataFrame, used: list[str], asked: _Asked, where: str, notes: list[str],
    commas: bool,
) -> pd.DataFrame:  # fmt: skip
    """One row per variable and report from a table with one column per variable."""
    names = [str(c) for c in frame.columns]
    headings = {split_heading(c)[0]: c for c in names if c not in used}
    error_of = {n[: -len(tail)]: n for tail in ERROR_TAILS for n in headings if n.endswith(tail)}
    candidates = [n for n in headings if n not in error_of.values()]
    wanted = asked.names
    if wanted is None:
        wanted = {n: n for n in _variables(frame, headings, candidates, where, notes)}
    if not wanted:
        refuse_text(frame, headings, candidates, where)
        require("value", data, frame, where)
    parts = []
    for name, label in wanted.items():
        column = headings.get(label, label if label in names else None)
        if column is None:
            raise SkyweaveError(
                f"{where}: no column for variable {label!r}{did_you_mean(label, candidates)}; found: "
                f"{listed(names)}"
            )
        bare = split_heading(column)[0]
        part = data.drop(columns=[c for c in ("variable",) if c in data]).copy()
        part["variable"] = name
        told = f"{where}: column {column!r}"
        part["value"] = _numbers(frame[column], told, notes, asked, commas, screened=True)
        if bare in error_of:
            heading = headings[error_of[bare]]
            told = f"{where}: column {heading!r}"
            scale = error_scale(heading_unit(heading), heading_unit(column), told)
            part["error"] = scale * _numbers(frame[heading], told, notes, asked, commas, screened=True)
        elif "error" not in part:
            part["error"] = np.nan
        if "units" not in part and any(heading_unit(headings.get(v, v)) for v in wanted.values()):
            part["units"] = heading_unit(column)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _variables(
    frame: pd.DataFrame, headings: Mapping[str, str], candidates: Sequence[str], where: str, notes: list[str]
) -> list[str]:
    """Columns that are variables: most of what is in them are numbers, or words for missing ones and nothing else.

    Notes, flags in letters and names are none; nor are columns that tell times or play another role.
    """
    known = {a for role in ALIASES if role not in ("value", "error") for a in ALIASES[role]}
    known |= {a for part in PARTS.values() for a in part}
    wanted, text = [], []
    for name in candidates:
        column = frame[headings[name]]
        if bare_name(name) in known:
            continue
        share = looks_numeric(column)
        if np.isnan(share):
            # Empty columns say nothing; one of words for "missing" is a variable that nobody measured.
            if column.notna().any() and bool((column.dropna().map(str).str.strip() != "").any()):
                wanted.append(name)
        elif share > 0.5:
            wanted.append(name)
        else:
            text.append(name if share == 0 else f"{name} ({100 * share:.0f} % numbers)")
    if text:
        more = f", and {len(text) - MOST} more" if len(text) > MOST else ""
        notes.append(
            f"columns of text, which are no variables: {', '.join(clipped_names(text[:MOST]))}{more}"
        )
    return wanted


def clipped_names(names: Sequence[str]) -> list[str]:
    """Names, each cut to a length that a message can bear."""
    return [n if len(n) <= 40 else clipped(n, 40) for n in names]


def _without_units_row(
    frame: pd.DataFrame, given: dict[str, str | Sequence[str]], where: str, notes: list[str]
) -> tuple[pd.DataFrame, dict[str, str | Sequence[str]]]:
    """A table whose first row holds units, with the units in its headings instead, and what was given renamed."""
    if len(frame) < 2:
        return frame, given
    first = frame.iloc[0]
    lat_lon = [c for c in frame.columns if bare_name(c) in ALIASES["lat"] + ALIASES["lon"]]
    if not lat_lon or not all(str(first[c]).strip().lower().startswith(("deg", "°")) for c in lat_lon):
        return frame, given
    rest = frame.iloc[1:]
    if not all(looks_numeric(rest[c].head(100)) == 1.0 for c in lat_lon):
        return frame, given
    renamed = {
        c: f"{c} [{str(first[c]).strip()}]"
        for c in frame.columns
        if isinstance(first[c], str) and not is_missing(frame[c].iloc[:1]).iloc[0] and not heading_unit(c)
    }
    shown = ", ".join(clipped_names(list(renamed.values())[:MOST]))
    notes.append(f"units taken from the line under the heading: {shown}")
    again: dict[str, str | Sequence[str]] = {
        role: renamed.get(c, c) if isinstance(c, str) else [renamed.get(k, k) for k in c]
        for role, c in given.items()
    }
    return rest.rename(columns=renamed).reset_index(drop=True), again
