"""Columns of times that say different things, such as the start of a forecast and the time that it is for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from skyweave.errors import SkyweaveError
from skyweave.io.table_dates import Moments, parse_dates
from skyweave.io.table_roles import bare_name, heading_unit

__all__ = ["refuse_other_times"]

NEAR = np.timedelta64(90, "m")
"""Nominal and real times of a report differ by less."""


def refuse_other_times(
    frame: pd.DataFrame, name: str, moments: Moments, candidates: Sequence[str], where: str, notes: list[str]
) -> None:
    """Refuse a table with another column of whole times that are far from those used; near ones are told.

    Args:
        frame: the table.
        name: the column used, and its times.
        moments: its times.
        candidates: columns that may be times.
        where: file, for messages.
        notes: takes what is told.

    Raises:
        SkyweaveError: with both columns, and how to choose.
    """
    for other in candidates:
        # Local times and those of zones differ from UTC as they should.
        if other == name or "local" in bare_name(other) + bare_name(name) or heading_unit(other):
            continue
        theirs = parse_dates(frame[other], f"{where}: column {other!r}", None)
        if theirs.bad.any() or not theirs.clock.all() or (theirs.zoned != moments.zoned).any():
            continue
        apart = np.abs(theirs.time.to_numpy("M8[ns]") - moments.time.to_numpy("M8[ns]"))
        rows = np.flatnonzero(apart > np.timedelta64(0))
        if not rows.size:
            continue
        k = int(rows[0])
        told = f"{name!r} is {frame[name].iloc[k]}, {other!r} {frame[other].iloc[k]} in row {k + 1}"
        if (apart[rows] <= NEAR).all():
            notes.append(f"times are those of the column {name!r}: {told}")
            continue
        raise SkyweaveError(
            f"{where}: two columns of times differ: {told}. Say which is the time of the reports, columns: {{time: "
            f"{name}}} or {{time: {other}}} at the source in the YAML (columns= in Python)"
        )
