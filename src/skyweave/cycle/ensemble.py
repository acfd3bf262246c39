"""The forecast's error covariance from the ensemble itself: stationary correlations, local standard deviations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from skyweave.covariance.lags import LagStatistics
from skyweave.covariance.stationary import StationaryCovariance
from skyweave.covariance.torus import embed, signed, taper

__all__ = ["cut_off", "ensemble_covariance", "lag_covariance", "local_deviation"]


def lag_covariance(anomalies: Tensor, periodic: tuple[bool, bool] = (False, False)) -> Tensor:
    r"""Covariance by lag, averaged over members and places.

    .. math:: K_{cd}(\delta) = \frac1{M - 1} \sum_m \big\langle a^{(m)}_c(s + \delta)\, a^{(m)}_d(s) \big\rangle_s

    Args:
        anomalies: about the ensemble mean, shape ``(M, C, H, W)``.
        periodic: whether latitude and longitude are circles.

    Returns:
        Shape ``(C, C, Ly, Lx)``, zero lag first; ``L`` is the size of a periodic axis and twice that of another.
    """
    members, channels, height, width = anomalies.shape
    statistics = LagStatistics(channels, height, width, periodic)
    statistics.add(anomalies)
    return statistics.kernel()[0] * (members / (members - 1))


def cut_off(
    shape: tuple[int, ...], periodic: tuple[bool, bool], reach: float
) -> tuple[float | None, float | None]:
    """Lengths in cells at which correlations within a domain ``(H, W)`` are zero; ``None`` for not at all.

    Half of a circle is as far as one gets; the lags of a line are known to its whole length.
    """
    lat, lon = (
        None if circle and reach >= 1 else reach * n / (2 if circle else 1)
        for n, circle in zip(shape, periodic, strict=True)
    )
    return lat, lon


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
    smooth = torch.from_numpy(gaussian_filter(variance.cpu().numpy(), (0, cells, cells), mode=mode)).to(
        variance
    )
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
    kernel = lag_covariance(scaled, periodic)
    lengths = cut_off((height, width), periodic, reach)
    lat, lon = (
        taper(signed(n, kernel.device), length) for n, length in zip(kernel.shape[-2:], lengths, strict=True)
    )
    factor = None if scale is None else scale.float()[None, None]
    on_torus = embed((kernel * lat[:, None] * lon)[None], (1, *padded))
    return StationaryCovariance.of(on_torus, (1, channels, height, width), factor)
