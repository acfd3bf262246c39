"""Downscalers: shapes, a frozen encoder, forms of the target, and what a member depends on."""

from dataclasses import dataclass

import pytest
import torch

from skyweave.downscale.models.encoder import ENCODERS, TransferEncoder, pretraining_loss
from skyweave.downscale.models.registry import DOWNSCALERS, build_downscaler
from skyweave.downscale.models.target_form import Channels, TargetForm
from skyweave.downscale.settings import PRESETS, InferenceSection, ModelSection, NetworkSection, merge
from skyweave.errors import SkyweaveError

SMALL = NetworkSection(base=8, multipliers=(1, 2))
FEW = InferenceSection(steps=4, sampler="dpm++2m")


@dataclass
class Sample:
    lags: torch.Tensor
    coarse_lags: torch.Tensor
    driver: torch.Tensor
    static: torch.Tensor
    calendar: torch.Tensor
    target: torch.Tensor


def make_sample(batch=3, fine=1, coarse=1, lags=2, size=(8, 12), seed=0):
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=g)

    return Sample(
        normal(batch, lags, fine, *size),
        normal(batch, lags, coarse, *size),
        normal(batch, coarse, *size),
        normal(batch, 3, *size),
        normal(batch, 6),
        normal(batch, fine, *size),
    )


def make(name, sample, shared=None, network=SMALL, **settings):
    torch.manual_seed(0)
    channels = Channels.of(sample, shared)
    kind = DOWNSCALERS[name].encoder_kind
    encoder = TransferEncoder(kind, channels.lags, channels.fine, network.architecture())
    model = build_downscaler(name, channels, ModelSection(network=network, **settings), encoder)
    model.prepare([(sample, sample.target)])
    return model


def train(model, sample, steps=5):
    optimiser = torch.optim.Adam(model.trainable(), 1e-2)
    generator = torch.Generator().manual_seed(1)
    model.train()
    for _ in range(steps):
        optimiser.zero_grad()
        model.loss(sample, generator).backward()
        optimiser.step()
    return model.eval()


@pytest.mark.parametrize("name", DOWNSCALERS)
@pytest.mark.parametrize(
    ("features", "coarse_lags", "fine", "coarse", "shared"),
    [
        ("transferred", False, 1, 1, (0,)),
        ("transferred", True, 2, 3, (2, 0)),
        ("scratch", False, 1, 2, (1,)),
        ("lags", True, 2, 2, (0, 1)),
        ("none", False, 1, 1, (0,)),
    ],
)
def test_every_model_trains_and_draws(name, features, coarse_lags, fine, coarse, shared):
    sample = make_sample(fine=fine, coarse=coarse)
    model = make(name, sample, shared, features=features, coarse_lags=coarse_lags)
    before = [p.detach().clone() for p in model.trainable()]
    train(model, sample, 3)
    changed = [not torch.equal(a, b) for a, b in zip(before, model.trainable(), strict=True)]
    # Of an encoder trained along, the decoder is not used.
    assert sum(changed) > (0.5 if features == "scratch" else 0.9) * len(changed)
    out = model.predict(sample, members=3, sampling=FEW)
    assert out.shape == (3, 3, fine, 8, 12)
    assert out.isfinite().all()
    apart = (out[:, 0] - out[:, 1]).abs().max()
    assert (apart > 1e-3) == model.generative


@pytest.mark.parametrize("name", DOWNSCALERS)
def test_a_transferred_encoder_is_frozen_bit_for_bit(name):
    sample = make_sample()
    model = make(name, sample)
    before = {k: v.clone() for k, v in model.encoder.state_dict().items()}
    own = {id(p) for p in model.encoder.parameters()}
    assert not own & {id(p) for p in model.trainable()}
    train(model, sample, 4)
    assert not model.train().encoder.training
    assert all(p.grad is None for p in model.encoder.parameters())
    for key, value in model.encoder.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_an_encoder_trained_along_is_not():
    sample = make_sample()
    model = make("unet", sample, features="scratch")
    before = {k: v.clone() for k, v in model.encoder.state_dict().items()}
    train(model, sample)
    assert any(not torch.equal(v, before[k]) for k, v in model.encoder.state_dict().items())


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_untrained_encoder_is_persistence_and_its_features_lie_on_the_fine_grid(kind):
    days = torch.randn(2, 4, 1, 9, 14, generator=torch.Generator().manual_seed(0))
    encoder = TransferEncoder(kind, 4, 1, SMALL.architecture())
    torch.testing.assert_close(encoder(days), days[:, -1])
    features = encoder.features(days)
    assert features.shape == (2, encoder.features_count, 9, 14)
    # Every day of the window counts.
    for day in range(4):
        other = days.clone()
        other[:, day] += 1
        assert (encoder.features(other) - features).abs().max() > 1e-5
    target = days[:, 0].clone()
    target[0, 0, 0, 0] = torch.nan
    assert pretraining_loss(encoder, days, target).isfinite()


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder_learns_what_moves(kind):
    """A pattern that drifts by one cell a day is predicted far better than by persistence."""
    g = torch.Generator().manual_seed(0)
    encoder = TransferEncoder(kind, 2, 1, NetworkSection(base=8, multipliers=(1, 1)).architecture())
    optimiser = torch.optim.Adam(encoder.parameters(), 1e-2)

    def draw():
        white = torch.randn(16, 1, 20, 20, generator=g)
        smooth = torch.nn.functional.avg_pool2d(white, 3, 1, 1) * 3
        days = torch.stack([smooth[..., 2 - d : 18 - d, 2:18] for d in range(3)], 1)
        return days[:, :2], days[:, 2]

    for _ in range(60):
        days, target = draw()
        optimiser.zero_grad()
        pretraining_loss(encoder, days, target).backward()
        optimiser.step()
    days, target = draw()
    error = float((encoder(days) - target).square().mean().detach())
    persistence = float((days[:, -1] - target).square().mean())
    assert error < 0.75 * persistence


def test_a_member_does_not_depend_on_its_batch():
    sample = make_sample(batch=2)
    model = train(make("ddpm", sample), sample)
    together = model.predict(sample, members=4, seed=3, sampling=InferenceSection(steps=4))
    fewer = model.predict(sample, members=2, seed=3, sampling=InferenceSection(steps=4))
    torch.testing.assert_close(together[:, :2], fewer, atol=1e-5, rtol=1e-5)
    other = model.predict(sample, members=2, seed=4, sampling=InferenceSection(steps=4))
    assert (other - fewer).abs().max() > 0.1


def test_the_papers_preset_answers_within_the_range_of_training_values():
    sample = make_sample()
    paper = merge(PRESETS["paper"]["model"], {"network": SMALL.model_dump(), "timesteps": 20})
    for name in DOWNSCALERS:
        model = make(name, sample, **{k: v for k, v in paper.items() if k != "network"})
        train(model, sample, 2)
        out = model.predict(sample, members=2, sampling=InferenceSection(sampler="ddpm", steps=20))
        assert out.min() >= sample.target.min() - 1e-4, name
        assert out.max() <= sample.target.max() + 1e-4, name


def test_departures_from_a_linear_law_vanish():
    sample = make_sample(batch=6, fine=2, coarse=2)
    law = 0.5 * sample.driver - 0.2 * sample.coarse_lags[:, -1] + 0.7 * sample.lags[:, -1].flip(1) + 0.1
    form = TargetForm("departure", 2, 2)
    form.fit([(sample, law)])
    torch.testing.assert_close(form.estimate(sample), law, atol=1e-3, rtol=1e-3)
    noisy = law + 0.3 * sample.target
    form.fit([(sample, noisy)])
    torch.testing.assert_close(form.scale, torch.full((2,), 0.3), atol=0.02, rtol=0)


@pytest.mark.parametrize("kind", ["departure", "standard", "unit"])
def test_forms_of_the_target_invert(kind):
    sample = make_sample(batch=4)
    target = sample.target.clone()
    target[0, 0, 0, 0] = torch.nan
    form = TargetForm(kind, 1, 1)
    form.fit([(sample, target)])
    w = form(target, sample)
    torch.testing.assert_close(form.inverse(w, sample), target, equal_nan=True)
    members = torch.stack([w, w + 1], 1)
    torch.testing.assert_close(form.inverse(members, sample)[:, 0], target, equal_nan=True)
    if kind == "unit":
        assert w[w.isfinite()].min() == 0
        assert w[w.isfinite()].max() == 1


def test_gaps_in_the_target_do_not_count():
    sample = make_sample()
    sample.target[:, :, :3] = torch.nan
    for name in DOWNSCALERS:
        model = make(name, sample)
        loss = model.loss(sample, torch.Generator().manual_seed(0))
        assert loss.isfinite(), name


def test_refusals():
    sample = make_sample()
    channels = Channels.of(sample)
    with pytest.raises(SkyweaveError, match="pretrain one"):
        build_downscaler("ddpm", channels, ModelSection(network=SMALL))
    other = TransferEncoder("unet", 5, 1, SMALL.architecture())
    with pytest.raises(SkyweaveError, match="takes 5 days of 1 variables, the samples have 2"):
        build_downscaler("unet", channels, ModelSection(network=SMALL), other)
    with pytest.raises(SkyweaveError, match="did you mean 'unet'"):
        build_downscaler("u-net", channels, ModelSection())
    with pytest.raises(SkyweaveError, match="sigmoid"):
        build_downscaler("ddpm", channels, ModelSection(features="none", output="sigmoid"))
