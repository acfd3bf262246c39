"""Quality control of soundings: each check finds its error, and every rejection is counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from skyweave.errors import SkyweaveError
from skyweave.observe.background_check import background_departure
from skyweave.observe.soundings import QualityControl, sounding_observations
from skyweave.state import StateSpec, Variable
from skyweave.thermodynamics import standard_temperature
from sounding_cases import MANDATORY, REGIONS, TIMES, profile, spec_of, the_sums_add_up

DENSE = np.geomspace(1000, 50, 40)


def dense(**columns) -> pd.DataFrame:
    return profile(DENSE, **columns)


def test_a_clean_sounding_passes_every_check():
    _, report = sounding_observations(dense(), spec_of((850.0, 500.0, 200.0)))
    assert report.rejected == {}
    assert report.dropped == {}


def spoilt(column: str, row: int, change: float) -> pd.DataFrame:
    table = dense()
    table.loc[row, column] += change
    return table


@pytest.mark.parametrize(
    ("table", "reason", "quantity", "number"),
    [
        (spoilt("temperature", 20, 90.0), "implausible", "air_temperature", 1),
        (spoilt("height", 20, 5000.0), "implausible", "geopotential_height", 1),
        (spoilt("u", 20, 400.0), "implausible", "wind", 1),
        (spoilt("specific_humidity", 20, 0.1), "implausible", "specific_humidity", 1),
        (spoilt("temperature", 20, 9.0), "superadiabatic", "air_temperature", 1),
        (spoilt("temperature", 20, -9.0), "superadiabatic", "air_temperature", 1),
        (spoilt("height", 20, 200.0), "hypsometric", "geopotential_height", 1),
        (spoilt("u", 20, 60.0), "wind shear", "wind", 1),
        (spoilt("v", 20, -60.0), "wind shear", "wind", 1),
    ],
)
def test_each_check_finds_its_error_and_blames_the_right_level(table, reason, quantity, number):
    level = float(DENSE[20])
    names = {"wind": ("eastward_wind", "northward_wind")}.get(quantity, (quantity,))
    spec = spec_of((level, float(DENSE[5])), names)
    observation, report = sounding_observations(table, spec, maximum_gap=1.01)
    assert report.rejected[reason][quantity] == number
    assert sum(sum(by.values()) for by in report.rejected.values()) == number
    assert {v.name: v.dropped for v in report.variables if v.level == level} == {
        f"{n}{level:g}": {"rejected by quality control": 1} for n in names
    }
    the_sums_add_up(report)
    # A wider gap bridges the rejected level with what is around it.
    observation, report = sounding_observations(table, spec)
    assert report.dropped == {}
    clean, _ = sounding_observations(dense(), spec)
    tolerance = {"geopotential_height": 2.0, "wind": 1e-9, "specific_humidity": 1e-9}.get(quantity, 0.6)
    np.testing.assert_allclose(observation.table["value"], clean.table["value"], atol=tolerance)
    # Without quality control the error goes through.
    blind, report = sounding_observations(table, spec, quality=None)
    assert report.rejected == {}
    assert np.abs(blind.table["value"] - clean.table["value"]).max() > 5 * tolerance


def test_checks_can_be_left_out_and_tightened():
    table = spoilt("temperature", 20, 9.0)
    spec = spec_of((850.0,), ("air_temperature",))
    lax = QualityControl(superadiabatic=None)
    assert sounding_observations(table, spec, quality=lax)[1].rejected == {}
    # From 280 K at 1000 hPa the limit falls to 200 K at 100 hPa; the standard atmosphere has 217 K there.
    strict = QualityControl(ranges={"air_temperature": {1000: (280.0, 320.0), 100: (220.0, 320.0)}})
    rejected = sounding_observations(profile(), spec, quality=strict)[1].rejected["implausible"][
        "air_temperature"
    ]
    limit = np.interp(-np.log(MANDATORY), [-np.log(1000), -np.log(100)], [280.0, 220.0])
    assert rejected == (standard_temperature(MANDATORY) < limit).sum() > 3
    for bad in ({"hypsometric": 0.0}, {"shear": (1.0, -1.0)}, {"ranges": {"temperature": {}}}):
        with pytest.raises(SkyweaveError, match="quality control"):
            QualityControl(**bad)


def test_a_wrong_layer_mean_temperature_rejects_heights_and_temperatures():
    # A sensor that stops: the temperatures from 500 to 300 hPa are far too warm for the reported heights.
    t = standard_temperature(MANDATORY) + np.where((MANDATORY <= 400) & (MANDATORY >= 300), 15.0, 0.0)
    quality = QualityControl(superadiabatic=None)
    _, report = sounding_observations(profile(temperature=t), spec_of((850.0,)), quality=quality)
    assert report.rejected["hypsometric"]["air_temperature"] >= 2
    assert report.rejected["hypsometric"]["geopotential_height"] >= 2


def test_humidity_is_not_believed_where_the_air_is_too_cold_for_sensors():
    table = profile(specific_humidity=1e-6, relative_humidity=0.1)
    spec = spec_of((150.0, 70.0), ("specific_humidity", "relative_humidity"))
    table["dew_point"] = 200.0
    _, report = sounding_observations(table, spec)
    assert [v.used for v in report.variables] == [1, 0, 1, 0]
    assert report.rejected["too high for humidity"] == {"specific_humidity": 5, "relative_humidity": 5}


@pytest.fixture
def background() -> xr.Dataset:
    grid, _ = REGIONS["ordinary"]
    lat, lon = grid.mesh()
    field = 250 + 0.1 * (lat - 50) + 0.2 * (lon - 16)
    data = np.stack([field, field + 6.0])
    dims = ("time", "latitude", "longitude")
    coords = {"time": TIMES[:2], "latitude": grid.lat, "longitude": grid.lon}
    attrs = {"units": "K"}
    ds = xr.Dataset({"t500": (dims, data, attrs)}, coords)
    ds.latitude.attrs, ds.longitude.attrs = {"units": "degrees_north"}, {"units": "degrees_east"}
    return ds


def points(value, time="2015-06-14T21", lat=48.3, lon=16.35, error=0.8) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "time": [np.datetime64(time)],
            "lat": lat,
            "lon": lon,
            "variable": "t500",
            "value": value,
            "error": error,
        }
    )


def test_the_departure_from_the_background_is_in_standard_deviations(background):
    spec = spec_of((500.0,), ("air_temperature",))
    spec = StateSpec((replace(spec.variables[0], name="t500"), Variable("u500", "m s-1", level=500)))
    truth = 253 + 0.1 * (48.3 - 50) + 0.2 * 0.35  # half-way in time
    got = background_departure(points(truth + 5.0), spec, background, {"t500": 0.6})
    assert got[0] == pytest.approx(5.0)
    assert background_departure(points(truth), spec, background, 0.6)[0] == pytest.approx(0, abs=1e-4)
    fields = xr.full_like(background, 0.6)
    assert background_departure(points(truth + 5.0), spec, background, fields)[0] == pytest.approx(
        5.0, rel=1e-4
    )
    spread = xr.concat([background - 0.6, background + 0.6], "member", join="override")
    spread["t500"].attrs["units"] = "K"
    assert background_departure(points(truth + 5.0), spec, spread)[0] == pytest.approx(5.0, rel=1e-4)
    # Outside in space or time there is nothing to compare with; a window takes the nearest time.
    assert np.isnan(background_departure(points(truth, lat=10.0), spec, background, 1.0))[0]
    late = points(256.0, time="2015-06-15T04")
    assert np.isnan(background_departure(late, spec, background, 1.0))[0]
    assert np.isfinite(background_departure(late, spec, background, 1.0, "6h"))[0]
    with pytest.raises(SkyweaveError, match="error of the background"):
        background_departure(points(truth), spec, background)
    with pytest.raises(SkyweaveError, match="error of t500 is None"):
        background_departure(points(truth), spec, background, {"u500": 1.0})


def test_what_departs_too_far_from_the_background_is_dropped_and_counted(background):
    good = profile(temperature=np.interp(MANDATORY, MANDATORY[::-1], standard_temperature(MANDATORY)[::-1]))
    good = good.assign(temperature=np.where(MANDATORY == 500, 255.5, good["temperature"]))
    good["height"] = np.nan
    bad = good.assign(sounding=1, temperature=good["temperature"] + 12.0, lat=49.0)
    away = good.assign(sounding=2, lat=5.0)
    spec = StateSpec((Variable("t500", "K", "air_temperature", level=500),))
    table = pd.concat([good, bad, away], ignore_index=True)
    observation, report = sounding_observations(
        table, spec, background=background, background_error=1.0, time_window="6h"
    )
    assert report.dropped == {"too far from the background": 1}
    assert observation.table["sounding"].tolist() == [0, 2]
    assert report.not_compared == 1
    the_sums_add_up(report)
    lax = QualityControl(departure=None)
    kwargs = {"background": background, "background_error": 1.0}
    assert sounding_observations(table, spec, quality=lax, **kwargs)[1].used == 3


def test_the_report_is_plain_data():
    import json

    table = pd.concat([spoilt("temperature", 20, 9.0), profile([100.0], 1)], ignore_index=True)
    _, report = sounding_observations(table, spec_of())
    again = json.loads(json.dumps(report.to_dict()))
    assert again["soundings"] == 2
    assert again["rejected"] == {"superadiabatic": {"air_temperature": 1}}
    assert sum(v["used"] for v in again["variables"]) == report.used
