"""Profiles and regions that the tests of soundings share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from skyweave.grid import Grid
from skyweave.observe.observation import PointObservation
from skyweave.state import StateSpec, Variable
from skyweave.thermodynamics import standard_height, standard_temperature

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("SKYWEAVE_DATA", ROOT.parent / "shared" / "data")) / "igra-radiosondes"
NOMINAL, RELEASE = np.datetime64("2015-06-15T00"), np.datetime64("2015-06-14T23:30")
MANDATORY = np.array([1000.0, 925, 850, 700, 500, 400, 300, 250, 200, 150, 100, 70, 50, 30, 20, 10])
R_OVER_G = 287.05 / 9.80665


def spec_of(levels=(850.0, 600.0, 500.0), quantities=("air_temperature", "eastward_wind", "northward_wind")):
    units = {"air_temperature": "K", "geopotential_height": "m", "geopotential": "m2 s-2"}
    units |= {"specific_humidity": "kg kg-1", "relative_humidity": "%"}
    return StateSpec(
        tuple(Variable(f"{q}{p:g}", units.get(q, "m s-1"), q, level=p) for q in quantities for p in levels)
    )


def profile(pressure=MANDATORY, sounding=0, lat=48.0, lon=16.0, **columns) -> pd.DataFrame:
    """A dry sounding of the standard atmosphere, with what is given in its place."""
    p = np.asarray(pressure, float)
    table = pd.DataFrame(
        {
            "station": "XXM00012345", "sounding": sounding, "time": NOMINAL, "release": RELEASE, "lat": lat, "lon": lon,
            "elapsed": np.nan, "level_type": 1, "level_kind": 0, "pressure": p, "height": standard_height(p),
            "temperature": standard_temperature(p), "dew_point": np.nan, "relative_humidity": np.nan,
            "specific_humidity": 0.0, "u": 10.0, "v": 0.0,
        }
    )  # fmt: skip
    return table.assign(**columns)


def values(observation: PointObservation, name: str) -> np.ndarray:
    table = observation.table
    return table.loc[table["variable"] == name, "value"].to_numpy()


def the_sums_add_up(report) -> None:
    for variable in report.variables:
        assert variable.given == variable.used + sum(variable.dropped.values())
    assert report.used == sum(v.used for v in report.variables)
    assert str(report)


TIMES = np.datetime64("2015-06-14T18") + np.arange(3) * np.timedelta64(6, "h")
REGIONS = {
    "ordinary": (Grid(np.arange(40.0, 61), np.arange(0.0, 41)), 16.0),
    "date line": (Grid(np.arange(60.0, 39, -1), np.arange(165.0, 196) % 360), 179.0),
    "date line, western": (Grid(np.arange(40.0, 61), (np.arange(165.0, 196) + 180) % 360 - 180), -179.8),
}
