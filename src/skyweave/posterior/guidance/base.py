"""What guidance methods share: the problem, and one denoising step kept for differentiation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from skyweave.diffusion.denoiser import Denoiser, Guided
from skyweave.posterior.problem import Problem

__all__ = ["Guidance", "Linearised", "linearise"]


class Guidance(Guided):
    """The denoiser of a posterior: the prior's estimate, and what the observations add to it.

    Args:
        problem: the prior and what was observed; options of a method are keywords beside it.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem, self.observed = problem, problem.observed
        self.denoiser: Denoiser = problem.prior

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
