"""Precomputed forecasts by lead time: exact in a linear world, worthless where they have no skill, never harmful."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from safetensors.torch import load, save

from skyweave.covariance.stationary import StationaryCovariance
from skyweave.cycle.climate import Climate
from skyweave.cycle.ensemble import ensemble_covariance
from skyweave.cycle.forecast import GaussianForecast, aggregated, as_source
from skyweave.cycle.fused import FusedObserved, FusedSolver
from skyweave.cycle.fusion import Fusion
from skyweave.cycle.lead_time import LeadTimeSkill
from skyweave.diffusion.noise import NoiseStream
from skyweave.errors import SkyweaveError
from skyweave.posterior.kalman import KalmanSolver
from skyweave.posterior.sample import Method, sample_posterior
from skyweave.prior.analytic import GaussianPrior, red_spectrum
from skyweave.transform import Standardise, StateTransform
from test_cycle import CELLS, CLIMATE, PRIOR, SHAPE, SPECTRUM, N, Stations, stationary

LEADS = (1, 2, 4, 8, 16, 40)
START = 0.05
"""Error variance of the forecast's first state, in units of the climate's."""

WAVENUMBER = torch.hypot(
    torch.fft.fftfreq(N, d=1 / N)[:, None].expand(N, N // 2 + 1), torch.fft.rfftfreq(N, d=1 / N)[None]
)
MEMORY = torch.exp(-(0.03 + 0.02 * WAVENUMBER))
"""Of one step: small scales forget first."""

NOISE = stationary(SPECTRUM * (1 - MEMORY.double() ** 2))
ZERO = torch.zeros(1, N, N)


def fusion(skill, frames, leads, **options):
    climate = Climate(prior=lambda k: PRIOR, periodic=(True, True), **options.pop("grids", {}))
    return Fusion(climate=climate, transform=PLAIN, frames=frames, skill=skill, leads=tuple(leads), **options)


def drawn(made, k, seen=None, members=2, steps=32):
    """Members of the posterior of a frame, ``(M, C, H, W)``."""
    seen = None if seen is None or not seen.n else seen
    return sample_posterior(made.problem(k, seen), NoiseStream(0, range(members), [k]), Method(steps=steps))[
        :, 0
    ]


PLAIN = StateTransform((Standardise(0.0, 1.0),))


def by_scale(x, gain):
    return torch.fft.irfft2(torch.fft.rfft2(x) * gain, s=(N, N))


def pairs(count, seed):
    """Forecasts and truths ``(count, L, 1, N, N)``: both go on as one world would, each stirred by itself."""
    generator = torch.Generator().manual_seed(seed)

    def white():
        return torch.randn(count, *SHAPE, generator=generator)

    t = PRIOR.sample(white())
    f = t + math.sqrt(START) * PRIOR.sample(white())
    out = []
    for step in range(1, max(LEADS) + 1):
        t, f = (torch.roll(by_scale(x, MEMORY), 1, -1) + NOISE.color(white()) for x in (t, f))
        if step in LEADS:
            out.append((f[:, 0], t[:, 0]))
    forecasts, truths = zip(*out, strict=True)
    return torch.stack(forecasts, 1), torch.stack(truths, 1)


def exact(lead):
    """Gain and share of the climate's variance that is left, by scale."""
    common = MEMORY ** (2 * LEADS[lead])
    gain = common / (1 + START * common)
    return gain, 1 - common * gain


@pytest.fixture(scope="module")
def skill():
    return LeadTimeSkill.fit(*pairs(200, 0), climate_mean=ZERO, periodic=(True, True), padded=(N, N))


def relative_error(got, want, scale):
    return float(((got - want).square().mean() / scale).sqrt())


@pytest.mark.parametrize("lead", range(len(LEADS)))
def test_source_times_prior_is_the_predictive_distribution(skill, lead):
    forecasts, _ = pairs(40, 1)
    gain, left = exact(lead)
    P = stationary(SPECTRUM * left)
    variance = P.variance().mean()
    for x in forecasts[:3, lead]:
        want = by_scale(x, gain)
        source = skill.source(x, lead, CLIMATE)
        C, F = CLIMATE.dense(CELLS).double(), source.error.dense(CELLS).double()
        K = C @ torch.linalg.inv(C + F)
        got = (K @ source.mean.reshape(-1).double()).reshape(1, N, N).float()
        assert relative_error(got, want, variance) < 0.1
        covariance = C - K @ C
        assert float(covariance.diagonal().mean() / variance) == pytest.approx(1.0, abs=0.04)
        assert float((covariance - P.dense(CELLS)).abs().max() / variance) < 0.06
    # Per scale: 200 hindcasts know a variance to a tenth, and smoothing makes that a twentieth.
    ratio = skill.residual[lead, 0, 0].real / left
    assert float(ratio.log().square().mean().sqrt()) < 0.06
    share = float(1 - (SPECTRUM * left).mean() / SPECTRUM.mean())
    assert float(skill.explained[lead, 0]) == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("lead", range(len(LEADS) - 1))
def test_what_a_learnt_prior_is_given_is_as_strong_as_the_climate(skill, lead):
    forecasts, _ = pairs(40, 1)
    given = torch.stack([skill.source(x, lead, CLIMATE, extrapolate=False).mean for x in forecasts[:, lead]])
    beyond = torch.stack([skill.source(x, lead, CLIMATE).mean for x in forecasts[:, lead]])
    gain, left = exact(lead)
    power = torch.fft.rfft2(given).abs().square().mean((0, 1)).sum()
    climate = torch.fft.rfft2(
        PRIOR.sample(torch.randn(400, *SHAPE, generator=torch.Generator().manual_seed(3)))
    )
    share = float(power / climate.abs().square().mean((0, 1, 2)).sum())
    # Scales of which next to nothing is known are left weak.
    assert 0.85 < share < 1.15 if lead < 3 else share < 1.15
    assert float(beyond.square().mean()) > float(given.square().mean())
    # With the same error; what is lost is that the mean is drawn a little to the climate.
    x = forecasts[0, lead]
    sources = [skill.source(x, lead, CLIMATE, extrapolate=e) for e in (True, False)]
    assert torch.equal(sources[0].error.spectrum, sources[1].error.spectrum)
    want = by_scale(x, gain)
    got = by_scale(sources[1].mean, 1 - left)
    assert (0.5 if lead < 3 else 0.1) < float((got * want).mean() / want.square().mean()) < 1.0


def test_information_fades_with_lead_time(skill):
    x = pairs(1, 2)[0][0]
    told = []
    for lead in range(len(LEADS)):
        F = skill.source(x[lead], lead, CLIMATE).error
        told.append(float((CLIMATE.spectrum / F.spectrum).real.mean()))
    assert all(a > 1.5 * b or b < 0.025 for a, b in pairwise(told))
    assert told[0] > 1
    # The least that is ever said, so that covariances stay finite; see `as_source`.
    assert told[-1] < 0.021
    mean = skill.predictive(x[-1], len(LEADS) - 1, CLIMATE)[0]
    assert float(mean.square().mean()) < 0.02 * float(x[-1].square().mean())


def test_fused_is_never_worse_than_its_sources_while_a_constant_error_is(skill):
    """The paper's failure, and that it is gone: the exact posterior means of 40 forecasts at every lead time."""
    forecasts, truths = pairs(40, 3)
    # As in the paper: the error of the first lead time at all of them.
    first = stationary(SPECTRUM * 2 * (1 - (MEMORY**2)) + START * SPECTRUM * MEMORY**2)
    settings = {"tolerance": 1e-3}
    zero = torch.zeros(1, *SHAPE)
    rmse = {name: [] for name in ("forecast", "observations", "fused", "constant")}
    for lead in range(len(LEADS)):
        errors = {name: [] for name in rmse}
        stations = Stations(truths[:, lead])
        for case, (x, t) in enumerate(zip(forecasts[:, lead], truths[:, lead], strict=True)):
            seen = stations.segment(case, case + 1)
            fused = FusedObserved(skill.source(x, lead, CLIMATE), SHAPE, seen)
            constant = FusedObserved(GaussianForecast(x, first), SHAPE, seen)
            means = {
                "forecast": x,
                "observations": KalmanSolver(seen, **settings).update(zero, CLIMATE)[0, 0],
                "fused": FusedSolver(fused, **settings).update(zero, CLIMATE)[0, 0],
                "constant": FusedSolver(constant, **settings).update(zero, CLIMATE)[0, 0],
            }
            for name, mean in means.items():
                errors[name].append((mean - t).square().mean())
        for name, values in errors.items():
            rmse[name].append(float(torch.stack(values).mean().sqrt()))
    for lead in range(len(LEADS)):
        alone = min(rmse["forecast"][lead], rmse["observations"][lead])
        assert rmse["fused"][lead] <= 1.02 * alone, LEADS[lead]
    # Much better than either where both know something, no more than observations where the forecast knows nothing.
    assert rmse["fused"][1] < 0.9 * min(rmse["forecast"][1], rmse["observations"][1])
    assert rmse["fused"][-1] > 0.98 * rmse["observations"][-1]
    assert rmse["constant"][0] < rmse["observations"][0]
    assert rmse["constant"][-1] > 1.2 * rmse["observations"][-1]


def test_fused_members_are_those_of_the_posterior(skill):
    forecasts, truths = pairs(1, 4)
    stations = Stations(truths[0], empty=(2,))
    leads = (0, 2, 3)
    stations.truth = truths[0, list(leads)]
    made = fusion(skill, forecasts[0, list(leads)], leads, extrapolate=True)
    for k in range(3):
        mean, P = skill.predictive(forecasts[0, leads[k]], leads[k], CLIMATE)
        seen = stations.segment(k, k + 1)
        m, P = mean.reshape(-1).double(), P.dense(CELLS).double()
        H = torch.from_numpy(seen.operator.matrix.toarray())
        K = P @ H.T @ torch.linalg.inv(H @ P @ H.T + seen.R.dense())
        want, variance = m + K @ (seen.y.double() - H @ m), (P - K @ H @ P).diagonal()
        got = drawn(made, k, seen, 300).reshape(300, -1).double()
        assert float((got.mean(0) - want).square().mean() / (variance / 300).mean()) < 2.0
        assert float(got.var(0).mean() / variance.mean()) == pytest.approx(1.0, abs=0.06)


def test_forecasts_on_a_coarser_grid():
    n = N // 2
    block = sp.kron(sp.eye(n), np.full((1, 2), 0.5))
    G = sp.csr_array(sp.kron(block, block))
    forecasts, truths = (x.unflatten(-1, (n, 2)).unflatten(-3, (n, 2)).mean((-3, -1)) for x in pairs(120, 10))
    skill = LeadTimeSkill.fit(forecasts, truths, climate_mean=torch.zeros(()), periodic=(True, True))
    x = forecasts[0, [1]]
    made = fusion(skill, x, [1], grids={"down": G, "coarse": (n, n)}, extrapolate=True)
    mean, P = skill.predictive(x[0], 1, aggregated(CLIMATE, G, (n, n), (n, n)))
    got = drawn(made, 0, members=200).reshape(200, n, 2, n, 2).mean((2, 4))
    variance = P.variance().mean()
    assert relative_error(got.mean(0), mean[0], variance / 200) < 1.5
    assert float(got.var(0).mean() / variance) == pytest.approx(1.0, abs=0.06)


def test_an_ensemble_is_fused_by_its_mean(skill):
    forecasts, truths = pairs(1, 5)
    spread = torch.tensor([-0.5, 0.0, 0.5])[:, None, None, None, None]
    one, many = (fusion(skill, x, range(6)) for x in (forecasts[0], forecasts[0] + spread))
    stations = Stations(truths[0])
    for k in range(6):
        seen = stations.segment(k, k + 1)
        plain, mean = (drawn(made, k, seen, steps=8) for made in (one, many))
        torch.testing.assert_close(plain, mean, atol=1e-4, rtol=0)


def test_displaced_and_biased_forecasts_are_corrected():
    _, truths = pairs(60, 6)
    bias = torch.linspace(-2, 2, N)[:, None].expand(1, N, N)
    forecasts = torch.roll(truths, 2, -1) + bias
    skill = LeadTimeSkill.fit(
        forecasts[:40], truths[:40], climate_mean=ZERO, periodic=(True, True), smoothing=0
    )
    # 40 differences of displaced fields leave an error of a fifth.
    assert float((skill.bias[0] - bias).square().mean().sqrt()) < 0.25
    for x, t in zip(forecasts[40:, 0], truths[40:, 0], strict=True):
        mean = skill.predictive(x, 0, CLIMATE)[0]
        assert float((mean - t).square().mean()) < 0.05 < 0.05 * float((x - t).square().mean())
    assert bool((skill.explained > 0.95).all())
    # A bias that is sampling noise is not removed.
    forecasts, truths = pairs(60, 7)
    found = LeadTimeSkill.fit(forecasts, truths, climate_mean=ZERO, periodic=(True, True)).bias[-1]
    raw = (forecasts - truths)[:, -1].mean(0)
    assert float((found - found.mean()).square().mean()) < 0.2 * float(raw.var())


LARGE, HALF = 48, 24
BOTH = torch.tensor([[1.0, 0.6], [0.6, 1.0]])
WRONG = torch.tensor([[0.3, -0.1], [-0.1, 0.2]])


def coloured(count, mix, seed, domain=HALF):
    """Two variables of covariance ``mix`` on part of a torus."""
    prior = GaussianPrior(red_spectrum(LARGE, LARGE, corner=6.0), (1, 1, LARGE, LARGE))
    white = torch.randn(count * 2, 1, 1, LARGE, LARGE, generator=torch.Generator().manual_seed(seed))
    x = prior.sample(white).reshape(count, 2, LARGE, LARGE)
    x = torch.einsum("cd,ndyx->ncyx", torch.linalg.cholesky(mix), x)
    return x[:, None, :, :domain, :domain]


def test_several_variables_on_an_open_domain():
    truths, errors = coloured(120, BOTH, 0), coloured(120, WRONG, 1)
    torus = (LARGE, LARGE)
    skill = LeadTimeSkill.fit(truths + errors, truths, climate_mean=torch.zeros(()), padded=torus)
    spectrum = torch.einsum("cd,yx->cdyx", BOTH, red_spectrum(LARGE, LARGE, corner=6.0).float())[:, :, None]
    climate = StationaryCovariance(spectrum.to(torch.complex64), (1, 2, HALF, HALF), (1, *torus))
    mean, P = skill.predictive(truths[0, 0] + errors[0, 0], 0, climate)
    gain = torch.diag(1 / (1 + WRONG.diagonal()))
    left = torch.eye(2) - gain
    want = left @ BOTH @ left.T + gain @ WRONG @ gain.T
    got = P.kernel[:, :, 0, 0] * P.scale.mean() ** 2
    torch.testing.assert_close(got, want, atol=0.02, rtol=0.05)
    inner = slice(4, -4)
    error = (mean - truths[0, 0])[:, inner, inner].square().mean((-2, -1))
    assert bool((error < 2 * want.diagonal()).all())
    torch.testing.assert_close(skill.explained[0], 1 - want.diagonal(), atol=0.03, rtol=0)


@pytest.mark.parametrize("local", [False, True])
def test_source_times_prior_is_the_forecast_up_to_open_edges(local):
    spectrum = torch.einsum("cd,yx->cdyx", BOTH, red_spectrum(LARGE, LARGE, corner=6.0).float())[:, :, None]
    climate = StationaryCovariance(spectrum.to(torch.complex64), (1, 2, HALF, HALF), (1, LARGE, LARGE))
    ramp = torch.linspace(0.8, 1.1, HALF)[:, None].expand(1, 1, 2, HALF, HALF)
    P = climate.scaled(ramp if local else None)
    # Large scales are known best.
    k = torch.hypot(
        torch.fft.fftfreq(LARGE, d=1 / LARGE)[:, None].expand(LARGE, LARGE // 2 + 1),
        torch.fft.rfftfreq(LARGE, d=1 / LARGE)[None],
    )
    P = replace(P, spectrum=(0.1 + 0.6 * k / (k + 5)) * P.spectrum, _cache={})
    mean = coloured(1, BOTH, 12)[0, 0] + 1.0
    source = as_source(mean, P, climate, 1.0)
    cells = torch.arange(2 * HALF**2)
    C, F = climate.dense(cells).double(), source.error.dense(cells).double()
    got = C @ torch.linalg.solve(C + F, source.mean.reshape(-1).double() - 1)
    assert relative_error(got.reshape(mean.shape) + 1, mean, P.variance().mean()) < 0.01


def test_an_ensemble_of_the_climate_tells_little_even_where_the_climate_varies():
    spectrum = red_spectrum(LARGE, LARGE, corner=6.0)[None, None, None].float()
    climate = StationaryCovariance(spectrum, (1, 1, HALF, HALF), (1, LARGE, LARGE))
    members = coloured(64, BOTH, 13)[:, 0, :1] * torch.linspace(0.5, 1.36, HALF)[:, None]
    P = ensemble_covariance(members - members.mean(0), (LARGE, LARGE), reach=1.0)
    source = as_source(torch.zeros(1, HALF, HALF), P, climate)
    C, F = (V.dense(torch.arange(HALF**2)).double() for V in (climate, source.error))
    left = (C - C @ torch.linalg.solve(C + F, C)).diagonal().mean() / C.diagonal().mean()
    assert float(left) > 0.85


def test_forecasts_of_other_days_tell_nothing_whatever_the_climate():
    # A climate that varies from row to row, on an open domain: neither windows nor local variances feign skill.
    ramp = torch.linspace(0.4, 1.6, HALF)[:, None]
    truths, forecasts = (ramp * coloured(30, BOTH, seed) for seed in (2, 3))
    skill = LeadTimeSkill.fit(forecasts, truths, climate_mean=torch.zeros(()), padded=(LARGE, LARGE))
    blocks = skill.residual[0].permute(2, 3, 0, 1)
    assert float(torch.linalg.eigvalsh(0.5 * (blocks + blocks.mH)).min()) > 0.9
    assert float((skill.deviation - 1).abs().max()) < 0.05
    assert bool((skill.explained[0].abs() < 0.03).all())


def test_where_forecasts_are_worse_the_error_is_larger():
    truths, errors = coloured(60, BOTH, 4), coloured(60, WRONG, 5)
    ramp = torch.linspace(0.4, 1.6, HALF)[:, None]
    skill = LeadTimeSkill.fit(truths + ramp * errors, truths, climate_mean=torch.zeros(()))
    q = skill.deviation[0].mean(-1)
    assert bool((q[:, -4:].mean(1) > 1.5 * q[:, :4].mean(1)).all())


def test_skill_survives_a_file(skill):
    again = LeadTimeSkill.from_tensors(load(save(skill.to_tensors())))
    assert again.padded == skill.padded
    x = pairs(1, 8)[0][0, 1]
    for a, b in zip(skill.predictive(x, 1, CLIMATE), again.predictive(x, 1, CLIMATE), strict=True):
        if isinstance(a, torch.Tensor):
            assert torch.equal(a, b)
        else:
            assert torch.equal(a.spectrum, b.spectrum)
            assert torch.equal(a.scale, b.scale)
    assert LeadTimeSkill.from_tensors({}) is None


def test_what_does_not_fit_is_refused(skill):
    forecasts, truths = pairs(6, 9)
    with pytest.raises(SkyweaveError, match="must both be"):
        LeadTimeSkill.fit(forecasts[:, :3], truths)
    with pytest.raises(SkyweaveError, match="6 hindcasts in 5 stretches"):
        LeadTimeSkill.fit(forecasts, truths)
    truths[1, 2, 0, 3, 3] = math.nan
    with pytest.raises(SkyweaveError, match="1 of the truths have missing values"):
        LeadTimeSkill.fit(forecasts, truths, folds=2)
    x = forecasts[0]
    with pytest.raises(SkyweaveError, match="lead time number 6"):
        skill.source(x[0], 6, CLIMATE)
    with pytest.raises(SkyweaveError, match="padded=\\(32, 32\\)"):
        skill.source(x[0], 0, StationaryCovariance(torch.ones(1, 1, 1, 32, 17), SHAPE, (1, 32, 32)))
    with pytest.raises(SkyweaveError, match="variables, latitudes"):
        skill.source(x[0, :, :8], 0, CLIMATE)
    with pytest.raises(SkyweaveError, match="missing values"):
        skill.source(truths[1, 2], 2, CLIMATE)
    with pytest.raises(SkyweaveError, match="5 frames"):
        fusion(skill, x[:5], range(6))
