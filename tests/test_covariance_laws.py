"""Laws of every covariance of states: a symmetric, positive matrix whose products, table, draws and variances agree."""

import math
from functools import cache

import numpy as np
import pytest
import torch

from skyweave.baselines import Climatology
from skyweave.covariance.by_noise_level import ErrorCovarianceModel
from skyweave.covariance.plain import ScaledIdentity
from skyweave.covariance.stationary import StationaryCovariance
from skyweave.covariance.torus import FLOOR, embed, modes, positive, signed
from skyweave.cycle.ensemble import ensemble_covariance
from skyweave.cycle.forecast import aggregated
from skyweave.cycle.model_error import model_error_covariance
from skyweave.grid import Grid
from skyweave.observe.errors import ErrorModel
from skyweave.prior.analytic import DenseGaussianPrior, GaussianMixturePrior, GaussianPrior, red_spectrum
from skyweave.regrid import conservative
from skyweave.state import StateSpec, Variable
from skyweave.transform import Standardise, StateTransform

H, W = 5, 6
MIXING = torch.tensor([[1.0, 0.5], [0.5, 1.0]], dtype=torch.float64)


def lags(frames, channels, half=8):
    """Gaussian in space, exponential in time, ``(F, C, C, 2h, 2w)``."""
    lag = signed(2 * half).double()
    space = torch.exp(-0.5 * (lag[:, None] ** 2 + lag[None, :] ** 2) / 2.0**2)
    time = 0.6 ** torch.arange(frames, dtype=torch.float64)
    return time[:, None, None, None, None] * MIXING[:channels, :channels, None, None] * space


def learnt(frames, channels, known, periodic=False):
    levels = torch.tensor([0.1, 100.0], dtype=torch.float64)
    model = ErrorCovarianceModel(levels, torch.stack([lags(known, channels)] * 2).float())
    return model.on((frames, channels, H, W), periodic=periodic)(1e6)


def climatology(frames, known, periodic=False):
    mean = torch.zeros(2, H, W)
    return Climatology(mean, torch.ones_like(mean), lags(known, 2)).covariance(frames, periodic=periodic)


def fields(members, channels):
    return GaussianPrior(red_spectrum(H, W), (1, channels, H, W)).sample(
        torch.randn(members, 1, channels, H, W, generator=torch.Generator().manual_seed(4))
    )[:, 0]


def ensemble(local):
    a = fields(30, 2)
    return ensemble_covariance(a - a.mean(0), (12, W), periodic=(False, True), local=local)


def model_error():
    spec = StateSpec((Variable("a", "K"), Variable("b", "K")), resolution=(1.0, 1.0))
    errors = {"a": ErrorModel(absolute=1.0, correlation_length_km=200.0), "b": ErrorModel(absolute=0.5)}
    grid = Grid(np.arange(40.0, 40 + H), np.arange(0.0, W))
    transform = StateTransform((Standardise(0.0, 2.0),) * 2)
    return model_error_covariance(errors, spec, transform, grid, (2 * H, 2 * W))


def coarse():
    fine = Grid(np.arange(0.5, 10), np.arange(0.5, 12))
    G = conservative(fine, Grid(np.arange(1.0, 10, 2), np.arange(1.0, 12, 2)))
    V = GaussianPrior(red_spectrum(10, 12), (1, 1, 10, 12)).covariance(math.inf)
    return aggregated(V, G, (H, W), (12, 12))


def mixture():
    parts = [GaussianPrior(a * red_spectrum(H, W), (1, 1, H, W), m) for a, m in ((0.3, 0.2), (1.0, -0.2))]
    x = torch.randn(1, 1, 1, H, W, generator=torch.Generator().manual_seed(0))
    return GaussianMixturePrior(parts, [0.5, 0.5]).covariance(1.0, None, x)


COVARIANCES = {
    "learnt": lambda: learnt(1, 2, 1),
    "learnt, a circle": lambda: learnt(1, 1, 1, periodic=True),
    "learnt, frames apart": lambda: learnt(3, 2, 1),
    "learnt in time": lambda: learnt(4, 1, 8),
    "learnt in time, two variables": lambda: learnt(3, 2, 6),
    "learnt in time, one frame": lambda: learnt(1, 2, 6),
    "climatology": lambda: climatology(1, 1),
    "climatology, a circle": lambda: climatology(1, 1, periodic=True),
    "climatology in time": lambda: climatology(3, 2),
    "ensemble": lambda: ensemble(False),
    "ensemble, local": lambda: ensemble(True),
    "model error": model_error,
    "brought to a coarser grid": coarse,
    "cut off": lambda: learnt(1, 2, 1).tapered((3.0, None)),
    "Gaussian": lambda: GaussianPrior(red_spectrum(H, W), (1, 1, H, W)).covariance(0.5),
    "Gaussian, correlated variables": lambda: GaussianPrior(
        (MIXING[:, :, None, None] * red_spectrum(H, W)).to(torch.complex128), (2, 2, H, W)
    ).covariance(math.inf),
    "dense": lambda: DenseGaussianPrior(torch.eye(30) + 0.3, (1, 1, H, W)).covariance(1.0),
    "identity": lambda: ScaledIdentity(0.7, (1, 2, H, W)),
    "mixture": mixture,
}
made = cache(lambda name: COVARIANCES[name]())


def matrix(V):
    """Column by column, by products alone."""
    n = math.prod(V.shape)
    return torch.cat([V @ e.reshape(1, *V.shape) for e in torch.eye(n)]).reshape(n, n).double()


@pytest.mark.parametrize("name", COVARIANCES)
def test_products_are_those_of_a_covariance_and_of_its_table(name):
    V = made(name)
    dense = matrix(V)
    largest = float(dense.diagonal().max())
    torch.testing.assert_close(dense, dense.T, atol=2e-6 * largest, rtol=0)
    assert float(torch.linalg.eigvalsh(dense).min()) > -1e-6 * largest * len(dense)
    table = V.dense(torch.arange(len(dense)))
    if table is not None:
        torch.testing.assert_close(table.double(), dense, atol=5e-6 * largest, rtol=0)


@pytest.mark.parametrize("name", COVARIANCES)
def test_variances_are_the_diagonal_and_no_mode_is_larger_than_the_largest(name):
    V = made(name)
    dense = matrix(V)
    variance = V.variance().expand(1, *V.shape).flatten().double()
    torch.testing.assert_close(variance, dense.diagonal(), rtol=1e-4, atol=1e-6)
    plain = V.scaled(None) if isinstance(V, StationaryCovariance) else V
    assert float(torch.linalg.eigvalsh(matrix(plain)).max()) <= V.largest() * (1 + 1e-5)


@pytest.mark.parametrize("name", [name for name in COVARIANCES if name != "mixture"])
def test_draws_have_the_covariance(name):
    V = made(name)
    dense = matrix(V)
    noise = torch.randn(4000, *V.noise_shape, generator=torch.Generator().manual_seed(0))
    draws = V.color(noise).flatten(1).double()
    # An element of a sample covariance is known to sqrt(2 / 4000) of the variances.
    assert float((draws.T @ draws / 4000 - dense).abs().max()) < 0.11 * float(dense.diagonal().max())


@pytest.mark.parametrize(
    "name", [name for name in COVARIANCES if isinstance(made(name), StationaryCovariance)]
)
def test_a_local_standard_deviation_scales_both_sides(name):
    V = made(name)
    scale = torch.rand(1, *V.shape, generator=torch.Generator().manual_seed(0)) + 0.5
    s, plain = scale.flatten().double(), matrix(V.scaled(None))
    torch.testing.assert_close(matrix(V.scaled(scale)), s[:, None] * plain * s, rtol=1e-5, atol=1e-5)
    each = torch.rand(3, *V.shape, generator=torch.Generator().manual_seed(0)) + 0.5
    assert V.scaled(each).member_dependent
    assert V.scaled(each).dense(torch.arange(4)) is None


@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_made_positive_keeps_its_variances_and_a_floor(channels):
    """A kernel cut so hard that it has eigenvalues far below zero."""
    kernel = embed(lags(3, channels, half=2), (5, 9, 8))
    spectrum = positive(kernel)
    again = torch.fft.irfftn(spectrum, s=(5, 9, 8), dim=(-3, -2, -1))[:, :, 0, 0, 0].diagonal()
    torch.testing.assert_close(again, kernel[:, :, 0, 0, 0].diagonal().float(), rtol=1e-5, atol=0)
    values = torch.linalg.eigvalsh(modes(spectrum))
    assert float(torch.linalg.eigvalsh(modes(torch.fft.rfftn(kernel, dim=(-3, -2, -1)))).min()) < 0
    assert float(values.min()) > 0.2 * FLOOR * float(values.mean())


def test_near_lags_are_those_that_were_given_whatever_the_domain():
    expected = lags(8, 1)
    for V in (learnt(4, 1, 8), climatology(4, 8)):
        C = V.shape[1]
        table = V.dense(torch.arange(4 * C * H * W)).reshape(4, C, H, W, 4, C, H, W)[:, 0, :, :, :, 0]
        assert float(table[1, 2, 2, 0, 2, 2]) == pytest.approx(0.6, abs=0.03)
        assert float(table[2, 2, 3, 0, 2, 2]) == pytest.approx(float(expected[2, 0, 0, 0, 1]), abs=0.05)
        assert float(table[0, 3, 3, 0, 2, 2]) == pytest.approx(float(expected[0, 0, 0, 1, 1]), abs=0.05)
