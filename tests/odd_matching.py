"""Odd reports and what the matching makes of them; see `odd_cases`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from odd_cases import odd
from skyweave.io import read_stations
from skyweave.observe.observation import PointObservation
from skyweave.observe.points import point_rows
from table_cases import (
    STATE,
    matched,
)


@odd("table", "twins of different values", {"value": [281.0], "sd": [0.5**0.5], "used": 2})
def _(_: Path) -> dict[str, Any]:
    rows = matched([280.0, 282.0], error=1.0)
    return {"value": list(rows.value), "sd": list(np.sqrt(rows.R.variance)), "used": rows.report.used}


@odd("table", "twins of different errors", {"value": [(280 + 4 * 281) / 5], "sd": [0.2**0.5]})
def _(_: Path) -> dict[str, Any]:
    rows = matched([280.0, 281.0], [1.0, 0.5])
    return {"value": list(rows.value), "sd": list(np.sqrt(rows.R.variance))}


@odd("table", "twins wholly alike beside another", {"value": [281.0], "dropped": 2})
def _(_: Path) -> dict[str, Any]:
    rows = matched([280.0, 282.0, 280.0, 280.0], error=1.0)
    return {"value": list(rows.value), "dropped": rows.report.dropped["duplicated"]}


@odd("table", "twins that disagree beyond their errors", {"value": [285.0], "sd": [5.0], "told": True})
def _(_: Path) -> dict[str, Any]:
    # chi-square 2 * 5^2 / 1 = 50 on one degree of freedom: 1/2 of the variance, times 50.
    rows = matched([280.0, 290.0], error=1.0)
    told = any("disagree" in note and "station 03772" in note for note in rows.report.notes)
    return {"value": list(rows.value), "sd": list(np.sqrt(rows.R.variance)), "told": told}


@odd("table", "an error in the flag beside a column", {"sd": [0.25, 0.5], "told": True})
def _(_: Path) -> dict[str, Any]:
    table = pd.DataFrame(
        {"time": "2020-06-01", "lat": [50.0, 51.0], "lon": 7.0, "t2m": 280.0, "t2m_error": [0.25, np.nan]}
    )
    rows = point_rows(PointObservation(read_stations(table), error=0.5), "st", STATE)
    told = any("1 from the table's column" in note for note in rows.report.notes)
    return {"sd": list(np.sqrt(rows.R.variance)), "told": told}


@odd(
    "table",
    "a value beyond the bound is named",
    "out of range: station 03772 at 2020-06-01T00:00 t2m = 1200 K, above the bound 400 K",
)
def _(_: Path) -> str:
    return next(
        note for note in matched([280.0, 1200.0], error=1.0).report.notes if note.startswith("out of range")
    )
