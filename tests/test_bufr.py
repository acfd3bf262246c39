"""BUFR as a source: soundings with their own places, aircraft at the levels of a prior, the command line."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("eccodes")

from ecmwf_files import DATE, PLACE, WHERE, bufr
from skyweave.errors import SkyweaveError
from skyweave.io.bufr import read_bufr, report_times
from skyweave.io.bufr_soundings import read_soundings
from skyweave.observe.flight_levels import at_state_levels
from skyweave.observe.soundings import sounding_observations
from skyweave.state import StateSpec, Variable
from skyweave.thermodynamics import standard_height, standard_pressure

ROOT = Path(os.environ.get("SKYWEAVE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
DATA = ROOT / "bufr-networks"

SPEC = StateSpec(
    (
        Variable("t500", "K", standard_name="air_temperature", level=500.0),
        Variable("t250", "K", standard_name="air_temperature", level=250.0),
    )
)
LEVELS = [109000, 31001, 4086, 8042, 7004, 10009, 5015, 6015, 12101, 12103, 11001]


def ascent(folder):
    """A balloon that is 0.6 degrees north and 1.2 degrees east of its launch at 500 hPa, after 1000 s."""
    values = DATE | WHERE | {
        "minute": 30, "timePeriod": [0, 800, 1200], "pressure": [100000, 60000, 40000],
        "nonCoordinateGeopotentialHeight": [100, 4200, 7200], "airTemperature": [290.0, 270.0, 255.0],
        "latitudeDisplacement": [0.0, 0.5, 0.7], "longitudeDisplacement": [0.0, 1.0, 1.4],
        "extendedVerticalSoundingSignificance": [2**17, 0, 2**16],
    }  # fmt: skip
    return bufr(folder, [*PLACE, *LEVELS], values, category=2, replication=3)


def test_an_ascent_is_where_it_says_it_is(tmp_path):
    spec = StateSpec((SPEC.variables[0],))
    observation, _ = sounding_observations(str(ascent(tmp_path)), spec, quality=None)
    row = observation.table.iloc[0]
    weight = np.log(600 / 500) / np.log(600 / 400)
    assert row["value"] == pytest.approx(270 - 15 * weight, abs=1e-3)
    assert row["lat"] == pytest.approx(10 + 0.5 + 0.2 * weight, abs=1e-6)
    assert row["lon"] == pytest.approx(20 + 1.0 + 0.4 * weight, abs=1e-6)
    assert (
        abs(pd.Timestamp("2020-01-01T12:30") + pd.Timedelta(800 + 400 * weight, "s") - row["time"]).seconds
        < 60
    )


def test_soundings_of_either_format_are_told_by_content(tmp_path):
    table = read_soundings(str(ascent(tmp_path).with_name("*.bufr")))
    assert table["level_kind"].tolist() == [1, 0, 0]
    assert table["level_type"].tolist() == [2, 2, 1]
    other = tmp_path / "igra.txt"
    other.write_text("#")
    with pytest.raises(SkyweaveError, match="is BUFR, others are not"):
        read_soundings([str(tmp_path / "x.bufr"), str(other)])


def test_a_flight_level_is_the_pressure_whose_standard_height_it_is():
    heights = np.linspace(-100, 40000, 200)
    np.testing.assert_allclose(standard_height(standard_pressure(heights)), heights, atol=1e-6)
    assert standard_pressure(0.0) == pytest.approx(1013.25)
    assert np.isnan(standard_pressure(np.nan))


def test_reports_near_a_level_are_taken_at_it_and_the_others_are_dropped_as_between():
    table = pd.DataFrame(
        {
            "variable": ["t", "t", "t", "u", "t500", "t"],
            "pressure": [505.0, 511.0, 254.0, 500.0, 505.0, np.nan],
        }
    )
    found, notes = at_state_levels(table, SPEC)
    assert found["variable"].tolist() == ["t500", "t", "t250", "u", "t500", "t"]
    assert found["reason"].tolist() == ["", "between levels", "", "", "", ""]
    assert notes == ("reports aloft within 2 % of the pressure of a level are taken at it (2)",)


@pytest.mark.parametrize(
    ("parts", "right"),
    [
        ((2020, 2, 29, 12, 30, 15), "2020-02-29T12:30:15"),
        ((2021, 2, 29, 12, 0, 0), "NaT"),
        ((18, 11, 2, 24, 0, np.nan), "2018-11-03T00:00:00"),
        ((2020, np.nan, 1, 0, 0, 0), "NaT"),
        ((2020, 13, 1, 0, 0, 0), "NaT"),
    ],
)
def test_dates_that_are_none_are_missing(parts, right):
    assert str(report_times([np.array([float(p)]) for p in parts])[0])[:19] == right


def test_a_key_of_ecCodes_is_a_variable_by_its_name(tmp_path):
    path = bufr(
        tmp_path, [*PLACE, 20001, 12101], DATE | WHERE | {"horizontalVisibility": 4000, "airTemperature": 280}
    )
    table = read_bufr(path, ["horizontalVisibility", "t2m"])
    assert table[["variable", "value", "units"]].values.tolist() == [
        ["horizontalVisibility", 4000.0, "m"],
        ["t2m", 280.0, "K"],
    ]
    with pytest.raises(SkyweaveError, match="no value of cloudAmount"):
        read_bufr(path, ["cloudAmount"])
    with pytest.raises(SkyweaveError, match="did you mean 'air_temperature'"):
        read_bufr(path, ["air_temperatur"])


def test_reports_given_as_soundings_are_named_with_the_flag_that_reads_them(tmp_path):
    path = bufr(tmp_path, [*PLACE, 12101], DATE | WHERE | {"airTemperature": 280})
    with pytest.raises(SkyweaveError, match=rf"given with --points {path}=ERROR"):
        read_soundings(path)


@pytest.mark.realdata
def test_compressed_reports_of_aircraft_given_as_soundings_are_not_called_damaged():
    with pytest.raises(SkyweaveError, match=r"186 reports of category 4; .* --points"):
        read_soundings(str(DATA / "aircraft_mrar_compressed.bufr"))
