"""The forecast's error covariance from the ensemble itself: stationary correlations, local standard deviations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from skyweave.covariance.stationary import StationaryCovariance

__all__ = [
    "ensemble_covariance",
    "lag_covariance",
    "local_deviation",
    "on_torus",
    "positive_blocks",
    "tapered",
]

FLOOR = 1e-5
"""Least eigenvalue of a wavenumber's block, in units of the mean one."""


def lag_covariance(anomalies: Tensor, periodic: tuple[bool, bool] = (False, False)) -> Tensor:
    r"""Covariance by lag, averaged over members and places.

    .. math:: K_{cd}(\delta) = \frac1{M - 1} \sum_m \big\langle a^{(m)}_c(s + \delta)\, a^{(m)}_d(s) \big\rangle_s

    Args:
        anomalies: about the ensemble mean, shape ``(M, C, H, W)``.
        periodic: whether latitude and longitude are circles.

    Returns:
        Shape ``(C, C, Ly, Lx)``, zero lag first; ``L`` is the size of a periodic axis and twice that of another.
    """
    members, _, height, width = anomalies.shape
    size = tuple(n if circle else 2 * n for n, circle in zip((height, width), periodic, strict=True))
    a = torch.fft.rfft2(anomalies.double(), s=size)
    seen = torch.fft.rfft2(torch.ones(height, width, dtype=torch.float64), s=size)
    products = torch.fft.irfft2(torch.einsum("mpyx,mqyx->pqyx", a, a.conj()), s=size)
    pairs = torch.fft.irfft2(seen * seen.conj(), s=size)
    return torch.where(pairs > 0.5, products / pairs.clamp_min(0.5), 0.0) / (members - 1)


def on_torus(
    kernel: Tensor, padded: tuple[int, int], periodic: tuple[bool, bool], reach: float = 1.0
) -> Tensor:
    """A kernel of `lag_covariance` tapered and embedded in a torus of another size, as blocks per wavenumber.

    Args:
        kernel: ``(C, C, Ly, Lx)``.
        padded: size of the torus; that of a periodic axis itself.
        periodic: as in `lag_covariance`.
        reach: the share of the domain beyond which covariances are set to zero; a periodic axis is tapered to the
            same share of half its length, and left as it is where that is one.
    """
    for axis, (n, circle) in enumerate(zip(padded, periodic, strict=True)):
        length = kernel.shape[-2 + axis]
        # Half of a circle is as far as one gets; the lags of a line are known to its whole length.
        weight = _taper(length, length / 2, circle, reach)
        kernel = kernel * (weight[:, None] if axis == 0 else weight)
        if circle:
            continue
        reachable = min(length // 2 - 1, (n - 1) // 2)
        lags = torch.arange(-reachable, reachable + 1)
        size = (*kernel.shape[:-2], n, kernel.shape[-1]) if axis == 0 else (*kernel.shape[:-1], n)
        out = kernel.new_zeros(size)
        if axis == 0:
            out[..., lags % n, :] = kernel[..., lags % length, :]
        else:
            out[..., lags % n] = kernel[..., lags % length]
        kernel = out
    return positive_blocks(torch.fft.rfft2(kernel))


def _taper(count: int, farthest: float, circle: bool, reach: float) -> Tensor:
    """Weights of ``count`` lags of a torus: one to half of the reach, then a cosine to zero at it."""
    lag = torch.fft.fftfreq(count, d=1 / count, dtype=torch.float64).abs()
    if circle and reach >= 1:
        return torch.ones_like(lag)
    return 0.5 * (1 + torch.cos(torch.pi * (2 * lag / (reach * farthest) - 1).clamp(0, 1)))


def tapered(V: StationaryCovariance, periodic: tuple[bool, bool], reach: float) -> StationaryCovariance:
    """A covariance whose correlations are cut off as those of an ensemble are, to be compared with one."""
    kernel = V.kernel.double()
    for axis, (count, circle) in enumerate(zip(V.padded, periodic, strict=True)):
        n = V.shape[2 + axis]
        weight = _taper(count, n / 2 if circle else n, circle, reach)
        kernel = kernel * (weight[:, None] if axis == 0 else weight)
    blocks = positive_blocks(torch.fft.rfft2(kernel))
    spectrum = blocks if V.spectrum.is_complex() else blocks.real
    return StationaryCovariance(spectrum.to(V.spectrum.dtype), V.shape, V.padded)


def positive_blocks(blocks: Tensor) -> Tensor:
    """The nearest Hermitian positive definite block of each wavenumber, complex128."""
    modes = blocks.permute(2, 3, 0, 1).to(torch.complex128)
    values, vectors = torch.linalg.eigh(0.5 * (modes + modes.mH))
    floor = FLOOR * float(values.clamp_min(0).mean()) + 1e-30
    made = (vectors * values.clamp_min(floor)[..., None, :]) @ vectors.mH
    return made.permute(2, 3, 0, 1)


def local_deviation(anomalies: Tensor, periodic: tuple[bool, bool], cells: float = 3.0) -> Tensor:
    r"""Standard deviation of each cell over that of the domain, smoothed, shape ``(C, H, W)``.

    Variances are averaged over a Gaussian neighbourhood of ``cells`` and drawn towards the mean of the domain by
    what is left of sampling noise: with ``M`` members a variance is known to a relative error of
    ``sqrt(2 / (M - 1))``, over the neighbourhood to less.
    """
    from scipy.ndimage import gaussian_filter

    members = len(anomalies)
    variance = anomalies.double().square().sum(0) / (members - 1)
    mode: list[Any] = ["nearest", *("wrap" if circle else "nearest" for circle in periodic)]
    smooth = torch.from_numpy(gaussian_filter(variance.numpy(), (0, cells, cells), mode=mode))
    mean = smooth.mean((-2, -1), keepdim=True).clamp_min(1e-30)
    ratio = smooth / mean
    noise = 2 / (members - 1) / max(1.0, cells)
    signal = (ratio.var((-2, -1), keepdim=True) - noise).clamp_min(0)
    weight = signal / (signal + noise)
    return (1 + weight * (ratio - 1)).clamp_min(0.05).sqrt()


def ensemble_covariance(
    anomalies: Tensor,
    padded: tuple[int, int],
    *,
    periodic: tuple[bool, bool] = (False, False),
    reach: float = 0.5,
    local: bool = True,
) -> StationaryCovariance:
    r"""Covariance of an ensemble as ``diag(s) K diag(s)``: correlations by lag, a local standard deviation.

    Averaging over places makes a few members enough: a domain holds many independent samples of each lag, where
    a sample covariance of ``M`` members has rank ``M - 1``. Correlations that differ from place to place it cannot
    hold.

    Args:
        anomalies: about the ensemble mean, shape ``(M, C, H, W)``.
        padded: torus, that of the prior's covariance.
        periodic: whether latitude and longitude are circles.
        reach: share of the domain beyond which correlations are zero, as localisation.
        local: whether the standard deviation varies in space.

    Raises:
        ValueError: fewer than three members.
    """
    members, channels, height, width = anomalies.shape
    if members < 3:
        raise ValueError(f"a covariance needs three members or more, there are {members}")
    scale = local_deviation(anomalies, periodic) if local else None
    scaled = anomalies if scale is None else anomalies / scale.to(anomalies.dtype)
    blocks = on_torus(lag_covariance(scaled, periodic), padded, periodic, reach)
    spectrum = blocks.real.float() if channels == 1 else blocks.to(torch.complex64)
    factor = None if scale is None else scale.float()[None, None]
    return StationaryCovariance(spectrum, (1, channels, height, width), padded, factor)
