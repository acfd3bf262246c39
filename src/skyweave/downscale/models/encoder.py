"""Transfer encoders: pretrained to predict the next coarse day, then frozen and applied to the fine days before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from skyweave.diffusion.network import Architecture, UNet, pad_to_multiple
from skyweave.downscale.models.recurrent import RecurrentTrunk

__all__ = ["ENCODERS", "TransferEncoder", "pretraining_loss"]

Levels = Literal["all", "last"]


class UNetTrunk(UNet):
    """The small U-Net: the days of a window as channels, its encoder layers as features."""

    def __init__(self, days: int, channels: int, architecture: Architecture, levels: Levels = "all") -> None:
        super().__init__(days * channels, channels, architecture)
        a, self.levels = architecture, levels
        widths = [a.base * m for m in a.multipliers]
        self.features_count = sum(widths) if levels == "all" else widths[-1]

    def change(self, days: Tensor) -> Tensor:
        """Predicted change to the next day, ``(B, C, H, W)``."""
        stacked = days.flatten(1, 2)
        return self(stacked, stacked.new_zeros(len(stacked)))

    def features(self, days: Tensor) -> list[Tensor]:
        """Feature maps of the encoder layers, finest first; the last one is that of the bottleneck."""
        x = days.flatten(1, 2)
        height, width = x.shape[-2:]
        x, (top, left), _ = pad_to_multiple(x, self.architecture.stride, False)
        embedding = self.embedding(x.new_zeros(len(x)))
        x = self.first(x)
        maps: list[Tensor] = []
        for block in self.encoder:
            if block.resample == "down":
                maps.append(x)
            x = block(x, embedding, False)
        for block in self.middle:
            x = block(x, embedding, False)
        maps.append(x)
        padded = (height + (-height) % self.architecture.stride, width + (-width) % self.architecture.stride)
        chosen = maps if self.levels == "all" else maps[-1:]
        return [to_fine_grid(m, padded)[..., top : top + height, left : left + width] for m in chosen]


def to_fine_grid(x: Tensor, shape: tuple[int, int]) -> Tensor:
    """Feature maps brought to the fine grid by bilinear interpolation (section 2.2.2)."""
    if tuple(x.shape[-2:]) == shape:
        return x
    return F.interpolate(x, shape, mode="bilinear", align_corners=False)


class TransferEncoder(nn.Module):
    r"""Predicts the next day from ``T_lag`` days, and gives the features that this has taught it.

    .. math:: \hat x_{t+1} = x_t + f_\Omega(x_{t-T_{lag}+1:t}) \quad\text{(Eq. 1)}, \qquad
              \phi_\psi(y_{t-T_{lag}+1:t}) \quad\text{(transfer feature, Eq. 2)}

    The network predicts the change from the last day, so that an untrained one is persistence.

    Args:
        kind: one of `ENCODERS`: "unet", "lstm" (an LSTM over time on each coarse cell) or "convlstm".
        days: ``T_lag``.
        channels: variables of a day.
        architecture: of the U-Net; a recurrent one takes its width and depth.
        levels: "all" encoder layers as features, or the "last" one.

    Reference: downscaling paper, section 2.2.1, Eq. 1.
    """

    def __init__(
        self,
        kind: str,
        days: int,
        channels: int,
        architecture: Architecture,
        levels: Levels = "all",
    ) -> None:
        super().__init__()
        self.kind, self.days, self.channels = kind, days, channels
        self.architecture, self.levels = architecture, levels
        self.trunk: UNetTrunk | RecurrentTrunk = ENCODERS[kind](days, channels, architecture, levels)

    @property
    def features_count(self) -> int:
        """Channels of the features."""
        return self.trunk.features_count

    def forward(self, days: Tensor) -> Tensor:
        """Prediction of the next day, ``(B, T_lag, C, H, W)`` to ``(B, C, H, W)``, scaled."""
        return days[:, -1] + self.trunk.change(days)

    def features(self, days: Tensor) -> Tensor:
        """Transfer features on the grid of the days, ``(B, F, H, W)``."""
        return torch.cat(self.trunk.features(days), dim=1)

    def freeze(self) -> TransferEncoder:
        """Fix every weight; what is built on it trains without it."""
        return self.requires_grad_(False).eval()


def _unet(days: int, channels: int, architecture: Architecture, levels: Levels) -> UNetTrunk:
    return UNetTrunk(days, channels, architecture, levels)


def _lstm(days: int, channels: int, architecture: Architecture, levels: Levels) -> RecurrentTrunk:
    return RecurrentTrunk(channels, architecture.base, architecture.stride, kernel=1)


def _convlstm(days: int, channels: int, architecture: Architecture, levels: Levels) -> RecurrentTrunk:
    return RecurrentTrunk(channels, architecture.base, architecture.stride, kernel=3)


ENCODERS: dict[str, Callable[[int, int, Architecture, Levels], UNetTrunk | RecurrentTrunk]] = {
    "unet": _unet,
    "lstm": _lstm,
    "convlstm": _convlstm,
}
"""Small models by name: that of the DDPM and the U-Net, that of the VAE, and that of VDM."""


def pretraining_loss(encoder: TransferEncoder, days: Tensor, target: Tensor, kind: str = "mse") -> Tensor:
    """Mean squared ("mse") or absolute ("mae", the paper's) error of the next day, over cells that are there.

    Args:
        days: scaled, ``(B, T_lag, C, H, W)``, no NaN.
        target: scaled, ``(B, C, H, W)``, NaN where missing.
    """
    return misfit(encoder(days), target, kind)


def misfit(prediction: Tensor, target: Tensor, kind: str) -> Tensor:
    """Mean squared or absolute error over the cells whose target is there."""
    known = target.isfinite()
    error = (prediction - torch.where(known, target, prediction))[known]
    return error.abs().mean() if kind == "mae" else error.square().mean()
