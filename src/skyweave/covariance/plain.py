"""Covariances of states without structure: a multiple of the identity, and a full matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

__all__ = ["DenseCovariance", "ScaledIdentity"]


class _Plain:
    """The same for all members, and coloured from noise of the shape of the states."""

    shape: tuple[int, int, int, int]
    member_dependent: ClassVar[bool] = False

    @property
    def noise_shape(self) -> tuple[int, int, int, int]:
        return self.shape


@dataclass(frozen=True, eq=False)
class ScaledIdentity(_Plain):
    """``V = variance I``.

    Args:
        size: the variance.
        shape: ``(T, C, H, W)`` of the states it acts on.
    """

    size: float
    shape: tuple[int, int, int, int]

    def __matmul__(self, v: Tensor) -> Tensor:
        return self.size * v

    def color(self, noise: Tensor) -> Tensor:
        return math.sqrt(self.size) * noise

    def dense(self, cells: Tensor) -> Tensor:
        return self.size * (cells[..., :, None] == cells[..., None, :]).float()

    def variance(self) -> Tensor:
        return torch.full((1, 1, 1, 1, 1), self.size)

    def largest(self) -> float:
        return self.size


@dataclass(frozen=True, eq=False)
class DenseCovariance(_Plain):
    """A full covariance matrix acting on states of shape ``(M, T, C, H, W)``."""

    matrix: Tensor
    shape: tuple[int, int, int, int]

    def __matmul__(self, v: Tensor) -> Tensor:
        return (v.reshape(v.shape[0], -1) @ self.matrix.to(v.dtype)).reshape(v.shape)

    def color(self, noise: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(self.matrix)
        root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
        return (noise.reshape(noise.shape[0], -1) @ root.to(noise.dtype)).reshape(noise.shape)

    def dense(self, cells: Tensor) -> Tensor:
        return self.matrix[cells[..., :, None], cells[..., None, :]].to(torch.float32)

    def variance(self) -> Tensor:
        return self.matrix.diagonal().reshape(1, *self.shape)

    def largest(self) -> float:
        # No eigenvalue is larger than the largest sum of a row.
        return float(self.matrix.abs().sum(1).max())
