"""Interpolation in time and persistence: fields that they must reproduce, and what they do at the ends."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from baseline_cases import GLOBE, GRID, PLAIN, SPEC, observe, red_states, scattered
from skyweave.baselines import BASELINES, Climatology
from skyweave.baselines.gappy import fill_space, fill_time, gappy_maps
from skyweave.regrid import bilinear, block_mean, nearest
from skyweave.state import StateSpec, Variable


def cells(shape: tuple[int, ...], seen: np.ndarray) -> sp.csr_array:
    """The operator that picks the cells of a mask."""
    where = np.flatnonzero(seen)
    return sp.csr_array(
        (np.ones(len(where)), (np.arange(len(where)), where)), shape=(len(where), int(np.prod(shape)))
    )


def linear_in_time(grid, frames: int) -> np.ndarray:
    start, slope = red_states(2, grid.shape, seed=3)[:, 0].numpy()
    return (start + (slope - 280.0) * 0.1 * np.arange(frames)[:, None, None])[:, None]


def test_fields_linear_in_time_are_exact_between_the_frames_of_each_cell():
    state = linear_in_time(GRID, 6)
    seen = np.random.default_rng(0).random(state.shape) < 0.3
    seen[0] = seen[-1] = True
    fields = BASELINES["temporal-interpolation"](observe(cells(state.shape, seen), state), SPEC, GRID)
    np.testing.assert_allclose(fields[0], state, rtol=1e-6)


def test_before_the_first_and_after_the_last_time_a_cell_keeps_its_value():
    state = linear_in_time(GRID, 6)
    seen = np.zeros(state.shape, bool)
    seen[2], seen[4] = True, True
    fields = BASELINES["temporal-interpolation"](observe(cells(state.shape, seen), state), SPEC, GRID)[0]
    for t, same in ((0, 2), (1, 2), (5, 4)):
        np.testing.assert_allclose(fields[t], state[same], rtol=1e-6)
    np.testing.assert_allclose(fields[3], state[3], rtol=1e-6)


@pytest.mark.parametrize("grid", [GRID, GLOBE], ids=["region", "globe"])
def test_whole_frames_that_are_missing_are_those_of_the_linear_baseline(grid):
    state = linear_in_time(grid, 5)
    seen = np.broadcast_to(np.array([0, 1, 0, 0, 1], bool)[:, None, None, None], state.shape)
    observed = observe(cells(state.shape, seen), state)
    np.testing.assert_allclose(
        BASELINES["temporal-interpolation"](observed, SPEC, grid),
        BASELINES["linear"](observed, SPEC, grid),
        rtol=1e-6,
    )


def test_cells_never_observed_are_linear_in_space():
    i, j = np.meshgrid(np.arange(16.0), np.arange(20.0), indexing="ij")
    plane = 280 + 0.5 * i - 0.3 * j
    state = np.stack([plane, plane + 2 * i])[:, None]
    seen = np.ones(state.shape, bool)
    seen[:, :, 5:9, 6:12] = False
    fields = BASELINES["temporal-interpolation"](observe(cells(state.shape, seen), state), SPEC, GRID)
    np.testing.assert_allclose(fields[0], state, atol=1e-3)


def test_a_single_frame_is_filled_as_by_the_linear_baseline():
    state = red_states(1, GRID.shape, seed=2)[None, 0].numpy()
    observed = observe(nearest(GRID, *scattered(GRID, 40)), state)
    for name in ("temporal-interpolation", "persistence", "dineof"):
        np.testing.assert_allclose(
            BASELINES[name](observed, SPEC, GRID), BASELINES["linear"](observed, SPEC, GRID), rtol=1e-5
        )


def test_persistence_carries_the_last_observed_map_on():
    state = red_states(6, GRID.shape, seed=4).numpy()
    frames = [bilinear(GRID, *scattered(GRID, 40, t)) for t in range(6)]
    for t in (0, 2, 3, 5):
        frames[t] = sp.csr_array((0, GRID.size))
    observed = observe(sp.csr_array(sp.block_diag(frames)), state)
    fields = BASELINES["persistence"](observed, SPEC, GRID)[0]
    linear = BASELINES["linear"](observed, SPEC, GRID)[0]
    for t, source in enumerate([1, 1, 1, 1, 4, 4]):
        np.testing.assert_array_equal(fields[t], linear[source])


@pytest.mark.parametrize(
    "name", ["temporal-interpolation", "persistence", "dineof", "kriging", "space-time-kriging"]
)
def test_a_variable_that_was_never_observed_takes_its_climatology_or_nothing(name):
    spec = StateSpec((Variable("a", "K"), Variable("b", "K")))
    state = red_states(3, GRID.shape, channels=2).numpy()
    seen = np.random.default_rng(0).random(state.shape) < 0.5
    seen[:, 1] = False
    observed = observe(cells(state.shape, seen), state, transform=None)
    fields = BASELINES[name](observed, spec, GRID)
    assert np.isfinite(fields[:, :, 0]).all()
    assert np.isnan(fields[:, :, 1]).all()
    known = Climatology(torch.full((2, *GRID.shape), 7.0), torch.ones(2, *GRID.shape), torch.zeros(1))
    fields = BASELINES[name](observed, spec, GRID, climatology=known)
    assert (fields[:, :, 1] == 7.0).all()


# ---- maps with gaps


def test_a_map_holds_means_of_its_cells_and_nothing_else():
    matrix = sp.lil_array((3, GRID.size))
    matrix[0, 5] = matrix[1, 5] = matrix[2, 9] = 1.0
    observed = observe(matrix, np.zeros((1, 1, *GRID.shape)), transform=PLAIN)
    observed.y[:] = observed.y.new_tensor([1.0, 4.0, 7.0])
    observed.R.variance[:] = [1.0, 2.0, 1.0]
    found = gappy_maps(observed, GRID)[0, 0].ravel()
    assert found[5] == pytest.approx(2.0)
    assert found[9] == pytest.approx(7.0)
    assert np.isfinite(found).sum() == 2


def test_area_means_cover_their_cells_linearly():
    i, j = np.meshgrid(np.arange(16.0), np.arange(20.0), indexing="ij")
    plane = 280 + 0.5 * i - 0.3 * j
    blocks = block_mean(GRID, 4)[:12]
    found = gappy_maps(observe(blocks, plane[None, None]), GRID)[0, 0]
    touched = np.zeros(GRID.size, bool)
    touched[np.unique(sp.csr_array(blocks).indices)] = True
    np.testing.assert_array_equal(np.isfinite(found), touched.reshape(GRID.shape))
    # Between the centres of two rows of blocks; beyond them the nearest block's mean is taken.
    np.testing.assert_allclose(found[2:6, 2:18], plane[2:6, 2:18], atol=2e-3)


def test_filling_in_time_is_numpy_s_interpolation_of_every_cell():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(7, 30))
    gaps = rng.random(maps.shape) < 0.6
    gaps[:, 0] = True
    holed = np.where(gaps, np.nan, maps)
    found = fill_time(holed)
    assert np.isnan(found[:, 0]).all()
    for cell in range(1, 30):
        known = np.flatnonzero(~gaps[:, cell])
        if len(known):
            np.testing.assert_allclose(found[:, cell], np.interp(np.arange(7), known, maps[known, cell]))


def test_a_map_without_values_stays_empty():
    empty = np.full(GRID.shape, np.nan)
    assert np.isnan(fill_space(empty, GRID)).all()
