"""Calibration after training: what is stored, and that validation data alone decide it."""

import numpy as np
import pytest
import torch

from prior_cases import white_network
from skyweave.covariance.by_noise_level import ErrorCovarianceModel
from skyweave.errors import SkyweaveError
from skyweave.posterior.calibration import calibrate, recalibrate_members, stored_factor
from skyweave.prior.storage import LearntPrior, open_prior, save_prior
from skyweave.state import StateSpec, Variable
from skyweave.transform import Standardise, StateTransform


class WhitePatches:
    """White noise in place of validation data: the untrained network is its exact denoiser."""

    whole_circle = False

    def batch(self, index):
        generator = torch.Generator().manual_seed(100 + index)

        class Batch:
            fields = torch.randn(8, 1, 16, 16, generator=generator)
            conditioning = torch.zeros(8, 0, 16, 16)

        return Batch


@pytest.fixture(scope="module")
def calibrated():
    spec = StateSpec((Variable("a", "K"),), resolution=(1.0, 1.0))
    network = white_network(1)
    prior = LearntPrior(spec, StateTransform((Standardise(0.0, 1.0),)), (16, 16), network)
    return calibrate(prior, WhitePatches(), batches=6, max_lag=4, cases=6, members=24)


def test_the_covariance_of_white_noise_is_white(calibrated):
    model = ErrorCovarianceModel.from_tensors(calibrated.attachments)
    for sigma in (0.05, 1.0, 30.0):
        V = model.on((1, 1, 12, 12))(sigma)
        dense = V.dense(torch.arange(144)) / (sigma**2 / (1 + sigma**2))
        assert float(dense.diagonal().mean()) == pytest.approx(1, abs=0.05)
        assert float((dense - torch.diag(dense.diagonal())).abs().mean()) < 0.05


def test_an_exact_prior_is_found_calibrated(calibrated):
    scores = calibrated.metadata["calibration"]
    assert set(scores["kinds"]) == {"mask", "means", "points"}
    for kind in scores["kinds"].values():
        assert kind["spread_skill_ratio"] == pytest.approx(1, abs=0.12)
        assert kind["coverage_90"] == pytest.approx(0.9, abs=0.06)
    assert stored_factor(calibrated) == pytest.approx(1, abs=0.1)


def test_it_survives_storage(calibrated, tmp_path):
    save_prior(calibrated, tmp_path / "p.safetensors")
    again = open_prior(tmp_path / "p.safetensors")
    assert stored_factor(again) == stored_factor(calibrated)
    for name, tensor in calibrated.attachments.items():
        assert torch.equal(again.attachments[name], tensor)


def test_recalibration_keeps_the_mean_and_scales_the_spread():
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 2, 1, 3, 3)))
    y = recalibrate_members(x, 1.7)
    torch.testing.assert_close(y.mean(0), x.mean(0))
    torch.testing.assert_close(y.std(0), 1.7 * x.std(0))


def test_a_prior_without_it_says_so(calibrated):
    bare = LearntPrior(calibrated.spec, calibrated.transform, (16, 16), calibrated.network)
    with pytest.raises(SkyweaveError, match="calibrate"):
        stored_factor(bare)
