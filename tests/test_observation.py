"""What observations refuse, matching in time, superobbing and thinning."""

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from skyweave.errors import SkyweaveError
from skyweave.observe.errors import NUGGET, ErrorModel, correlation, unit_vectors
from skyweave.observe.match import (
    TimeAxis,
    merged_variance,
    superob,
    thin_by_cell,
    thin_by_distance,
)
from skyweave.observe.observation import GridObservation, PointObservation

FIELD = xr.DataArray(
    np.zeros((2, 3)), dims=("lat", "lon"), coords={"lat": [1.0, 2.0], "lon": [1.0, 2.0, 3.0]}, name="t"
)
TABLE = pd.DataFrame(
    {"time": pd.to_datetime(["2020-01-01"]), "lat": [1.0], "lon": [2.0], "variable": ["t"], "value": 3.0}
)
HOURS = np.datetime64("2020-01-01", "ns") + np.arange(0, 24, 6) * np.timedelta64(1, "h")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "no error: state `error: 0.1` .* in Python pass"),
        ({"error": 0.0}, "zero"),
        ({"error": -1.0}, "absolute is -1"),
        ({"error": 1.0, "weight": 0.0}, "weight"),
        ({"error": 1.0, "operator": "maks"}, "did you mean 'mask'"),
        ({"error": 1.0, "time": "linear"}, "interpolate"),
        ({"error": 1.0, "valid_range": (2.0, 1.0)}, "empty"),
        ({"error_field": FIELD[0]}, "dimensions"),
    ],
)
def test_grid_observations_refuse(settings, words):
    with pytest.raises(SkyweaveError, match=words):
        GridObservation(FIELD, **settings)


def test_a_grid_observation_needs_an_array_and_a_name():
    with pytest.raises(SkyweaveError, match=r"ds\['name'\]"):
        GridObservation(FIELD.to_dataset(), 1.0)
    with pytest.raises(SkyweaveError, match="variable="):
        GridObservation(FIELD.rename(None), 1.0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "no errors: state `error: 0.5` .* column 'error' .* in Python pass"),
        ({"error": {"q": 1.0}}, "no error for t"),
        ({"error": 0.0}, "zero"),
        ({"error": 1.0, "superob": True, "thin": "cell"}, "exclude"),
        ({"error": 1.0, "thin": -3.0}, "distance in km"),
        ({"error": 1.0, "interpolation": "cubic"}, "bicubic"),
    ],
)
def test_point_observations_refuse(settings, words):
    with pytest.raises(SkyweaveError, match=words):
        PointObservation(TABLE, **settings)


def test_an_empty_error_column_is_no_error():
    with pytest.raises(SkyweaveError, match="no errors"):
        PointObservation(TABLE.assign(error=np.nan))


def test_a_wide_table_with_other_names_is_understood():
    table = pd.DataFrame(
        {"date": ["2020-01-01"], "latitude": [1.0], "longitude": [2.0], "t": [3.0], "q": [4.0]}
    )
    source = PointObservation(table, error=1.0)
    assert sorted(source.table["variable"]) == ["q", "t"]


def test_nearest_matching_takes_half_a_step_by_default():
    axis = TimeAxis.of(HOURS)
    assert axis.window(None, "") == 3 * 3600
    offsets = np.array([-181, -180, -1, 0, 179, 181, 18 * 60 + 180, 18 * 60 + 181])
    match = axis.match(
        axis.number(HOURS[0] + offsets * np.timedelta64(1, "m"), ""), axis.window(None, ""), "nearest"
    )
    assert match.inside.tolist() == [False, True, True, True, True, True, True, False]
    assert match.first[match.inside].tolist() == [0, 0, 0, 0, 1, 3]
    assert np.all(match.weight == 0)


def test_a_single_time_matches_itself_or_a_stated_window():
    axis = TimeAxis.of(HOURS[:1])
    when = axis.number(HOURS[0] + np.array([0, 10]) * np.timedelta64(1, "m"), "")
    assert axis.match(when, axis.window(None, ""), "nearest").inside.tolist() == [True, False]
    assert axis.match(when, axis.window("10min", ""), "nearest").inside.tolist() == [True, True]
    with pytest.raises(SkyweaveError, match="90min"):
        axis.window("soon", "")


def test_interpolation_in_time_is_exact_for_what_is_linear_in_time():
    axis = TimeAxis.of(HOURS)
    when = axis.number(HOURS[0] + np.array([0, 1, 250, 360, 1000, 1080]) * np.timedelta64(1, "m"), "")
    match = axis.match(when, 0.0, "interpolate")
    again = (1 - match.weight) * axis.values[match.first] + match.weight * axis.values[match.last]
    np.testing.assert_allclose(again, when, rtol=1e-12)
    assert match.inside.all()
    outside = axis.match(when[[0, -1]] + np.array([-60, 60]), 1e9, "interpolate")
    assert not outside.inside.any()


def test_calendars_without_leap_days_match_by_date():
    axis = TimeAxis.of([cftime.DatetimeNoLeap(2020, 2, 28), cftime.DatetimeNoLeap(2020, 3, 1)])
    assert axis.values[1] - axis.values[0] == 86400
    when = axis.number(np.array(["2020-02-28", "2020-02-29", "2020-03-01", "NaT"], "M8[ns]"), "")
    assert np.isnan(when).tolist() == [False, True, False, True]
    assert when[2] == axis.values[1]


def test_times_with_a_zone_are_utc():
    axis = TimeAxis.of(HOURS)
    zoned = pd.Series(pd.to_datetime(["2020-01-01 08:00"])).dt.tz_localize("Europe/Berlin")
    assert axis.number(zoned.to_numpy(), "")[0] - axis.values[0] == 7 * 3600


def test_dates_and_numbers_do_not_mix():
    with pytest.raises(SkyweaveError, match="dates"):
        TimeAxis.of(np.arange(3.0)).number(HOURS, "source")
    with pytest.raises(SkyweaveError, match="numbers"):
        TimeAxis.of(HOURS).number(np.arange(3.0), "source")
    with pytest.raises(SkyweaveError, match="ascending"):
        TimeAxis.of(HOURS[::-1])


def test_superob_weighs_by_precision():
    weights = superob(np.array([7, 3, 7]), np.array([1.0, 5.0, 4.0])).toarray()
    # Group 3 is the second report alone; in group 7 the precisions 1 and 1/4 give 0.8 and 0.2.
    np.testing.assert_allclose(weights, [[0, 1, 0], [0.8, 0, 0.2]])


def test_independent_errors_average_out_and_representativeness_does_not():
    n = 16
    variance, position = np.full(n, 4.0), unit_vectors(np.full(n, 50.0), np.linspace(0, 1, n))
    weights = superob(np.zeros(n, int), variance)
    merged = merged_variance(weights, variance, position, ErrorModel(representativeness=0.5))
    np.testing.assert_allclose(merged, 4.0 / 16 + 0.25)


def test_correlated_errors_average_out_less():
    variance, position = np.array([4.0, 4.0]), unit_vectors(np.array([50.0, 50.0]), np.array([0.0, 1.0]))
    weights = superob(np.zeros(2, int), variance)
    chord = 6371.0 * np.linalg.norm(position[0] - position[1])
    rho = (1 - NUGGET) * correlation(np.array(chord), 100.0)
    merged = merged_variance(weights, variance, position, ErrorModel(1.0, correlation_length_km=100.0))
    np.testing.assert_allclose(merged, 4.0 * (1 + rho) / 2)


def test_thinning_by_cell_keeps_the_nearest_then_the_most_precise():
    kept = thin_by_cell(
        np.array([1, 1, 2, 2, 3]), np.array([5.0, 4.0, 1.0, 1.0, 9.0]), np.array([1.0, 1.0, 2.0, 1.0, 1.0])
    )
    assert kept.tolist() == [False, True, False, True, True]


@pytest.mark.parametrize("distance", [50.0, 300.0, 3000.0])
def test_thinning_by_distance_leaves_none_near_and_covers_all(distance):
    rng = np.random.default_rng(0)
    position = unit_vectors(rng.uniform(40, 60, 200), rng.uniform(0, 30, 200))
    variance, group = rng.uniform(1, 2, 200), rng.integers(0, 2, 200)
    kept = thin_by_distance(group, position, variance, distance)
    for label in (0, 1):
        own, all_of = position[kept & (group == label)], position[group == label]
        angle = np.arccos(np.clip(all_of @ own.T, -1, 1)) * 6371.0
        near_others = angle[kept[group == label]] + np.where(np.eye(len(own)), 1e9, 0)
        assert near_others.min() >= distance * (1 - 1e-6)
        # Whatever was dropped has a kept report within the distance.
        assert angle.min(axis=1).max() <= distance * (1 + 1e-6)
    assert kept[np.argmin(np.where(group == 0, variance, 9))]
