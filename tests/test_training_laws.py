"""Training: a killed run continues as if it had not been, and nothing outside the training period is learnt from."""

import json
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from prior_cases import SMALLEST
from region_cases import in_child
from skyweave.config import parse_config
from skyweave.diffusion.loss import denoising_errors, edm_loss
from skyweave.diffusion.network import UNet
from skyweave.diffusion.precondition import PreconditionedNetwork
from skyweave.errors import SkyweaveError
from skyweave.prior import train as training
from skyweave.prior.config import TrainConfig
from skyweave.prior.presets import find_preset
from skyweave.prior.storage import build_network, open_prior


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    rng = np.random.default_rng(0)
    time = pd.date_range("2020-01-01", periods=40, freq="6h")
    values = rng.normal(size=(40, 24, 36)).cumsum(1).cumsum(2).astype(np.float32) / 10
    lat = ("lat", np.arange(30.0, 54.0), {"units": "degrees_north"})
    lon = ("lon", np.arange(0.0, 36.0), {"units": "degrees_east"})
    array = xr.DataArray(values, {"time": time, "lat": lat, "lon": lon}, ("time", "lat", "lon"), name="a")
    array.attrs["units"] = "K"
    path = tmp_path_factory.mktemp("fields") / "a.nc"
    array.to_netcdf(path)
    return path


def config(fields, out, **changes):
    values = {
        "data": {"paths": str(fields), "variables": "a", "conditioning": ["latitude", "hour"]},
        "split": {"train": ["2020-01-01", "2020-01-07"], "validate": ["2020-01-08", "2020-01-10"]},
        "network": SMALLEST,
        "patch": 16,
        "batch": 4,
        "steps": 7,
        "log_every": 1,
        "checkpoint_every": 3,
        "validate_every": 3,
        "validation_patches": 4,
        "validation_sigmas": [0.2, 2.0],
        "autocast": False,
        "device": "cpu",
        "out": str(out),
    }
    return parse_config(values | changes, TrainConfig)


def losses(out):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line.get("loss"), line.get("validation_mean")) for line in lines]


def test_killed_and_resumed_equals_uninterrupted(fields, tmp_path, monkeypatch):
    whole = training.train(config(fields, tmp_path / "whole"))
    step = training._Run._step

    def dying(self):
        if self.progress.step == 5:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(training._Run, "_step", dying)
    with pytest.raises(KeyboardInterrupt):
        training.train(config(fields, tmp_path / "killed"))
    monkeypatch.setattr(training._Run, "_step", step)
    resumed = training.train(config(fields, tmp_path / "killed"))
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, resumed.network.state_dict()[name]), name


def test_two_processes_share_a_run(fields, tmp_path):
    """As `torchrun` starts them: what it tells each process are these variables."""
    out, store = tmp_path / "two", socket.create_server(("localhost", 0))
    port = store.getsockname()[1]
    store.close()
    shared = {"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0, "TORCHELASTIC_RUN_ID": "one"}
    shared |= {"MASTER_ADDR": "localhost", "MASTER_PORT": port}

    def process(rank):
        own = shared | {"RANK": rank, "LOCAL_RANK": rank}
        os.environ.update({name: str(value) for name, value in own.items()})
        training.train(config(fields, out))
        torch.distributed.destroy_process_group()

    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda rank: in_child(lambda: process(rank)), range(2)))
    assert ended == [(0, "")] * 2
    # One process speaks for both, and the loss is the mean of theirs: not that of either alone.
    assert [step for step, loss, _ in losses(out) if loss is not None] == list(range(1, 8))
    training.train(config(fields, tmp_path / "one"))
    assert losses(out)[0][1] != losses(tmp_path / "one")[0][1]
    assert open_prior(out / "prior.safetensors").spec.names == ("a",)


def test_a_run_of_other_settings_is_not_continued(fields, tmp_path):
    training.train(config(fields, tmp_path / "run", steps=2))
    with pytest.raises(SkyweaveError, match="other settings"):
        training.train(config(fields, tmp_path / "run", steps=2, batch=2))


def test_nothing_outside_the_training_period_is_learnt_from(fields, tmp_path):
    ds = xr.load_dataset(fields)
    ds.a[dict(time=slice(28, None))] = 1e3
    ds.to_netcdf(tmp_path / "changed.nc")
    first = training.train(config(fields, tmp_path / "one", steps=3))
    second = training.train(config(tmp_path / "changed.nc", tmp_path / "two", steps=3))
    assert first.transform == second.transform
    for name, tensor in first.network.state_dict().items():
        assert torch.equal(tensor, second.network.state_dict()[name]), name


def test_the_loss_falls_and_the_stored_prior_is_the_trained_one(fields, tmp_path):
    prior = training.train(
        config(
            fields,
            tmp_path / "run",
            steps=80,
            batch=8,
            network={"preset": "tiny", "base": 8, "multipliers": [1, 1]},
            validation_sigmas=(0.05, 0.2, 1.0, 5.0),
            validate_every=40,
            checkpoint_every=80,
            ema_half_life=5,
            optimiser={"lr": 5e-3, "warmup": 5},
        )
    )
    # On fixed patches and noise; an untrained network has a loss of one at every level of unit-variance data.
    found = [v for _, _, v in losses(tmp_path / "run") if v is not None]
    assert found[-1] < min(0.75, found[0])
    again = open_prior(tmp_path / "run" / "prior.safetensors")
    x = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    c = torch.zeros(2, prior.conditioning.count, 16, 16)
    sigma = torch.tensor([0.3, 3.0])
    assert torch.equal(prior.network(x, sigma, c), again.network(x, sigma, c))
    assert again.spec == prior.spec
    assert again.fingerprint() == prior.fingerprint()


def test_missing_targets_have_no_say():
    network = build_network(1, 0, find_preset("tiny").architecture, 1.0)
    for p in network.parameters():
        torch.nn.init.normal_(p, std=0.1)
    x = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    gappy = x.clone()
    gappy[:, :, 4:9, 4:9] = torch.nan
    sigma, noise = torch.tensor([0.5, 2.0]), torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    empty = torch.zeros(2, 0, 16, 16)
    answers = []
    network.register_forward_hook(lambda module, given, answer: answers.append(answer))
    loss = edm_loss(denoising_errors(network, gappy, sigma, noise, empty, sigma_data=1.0), gappy)
    slope = torch.autograd.grad(loss, answers[0], retain_graph=True)[0]
    assert torch.equal(slope != 0, ~torch.isnan(gappy))
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_an_untrained_network_is_the_denoiser_of_white_noise():
    network = build_network(2, 1, find_preset("small").architecture, 1.0)
    x, sigma = torch.randn(3, 2, 20, 28), torch.tensor([0.1, 1.0, 10.0])
    expected = x / (1 + sigma[:, None, None, None] ** 2)
    torch.testing.assert_close(network(x, sigma, torch.zeros(3, 1, 20, 28)), expected)


def test_longitude_wraps_only_where_asked():
    torch.manual_seed(0)
    net = UNet(1, 1, find_preset("tiny").architecture)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.1)
    network = PreconditionedNetwork(net, 1.0).eval()
    x, sigma = torch.randn(1, 1, 16, 32), torch.tensor([1.0])
    empty = torch.zeros(1, 0, 16, 32)
    shift = 8  # a multiple of the coarsest level's stride
    rolled = network(x.roll(shift, -1), sigma, empty, periodic=True)
    torch.testing.assert_close(
        rolled, network(x, sigma, empty, periodic=True).roll(shift, -1), atol=1e-4, rtol=1e-4
    )
    plain = network(x.roll(shift, -1), sigma, empty, periodic=False)
    assert not torch.allclose(plain, network(x, sigma, empty, periodic=False).roll(shift, -1), atol=1e-3)


def test_the_multimodal_preset_is_the_papers():
    preset = find_preset("multimodal")
    a = preset.architecture
    assert (a.base, a.multipliers, a.blocks, a.dropout) == (64, (1, 2, 4, 8, 16), 4, 0.1)
    assert [(128 // 2**k, 256 // 2**k) for k in a.attention] == [(32, 64), (16, 32), (8, 16)]
    assert (preset.p_mean, preset.p_std, preset.sigma_data) == (-0.5, 1.5, 1.0)
    with torch.device("meta"):
        net = UNet(13, 13, a)
    assert sum(p.numel() for p in net.parameters()) > 3e8


@pytest.mark.parametrize("shape", [(16, 16), (17, 23), (5, 40)])
def test_any_size_goes_through_the_network(shape):
    network = build_network(1, 0, find_preset("tiny").architecture, 1.0)
    out = network(torch.randn(1, 1, *shape), torch.tensor([1.0]), torch.zeros(1, 0, *shape))
    assert out.shape == (1, 1, *shape)


def test_an_interrupted_run_keeps_what_it_has_done(fields, tmp_path, monkeypatch):
    step = training._Run._step

    def interrupted(self):
        if self.progress.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self)

    monkeypatch.setattr(training._Run, "_step", interrupted)
    settings = config(fields, tmp_path / "stopped", checkpoint_every=1000)
    with pytest.raises(KeyboardInterrupt):
        training.train(settings)
    monkeypatch.setattr(training._Run, "_step", step)
    assert [s for s, loss, _ in losses(tmp_path / "stopped") if loss is not None] == [1, 2, 3, 4, 5]
    training.train(settings)
    training.train(config(fields, tmp_path / "whole", checkpoint_every=1000))
    assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")


def test_time_that_runs_out_while_validating_ends_with_what_was_learnt(fields, tmp_path, monkeypatch):
    scores = training._Run._scores

    def slow(self):
        self.started -= 3600
        return scores(self)

    monkeypatch.setattr(training._Run, "_scores", slow)
    settings = config(fields, tmp_path / "out", max_minutes=30, checkpoint_every=1000, validate_every=2)
    made = training.train(settings)
    steps = made.metadata["steps"]
    assert 0 < steps < settings.steps
    assert open_prior(tmp_path / "out" / "prior.safetensors").metadata["steps"] == steps
    assert training.train(settings).metadata["steps"] == steps


def test_threads_of_a_run_are_given_back(fields, tmp_path, monkeypatch):
    before, inside = torch.get_num_threads(), []

    def dying(self):
        inside.append(torch.get_num_threads())
        raise KeyboardInterrupt

    monkeypatch.setattr(training._Run, "_step", dying)
    with pytest.raises(KeyboardInterrupt):
        training.train(config(fields, tmp_path / "run", threads=before + 1))
    assert (inside, torch.get_num_threads()) == ([before + 1], before)
