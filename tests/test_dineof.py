"""DINEOF: matrices of low rank that it must complete, its choice of modes, its filter, its history."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baseline_cases import GRID, PLAIN, SPEC, observe, red_states
from skyweave.baselines import BASELINES
from skyweave.baselines.dineof import fill_matrix, laplacian_filter, withhold
from skyweave.errors import SkyweaveError
from skyweave.transform import Log10Standardise, StateTransform
from test_temporal import cells


def low_rank(rank: int, cells_: int = 200, frames: int = 40, seed: int = 0) -> np.ndarray:
    """A matrix of that rank, whose mean is not zero and whose modes differ in size."""
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.normal(size=(cells_, rank)))[0]
    right = np.linalg.qr(rng.normal(size=(frames, rank)))[0]
    return 50 * (left * np.linspace(1.0, 0.6, rank)) @ right.T


def gappy(matrix: np.ndarray, share: float, seed: int = 1) -> np.ndarray:
    return np.where(np.random.default_rng(seed).random(matrix.shape) < share, np.nan, matrix)


def test_a_matrix_of_rank_two_is_recovered_from_half_of_it_with_two_modes():
    # A mean map and a mean series: the mean of all data, which is taken off, adds no third mode.
    rng = np.random.default_rng(0)
    truth = 3.0 + rng.normal(size=(200, 1)) + 2.0 * rng.normal(size=40)
    found = fill_matrix(gappy(truth, 0.5), tolerance=1e-6)
    assert found.modes == 2
    assert found.errors[1] < 1e-3 * found.errors[0]
    np.testing.assert_allclose(found.values, truth, atol=1e-3 * truth.std())


def test_noise_does_not_add_modes():
    truth = low_rank(3, frames=60)
    noise = 0.1 * truth.std() * np.random.default_rng(2).normal(size=truth.shape)
    found = fill_matrix(gappy(truth + noise, 0.4))
    assert found.modes == 3
    assert len(found.errors) >= 3
    assert found.errors[2] == found.errors.min()
    gaps = np.isnan(gappy(truth + noise, 0.4))
    assert np.sqrt(np.mean((found.values - truth)[gaps] ** 2)) < 0.1 * truth.std()


def test_the_result_is_a_fixed_point_of_the_truncated_decomposition():
    truth = low_rank(2)
    noisy = truth + 0.2 * truth.std() * np.random.default_rng(3).normal(size=truth.shape)
    data = gappy(noisy, 0.3)
    found = fill_matrix(data, tolerance=1e-7)
    gaps = np.isnan(data)
    mean = np.nanmean(data)
    U, s, Vt = np.linalg.svd(found.values - mean, full_matrices=False)
    again = mean + (U[:, : found.modes] * s[: found.modes]) @ Vt[: found.modes]
    np.testing.assert_allclose(again[gaps], found.values[gaps], atol=1e-4 * truth.std())
    np.testing.assert_array_equal(found.values[~gaps], data[~gaps])


def test_a_constant_matrix_is_constant_and_complete_data_are_kept():
    constant = gappy(np.full((20, 10), 7.5), 0.5)
    np.testing.assert_array_equal(fill_matrix(constant).values, 7.5)
    whole = low_rank(2)
    np.testing.assert_array_equal(fill_matrix(whole).values, whole)


@pytest.mark.parametrize("shape", [(300, 24), (40, 300)])
def test_what_is_withheld_is_observed_spread_and_never_a_cell_s_last(shape):
    rng = np.random.default_rng(0)
    present = rng.random(shape) < 0.4
    present[:, 0] = True
    out = withhold(present, seed=1)
    assert not (out & ~present).any()
    assert out.sum() == max(30, int(0.03 * present.sum()))
    assert ((present & ~out).sum(1) >= 1).all()
    assert out.any(0).sum() >= 3
    np.testing.assert_array_equal(out, withhold(present, seed=1))
    few = rng.random((5, 6)) < 0.7
    assert withhold(few).sum() <= few.sum() // 3


def test_withheld_clouds_have_the_shape_of_gaps():
    # Every gap is the western half of a frame: it is what other frames lose too, before single values.
    present = np.ones((100, 20), bool)
    present[:50, ::2] = False
    out = withhold(present, seed=0)
    assert out[:50].sum() > 0.9 * out.sum()


# ---- the filter


def test_the_filter_keeps_constants_and_damps_the_stated_period_by_e():
    F = laplacian_filter(np.arange(400.0), 0.1, 30)
    np.testing.assert_allclose(F.sum(1), 1.0)
    period = 2 * np.pi * np.sqrt(0.1 * 30)
    wave = np.cos(2 * np.pi * np.arange(400) / period)
    middle = slice(100, 300)
    gain = (F @ wave)[middle] @ wave[middle] / (wave[middle] @ wave[middle])
    assert gain == pytest.approx(np.exp(-1), rel=0.05)


def test_the_filter_is_exact_for_lines_at_uneven_times():
    times = np.array([0.0, 1, 3, 4, 8, 9, 10])
    once = laplacian_filter(times, 0.2, 1) @ times
    np.testing.assert_allclose(once[1:-1], times[1:-1])


def test_smooth_series_are_filled_better_with_the_filter():
    frames = np.arange(48)
    rng = np.random.default_rng(0)
    series = np.stack([np.sin(frames / 8), np.cos(frames / 11)])
    truth = rng.normal(size=(150, 2)) @ series
    noisy = truth + 0.8 * rng.normal(size=truth.shape)
    data = gappy(noisy, 0.6)
    error = {}
    for smoothing in (0.0, 0.2):
        found = fill_matrix(data, smoothing=smoothing, passes=3)
        error[smoothing] = np.sqrt(np.mean((found.values - truth)[np.isnan(data)] ** 2))
    assert error[0.2] < 0.9 * error[0.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smoothing": 0.3}, "smoothing 0.3"),
        ({"smoothing": -0.1}, "smoothing -0.1"),
        ({"smoothing": 0.1, "passes": 0}, "one pass or more"),
        ({"max_modes": 0}, "max_modes"),
        ({"tolerance": 0.0}, "tolerance"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(SkyweaveError, match=message):
        fill_matrix(gappy(low_rank(2), 0.3), **options)


def test_a_matrix_without_data_is_refused():
    with pytest.raises(SkyweaveError, match="no data"):
        fill_matrix(np.full((5, 4), np.nan))


# ---- fields


def waves(frames: int, start: int = 0) -> np.ndarray:
    """A field of rank three, one mode of them a constant, ``(T, 1, H, W)``."""
    patterns = red_states(2, GRID.shape, seed=12)[:, 0].numpy() - 280.0
    t = start + np.arange(frames)
    phases = np.stack([np.sin(t / 3), np.cos(t / 5)])
    return 280.0 + np.einsum("kt,khw->thw", phases, patterns)[:, None]


def test_a_field_of_few_modes_is_completed():
    state = waves(24)
    seen = np.random.default_rng(0).random(state.shape) < 0.6
    observed = observe(cells(state.shape, seen), state)
    fields = BASELINES["dineof"](observed, SPEC, GRID, transform=PLAIN, tolerance=1e-6)
    np.testing.assert_allclose(fields[0], state, atol=1e-3 * state.std())


def test_history_tells_what_a_short_segment_cannot():
    state, past = waves(3, start=40), waves(40)
    rng = np.random.default_rng(0)
    seen = rng.random(state.shape) < 0.1
    history = np.where(rng.random(past.shape) < 0.5, past, np.nan)
    observed = observe(cells(state.shape, seen), state)
    error = {}
    for name, known in (("none", None), ("history", history)):
        fields = BASELINES["dineof"](observed, SPEC, GRID, transform=PLAIN, history=known)
        assert fields.shape == (1, *state.shape)
        error[name] = np.sqrt(np.mean((fields[0] - state) ** 2))
    assert error["history"] < 0.1 * error["none"]
    single = observe(cells((1, *state.shape[1:]), seen[:1]), state[:1])
    fields = BASELINES["dineof"](single, SPEC, GRID, transform=PLAIN, history=history)
    assert np.sqrt(np.mean((fields[0] - state[:1]) ** 2)) < 0.1 * error["none"]


def test_history_of_another_shape_is_refused():
    state = waves(3)
    observed = observe(cells(state.shape, np.ones(state.shape, bool)), state)
    with pytest.raises(SkyweaveError, match=r"history has shape \(5, 1, 4, 4\)"):
        BASELINES["dineof"](observed, SPEC, GRID, history=np.zeros((5, 1, 4, 4)))


def test_logarithms_of_few_modes_are_completed_in_normalised_units():
    transform = StateTransform((Log10Standardise(-0.7, 0.4, 1e-4),))
    state = transform.inverse(torch.from_numpy((waves(24) - 280.0) / 10)).numpy()
    seen = np.random.default_rng(0).random(state.shape) < 0.6
    observed = observe(cells(state.shape, seen), state, transform=transform)
    fields = BASELINES["dineof"](observed, SPEC, GRID, transform=transform, tolerance=1e-6)
    np.testing.assert_allclose(fields[0], state, rtol=1e-3)
