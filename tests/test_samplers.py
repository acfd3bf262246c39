"""Samplers against the closed form of what they do to Gaussian modes."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from skyweave.diffusion.cosine_schedule import CosineSchedule
from skyweave.diffusion.noise import NoiseStream
from skyweave.diffusion.samplers import DDIM, Ancestral, Heun
from skyweave.diffusion.schedule import NoiseSchedule
from skyweave.observe.errors import ErrorCovariance
from skyweave.observe.operator import StateOperator
from skyweave.observe.segment import Observations
from skyweave.posterior.daps import DAPS
from skyweave.posterior.problem import Problem
from skyweave.posterior.samplers import SAMPLERS
from skyweave.prior.analytic import GaussianPrior, red_spectrum

WIDE = NoiseSchedule(12, 20.0, 0.01)
LAWS = {
    **{name: (make(), WIDE) for name, make in SAMPLERS.items() if "daps" not in name and name != "heun"},
    "ddim": (DDIM(), WIDE),
    "ddim, eta 0.5": (DDIM(0.5), WIDE),
    "ddim, eta 1": (DDIM(1.0), WIDE),
    "heun": (Heun(), NoiseSchedule(8, 20.0, 0.05, rho=7.0)),
    "heun, churn": (Heun(churn=4.0), NoiseSchedule(8, 20.0, 0.05, rho=7.0)),
    "daps": (SAMPLERS["daps"](), NoiseSchedule(8, 20.0, 0.01)),
    "daps-exact": (SAMPLERS["daps-exact"](), NoiseSchedule(8, 20.0, 0.01)),
}
"""Every sampler, with a schedule at which its laws are tried."""
DETERMINISTIC = ("dpm++2m", "ddim", "heun")
CONVERGENT = [name for name in LAWS if not name.startswith("daps")]


class WhiteModes:
    """Independent Gaussian cells of given variances: their denoiser acts cell by cell."""

    def __init__(self, variance, calls=None):
        self.variance, self.calls, self.shape = variance, calls, tuple(variance.shape[1:])

    def __call__(self, x, sigma):
        if self.calls is not None:
            self.calls.append(float(sigma))
        return self.variance / (self.variance + sigma**2) * x

    def covariance(self, sigma, x_hat=None, x_sigma=None):
        return Independent(self.variance * sigma**2 / (self.variance + sigma**2))


class Independent:
    """A diagonal covariance."""

    def __init__(self, size):
        self.size, self.noise_shape = size, size.shape[1:]

    def color(self, noise):
        return self.size.sqrt() * noise


def run(sampler, denoiser, x, sigmas, noise, progress=None):
    """Unconditional samples: DAPS takes a problem, here one without observations."""
    if not isinstance(sampler, DAPS):
        return sampler(denoiser, x, sigmas, noise, progress)
    shape = tuple(x.shape[1:])
    nothing = StateOperator(sp.csr_array((0, math.prod(shape))), shape)
    observed = Observations(nothing, torch.zeros(0), ErrorCovariance(np.zeros(0)))
    return sampler(Problem(denoiser, observed), x, sigmas, noise, progress)


class Impulses:
    """Noise that is one in a column of its own for each address that is asked for, and zero elsewhere.

    A sampler is linear in its start and its noise where the denoiser is: the squares of what the columns answer add
    up to the variance that white noise would give, whatever address is asked for twice.
    """

    times, columns = (0,), 1024

    def __init__(self):
        self.column = {}

    def around(self, count):
        return self

    def normal(self, step, shape):
        out = torch.zeros(1, 1, *shape, dtype=torch.float64)
        out[..., self.column.setdefault(step, 1 + len(self.column))] = 1  # the first is the start's
        return out


@pytest.mark.parametrize("name", LAWS)
def test_gain_is_what_the_sampler_does(name):
    sampler, schedule = LAWS[name]
    variance = torch.tensor([1e-2, 1.0, 30.0], dtype=torch.float64)
    noise, sigmas = Impulses(), schedule.sigmas()
    cells = variance.repeat_interleave(noise.columns).reshape(1, 1, 1, 3, -1)
    x = torch.zeros_like(cells)
    x[..., 0] = torch.sqrt(variance + sigmas[0] ** 2)
    out = run(sampler, WhiteModes(cells), x, sigmas, noise)
    produced = torch.sqrt(out.reshape(3, -1).square().sum(dim=1) / variance)
    torch.testing.assert_close(produced, sampler.gain(variance, sigmas), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_gain_of_a_deterministic_sampler_is_exact(name):
    sampler, schedule = LAWS[name]
    variance, sigmas = torch.logspace(-3, 2, 40, dtype=torch.float64), schedule.sigmas()
    x = torch.sqrt(variance + sigmas[0] ** 2).reshape(1, 1, 1, 1, -1)
    out = sampler(WhiteModes(variance.reshape(x.shape)), x, sigmas, NoiseStream(0, [0], [0]))
    torch.testing.assert_close(out.ravel().abs() / variance.sqrt(), sampler.gain(variance, sigmas))


@pytest.mark.parametrize("name", LAWS)
def test_evaluations_are_counted_and_told(name):
    sampler, schedule = LAWS[name]
    calls, told = [], []
    counted = WhiteModes(torch.ones(1, 1, 1, 2, 2), calls)
    run(sampler, counted, torch.ones(1, 1, 1, 2, 2), schedule.sigmas(), NoiseStream(0, [0], [0]), told.append)
    assert len(calls) == sampler.evaluations(schedule.steps)
    assert told == list(range(schedule.steps))


@pytest.mark.parametrize("name", LAWS)
def test_a_member_does_not_depend_on_its_batch(name):
    sampler, schedule = LAWS[name]
    denoiser, sigmas = WhiteModes(torch.ones(1, 1, 1, 4, 4)), schedule.sigmas()
    start = float(sigmas[0]) * NoiseStream(2, range(3), [0]).normal(0, (1, 4, 4))
    together = run(sampler, denoiser, start, sigmas, NoiseStream(2, range(3), [0]))
    alone = run(sampler, denoiser, start[1:2], sigmas, NoiseStream(2, [1], [0]))
    assert torch.equal(together[1:2], alone)


@pytest.mark.parametrize("name", CONVERGENT)
def test_more_steps_bring_the_gain_to_one(name):
    sampler = LAWS[name][0]
    variance = torch.logspace(-2, 1, 30, dtype=torch.float64)
    worst = [
        float((sampler.gain(variance, NoiseSchedule(n, 40.0, 0.005).sigmas()) - 1).abs().max())
        for n in (16, 64, 256)
    ]
    assert worst[2] < worst[1] < worst[0]
    assert worst[2] < 0.04


def test_ddim_of_eta_one_is_as_wide_as_ancestral_sampling():
    sigmas = CosineSchedule(1000).descending(25)
    variance = torch.logspace(-2, 1, 7, dtype=torch.float64)
    torch.testing.assert_close(DDIM(1.0).gain(variance, sigmas), Ancestral().gain(variance, sigmas))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_reaches_the_targets_variance_by_the_schedule_of_a_ddpm(eta):
    variance = torch.tensor([0.05, 1.0, 9.0], dtype=torch.float64)
    gain = DDIM(eta).gain(variance, CosineSchedule(1000).descending(1000))
    torch.testing.assert_close(gain, torch.ones_like(gain), rtol=0, atol=0.01)


def test_exact_draws_keep_every_mode_at_any_number_of_steps():
    modes = torch.logspace(-4, 3, 50, dtype=torch.float64)
    for steps in (3, 16):
        gain = SAMPLERS["daps-exact"]().gain(modes, NoiseSchedule(steps, 10.0, 0.01).sigmas())
        torch.testing.assert_close(gain, torch.ones_like(gain), rtol=1e-10, atol=0)


def test_a_width_of_sigma_is_too_wide():
    """Why DAPS as published is over-dispersed: what is left of a large mode after denoising is not ``sigma^2``."""
    modes = torch.logspace(-3, 2, 50, dtype=torch.float64)
    gain = SAMPLERS["daps"]().gain(modes, NoiseSchedule(50, 10.0, 0.01).sigmas())
    assert float(gain.min()) > 0.99
    assert 1.05 < float(gain.max()) < 3


@pytest.mark.parametrize(("name", "steps", "limit"), [("dpm++2m", 16, 0.02), ("dpm++2m-sde", 32, 0.02)])
@pytest.mark.parametrize("size", [32, 64])
def test_spread_of_unconditional_samples_is_right_in_every_mode(name, steps, limit, size):
    """The claim for red spectra: within 2 % of the prior's spread over all modes at 32 evaluations or fewer."""
    modes = red_spectrum(size, size).ravel()
    sigmas = NoiseSchedule(steps, 10.0, 0.01).sigmas()
    assert float((SAMPLERS[name]().gain(modes, sigmas) - 1).abs().max()) < limit


def test_unconditional_samples_have_the_spectrum_of_the_prior():
    spectrum = red_spectrum(32, 32)
    prior = GaussianPrior(spectrum, (1, 1, 32, 32))
    noise = NoiseStream(3, range(400), [0])
    start = prior.covariance(math.inf).color(noise.normal(1, (1, 32, 32))) + 10 * noise.normal(0, (1, 32, 32))
    x = SAMPLERS["dpm++2m"]()(prior, start, NoiseSchedule(32, 10.0, 0.01).sigmas(), noise)
    power = (torch.fft.rfft2(x[:, 0, 0], norm="ortho").abs() ** 2).mean(0)
    ratio = power / spectrum
    assert float((ratio.mean() - 1).abs()) < 0.02
    assert float(ratio.log().std()) < 0.12


def test_noise_depends_on_member_time_and_step_alone():
    everyone = NoiseStream(5, range(6), [10, 20]).normal(3, (2, 4, 4))
    some = NoiseStream(5, [4, 1], [20]).normal(3, (2, 4, 4))
    assert torch.equal(some[0, 0], everyone[4, 1])
    assert torch.equal(some[1, 0], everyone[1, 1])
    other = [NoiseStream(6, [4], [20]).normal(3, (2, 4, 4)), NoiseStream(5, [4], [20]).normal(4, (2, 4, 4))]
    assert all(not torch.allclose(some[0], o[0]) for o in other)


def test_noise_is_white_and_normal():
    n = NoiseStream(0, range(50), range(20)).normal(0, (1, 16, 16)).double()
    assert abs(float(n.mean())) < 0.01
    assert abs(float(n.std()) - 1) < 0.01
    lag = (n[:, :, :, :, 1:] * n[:, :, :, :, :-1]).mean()
    between = (n[1:] * n[:-1]).mean()
    assert abs(float(lag)) < 0.01
    assert abs(float(between)) < 0.01


def test_schedule_has_its_ends_and_karras_spacing():
    s = NoiseSchedule(18, 80.0, 0.002, rho=7.0).sigmas()
    assert float(s[0]) == pytest.approx(80)
    assert float(s[-1]) == pytest.approx(0.002)
    roots = s ** (1 / 7)
    torch.testing.assert_close(roots[:-1] - roots[1:], (roots[0] - roots[-1]).expand(17) / 17)
    geometric = NoiseSchedule(18, 80.0, 0.002).sigmas()
    torch.testing.assert_close(geometric[1:] / geometric[:-1], (geometric[1] / geometric[0]).expand(17))


@pytest.mark.parametrize("bad", [{"steps": 1}, {"sigma_max": 0.001}, {"sigma_min": 0.0}, {"rho": -1.0}])
def test_impossible_schedules_are_refused(bad):
    with pytest.raises(ValueError, match="noise schedule"):
        NoiseSchedule(**bad)
