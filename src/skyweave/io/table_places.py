"""Places in a table: latitudes and longitudes in degrees, heights in metres, whatever their headings state."""

from __future__ import annotations

import numpy as np
import pandas as pd

from skyweave.errors import SkyweaveError
from skyweave.io.table_asked import Asked
from skyweave.io.table_checks import refuse_hemispheres
from skyweave.io.table_roles import heading_unit
from skyweave.io.table_values import degrees, without_missing_numbers
from skyweave.units import conversion

__all__ = ["heights", "positions"]

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
    lat, lon = data["lat"], data["lon"]
    beyond = lat.abs() > 90
    if beyond.any() and (lon.dropna().abs() <= 90).all() and (lat.dropna().abs() <= 360).all():
        row = int(np.flatnonzero(beyond.to_numpy())[0])
        raise SkyweaveError(
            f"{where}: row {row + 1} has latitude {lat.iloc[row]:g}, beyond the pole ({int(beyond.sum())} such rows), "
            "and every longitude is within 90: are they exchanged? Say columns: {lat: "
            f"{found.get('lon', 'lon')}, lon: {found.get('lat', 'lat')}}}, or correct the row"
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
