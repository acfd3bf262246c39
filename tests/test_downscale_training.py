"""Training of one network: resumed is uninterrupted, plateaus, early stopping, the best weights, decay."""

import itertools
import math
import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from skyweave.downscale.settings import TrainingSection
from skyweave.downscale.training import epochs as module_under_test
from skyweave.downscale.training.epochs import train_network
from skyweave.errors import SkyweaveError
from skyweave.learn import run as learn

QUIET = {"tell": lambda text: None}


class Points:
    """Pairs (x, y) of a line with noise."""

    def __init__(self, count, seed, noise=0.1):
        g = torch.Generator().manual_seed(seed)
        self.x = torch.randn(count, 3, generator=g)
        self.y = self.x @ torch.tensor([1.0, -2.0, 0.5]) + noise * torch.randn(count, generator=g)
        self.seen = []

    def __len__(self):
        return len(self.x)

    def batch(self, index):
        self.seen += index.tolist()
        return self.x[index], self.y[index]


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Dropout(0.1), torch.nn.Linear(8, 1)
    )


def loss_of(module):
    def loss(batch, generator):
        x, y = batch
        jitter = 0.05 * torch.randn(x.shape, generator=generator)
        return (module(x + jitter).squeeze(-1) - y).square().mean()

    return loss


def settings(**given):
    return TrainingSection(
        **({"lr": 2e-2, "epochs": 6, "steps_per_epoch": 20, "batch": 16, "warmup": 5} | given)
    )


@pytest.mark.parametrize(("steps", "signalled"), [(20, False), (None, False), (20, True), (None, True)])
def test_interrupted_and_continued_is_uninterrupted(tmp_path, steps, signalled, monkeypatch):
    """Killed it goes on after its last whole epoch; asked to stop it leaves a checkpoint within an epoch."""
    how = settings(steps_per_epoch=steps)
    data = Points(160, 0), Points(40, 1)
    whole = net()
    first = train_network(whole, loss_of(whole), *data, how, checkpoint=tmp_path / "a.safetensors", **QUIET)

    calls = []
    original = module_under_test._Run._step

    def dies(self):
        calls.append(1)
        if len(calls) == 27 and signalled:
            os.kill(os.getpid(), signal.SIGINT)
        elif len(calls) == 27:
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(module_under_test._Run, "_step", dies)
    again = net()
    with pytest.raises(KeyboardInterrupt):
        train_network(again, loss_of(again), *data, how, checkpoint=tmp_path / "b.safetensors", **QUIET)
    fresh = net()
    with torch.no_grad():
        for p in fresh.parameters():
            p.zero_()
    second = train_network(fresh, loss_of(fresh), *data, how, checkpoint=tmp_path / "b.safetensors", **QUIET)
    # Without a signal the steps of the epoch that was cut short are done once more.
    per_epoch = steps or 10
    assert len(calls) == 6 * per_epoch + (0 if signalled else 1 + 26 % per_epoch)
    for a, b in zip(whole.state_dict().values(), fresh.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert [h["validation"] for h in first.history] == [h["validation"] for h in second.history]
    third = train_network(fresh, loss_of(fresh), *data, how, checkpoint=tmp_path / "b.safetensors", **QUIET)
    assert third.step == second.step, "a finished run is not trained again"


def test_a_pass_sees_every_patch_once_in_an_order_of_its_own(tmp_path):
    data = Points(160, 0)
    how = settings(steps_per_epoch=None, epochs=2)
    module = net()
    train_network(
        module, loss_of(module), data, Points(20, 1), how, checkpoint=tmp_path / "c.safetensors", **QUIET
    )
    one, two = data.seen[:160], data.seen[160:]
    assert sorted(one) == sorted(two) == list(range(160))
    assert one != two


def test_plateaus_lower_the_rate_and_then_end_the_run(tmp_path):
    """Nothing can be learnt, so the first epoch stays the best, and its weights are kept."""
    module = torch.nn.Linear(3, 1)
    scores = iter([1.0, *np.linspace(1.1, 2, 50)])

    def loss(batch, generator):
        if module.training:
            return (module(batch[0]) * 0 + module.weight.sum()).mean()
        return torch.tensor(next(scores))

    how = settings(
        plateau=2, patience=5, epochs=40, anneal=False, warmup=0, ema_half_life=None, validation_patches=8
    )
    done = train_network(
        module, loss, Points(64, 0), Points(8, 1), how, checkpoint=tmp_path / "c.safetensors", **QUIET
    )
    assert done.best_epoch == 1
    assert done.epoch == 6
    assert "no improvement" in done.ended
    rates = [h["rate"] for h in done.history]
    assert rates == pytest.approx([2e-2] * 3 + [1e-2] * 2 + [5e-3])
    before = module.weight.detach().clone()
    fresh = torch.nn.Linear(3, 1)
    train_network(
        fresh, loss, Points(64, 0), Points(8, 1), how, checkpoint=tmp_path / "c.safetensors", **QUIET
    )
    assert torch.equal(before, fresh.weight)


def test_it_learns_and_stops_when_time_is_up(tmp_path, monkeypatch):
    # A clock that moves a fortieth of a second whenever it is read: the machine's speed has no say.
    ticks = itertools.count()
    monkeypatch.setattr(learn, "time", SimpleNamespace(monotonic=lambda: next(ticks) / 40))
    module = net()
    how = settings(epochs=100_000, max_minutes=15 / 60, patience=100_000)
    done = train_network(
        module,
        loss_of(module),
        Points(400, 0),
        Points(100, 1),
        how,
        checkpoint=tmp_path / "c.safetensors",
        **QUIET,
    )
    assert done.ended == "time is up"
    assert 15 <= done.elapsed < 16
    assert done.best_score < 0.3 * done.history[0]["validation"]


def test_decay_is_that_of_the_sum_of_squares_and_of_trainable_parameters_only(tmp_path):
    """With no data term Adam's first step has the sign of the weights; a frozen one stays."""
    module = torch.nn.Linear(3, 2)
    module.bias.requires_grad_(False)
    before = module.weight.detach().clone(), module.bias.detach().clone()
    how = settings(
        epochs=1, steps_per_epoch=1, weight_decay=0.5, anneal=False, warmup=0, ema_half_life=None, clip=None
    )

    def loss(batch, generator):
        return 0 * module.weight.sum() + 0 * module.bias.sum()

    train_network(
        module, loss, Points(16, 0), Points(4, 1), how, checkpoint=tmp_path / "c.safetensors", **QUIET
    )
    torch.testing.assert_close(module.weight.detach(), before[0] - 2e-2 * before[0].sign(), atol=1e-5, rtol=0)
    assert torch.equal(module.bias, before[1])


def test_the_rate_anneals_to_nothing(tmp_path):
    module = net()
    done = train_network(
        module, loss_of(module), Points(64, 0), Points(16, 1), settings(), checkpoint=tmp_path / "c", **QUIET
    )
    rates = [h["rate"] for h in done.history]
    expected = 2e-2 * 0.5 * (1 + math.cos(math.pi * 119 / 120))
    assert rates[-1] == pytest.approx(expected, rel=1e-6)
    assert rates == sorted(rates, reverse=True)


def test_refusals(tmp_path):
    module = net()
    path = tmp_path / "c.safetensors"
    data = Points(64, 0), Points(16, 1)
    with pytest.raises(SkyweaveError, match="no train-validation patches"):
        train_network(
            module, loss_of(module), Points(9, 0), Points(0, 0), settings(), checkpoint=path, **QUIET
        )
    train_network(
        module, loss_of(module), *data, settings(epochs=1), checkpoint=path, made_with={"a": 1}, **QUIET
    )
    with pytest.raises(SkyweaveError, match=r"other settings or data \(a 1, now 2\)"):
        train_network(
            module, loss_of(module), *data, settings(epochs=1), checkpoint=path, made_with={"a": 2}, **QUIET
        )
    if not torch.cuda.is_available():
        with pytest.raises(SkyweaveError, match="no CUDA device"):
            train_network(
                module, loss_of(module), *data, settings(device="cuda"), checkpoint=tmp_path / "e", **QUIET
            )
    with pytest.raises(SkyweaveError, match="the loss is nan at step 0"):
        train_network(
            module, lambda b, g: module(b[0]).mean() * torch.nan, *data, settings(),
            checkpoint=tmp_path / "d.safetensors", **QUIET,
        )  # fmt: skip
