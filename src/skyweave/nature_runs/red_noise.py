"""Red random fields on a doubly periodic grid that evolve in time, each scale with its own memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["RedNoise", "mean_square", "red_noise", "wavenumbers"]

Floats = NDArray[np.floating]
Spectrum = NDArray[np.complex128]


def wavenumbers(shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """Cycles per cell along rows ``(H, 1)`` and columns ``(1, W // 2 + 1)``, in the order of `rfft2`."""
    return np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]


def mean_square(half: Floats, shape: tuple[int, int]) -> float:
    """Mean square over the whole spectrum, ``H W`` modes, of amplitudes that `rfft2` keeps half of."""
    twice = np.full(half.shape[1], 2.0)
    twice[0] = 1.0
    if shape[1] % 2 == 0:
        twice[-1] = 1.0
    return float((half**2 * twice).sum() / (shape[0] * shape[1]))


@dataclass(frozen=True, eq=False)
class RedNoise:
    r"""A Gaussian field by its spectrum: an Ornstein-Uhlenbeck process for every wavenumber.

    .. math:: \hat f_{t+1} = \phi_k \hat f_t + \sqrt{1 - \phi_k^2}\, a_k\, \hat w_t

    with `w` white noise of unit variance, so that the field of every step has the variance of `a`'s spectrum.

    Args:
        shape: ``(H, W)`` of the periodic grid.
        amplitude: :math:`a_k`, shape ``(H, W // 2 + 1)``; the field's variance is its mean square over the
            whole spectrum.
        memory: :math:`\phi_k` in [0, 1], broadcasts against `amplitude`.
    """

    shape: tuple[int, int]
    amplitude: Floats
    memory: Floats

    def start(self, rng: np.random.Generator) -> Spectrum:
        """A draw from the stationary law."""
        return self.amplitude * np.fft.rfft2(rng.standard_normal(self.shape))

    def step(self, spectrum: Spectrum, rng: np.random.Generator) -> Spectrum:
        """One step on; always takes ``H W`` numbers from the stream."""
        return self.memory * spectrum + np.sqrt(1 - self.memory**2) * self.start(rng)

    def field(self, spectrum: Spectrum) -> Floats:
        """The field ``(H, W)`` of a spectrum."""
        return np.fft.irfft2(spectrum, self.shape)


def red_noise(
    shape: tuple[int, int],
    *,
    slope: float,
    largest: float,
    smallest: float = 2.0,
    hours: float = np.inf,
) -> RedNoise:
    r"""Noise of unit variance whose power falls with wavenumber as :math:`k^{-s}`.

    Scales above `largest` have its power, and below `smallest` none. The memory of a scale,
    :math:`e^{-1 / \tau_k}` per hour with :math:`\tau_k = \tau (k_0 / k)^{2/3}`, is the turnover time of eddies
    in an inertial range.

    Args:
        shape: ``(H, W)`` of the periodic grid.
        slope: `s` of the two-dimensional spectrum.
        largest: wavelength of the plateau's end, :math:`1 / k_0`, cells.
        smallest: shortest wavelength, cells.
        hours: :math:`\tau` of the largest scale, hours; frozen when infinite.
    """
    down, across = wavenumbers(shape)
    k = np.hypot(down, across)
    relative = np.maximum(k * largest, 1.0)
    amplitude = np.where((k > 0) & (k * smallest <= 1.0), relative ** (-slope / 2), 0.0)
    memory = np.exp(-(relative ** (2 / 3)) / hours)
    return RedNoise(shape, amplitude / np.sqrt(mean_square(amplitude, shape)), memory)
