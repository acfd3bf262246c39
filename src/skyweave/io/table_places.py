"""Places in a table: latitudes and longitudes in degrees, heights in metres, whatever their headings state."""

from __future__ import annotations

import numpy as np
import pandas as pd

from skyweave.errors import SkyweaveError
from skyweave.io.table_asked import Asked
from skyweave.io.table_checks import refuse_hemispheres
from skyweave.io.table_roles import ALIASES, bare_name, heading_unit
from skyweave.io.table_values import degrees, without_missing_numbers
from skyweave.units import conversion

__all__ = ["heights", "positions", "refuse_two_columns"]

NOWHERE = 900.0
"""Degrees that stand for no place, as -999 and 9999 do."""
AS_IS = ("", "n", "s", "e", "w", "wgs84", "dd", "decimal")
"""What the heading of a latitude or longitude may hold that changes nothing."""


def positions(
    data: pd.DataFrame,
    frame: pd.DataFrame,
    found: dict[str, str],
    where: str,
    notes: list[str],
    asked: Asked,
    commas: bool,
) -> None:
    """Latitudes and longitudes in degrees, refused where they seem to have changed places."""
    for role in ("lat", "lon"):
        told = f"{where}: column {found.get(role, role)!r}"
        values = degrees(data[role], role, told, notes, decimal=asked.decimal, commas=commas)
        values = values * angle_scale(found.get(role, ""), where)
        far = values.abs() >= NOWHERE
        if far.any():
            notes.append(f"{told}: taken for missing: {int(far.sum())} of {NOWHERE:g} degrees and more")
        data[role] = without_missing_numbers(values.mask(far), told, [], asked.missing or ())
    refuse_hemispheres(frame, data, where)
    if told := null_island(data["lat"], data["lon"]):
        notes.append(told)
    lat, lon = data["lat"], data["lon"]
    beyond = lat.abs() > 90
    if beyond.any() and (lon.dropna().abs() <= 90).all() and (lat.dropna().abs() <= 360).all():
        row = int(np.flatnonzero(beyond.to_numpy())[0])
        raise SkyweaveError(
            f"{where}: row {row + 1} has latitude {lat.iloc[row]:g}, beyond the pole ({int(beyond.sum())} such rows), "
            "and every longitude is within 90: are they exchanged? Say columns: {lat: "
            f"{found.get('lon', 'lon')}, lon: {found.get('lat', 'lat')}}}, or correct the row"
        )


def refuse_two_columns(frame: pd.DataFrame, found: dict[str, str], given: set[str], where: str) -> None:
    """Refuse a second column of places, values or errors that says something else than the one that is used.

    Raises:
        SkyweaveError: with both, and how to choose.
    """
    for role in ("lat", "lon", "value", "error"):
        own = found.get(role)
        others = [c for c in frame.columns if bare_name(str(c)) in ALIASES[role] and c != own]
        if own is None or role in given:
            continue
        for other in map(str, others):
            a, b = (pd.to_numeric(frame[c], errors="coerce").to_numpy(float) for c in (own, other))
            apart = np.flatnonzero(np.abs(a - b) > (1e-3 if role in ("lat", "lon") else 1e-6 * np.abs(a)))
            if apart.size:
                k = int(apart[0])
                raise SkyweaveError(
                    f"{where}: columns {own!r} and {other!r} are both {role!r} and differ, {a[k]:g} and {b[k]:g} in "
                    f"row {k + 1}: say which it is, columns: {{{role}: {own}}} or {{{role}: {other}}} at the "
                    "source in the YAML (columns= in Python)"
                )


def null_island(lat: pd.Series, lon: pd.Series) -> str:
    """A note on reports at 0 N 0 E among others that are elsewhere: what programs write for no place."""
    there = (lat == 0) & (lon == 0)
    if not there.any() or there.all():
        return ""
    return (
        f"WARNING: {int(there.sum())} of {len(lat)} reports lie at 0 N 0 E exactly, which often stands for no place; "
        "if so, remove them"
    )


def heights(values: pd.Series, heading: str, where: str) -> pd.Series:
    """Heights of stations in metres; a heading without a unit is in metres.

    Raises:
        SkyweaveError: a unit that is no length.
    """
    scale, offset = conversion(heading_unit(heading), "m", f"{where}: column {heading!r}")
    return values * scale + offset


def angle_scale(heading: str, where: str) -> float:
    """What brings a latitude or longitude to degrees, by the unit in its heading.

    Raises:
        SkyweaveError: a unit that is no angle.
    """
    unit = heading_unit(heading)
    if (
        unit.lower() in AS_IS
        or unit.lower().replace("\u00b0", "deg").startswith("deg")
        or unit.startswith("°")
    ):
        return 1.0
    return conversion(unit, "degree", f"{where}: column {heading!r}")[0]
