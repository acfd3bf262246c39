"""Station reports: any CSV or DataFrame of points as one long table, a row per observation.

Two layouts are understood. Long: one row per value, with columns time, lat, lon, variable, value and, if
there are any, error. Wide: one column per variable, with ``<variable>_error`` beside it if there is one.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd

from skyweave.errors import SkyweaveError, did_you_mean

COLUMNS = ("time", "lat", "lon", "variable", "value", "error")
ALIASES: dict[str, tuple[str, ...]] = {
    "time": (
        "time",
        "datetime",
        "date_time",
        "valid_time",
        "timestamp",
        "obs_time",
        "observation_time",
        "utc",
        "date",
    ),
    "lat": ("lat", "latitude", "station_lat", "station_latitude", "ylat"),
    "lon": ("lon", "longitude", "lng", "long", "station_lon", "station_longitude", "xlon"),
    "variable": ("variable", "var", "variable_name", "parameter", "param", "quantity", "element"),
    "value": ("value", "val", "obs", "observation", "observed", "obs_value", "observed_value", "measurement"),
    "error": ("error", "err", "sigma", "std", "stdev", "obs_error", "uncertainty", "standard_error"),
    "station": (
        "station",
        "station_id",
        "stationid",
        "id",
        "site",
        "site_id",
        "stid",
        "wmo",
        "wmo_id",
        "icao",
        "name",
    ),
    "elevation": ("elevation", "elev", "altitude", "alt", "station_elevation"),
    "units": ("units", "unit"),
}
NUMBERS = ("lat", "lon", "value", "error", "elevation")


def read_stations(
    table: str | os.PathLike[str] | pd.DataFrame,
    *,
    variables: Sequence[str] | str | None = None,
    columns: Mapping[str, str] | None = None,
    constants: Mapping[str, Any] | None = None,
    missing: Sequence[float] = (),
    time_format: str | None = None,
    keep: Sequence[str] = (),
) -> pd.DataFrame:
    """Read point observations as a table of time, lat, lon, variable, value, error.

    Nothing is dropped: rows with missing values stay, for the matching counts them by reason. Times are UTC
    without zone. The columns station, elevation and units are kept where they exist. Units in a heading,
    ``t2m [K]``, are understood.

    Args:
        table: CSV file (``.csv``, ``.csv.gz``, separated by commas, semicolons, tabs or blanks; local or any
            fsspec URL) or DataFrame.
        variables: variables to keep; in a wide table, the columns that are variables. All if None.
        columns: which column is what where the names do not tell, ``{"value": "z", "variable": "proc"}``.
        constants: values for columns that the table lacks, such as ``{"lat": -30.2, "lon": -70.7}``.
        missing: numbers that mean "no value", such as -999.
        time_format: format of dates that are not ISO 8601, as of ``datetime.strptime``.
        keep: further columns of numbers to keep, such as a scan angle.

    Returns:
        One row per observation: time (datetime64[ns], UTC), lat and lon (degrees), variable, value (physical
        units), error (standard deviation, NaN where not given), then station, elevation, units if there are
        any, and what is to be kept.

    Raises:
        SkyweaveError: no such file, a needed column missing (the columns found are listed), text where a
            number or a date is needed (the row is named), a variable that is not there.
    """
    frame, where = (
        (table.copy(), "table")
        if isinstance(table, pd.DataFrame)
        else (_read_csv(os.fspath(table)), os.fspath(table))
    )
    if isinstance(table, pd.DataFrame) and any(n is not None for n in frame.index.names):
        frame = frame.reset_index()
    frame = frame.reset_index(drop=True)
    frame.columns = pd.Index([str(c).strip() for c in frame.columns])
    if frame.columns.has_duplicates:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise SkyweaveError(f"{where}: column {twice!r} is there twice")
    if frame.empty:
        raise SkyweaveError(
            f"{where}: the table has no rows; its columns are: {', '.join(frame.columns) or 'none'}"
        )
    found = _recognise(frame, columns or {}, where)
    wanted = [variables] if isinstance(variables, str) else None if variables is None else list(variables)
    data = pd.DataFrame(index=frame.index)
    for role, column in found.items():
        data[role] = frame[column]
    for name in keep:
        if name not in frame.columns and name not in ALIASES:
            names = [str(c) for c in frame.columns]
            raise SkyweaveError(
                f"{where}: no column {name!r}{did_you_mean(name, names)}; it has: {', '.join(names)}"
            )
        if name not in ALIASES:
            data[name] = _numbers(frame[name], f"{where}: column {name!r}")
    for role, constant in (constants or {}).items():
        if role not in ALIASES:
            raise SkyweaveError(
                f"constants: unknown column {role!r}{did_you_mean(role, list(ALIASES))}; known: "
                f"{', '.join(ALIASES)}"
            )
        data[role] = constant
    for role in ("time", "lat", "lon"):
        _require(role, data, frame, where)
    for role in NUMBERS:
        if role in data:
            data[role] = _numbers(data[role], f"{where}: column {found.get(role, role)!r}")
    data["time"] = _times(data["time"], f"{where}: column {found.get('time', 'time')!r}", time_format)
    if "value" in data:
        long = _long(data, frame, wanted, where)
    else:
        long = _melt(data, frame, [*found.values(), *keep], wanted, where)
    if missing:
        long["value"] = long["value"].mask(long["value"].isin(list(missing)))
        long["error"] = long["error"].mask(long["error"].isin(list(missing)))
    extra = [c for c in dict.fromkeys(("station", "elevation", "units", *keep)) if c in long]
    extra = [c for c in extra if c not in COLUMNS]
    return long[[*COLUMNS, *extra]].reset_index(drop=True)


def _read_csv(path: str) -> pd.DataFrame:
    remote = "://" in path or "::" in path
    if not remote and not Path(path).is_file():
        parent = Path(path).parent
        if Path(path).is_dir():
            raise SkyweaveError(f"{path}: is a folder, not a table of stations")
        names = sorted(p.name for p in parent.iterdir()) if parent.is_dir() else []
        raise SkyweaveError(f"{path}: no such file{did_you_mean(Path(path).name, names)}")
    try:
        with fsspec.open(path, "rb") as handle:
            raw = handle.read()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise SkyweaveError(
            f"{path}: is not a text table (CSV or CSV.gz); gridded files are opened with open_fields"
        ) from exc
    except (OSError, EOFError, ValueError, ImportError) as exc:
        raise SkyweaveError(f"{path}: cannot be read ({type(exc).__name__}: {exc})") from exc
    lines = text.splitlines()
    skipped = 0
    while skipped < len(lines) and (not lines[skipped].strip() or lines[skipped].lstrip().startswith("#")):
        skipped += 1
    if skipped == len(lines):
        raise SkyweaveError(f"{path}: is empty")
    heading = lines[skipped]
    separator = next((s for s in (",", ";", "\t") if s in heading), r"\s+")
    try:
        # Identifiers such as 03772 are not numbers: everything is read as text and converted where a number
        # is meant.
        with warnings.catch_warnings():
            # Rows longer than the heading: what is no table is refused below for what its columns lack.
            warnings.simplefilter("ignore", pd.errors.ParserWarning)
            return pd.read_csv(
                io.StringIO("\n".join(lines[skipped:])),
                sep=separator,
                dtype=str,
                skipinitialspace=True,
                index_col=False,
            )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as exc:
        raise SkyweaveError(f"{path}: cannot be read as a table ({exc})") from exc


def _bare(column: str) -> tuple[str, str]:
    """A heading without its unit, and the unit: ``t2m [K]`` is ``("t2m", "K")``."""
    match = re.fullmatch(r"(.*?)\s*[\[(]([^\])]*)[\])]", column)
    return (match.group(1), match.group(2).strip()) if match and match.group(1) else (column, "")


def _recognise(frame: pd.DataFrame, given: Mapping[str, str], where: str) -> dict[str, str]:
    """Which column plays which role: as given, then by the names in `ALIASES`, the first alias first."""
    found: dict[str, str] = {}
    names = [str(c) for c in frame.columns]
    for role, column in given.items():
        if role not in ALIASES:
            raise SkyweaveError(
                f"columns: unknown role {role!r}{did_you_mean(role, list(ALIASES))}; known: "
                f"{', '.join(ALIASES)}"
            )
        if column not in names:
            raise SkyweaveError(
                f"{where}: no column {column!r}{did_you_mean(column, names)}; it has: {', '.join(names)}"
            )
        found[role] = column
    bare = {_bare(c)[0].lower().replace(" ", "_"): c for c in reversed(names)}
    for role, aliases in ALIASES.items():
        hit = next((bare[a] for a in aliases if a in bare and bare[a] not in found.values()), None)
        if role not in found and hit is not None:
            found[role] = hit
    return found


def _require(role: str, data: pd.DataFrame, frame: pd.DataFrame, where: str) -> None:
    if role in data:
        return
    known = ", ".join(ALIASES[role])
    names = [str(c) for c in frame.columns]
    raise SkyweaveError(
        f"{where}: no column for {role!r} (it may be called {known}){did_you_mean(role, names)}; found: "
        f"{', '.join(names)}. "
        f"Name it with columns={{'{role}': ...}}, or give one value for all with constants={{'{role}': ...}}"
    )


def _numbers(column: pd.Series, where: str) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce")
    bad = numbers.isna() & column.notna()
    if bad.any():
        row = int(np.flatnonzero(bad.to_numpy())[0])
        raise SkyweaveError(
            f"{where}: row {row + 1} holds {column.iloc[row]!r}, which is not a number ({int(bad.sum())} "
            "such rows; "
            "rows count from 1 after the heading; leave missing values empty or write NaN)"
        )
    return numbers.astype(float)


def _times(column: pd.Series, where: str, time_format: str | None) -> pd.Series:
    if pd.api.types.is_datetime64_any_dtype(column):
        return _naive(column)
    text = column.map(
        lambda t: t.isoformat() if hasattr(t, "isoformat") else str(t).strip(), na_action="ignore"
    )
    form = time_format
    if form is None:
        # Plain integers would be taken for nanoseconds since 1970; 20190301 and 2019030106 are dates.
        lengths = {len(t) for t in text.dropna().head(1000) if t.isdigit()}
        form = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}.get(
            min(lengths, default=0), "ISO8601"
        )
    times = pd.to_datetime(text, utc=True, errors="coerce", format=form)
    bad = times.isna() & column.notna()
    if bad.any():
        row = int(np.flatnonzero(bad.to_numpy())[0])
        raise SkyweaveError(
            f"{where}: row {row + 1} holds {column.iloc[row]!r}, which is not a date ({int(bad.sum())} such "
            "rows); "
            "write 2019-03-01T06:00 (UTC, or with its zone as in +02:00), or give time_format, such as "
            "'%d/%m/%Y %H:%M'"
        )
    return _naive(times)


def _naive(times: pd.Series) -> pd.Series:
    if times.dt.tz is not None:
        times = times.dt.tz_convert("UTC").dt.tz_localize(None)
    return times.astype("datetime64[ns]")


def _long(data: pd.DataFrame, frame: pd.DataFrame, wanted: list[str] | None, where: str) -> pd.DataFrame:
    if "variable" not in data:
        if wanted is None or len(wanted) != 1:
            _require("variable", data, frame, where)
        assert wanted is not None
        data["variable"] = wanted[0]
    data["variable"] = data["variable"].astype(str).str.strip()
    if "error" not in data:
        data["error"] = np.nan
    if wanted is not None:
        known = sorted(data["variable"].unique())
        for name in wanted:
            if name not in known:
                raise SkyweaveError(
                    f"{where}: no observation of {name!r}{did_you_mean(name, known)}; it has: "
                    f"{', '.join(known)}"
                )
        data = data[data["variable"].isin(wanted)]
    return data


def _melt(
    data: pd.DataFrame, frame: pd.DataFrame, used: list[str], wanted: list[str] | None, where: str
) -> pd.DataFrame:
    """One row per variable and report from a table with one column per variable."""
    names = [str(c) for c in frame.columns]
    headings = {_bare(c)[0]: c for c in names if c not in used}
    error_of = {
        n[: -len(tail)]: n
        for tail in ("_error", "_err", "_sigma", "_std")
        for n in headings
        if n.endswith(tail)
    }
    candidates = [n for n in headings if n not in error_of.values()]
    if wanted is None:
        # A column is a variable if most of what is in it is a number; notes, flags in letters and names are
        # not.
        wanted = [n for n in candidates if _mostly_numbers(frame[headings[n]])]
    if not wanted:
        _require("value", data, frame, where)
    parts = []
    for name in wanted:
        column = headings.get(name, name if name in names else None)
        if column is None:
            raise SkyweaveError(
                f"{where}: no column for variable {name!r}{did_you_mean(name, candidates)}; found: "
                f"{', '.join(names)}"
            )
        part = data.drop(columns=[c for c in ("variable",) if c in data]).copy()
        part["variable"] = name
        part["value"] = _numbers(frame[column], f"{where}: column {column!r}")
        if name in error_of:
            heading = headings[error_of[name]]
            part["error"] = _numbers(frame[heading], f"{where}: column {heading!r}")
        elif "error" not in part:
            part["error"] = np.nan
        if "units" not in part and any(_bare(headings.get(n, n))[1] for n in wanted):
            part["units"] = _bare(column)[1]
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _mostly_numbers(column: pd.Series) -> bool:
    given = column.dropna()
    return len(given) > 0 and bool(pd.to_numeric(given, errors="coerce").notna().mean() > 0.5)
