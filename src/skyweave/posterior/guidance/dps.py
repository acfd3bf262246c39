"""Diffusion posterior sampling: a step along the gradient of the misfit, normalised by the misfit itself."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from skyweave.posterior.guidance.base import Guidance, linearise
from skyweave.posterior.problem import Problem

__all__ = ["DPSGuidance"]


class DPSGuidance(Guidance):
    r"""Gradient of the whitened misfit through the network, of unit natural size.

    .. math:: \hat x_y = \hat x - \zeta \, \sigma \, c \sqrt n \, \nabla_{x_\sigma}
              \left\| R^{-1/2} (y - H(D(x_\sigma, \sigma))) \right\|_2, \qquad
              c^{-2} = \frac1n \sum_i (J R^{-1} J^T)_{ii},

    that is, the step of the original algorithm, ``x_{i-1} <- x_{i-1} - zeta grad ||y - H(x_hat)||``, written as a
    change of the denoised state. The original takes a thousand ancestral steps of fixed size; here the step is
    scaled by ``sigma`` so that any sampler of few steps can take it, ``c`` makes it independent of the observations'
    units, and ``sqrt(n)`` of their number.

    Args:
        zeta: step size; 1 in the original.

    Reference: Chung et al. 2023, "Diffusion posterior sampling for general noisy inverse problems", Algorithm 1.
    """

    def __init__(self, problem: Problem, *, zeta: float = 1.0) -> None:
        super().__init__(problem)
        self.zeta = zeta
        self.scale: float | None = None

    def parts(self, x_sigma: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        op = self.observed.operator
        step = linearise(self.denoiser, x_sigma, sigma)
        with torch.no_grad():
            error = self.observed.R.diagonal.to(x_sigma)
            misfit = self.problem.innovation(step.x_hat)
            norm = (misfit**2 / error).sum(1).clamp_min(1e-12).sqrt()
            gradient = step.back(op.vjp(step.x_hat, misfit / error / norm[:, None]))
            return step.x_hat, self.zeta * float(sigma) * self._scale(step.x_hat) * gradient

    def _scale(self, x_hat: Tensor) -> float:
        if self.scale is None:
            J = self.observed.operator.jacobian(x_hat.mean(0))
            size = torch.from_numpy(np.asarray(J.multiply(J).sum(axis=1)).ravel())
            self.scale = (
                float((size / self.observed.R.diagonal.cpu().double()).mean()) ** -0.5 * J.shape[0] ** 0.5
            )
        return self.scale
