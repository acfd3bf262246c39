"""Soundings as observations: errors, names, bad input, reports, and real files."""

from __future__ import annotations

import numpy as np
import pytest

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io.igra import read_igra
from skyweave.observe.assemble import assemble
from skyweave.observe.quantities import quantity_of
from skyweave.observe.sounding_errors import sounding_error
from skyweave.observe.soundings import sounding_observations
from skyweave.state import StateSpec, Variable
from sounding_cases import DATA, R_OVER_G, REGIONS, TIMES, profile, spec_of, the_sums_add_up

# ---- errors


def test_errors_come_from_the_table_or_from_the_caller():
    spec = spec_of((850.0, 500.0), ("air_temperature", "eastward_wind", "geopotential", "relative_humidity"))
    table = profile(relative_humidity=0.5)
    plain = sounding_observations(table, spec)[0].table.set_index("variable")["error"]
    assert plain["air_temperature500"] == pytest.approx(0.8)
    assert plain["eastward_wind500"] == pytest.approx(2.1)
    assert plain["relative_humidity500"] == pytest.approx(20.0)  # the state has it in percent
    assert plain["geopotential500"] == pytest.approx(9.80665 * np.hypot(4, R_OVER_G * 0.3 * np.log(2)))
    errors = {"air_temperature": {1000: 2.0, 500: 1.0}, "eastward_wind850": 9.0, "relative_humidity": 0.1}
    own = sounding_observations(table, spec, errors=errors)[0].table.set_index("variable")["error"]
    assert own["air_temperature500"] == 1.0
    assert own["air_temperature850"] == pytest.approx(1 + np.log(850 / 500) / np.log(2))
    assert own["eastward_wind850"] == 9.0
    assert own["eastward_wind500"] == plain["eastward_wind500"]
    assert own["relative_humidity500"] == pytest.approx(10.0)
    # Specific humidity: the share of saturation that the error of relative humidity is.
    q = sounding_error("specific_humidity", np.array([850.0]), np.array([283.15]))
    assert q[0] == pytest.approx(0.2 * 0.622 * 12.27 / 850, rel=0.01)
    with pytest.raises(SkyweaveError, match=r"errors for 'air_temprature'.*did you mean 'air_temperature'"):
        sounding_observations(table, spec, errors={"air_temprature": 1.0})
    with pytest.raises(SkyweaveError, match="must be positive"):
        sounding_observations(table, spec, errors={"air_temperature": {500: 0.0}})


# ---- names, bad input


@pytest.mark.parametrize(
    ("variable", "quantity"),
    [
        (Variable("anything", "K", "air_temperature"), "air_temperature"),
        (Variable("t850", "K", level=850), "air_temperature"),
        (Variable("U_500", "m s-1", level=500), "eastward_wind"),
        (Variable("z500", "m2 s-2", level=500), "geopotential"),
        (Variable("z500", "m**2 s**-2", level=500), "geopotential"),
        (Variable("z500", "m", level=500), "geopotential_height"),
        (Variable("zg_500hPa", "m", level=500), "geopotential_height"),
        (Variable("q850", "kg kg-1", level=850), "specific_humidity"),
        (Variable("10m_u_component_of_wind", "m s-1"), "eastward_wind"),
        (Variable("msl", "Pa"), None),
        (Variable("t850", "1", "cloud_area_fraction"), None),
    ],
)
def test_variables_are_known_by_standard_name_then_by_name(variable, quantity):
    assert quantity_of(variable) == quantity


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"variables": ["t85"]}, "did you mean 't850'"),
        ({"variables": {"t850": "air_temprature"}}, "did you mean 'air_temperature'"),
        ({"variables": ["msl"]}, "of no known quantity"),
        ({"variables": []}, "no variable was named"),
        ({"maximum_gap": 0.5}, "maximum_gap is 0.5"),
        ({"ascent_rate": 0.0}, "ascent_rate is 0.0"),
        ({"time_window": "soon"}, None),
    ],
)
def test_bad_settings_are_named(change, expected):
    spec = StateSpec((Variable("t850", "K", level=850), Variable("msl", "Pa")))
    if expected is None:
        observation, _ = sounding_observations(profile(), spec, **change)
        with pytest.raises(SkyweaveError, match="90min"):
            assemble(observation, spec, REGIONS["ordinary"][0], TIMES)
        return
    with pytest.raises(SkyweaveError, match=expected):
        sounding_observations(profile(), spec, **change)


def test_states_and_tables_that_cannot_be_used_are_named():
    surface = StateSpec((Variable("t2m", "K", "air_temperature"), Variable("msl", "Pa")))
    with pytest.raises(SkyweaveError, match="none of the variables t2m, msl has a pressure level") as caught:
        sounding_observations(profile(), surface)
    for form in (
        "`variables: {t2m: air_temperature}`",
        "variables={'t2m': 'air_temperature'}",
        "--soundings",
    ):
        assert form in str(caught.value)
    bare = StateSpec((Variable("msl", "Pa"), Variable("t2m", "K"), Variable("u10", "m s-1")))
    with pytest.raises(SkyweaveError, match=r"`variables: \{t2m: air_temperature\}`.* surface may be named"):
        sounding_observations(profile(), bare)
    with pytest.raises(SkyweaveError, match=r"`variables: \{msl: QUANTITY\}`"):
        sounding_observations(profile(), StateSpec((Variable("msl", "Pa"),)))
    with pytest.raises(SkyweaveError, match="lacks column pressure"):
        sounding_observations(profile().drop(columns="pressure"), spec_of())
    with pytest.raises(SkyweaveError, match="lacks rows"):
        sounding_observations(profile().iloc[:0], spec_of())
    with pytest.raises(SkyweaveError, match="no observation is left") as caught:
        sounding_observations(profile([100.0, 50.0]), spec_of())
    assert "outside the sounding" in str(caught.value)
    kelvin = StateSpec((Variable("t850", "m", "air_temperature", level=850),))
    with pytest.raises(SkyweaveError, match="another kind"):
        sounding_observations(profile(), kelvin)


# ---- real soundings


@pytest.mark.realdata
def test_real_soundings_become_plausible_observations():
    table = read_igra(DATA)
    levels = (925.0, 850.0, 700.0, 600.0, 500.0, 300.0, 200.0, 100.0, 50.0)
    quantities = (
        "air_temperature",
        "geopotential_height",
        "specific_humidity",
        "eastward_wind",
        "northward_wind",
    )
    spec = spec_of(levels, quantities)
    observation, report = sounding_observations(table, spec)
    the_sums_add_up(report)
    assert report.soundings == table.attrs["counts"]["soundings"]
    # Nearly every sounding reaches every level but the highest, and nearly nothing is rejected.
    assert report.used > 0.95 * sum(
        v.given for v in report.variables if "humidity" not in v.quantity or v.level >= 100
    )
    own = {k: v for k, v in report.rejected.items() if k != "too high for humidity"}
    for quantity in report.values:
        rejected = sum(by.get(quantity, 0) for by in own.values())
        assert rejected <= 0.005 * report.values[quantity]
    # Reported mandatory heights and temperatures obey the hypsometric equation within their rounding.
    found = observation.table
    at = found[found["variable"] == "geopotential_height500"]
    assert at["value"].between(5000, 6000).all()
    blind = table.assign(height=table["height"].where(table["pressure"] != 500))
    filled = sounding_observations(blind, spec_of((500.0,), ("geopotential_height",)), maximum_gap=2.0)[
        0
    ].table
    both = at.merge(filled, on="sounding")
    assert len(both) > 0.95 * len(at)
    error = both["value_x"] - both["value_y"]
    assert error.std() < 6
    assert abs(error.mean()) < 3
    # Where it does not report them, the balloon is within an hour and a half and 250 km of its launch.
    late = (found["time"] - table["time"].min()).dt.total_seconds()
    assert (late > -3 * 3600).all()
    place = found.merge(table.drop_duplicates("sounding")[["sounding", "time", "lat", "lon"]], on="sounding")
    km = Grid.distance(place["lat_x"], place["lon_x"], place["lat_y"], place["lon_y"])
    hours = (place["time_x"] - place["time_y"]).dt.total_seconds() / 3600
    assert hours.between(-1.5, 2.0).all()
    assert np.max(km) < 400
    assert np.median(km[place["level"] == 500]) > 3
