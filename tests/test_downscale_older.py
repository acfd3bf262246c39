"""What an earlier skyweave wrote still opens, and gives the numbers that it gave: files of tests/data."""

from pathlib import Path

import numpy as np
import pytest
import torch

from skyweave.downscale.data.samples import Sample
from skyweave.downscale.inference import InferenceSection
from skyweave.downscale.settings import TrainingSection
from skyweave.downscale.storage import open_downscaler, open_encoder
from skyweave.downscale.training.epochs import train_network
from skyweave.errors import SkyweaveError

DATA = Path(__file__).parent / "data"
MEMBERS = {
    "dpm++2m-sde": [1.0946319, 0.0625135, 0.4569319, -0.6997961, -0.277905, 0.6177764, 1.1045871, -0.7469801],
    "ddim": [0.7135089, 0.0218521, 0.8739353, -0.8948451, 0.9642498, -0.0276107, 0.6589025, -0.4154674],
}
WEIGHTS = {
    "older_downscaling_checkpoint": (-0.06656866520643234, 0.03223608434200287, 0.13286462426185608),
    "older_downscaling_checkpoint_without_average": (
        -0.06916030496358871, 0.02944987080991268, 0.13004542887210846,
    ),
}  # fmt: skip


def wave(*shape):
    return torch.from_numpy(np.sin(0.8 * np.arange(np.prod(shape))).reshape(shape).astype(np.float32))


@pytest.mark.parametrize("sampler", MEMBERS)
def test_a_downscaler_gives_the_members_that_it_gave(sampler):
    trained = open_downscaler(DATA / "older_downscaler.safetensors")
    c = trained.model.channels
    days = (1, c.lags, 1, 8, 8)
    sample = Sample(
        wave(*days), wave(*days), wave(1, 1, 8, 8), wave(1, c.static, 8, 8), wave(1, c.calendar), wave(1, 1, 8, 8)
    )  # fmt: skip
    found = trained.model.predict(
        sample, members=2, seed=3, sampling=InferenceSection(steps=4, sampler=sampler)
    )
    np.testing.assert_allclose(found[0, :, 0, ::4, ::4].flatten(), MEMBERS[sampler], atol=2e-5)
    assert trained.fingerprint().startswith("e03648477f5cfd6a")
    assert trained.patch == (8, 8)


def test_an_encoder_predicts_the_day_that_it_predicted():
    encoder, facts = open_encoder(DATA / "older_encoder.safetensors")
    expected = [0.7691261768341064, -0.8287275433540344, 0.9700611233711243, -0.9829256534576416]
    np.testing.assert_allclose(encoder(wave(1, 2, 1, 8, 8))[0, 0, ::4, ::4].flatten(), expected, atol=2e-6)
    assert facts["scores"]["days"] == 7


class Waves:
    """Sines and a linear function of them."""

    def __init__(self, count, phase):
        n = torch.arange(3.0 * count).reshape(count, 3)
        self.x = torch.sin(0.7 * n + phase)
        self.y = self.x @ torch.tensor([1.0, -2.0, 0.5])

    def __len__(self):
        return len(self.x)

    def batch(self, index):
        return self.x[index], self.y[index]


@pytest.mark.parametrize("name", WEIGHTS)
def test_an_interrupted_run_ends_as_it_would_have_ended(name, tmp_path):
    """Written in the third of four epochs of five steps; the weights are those that the earlier one went on to."""
    path = tmp_path / "c.safetensors"
    path.write_bytes((DATA / f"{name}.safetensors").read_bytes())
    average = None if "without" in name else 100
    how = TrainingSection(lr=2e-2, epochs=4, steps_per_epoch=5, batch=16, warmup=5, ema_half_life=average)
    module = torch.nn.Linear(3, 1)
    said = []

    def loss(batch, generator):
        return (module(batch[0]).squeeze(-1) - batch[1]).square().mean()

    def go(made_with):
        return train_network(
            module, loss, Waves(160, 0), Waves(40, 1), how, checkpoint=path, made_with=made_with, tell=said.append
        )  # fmt: skip

    with pytest.raises(SkyweaveError, match=r"other settings or data \(a 1, now 2\)"):
        go({"a": 2})
    done = go({"a": 1})
    assert said[0] == "continuing at step 10"
    np.testing.assert_allclose(module.weight.detach()[0], WEIGHTS[name], rtol=1e-6)
    assert (done.step, done.epoch, done.best_epoch, len(done.history)) == (20, 4, 4, 4)
    assert go({"a": 1}).step == 20, "a finished run is not trained again"
