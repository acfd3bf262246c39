"""Memory, steps and moments of sequences that are known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from skyweave.errors import SkyweaveError
from skyweave.verify import (
    moment_maps,
    seam_ratio,
    step_differences,
    temporal_autocorrelation,
    variance_ratio_extreme,
)


def ar1(phi: float, steps: int = 4000, shape: tuple[int, int] = (6, 7), seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape)
    out = []
    for _ in range(steps):
        x = phi * x + math.sqrt(1 - phi**2) * rng.normal(size=shape)
        out.append(x)
    return np.stack(out)


@pytest.mark.parametrize("phi", [0.0, 0.6, 0.9])
def test_autocorrelation_of_an_autoregressive_field_is_phi_to_the_lag(phi):
    lags = [0, 1, 2, 5, 10]
    curve = temporal_autocorrelation(10 + 3 * ar1(phi), lags)
    np.testing.assert_allclose(curve, [phi**lag for lag in lags], atol=0.03)
    assert float(curve[0]) == pytest.approx(1)


def test_gaps_cost_precision_and_no_bias():
    x = ar1(0.8)
    x[np.random.default_rng(1).random(x.shape) < 0.6] = np.nan
    x[:, 2, 3] = np.nan  # a cell that is never seen
    curve = temporal_autocorrelation(x, 4)
    np.testing.assert_allclose(curve, 0.8 ** np.arange(5), atol=0.03)


def test_autocorrelation_of_an_alternation_by_hand():
    x = torch.tensor([1.0, -1.0] * 4)[:, None, None]
    np.testing.assert_allclose(temporal_autocorrelation(x, [0, 1, 2, 3]), [1, -1, 1, -1])


def test_cells_count_alike_whatever_their_variance_and_offset():
    x = ar1(0.7, 500)
    curve = temporal_autocorrelation(x, 5)
    scaled = x * np.linspace(0.1, 50, 42).reshape(6, 7) + np.arange(42).reshape(6, 7)
    np.testing.assert_allclose(temporal_autocorrelation(scaled, 5), curve, rtol=1e-9)


def test_constant_cells_are_left_out():
    x = np.full((50, 2, 2), 0.1)
    x[:, 0, 0] = ar1(0.5, 50, (1, 1))[:, 0, 0]
    np.testing.assert_allclose(temporal_autocorrelation(x, 3), temporal_autocorrelation(x[:, :1, :1], 3))
    assert temporal_autocorrelation(np.full((9, 2, 2), 0.1), 1).isnan().all()


def test_short_sequences_share_the_mean_and_variance_of_their_cell():
    # Cut into windows of 10 frames, a memory of 0.9 is still found; one window's own mean would hide it.
    windows = ar1(0.9, 6000, (4, 4)).reshape(600, 10, 4, 4)
    curve = temporal_autocorrelation(windows, [1, 5])
    np.testing.assert_allclose(curve, [0.9, 0.9**5], atol=0.03)
    alone = torch.stack([temporal_autocorrelation(window, [5]) for window in windows[:100]]).mean()
    assert float(alone) < 0.2


def test_lags_beyond_the_sequence_are_refused():
    with pytest.raises(SkyweaveError, match="sequence of 5 frames"):
        temporal_autocorrelation(np.zeros((5, 2, 2)), 5)
    with pytest.raises(SkyweaveError, match="shape"):
        temporal_autocorrelation(np.zeros((5, 2)), 1)


def test_steps_of_an_autoregressive_field():
    # E (x_{t+1} - x_t)^2 = 2 (1 - phi) s^2
    d = step_differences(2 * ar1(0.75, 30, (60, 60)))
    assert d.shape == (29,)
    np.testing.assert_allclose(d, 2 * math.sqrt(0.5), rtol=0.06)


def test_steps_leave_out_gaps_and_weigh_cells():
    x = np.array([[[0.0, 0.0]], [[3.0, 4.0]], [[np.nan, 6.0]], [[1.0, np.nan]]])
    d = step_differences(x).numpy()
    np.testing.assert_allclose(d[:2], [math.sqrt(12.5), 2.0])
    assert np.isnan(d[2])
    d = step_differences(x, weights=torch.tensor([[3.0, 1.0]]))
    np.testing.assert_allclose(d[:2], [math.sqrt((27 + 16) / 4), 2.0])
    both = step_differences(np.stack([x, 2 * x]))
    np.testing.assert_allclose(both[:2], [math.sqrt(12.5 * 2.5), 2 * math.sqrt(2.5)])
    with pytest.raises(SkyweaveError, match="two frames"):
        step_differences(x[:1])


def test_a_seam_stands_out_and_a_seamless_sequence_does_not():
    x = ar1(0.95, 40, (30, 30))
    assert float(seam_ratio(step_differences(x), [9, 19, 29])) == pytest.approx(1, abs=0.05)
    torn = x.copy()
    torn[10:20] = ar1(0.95, 10, (30, 30), seed=9)
    # Unrelated frames differ by sqrt(2), consecutive ones by sqrt(2 (1 - phi)).
    assert float(seam_ratio(step_differences(torn), [9, 19])) == pytest.approx(math.sqrt(1 / 0.05), rel=0.05)
    assert float(seam_ratio([1.0, 1.0, 5.0], [-1])) == 5
    with pytest.raises(SkyweaveError, match="seams at"):
        seam_ratio([1.0, 1.0], [2])
    with pytest.raises(SkyweaveError, match="some of both"):
        seam_ratio([1.0, 1.0], [])


def test_moment_maps_agree_with_numpy_and_leave_out_gaps():
    x = ar1(0.5, 40).reshape(4, 10, 6, 7)
    x[np.random.default_rng(0).random(x.shape) < 0.3] = np.nan
    x[..., 0, 0] = np.nan
    x[..., 0, 1] = np.nan
    x[2, 3, 0, 1] = 5.0
    mean, deviation = moment_maps(x)
    assert math.isnan(mean[0, 0])
    assert math.isnan(deviation[0, 1])
    assert float(mean[0, 1]) == 5
    flat = x.reshape(40, 6, 7)[:, 1:]
    np.testing.assert_allclose(mean[1:], np.nanmean(flat, axis=0))
    np.testing.assert_allclose(deviation[1:], np.nanstd(flat, axis=0, ddof=1))


def test_variance_ratio_is_exact_for_scaled_fields():
    truth = ar1(0.5, 100, (20, 20)) * np.linspace(0.5, 2, 400).reshape(20, 20)
    assert float(variance_ratio_extreme(0.8 * truth + 3, truth)) == pytest.approx(0.8)
    assert float(variance_ratio_extreme(truth, truth)) == pytest.approx(1)


def test_variance_ratio_looks_only_where_the_truth_varies_most():
    truth = ar1(0.0, 200, (10, 10))
    truth[:, 0, :5] *= 10  # exactly the five cells of 5 %
    smoothed = truth.copy()
    smoothed[:, 0, :5] /= 2
    assert float(variance_ratio_extreme(smoothed, truth)) == pytest.approx(0.5)
    elsewhere = truth.copy()
    elsewhere[:, 1:] *= 7
    assert float(variance_ratio_extreme(elsewhere, truth)) == pytest.approx(1)
    assert 0.5 < float(variance_ratio_extreme(smoothed, truth, share=1.0)) < 0.95


def test_variance_ratio_leaves_out_cells_that_are_not_known():
    truth = ar1(0.0, 50, (4, 4))
    truth[:, 0, 0] = np.nan
    truth[:, 1, 1] *= 9
    assert float(variance_ratio_extreme(truth * 2, truth)) == pytest.approx(2)
    with pytest.raises(SkyweaveError, match="seen twice"):
        variance_ratio_extreme(truth * np.nan, truth)
    with pytest.raises(SkyweaveError, match="cells against"):
        variance_ratio_extreme(truth[..., :3], truth)
    with pytest.raises(SkyweaveError, match="share"):
        variance_ratio_extreme(truth, truth, share=5)
