"""Scores of each day over its cells, and their mean and standard deviation over days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skyweave.errors import SkyweaveError

__all__ = ["DAILY_SCORES", "DAILY_TITLES", "daily_scores", "kling_gupta", "mean_and_deviation", "summarise"]

Floats = NDArray[np.float64]

DAILY_TITLES = {
    "r2": "R² (squared correlation)",
    "rmse": "RMSE",
    "mae": "MAE",
    "nse": "NSE",
    "kge": "KGE",
    "bias": "mean error",
    "nse_log10": "NSE of log10",
    "r2_log10": "R² of log10",
    "kge_log10": "KGE of log10",
}
"""Keys of `daily_scores` with their titles."""
DAILY_SCORES = tuple(DAILY_TITLES)


def daily_scores(
    fcst: ArrayLike, obs: ArrayLike, *, floor: float | None = None, weights: ArrayLike | None = None
) -> dict[str, Floats]:
    r"""Scores of every day over the cells where both are known.

    .. math::
        R^2 = \mathrm{corr}(y, \hat y)^2, \quad
        NSE = 1 - \frac{\sum (y - \hat y)^2}{\sum (y - \bar y)^2}, \quad
        KGE = 1 - \sqrt{(r - 1)^2 + (\beta - 1)^2 + (\gamma - 1)^2}

    with :math:`\beta` the ratio of means and :math:`\gamma` that of standard deviations (the form of 2009). The paper
    defines R2 by the formula of NSE, yet its tables hold two different columns: both are here, named apart. KGE means
    something in data units alone, since the mean of a logarithm of AOD is negative or near zero; that of log10 data is
    given apart because others report it.

    Args:
        fcst: predictions in physical units, ``(T, H, W)``; of an ensemble, its mean or one member.
        obs: truth, ``(T, H, W)``, NaN where missing.
        floor: what smaller values count as under log10; by default the least positive value of `obs`. Without any,
            such as for temperatures below zero, the keys with ``_log10`` are left out.
        weights: of cells, ``(H, W)``; the paper has none.

    Returns:
        Each key of `DAILY_SCORES` with an array ``(T,)``; NaN on days without cells or where a score is undefined
        (a constant truth has no correlation).

    Raises:
        SkyweaveError: shapes that differ or are not ``(T, H, W)``.

    Reference: downscaling paper, section 2.5.2; Gupta et al. (2009), doi 10.1016/j.jhydrol.2009.08.003, Eq. 9.
    """
    f, y = np.asarray(fcst, np.float64), np.asarray(obs, np.float64)
    if f.shape != y.shape or f.ndim != 3:
        raise SkyweaveError(f"daily scores need (T, H, W) of both, found {f.shape} and {y.shape}")
    w = np.ones(f.shape[1:]) if weights is None else np.asarray(weights, np.float64)
    out = _of_fields(f, y, w)
    positive = y[np.isfinite(y) & (y > 0)]
    if floor is None and positive.size and np.nanmin(y) >= 0:
        floor = float(positive.min())
    if floor is not None:
        logs = _of_fields(np.log10(np.maximum(f, floor)), np.log10(np.maximum(y, floor)), w)
        out |= {f"{key}_log10": logs[key] for key in ("r2", "nse", "kge")}
    return {key: out[key] for key in DAILY_SCORES if key in out}


def kling_gupta(fcst: ArrayLike, obs: ArrayLike) -> float:
    """Kling-Gupta efficiency of 2009 over all values that both have; see `daily_scores`."""
    f, y = (np.asarray(part, np.float64).reshape(1, 1, -1) for part in (fcst, obs))
    return float(_of_fields(f, y, np.ones(f.shape[1:]))["kge"][0])


def mean_and_deviation(scores: Mapping[str, Floats]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation (divisor n) over days of each score, days without it left out."""
    out = {}
    for key, values in scores.items():
        known = values[np.isfinite(values)]
        out[key] = (float(known.mean()), float(known.std())) if len(known) else (np.nan, np.nan)
    return out


def summarise(
    scores: Mapping[str, Floats], keys: Sequence[str] | None = None, digits: int = 2
) -> dict[str, str]:
    """Each score as "mean(deviation)" over days, as the paper's tables print them."""
    summary = mean_and_deviation(scores)
    chosen = list(summary) if keys is None else [key for key in keys if key in summary]
    return {key: f"{summary[key][0]:.{digits}f}({summary[key][1]:.{digits}f})" for key in chosen}


def _of_fields(f: Floats, y: Floats, weights: Floats) -> dict[str, Floats]:
    known = np.isfinite(f) & np.isfinite(y)
    w = np.where(known, weights, 0.0)
    total = w.sum(axis=(1, 2))
    f, y = np.where(known, f, 0.0), np.where(known, y, 0.0)

    def mean(values: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            return (w * values).sum(axis=(1, 2)) / total

    error = f - y
    mf, my = mean(f), mean(y)
    df, dy = f - mf[:, None, None], y - my[:, None, None]
    vf, vy, cov = mean(df**2), mean(dy**2), mean(df * dy)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Rounding leaves a constant field some variance, of which a correlation would be made.
        vf = np.where(vf > 1e-24 * mf**2, vf, 0.0)
        vy = np.where(vy > 1e-24 * my**2, vy, 0.0)
        r = np.where((vf > 0) & (vy > 0), cov / np.sqrt(vf * vy), np.nan)
        square = mean(error**2)
        nse = np.where(vy > 0, 1 - square / vy, np.nan)
        kge = 1 - np.sqrt((r - 1) ** 2 + (mf / my - 1) ** 2 + (np.sqrt(vf / vy) - 1) ** 2)
    return {
        "r2": r**2, "rmse": np.sqrt(square), "mae": mean(np.abs(error)), "nse": nse, "kge": kge, "bias": mf - my
    }  # fmt: skip
