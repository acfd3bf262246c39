"""How long a record remembers: ACF and PACF of area means, and how days differ by their distance in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skyweave.errors import SkyweaveError

__all__ = ["LagScores", "SeriesMemory", "area_mean", "lag_scores", "series_memory"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SeriesMemory:
    """Autocorrelations of a series at lags 0 to L.

    Args:
        acf: autocorrelation, ``(L + 1,)``.
        pacf: partial autocorrelation, ``(L + 1,)``.
        count: values of the series.
    """

    acf: Floats
    pacf: Floats
    count: int

    @property
    def noise(self) -> float:
        """Half-width of the interval that holds 95 % of the partial autocorrelations of white noise."""
        return 1.96 / np.sqrt(self.count)


@dataclass(frozen=True, eq=False)
class LagScores:
    """How days differ from those some days earlier, mean over days; arrays ``(L,)`` for lags 1 to L.

    Args:
        rmse: units of the field.
        r2: one less the squared difference over the day's variance.
        days: pairs of days.
    """

    rmse: Floats
    r2: Floats
    days: NDArray[np.int64]


def area_mean(fields: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Mean of each day over the cells that are known, ``(T,)`` of ``(T, H, W)``; NaN where there are none.

    Args:
        fields: NaN where missing.
        weights: of cells, ``(H, W)``; the paper has none.
    """
    x = np.asarray(fields, np.float64)
    known = np.isfinite(x)
    w = known * (1.0 if weights is None else np.asarray(weights, np.float64))
    total = w.sum(axis=(-2, -1))
    sums = (np.where(known, x, 0.0) * w).sum(axis=(-2, -1))
    return np.divide(sums, total, out=np.full(total.shape, np.nan), where=total > 0)


def series_memory(series: ArrayLike, lags: int = 30, days: ArrayLike | None = None) -> SeriesMemory:
    r"""Autocorrelation and partial autocorrelation of a series, by `statsmodels`.

    .. math:: \rho(k) = \frac{\mathrm{Cov}(z_t, z_{t-k})}{\mathrm{Var}(z_t)}

    The partial ones follow from these by the recursion of Levinson and Durbin, as far as it goes (NaN beyond). The
    days of one season of several years are not one series: with `days` given, only pairs that really lie `k` days
    apart count, and are averaged.

    Args:
        series: ``(T,)``, NaN where missing.
        lags: L.
        days: datetime64 of the values, ``(T,)``; evenly spaced values without it.

    Raises:
        SkyweaveError: fewer than ``L + 2`` values, or a series that does not vary.

    Reference: downscaling paper, section 2.5.3.
    """
    from statsmodels.tsa.stattools import acf, levinson_durbin

    z = np.asarray(series, np.float64)
    if days is not None:
        z = _on_axis(z, days)[0]
    known = int(np.isfinite(z).sum())
    if known < lags + 2 or len(z) < lags + 2:
        raise SkyweaveError(f"{known} values; autocorrelations to lag {lags} need at least {lags + 2}")
    if not np.nanstd(z) > 1e-12 * abs(np.nanmean(z)):
        raise SkyweaveError("the series does not vary, so it has no autocorrelation")
    gaps = not np.isfinite(z).all()
    # With gaps each product is averaged over the pairs that are there.
    rho = np.asarray(acf(z, nlags=lags, fft=True, adjusted=gaps, missing="conservative" if gaps else "none"))
    partial = np.array(levinson_durbin(rho, nlags=lags, isacov=True)[2])
    # Averages over other pairs at every lag need not be a correlation; from there on the recursion means nothing.
    partial[np.maximum.accumulate(np.abs(partial) > 1 + 1e-9)] = np.nan
    return SeriesMemory(rho, partial, known)


def lag_scores(fields: ArrayLike, lags: int = 10, days: ArrayLike | None = None) -> LagScores:
    r"""Difference between days `l` apart, of each day and then averaged.

    .. math:: RMSE(\ell) = \sqrt{\tfrac{1}{HW}\sum (z_t - z_{t-\ell})^2}, \qquad
              R^2(\ell) = 1 - \frac{\sum (z_t - z_{t-\ell})^2}{\sum (z_t - \bar z_t)^2}

    Args:
        fields: ``(T, H, W)``, NaN where missing.
        lags: L.
        days: datetime64 of the fields; evenly spaced ones without it.

    Raises:
        SkyweaveError: no two days some lag apart.

    Reference: downscaling paper, section 2.5.3, Figure 3.
    """
    z = np.asarray(fields, np.float64)
    if z.ndim != 3:
        raise SkyweaveError(f"fields have the shape (T, H, W), found {z.shape}")
    place = np.arange(len(z)) if days is None else _on_axis(np.zeros(len(z)), days)[1]
    at = {int(p): t for t, p in enumerate(place)}
    rmse, r2, number = np.full(lags, np.nan), np.full(lags, np.nan), np.zeros(lags, np.int64)
    for lag in range(1, lags + 1):
        pairs = np.array([(t, at[p - lag]) for p, t in at.items() if p - lag in at], np.int64).reshape(-1, 2)
        if not len(pairs):
            raise SkyweaveError(f"no two of the {len(z)} days are {lag} apart; choose fewer lags")
        now, before = z[pairs[:, 0]], z[pairs[:, 1]]
        square = np.nanmean((now - before) ** 2, axis=(1, 2))
        variance = np.nanvar(now, axis=(1, 2))
        rmse[lag - 1] = np.nanmean(np.sqrt(square))
        r2[lag - 1] = np.mean((1 - square / variance)[variance > 0]) if (variance > 0).any() else np.nan
        number[lag - 1] = len(pairs)
    return LagScores(rmse, r2, number)


def _on_axis(z: Floats, days: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    """A series on an even axis of days, missing where it has none, and the place of each value on it."""
    times = np.asarray(days, "datetime64[s]").astype(np.int64)
    if len(times) != len(z):
        raise SkyweaveError(f"{len(times)} days for {len(z)} values")
    apart = np.diff(times)
    if len(apart) == 0 or apart.min() <= 0:
        raise SkyweaveError("the days must increase")
    place = np.round((times - times[0]) / np.median(apart)).astype(np.int64)
    out = np.full(int(place[-1]) + 1, np.nan)
    out[place] = z
    return out, place
