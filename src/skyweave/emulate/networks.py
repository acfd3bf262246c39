"""The networks of emulators by name, and the first-order integrator that makes a step of one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skyweave.diffusion.network import Architecture, UNet
from skyweave.emulate.config import NetworkConfig
from skyweave.emulate.sfno import SFNO
from skyweave.emulate.spherical import is_global
from skyweave.grid import Grid

__all__ = ["NETWORKS", "Integrator", "build_integrator", "network_kind"]


class _RegionalUNet(nn.Module):
    """A prior's U-Net without its noise level."""

    def __init__(self, grid: Grid, channels_in: int, channels_out: int, config: NetworkConfig) -> None:
        super().__init__()
        architecture = Architecture(
            base=config.width,
            multipliers=config.multipliers,
            blocks=config.blocks,
            dropout=config.dropout,
            norm="cell",
        )
        self.periodic = grid.periodic
        self.unet = UNet(channels_in, channels_out, architecture)

    def forward(self, x: Tensor) -> Tensor:
        return self.unet(x, x.new_zeros(len(x)), periodic=self.periodic)


def _sfno(grid: Grid, channels_in: int, channels_out: int, config: NetworkConfig) -> nn.Module:
    return SFNO(
        grid,
        channels_in,
        channels_out,
        width=config.width,
        layers=config.layers,
        ratio=config.ratio,
        degrees=config.degrees,
        local=config.local,
    )


NETWORKS = {"sfno": _sfno, "unet": _RegionalUNet}
"""Networks by name: ``factory(grid, channels_in, channels_out, config)``; all are zero before training."""


class Integrator(nn.Module):
    r"""One step by the increment that a network predicts.

    .. math:: z(t + \Delta t) = z(t) + \mu + s\, F(z(t), c(t))

    with :math:`\mu` and :math:`s` the mean and standard deviation of the increments of the training data.

    Args:
        network: ``F``: state and forcing ``(B, C + K, H, W)`` to scaled increments ``(B, C, H, W)``.
        mean: :math:`\mu`, normalised units, ``(C,)``.
        deviation: :math:`s`, normalised units, ``(C,)``.

    Reference: Guan et al. (2024), https://arxiv.org/abs/2405.16297, whose emulator is such a first-order integrator.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Module, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean.float().clone())
        self.register_buffer("deviation", deviation.float().clone())

    def forward(self, z: Tensor, forcing: Tensor) -> Tensor:
        """The next state, missing where `z` is; both ``(B, C, H, W)``, normalised.

        Args:
            z: state, NaN where missing.
            forcing: ``(B, K, H, W)``.
        """
        missing = z.isnan()
        increment = self.network(torch.cat([z.masked_fill(missing, 0.0), forcing], dim=1))
        # Where the state is missing z is, and so is the sum.
        return z + (self.mean[:, None, None] + self.deviation[:, None, None] * increment)


def network_kind(grid: Grid, config: NetworkConfig) -> str:
    """The name in `NETWORKS` of the network that a configuration means on a grid."""
    return config.kind if config.kind != "auto" else ("sfno" if is_global(grid) else "unet")


def build_integrator(
    grid: Grid, channels: int, forcing: int, config: NetworkConfig, increments: tuple[Tensor, Tensor]
) -> Integrator:
    """An untrained integrator: its forecast is persistence plus the mean increment.

    Args:
        grid: of the states.
        channels: of the state, C.
        forcing: further channels, K.
        config: the network.
        increments: mean and standard deviation of the increments, ``(C,)`` each.

    Raises:
        SkyweaveError: a spherical network on a region.
    """
    return Integrator(
        NETWORKS[network_kind(grid, config)](grid, channels + forcing, channels, config), *increments
    )
