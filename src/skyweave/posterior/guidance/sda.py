"""Score-based data assimilation: a diagonal, growing error in observation space."""

from __future__ import annotations

import torch
from torch import Tensor

from skyweave.posterior.guidance.base import Guidance, linearise
from skyweave.posterior.problem import Problem

__all__ = ["SDAGuidance"]


class SDAGuidance(Guidance):
    r"""Gradient of a Gaussian likelihood whose variance grows with the noise level.

    .. math:: s_l = -\tfrac12 \nabla_{x_\sigma} \sum_i
              \frac{(y_i - H_i(D(x_\sigma, \sigma)))^2}{\Sigma_{y,i} + \sigma^2 \Gamma_i},
              \qquad \hat x_y = \hat x + \lambda_g \, \sigma^2 s_l

    Args:
        gamma: ``Gamma``, in squared observation units per squared state unit; a number, or ``None`` to derive one
            per observation from the operator and the prior's climatological covariance ``C``,
            ``Gamma_i = [J (C^{-1} + sigma^{-2})^{-1} J^T]_{ii} / sigma^2``.
        guidance_scale: ``lambda_g``.
        half: keep the factor 1/2 of a Gaussian likelihood. The paper's Eq. 13 leaves it out, which doubles the
            likelihood; ``False`` is what its preset uses.
        clip: largest norm of the guidance term per member, relative to the norm of ``x_hat``; ``None`` for no limit.

    Reference: multimodal paper, Eq. 11-13; Rozet and Louppe 2023, Section 3.2.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        gamma: float | None = None,
        guidance_scale: float = 1.0,
        half: bool = True,
        clip: float | None = None,
    ) -> None:
        super().__init__(problem)
        self.gamma, self.guidance_scale, self.half, self.clip = gamma, guidance_scale, half, clip

    def parts(self, x_sigma: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        level = float(sigma)
        op = self.observed.operator
        step = linearise(self.denoiser, x_sigma, sigma)
        with torch.no_grad():
            weight = self.problem.innovation(step.x_hat) / self._error(step.x_hat, level)
            factor = self.guidance_scale * level**2 * (1.0 if self.half else 2.0)
            change = factor * step.back(op.vjp(step.x_hat, weight))
            return step.x_hat, change if self.clip is None else self._clipped(change, step.x_hat)

    def _error(self, x_hat: Tensor, level: float) -> Tensor:
        """``Sigma_y + sigma^2 Gamma`` in physical units squared, broadcastable to ``(M, n)``."""
        stated = self.observed.R.diagonal.to(x_hat)
        if self.gamma is not None:
            return stated + level**2 * self.gamma
        return stated + observation_variance(self.problem, x_hat, level)

    def _clipped(self, change: Tensor, x_hat: Tensor) -> Tensor:
        assert self.clip is not None
        norms = change.flatten(1).norm(dim=1), x_hat.flatten(1).norm(dim=1)
        limit = (self.clip * norms[1] / norms[0].clamp_min(1e-12)).clamp_max(1.0)
        return change * limit[:, None, None, None, None]


def observation_variance(problem: Problem, x_hat: Tensor, level: float) -> Tensor:
    """Diagonal of ``J V J^T`` for the prior's Gaussian approximation, shape ``(n,)``, exactly, at the mean member."""
    V = problem.prior.covariance(level)
    J = problem.observed.operator.jacobian(x_hat.mean(0))
    out = x_hat.new_empty(J.shape[0], dtype=torch.float32)
    for first in range(0, J.shape[0], 64):
        rows = (
            torch.from_numpy(J[first : first + 64].toarray()).float().to(x_hat.device).reshape(-1, *V.shape)
        )
        out[first : first + 64] = (rows * (V @ rows)).flatten(1).sum(1)
    return out.to(x_hat)
