"""The EDM training objective, averaged over observed cells only."""

from __future__ import annotations

import torch
from torch import Tensor

from skyweave.prior.precondition import PreconditionedNetwork


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
    sigma_data: float = 1.0,
    periodic: bool = False,
    autocast: bool = False,
) -> Tensor:
    """Weighted mean squared denoising error of each sample (B,), over its observed cells.

    ``lambda(sigma) mean_A |D(x + sigma n, sigma) - x|^2``, A the cells where the target is not NaN.
    Missing cells are filled with zero (the mean of the normalised data) before anything is multiplied; a
    sample with no observed cell has error zero.

    Args:
        target: clean normalised fields (B, C, H, W), NaN where missing.
        sigma: (B,).
        noise: standard normal, like `target`.
        conditioning: (B, K, H, W) or None.
        sigma_data: that of the model.
    """
    observed = torch.isfinite(target)
    clean = torch.where(observed, target, torch.zeros_like(target))
    noisy = clean + sigma.reshape(-1, 1, 1, 1) * noise
    denoised = model(noisy, sigma, conditioning, periodic=periodic, autocast=autocast)
    squared = (denoised - clean) ** 2 * observed
    counts = observed.sum(dim=(1, 2, 3)).clamp(min=1)
    return loss_weight(sigma, sigma_data) * squared.sum(dim=(1, 2, 3)) / counts


def edm_loss(
    model: PreconditionedNetwork,
    target: Tensor,
    sigma: Tensor,
    noise: Tensor,
    conditioning: Tensor | None = None,
    *,
    sigma_data: float = 1.0,
    periodic: bool = False,
    autocast: bool = False,
) -> Tensor:
    """Mean over the batch of `denoising_errors`, each sample counting by its share of observed cells.

    Reference: Karras et al. (2022), https://arxiv.org/abs/2206.00364, Eq. 2 and Table 1.
    """
    errors = denoising_errors(
        model, target, sigma, noise, conditioning, sigma_data=sigma_data, periodic=periodic, autocast=autocast
    )
    share = torch.isfinite(target).float().mean(dim=(1, 2, 3))
    return (errors * share).sum() / share.sum().clamp(min=1e-12)
