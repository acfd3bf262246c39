"""Sampling with a masked network in the conditions it was trained in: averages over random masks."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from skyweave.diffusion.precondition import PreconditionedNetwork
from skyweave.errors import SkyweaveError
from skyweave.prior.corruption import moving_clouds
from skyweave.prior.storage import LearntPrior

__all__ = ["MaskAveraged", "averaged_over_masks"]


class MaskAveraged(nn.Module):
    r"""A masked denoiser that is never shown everything.

    .. math:: \bar D(x_\sigma, \sigma)_i = \frac{\sum_b B^{(b)}_i\, D(B^{(b)} \odot x_\sigma, B^{(b)}, \sigma)_i}
              {\sum_b B^{(b)}_i}

    Masks come in pairs, clouds and what they leave, so that every cell is shown by half of them. A network that
    learnt from data with gaps seldom met a complete field; this stays where it learnt, at the price of an evaluation
    for every mask and of what each of them hides. The masks depend on the noise level and the shape alone.

    Args:
        network: masked.
        pairs: of masks.
    """

    masked = True

    def __init__(self, network: PreconditionedNetwork, pairs: int = 1) -> None:
        super().__init__()
        self.inner, self.pairs = network, pairs
        self.network, self.sigma_data = network.network, network.sigma_data

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
        """As `PreconditionedNetwork.forward`; with a mask given it is the network's own estimate."""
        if mask is not None:
            return self.inner(x, sigma, conditioning, mask=mask, periodic=periodic, autocast=autocast)
        frames = x.shape[1] if x.ndim == 5 else 1
        generator = torch.Generator().manual_seed(round(1000 * float(sigma[0].log())) % 2**31)
        out = torch.zeros_like(x)
        for _ in range(self.pairs):
            clouds = moving_clouds(frames, x.shape[-2], x.shape[-1], 0.5, generator).to(x.device)
            for shown in (clouds, ~clouds):
                own = (shown[:, None] if x.ndim == 5 else shown).expand_as(x)
                estimate = self.inner(x, sigma, conditioning, mask=own, periodic=periodic, autocast=autocast)
                out = out + estimate * own
        return out / self.pairs


def averaged_over_masks(prior: LearntPrior, pairs: int = 1) -> LearntPrior:
    """The same prior, whose network is shown half of the field at a time.

    Raises:
        SkyweaveError: it was not learnt with masks.
    """
    if not prior.network.masked:
        raise SkyweaveError(
            "only a prior learnt with `corruption` can be averaged over masks; this one takes no mask"
        )
    return replace(prior, network=MaskAveraged(prior.network, pairs))  # type: ignore[arg-type]
