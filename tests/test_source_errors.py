"""Errors and biases of sources from innovations, in worlds where both are known."""

import json
import math
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
import torch
import xarray as xr

from skyweave.errors import SkyweaveError
from skyweave.observe.errors import CorrelatedBlock, ErrorCovariance, ErrorModel
from skyweave.observe.observation import GridObservation, PointObservation
from skyweave.posterior.diagnose import diagnose_sources
from skyweave.posterior.innovations import (
    Innovations,
    choose_stretches,
    climatological_innovations,
    groups_of,
)
from skyweave.posterior.leave_out import leave_out
from skyweave.posterior.reconstruct import plan, reconstruct
from skyweave.posterior.source_bias import estimate_bias
from skyweave.posterior.source_errors import (
    ErrorEstimates,
    chi_square,
    desroziers,
    diagnose,
    maximum_likelihood,
)
from skyweave.posterior.sources import Estimation, SourceEstimates, adjust, estimate_sources, estimation
from skyweave.prior.storage import open_prior
from source_cases import STD, gaussian, labelled, observed_by, sources_of, truth_of, white_prior, white_truth

PRIOR = gaussian(20)
TIMES = 12


def background(t0, t1):
    assert t1 - t0 == 1
    return PRIOR


def case(seed=0, times=TIMES, **how):
    """Observations, their groups and their innovations against the climatology."""
    observed = observed_by(
        truth_of(PRIOR, times, seed), sources_of(truth_of(PRIOR, times, seed), seed, **how)
    )
    _, number = groups_of(observed)
    stretches = [(t, t + 1) for t in range(times)]
    return observed, number, climatological_innovations(observed, number, background, stretches, compact=True)


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


# ---- the road


def test_weights_from_innovations_are_the_weights_that_one_could_have_given():
    """With a prior of white noise: fields are those of a source that states the estimated error itself."""
    truth = white_truth(3)
    noise = 3.0 * np.random.default_rng(1).standard_normal(truth.shape)
    given = GridObservation((truth + noise).assign_attrs(units="K"), 1.0, name="noisy")
    prior, call = white_prior(), {"like": truth, "members": 4, "progress": False}
    out = reconstruct(prior, given, weights="innovations", innovations={"method": "likelihood"}, **call)
    (used,) = json.loads(out.attrs["source_estimates"])
    assert used["weight"] == pytest.approx(1 / 9, rel=0.25)
    assert used["weight_used"]
    assert used["units"] == "K"
    factor = used["estimated_error"] / used["stated_error"]
    assert used["weight"] == pytest.approx(factor**-2)
    direct = reconstruct(prior, replace(given, error=factor), **call)
    np.testing.assert_allclose(out.a.values, direct.a.values, rtol=1e-5, atol=1e-4)
    assert "weight of a from innovations (likelihood)" in out.attrs["observations"]
    assert "source_estimates" not in direct.attrs


def test_an_estimate_that_is_too_uncertain_is_marked_and_not_used():
    """The estimate of one source is known to 10 %, that of the other to 104 %."""
    observed, number, _ = case()
    errors = ErrorEstimates(np.log([2.0, 3.0]), np.array([0.1, 1.04]), np.ones(2), np.ones(2), 1)
    found = SourceEstimates(groups_of(observed)[0], "likelihood", errors)
    np.testing.assert_allclose(errors.used, [np.log(2.0), 0.0])
    rows = found.rows()
    assert [row["usable"] for row in rows] == ["yes", "no"]
    assert [row["units"] for row in rows] == ["K", "K"]
    assert "more than 50 %" in found.explanation()
    same, used = adjust(observed, found, weights=True)
    np.testing.assert_allclose(same.R.variance[number == 0], 4 * observed.R.variance[number == 0], rtol=1e-3)
    np.testing.assert_array_equal(same.R.variance[number == 1], observed.R.variance[number == 1])
    assert [one["weight_used"] for one in used.to_dict()] == [True, False]
    assert "weight of a" in same.report.sources[0].notes[-1]
    assert "0.9 K +- 104 %, too uncertain; the stated 0.3 K is kept" in same.report.sources[1].notes[-1]
    sure = replace(found, errors=replace(errors, standard_error=np.array([0.1, 0.5])))
    assert "50 %" not in sure.explanation()
    weighted, _ = adjust(observed, sure, weights=True)
    np.testing.assert_allclose(
        weighted.R.variance[number == 1], 9 * observed.R.variance[number == 1], rtol=1e-3
    )


def test_a_single_observation_leaves_its_error_as_stated():
    truth = white_truth(1)
    satellite, ships = sources_of(truth, errors=(0.4, 3.0))
    lone = replace(ships, table=ships.table[:1])
    how = {"like": truth, "members": 2, "progress": False, "innovations": {"method": "likelihood"}}
    out = reconstruct(white_prior(), [satellite, lone], weights="innovations", **how)
    used = json.loads(out.attrs["source_estimates"])
    assert [one["weight_used"] for one in used] == [True, False]
    assert used[1]["+-_%"] > 50
    assert "too uncertain; the stated 0.3 K is kept" in out.attrs["observations"]


def test_a_bias_that_is_asked_for_is_removed_reported_and_recorded(capsys):
    truth = white_truth(4)
    rng = np.random.default_rng(2)
    near, far = (
        (truth + 0.2 * rng.standard_normal(truth.shape) + bias).assign_attrs(units="K") for bias in (0.0, 0.7)
    )
    given = [
        GridObservation(near, 0.2, name="anchor"),
        GridObservation(far, 0.2, name="drifting", bias="estimate"),
    ]
    prior, call = white_prior(), {"like": truth, "members": 3}
    out = reconstruct(prior, given, progress=True, **call)
    used = json.loads(out.attrs["source_estimates"])[1]
    assert used["bias_removed"]
    assert abs(used["bias"] - 0.7) < 2.5 * used["+-"]
    assert f"bias of a against the other sources: {used['bias']:.4g} +- " in capsys.readouterr().out
    told = json.loads(out.attrs["source_estimates"])[0]
    assert "bias" not in told
    shifted = [given[0], replace(given[1], data=(far - used["bias"]).assign_attrs(units="K"), bias=None)]
    direct = reconstruct(prior, shifted, progress=False, **call)
    np.testing.assert_allclose(out.a.values, direct.a.values, atol=2e-3)
    # A plan computes nothing, so it estimates nothing.
    assert "bias" not in str(plan(prior, given, **call))


def test_diagnosis_changes_nothing_and_names_every_source():
    truth = white_truth(3)
    noisy = (truth + 3.0 * np.random.default_rng(1).standard_normal(truth.shape)).assign_attrs(units="K")
    given = [
        GridObservation(noisy, 1.0, name="x"),
        GridObservation(noisy[:, ::2], 1.0, name="y", operator="bilinear"),
    ]
    found = diagnose_sources(white_prior(), given, like=truth, innovations={"method": "desroziers"})
    rows = found.rows()
    assert [row["source"] for row in rows] == ["x", "y"]
    assert {"stated error", "estimated error", "weight", "bias", "z2 stated"} <= set(rows[0])
    assert not found.weighted
    assert not found.removed
    assert "climatology" in found.explanation()


def test_a_misstated_error_of_a_real_field_is_found_by_a_learnt_prior():
    """The shipped fields under the shipped prior: half the true error is stated, and 2 is found.

    Within a quarter: the prior is over-confident on the day of these fields, and what it lacks counts as error.
    """
    data = files("skyweave") / "data"
    part = {"latitude": slice(30, 62), "longitude": slice(40, 72)}
    truth = xr.open_dataset(str(data / "era5_sample.nc")).isel(time=[1, 3], **part).load()
    rng, given = np.random.default_rng(0), []
    for name, error in {"t2m": 2.0, "u10": 1.0}.items():
        noisy = truth[name] + error * rng.standard_normal(truth[name].shape)
        seen = noisy.where(rng.random(noisy.shape) < 0.4).assign_attrs(truth[name].attrs)
        given.append(GridObservation(seen, error / 2, name="satellite"))
    prior = open_prior(str(data / "era5_prior.safetensors"))
    options = {"innovations": {"members": 12, "folds": 3, "iterations": 2}}
    found = diagnose_sources(prior, given, like=truth, anchor=["satellite"], **options)
    for g in range(2):
        assert found.factor(g) == pytest.approx(2, rel=0.3)
        assert found.errors.standard_error[g] < 0.1
        assert found.errors.before[g] > 1.5 > found.errors.after[g]
    assert not found.biases


def test_stretches_show_every_group_even_a_rare_one():
    truth = labelled(np.zeros((40, 20, 20)))
    satellite, ships = sources_of(truth)
    rare = PointObservation(ships.table[ships.table.time == truth.time.values[33]], 0.3, name="ships")
    observed = observed_by(truth, [satellite, rare])
    chosen = choose_stretches(observed, groups_of(observed)[1], 1, 6, 2000)
    assert (33, 34) in chosen
    assert 6 <= len(chosen) <= 7
    assert chosen == sorted(chosen)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"metod": "likelihood"}, "did you mean 'method'"),
        ({"method": "likelyhood"}, "did you mean 'likelihood'"),
        ({"leave": "columns"}, "rows, sources"),
        ({"folds": 1}, "at least 2"),
        ({"trust": 1.0}, "above 1"),
    ],
)
def test_wrong_options_are_named(options, word):
    with pytest.raises(SkyweaveError, match=word):
        estimation(options)


def test_wrong_settings_of_sources_are_named():
    truth = white_truth(1)
    with pytest.raises(SkyweaveError, match="subtract a known bias"):
        GridObservation(truth, 1.0, bias=0.3)
    ships = sources_of(truth)[1].table
    with pytest.raises(SkyweaveError, match="no column of numbers"):
        PointObservation(ships, 0.3, bias="estimate", bias_predictors=("angel",))
    with pytest.raises(SkyweaveError, match="no bias predictor 'lead'"):
        observed_by(truth, [GridObservation(truth, 1.0, bias="estimate", bias_predictors=("lead",))])
    with pytest.raises(SkyweaveError, match="did you mean 'innovations'"):
        reconstruct(white_prior(), GridObservation(truth, 1.0), weights="inovations")


def test_blocks_of_correlated_errors_are_known_by_row():
    R = ErrorCovariance(np.ones(4), (CorrelatedBlock(np.array([1, 3]), np.eye(3)[:2], 100.0),))
    from skyweave.posterior.innovations import correlated_blocks

    class Rows:
        n = 4

    Rows.R = R
    assert correlated_blocks(Rows).tolist() == [-1, 0, -1, 0]
    assert STD == 2.0
