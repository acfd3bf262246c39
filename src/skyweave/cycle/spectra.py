"""Spectra of hindcasts: smoothed over wavenumbers, and of one field relative to another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skyweave.covariance.torus import blocks, hermitian, modes

__all__ = ["SmoothedSpectra", "filtered", "relative", "root"]

LEAST = 1e-6
"""Least power of a combination of variables at one scale, in units of the largest one's there."""


@dataclass(frozen=True, eq=False)
class SmoothedSpectra:
    r"""Fourier transforms of anomalies on a torus, and averages of their products, smoothed over wavenumbers.

    Lag covariances are tapered by a Gaussian, so that spectra are smoothed by one, which keeps them positive:

    .. math:: S'(k) = \mathrm{FT}\big[e^{-\frac12 (2 \pi s\, \delta / n)^2}\, \mathrm{FT}^{-1} S\big]

    Args:
        shape: ``(h, w)`` of the anomalies.
        padded: of the torus.
        periodic: whether latitudes and longitudes are circles.
        smoothing: ``s``, standard deviation in cycles per domain.

    Reference: Priestley 1981, Spectral Analysis and Time Series, section 6.2.
    """

    shape: tuple[int, int]
    padded: tuple[int, int]
    periodic: tuple[bool, bool]
    smoothing: float

    def transform(self, anomalies: Tensor) -> Tensor:
        """``(N, C, ky, kx)``; a Hann window keeps the ends of an axis that is no circle from leaking."""
        for axis, (n, circle) in enumerate(zip(self.shape, self.periodic, strict=True)):
            if not circle:
                window = torch.sin(torch.pi * (torch.arange(n) + 0.5) / n) ** 2
                anomalies = anomalies * (window[:, None] if axis == 0 else window)
        return torch.fft.rfft2(anomalies.float(), s=self.padded)

    def covariance(self, a: Tensor, b: Tensor) -> Tensor:
        """Blocks ``(P, Q, ky, kx)`` between transforms ``(N, P, ky, kx)`` and ``(N, Q, ky, kx)``."""
        return self.smooth(torch.einsum("npyx,nqyx->pqyx", a, b.conj()) / len(a))

    def smooth(self, spectrum: Tensor) -> Tensor:
        """A spectrum ``(..., ky, kx)`` of a real field smoothed."""
        if self.smoothing == 0:
            return spectrum
        taper = torch.ones(())
        for n, length in zip(self.padded, self.shape, strict=True):
            lag = torch.fft.fftfreq(n, d=1 / n)
            taper = taper[..., None] * torch.exp(-0.5 * (2 * torch.pi * self.smoothing * lag / length) ** 2)
        return torch.fft.rfft2(torch.fft.irfft2(spectrum, s=self.padded) * taper)


def relative(P: Tensor, C: Tensor, power: Tensor) -> Tensor:
    """``C^{-1/2} P C^{-1/2}`` of spectra that were divided by the power of each variable."""
    scale = (power[:, None] * power[None]).sqrt()
    inverse = root(hermitian(modes(C * scale)), -0.5)
    return blocks(inverse @ hermitian(modes(P * scale)) @ inverse)


def root(blocks: Tensor, exponent: float = 0.5) -> Tensor:
    """A power of Hermitian blocks ``(..., P, P)``."""
    values, vectors = torch.linalg.eigh(blocks)
    # Relative to the scale itself: powers differ by many orders of magnitude between scales.
    values = values.clamp_min(LEAST * values[..., -1:].clamp_min(1e-30))
    return (vectors * values[..., None, :] ** exponent) @ vectors.mH


def filtered(x: Tensor, gain: Tensor, padded: tuple[int, int]) -> Tensor:
    """A gain by wavenumber of the torus, ``(C, ky, kx)``, applied to ``(N, C, h, w)`` continued by reflection."""
    dtype, shape = x.dtype, x.shape
    for axis, n in ((-2, padded[0]), (-1, padded[1])):
        size = shape[axis]
        place = torch.arange(n)
        # The margin is shared: its first half reflects the end, its second half the beginning.
        beyond = place - size
        back = torch.where(beyond < (n - size + 1) // 2, size - 1 - beyond, n - 1 - place)
        x = x.index_select(axis, torch.where(beyond >= 0, back.clamp(0, size - 1), place))
    out = torch.fft.irfft2(torch.fft.rfft2(x.float()) * gain, s=padded)
    return out[..., : shape[-2], : shape[-1]].to(dtype)
