"""In the manner of VDM: convolutional LSTM encoder, a variational network, nearest-neighbour stitching."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from skyweave.downscale.models.downscaler import Domain, Downscaler, Noise, Sampling, TrainingSample
from skyweave.downscale.models.encoder import TransferEncoder
from skyweave.downscale.models.target_form import Channels
from skyweave.downscale.models.vae import elbo_loss
from skyweave.downscale.settings import ModelSection

__all__ = ["VDMLike"]


class VDMLike(Downscaler):
    """A variational network with one latent vector for a patch, and no view beyond a few cells.

    Patches are put together by taking every cell from the patch in whose middle it lies most nearly, so members of
    neighbouring patches have nothing in common: the seams that the downscaling paper's stitching is there to avoid.

    Args:
        channels, config, encoder: as in `Downscaler`; the latent vector has ``4 * config.latent`` numbers.

    Reference: Wang and Franklin 2023, as described in the downscaling paper, section 5.1.
    """

    name: ClassVar[str] = "vdm-like"
    encoder_kind: ClassVar[str] = "convlstm"
    nearest: ClassVar[bool] = True

    def __init__(self, channels: Channels, config: ModelSection, encoder: TransferEncoder | None) -> None:
        super().__init__(channels, config, encoder)
        width = 2 * config.network.base
        self.count = 4 * config.latent
        self.infer = nn.Sequential(
            nn.Conv2d(channels.fine + self.known_count, width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(4 * width, 2 * self.count),
        )
        self.generate = nn.Sequential(
            nn.Conv2d(self.count + self.known_count, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, channels.fine, 3, padding=1),
        )
        self.log_scale = nn.Parameter(torch.zeros(channels.fine))

    def _decode(self, z: Tensor, known: Tensor) -> Tensor:
        """Mean of the target; `z` is a field that is constant over the patch."""
        return self.squash(self.generate(torch.cat([z, known], dim=1)))

    def loss(self, sample: TrainingSample, generator: torch.Generator) -> Tensor:
        """Negative evidence lower bound for each cell."""
        clean = self.target_form(sample.target, sample)
        known = self.known(sample)
        mean, log_variance = self.infer(torch.cat([clean.nan_to_num(0.0), known], dim=1)).chunk(2, dim=1)
        log_variance = log_variance.clamp(-10, 4)
        fresh = torch.randn(mean.shape, generator=generator).to(mean)
        z = mean + (0.5 * log_variance).exp() * fresh
        decoded = self._decode(z[:, :, None, None].expand(-1, -1, *clean.shape[-2:]), known)
        return elbo_loss(clean, decoded, self.log_scale, mean, log_variance, self.config.kl_weight)

    def draw(self, domain: Domain, noise: Noise, sampling: Sampling) -> Tensor:
        """Decoded latent vectors drawn from the standard normal."""
        z = noise.normal(0, (self.count, 1, 1)).to(self.log_scale)
        return domain(self._decode, z.expand(-1, -1, -1, *domain.shape))
