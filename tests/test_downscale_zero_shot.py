"""The record that cannot drift: a law between the records, and a posterior for each day by itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

import downscale_files as case
from skyweave.covariance.by_noise_level import ErrorCovarianceModel, default_levels
from skyweave.downscale.coarse_law import coarse_observations, fit_coarse_law
from skyweave.downscale.data.opening import pair_records
from skyweave.downscale.zero_shot import prior_settings, reconstruct_days, train_prior
from skyweave.errors import SkyweaveError
from skyweave.prior.presets import find_preset
from skyweave.prior.storage import LearntPrior, build_network
from skyweave.reconstruction.settings import Settings
from skyweave.state import StateSpec, Variable
from skyweave.transform import Log10Standardise, Standardise, StateTransform

ERROR, BIAS = 0.1, 0.8  # of the records in downscale_files, natural logarithm and factor


@pytest.fixture(scope="module")
def record():
    """The coarse record is the geometric mean of cells, times a bias and an error."""
    coarse, fine, truth = case.records()
    logs = block_means(np.log(truth.dust.values))
    errors = ERROR * np.random.default_rng(1).normal(size=logs.shape)
    i, j = (slice(case.MARGIN // case.FACTOR, case.MARGIN // case.FACTOR + n) for n in logs.shape[1:])
    coarse.dust[:, i, j] = BIAS * np.exp(logs + errors)
    return pair_records(coarse, fine, step="native")


def block_means(fields):
    """Means over the cells of the coarse record, ``(..., 3, 4)``."""
    return fields.reshape(*fields.shape[:-2], 3, 4, 4, 4).mean((-3, -1))


def test_the_law_between_the_records_is_found(record):
    law = fit_coarse_law(record, np.arange(60))
    assert law.logarithmic
    assert law.slope == pytest.approx(1, abs=0.03)
    assert law.error * np.log(10) == pytest.approx(ERROR, rel=0.1)
    assert law.error_model().absolute == pytest.approx(law.error / law.slope)
    inside = law.cells
    assert inside.sum() == (case.FINE[0] // case.FACTOR) * (case.FINE[1] // case.FACTOR)
    np.testing.assert_allclose(law.offset[inside] - law.slope, np.log10(BIAS) - 1, atol=0.03)
    assert law.correlation_length_km is None or law.correlation_length_km < 40, "errors were drawn apart"
    # Days that it was not fitted on: expected means, without bias and with the stated error.
    expected = law.mean(record.coarse.read(np.arange(60, 70))[:, 0].astype(float))
    means = block_means(np.log10(record.fine.read(np.arange(60, 70))[:, 0]))
    left = np.log(10) * (expected[:, inside].reshape(means.shape) - means)
    assert abs(left.mean()) < 3 * ERROR / np.sqrt(left.size)
    assert left.std() == pytest.approx(ERROR, rel=0.2)


def test_the_coarse_days_become_observations(record):
    law = fit_coarse_law(record, np.arange(60))
    (source,) = coarse_observations(record, np.array([75, 80]), [law])
    assert source.operator == "mean"
    assert source.data.dims == ("time", "lat", "lon")
    assert source.data.attrs["units"] == "1"
    assert int(source.data.notnull().sum()) == 2 * law.cells.sum()
    np.testing.assert_array_equal(source.data.time, record.days[[75, 80]])


@pytest.fixture(scope="module")
def white():
    """A prior whose cells are independent: the last layer of an untrained network is zero."""
    network = build_network(1, 0, find_preset("tiny").architecture, 1.0).eval().requires_grad_(False)
    levels = default_levels()
    kernels = torch.zeros(len(levels), 1, 1, 8, 8)
    kernels[:, 0, 0, 0, 0] = 1
    return LearntPrior(
        StateSpec((Variable("dust", "1"),), resolution=(0.25, 0.25)),
        StateTransform((Log10Standardise(-1.0, 0.3, 1e-4),)),
        (8, 8),
        network,
        attachments=ErrorCovarianceModel(levels, kernels).to_tensors(),
    )


def test_days_are_independent_posteriors_given_their_coarse_fields(record, white):
    law = fit_coarse_law(record, np.arange(60))
    days = np.array([72, 73, 89])
    how = Settings(members=8, steps=16)
    out = reconstruct_days(white, record, days, [law], how, progress=False)
    assert out.dust.dims == ("member", "time", "lat", "lon")
    np.testing.assert_array_equal(out.time, record.days[days])
    means = block_means(np.log10(out.dust.values)).mean(0)
    expected = law.mean(record.coarse.read(days)[:, 0].astype(float))[:, law.cells].reshape(means.shape)
    # Independent cells: of their mean the coarse value, with its error, leaves this share of the departure.
    gain = (0.3**2 / 16) / (0.3**2 / 16 + (law.error / law.slope) ** 2)
    exact = -1 + gain * (expected + 1)
    assert np.sqrt(((means - exact) ** 2).mean()) < 0.25 * np.sqrt(((expected + 1) ** 2).mean())
    np.testing.assert_allclose(out.dust_mean, out.dust.mean("member"), rtol=1e-5)
    np.testing.assert_allclose(out.dust_spread, out.dust.std("member", ddof=1), rtol=1e-4)
    assert (out.dust > 0).all()
    assert not [name for name in out if "log10" in str(name)]
    alone = reconstruct_days(white, record, days[2:], [law], how, progress=False)
    np.testing.assert_allclose(alone.dust[:, 0], out.dust[:, 2], rtol=2e-2)


@pytest.mark.slow
def test_a_prior_trained_on_fine_days_follows_the_coarse_record(record, tmp_path):
    config = case.config(tmp_path)
    settings = prior_settings(
        config, record, np.arange(50), np.arange(50, 62), tmp_path / "prior",
        {
            "steps": 80, "batch": 8, "patch": 8, "validate_every": 40, "validation_patches": 8,
            "network": {"preset": "tiny", "base": 8, "multipliers": [1, 1], "norm": "cell"},
            "checkpoint_every": 1000, "ema_half_life": 20,
        },
    )  # fmt: skip
    file = xr.open_dataset(settings.data.paths[0])
    assert file.sizes["time"] == 62
    assert file.time.values.max() < record.days[62], "the prior sees no test day"
    prior = train_prior(settings)
    law = fit_coarse_law(record, np.arange(50))
    days = np.array([72, 73, 89])
    how = Settings(members=4, steps=8)
    out = reconstruct_days(prior, record, days, [law], how, progress=False)
    means = block_means(np.log10(out.dust.values)).mean(0)
    expected = law.mean(record.coarse.read(days)[:, 0].astype(float))[:, law.cells].reshape(means.shape)
    spread = block_means(np.log10(record.fine.read(np.arange(50))[:, 0])).std()
    assert np.sqrt(((means - expected) ** 2).mean()) < 0.6 * spread
    store = reconstruct_days(prior, record, days, [law], how, progress=False, out=tmp_path / "days.zarr")
    np.testing.assert_allclose(store.dust, out.dust, rtol=1e-4)
    assert sorted(p.name for p in tmp_path.glob("*.zarr")) == ["days.zarr"]
    with pytest.raises(SkyweaveError, match="exists already"):
        reconstruct_days(prior, record, days, [law], out=tmp_path / "days.zarr")


def test_a_prior_without_logarithms_takes_a_law_without_them(record, white):
    plain = replace(white, transform=StateTransform((Standardise(0.1, 0.1),)))
    with pytest.raises(SkyweaveError, match="logarithmic=False"):
        reconstruct_days(plain, record, np.array([72]), [fit_coarse_law(record, np.arange(60))])
    law = fit_coarse_law(record, np.arange(60), logarithmic=False)
    out = reconstruct_days(plain, record, np.array([72]), [law], Settings(members=2, steps=4), progress=False)
    assert out.dust.notnull().all()


def test_refusals(record, tmp_path):
    config = case.config(tmp_path)
    with pytest.raises(SkyweaveError, match="one after the other"):
        prior_settings(config, record, np.arange(50), np.arange(40, 60), tmp_path)
    with pytest.raises(SkyweaveError, match="no training day"):
        fit_coarse_law(record, np.arange(case.OVERLAP + 2, case.OVERLAP + 6))
    coarse, fine, _ = case.records()
    narrow = pair_records(coarse, fine.isel(lat=slice(1, 4)), step="native")
    with pytest.raises(SkyweaveError, match="no coarse cell lies within"):
        fit_coarse_law(narrow, np.arange(50))
