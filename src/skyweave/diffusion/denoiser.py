"""The one protocol that priors, composed priors and guided priors share, and what guided ones add to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

from torch import Tensor

__all__ = ["Denoiser", "Guided"]


@runtime_checkable
class Denoiser(Protocol):
    r"""The posterior mean of the clean state given a noisy one.

    .. math:: \hat x = D(x_\sigma, \sigma) \approx E[x \mid x_\sigma], \qquad x_\sigma = x + \sigma n .

    A prior is a denoiser, and so is a prior guided by observations. ``x_sigma`` has shape
    ``(member, time, channel, lat, lon)`` in normalised units, ``sigma`` is a scalar tensor in the same units.

    Reference: Karras et al. 2022, Eq. 3 (EDM); multimodal paper, Eq. 4 and 12.
    """

    def __call__(self, x_sigma: Tensor, sigma: Tensor) -> Tensor: ...


class Guided(ABC):
    """A guided denoiser: the prior's estimate and a change of it. Each method says what the change is.

    A sampler that takes the change in some of its evaluations only asks for `parts`, and for ``denoiser`` in the
    others.
    """

    denoiser: Denoiser

    def __call__(self, x_sigma: Tensor, sigma: Tensor) -> Tensor:
        x_hat, change = self.parts(x_sigma, sigma)
        return x_hat + change

    @abstractmethod
    def parts(self, x_sigma: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """The prior's ``x_hat`` and what the observations add to it, both ``(M, T, C, H, W)``."""
