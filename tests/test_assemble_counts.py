"""Laws of the assembled observations: everything is used or counted, order, segments, time."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from assemble_cases import (
    FINE,
    GRID,
    KINDS,
    SHIFTED,
    SOURCES,
    SPEC,
    TIMES,
    TRANSFORM,
    WORLD,
    between,
    field,
    sources,
    states,
    table,
)
from skyweave.errors import SkyweaveError
from skyweave.observe.assemble import assemble
from skyweave.observe.errors import ErrorModel
from skyweave.observe.observation import GridObservation, PointObservation
from skyweave.regrid import coarsen


def test_each_reason_is_counted():
    good = {"time": TIMES[0], "lat": 45.2, "lon": 0.3, "variable": "aod", "value": 0.5, "error": 0.1}
    rows = [
        good,
        good,
        good | {"lon": 360.3},
        good | {"variable": "o3"},
        good | {"value": np.nan},
        good | {"lat": np.nan},
        good | {"time": pd.NaT},
        good | {"lat": 20.0},
        good | {"lat": 95.0},
        good | {"time": TIMES[0] - np.timedelta64(200, "m")},
        good | {"value": -0.1},
        good | {"value": 6.0},
        good | {"error": 0.0},
        good | {"error": -1.0},
        good | {"error": np.nan},
        good | {"lat": 50.0},
    ]
    wanted = np.ones(GRID.shape, bool)
    wanted[10, 8] = False  # 50 N, 0 E
    source = PointObservation(pd.DataFrame(rows), valid_range=(0.0, 5.0))
    seen = assemble(source, SPEC, GRID, TIMES, domain_mask=wanted)
    assert seen.n == 1
    assert seen.report.dropped == {
        "unknown variable": 1,
        "NaN": 3,
        "outside domain": 2,
        "outside time window": 1,
        "out of range": 2,
        "non-positive error": 3,
        "duplicated": 2,
        "masked cells": 1,
    }
    printed = str(seen.report)
    assert all(reason in printed for reason in seen.report.dropped)
    assert seen.report.to_dict()["sources"][0]["given"] == 16
    assert "variables that the state lacks: 1 o3; it has t, aod" in printed
    assert "stated errors that are zero or negative: 2, the smallest is -1;" in printed


ROW = st.fixed_dictionaries(
    {
        "time": st.sampled_from(
            [*TIMES, TIMES[1] + np.timedelta64(1, "h"), TIMES[2] + np.timedelta64(9, "h"), pd.NaT]
        ),
        "lat": st.sampled_from([np.nan, 39.0, 40.0, 45.25, 50.1, 50.2, 70.0, 95.0, -45.0]),
        "lon": st.sampled_from([np.nan, -8.2, 0.0, 0.3, 359.9, 360.0, 120.0]),
        "variable": st.sampled_from(["t", "aod", "o3", None]),
        "value": st.sampled_from([np.nan, np.inf, -1.0, 0.0, 0.5, 300.0]),
        "error": st.sampled_from([np.nan, -1.0, 0.0, 0.1, 2.0, np.inf]),
    }
)
VALID = {"time": TIMES[0], "lat": 47.3, "lon": 2.2, "variable": "t", "value": 280.0, "error": 1.0}
REDUCTIONS = [{}, {"superob": True}, {"thin": "cell"}, {"thin": 200.0}]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(ROW, max_size=25),
    reduction=st.sampled_from(REDUCTIONS),
    rule=st.sampled_from(["nearest", "interpolate"]),
    error=st.sampled_from([None, 0.5, ErrorModel(relative=0.1)]),
    seed=st.integers(0, 1000),
)
def test_any_table_is_used_or_counted_in_any_order(rows, reduction, rule, error, seed):
    frame = pd.DataFrame([*rows, VALID])
    wanted = np.ones(GRID.shape, bool)
    wanted[0] = False
    shuffled = frame.sample(frac=1, random_state=seed)
    first, second = (
        assemble(
            PointObservation(part, error=error, time=rule, **reduction), SPEC, GRID, TIMES, domain_mask=wanted
        )
        for part in (frame, shuffled)
    )
    report = first.report.sources[0]
    assert report.given == len(frame) == report.used + sum(report.dropped.values())
    assert report.used >= report.rows == first.n > 0
    assert np.isfinite(first.value).all()
    assert first.report == second.report
    assert first.fingerprint() == second.fingerprint()


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    gaps=st.floats(0, 0.99),
    grid=st.sampled_from([GRID, coarsen(GRID, 2), SHIFTED, FINE]),
    offset=st.sampled_from([0, 100, 200]),
)
def test_any_grid_is_used_or_counted(seed, gaps, grid, offset):
    rng = np.random.default_rng(seed)
    data = field(grid, rng.normal(0, 1, (3, *grid.shape)), TIMES + np.timedelta64(offset, "m"), "aod", "1")
    data = data.where(rng.random(data.shape) >= gaps)
    wanted = rng.random(GRID.shape) > 0.02
    anchor = PointObservation(pd.DataFrame([VALID]), name="anchor")
    ones = np.ones_like(wanted)
    for mask in (wanted, ones):
        try:
            seen = assemble([GridObservation(data, 1.0), anchor], SPEC, GRID, TIMES, domain_mask=mask)
        except SkyweaveError:
            assert not mask.all()
            continue
        report = seen.report.sources[0]
        assert report.given == data.size == report.used + sum(report.dropped.values())
        assert (seen.value[seen.source == 0] >= 0).all()
        touched = seen.support_mask("aod") | seen.support_mask("t")
        assert not touched[:, ~mask].any()


def test_the_order_of_sources_does_not_matter():
    pair = [SOURCES["points, correlated"](), SOURCES["mask"]()]
    one, two = (assemble(order, SPEC, GRID, TIMES) for order in (pair, pair[::-1]))
    u = [torch.zeros(1, s.n, dtype=torch.float64) for s in (one, two)]
    weights = [
        s.operator.vjp(states(1), s.R.solve(s.y.double()[None] + v))
        for s, v in zip((one, two), u, strict=True)
    ]
    torch.testing.assert_close(weights[0], weights[1])


def test_nothing_left_says_why():
    gone = PointObservation(table(10).assign(lat=10.0), name="far away")
    late = GridObservation(field(GRID, times=TIMES + np.timedelta64(30, "D")), 1.0)
    with pytest.raises(SkyweaveError) as caught:
        assemble([gone, late], SPEC, GRID, TIMES)
    message = str(caught.value)
    assert "far away: 10 outside domain" in message
    assert "t: 768 outside time window" in message
    assert "time_window" in message
    with pytest.raises(SkyweaveError, match="no observations"):
        assemble([], SPEC, GRID, TIMES)


def test_unknown_variables_are_named_beside_those_of_the_state():
    rows = table(10)
    rows["variable"] = ["aodd"] * 6 + ["o3"] * 3 + [None]
    with pytest.raises(SkyweaveError, match="no observation is left of 10") as caught:
        assemble(PointObservation(rows, name="stations"), SPEC, GRID, TIMES)
    message = str(caught.value)
    found = "6 aodd (did you mean 'aod'?), 3 o3, 1 without a name; it has t, aod"
    assert f"stations: 10 unknown variable\n    variables that the state lacks: {found}" in message
    assert "the state's names" in message
    # Neither domain nor times have to do with it.
    assert "the state covers" not in message
    with pytest.raises(SkyweaveError, match=r"the state covers .*times 2020"):
        assemble([PointObservation(rows), PointObservation(table(5).assign(lat=10.0))], SPEC, GRID, TIMES)
    many = table(10)
    many["variable"] = [f"x{k}" for k in range(10)]
    with pytest.raises(SkyweaveError, match="1 x7, and 2 more; it has t, aod"):
        assemble(PointObservation(many), SPEC, GRID, TIMES)


def test_errors_that_are_not_positive_are_told():
    with pytest.raises(SkyweaveError, match="zero or negative: 10, the smallest is -999;") as caught:
        assemble(PointObservation(table(10).assign(error=[-1.0] * 9 + [-999.0])), SPEC, GRID, TIMES)
    assert "the state covers" not in str(caught.value)
    data = field(GRID)
    errors = xr.ones_like(data)
    errors[:, 0] = -2.0
    seen = assemble(GridObservation(data, error_field=errors), SPEC, GRID, TIMES)
    count = seen.report.dropped["non-positive error"]
    assert count == 3 * GRID.shape[1]
    assert f"zero or negative: {count}, the smallest is -2;" in str(seen.report)
    # Rows that are dropped for something else first do not count, nor do missing errors.
    mixed = table(4).assign(error=[1.0, -3.0, np.nan, 0.0])
    mixed.loc[1, "lat"] = 10.0
    seen = assemble(PointObservation(mixed), SPEC, GRID, TIMES)
    assert seen.report.dropped["non-positive error"] == 2
    assert "zero or negative: 1, the smallest is 0;" in str(seen.report)


def test_an_unknown_variable_of_a_grid_is_an_error():
    with pytest.raises(SkyweaveError, match="did you mean 'aod'"):
        assemble(GridObservation(field(GRID, name="aodd"), 1.0), SPEC, GRID, TIMES)


def test_repeated_names_are_numbered():
    seen = assemble([SOURCES["mask"](), SOURCES["block-mean"]()], SPEC, GRID, TIMES)
    assert [s.name for s in seen.sources] == ["t", "t (2)"]


@pytest.mark.parametrize("kind", KINDS)
def test_segments_are_slices_of_the_whole(kind):
    seen = assemble(sources(kind), SPEC, GRID, TIMES, TRANSFORM)
    x = states()
    whole = seen.segment(0, 3)
    assert torch.equal(whole.y, seen.y)
    torch.testing.assert_close(whole.operator(x), seen.operator(x))
    for t0, t1 in [(0, 1), (1, 2), (2, 3), (0, 2), (1, 3)]:
        part = seen.segment(t0, t1)
        rows = np.flatnonzero((seen.first >= t0) & (seen.last < t1))
        torch.testing.assert_close(part.operator(x[:, t0:t1]), seen.operator(x)[:, rows])
        np.testing.assert_array_equal(part.R.variance, seen.R.variance[rows])
        if seen.n < 1000:
            torch.testing.assert_close(part.R.dense(), seen.R.dense()[rows][:, rows])
        assert torch.equal(part.y, seen.y[rows])
        assert part.straddling == ((seen.first < t1) & (seen.last >= t0)).sum() - len(rows)
        direct = part.cell >= 0
        assert np.all(part.cell[direct] < (t1 - t0) * 2 * GRID.size)
    cut = seen.segments(1)
    assert (cut[0][0], cut[-1][1]) == (0, 3)
    assert sum(seen.segment(*edge).n for edge in cut) == seen.n
    assert seen.segments(3) == [(0, 3)]


def test_interpolated_rows_tie_frames_together():
    assert assemble(sources("mask"), SPEC, GRID, TIMES).segments() == [(0, 1), (1, 2), (2, 3)]
    tied = assemble(
        GridObservation(field(GRID, times=between()[:1]), 1.0, time="interpolate"), SPEC, GRID, TIMES
    )
    assert tied.segments() == [(0, 2), (2, 3)]
    # At 02 UTC, a third of the way: (1 - 1/3) x(00) + 1/3 x(06).
    x = torch.zeros(1, 3, 2, *GRID.shape)
    x[:, 0], x[:, 1] = 3.0, 6.0
    torch.testing.assert_close(tied.operator(x), torch.full((1, GRID.size), 4.0))


def test_frames_without_observations_have_empty_segments():
    seen = assemble(GridObservation(field(GRID, times=TIMES[::2]), 1.0), SPEC, GRID, TIMES)
    empty = seen.segment(1, 2)
    assert empty.n == empty.operator.n == empty.R.n == 0
    assert seen.segment(2, 3).n == GRID.size
    x = states(2)[:, 1:2]
    assert empty.operator(x).shape == (2, 0)
    assert torch.count_nonzero(empty.operator.vjp(x, torch.zeros(2, 0, dtype=torch.float64))) == 0


def test_undated_fields_meet_undated_states():
    still = field(GRID).isel(time=0, drop=True)
    assert assemble(GridObservation(still, 1.0), SPEC, GRID).n == GRID.size
    assert assemble(GridObservation(still, 1.0), SPEC, GRID, TIMES[:1]).n == GRID.size
    dated = field(GRID).isel(time=1)
    assert assemble(GridObservation(dated, 1.0), SPEC, GRID, TIMES).first[0] == 1
    with pytest.raises(SkyweaveError, match="time coordinate"):
        assemble(GridObservation(still, 1.0), SPEC, GRID, TIMES)
    with pytest.raises(SkyweaveError, match="time"):
        assemble(PointObservation(table().drop(columns="time")), SPEC, GRID, TIMES)
    assert assemble(PointObservation(table().drop(columns="time")), SPEC, GRID, TIMES[:1]).n == 30


def test_points_across_the_date_line_of_a_global_grid():
    lon = np.array([-179.0, 181.0, 359.0, -1.0, 180.0])
    frame = pd.DataFrame({"lat": [0.0, 1.0, 2.0, 3.0, 89.9], "lon": lon, "variable": "t", "value": 280.0})
    seen = assemble(PointObservation(frame, error=1.0), SPEC, WORLD)
    assert seen.n == 5
    wave = np.cos(np.radians(WORLD.mesh()[1]))
    x = torch.from_numpy(np.stack([wave, wave]))[None, None]
    np.testing.assert_allclose(seen.operator(x)[0, :4], np.cos(np.radians(lon[:4])), atol=2e-3)


def test_superobs_are_means_of_reports_and_of_their_rows():
    near = table(1, names=("t",)).loc[[0, 0, 0]].assign(lat=[45.1, 45.2, 45.3], lon=[0.1, 0.2, 0.3])
    near = near.assign(value=[280.0, 281.0, 282.0], error=1.0, time=TIMES[0])
    seen = assemble(PointObservation(near, superob=True), SPEC, GRID, TIMES)
    apart = assemble(PointObservation(near), SPEC, GRID, TIMES)
    x = states(1)
    assert (seen.n, apart.n) == (1, 3)
    torch.testing.assert_close(seen.operator(x)[:, 0], apart.operator(x).mean(1))
    np.testing.assert_allclose([seen.value[0], seen.R.variance[0]], [281.0, 1 / 3])
    assert seen.report.sources[0].used == 3


def test_only_matching_times_are_loaded():
    dask = pytest.importorskip("dask.array")
    loaded = []

    def block(value, block_info=None):
        loaded.append(block_info[None]["array-location"][0])
        return value

    times = TIMES[0] + np.arange(0, 240, 6) * np.timedelta64(1, "h")
    full = dask.full((len(times), *GRID.shape), 280.0, chunks=(1, *GRID.shape))
    lazy = full.map_blocks(block, dtype=float, meta=np.array([]))
    data = xr.DataArray(lazy, dims=("time", "lat", "lon"), coords=field(GRID, times=times).coords, name="t")
    assert assemble(GridObservation(data, 1.0), SPEC, GRID, TIMES).n == 3 * GRID.size
    assert sorted({location[0] for location in loaded}) == [0, 1, 2]


def test_a_domain_mask_of_another_grid_is_refused():
    with pytest.raises(SkyweaveError, match="domain mask"):
        assemble(sources("mask"), SPEC, GRID, TIMES, domain_mask=np.ones((3, 3), bool))
    labelled = field(coarsen(GRID, 2)).isel(time=0, drop=True)
    with pytest.raises(SkyweaveError, match="domain mask"):
        assemble(sources("mask"), SPEC, GRID, TIMES, domain_mask=labelled)
