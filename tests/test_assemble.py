"""Laws of the assembled observations: adjoint, constants, counts, order, segments, provenance."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.observe.assemble import assemble
from skyweave.observe.errors import ErrorModel
from skyweave.observe.observation import GridObservation, PointObservation
from skyweave.regrid import coarsen
from skyweave.state import StateSpec, Variable
from skyweave.transform import Log10Standardise, Standardise, StateTransform

GRID = Grid(np.arange(40.0, 56.0), np.arange(-8.0, 8.0))
WORLD = Grid(np.arange(87.5, -90, -5.0), np.arange(0.0, 360, 5.0))
TIMES = np.array(["2020-01-01T00", "2020-01-01T06", "2020-01-01T12"], "M8[ns]")
SPEC = StateSpec((Variable("t", "K"), Variable("aod", "1", bounds=(0.0, None))))
TRANSFORM = StateTransform((Standardise(280.0, 10.0), Log10Standardise(-1.0, 0.5, 1e-4)))
FINE = Grid(np.arange(39.625, 55.5, 0.25), np.arange(-8.375, 7.5, 0.25))
SHIFTED = Grid(np.arange(38.0, 60.0, 2.7), np.arange(350.3, 370.0, 2.7))


def field(grid, values=280.0, times=TIMES, name="t", units="K"):
    data = np.broadcast_to(np.asarray(values, float), (len(times), *grid.shape)).copy()
    coords = {"time": times, "lat": grid.lat, "lon": grid.lon}
    return xr.DataArray(data, dims=("time", "lat", "lon"), coords=coords, name=name, attrs={"units": units})


def table(n=30, seed=0, names=("t", "aod"), grid=GRID):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "time": rng.choice(TIMES, n),
            "lat": rng.uniform(grid.lat.min(), grid.lat.max(), n),
            "lon": rng.uniform(-7.9, 6.9, n),
            "variable": rng.choice(names, n),
            "value": rng.uniform(0.1, 1.0, n),
            "error": rng.uniform(0.5, 1.0, n),
        }
    )


def between(frame=TIMES):
    return frame[:-1] + np.array([2, 5]) * np.timedelta64(1, "h")


# One of every kind of source; the laws below hold for each and for all together.
SOURCES = {
    "mask": lambda: GridObservation(field(GRID), 1.0),
    "mask, two frames": lambda: GridObservation(field(GRID, times=between()), 1.0, time="interpolate"),
    "block-mean": lambda: GridObservation(field(coarsen(GRID, 4)), 1.0),
    "mean": lambda: GridObservation(field(SHIFTED), 1.0, operator="mean"),
    "aggregate": lambda: GridObservation(field(FINE), 1.0),
    "bilinear": lambda: GridObservation(field(FINE), 1.0, operator="bilinear"),
    "bicubic": lambda: GridObservation(field(coarsen(GRID, 4)), 1.0, operator="bicubic"),
    "bicubic-antialias": lambda: GridObservation(field(coarsen(GRID, 4)), 1.0, operator="bicubic-antialias"),
    "aod mean": lambda: GridObservation(field(SHIFTED, 0.3, name="aod", units="1"), 0.1),
    "points": lambda: PointObservation(table()),
    "points, bicubic": lambda: PointObservation(table(), interpolation="bicubic"),
    "points, superob": lambda: PointObservation(table(200), superob=True),
    "points, thinned": lambda: PointObservation(table(200), thin="cell"),
    "points, correlated": lambda: PointObservation(table(), error=ErrorModel(correlation_length_km=300.0)),
}
KINDS = [*SOURCES, "all"]


def sources(kind):
    return [make() for make in SOURCES.values()] if kind == "all" else [SOURCES[kind]()]


def states(n=2, dtype=torch.float64, seed=0):
    return torch.randn(
        n, len(TIMES), 2, *GRID.shape, dtype=dtype, generator=torch.Generator().manual_seed(seed)
    )


def dots(a, b):
    return (a * b).reshape(len(a), -1).sum(1)


@pytest.mark.parametrize("kind", KINDS)
def test_adjoint(kind):
    op = assemble(sources(kind), SPEC, GRID, TIMES, TRANSFORM).operator
    x, v = states(), states(seed=1)
    u = torch.randn(2, op.n, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(dots(op.jvp(x, v), u), dots(v, op.vjp(x, u)))


@pytest.mark.parametrize("kind", KINDS)
def test_constants_map_to_constants(kind):
    seen = assemble(sources(kind), SPEC, GRID, TIMES)
    x = torch.full((1, 3, 2, *GRID.shape), 7.0, dtype=torch.float64)
    torch.testing.assert_close(seen.operator(x), torch.full((1, seen.n), 7.0, dtype=torch.float64))


@pytest.mark.parametrize("kind", KINDS)
def test_everything_given_is_used_or_counted(kind):
    seen = assemble(sources(kind), SPEC, GRID, TIMES)
    assert len(seen.y) == seen.operator.n == seen.R.n == sum(s.rows for s in seen.report.sources)
    for source in seen.report.sources:
        assert source.given == source.used + sum(source.dropped.values())
        assert source.used >= source.rows > 0


@pytest.mark.parametrize("kind", KINDS)
def test_errors_are_positive_definite(kind):
    R = assemble(sources(kind), SPEC, GRID, TIMES).segment(0, 2).R
    u = torch.randn(1, R.n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(R.solve(R @ u), u)
    assert float((u * (R @ u)).sum()) > 0


def test_auto_chooses_by_how_grids_lie():
    chosen = {
        "mask": [
            GRID,
            GRID.isel(slice(None, None, -1), slice(2, 9)),
            Grid(GRID.lat, np.arange(352.0, 368.0)),
        ],
        "block-mean": [
            coarsen(GRID, 2),
            coarsen(GRID, (2, 4)),
            coarsen(GRID, 4).isel(slice(1, 3), slice(None)),
        ],
        "mean": [SHIFTED, Grid(GRID.lat + 0.4, GRID.lon)],
        "aggregate": [FINE],
        "bilinear": [Grid(np.arange(40, 54, 0.8), np.arange(-7, 7, 0.8))],
    }
    for operator, grids in chosen.items():
        for grid in grids:
            seen = assemble(GridObservation(field(grid), 1.0), SPEC, GRID, TIMES)
            assert seen.report.sources[0].operator == operator, grid.describe()


@pytest.mark.parametrize("operator", ["mask", "block-mean"])
def test_an_operator_that_the_grids_do_not_allow_is_refused(operator):
    with pytest.raises(SkyweaveError, match=operator):
        assemble(GridObservation(field(SHIFTED), 1.0, operator=operator), SPEC, GRID, TIMES)


def test_mask_sees_the_same_cell_whatever_order_and_convention():
    truth = np.random.default_rng(0).uniform(270, 290, (3, *GRID.shape))
    other = (
        field(GRID, truth)
        .isel(lat=slice(None, None, -1))
        .assign_coords(lon=(GRID.lon + 360))
        .transpose("lon", ...)
    )
    seen = assemble(GridObservation(other.where(other > 275), 1.0), SPEC, GRID, TIMES)
    x = torch.from_numpy(np.stack([truth, truth], 1))[None]
    np.testing.assert_allclose(seen.operator(x)[0], seen.value)
    assert seen.n == (truth > 275).sum()
    assert seen.report.dropped == {"NaN": (truth <= 275).sum()}
    assert np.array_equal(seen.observed_mask("t"), truth > 275)
    assert not seen.observed_mask("aod").any()


def test_block_mean_is_the_mean_of_its_cells():
    truth = np.random.default_rng(0).uniform(270, 290, (3, *GRID.shape))
    means = truth.reshape(3, 4, 4, 4, 4).mean((2, 4))
    seen = assemble(GridObservation(field(coarsen(GRID, 4), means), 1.0), SPEC, GRID, TIMES)
    x = torch.from_numpy(np.stack([truth, truth], 1))[None]
    np.testing.assert_allclose(seen.operator(x)[0], seen.value)
    assert not seen.observed_mask("t").any()
    assert seen.support_mask("t").all()


def test_area_mean_conserves_the_integral_on_the_sphere():
    coarse = Grid(np.arange(-84.0, 85, 12), np.arange(4.0, 360, 14.4))
    seen = assemble(GridObservation(field(coarse, times=TIMES[:1]), 1.0), SPEC, WORLD, TIMES[:1])
    assert seen.report.sources[0].operator == "mean"
    truth = np.random.default_rng(0).uniform(270, 290, WORLD.shape)
    x = torch.from_numpy(np.stack([truth, truth]))[None, None]
    total = (seen.operator(x)[0].numpy() * coarse.area.ravel()).sum()
    np.testing.assert_allclose(total, (truth * WORLD.area).sum(), rtol=1e-9)


def test_area_mean_of_aod_is_a_mean_of_aod():
    aod = 10 ** np.random.default_rng(0).normal(-1, 0.4, GRID.shape)
    physical = torch.from_numpy(np.stack([np.full(GRID.shape, 280.0), aod]))[None, None].repeat(1, 3, 1, 1, 1)
    source = GridObservation(field(coarsen(GRID, 4), 0.1, name="aod", units="1"), 0.1)
    op = assemble(source, SPEC, GRID, TIMES, TRANSFORM).operator
    assert not op.linear
    means = aod.reshape(4, 4, 4, 4).mean((1, 3)).ravel()
    seen = op(TRANSFORM.forward(physical))[0]
    np.testing.assert_allclose(seen, np.tile(means, 3), rtol=1e-6)
    log_mean = 10 ** np.log10(aod).reshape(4, 4, 4, 4).mean((1, 3)).ravel()
    assert np.all(means > log_mean * 1.02)


def test_aggregation_averages_values_and_independent_errors():
    noisy = field(FINE, np.random.default_rng(0).normal(280, 1, (3, *FINE.shape)))
    seen = assemble(GridObservation(noisy, ErrorModel(1.0, representativeness=0.2)), SPEC, GRID, TIMES)
    # 16 cells of nearly equal area: 1 / 16 + 0.2^2.
    np.testing.assert_allclose(seen.R.variance, 1 / 16 + 0.04, rtol=1e-3)
    plain = noisy.values.reshape(3, 16, 4, 16, 4).mean((2, 4))
    np.testing.assert_allclose(seen.value, plain.ravel(), atol=0.02)
    assert seen.observed_mask("t").all()


def test_aggregation_needs_enough_of_a_cell():
    gappy = field(FINE)
    gappy[:, :4, :3] = np.nan  # three quarters of the first state cell
    gappy[:, :4, 4:6] = np.nan  # half of the second
    seen = assemble(GridObservation(gappy, 1.0, min_filled=0.49), SPEC, GRID, TIMES)
    mask = seen.observed_mask("t")
    assert not mask[:, 0, 0].any()
    assert mask.sum() == 3 * 255
    assert seen.report.dropped == {"NaN": 3 * 20, "sparsely observed cell": 3 * 4}
    np.testing.assert_allclose(seen.value, 280.0)


def test_cells_over_the_edge_are_dropped_and_counted():
    # Cells of 4 x 4 degrees whose centres lie at -8, -4, 0, 4, 8 E: the outer two columns are cut by the domain.
    over = Grid(np.array([41.5, 45.5]), np.array([-8.0, -4.0, 0.0, 4.0, 8.0]))
    seen = assemble(GridObservation(field(over), 1.0), SPEC, GRID, TIMES)
    assert seen.report.dropped == {"footprint partly outside": 3 * 4}
    half = assemble(GridObservation(field(over), 1.0, min_coverage=0.3), SPEC, GRID, TIMES)
    assert half.report.dropped == {}
    away = Grid(np.array([41.5, 45.5]), np.arange(0.0, 40.0, 4.0))
    dropped = assemble(GridObservation(field(away), 1.0), SPEC, GRID, TIMES).report.dropped
    assert dropped == {"outside domain": 3 * 2 * 7, "footprint partly outside": 3 * 2}


def test_units_are_converted_and_errors_scale_without_offset():
    celsius = GridObservation(field(GRID, 10.0, units="degC"), ErrorModel(1.5), valid_range=(-50.0, 50.0))
    seen = assemble(celsius, SPEC, GRID, TIMES)
    np.testing.assert_allclose(seen.value, 283.15)
    np.testing.assert_allclose(seen.R.variance, 1.5**2)
    fahrenheit = table(5, names=("t",)).assign(value=50.0, error=1.8, units="degC")
    percent = table(5, names=("aod",)).assign(value=50.0, error=2.0, units="percent")
    seen = assemble(PointObservation(pd.concat([fahrenheit, percent])), SPEC, GRID, TIMES)
    is_t = seen.channel == 0
    np.testing.assert_allclose(seen.value, np.where(is_t, 323.15, 0.5))
    np.testing.assert_allclose(np.sqrt(seen.R.variance), np.where(is_t, 1.8, 0.02))
    with pytest.raises(SkyweaveError, match="units"):
        assemble(GridObservation(field(GRID, units="m s-1"), 1.0), SPEC, GRID, TIMES)


def test_weights_divide_the_errors_of_their_source():
    pair = [
        GridObservation(field(GRID), 2.0, weight=4.0),
        PointObservation(table(), name="stations", weight=0.5),
    ]
    seen = assemble(pair, SPEC, GRID, TIMES)
    assert [(s.name, s.weight) for s in seen.sources] == [("t", 4.0), ("stations", 0.5)]
    np.testing.assert_allclose(seen.R.variance[seen.source == 0], 1.0)
    plain = assemble(PointObservation(table()), SPEC, GRID, TIMES).R.variance
    np.testing.assert_allclose(seen.R.variance[seen.source == 1], plain / 0.5)


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
