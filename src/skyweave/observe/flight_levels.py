"""Reports aloft, as of aircraft, at the levels of a state: used near one, dropped between them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from skyweave.observe.quantities import QUANTITIES, quantity_of
from skyweave.observe.report import BETWEEN_LEVELS
from skyweave.state import StateSpec

__all__ = ["TOLERANCE", "at_state_levels"]

TOLERANCE = 0.02
"""Of the level's pressure: 10 hPa at 500 hPa, or some 150 m, over which temperature changes by about 1 K."""


def at_state_levels(
    table: pd.DataFrame, spec: StateSpec, tolerance: float = TOLERANCE
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    r"""Rows with a pressure as observations of the state's variable of their quantity at the nearest level.

    A row is used where :math:`|\ln(p / p_k)| \le \ln(1 + \text{tolerance})` of the nearest level ``p_k``; it is not
    changed for the rest of the way, which belongs to the error. The others have ``BETWEEN_LEVELS`` in the column
    ``reason``, for which they are dropped and counted. Rows without a pressure, of a quantity that the state has at no
    level, or already named as one of its variables stay as they are.

    Args:
        table: columns variable (``t``, ``u``, ``v``, or a CF standard name) and pressure (hPa), others.
        spec: the state; levels in hPa.
        tolerance: a fraction of the pressure.

    Returns:
        The table with variables renamed and a column reason, and what was done, for the report.
    """
    if "pressure" not in table:
        return table, ()
    label = table["variable"].astype(object).to_numpy().copy()
    reason = (
        table["reason"].astype(object).to_numpy().copy()
        if "reason" in table
        else np.full(len(table), "", object)
    )
    pressure = table["pressure"].to_numpy(float)
    moved = 0
    for quantity, own in QUANTITIES.items():
        leveled = [v for v in spec.variables if v.level is not None and quantity_of(v) == quantity]
        rows = np.flatnonzero(np.isin(label.astype(str), (*own.names, quantity)) & np.isfinite(pressure))
        rows = rows[[label[r] not in spec.names for r in rows]]
        if not leveled or not len(rows):
            continue
        away = np.abs(np.log(pressure[rows][:, None] / np.array([float(v.level or 0) for v in leveled])))
        nearest = away.argmin(axis=1)
        near = away.min(axis=1) <= np.log1p(tolerance)
        label[rows[near]] = np.array([v.name for v in leveled], object)[nearest[near]]
        reason[rows[~near]] = BETWEEN_LEVELS
        moved += int(near.sum())
    note = f"reports aloft within {100 * tolerance:g} % of the pressure of a level are taken at it ({moved})"
    return table.assign(variable=label, reason=reason), (note,)
