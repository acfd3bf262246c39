"""Recurrent small models: an LSTM autoencoder for the VAE, and its convolutional form in the manner of VDM."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

__all__ = ["RecurrentTrunk"]


class ConvLSTMCell(nn.Module):
    """One step of an LSTM whose states are maps; a kernel of one cell is an ordinary LSTM on every cell."""

    def __init__(self, channels: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.gates = nn.Conv2d(channels + hidden, 4 * hidden, kernel, padding=kernel // 2)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, c = state
        i, f, o, g = self.gates(torch.cat([x, h], dim=1)).chunk(4, dim=1)
        # A forget gate that starts open remembers the whole window from the first step of training.
        c = torch.sigmoid(f + 1) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class RecurrentTrunk(nn.Module):
    """Encodes each day on a coarser grid, remembers with an LSTM, and decodes the change to the next day.

    The features are the state of the LSTM after the last day, brought to the fine grid by bilinear interpolation.

    Args:
        channels: variables of a day.
        width: channels of the encoder; the LSTM has twice as many.
        stride: cells per coarse cell, a power of two.
        kernel: of the LSTM, 1 or 3.

    Reference: downscaling paper, section 2.2.1 (LSTM autoencoder); Shi et al. 2015, "Convolutional LSTM network".
    """

    def __init__(self, channels: int, width: int, stride: int, kernel: int) -> None:
        super().__init__()
        self.stride = stride
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.SiLU()]
        for _ in range(stride.bit_length() - 1):
            layers += [nn.Conv2d(width, width, 3, stride=2, padding=1), nn.SiLU()]
        self.encode = nn.Sequential(*layers)
        self.features_count = 2 * width
        self.lstm = ConvLSTMCell(width, 2 * width, kernel)
        self.decode = nn.Sequential(
            nn.Conv2d(2 * width + channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
        )
        self.last = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def _state(self, days: Tensor) -> Tensor:
        batch, count = days.shape[:2]
        maps = self.encode(days.flatten(0, 1)).unflatten(0, (batch, count))
        h = maps.new_zeros(batch, self.lstm.hidden, *maps.shape[-2:])
        c = torch.zeros_like(h)
        for day in range(count):
            h, c = self.lstm(maps[:, day], (h, c))
        return h

    def features(self, days: Tensor) -> list[Tensor]:
        """The remembered state, ``(B, 2 width, H, W)``."""
        shape = tuple(days.shape[-2:])
        return [F.interpolate(self._state(days), shape, mode="bilinear", align_corners=False)]

    def change(self, days: Tensor) -> Tensor:
        """Predicted change to the next day, ``(B, C, H, W)``."""
        known = torch.cat([self.features(days)[0], days[:, -1]], dim=1)
        return self.last(self.decode(known))
