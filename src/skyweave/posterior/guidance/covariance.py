"""Covariance guidance, the default: the prior's own error covariance, no backward pass."""

from __future__ import annotations

from torch import Tensor

from skyweave.diffusion.denoiser import Denoiser
from skyweave.posterior.guidance.base import CovarianceSource, Guided
from skyweave.posterior.kalman import KalmanSolver, Observed

__all__ = ["CovarianceGuidance"]


class CovarianceGuidance(Guided):
    r"""The Kalman update with the covariance of the prior's own denoising errors.

    .. math:: \hat x_y = \hat x + V_\sigma J^T (J V_\sigma J^T + R)^{-1} (y - H(\hat x))

    ``V_sigma`` is estimated once per prior from ``x - D(x + sigma n, sigma)`` on validation data (see
    `skyweave.covariance.by_noise_level`), as background error covariances are in data assimilation. One network
    evaluation a step and no backward pass.

    Args:
        denoiser: the prior bound to a grid and times.
        prior: what knows ``V_sigma``; usually the same object.
        observed: operator, values and errors.
        solver: takes the inverse; shared between batches so that factors are reused.
        key: names the observations among several that use one solver.

    Reference: for the Gaussian approximation, Rozet et al. 2024, Eq. 15; for ``V``, Daley 1991, Chapter 4.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        prior: CovarianceSource,
        observed: Observed,
        *,
        solver: KalmanSolver | None = None,
        key: object = 0,
    ) -> None:
        self.denoiser, self.prior, self.observed = denoiser, prior, observed
        self.solver = solver or KalmanSolver()
        self.key = key

    def parts(self, x_sigma: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        level = float(sigma)
        x_hat = self.denoiser(x_sigma, sigma)
        V = self.prior.covariance(level, x_hat, x_sigma)
        return x_hat, self.solver.increment(x_hat, V, self.observed, key=(self.key, level))
