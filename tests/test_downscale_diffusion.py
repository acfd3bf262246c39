"""The diffusion downscaler against what is known exactly: its schedule, its samplers, a Gaussian world."""

import math

import pytest
import torch

from skyweave.diffusion.cosine_schedule import CosineSchedule
from skyweave.diffusion.samplers import Ancestral
from skyweave.downscale.models.ddpm import SAMPLERS
from skyweave.downscale.models.registry import build_downscaler
from skyweave.downscale.models.target_form import Channels
from skyweave.downscale.settings import InferenceSection, ModelSection, NetworkSection
from skyweave.errors import SkyweaveError
from test_downscale_models import Sample


def test_the_schedule_is_nichols_and_dhariwals():
    T, s = 1000, 0.008
    schedule = CosineSchedule(T, s)

    def f(t):
        return math.cos((t / T + s) / (1 + s) * math.pi / 2) ** 2

    betas = [min(1 - f(t) / f(t - 1), 0.999) for t in range(1, T + 1)]
    torch.testing.assert_close(schedule.betas(), torch.tensor(betas, dtype=torch.float64), rtol=0, atol=1e-14)
    bars = [f(t) / f(0) for t in range(1, T)]  # only the last beta is clipped
    torch.testing.assert_close(
        schedule.alpha_bars()[:-1], torch.tensor(bars, dtype=torch.float64), rtol=1e-9, atol=0
    )
    assert schedule.betas()[-1] == 0.999
    sigma = schedule.sigmas()
    torch.testing.assert_close(1 / (1 + sigma**2), schedule.alpha_bars(), rtol=1e-9, atol=0)
    assert (sigma.diff() > 0).all()
    torch.testing.assert_close(schedule.descending(T), sigma.flip(0))
    few = schedule.descending(10)
    assert (few[0], few[-1]) == (sigma[-1], sigma[0])
    assert (few.diff() < 0).all()


def test_the_ancestral_step_is_the_ddpms():
    """Its mean and variance in x_t are those of q(x_{t-1} | x_t, x_0), Ho et al. 2020, Eq. 6 and 7."""
    schedule = CosineSchedule(50)
    beta, bar = schedule.betas(), schedule.alpha_bars()
    sigma = schedule.descending(50)
    x0, n = torch.tensor(0.3, dtype=torch.float64), torch.tensor(-0.8, dtype=torch.float64)
    for i in (0, 10, 30, 48):
        t = 49 - i
        x_t = bar[t].sqrt() * x0 + (1 - bar[t]).sqrt() * n
        mean = (
            bar[t - 1].sqrt() * beta[t] / (1 - bar[t]) * x0
            + (1 - beta[t]).sqrt() * (1 - bar[t - 1]) / (1 - bar[t]) * x_t
        )
        variance = (1 - bar[t - 1]) / (1 - bar[t]) * beta[t]
        fresh = torch.tensor([-1.0, 1.0], dtype=torch.float64)

        class Noise:
            def normal(self, step, shape, fresh=fresh):
                return fresh.reshape(2, 1)

        start = (x0 + sigma[i] * n).expand(2, 1)
        states: list[torch.Tensor] = []

        def denoiser(x, level, states=states):
            states.append(x)
            return torch.full_like(x, 0.3)

        Ancestral()(denoiser, start, sigma[i : i + 2], Noise())
        ours = bar[t - 1].sqrt() * states[1].flatten()
        torch.testing.assert_close(ours.mean(), mean, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(((ours[1] - ours[0]) / 2) ** 2, variance, rtol=1e-9, atol=1e-12)


def world(batch, size, g):
    """y_{t+1} = 0.6 x_{t+1} + 0.3 y_t + 0.5 n: everything Gaussian, the noise smooth in space."""

    def smooth(*shape):
        white = torch.randn(*shape, size + 2, size + 2, generator=g)
        return torch.nn.functional.avg_pool2d(white.flatten(0, -3), 3, 1).reshape(*shape, size, size) * 3

    lags, driver = smooth(batch, 2, 1), smooth(batch, 1)
    mean = 0.6 * driver + 0.3 * lags[:, -1]
    flat = torch.zeros(batch, 1, size, size)
    return Sample(
        lags,
        torch.zeros_like(lags),
        driver,
        flat,
        torch.zeros(batch, 1),
        mean + 0.5 * smooth(batch, 1),
    ), mean


@pytest.mark.parametrize(
    ("formulation", "target", "spread", "base", "steps", "batch", "rate"),
    # A clean image predicted without preconditioning learns its smallest noise levels last.
    [("edm", "standard", 0.1, 16, 150, 16, 1e-2), ("ddpm", "departure", 0.4, 8, 250, 32, 2e-2)],
    ids=["edm", "ddpm"],
)
def test_a_gaussian_world_is_learnt_to_its_mean_and_spread(
    formulation, target, spread, base, steps, batch, rate
):
    g = torch.Generator().manual_seed(0)
    sample, _ = world(64, 8, g)
    torch.manual_seed(0)
    config = ModelSection(
        network=NetworkSection(base=base, multipliers=(1,)),
        features="lags",
        target=target,
        formulation=formulation,
    )
    model = build_downscaler("ddpm", Channels.of(sample), config)
    model.prepare([(sample, sample.target)])
    optimiser = torch.optim.Adam(model.trainable(), rate)
    for step in range(steps):
        sample, _ = world(batch, 8, g)
        for group in optimiser.param_groups:
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimiser.zero_grad()
        model.loss(sample, g).backward()
        optimiser.step()
    model.eval()
    sample, mean = world(6, 8, g)
    out = model.predict(sample, members=40, sampling=InferenceSection(steps=16))
    error = (out.mean(1) - mean).square().mean().sqrt()
    # The mean of 40 members is itself off by 0.5 / sqrt(40) = 0.08.
    assert error < 0.2
    assert float(out.var(1).mean().sqrt()) == pytest.approx(0.5, rel=spread)


def test_fewer_steps_of_the_same_network_and_refusals():
    sample, _ = world(2, 8, torch.Generator().manual_seed(0))
    config = ModelSection(
        network=NetworkSection(base=8, multipliers=(1,)), features="none", formulation="ddpm"
    )
    model = build_downscaler("ddpm", Channels.of(sample), config)
    for name in SAMPLERS:
        calls = []
        handle = model.denoiser.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        out = model.predict(sample, sampling=InferenceSection(sampler=name, steps=9))
        handle.remove()
        assert out.isfinite().all()
        assert len(calls) <= 9
    with pytest.raises(SkyweaveError, match="schedule of 1000"):
        model.predict(sample, sampling=InferenceSection(sampler="ddim", steps=1001))
