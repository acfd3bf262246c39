"""Laws of the assembled observations: adjoint, constants, means, units, weights."""

import numpy as np
import pandas as pd
import pytest
import torch

from assemble_cases import (
    FINE,
    GRID,
    KINDS,
    SHIFTED,
    SPEC,
    TIMES,
    TRANSFORM,
    WORLD,
    dots,
    field,
    sources,
    states,
    table,
)
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.observe.assemble import assemble
from skyweave.observe.errors import ErrorModel
from skyweave.observe.observation import GridObservation, PointObservation
from skyweave.regrid import coarsen


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
