"""How alike two records are: Wasserstein-1 distances of normalised logarithms, by day and pooled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skyweave.errors import SkyweaveError

__all__ = ["DomainSimilarity", "domain_similarity", "wasserstein_days", "wasserstein_pooled"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DomainSimilarity:
    """Distances in [0, 1]; 0 for equal distributions.

    Args:
        daily: of each day, NaN where a day has no cell in common, ``(T,)``.
        pooled: of all days together.
    """

    daily: Floats
    pooled: float

    def row(self) -> dict[str, float]:
        """Mean, 10 % and 90 % quantile over the days, and the pooled distance, as in the paper's Table 2."""
        known = self.daily[np.isfinite(self.daily)]
        low, high = np.quantile(known, [0.1, 0.9])
        return {
            "daily_mean": float(known.mean()),
            "daily_p10": float(low),
            "daily_p90": float(high),
            "pooled": self.pooled,
            "days": float(len(known)),
        }


def domain_similarity(
    coarse: ArrayLike,
    fine: ArrayLike,
    *,
    all_coarse: ArrayLike | None = None,
    all_fine: ArrayLike | None = None,
    epsilon: float = 1e-6,
    bins: int = 1000,
) -> DomainSimilarity:
    """Both distances of two records.

    Args:
        coarse: on the fine cells, days in common, physical units, ``(T, H, W)``.
        fine: ``(T, H, W)``.
        all_coarse, all_fine: for the pooled distance, the whole of each record, any shape; those of the days in
            common by default.
        epsilon: what smaller values count as, physical units.
        bins: B of the pooled distance.

    Raises:
        SkyweaveError: see `wasserstein_days` and `wasserstein_pooled`.

    Reference: downscaling paper, section 2.5.1, Table 2.
    """
    daily = wasserstein_days(coarse, fine, epsilon)
    both = (coarse if all_coarse is None else all_coarse, fine if all_fine is None else all_fine)
    return DomainSimilarity(daily, wasserstein_pooled(*both, epsilon, bins))


def wasserstein_days(x: ArrayLike, y: ArrayLike, epsilon: float = 1e-6) -> Floats:
    r"""Wasserstein-1 distance of the cells of each day, exactly.

    .. math:: W_1 = \int_0^1 |F_{\tilde x}(u) - F_{\tilde y}(u)|\,du, \qquad
              \tilde x = \frac{\log_{10}\max(x, \epsilon) - m}{M - m}

    with `m` and `M` the least and greatest logarithm of both on that day, over the cells where both are known. As both
    have equally many cells, the integral is the mean difference of the sorted values.

    Args:
        x, y: physical units, ``(T, H, W)``, NaN where missing.
        epsilon: positive, physical units.

    Returns:
        ``(T,)``; zero where both are constant and equal, NaN where no cell is known in both.

    Raises:
        SkyweaveError: shapes that differ, or an epsilon that is not positive.

    Reference: downscaling paper, Eq. 10-12.
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if a.shape != b.shape or a.ndim != 3:
        raise SkyweaveError(f"daily distances need two records (T, H, W), found {a.shape} and {b.shape}")
    _check(epsilon)
    out = np.full(len(a), np.nan)
    for day in range(len(a)):
        known = np.isfinite(a[day]) & np.isfinite(b[day])
        if known.any():
            p, q = (np.log10(np.maximum(part[day][known], epsilon)) for part in (a, b))
            span = max(p.max(), q.max()) - min(p.min(), q.min())
            out[day] = np.abs(np.sort(p) - np.sort(q)).mean() / span if span > 0 else 0.0
    return out


def wasserstein_pooled(x: ArrayLike, y: ArrayLike, epsilon: float = 1e-6, bins: int = 1000) -> float:
    r"""Wasserstein-1 distance of all values of two records, by histograms.

    .. math:: \hat W_1 = \frac{1}{B} \sum_{k=1}^B |\hat F_{\tilde x}(k / B) - \hat F_{\tilde y}(k / B)|

    with the common bounds of all values. The records may have different days, cells and numbers of them.

    Args:
        x, y: physical units, any shape, NaN where missing.
        epsilon: positive, physical units.
        bins: B.

    Raises:
        SkyweaveError: no value in one of them, an epsilon that is not positive, or no bins.

    Reference: downscaling paper, Eq. 13.
    """
    _check(epsilon)
    if bins < 1:
        raise SkyweaveError(f"{bins} bins; the histogram needs at least one")
    logs = []
    for name, values in (("first", x), ("second", y)):
        array = np.asarray(values)
        known = array[np.isfinite(array)]
        if known.size == 0:
            raise SkyweaveError(f"the {name} record has no value")
        logs.append(np.log10(np.maximum(known, epsilon)))
    low, high = min(p.min() for p in logs), max(p.max() for p in logs)
    if high <= low:
        return 0.0
    edges = np.linspace(low, high, bins + 1)
    first, second = (np.cumsum(np.histogram(p, edges)[0]) / p.size for p in logs)
    return float(np.abs(first - second).mean())


def _check(epsilon: float) -> None:
    if not epsilon > 0:
        raise SkyweaveError(f"epsilon = {epsilon}; under a logarithm it must be positive")
