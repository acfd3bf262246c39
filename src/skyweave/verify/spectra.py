"""Power spectra of two-dimensional fields, and the mean energy log-ratio between two of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def hann(n: int, *, dtype: torch.dtype = torch.float64, device: torch.device | None = None) -> Tensor:
    """Hann window on half samples, ``sin^2(pi (i + 1/2) / n)``: symmetric and nowhere zero.

    Args:
        n: number of samples.
        dtype, device: of the returned tensor.
    """
    i = torch.arange(n, dtype=dtype, device=device)
    return torch.sin(math.pi * (i + 0.5) / n) ** 2


def power_spectrum(fields: Tensor, *, periodic: bool = False) -> Tensor:
    """Two-dimensional power spectral density of the windowed anomalies.

    ``|FFT2(w (x - mean x))|^2 / (H W)^2 / mean(w^2)``, so that on average the sum over all wavenumbers is the
    variance of the field. `w` is a Hann window along latitude, and along longitude unless the grid is
    periodic.

    Args:
        fields: ``(..., H, W)``.
        periodic: the longitudes close the circle.

    Returns:
        ``(..., H, W)`` float64, squared units of the field, in the order of `torch.fft.fft2`.
    """
    x = fields.double()
    height, width = x.shape[-2:]
    across = torch.ones(width, dtype=x.dtype) if periodic else hann(width)
    window = (hann(height)[:, None] * across[None, :]).to(x.device)
    anomaly = x - x.mean(dim=(-2, -1), keepdim=True)
    spectrum = torch.fft.fft2(anomaly * window).abs() ** 2
    return spectrum / (height * width) ** 2 / (window**2).mean()


def rapsd(fields: Tensor, *, periodic: bool = False) -> Tensor:
    """Radially averaged power spectral density, wavenumbers 0 to max(H, W) // 2.

    The mean of `power_spectrum` over the ring ``round(N |f|) = k``, with ``f`` the frequency in cycles per
    cell and ``N = max(H, W)``: distances are counted in cells, as in the paper. Frequencies beyond Nyquist's
    (the corners) are left out.

    Args:
        fields: ``(..., H, W)``.
        periodic: the longitudes close the circle.

    Returns:
        ``(..., K + 1)`` float64, squared units of the field.
    """
    height, width = fields.shape[-2:]
    longest = max(height, width)
    fy, fx = torch.fft.fftfreq(height).double(), torch.fft.fftfreq(width).double()
    ring = (longest * torch.hypot(fy[:, None], fx[None, :])).round().long().flatten()
    power = power_spectrum(fields, periodic=periodic).flatten(-2)
    count = torch.bincount(ring)
    ring = ring.to(power.device)
    total = torch.zeros(*power.shape[:-1], len(count), dtype=power.dtype, device=power.device)
    total.index_add_(-1, ring, power)
    return (total / count.to(total))[..., : longest // 2 + 1]


def zonal_spectrum(
    fields: Tensor, *, latitude_weights: Tensor | None = None, periodic: bool = True
) -> Tensor:
    """Power along longitude by zonal wavenumber, averaged over latitude circles.

    One-sided: the sum over wavenumbers above zero is the variance along a circle (Hann windowed where the
    circle is not closed).

    Args:
        fields: ``(..., H, W)``.
        latitude_weights: ``(H,)``, the cosine of latitude or the area of a row; equal when absent.
        periodic: the longitudes close the circle.

    Returns:
        ``(..., W // 2 + 1)`` float64, squared units of the field.
    """
    x = fields.double()
    height, width = x.shape[-2:]
    window = (torch.ones(width, dtype=x.dtype) if periodic else hann(width)).to(x.device)
    anomaly = x - x.mean(dim=-1, keepdim=True)
    power = torch.fft.rfft(anomaly * window).abs() ** 2 / width**2 / (window**2).mean()
    sides = torch.full((power.shape[-1],), 2.0, dtype=x.dtype, device=x.device)
    sides[0] = 1.0
    if width % 2 == 0:
        sides[-1] = 1.0
    rows = torch.ones(height, dtype=x.dtype) if latitude_weights is None else latitude_weights
    rows = rows.to(x) / rows.sum()
    return torch.einsum("h,...hk->...k", rows, power * sides)


def melr(fcst: Tensor, obs: Tensor, *, periodic: bool = False) -> Tensor:
    """Mean energy log-ratio: how far the spectra of fields are from the truth's, zero at best.

    ``mean_t mean_{k = 1..K} |ln( RAPSD_fcst(t, k) / RAPSD_obs(t, k) )|``, natural logarithm, wavenumber zero
    left out, windowed as in `power_spectrum`. Of an ensemble ``(M, T, ...)`` it is the MELR of each member,
    averaged; of its mean it is another, larger number. Power below what the rounding of the truth's numbers
    alone has is raised to that level, so that a constant field scores badly, not infinitely. Frames with
    missing truth have no spectrum and are left out.

    Args:
        fcst: ``(..., H, W)``, physical units.
        obs: broadcasts against `fcst`; the truth, with NaN where missing.
        periodic: the longitudes close the circle.

    Returns:
        A 0-d float64 tensor; NaN where no frame of the truth is complete.

    Reference: AODDiff, section 4.2, MELR.
    """
    height, width = obs.shape[-2:]
    rounding = torch.finfo(obs.dtype).eps ** 2 * (obs.double() ** 2).mean(dim=(-2, -1)) / (height * width)
    floor = rounding.clamp(min=torch.finfo(torch.float64).tiny)[..., None]
    ours = torch.maximum(rapsd(fcst, periodic=periodic)[..., 1:], floor)
    true = torch.maximum(rapsd(obs, periodic=periodic)[..., 1:], floor)
    ratio = (ours / true).log().abs().mean(dim=-1)
    complete = obs.isfinite().all(dim=-1).all(dim=-1)
    return ratio[complete.expand_as(ratio)].mean()
