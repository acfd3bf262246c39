"""The deterministic U-Net: one answer, the mean (squared error) or the median (absolute error) of the fine day."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from skyweave.diffusion.network import UNet
from skyweave.downscale.models.downscaler import Domain, Downscaler, Noise, Sampling, TrainingSample
from skyweave.downscale.models.encoder import TransferEncoder, misfit
from skyweave.downscale.models.target_form import Channels
from skyweave.downscale.settings import ModelSection

__all__ = ["UNetDownscaler"]


class UNetDownscaler(Downscaler):
    """A U-Net trained with a regression loss; all its members are equal.

    Reference: downscaling paper, section 2.2.2, ``f^UNet``.
    """

    name: ClassVar[str] = "unet"
    generative: ClassVar[bool] = False

    def __init__(self, channels: Channels, config: ModelSection, encoder: TransferEncoder | None) -> None:
        super().__init__(channels, config, encoder)
        self.network = UNet(self.known_count, channels.fine, config.network.architecture())

    def _answer(self, known: Tensor) -> Tensor:
        return self.squash(self.network(known, known.new_zeros(len(known))))

    def loss(self, sample: TrainingSample, generator: torch.Generator) -> Tensor:
        """Mean squared or absolute error, in the form of the target."""
        clean = self.target_form(sample.target, sample)
        return misfit(self._answer(self.known(sample)), clean, self.config.loss)

    def draw(self, domain: Domain, noise: Noise, sampling: Sampling) -> Tensor:
        """The answer, once for each member."""
        empty = torch.zeros(1, len(noise.times), 0, *domain.shape, device=self.device)
        answer = domain(lambda _, known: self._answer(known), empty)
        return answer.expand(len(noise.members), *answer.shape[1:])
