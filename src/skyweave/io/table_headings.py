"""Units in a line of their own under the heading of a table."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from skyweave.io.table_roles import ALIASES, bare_name, heading_unit
from skyweave.io.table_values import is_missing, looks_numeric
from skyweave.io.table_wide import MOST, clipped_names

__all__ = ["with_units_above"]


def with_units_above(
    frame: pd.DataFrame, given: dict[str, str | Sequence[str]], where: str, notes: list[str]
) -> tuple[pd.DataFrame, dict[str, str | Sequence[str]]]:
    """A table whose first row holds units, with the units in its headings instead, and what was given renamed.

    Args:
        frame: the table.
        given: columns by role, as the caller names them.
        where: file, for messages.
        notes: takes what was taken for units.
    """
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
