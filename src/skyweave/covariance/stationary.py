"""Covariance of the state given its noisy version: what data assimilation calls background error covariance."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from skyweave.covariance.torus import AXES, Torus, embed, positive, root, signed, taper

__all__ = ["StateCovariance", "StationaryCovariance", "from_lags"]


class StateCovariance(Protocol):
    """A symmetric positive semi-definite ``V`` acting on states ``(member, time, channel, lat, lon)``."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(T, C, H, W)`` of the states it acts on."""
        ...

    @property
    def noise_shape(self) -> tuple[int, int, int, int]:
        """Shape of the white noise that `color` takes for each member."""
        ...

    @property
    def member_dependent(self) -> bool:
        """Whether members have covariances of their own."""
        ...

    def __matmul__(self, v: Tensor) -> Tensor:
        """``V v`` of states ``(M, T, C, H, W)``."""
        ...

    def color(self, noise: Tensor) -> Tensor:
        """``V^{1/2} n``: a draw of covariance ``V`` from white noise of shape `noise_shape` for each member."""
        ...

    def dense(self, cells: Tensor) -> Tensor | None:
        """``V`` between flat cell indices, ``(..., c)`` to ``(..., c, c)``; ``None`` where there is no such table."""
        ...

    def variance(self) -> Tensor:
        """Variance of each cell, broadcastable to ``(M, T, C, H, W)``."""
        ...

    def largest(self) -> float:
        """No eigenvalue, local standard deviations aside, is greater."""
        ...


@dataclass(frozen=True, eq=False)
class StationaryCovariance:
    r"""Stationary kernel over (time, lat, lon) applied as a padded convolution, scaled by a local standard deviation.

    .. math:: V = \mathrm{diag}(s)\, E^T F^{-1} \hat K F E\, \mathrm{diag}(s)

    with ``E`` the embedding of the states into a longer and larger torus, ``F`` the Fourier transform over time and
    space, and ``K`` one ``C x C`` block per frequency and wavenumber. On a torus of one frame all frames have the same
    covariance and are independent. Memory grows with the number of frames, and not with its square as a block for every
    pair of frames would.

    Args:
        spectrum: blocks ``(C, C, kt, ky, kx)``, ``kx`` the half axis of a real transform; Hermitian and positive
            semi-definite (real where ``C`` is one).
        shape: ``(T, C, H, W)`` of the states it acts on.
        torus: ``(T', H', W')``; equal to ``(1, H, W)`` for single frames that are periodic both ways.
        scale: local standard deviation ``s``, broadcastable to ``(M, T, C, H, W)``, or ``None`` for one.
    """

    spectrum: Tensor
    shape: tuple[int, int, int, int]
    torus: Torus
    scale: Tensor | None = None
    _cache: dict = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, kernel: Tensor, shape: tuple[int, int, int, int], scale: Tensor | None = None
    ) -> StationaryCovariance:
        """The nearest covariance to a kernel by lag on a torus, ``(C, C, T', H', W')``; see `torus.positive`."""
        _, _, T, H, W = kernel.shape
        return cls(positive(kernel), shape, (T, H, W), scale)

    @property
    def noise_shape(self) -> tuple[int, int, int, int]:
        """Shape ``(T', C, H', W')`` of the white noise that `color` takes for each member."""
        T, C = self.shape[:2]
        return (T if self.torus[0] == 1 else self.torus[0], C, *self.padded)

    @property
    def padded(self) -> tuple[int, int]:
        """``(H', W')`` of the torus."""
        return self.torus[1], self.torus[2]

    @property
    def member_dependent(self) -> bool:
        """Whether members have local standard deviations of their own."""
        return self.scale is not None and self.scale.ndim == 5 and self.scale.shape[0] > 1

    @property
    def kernel(self) -> Tensor:
        """Covariance within one frame by lag on the torus, ``(C, C, H', W')``, zero lag first, without the scale."""
        return self._lags()[:, :, 0]

    def __matmul__(self, v: Tensor) -> Tensor:
        """``V v`` of states ``(M, T, C, H, W)``."""
        if self.scale is not None:
            v = v * self.scale
        out = self.convolved(v, self.spectrum)
        return out if self.scale is None else out * self.scale

    def color(self, noise: Tensor) -> Tensor:
        r"""``V^{1/2} n``: a draw of covariance ``V`` from white noise ``(M, T', C, H', W')``."""
        if "root" not in self._cache:
            self._cache["root"] = root(self.spectrum)
        out = self.convolved(noise, self._cache["root"])
        return out if self.scale is None else out * self.scale

    def convolved(self, v: Tensor, spectrum: Tensor) -> Tensor:
        """States, or noise on the torus, filtered by blocks ``(C, C, kt, ky, kx)``, on the domain."""
        T, _, H, W = self.shape
        if self.torus[0] == 1:
            return self._filtered(v, spectrum, AXES[1:])[..., :H, :W]
        # One member at a time: the transform of a long sequence is large.
        parts = [self._filtered(member[None], spectrum, AXES)[:, :T, :, :H, :W] for member in v]
        return torch.cat(parts)

    def _filtered(self, v: Tensor, spectrum: Tensor, axes: tuple[int, ...]) -> Tensor:
        size = self.torus[-len(axes) :]
        hat = torch.fft.rfftn(v.transpose(1, 2), s=size, dim=axes)
        if spectrum.shape[0] == 1:
            hat = spectrum[0, 0] * hat
        elif self.torus[0] == 1:
            hat = torch.einsum("pqyx,mqtyx->mptyx", spectrum[:, :, 0].to(hat.dtype), hat)
        else:
            hat = torch.einsum("pqtyx,mqtyx->mptyx", spectrum.to(hat.dtype), hat)
        return torch.fft.irfftn(hat, s=size, dim=axes).transpose(1, 2)

    def dense(self, cells: Tensor) -> Tensor | None:
        """``V`` between flat cell indices, ``(..., c)`` to ``(..., c, c)``; ``None`` where members differ.

        Cells are numbered row-major over time, channel, lat, lon.
        """
        if self.member_dependent:
            return None
        T, C, H, W = self.shape
        table = self._lag_table()
        frames, rows, columns = 2 * T - 1, 2 * H - 1, 2 * W - 1
        index = cells.to(table.device, torch.int32)
        j, i, c, t = index % W, (index // W) % H, (index // (H * W)) % C, index // (C * H * W)
        # One subtraction finds the place of every pair in the table of signed lags.
        left = ((c * C * frames + t + T - 1) * rows + i + H - 1) * columns + j + W - 1
        right = ((t - c * frames) * rows + i) * columns + j
        pairs = left[..., :, None] - right[..., None, :]
        out = table.index_select(0, pairs.reshape(-1)).reshape(pairs.shape)
        if self.scale is not None:
            s = self.scale.expand(1, *self.shape).reshape(-1)[index.long()]
            out = s[..., :, None] * out * s[..., None, :]
        return out

    def largest(self) -> float:
        """Variance of the largest mode of the kernel: no eigenvalue without the scale is greater."""
        if self.spectrum.shape[0] == 1:
            return float(self.spectrum.real.max())
        return float(torch.linalg.matrix_norm(self.spectrum.movedim((0, 1), (-2, -1))).max())

    def variance(self) -> Tensor:
        """Variance of each cell, broadcastable to ``(M, T, C, H, W)``."""
        var = torch.diagonal(self._lags()[:, :, 0, 0, 0]).reshape(1, 1, -1, 1, 1)
        return var if self.scale is None else var * self.scale**2

    def scaled(self, scale: Tensor | None) -> StationaryCovariance:
        """The same kernel with another local standard deviation."""
        return replace(self, scale=scale, _cache=self._cache)

    def to(self, device: str | torch.device) -> StationaryCovariance:
        """The same on a device."""
        scale = None if self.scale is None else self.scale.to(device)
        return replace(self, spectrum=self.spectrum.to(device), scale=scale, _cache={})

    def tapered(self, lengths: tuple[float | None, float | None]) -> StationaryCovariance:
        """The kernel cut off at ``lengths`` of latitude and longitude, in cells (``None``: not); see `torus.taper`."""
        lags = self._lags().double()
        for axis, length in zip(AXES[1:], lengths, strict=True):
            weight = taper(signed(lags.shape[axis], lags.device), length)
            lags = lags * (weight[:, None] if axis == -2 else weight)
        return StationaryCovariance.of(lags, self.shape)

    def _lags(self) -> Tensor:
        """Covariance by lag on the torus, ``(C, C, T', H', W')``."""
        if "lags" not in self._cache:
            self._cache["lags"] = torch.fft.irfftn(self.spectrum, s=self.torus, dim=AXES)
        return self._cache["lags"]

    def _lag_table(self) -> Tensor:
        """Covariance by signed lag within the domain, ``(C, C, 2T - 1, 2H - 1, 2W - 1)``, flat."""
        if "table" not in self._cache:
            T, C, H, W = self.shape
            lags = self._lags()
            for axis, (size, around) in enumerate(zip((H, W), self.padded, strict=True), start=3):
                lags = lags.index_select(axis, torch.arange(1 - size, size, device=lags.device) % around)
            if self.torus[0] == 1:
                apart = lags.new_zeros(C, C, T - 1, *lags.shape[3:])
                lags = torch.cat([apart, lags, apart], dim=2)
            else:
                lags = lags.index_select(2, torch.arange(1 - T, T, device=lags.device) % self.torus[0])
            self._cache["table"] = lags.reshape(-1)
        return self._cache["table"]


def from_lags(
    lags: Tensor, shape: tuple[int, int, int, int], *, periodic: bool = False
) -> StationaryCovariance:
    """Covariance of states ``(T, C, H, W)`` from that by lag, which is kept as it is as far as the domain needs it.

    Where the domain is larger than the lags known, the kernel is tapered to zero within them. Frames farther apart than
    the lags known are taken for independent.

    Args:
        lags: ``(F, C, C, h, w)``, as `skyweave.covariance.torus.embed` takes them.
        shape: of the states.
        periodic: their longitudes close the circle.
    """
    T, _, *cells = shape
    size, weighted = [T + min(T, len(lags)) - 1 if len(lags) > 1 else 1], lags.double()
    for axis, n, wraps in zip(AXES[1:], cells, (False, periodic), strict=True):
        kept = lags.shape[axis]
        if wraps:
            size.append(n)
        else:
            size.append(2 * n if 2 * n <= kept else next_fast_len(n + (kept + 1) // 2, True))
        # Beyond half the circle a lag is another one seen from the other side.
        needed = n // 2 if wraps else n - 1
        known = needed < kept / 2 or (wraps and needed == kept / 2)
        weight = taper(signed(kept, lags.device), None if known else kept / 2)
        weighted = weighted * (weight[:, None] if axis == -2 else weight)
    return StationaryCovariance.of(embed(weighted, (size[0], size[1], size[2])), shape)
