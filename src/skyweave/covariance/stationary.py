"""Covariance of the state given its noisy version: what data assimilation calls background error covariance."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["StateCovariance", "StationaryCovariance", "apply_blocks", "spectral_root"]


class StateCovariance(Protocol):
    """A symmetric positive semi-definite ``V`` acting on states ``(member, time, channel, lat, lon)``."""

    @property
    def shape(self) -> tuple[int, int, int, int]: ...

    @property
    def noise_shape(self) -> tuple[int, int, int, int]: ...

    def __matmul__(self, v: Tensor) -> Tensor: ...

    def color(self, noise: Tensor) -> Tensor: ...

    def dense(self, cells: Tensor) -> Tensor | None: ...

    def variance(self) -> Tensor: ...


def apply_blocks(blocks: Tensor, v_hat: Tensor) -> Tensor:
    """Multiply Fourier coefficients ``(M, P, ky, kx)`` by a ``P x P`` block per wavenumber."""
    if blocks.shape[0] == 1:
        return blocks[0, 0] * v_hat
    return torch.einsum("pqyx,mqyx->mpyx", blocks.to(v_hat.dtype), v_hat)


def spectral_root(blocks: Tensor) -> Tensor:
    """Hermitian square root of each wavenumber's block, negative eigenvalues set to zero."""
    if blocks.shape[0] == 1:
        return blocks.real.clamp_min(0).sqrt()
    values, vectors = torch.linalg.eigh(blocks.permute(2, 3, 0, 1))
    root = vectors * values.clamp_min(0).sqrt()[..., None, :] @ vectors.mH
    return root.permute(2, 3, 0, 1)


@dataclass(frozen=True, eq=False)
class StationaryCovariance:
    r"""Stationary kernel applied as a padded convolution, scaled by a local standard deviation.

    .. math:: V = \mathrm{diag}(s)\, E^T F^{-1} \hat K F E\, \mathrm{diag}(s)

    with ``E`` the embedding of the domain into a larger torus, ``F`` the Fourier transform and ``K`` one
    ``P x P`` block per wavenumber, ``P = time * channel``.

    Args:
        spectrum: blocks, shape ``(P, P, ky, kx)`` with ``kx`` the half axis of a real transform; Hermitian and
            positive semi-definite per wavenumber (real when ``P`` is one).
        shape: ``(T, C, H, W)`` of the states it acts on.
        padded: ``(H', W')`` of the torus; equal to ``(H, W)`` for a field that is periodic both ways.
        scale: local standard deviation ``s``, broadcastable to ``(M, T, C, H, W)``, or ``None`` for one.
    """

    spectrum: Tensor
    shape: tuple[int, int, int, int]
    padded: tuple[int, int]
    scale: Tensor | None = None
    _cache: dict = field(default_factory=dict, repr=False)

    def __matmul__(self, v: Tensor) -> Tensor:
        if self.scale is not None:
            v = v * self.scale
        out = self._convolve(v, self.spectrum)
        return out if self.scale is None else out * self.scale

    def color(self, noise: Tensor) -> Tensor:
        r"""``V^{1/2} n``: a draw of covariance ``V`` from white noise of shape `noise_shape`."""
        if "root" not in self._cache:
            self._cache["root"] = spectral_root(self.spectrum)
        out = self._convolve(noise, self._cache["root"])
        return out if self.scale is None else out * self.scale

    @property
    def noise_shape(self) -> tuple[int, int, int, int]:
        """Shape ``(T, C, H', W')`` of the white noise that `color` takes for each member."""
        return (*self.shape[:2], *self.padded)

    @property
    def kernel(self) -> Tensor:
        """Covariance by lag on the torus, ``(P, P, H', W')``, zero lag first, without the scale."""
        if "kernel" not in self._cache:
            self._cache["kernel"] = torch.fft.irfft2(self.spectrum, s=self.padded)
        return self._cache["kernel"]

    @property
    def member_dependent(self) -> bool:
        return self.scale is not None and self.scale.ndim == 5 and self.scale.shape[0] > 1

    def dense(self, cells: Tensor) -> Tensor | None:
        """``V`` between flat cell indices, ``(..., c)`` to ``(..., c, c)``; ``None`` where members differ.

        Cells are numbered row-major over time, channel, lat, lon.
        """
        if self.member_dependent:
            return None
        _, _, H, W = self.shape
        table = self._lag_table()
        rows, columns, channels = 2 * H - 1, 2 * W - 1, self.spectrum.shape[0]
        index = cells.to(torch.int32)
        j, i, p = index % W, (index // W) % H, index // (H * W)
        # One subtraction finds the place of every pair in the table of signed lags.
        left = (p * channels * rows + i + H - 1) * columns + j + W - 1
        right = (i - p * rows) * columns + j
        pairs = left[..., :, None] - right[..., None, :]
        out = table.index_select(0, pairs.reshape(-1)).reshape(pairs.shape)
        if self.scale is not None:
            s = self.scale.expand(1, *self.shape).reshape(-1)[cells.long()]
            out = s[..., :, None] * out * s[..., None, :]
        return out

    def _lag_table(self) -> Tensor:
        """Covariance by signed lag within the domain, ``(P, P, 2H - 1, 2W - 1)``, flat."""
        if "table" not in self._cache:
            _, _, H, W = self.shape
            dy = torch.arange(1 - H, H) % self.padded[0]
            dx = torch.arange(1 - W, W) % self.padded[1]
            self._cache["table"] = self.kernel[:, :, dy[:, None], dx[None, :]].reshape(-1)
        return self._cache["table"]

    def largest(self) -> float:
        """Variance of the largest mode of the kernel: no eigenvalue without the scale is greater."""
        if self.spectrum.shape[0] == 1:
            return float(self.spectrum.real.max())
        return float(torch.linalg.matrix_norm(self.spectrum.permute(2, 3, 0, 1)).max())

    def variance(self) -> Tensor:
        """Variance of each cell, broadcastable to ``(M, T, C, H, W)``."""
        T, C, _, _ = self.shape
        kernel = self.kernel
        var = torch.diagonal(kernel[:, :, 0, 0]).reshape(1, T, C, 1, 1)
        return var if self.scale is None else var * self.scale**2

    def scaled(self, scale: Tensor | None) -> StationaryCovariance:
        """The same kernel with another local standard deviation."""
        return replace(self, scale=scale, _cache=self._cache)

    def _convolve(self, v: Tensor, blocks: Tensor) -> Tensor:
        T, C, H, W = self.shape
        flat = v.reshape(v.shape[0], T * C, *v.shape[-2:])
        hat = torch.fft.rfft2(flat, s=self.padded)
        out = torch.fft.irfft2(apply_blocks(blocks, hat), s=self.padded)[..., :H, :W]
        return out.reshape(v.shape[0], T, C, H, W)
