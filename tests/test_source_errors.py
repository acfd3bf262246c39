"""Errors and biases of sources from innovations, in worlds where both are known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from skyweave.errors import SkyweaveError
from skyweave.observe.errors import ErrorModel
from skyweave.sources.bias import estimate_bias
from skyweave.sources.errors import (
    chi_square,
    desroziers,
    diagnose,
    maximum_likelihood,
)
from skyweave.sources.estimates import Estimation, adjust, estimate_sources
from skyweave.sources.innovations import (
    Innovations,
    climatological_innovations,
    groups_of,
)
from skyweave.sources.leave_out import leave_out
from source_cases import (
    PRIOR,
    TIMES,
    background,
    case,
    observed_by,
    sources_of,
    truth_of,
)


@pytest.fixture(scope="module")
def misstated():
    """The satellite's error is twice what it states, the ships' half."""
    return case(errors=(0.6, 0.3), stated=(0.3, 0.6))


@pytest.mark.parametrize("method", [maximum_likelihood, desroziers])
def test_known_errors_are_found_in_a_linear_gaussian_world(misstated, method):
    found = method(misstated[2], 2)
    for g, right in enumerate((math.log(2), math.log(0.5))):
        assert found.standard_error[g] < 0.15
        assert abs(found.log_factor[g] - right) < 3 * found.standard_error[g]
    assert found.after == pytest.approx(1, abs=0.1)
    assert abs(found.before - 1).max() > 0.2


@pytest.mark.parametrize("method", [maximum_likelihood, desroziers])
def test_right_errors_are_left_alone(method):
    found = method(case(seed=3)[2], 2)
    assert np.all(np.abs(found.log_factor) < 3 * found.standard_error)
    assert np.all(np.abs(found.log_factor) < 0.3)


def test_standard_errors_are_those_of_the_estimates():
    """Over independent worlds the estimates scatter as they say."""
    scores = []
    for seed in range(12):
        found = maximum_likelihood(case(seed, times=4, errors=(0.8, 0.3), stated=(0.4, 0.3))[2], 2)
        scores.append((found.log_factor - [math.log(2), 0.0]) / found.standard_error)
    spread = np.std(scores, axis=0)
    assert np.all((spread > 0.5) & (spread < 1.7))
    assert np.abs(np.mean(scores, axis=0)).max() < 3 / math.sqrt(12)


def test_predictions_of_what_was_left_out_find_the_errors_too(misstated):
    observed, number, _ = misstated
    found = leave_out(observed, number, 2, background, [(0, 1), (5, 6), (9, 10)], members=16, iterations=3)
    for g, right in enumerate((math.log(2), math.log(0.5))):
        assert abs(found.log_factor[g] - right) < 3 * found.standard_error[g]
    assert abs(found.log_factor[0] - math.log(2)) < 0.2
    assert found.after == pytest.approx(1, abs=0.2)
    assert found.before[0] > 1.1 > found.after[0]


def test_members_need_not_fit_the_memory_together(misstated):
    observed, number, _ = misstated
    how = {"members": 6, "iterations": 1, "folds": 2}
    whole = leave_out(observed, number, 2, background, [(0, 1)], **how)
    parts = leave_out(observed, number, 2, background, [(0, 1)], batch=4, **how)
    np.testing.assert_allclose(parts.log_factor, whole.log_factor, atol=1e-3)


def test_a_source_can_be_left_out_as_a_whole(misstated):
    observed, number, _ = misstated
    found = leave_out(observed, number, 2, background, [(0, 1), (5, 6)], leave="sources", members=12)
    assert abs(found.log_factor[1] - math.log(0.5)) < 3 * found.standard_error[1]
    alone = observed_by(truth_of(PRIOR, 1, 0), sources_of(truth_of(PRIOR, 1, 0))[:1])
    with pytest.raises(SkyweaveError, match="two sources"):
        leave_out(alone, groups_of(alone)[1], 1, background, [(0, 1)], leave="sources")


@pytest.mark.parametrize("method", [maximum_likelihood, desroziers])
def test_correlated_errors_are_scaled_as_a_whole(method):
    """One satellite whose errors are correlated over 300 km, stated at half their size; ships beside it."""
    truth, model = truth_of(PRIOR, 8, 5), ErrorModel(0.3, correlation_length_km=300.0)
    satellite, ships = sources_of(truth, 5, errors=(0.0, 0.3))
    satellite = replace(satellite, error=model)
    draft = observed_by(truth, [satellite, ships])
    noise = torch.randn(draft.n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    error = 2 * draft.R.sample(noise).numpy()
    noisy = replace(draft, value=draft.value + np.where(draft.source == 0, error, 0))
    _, number = groups_of(noisy)
    stretches = [(t, t + 1) for t in range(8)]
    blocks = climatological_innovations(noisy, number, background, stretches, compact=True)
    assert (blocks[0].block >= 0).any()
    found = method(blocks, 2)
    assert abs(found.log_factor[0] - math.log(2)) < 0.3
    assert abs(found.log_factor[1]) < 0.35


def test_what_innovations_cannot_tell_stays_as_stated():
    """Far observations under a prior of much greater variance: their errors are a small part of an innovation."""
    few = Innovations(
        np.arange(2),
        np.array([3.0, -2.0]),
        25 * np.eye(2),
        0.01 * np.eye(2),
        np.zeros(2, int),
        -np.ones(2, int),
    )
    found = maximum_likelihood([few], 1)
    assert abs(found.log_factor[0]) < 0.05
    assert found.standard_error[0] == pytest.approx(math.log(3), rel=0.05)


def test_the_chi_square_of_innovations(misstated):
    _, _, blocks = misstated
    value, chance = chi_square(blocks, np.log([2.0, 0.5]))
    assert value == pytest.approx(1, abs=4 * math.sqrt(2 / sum(b.n for b in blocks)))
    assert chance > 1e-3
    wrong, unlikely = chi_square(blocks, np.log([0.5, 0.2]))
    assert wrong > 1.1
    assert unlikely < 1e-6


def test_desroziers_relations_of_any_analysis():
    """Exact analyses: products of departures are the error covariances, whatever the ensemble's mean comes from."""
    rng = np.random.default_rng(0)
    n, background_error, error = 40000, 1.5, 0.7
    truth = rng.standard_normal(n)
    x_b, y = truth + background_error * rng.standard_normal(n), truth + error * rng.standard_normal(n)
    x_a = x_b + background_error**2 / (background_error**2 + error**2) * (y - x_b)
    group = np.arange(n) % 2
    found = diagnose(y + 0.5 * group, np.stack([x_b, x_b]), np.stack([x_a, x_a]) + 0.5 * group, group, 2)
    np.testing.assert_allclose(found.error, error, rtol=0.03)
    np.testing.assert_allclose(found.bias, [0.0, 0.5], atol=0.05)
    plain = diagnose(y, x_b, x_a, np.zeros(n, int), 1)
    np.testing.assert_allclose(plain.background, background_error, rtol=0.03)
    np.testing.assert_allclose(plain.innovation**2, plain.error**2 + plain.background**2, rtol=0.03)


# ---- biases


def test_a_known_bias_is_recovered_within_its_standard_error():
    _, _, blocks = case(bias=0.7)
    bias = estimate_bias(blocks, range(2), {1: ()}, {})[1]
    assert bias.error < 0.05
    assert abs(bias.value - 0.7) < 2 * bias.error
    assert bias.significant


def test_no_bias_is_not_significant_and_changes_nothing():
    observed, _, _ = case(seed=2)
    found = estimate_sources(observed, background, errors=False, biases={1: ()})
    assert not found.biases[1].significant
    same, used = adjust(observed, found, weights=False)
    np.testing.assert_array_equal(same.value, observed.value)
    assert used.removed == frozenset()
    assert "not significant" in same.report.sources[1].notes[-1]


def test_standard_errors_of_biases_are_honest():
    scores = []
    for seed in range(30):
        _, _, blocks = case(seed, times=3, bias=0.7, share=0.2, ships=30)
        bias = estimate_bias(blocks, range(2), {1: ()}, {})[1]
        scores.append((bias.value - 0.7) / bias.error)
    assert 0.7 < np.std(scores) < 1.35
    assert abs(np.mean(scores)) < 3 / math.sqrt(30)


def test_the_estimate_is_generalised_least_squares():
    _, _, blocks = case(times=1, bias=0.7)
    block = blocks[0]
    P = (block.group == 1).astype(float)[:, None]
    S = np.linalg.inv(block.background + block.error)
    A = P.T @ S @ P
    bias = estimate_bias(blocks, range(2), {1: ()}, {})[1]
    assert bias.value == pytest.approx(float((P.T @ S @ block.d / A[0, 0])[0]), rel=1e-4)
    assert bias.error == pytest.approx(float(A[0, 0] ** -0.5), rel=1e-4)


def test_a_bias_that_grows_with_a_predictor():
    settings = {"bias": 0.3, "slope": 0.25}
    truth = truth_of(PRIOR, TIMES, 1)
    given = sources_of(truth, 1, **settings)
    given[1] = replace(given[1], bias="estimate", bias_predictors=("angle", "latitude"))
    observed = observed_by(truth, given)
    found = estimate_sources(observed, background, errors=False, biases={1: ("angle", "latitude")})
    bias = found.biases[1]
    centre, slope, error = bias.slopes["angle"]
    assert abs(slope - 0.25) < 3 * error
    assert abs(bias.value - (0.3 + 0.25 * centre)) < 3 * bias.error
    _, none, wide = bias.slopes["latitude"]
    assert abs(none) < 3 * wide
    ships = observed.source == 1
    removed = observed.value - adjust(observed, found, weights=False)[0].value
    expected = 0.3 + 0.25 * observed.predictors["angle"]
    np.testing.assert_allclose(removed[ships], expected[ships], atol=0.3)
    assert np.abs((removed - expected)[ships]).mean() < 0.08
    np.testing.assert_array_equal(removed[~ships], 0)


def test_anchors_make_a_bias_relative_to_them():
    observed, _, _ = case(bias=0.7)
    alone = estimate_sources(observed, background, errors=False, biases={0: (), 1: ()})
    anchored = estimate_sources(observed, background, errors=False, biases={1: ()}, anchor=["satellite"])
    assert not alone.anchored
    assert anchored.anchored
    assert alone.biases[1].error > 3 * anchored.biases[1].error
    # Against the climatology both are uncertain together; their difference is not.
    difference = alone.biases[1].value - alone.biases[0].value
    assert difference == pytest.approx(anchored.biases[1].value, abs=0.02)
    for anchor, word in ((["sattelite"], "did you mean 'satellite'"), (["ships"], "an anchor has none")):
        with pytest.raises(SkyweaveError, match=word):
            estimate_sources(observed, background, errors=False, biases={1: ()}, anchor=anchor)


def test_errors_are_estimated_without_the_bias():
    observed, _, _ = case(bias=2.0)
    how = Estimation(method="likelihood")
    found = estimate_sources(observed, background, biases={1: ()}, how=how)
    assert abs(found.errors.log_factor[1]) < 3 * found.errors.standard_error[1]
    left = estimate_sources(observed, background, biases={1: ()}, removable=(), how=how)
    assert left.errors.log_factor[1] > 0.5
