"""What columns of a table say about each other: hemispheres beside degrees, units of errors and of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from skyweave.errors import SkyweaveError, clipped
from skyweave.io.table_values import numbers
from skyweave.units import conversion

__all__ = ["error_scale", "refuse_hemispheres", "refuse_text"]


def refuse_hemispheres(frame: pd.DataFrame, data: pd.DataFrame, where: str) -> None:
    """Refuse letters of hemispheres in a column of their own beside degrees without a sign."""
    for name in frame.columns:
        if len(str(frame[name].iloc[0]).strip()) > 3:
            continue
        letters = {str(cell).strip().upper() for cell in pd.unique(frame[name].dropna())}
        for role, both, turned in (("lat", {"N", "S"}, "S"), ("lon", {"E", "W"}, "W")):
            if turned in letters and letters <= both and (data[role].dropna() >= 0).all():
                raise SkyweaveError(
                    f"{where}: column {str(name)!r} holds {' and '.join(sorted(letters))}, hemispheres of {role!r}, "
                    f"which has no signs: write the letter behind the degrees, as in 33.5{turned}, or south and west "
                    "as negative"
                )


def error_scale(found: str, wanted: str, where: str) -> float:
    """The factor from the unit of a column of errors to that of its values; one in kelvin of values in degF is 9/5."""
    if not found or found == wanted:
        return 1.0
    if not wanted:
        raise SkyweaveError(
            f"{where}: the error has the unit {clipped(found)}, its values have none; state that in their heading too"
        )
    return conversion(found, wanted, where)[0]


def refuse_text(
    frame: pd.DataFrame, headings: Mapping[str, str], candidates: Sequence[str], where: str
) -> None:
    """Name the first cell that is no number of a table whose only variables hold text too."""
    for name in candidates:
        column = frame[headings[name]]
        if column.astype(str).str.contains(r"\d", regex=True).any():
            numbers(column, f"{where}: column {headings[name]!r}", [])
