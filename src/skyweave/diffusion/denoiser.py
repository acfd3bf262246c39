"""The one protocol that priors, composed priors and guided priors share."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

__all__ = ["Denoiser"]


@runtime_checkable
class Denoiser(Protocol):
    r"""The posterior mean of the clean state given a noisy one.

    .. math:: \hat x = D(x_\sigma, \sigma) \approx E[x \mid x_\sigma], \qquad x_\sigma = x + \sigma n .

    A prior is a denoiser, and so is a prior guided by observations. ``x_sigma`` has shape
    ``(member, time, channel, lat, lon)`` in normalised units, ``sigma`` is a scalar tensor in the same units.

    Reference: Karras et al. 2022, Eq. 3 (EDM); multimodal paper, Eq. 4 and 12.
    """

    def __call__(self, x_sigma: Tensor, sigma: Tensor) -> Tensor: ...
