"""What a reconstruction does with errors and biases from innovations, and how they are named and refused."""

import json
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
import xarray as xr

from skyweave.errors import SkyweaveError
from skyweave.observe.errors import CorrelatedBlock, ErrorCovariance
from skyweave.observe.observation import GridObservation, PointObservation
from skyweave.prior.storage import open_prior
from skyweave.reconstruction.diagnose import diagnose_sources
from skyweave.reconstruction.reconstruct import plan, reconstruct
from skyweave.sources.errors import (
    ErrorEstimates,
)
from skyweave.sources.estimates import SourceEstimates, adjust, estimation
from skyweave.sources.innovations import (
    choose_stretches,
    groups_of,
)
from source_cases import (
    STD,
    case,
    labelled,
    observed_by,
    sources_of,
    white_prior,
    white_truth,
)


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
    from skyweave.sources.innovations import correlated_blocks

    class Rows:
        n = 4

    Rows.R = R
    assert correlated_blocks(Rows).tolist() == [-1, 0, -1, 0]
    assert STD == 2.0
