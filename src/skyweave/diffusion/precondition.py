"""EDM preconditioning: coefficients that keep a network's input, output and target at unit variance."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from skyweave.diffusion.precision import bfloat16_pays
from skyweave.errors import SkyweaveError
from skyweave.finite import check_channels


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
    r"""A raw network turned into a denoiser: ``D(x, sigma) = c_skip x + c_out F(c_in x, c_noise)``.

    Where a mask says that a cell is not given, its noise level is infinite: ``c_skip = c_in = 0`` and
    ``c_out = sigma_data``, so that the target of the network stays of unit size there as well. With the noise level
    of the rest, it would grow as ``1 / sigma``.

    Preconditioning is always in float32; the network alone runs in bfloat16 if `autocast` is asked for
    and the device computes in it.

    Args:
        network: takes (B, C + K, H, W), c_noise (B,) and the keywords `periodic` and `frames`; returns (B, C, H, W).
        sigma_data: standard deviation of the normalised data.
        masked: whether the network takes a mask beside the state.

    Raises:
        SkyweaveError: `sigma_data` is not a positive number.

    Reference: Karras et al. (2022), https://arxiv.org/abs/2206.00364, Eq. 7; for masks, AODDiff, Section 3.2.
    """

    names: tuple[str, ...] = ()
    """Of the channels, for messages."""

    def __init__(self, network: nn.Module, sigma_data: float = 1.0, masked: bool = False) -> None:
        super().__init__()
        if not (math.isfinite(sigma_data) and sigma_data > 0):
            raise SkyweaveError(
                f"sigma_data = {sigma_data}: the deviation of normalised data, a positive number"
            )
        self.network = network
        self.sigma_data = sigma_data
        self.masked = masked

    def forward(
        self,
        x: Tensor,
        sigma: Tensor,
        conditioning: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        periodic: bool = False,
        autocast: bool = False,
    ) -> Tensor:
        """Estimate of the clean field given the noisy one.

        Args:
            x: noisy normalised fields (B, C, H, W), or windows of them (B, T, C, H, W); no NaN.
            sigma: noise level of each sample (B,).
            conditioning: channels that carry no noise (B, K, H, W) or (B, T, K, H, W), or None.
            mask: 1 where `x` is given, 0 where not, like `x`; ones by default. Only for a masked network.
            periodic: whether the last column is a neighbour of the first.
            autocast: run the network in bfloat16, where the device computes in it.

        Raises:
            NotFiniteError: the network, in evaluation mode, gives NaN or infinite values; with variable and noise
                level. In training the loss tells.
        """
        if x.ndim == 5:
            batch, frames = x.shape[:2]
            known = None if conditioning is None else conditioning.flatten(0, 1)
            given = None if mask is None else mask.flatten(0, 1)
            levels = sigma.repeat_interleave(frames)
            out = self._frames(x.flatten(0, 1), known, given, levels, frames, periodic, autocast)
            return out.unflatten(0, (batch, frames))
        return self._frames(x, conditioning, mask, sigma, 1, periodic, autocast)

    def _frames(
        self,
        x: Tensor,
        conditioning: Tensor | None,
        mask: Tensor | None,
        sigma: Tensor,
        frames: int,
        periodic: bool,
        autocast: bool,
    ) -> Tensor:
        c = coefficients(sigma.reshape(-1, 1, 1, 1).to(x.dtype), self.sigma_data)
        skip, out, scale = c.skip, c.out, c.scale
        if mask is not None:
            given = mask.to(x.dtype)
            skip, scale = skip * given, scale * given
            out = out * given + self.sigma_data * (1 - given)
        parts = [scale * x]
        if self.masked:
            parts.append(torch.ones_like(x) if mask is None else mask.to(x.dtype))
        if conditioning is not None:
            parts.append(conditioning.to(x.dtype))
        half = autocast and bfloat16_pays(x.device.type)
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=half):
            raw = self.network(
                torch.cat(parts, dim=1), c.noise.flatten(), periodic=periodic, **_depth(frames)
            )
        estimate = skip * x + out * raw.to(x.dtype)
        if not self.training and not bool(estimate.detach().isfinite().all()):
            levels = ", ".join(f"{level:g}" for level in sigma.detach().unique().tolist()[:3])
            check_channels(
                estimate.detach(),
                self.names,
                "the output of the prior's network",
                where=f"at sigma = {levels}",
            )
        return estimate


def _depth(frames: int) -> dict[str, int]:
    return {"frames": frames} if frames > 1 else {}
