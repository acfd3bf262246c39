"""A spherical Fourier neural operator: filters by degree of the spherical harmonics between small dense layers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from skyweave.diffusion.network import CellNorm
from skyweave.emulate.spherical import SphericalTransform
from skyweave.grid import Grid

__all__ = ["SFNO", "SpectralFilter"]


class SpectralFilter(nn.Module):
    r"""A convolution on the sphere that mixes channels: one complex matrix per degree, the same for all orders.

    .. math:: \hat y_{o,lm} = \sum_i \kappa_{io,l}\; \hat x_{i,lm}

    It commutes with rotations in longitude. Complex matrices also turn a field by a quarter of a wave in
    longitude, which derivatives to the east need.

    Args:
        transform: of the grid.
        channels: in and out.

    Reference: Bonev et al. (2023), https://arxiv.org/abs/2306.03838, Eq. 6 and 7.
    """

    def __init__(self, transform: SphericalTransform, channels: int) -> None:
        super().__init__()
        self.transform = transform
        scale = 1 / math.sqrt(2 * channels)
        self.weight = nn.Parameter(scale * torch.randn(transform.degrees, 2, channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels = x.shape[:2]
        waves = self.transform(x).unflatten(1, (batch, channels))  # (M, B, C, 2, L)
        real, imaginary = self.weight.unbind(1)
        # A complex product as one real product of twice the width.
        matrix = torch.cat([torch.cat([real, imaginary], -1), torch.cat([-imaginary, real], -1)], dim=-2)
        flat = waves.permute(4, 0, 1, 3, 2).reshape(self.transform.degrees, -1, 2 * channels)
        mixed = torch.bmm(flat, matrix).unflatten(1, (-1, batch)).unflatten(-1, (2, channels))
        back = mixed.permute(1, 2, 4, 3, 0).flatten(1, 2)
        return self.transform.inverse(back).unflatten(0, (batch, channels))


class _Dense(nn.Conv2d):
    """A dense layer on the channels of every cell."""

    def __init__(self, channels_in: int, channels_out: int, gain: float = 1.0) -> None:
        super().__init__(channels_in, channels_out, 1)
        with torch.no_grad():
            self.weight.mul_(gain)
            if self.bias is not None:
                self.bias.mul_(gain)


class _Local(nn.Conv2d):
    """A 3 x 3 convolution per channel, circular in longitude, zero beyond the poles."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        wrapped = F.pad(F.pad(x, (1, 1, 0, 0), mode="circular"), (0, 0, 1, 1))
        return super().forward(wrapped)


class _Block(nn.Module):
    """``x + MLP(norm(act(filter(z) + local(z) + dense(z))))`` with ``z = norm(x)``."""

    def __init__(self, transform: SphericalTransform, channels: int, ratio: float, local: bool) -> None:
        super().__init__()
        hidden = max(1, int(channels * ratio))
        self.norm0, self.norm1 = CellNorm(channels), CellNorm(channels)
        self.filter = SpectralFilter(transform, channels)
        self.skip = _Dense(channels, channels)
        self.local = _Local(channels) if local else None
        self.mlp = nn.Sequential(_Dense(channels, hidden), nn.SiLU(), _Dense(hidden, channels, gain=0.1))

    def forward(self, x: Tensor) -> Tensor:
        z = self.norm0(x)
        y = self.filter(z) + self.skip(z)
        if self.local is not None:
            y = y + self.local(z)
        return x + self.mlp(self.norm1(F.silu(y)))


class SFNO(nn.Module):
    """Fields ``(B, channels_in, H, W)`` of a global grid to ``(B, channels_out, H, W)``, zero before training.

    Rotating the input in longitude by whole cells rotates the output alike.

    Args:
        grid: global; see `SphericalTransform`.
        channels_in: state and forcing.
        channels_out: state.
        width: channels inside.
        layers: blocks.
        ratio: width of the dense layers over `width`.
        degrees: of the harmonics kept; two thirds of the rows by default.
        local: each block also has a 3 x 3 convolution per channel, for derivatives.

    Reference: Bonev et al. (2023), https://arxiv.org/abs/2306.03838; as a climate emulator, Guan et al. (2024),
    https://arxiv.org/abs/2405.16297.
    """

    def __init__(
        self,
        grid: Grid,
        channels_in: int,
        channels_out: int,
        *,
        width: int = 32,
        layers: int = 4,
        ratio: float = 2.0,
        degrees: int | None = None,
        local: bool = True,
    ) -> None:
        super().__init__()
        self.transform = SphericalTransform(grid, degrees)
        self.encoder = nn.Sequential(_Dense(channels_in, width), nn.SiLU(), _Dense(width, width))
        self.blocks = nn.ModuleList(_Block(self.transform, width, ratio, local) for _ in range(layers))
        self.decoder = nn.Sequential(
            _Dense(width + channels_in, width), nn.SiLU(), _Dense(width, channels_out, gain=0.0)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.encoder(x)
        for block in self.blocks:
            y = block(y)
        return self.decoder(torch.cat([y, x], dim=1))
