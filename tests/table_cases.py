"""Builders of odd tables and what is made of them; see `odd_cases`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from odd_cases import odd
from skyweave.grid import Grid
from skyweave.io import read_reports, read_stations
from skyweave.observe.match import TimeAxis
from skyweave.observe.observation import PointObservation
from skyweave.observe.points import point_rows
from skyweave.observe.rows import Frame
from skyweave.state import StateSpec, Variable

PLACE = "50.5,7.1"
HEAD, ROW = "time,lat,lon,t2m\n", "2020-06-01T00:00,50.5,7.1,13.25\n"
RIGHT = (50.5, 7.1, 13.25)


def times(folder: Path, text: str, **asked: Any) -> list[str]:
    """The times of a table, as text."""
    (folder / "t.csv").write_text(text, encoding="utf-8")
    return list(read_reports(folder / "t.csv", **asked)["time"].dt.strftime("%Y-%m-%dT%H:%M"))


def dated(heading: str, *cells: str) -> str:
    """A table with some columns of times before a place and a value."""
    return f"{heading},lat,lon,t2m\n" + "".join(f"{cell},{PLACE},280\n" for cell in cells)


def read(folder: Path, text: str | bytes, name: str = "t.csv", **asked: Any) -> pd.DataFrame:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_reports(folder / name, **asked)


def row(table: pd.DataFrame) -> tuple[float, ...]:
    """Latitude, longitude and value of the first row."""
    return tuple(float(table[c].iloc[0]) for c in ("lat", "lon", "value"))


def time_case(what: str, text: str, right: Any, **asked: Any) -> None:
    odd("table", what, right)(lambda folder: times(folder, text, **asked))


def value_case(what: str, text: str | bytes, right: Any, **asked: Any) -> None:
    odd("table", what, right)(lambda folder: row(read(folder, text, **asked)))


def sheet(path: Path, rows: list[list[Any]]) -> Path:
    import openpyxl

    book = openpyxl.Workbook()
    for cells in rows:
        book.active.append(cells)
    book.save(path)
    return path


STATE = Frame(
    StateSpec((Variable("t2m", "K", bounds=(150.0, 400.0)),)),
    Grid(np.arange(40.0, 60), np.arange(0.0, 30)),
    TimeAxis.of(np.array(["2020-06-01"], "M8[ns]")),
)


def matched(values: list[float], errors: list[float] | None = None, **asked: Any) -> Any:
    """Rows of reports of one place and time."""
    table = pd.DataFrame({"time": "2020-06-01", "lat": 50.0, "lon": 7.0, "variable": "t2m", "value": values})
    if errors is not None:
        table["error"] = errors
    return point_rows(PointObservation(read_stations(table.assign(station="03772")), **asked), "st", STATE)
