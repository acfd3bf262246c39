"""Keeping the waves of a long rollout as weak as those of the climate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from skyweave.prior.data import Record

__all__ = ["PowerLimit", "power_limit"]

FRAMES = 2000
"""States that the limits are taken from, at most."""


@dataclass(frozen=True, eq=False)
class PowerLimit:
    r"""The most power that a state may have at each zonal and each meridional wavenumber.

    .. math:: c = A z B^T, \qquad c_{yx} \leftarrow c_{yx} \min\Big(1, \sqrt{P_x / \textstyle\sum_y c_{yx}^2}\Big),
              \qquad c_{yx} \leftarrow c_{yx} \min\Big(1, \sqrt{P_y / \textstyle\sum_x c_{yx}^2}\Big)

    with cosine transforms along latitudes, and along longitudes too unless these are a circle, which has a Fourier
    transform. States of the climate are left as they are; what a network adds to waves that it was never shown, a
    little in each step, does not pile up.

    Args:
        zonal: :math:`P_x`, normalised units squared, ``(C, K)``.
        meridional: :math:`P_y`, ``(C, H)``.
        columns: longitudes.
        periodic: whether they are a circle.
    """

    zonal: Tensor
    meridional: Tensor
    columns: int
    periodic: bool

    def __call__(self, z: Tensor) -> Tensor:
        """The states ``(M, C, H, W)``, normalised, within the limits; missing where they were."""
        missing = z.isnan()
        A, B = self._bases[0].to(z), self._bases[1].to(z)
        c = A @ z.masked_fill(missing, 0.0) @ B.T
        c = c * self._spread(_factor(self.zonal, self._of_waves(c)))
        c = c * _factor(self.meridional, c.square().sum(-1))[..., None]
        return (A.T @ c @ B).masked_fill(missing, float("nan"))

    def powers(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Power by zonal ``(M, C, K)`` and by meridional wavenumber ``(M, C, H)`` of states without gaps."""
        c = self._bases[0].to(z) @ z @ self._bases[1].to(z).T
        return self._of_waves(c), c.square().sum(-1)

    @cached_property
    def _bases(self) -> tuple[Tensor, Tensor]:
        rows = self.meridional.shape[-1]
        along = _circle(self.columns) if self.periodic else _cosines(self.columns)
        return _cosines(rows), along

    @cached_property
    def _waves(self) -> Tensor:
        """The wavenumber of each row of the zonal basis."""
        number = torch.arange(self.columns)
        return (number + 1) // 2 if self.periodic else number

    def _of_waves(self, c: Tensor) -> Tensor:
        power = c.square().sum(-2)
        out = power.new_zeros(*power.shape[:-1], int(self._waves[-1]) + 1)
        return out.index_add(-1, self._waves.to(c.device), power)

    def _spread(self, factor: Tensor) -> Tensor:
        return factor[..., None, self._waves.to(factor.device)]


def power_limit(record: Record, periodic: bool, share: float) -> PowerLimit:
    """The power that a share of the states of a normalised record do not exceed, by wavenumber.

    A short record knows little of its extremes: limits are raised by the factor by which those of its halves differ.

    Args:
        record: the training period.
        periodic: whether longitudes are a circle.
        share: of the states, by wavenumber; 1 takes the largest.
    """
    count = min(FRAMES, len(record.times))
    chosen = np.unique(np.linspace(0, len(record.times) - 1, count).astype(int))
    channels, (rows, columns) = len(record.spec.variables), record.grid.shape
    empty = PowerLimit(torch.zeros(channels, 1), torch.zeros(channels, rows), columns, bool(periodic))
    blocks = np.array_split(chosen, max(1, len(chosen) // 50))
    parts = [empty.powers(record.read(block).nan_to_num()) for block in blocks]
    zonal, meridional = (_largest(torch.cat(side), share) for side in zip(*parts, strict=True))
    return PowerLimit(zonal, meridional, columns, bool(periodic))


def _largest(power: Tensor, share: float) -> Tensor:
    """Quantile of powers ``(N, C, K)``, times the factor by which those of the halves of the record differ."""
    halves = [half.double().quantile(share, dim=0).clamp_min(1e-20) for half in power.chunk(2)]
    differ = (halves[0] / halves[-1]).log().abs().mean().exp()
    return (differ * power.double().quantile(share, dim=0)).float()


def _factor(limit: Tensor, power: Tensor) -> Tensor:
    return (limit.to(power) / power.clamp_min(1e-20)).sqrt().clamp(max=1.0)


def _cosines(n: int) -> Tensor:
    """The orthonormal cosine transform (DCT-II), ``(n, n)``."""
    k, i = np.arange(n)[:, None], np.arange(n)[None]
    basis = np.sqrt(2 / n) * np.cos(np.pi * k * (i + 0.5) / n)
    basis[0] /= np.sqrt(2)
    return torch.from_numpy(basis).float()


def _circle(n: int) -> Tensor:
    """Orthonormal cosines and sines of a circle, ``(n, n)``: 0, 1, 1, 2, 2, ..."""
    i = np.arange(n)
    rows = [np.full(n, 1 / np.sqrt(n))]
    for k in range(1, n // 2 + 1):
        angle, scale = 2 * np.pi * k * i / n, np.sqrt((1 if 2 * k == n else 2) / n)
        rows += [scale * np.cos(angle)] if 2 * k == n else [scale * np.cos(angle), scale * np.sin(angle)]
    return torch.from_numpy(np.stack(rows)).float()
