"""Covariance by lag: its estimate from training data, and the positive covariance of a domain made of it."""

from __future__ import annotations

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from skyweave.covariance.by_noise_level import LagStatistics
from skyweave.covariance.stationary import StationaryCovariance

__all__ = ["lag_covariance", "stationary"]

BATCH = 32
"""Training frames transformed at once."""


def lag_covariance(anomalies: Tensor, frames: int, kept: tuple[int, int], periodic: bool) -> Tensor:
    r"""Mean products of all pairs present, by lag in time and space.

    .. math:: K_{cc'}(\tau, d) = \overline{a_c(t + \tau, r + d)\; a_{c'}(t, r)}

    Args:
        anomalies: ``(N, C, H, W)`` in order of time, NaN where missing.
        frames: time lags, ``0 .. frames - 1`` steps.
        kept: ``(h, w)``; lags up to half of these, in cells, each way.
        periodic: longitudes close the circle.

    Returns:
        ``(frames, C, C, h, w)``, lag zero first along both space axes and negative lags from the end.
    """
    N, C, H, W = anomalies.shape
    statistics = LagStatistics(frames * C, H, W)
    # A window starts at every frame, so that no pair is left out; beyond the last frame nothing is present.
    padded = torch.cat([anomalies, anomalies.new_full((frames - 1, C, H, W), torch.nan)])
    for start in range(0, N, BATCH):
        stop = min(start + BATCH, N)
        windows = torch.stack([padded[start + lag : stop + lag] for lag in range(frames)], dim=1)
        statistics.add(windows.flatten(1, 2))

    def by_lag(blocks: Tensor) -> Tensor:
        # Frame `lag` of each window against its first.
        full = torch.fft.irfft2(blocks[:, :C], s=(2 * H, 2 * W)).unflatten(0, (frames, C))
        return full[..., :W] + full[..., W:] if periodic else full

    products, pairs = by_lag(statistics.products), by_lag(statistics.pairs).round()
    lags = products / pairs.clamp_min(1.0)
    dy, dx = _signed(kept[0]) % (2 * H), _signed(kept[1]) % (W if periodic else 2 * W)
    return lags[..., dy, :][..., dx]


def stationary(
    lags: Tensor, shape: tuple[int, int, int, int], *, periodic: bool = False
) -> StationaryCovariance:
    """Covariance of states ``(T, C, H, W)``, positive semi-definite, from a covariance by lag.

    Sampled lag covariances are not quite positive: negative eigenvalues of each wavenumber's block are set to
    zero and the variances restored. Where the domain is larger than the lags known, the kernel is tapered to
    zero within them. Frames farther apart than the lags known are taken for independent.

    Args:
        lags: as from `lag_covariance`.
        shape: of the states.
        periodic: their longitudes close the circle.
    """
    T, C, H, W = shape
    padded = (_torus(H, lags.shape[-2], False), _torus(W, lags.shape[-1], periodic))
    kernel = _embed(lags.double(), padded, (H, W), periodic)
    P = T * C
    spectrum = torch.zeros(P, P, padded[0], padded[1] // 2 + 1, dtype=torch.complex128)
    hat = torch.fft.rfft2(kernel)
    for t in range(T):
        for u in range(max(0, t - len(kernel) + 1), t + 1):
            spectrum[t * C : (t + 1) * C, u * C : (u + 1) * C] = hat[t - u]
            spectrum[u * C : (u + 1) * C, t * C : (t + 1) * C] = hat[t - u].transpose(0, 1).conj()
    # Lags of half the torus are seen from one side only, and so are not symmetric.
    blocks = spectrum.permute(2, 3, 0, 1)
    values, vectors = torch.linalg.eigh(0.5 * (blocks + blocks.mH))
    blocks = (vectors * values.clamp_min(0)[..., None, :]) @ vectors.mH
    spectrum = blocks.permute(2, 3, 0, 1)
    before = torch.diagonal(kernel[0, :, :, 0, 0]).repeat(T)
    after = torch.diagonal(torch.fft.irfft2(spectrum, s=padded)[:, :, 0, 0])
    rescale = (before / after.clamp_min(1e-30)).sqrt()
    spectrum = spectrum * (rescale[:, None] * rescale[None, :])[..., None, None]
    cast = spectrum.real.float() if P == 1 else spectrum.to(torch.complex64)
    return StationaryCovariance(cast, shape, padded)


def _signed(kept: int) -> Tensor:
    """Lags ``0 .. kept/2, -kept/2 .. -1``."""
    lag = torch.arange(kept)
    return torch.where(lag < (kept + 1) // 2, lag, lag - kept)


def _torus(cells: int, kept: int, periodic: bool) -> int:
    """Length of the torus that holds a domain and whose kernel does not meet itself within it."""
    if periodic:
        return cells
    return 2 * cells if 2 * cells <= kept else next_fast_len(cells + (kept + 1) // 2, True)


def _embed(lags: Tensor, padded: tuple[int, int], domain: tuple[int, int], periodic: bool) -> Tensor:
    """The kernel on a torus, zero at lags not known and tapered towards them."""
    out = torch.zeros(*lags.shape[:3], *padded, dtype=lags.dtype)
    axes, weights = [], []
    for kept, size, cells, wraps in zip(lags.shape[-2:], padded, domain, (False, periodic), strict=True):
        lag = _signed(kept)
        usable = lag.abs() <= size // 2
        # Beyond half the circle a lag is another one seen from the other side.
        reach = kept / 2
        needed = size // 2 if wraps else cells - 1
        taper = torch.ones(kept, dtype=lags.dtype)
        if needed > reach or (needed == reach and not wraps):
            taper = torch.cos(torch.pi / 2 * ((lag.abs() - reach / 2) / (reach / 2)).clamp(0, 1)) ** 2
        axes.append((lag[usable] % size, torch.arange(kept)[usable]))
        weights.append(taper[usable])
    (to_y, from_y), (to_x, from_x) = axes
    block = lags[..., from_y, :][..., from_x] * weights[0][:, None] * weights[1][None, :]
    out[..., to_y[:, None], to_x[None, :]] = block
    return out
