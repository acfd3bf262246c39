"""Which column of a table plays which role, by its name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pandas as pd

from skyweave.errors import SkyweaveError, clipped, did_you_mean

__all__ = [
    "ALIASES",
    "TIME_NAMES",
    "bare_name",
    "heading_unit",
    "is_edge",
    "listed",
    "recognise",
    "require",
    "split_heading",
]

TIME_NAMES = (
    "time",
    "datetime",
    "date_time",
    "valid_time",
    "timestamp",
    "obs_time",
    "observation_time",
    "utc",
    "valid",
    "time_utc",
    "utc_time",
    "datetime_utc",
    "time_gmt",
    "time_local",
    "local_time",
    "datetime_local",
    "date",
)
ALIASES: dict[str, tuple[str, ...]] = {
    "time": TIME_NAMES,
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
    "time_zone": (
        "utc_offset",
        "time_zone",
        "timezone",
        "tz",
        "tz_offset",
        "gmt_offset",
        "timezone_offset",
        "offset_utc",
        "utcoffset",
    ),
}
EDGE = re.compile(
    r"[_ ](w|e|n|s|west|east|north|south|min|max|lo|hi|low|high|lower|upper|left|right|top|bottom|first|last|start|end|"
    r"begin|from|to|bnds|bounds|edge|[01])$|^(min|max|north|south|west|east|start|end|first|last)[_ ]?(lat|lon|time)"
)
SHOWN = 20
"""Columns that a message lists, at most."""


def split_heading(column: str) -> tuple[str, str]:
    """A heading without its unit, and the unit: ``t2m [K]`` is ``("t2m", "K")``."""
    match = re.fullmatch(r"(.*?)\s*[\[(]([^\])]*)[\])]", str(column).strip())
    return (match.group(1), match.group(2).strip()) if match and match.group(1) else (str(column).strip(), "")


def bare_name(column: str) -> str:
    """A heading in small letters, without its unit, with underscores for blanks."""
    return re.sub(r"\s+", "_", split_heading(column)[0].strip().lower())


def heading_unit(column: str) -> str:
    """The unit in a heading, empty if there is none."""
    return split_heading(column)[1]


def is_edge(column: str) -> bool:
    """Whether a heading is that of an edge of something, a bound or an end, and not of its place or time."""
    return EDGE.search(bare_name(column)) is not None


def listed(names: Sequence[object]) -> str:
    """Some columns of a table, for messages."""
    told = ", ".join(str(n) if len(str(n)) <= 60 else clipped(str(n)) for n in names[:SHOWN])
    return told + (f", and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def recognise(frame: pd.DataFrame, given: Mapping[str, str | Sequence[str]], where: str) -> dict[str, str]:
    """Which column plays which role, times apart: as given, then by the names in `ALIASES`, the first alias first.

    Raises:
        SkyweaveError: unknown roles, columns that are not there.
    """
    found: dict[str, str] = {}
    names = [str(c) for c in frame.columns]
    for role, columns in given.items():
        if role not in ALIASES:
            raise SkyweaveError(
                f"columns: unknown role {role!r}{did_you_mean(role, list(ALIASES))}; known: "
                f"{', '.join(ALIASES)}"
            )
        several = [columns] if isinstance(columns, str) else list(columns)
        if not several or (len(several) > 1 and role != "time"):
            raise SkyweaveError(
                f"columns: {role!r} is one column, found {several!r}; only times may have several"
            )
        for column in several:
            if column not in names:
                raise SkyweaveError(
                    f"{where}: no column {column!r}{did_you_mean(column, names)}; it has: {listed(names)}"
                )
        found[role] = several[0]
    bare = {bare_name(c): c for c in reversed(names)}
    for role, aliases in ALIASES.items():
        if role == "time" or role in found:
            continue
        hit = next((bare[a] for a in aliases if a in bare and bare[a] not in found.values()), None)
        if hit is not None:
            found[role] = hit
    found.pop("time", None)
    return found


def require(role: str, data: pd.DataFrame, frame: pd.DataFrame, where: str) -> None:
    """Refuse a table without a column for a role.

    Raises:
        SkyweaveError: with the columns found, and how to name one.
    """
    if role in data:
        return
    known = ", ".join(ALIASES[role])
    names = [str(c) for c in frame.columns]
    edges = [n for n in names if is_edge(n) and bare_name(n).find(role) >= 0]
    hint = did_you_mean(role, [n for n in names if not is_edge(n)])
    hint += (
        f" ({', '.join(map(repr, edges[:2]))} are edges: add a column of the middle)"
        if edges and not hint
        else ""
    )
    raise SkyweaveError(
        f"{where}: no column for {role!r} (it may be called {known}){hint}; found: {listed(names)}. "
        f"Name it with columns={{'{role}': ...}}, or give one value for all with constants={{'{role}': ...}}"
    )
