"""What the gradient-based guidance methods share: one denoising step kept for differentiation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from skyweave.covariance.stationary import StateCovariance
from skyweave.diffusion.denoiser import Denoiser
from skyweave.posterior.kalman import Observed

__all__ = ["CovarianceSource", "Guided", "Linearised", "innovation", "linearise"]


class CovarianceSource(Protocol):
    """A prior that knows the covariance of its own denoising errors."""

    def covariance(
        self, sigma: float, x_hat: Tensor | None = None, x_sigma: Tensor | None = None
    ) -> StateCovariance: ...


class Guided(ABC):
    """A guided denoiser: the prior's estimate and a change of it. Each method says what the change is.

    A sampler that takes the likelihood in some of its evaluations only asks for `parts`, and for ``denoiser`` in the
    others.
    """

    denoiser: Denoiser

    def __call__(self, x_sigma: Tensor, sigma: Tensor) -> Tensor:
        x_hat, change = self.parts(x_sigma, sigma)
        return x_hat + change

    @abstractmethod
    def parts(self, x_sigma: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """The prior's ``x_hat`` and what the observations add to it, both ``(M, T, C, H, W)``."""


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
