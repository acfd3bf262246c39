"""The EDM training objective, averaged over observed cells only."""

from __future__ import annotations

import torch
from torch import Tensor

from skyweave.diffusion.precondition import PreconditionedNetwork


def draw_sigma(n: int, p_mean: float, p_std: float, generator: torch.Generator | None = None) -> Tensor:
    """Noise levels of a training batch (n,): ``ln sigma ~ N(p_mean, p_std^2)`` (EDM, Table 1)."""
    return (p_mean + p_std * torch.randn(n, generator=generator)).exp()


def loss_weight(sigma: Tensor, sigma_data: float = 1.0) -> Tensor:
    """Weight that makes the loss of an untrained network one at every noise level.

    ``lambda(sigma) = (sigma^2 + s^2) / (sigma s)^2`` (EDM, Table 1), with s = `sigma_data`.
    """
    return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2


def denoising_errors(
    model: PreconditionedNetwork,
    target: Tensor,
    sigma: Tensor,
    noise: Tensor,
    conditioning: Tensor | None = None,
    *,
    given: Tensor | None = None,
    sigma_data: float = 1.0,
    periodic: bool = False,
    autocast: bool = False,
) -> Tensor:
    r"""Weighted mean squared denoising error of each sample (B,), over its observed cells.

    .. math:: \frac{1}{|A|} \sum_{i \in A} \lambda_i \,
              \left( D(\tilde A \odot x_\sigma, \tilde A, \sigma) - x \right)_i^2

    with ``A`` the cells where the target is not NaN and ``A~ = A * given`` those that the network is shown. The
    weight is that of the EDM where a cell is shown, and its limit of infinite noise, ``1 / sigma_data^2``, where it
    is not. Missing cells are filled with zero (the mean of the normalised data) before anything is multiplied; a
    sample with no observed cell has error zero.

    Args:
        target: clean normalised fields (B, C, H, W) or windows (B, T, C, H, W), NaN where missing.
        sigma: (B,).
        noise: standard normal, like `target`.
        conditioning: (B, K, H, W) or (B, T, K, H, W), or None.
        given: the extra mask ``B``, true where a cell is left, like `target`; only for a masked model.
        sigma_data: that of the model.

    Reference: AODDiff, Section 3.2, the ambient score matching loss; for the weight, Karras et al. (2022), Table 1.
    """
    observed = torch.isfinite(target)
    clean = torch.where(observed, target, torch.zeros_like(target))
    each = (-1, *([1] * (target.ndim - 1)))
    weight = loss_weight(sigma, sigma_data).reshape(each)
    noisy = clean + sigma.reshape(each) * noise
    if model.masked:
        shown = observed if given is None else observed & given
        denoised = model(noisy, sigma, conditioning, mask=shown, periodic=periodic, autocast=autocast)
        weight = torch.where(shown, weight, weight.new_tensor(1 / sigma_data**2))
    else:
        denoised = model(noisy, sigma, conditioning, periodic=periodic, autocast=autocast)
    squared = weight * (denoised - clean) ** 2 * observed
    return squared.flatten(1).sum(1) / observed.flatten(1).sum(1).clamp(min=1)


def edm_loss(errors: Tensor, target: Tensor) -> Tensor:
    """Mean over a batch of its `denoising_errors`, each sample counting by its share of observed cells.

    Args:
        errors: (B,).
        target: of the same call.

    Reference: Karras et al. (2022), https://arxiv.org/abs/2206.00364, Eq. 2 and Table 1.
    """
    share = torch.isfinite(target).float().flatten(1).mean(1)
    return (errors * share).sum() / share.sum().clamp(min=1e-12)
