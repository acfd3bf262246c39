r"""Covariances by lag on a torus of (time, lat, lon): tapered, embedded, positive, and as blocks per wavenumber.

A stationary covariance is a convolution, and on a torus the Fourier transform makes it a block between variables for
each frequency and wavenumber. A domain that is no torus is embedded in a larger one.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "AXES",
    "FLOOR",
    "Torus",
    "blocks",
    "embed",
    "hermitian",
    "modes",
    "positive",
    "root",
    "signed",
    "taper",
]

AXES = (-3, -2, -1)
"""Time, latitude and longitude of a kernel or a spectrum ``(C, C, ., ., .)``."""
FLOOR = 1e-4
"""Least eigenvalue of a block, in units of the mean eigenvalue of all blocks."""

Torus = tuple[int, int, int]


def signed(count: int, device: torch.device | None = None) -> Tensor:
    """Lags in the order of a Fourier transform, ``0, 1, ... , -2, -1``; the middle of an even number is negative."""
    lag = torch.arange(count, device=device)
    return torch.where(lag < (count + 1) // 2, lag, lag - count)


def taper(lag: Tensor, length: float | None) -> Tensor:
    """Weights of lags: one to half of ``length``, then a cosine to zero at it; one everywhere for ``None``."""
    away = lag.abs().double()
    if length is None:
        return torch.ones_like(away)
    return 0.5 * (1 + torch.cos(torch.pi * (2 * away / length - 1).clamp(0, 1)))


def embed(lags: Tensor, torus: Torus) -> Tensor:
    """A covariance by lag on a torus, ``(C, C, T', H', W')``; zero at lags that are not known.

    Args:
        lags: ``(F, C, C, h, w)``: ``K_cc'(tau, d) = cov(x_c(t + tau, r + d), x_c'(t, r))`` for ``tau`` from 0 on and
            ``d`` in the order of a Fourier transform.
        torus: ``(T', H', W')``; of one frame where frames are taken for independent.
    """
    C = lags.shape[1]
    T, H, W = torus
    (y, from_y), (x, from_x) = (
        _places(n, size, lags.device) for n, size in zip(lags.shape[-2:], torus[1:], strict=True)
    )
    known = lags[..., from_y[:, None], from_x[None]]
    out = lags.new_zeros(C, C, T, H, W)
    for tau in range(min(len(lags), (T + 1) // 2)):
        out[:, :, tau, y[:, None], x[None]] = known[tau]
        if tau:
            # K_cc'(-tau, -d) = K_c'c(tau, d).
            out[:, :, T - tau, (-y % H)[:, None], (-x % W)[None]] = known[tau].transpose(0, 1)
    return out


def _places(count: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where on an axis of the torus lags go, and which of ``count`` they are: those within half of its length."""
    lag = signed(count, device)
    within = (lag.abs() <= size // 2).nonzero().ravel()
    return lag[within] % size, within


def positive(kernel: Tensor) -> Tensor:
    r"""Spectrum of the nearest covariance, ``(C, C, kt, ky, kx)``, single precision; real for one variable.

    Sampled, tapered or cut covariances are not quite positive. Blocks are made Hermitian, their eigenvalues kept above
    `FLOOR`, and since that adds variance, the variance of each variable is restored:

    .. math:: \hat K \leftarrow \sqrt{r}\,\hat K_+ \sqrt{r}^T, \qquad r_c = K_{cc}(0) / K_{+,cc}(0).

    Args:
        kernel: on a torus, ``(C, C, T', H', W')``.
    """
    spectrum = torch.fft.rfftn(kernel.double(), dim=AXES)
    if len(kernel) == 1:
        real = spectrum.real
        out = real.clamp_min(FLOOR * float(real.mean())).to(spectrum.dtype)
    else:
        values, vectors = torch.linalg.eigh(hermitian(modes(spectrum)))
        kept = values.clamp_min(FLOOR * float(values.mean()))[..., None, :].to(vectors.dtype)
        out = blocks((vectors * kept) @ vectors.mH)
    after = torch.fft.irfftn(out, s=kernel.shape[-3:], dim=AXES)[:, :, 0, 0, 0].diagonal()
    ratio = (kernel[:, :, 0, 0, 0].diagonal() / after.clamp_min(1e-30)).clamp_min(0).sqrt()
    out = out * (ratio[:, None] * ratio[None])[..., None, None, None]
    return out.real.float() if len(kernel) == 1 else out.to(torch.complex64)


def modes(spectrum: Tensor) -> Tensor:
    """Blocks ``(C, C, ...)`` as matrices ``(..., C, C)``, complex128."""
    return spectrum.to(torch.complex128).movedim((0, 1), (-2, -1))


def blocks(matrices: Tensor, like: Tensor | None = None) -> Tensor:
    """Matrices ``(..., C, C)`` as blocks ``(C, C, ...)``, in the numbers of ``like``, real where that is."""
    out = matrices.movedim((-2, -1), (0, 1))
    return out if like is None else (out if like.is_complex() else out.real).to(like.dtype)


def hermitian(matrices: Tensor) -> Tensor:
    """The Hermitian part of matrices ``(..., C, C)``."""
    return 0.5 * (matrices + matrices.mH)


def root(spectrum: Tensor) -> Tensor:
    """Hermitian square root of each block, negative eigenvalues set to zero."""
    if len(spectrum) == 1:
        return spectrum.real.clamp_min(0).sqrt()
    values, vectors = torch.linalg.eigh(spectrum.movedim((0, 1), (-2, -1)))
    return blocks(vectors * values.clamp_min(0).sqrt()[..., None, :] @ vectors.mH)
