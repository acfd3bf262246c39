"""What the gradient-based guidance methods share: one denoising step kept for differentiation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from skyweave.covariance.stationary import StateCovariance
from skyweave.diffusion.denoiser import Denoiser, Guided
from skyweave.posterior.kalman import Observed

__all__ = ["CovarianceSource", "Guided", "Linearised", "innovation", "linearise"]


class CovarianceSource(Protocol):
    """A prior that knows the covariance of its own denoising errors."""

    def covariance(
        self, sigma: float, x_hat: Tensor | None = None, x_sigma: Tensor | None = None
    ) -> StateCovariance: ...


@dataclass(frozen=True, eq=False)
class Linearised:
    """A denoised state with its graph: ``x_hat`` detached, and ``back(v) = (d x_hat / d x_sigma)^T v``."""

    x_hat: Tensor
    back: Callable[[Tensor], Tensor]


def linearise(denoiser: Denoiser, x_sigma: Tensor, sigma: Tensor) -> Linearised:
    """Evaluate the denoiser once and keep what vector-Jacobian products need."""
    with torch.enable_grad():
        x = x_sigma.detach().requires_grad_()
        x_hat = denoiser(x, sigma)

    def back(v: Tensor) -> Tensor:
        return torch.autograd.grad(x_hat, x, v, retain_graph=True)[0]

    return Linearised(x_hat.detach(), back)


def innovation(x_hat: Tensor, observed: Observed) -> Tensor:
    """``y - H(x_hat)``, shape ``(M, n)``, physical units."""
    return observed.y - observed.operator(x_hat)
