"""Moment-matching posterior sampling: the covariance from the denoiser's own Jacobian."""

from __future__ import annotations

import torch
from torch import Tensor

from skyweave.posterior.guidance.base import Guidance, linearise
from skyweave.posterior.kalman import conjugate_gradients
from skyweave.posterior.problem import Problem

__all__ = ["MMPSGuidance"]


class MMPSGuidance(Guidance):
    r"""The Kalman update with Tweedie's covariance, its inverse taken by conjugate gradients.

    .. math:: V_\sigma = \sigma^2 \, \partial D / \partial x_\sigma, \qquad
              \hat x_y = \hat x + V_\sigma J^T (J V_\sigma J^T + R)^{-1} (y - H(\hat x))

    One evaluation and one vector-Jacobian product per conjugate-gradient iteration, plus one.

    Args:
        iterations: conjugate-gradient iterations.
        tolerance: relative residual at which they stop.

    Reference: Rozet et al. 2024, "Learning diffusion priors from observations by expectation maximization",
    https://arxiv.org/abs/2405.13712, Section 4.2.
    """

    def __init__(self, problem: Problem, *, iterations: int = 5, tolerance: float = 1e-3) -> None:
        super().__init__(problem)
        self.iterations, self.tolerance = iterations, tolerance
        self.backward_passes = 0

    def parts(self, x_sigma: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        op, R = self.observed.operator, self.observed.R
        step = linearise(self.denoiser, x_sigma, sigma)
        variance = float(sigma) ** 2
        with torch.no_grad():

            def V(v: Tensor) -> Tensor:
                self.backward_passes += 1
                return variance * step.back(v)

            def A(u: Tensor) -> Tensor:
                return op.jvp(step.x_hat, V(op.vjp(step.x_hat, u))) + R @ u

            # R is the only part of A known in advance: it turns unequal errors into a common scale.
            inverse_error = 1 / R.diagonal.to(x_sigma)
            u, _ = conjugate_gradients(
                A,
                self.problem.innovation(step.x_hat),
                precondition=lambda r: r * inverse_error,
                tolerance=self.tolerance,
                iterations=self.iterations,
            )
            return step.x_hat, V(op.vjp(step.x_hat, u))
