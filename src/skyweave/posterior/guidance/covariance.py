"""Covariance guidance, the default: the prior's own error covariance, no backward pass."""

from __future__ import annotations

from torch import Tensor

from skyweave.posterior.guidance.base import Guidance

__all__ = ["CovarianceGuidance"]


class CovarianceGuidance(Guidance):
    r"""The Kalman update with the covariance of the prior's own denoising errors.

    .. math:: \hat x_y = \hat x + V_\sigma J^T (J V_\sigma J^T + R)^{-1} (y - H(\hat x))

    ``V_sigma`` is estimated once per prior from ``x - D(x + sigma n, sigma)`` on validation data (see
    `skyweave.covariance.by_noise_level`), as background error covariances are in data assimilation. One network
    evaluation a step and no backward pass. The problem's solver takes the inverse.

    Reference: for the Gaussian approximation, Rozet et al. 2024, Eq. 15; for ``V``, Daley 1991, Chapter 4.
    """

    def parts(self, x_sigma: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        level = float(sigma)
        x_hat = self.denoiser(x_sigma, sigma)
        V = self.problem.prior.covariance(level, x_hat, x_sigma)
        return x_hat, self.problem.solver.increment(x_hat, V, level)
