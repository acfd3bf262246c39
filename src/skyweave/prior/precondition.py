"""EDM preconditioning: coefficients that keep a network's input, output and target at unit variance."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Coefficients(NamedTuple):
    """Values of c_skip, c_out, c_in and c_noise, each of the shape of sigma."""

    skip: Tensor
    out: Tensor
    scale: Tensor
    noise: Tensor


def coefficients(sigma: Tensor, sigma_data: float = 1.0) -> Coefficients:
    """Coefficients of the EDM preconditioning for noise levels `sigma` of any shape (per sample or per cell).

    ``c_skip = s^2 / (sigma^2 + s^2)``, ``c_out = sigma s / sqrt(sigma^2 + s^2)``,
    ``c_in = 1 / sqrt(sigma^2 + s^2)``, ``c_noise = ln(sigma) / 4`` with s = `sigma_data`, the standard
    deviation of the normalised data.

    Reference: Karras et al. (2022), https://arxiv.org/abs/2206.00364, Table 1.
    """
    total = sigma**2 + sigma_data**2
    return Coefficients(
        skip=sigma_data**2 / total,
        out=sigma * sigma_data / total.sqrt(),
        scale=1 / total.sqrt(),
        noise=sigma.log() / 4,
    )


class PreconditionedNetwork(nn.Module):
    """A raw network turned into a denoiser: ``D(x, sigma) = c_skip x + c_out F(c_in x, c_noise)``.

    Preconditioning is always in float32; the network alone runs in bfloat16 if `autocast` is asked for.

    Args:
        network: takes (B, C + K, H, W), c_noise (B,) and the keyword `periodic`; returns (B, C, H, W).
        sigma_data: standard deviation of the normalised data.
    """

    def __init__(self, network: nn.Module, sigma_data: float = 1.0) -> None:
        super().__init__()
        self.network = network
        self.sigma_data = sigma_data

    def forward(
        self,
        x: Tensor,
        sigma: Tensor,
        conditioning: Tensor | None = None,
        *,
        periodic: bool = False,
        autocast: bool = False,
    ) -> Tensor:
        """Estimate of the clean field given the noisy one.

        Args:
            x: noisy normalised fields (B, C, H, W); no NaN.
            sigma: noise level of each sample (B,).
            conditioning: channels that carry no noise (B, K, H, W), or None.
            periodic: whether the last column is a neighbour of the first.
            autocast: run the network in bfloat16.
        """
        c = coefficients(sigma.reshape(-1, 1, 1, 1).to(x.dtype), self.sigma_data)
        inputs = c.scale * x
        if conditioning is not None:
            inputs = torch.cat([inputs, conditioning.to(inputs.dtype)], dim=1)
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=autocast):
            raw = self.network(inputs, c.noise.flatten(), periodic=periodic)
        return c.skip * x + c.out * raw.to(x.dtype)
