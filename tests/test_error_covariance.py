"""The estimated background error covariance against priors whose covariance is known."""

import numpy as np
import pytest
import torch

from skyweave.covariance.by_noise_level import ErrorCovarianceModel, estimate_error_covariance
from skyweave.covariance.lags import LagStatistics
from skyweave.covariance.stationary import StationaryCovariance
from skyweave.prior.analytic import DenseGaussianPrior, GaussianPrior, red_spectrum

SHAPE = (1, 1, 16, 16)


def estimated(prior, count=600, levels=(0.1, 0.5, 2.0, 10.0)):
    # Another seed than that of the noise: the same would make states and noise one.
    x = prior.sample(torch.randn(count, *prior.shape, generator=torch.Generator().manual_seed(11)))[:, 0]
    denoise = lambda z, sigma, _: prior(z[:, None], sigma)[:, 0]  # noqa: E731
    return estimate_error_covariance(denoise, [(x, x)], levels=torch.tensor(levels, dtype=torch.float64))


@pytest.mark.parametrize("sigma", [0.1, 0.5, 2.0, 10.0])
def test_estimate_finds_the_covariance_of_a_gaussian_prior(sigma):
    prior = GaussianPrior(red_spectrum(16, 16), SHAPE)
    V = estimated(prior).on((1, 1, 8, 8))(sigma)
    exact = (
        prior.covariance(sigma)
        .dense(torch.arange(256))
        .reshape(16, 16, 16, 16)[:8, :8, :8, :8]
        .reshape(64, 64)
    )
    found = V.dense(torch.arange(64))
    # Lags up to half the patch are used untapered; what is left is the sampling error of 600 fields.
    near = torch.from_numpy(np.abs(np.subtract.outer(np.arange(64) // 8, np.arange(64) // 8)) <= 4)
    near &= torch.from_numpy(np.abs(np.subtract.outer(np.arange(64) % 8, np.arange(64) % 8)) <= 4)
    error = (found - exact)[near].abs().max() / exact.diagonal().mean()
    assert float(error) < 0.08


def test_gaps_do_not_bias_the_lag_covariance():
    prior = GaussianPrior(red_spectrum(16, 16), SHAPE)
    x = prior.sample(torch.randn(800, *SHAPE, generator=torch.Generator().manual_seed(1)))[:, 0]
    whole, gappy = LagStatistics(1, 16, 16), LagStatistics(1, 16, 16)
    whole.add(x)
    gaps = torch.rand(x.shape, generator=torch.Generator().manual_seed(2)) < 0.5
    gappy.add(torch.where(gaps, torch.nan, x))
    a, b = whole.kernel()[0, 0, 0, :6, :6], gappy.kernel()[0, 0, 0, :6, :6]
    assert float((a - b).abs().max()) < 0.02
    assert float((a[0, 0] - 1).abs()) < 0.05


def test_lags_have_the_right_sign_and_channel_order():
    rng = torch.Generator().manual_seed(0)
    white = torch.randn(300, 1, 12, 14, generator=rng)
    # The second channel is the first, moved north by one row and east by two columns.
    pair = torch.cat([white[:, :, 1:-1, 2:-2], white[:, :, :-2, :-4]], 1)
    statistics = LagStatistics(2, 10, 10)
    statistics.add(pair)
    kernel = statistics.kernel()[0]
    # e_1(s) = e_0(s - (1, 2)), so K_10 peaks where the lag is (1, 2).
    assert divmod(int(kernel[1, 0].argmax()), 20) == (1, 2)
    V = StationaryCovariance(torch.fft.rfft2(kernel)[:, :, None], (1, 2, 10, 10), (1, 20, 20))
    dense = V.dense(torch.arange(200)).reshape(2, 10, 10, 2, 10, 10)
    assert float(dense[1, 5, 6, 0, 4, 4]) == pytest.approx(1, abs=0.06)
    assert abs(float(dense[1, 4, 4, 0, 5, 6])) < 0.06


def test_stored_model_is_the_same_model():
    prior = GaussianPrior(red_spectrum(16, 16), SHAPE)
    model = estimated(prior, count=50)
    again = ErrorCovarianceModel.from_tensors(model.to_tensors())
    a, b = (m.on(SHAPE)(0.7).dense(torch.arange(256)) for m in (model, again))
    torch.testing.assert_close(a, b, atol=2e-3, rtol=2e-3)
    assert ErrorCovarianceModel.from_tensors({}) is None


def test_frames_are_independent_where_the_kernel_knows_one():
    model = estimated(GaussianPrior(red_spectrum(16, 16), SHAPE), count=50)
    V = model.on((3, 1, 8, 8))(1.0)
    v = torch.zeros(1, 3, 1, 8, 8)
    v[0, 1, 0, 4, 4] = 1
    out = V @ v
    assert float(out[0, 1].abs().max()) > 0.01
    assert float(out[0, [0, 2]].abs().max()) < 1e-6
    single = model.on((1, 1, 8, 8))(1.0) @ v[:, 1:2]
    torch.testing.assert_close(out[:, 1:2], single, atol=1e-5, rtol=1e-4)


def test_dense_prior_refuses_what_is_no_covariance():
    with pytest.raises(ValueError, match="symmetric"):
        DenseGaussianPrior(torch.triu(torch.ones(4, 4)), (1, 1, 2, 2))
    with pytest.raises(ValueError, match="negative"):
        DenseGaussianPrior(-torch.eye(4), (1, 1, 2, 2))


def test_an_estimate_needs_states():
    with pytest.raises(ValueError, match="validation"):
        estimate_error_covariance(lambda x, s, c: x, [])


@pytest.mark.parametrize("name", ["era5", "aod"])
def test_covariances_that_were_stored_before_still_open(name):
    from importlib.resources import files

    from skyweave.posterior.background import error_covariance
    from skyweave.prior.storage import open_prior

    prior = open_prior(str(files("skyweave") / "data" / f"{name}_prior.safetensors"))
    model = error_covariance(prior)
    frames, *channels = model.kernels.shape[1:4]
    assert channels == [len(prior.spec.variables)] * 2
    assert (frames > 1) == (prior.spec.window > 1)
    assert set(model.to_tensors()) == {k for k in prior.attachments if k.startswith("covariance")}
