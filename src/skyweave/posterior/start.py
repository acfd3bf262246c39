"""Initial states: from pure noise, or from a Gaussian analysis that spares the sampler its largest noise levels."""

from __future__ import annotations

import math

from torch import Tensor

from skyweave.covariance.stationary import StateCovariance
from skyweave.diffusion.noise import NoiseStream
from skyweave.posterior.problem import GridPrior, Problem

__all__ = ["analysis_start", "noise_start"]

# Streams of noise, each drawn once for a member: states and errors must not share one.
NOISE, FIELD, ERRORS, RENOISE, DRAW = 0, 1, 2, 3, 4


def noise_start(prior: GridPrior, sigma_max: float, noise: NoiseStream) -> Tensor:
    r"""Draws of ``N(0, sigma_max^2 I + V_prior)``, shape ``(M, T, C, H, W)``.

    The second term matters where the largest modes of the prior are not small beside ``sigma_max``.
    """
    V = prior.covariance(math.inf)
    return sigma_max * noise.normal(NOISE, prior.shape[1:]) + _draw(V, noise, FIELD)


def analysis_start(problem: Problem, sigma_max: float, noise: NoiseStream) -> Tensor:
    r"""Draws of ``p(x_sigma | y)`` at ``sigma_max`` under the prior's Gaussian approximation.

    .. math:: x_b = D(x_\sigma, \sigma) + V_\sigma^{1/2} n_1, \quad
              x_a = x_b + V J^T (J V J^T + R)^{-1} (y + R^{1/2} n_2 - H(x_b)), \quad
              x = x_a + \sigma\, n_3

    with ``x_sigma`` a draw of the noisy prior, ``V_sigma`` the covariance given it and ``V`` the prior's own.

    One evaluation. A solver that starts here need not find the observed large scales from noise many times their
    size, so ``sigma_max`` may be small: large enough that noise hides what is not Gaussian.

    Reference: the exact Gaussian draw is Matheron's rule (Journel and Huijbregts 1978); as one step of decoupled
    annealing it is Zhang et al. 2024 (DAPS).
    """
    prior, observed = problem.prior, problem.observed
    x = noise_start(prior, sigma_max, noise)
    x_hat = prior(x, x.new_tensor(sigma_max))
    # A draw given x_sigma, whatever x_sigma: a draw of the prior itself, so the gain is that of the prior's V.
    background = x_hat + _draw(prior.covariance(sigma_max), noise, DRAW)
    V = prior.covariance(math.inf)
    errors = observed.R.sample(observed.noise(noise, ERRORS))
    analysis = problem.solver.update(background, V, math.inf, y=observed.y.to(errors) + errors)
    return analysis + sigma_max * noise.normal(RENOISE, prior.shape[1:])


def _draw(V: StateCovariance, noise: NoiseStream, stream: int) -> Tensor:
    return V.color(noise.around(V.noise_shape[0]).normal(stream, V.noise_shape[1:]))
