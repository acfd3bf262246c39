"""Pseudoinverse-guided diffusion: a scalar covariance that knows only the noise level."""

from __future__ import annotations

import torch
from torch import Tensor

from skyweave.posterior.guidance.base import Guidance, linearise
from skyweave.posterior.kalman import conjugate_gradients
from skyweave.posterior.problem import Problem

__all__ = ["PiGDMGuidance"]


class PiGDMGuidance(Guidance):
    r"""Likelihood score with ``p(x | x_sigma) = N(x_hat, r^2 I)``.

    .. math:: r^2 = \frac{\sigma^2}{1 + \sigma^2}, \qquad
              \hat x_y = \hat x + \sigma^2 \left(\frac{\partial D}{\partial x_\sigma}\right)^T J^T
              (r^2 J J^T + R)^{-1} (y - H(\hat x))

    Args:
        iterations: conjugate-gradient iterations for the inverse, which needs no network.

    Reference: Song et al. 2023, "Pseudoinverse-guided diffusion models for inverse problems", Eq. 7.
    """

    def __init__(self, problem: Problem, *, iterations: int = 50) -> None:
        super().__init__(problem)
        self.iterations = iterations

    def parts(self, x_sigma: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        op, R = self.observed.operator, self.observed.R
        variance = float(sigma) ** 2
        r2 = variance / (1 + variance)
        step = linearise(self.denoiser, x_sigma, sigma)
        with torch.no_grad():

            def A(u: Tensor) -> Tensor:
                return r2 * op.jvp(step.x_hat, op.vjp(step.x_hat, u)) + R @ u

            u, _ = conjugate_gradients(
                A, self.problem.innovation(step.x_hat), tolerance=1e-4, iterations=self.iterations
            )
            return step.x_hat, variance * step.back(op.vjp(step.x_hat, u))
