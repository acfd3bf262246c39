"""Variograms of observations on the sphere: empirical, and an exponential fitted to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from skyweave.baselines.located import Floats, LocatedObservations
from skyweave.observe.errors import EARTH_RADIUS_KM, unit_vectors

__all__ = ["SAME_PLACE", "Semivariogram", "Variogram", "fit_variogram", "semivariogram"]

SAME_PLACE = 1e-3
"""Points less than this apart (km) are one place: centroids are sums of rounded numbers."""
BINS = 16
PAIRS = 20_000
"""Most pairs drawn at random from two frames; all are taken where there are no more."""
NEAREST = 8
"""Neighbours of each point whose pairs are taken besides: short distances are rare among random pairs."""
FRAME_PAIRS = 120
"""Most pairs of frames looked at for one time lag."""


@dataclass(frozen=True)
class Variogram:
    r"""Half the mean squared difference of two places, exponential in a metric of space and time.

    .. math:: \gamma(d, t) = n + s\,\bigl(1 - e^{-\sqrt{(d / L)^2 + (t / \tau)^2}}\bigr), \qquad \gamma(0, 0) = 0

    with chords ``d`` of the sphere, in which the exponential is positive definite (as it is in any Euclidean
    space).

    Args:
        nugget: ``n``, what varies over distances shorter than those between observations.
        sill: ``s``.
        length: ``L``, km.
        steps: ``tau``, time steps; infinite within one map.
    """

    nugget: float
    sill: float
    length: float
    steps: float = float("inf")

    @property
    def variance(self) -> float:
        """Value at great distance."""
        return self.nugget + self.sill

    def __call__(self, distance: Floats, lag: Floats | float = 0.0) -> Floats:
        """Semivariance at chords in km and time lags in steps."""
        away = np.sqrt((np.asarray(distance) / self.length) ** 2 + (np.asarray(lag) / self.steps) ** 2)
        apart = (np.asarray(distance) >= SAME_PLACE) | (np.asarray(lag) != 0)
        return self.nugget * apart - self.sill * np.expm1(-away)

    def coordinates(self, lat: Floats, lon: Floats, frame: NDArray[np.int64] | int = 0) -> Floats:
        """Places whose Euclidean distance is the metric: ``(n, 3)``, or ``(n, 4)`` with finite `steps`."""
        place = unit_vectors(lat, lon) * (EARTH_RADIUS_KM / self.length)
        if not np.isfinite(self.steps):
            return place
        time = np.broadcast_to(np.asarray(frame, np.float64), place.shape[:1]) / self.steps
        return np.concatenate([place, time[:, None]], axis=1)


@dataclass(frozen=True, eq=False)
class Semivariogram:
    """Mean semivariance of pairs by distance and time lag; all arrays have shape ``(bins,)``.

    Args:
        distance: mean chord of the pairs, km.
        lag: time steps.
        gamma: semivariance less that of the observation errors; may be negative.
        pairs: effective number.
    """

    distance: Floats
    lag: Floats
    gamma: Floats
    pairs: Floats


def semivariogram(
    points: LocatedObservations, value: Floats, variance: Floats, lags: int = 0
) -> Semivariogram:
    r"""The empirical semivariogram of observations, of which random pairs are enough.

    .. math:: \hat\gamma = \frac{\sum w_{ij} \tfrac12 [(z_i - z_j)^2 - r_i - r_j]}{\sum w_{ij}}, \qquad
              w_{ij} = (\mathrm{Var}\,z + r_i + r_j)^{-2}

    in bins of distance up to half of the greatest, finer near zero. The draw is always the same.

    Args:
        points: where the observations lie; one variable.
        value: ``z``, shape ``(n,)``.
        variance: ``r`` of their errors.
        lags: greatest time lag between frames; pairs of one frame at zero.

    Reference: Matheron (1963); Cressie (1993), section 2.4.
    """
    rng = np.random.default_rng(0)
    position = EARTH_RADIUS_KM * unit_vectors(points.lat, points.lon)
    extent = float(np.linalg.norm(np.ptp(position, axis=0)))
    # The first edge keeps pairs of one place, which only differ in time, to themselves.
    edges = np.append(SAME_PLACE, 0.5 * max(extent, 1.0) * (np.arange(1, BINS + 1) / BINS) ** 1.5)
    total = max(float(np.var(value)), 1e-30)
    sums = np.zeros((4, lags + 1, BINS + 1))
    for lag, first, second in _pairs(points.frame, position, lags, rng):
        distance = np.linalg.norm(position[first] - position[second], axis=1)
        bin_ = np.searchsorted(edges, distance, side="right")
        kept = (bin_ <= BINS) & ((bin_ > 0) | (lag > 0))
        first, second, distance, bin_ = (part[kept] for part in (first, second, distance, bin_))
        error = variance[first] + variance[second]
        weight = ((total + error) / total) ** -2.0
        half = 0.5 * ((value[first] - value[second]) ** 2 - error)
        for k, part in enumerate((weight, weight**2, weight * half, weight * distance)):
            sums[k, lag] += np.bincount(bin_, part, BINS + 1)
    lag_of = np.repeat(np.arange(lags + 1.0), BINS + 1)
    w, w2, wg, wd = (part.reshape(-1) for part in sums)
    some = w > 0
    w = w[some]
    return Semivariogram(wd[some] / w, lag_of[some], wg[some] / w, w**2 / w2[some])


def _pairs(
    frame: NDArray[np.int64], position: Floats, lags: int, rng: np.random.Generator
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """Time lag and the two members of pairs, of every pair of frames or of evenly chosen ones."""
    present = np.unique(frame)
    rows = {int(t): np.flatnonzero(frame == t) for t in present}
    trees: dict[int, cKDTree] = {}
    for lag in range(lags + 1):
        starts = [t for t in rows if t + lag in rows]
        chosen = starts[:: max(1, -(-len(starts) // FRAME_PAIRS))]
        limit = max(500, PAIRS // max(1, len(chosen) // 4))
        for t in chosen:
            a, b = rows[t], rows[t + lag]
            if len(a) * len(b) <= 2 * limit:
                i, j = (k.ravel() for k in np.meshgrid(np.arange(len(a)), np.arange(len(b)), indexing="ij"))
                once = i < j if lag == 0 else np.ones(len(i), bool)
                yield lag, a[i[once]], b[j[once]]
                continue
            i, j = rng.integers(0, len(a), limit), rng.integers(0, len(b), limit)
            different = a[i] != b[j]
            yield lag, a[i[different]], b[j[different]]
            if t + lag not in trees:
                trees[t + lag] = cKDTree(position[b])
            some = rng.choice(len(a), min(len(a), max(1, limit // NEAREST)), replace=False)
            _, near = trees[t + lag].query(position[a[some]], k=[*range(1, min(NEAREST, len(b)) + 1)])
            first, second = np.repeat(a[some], near.shape[1]), b[np.asarray(near).ravel()]
            yield lag, first[first != second], second[first != second]


def fit_variogram(empirical: Semivariogram) -> Variogram | None:
    r"""Exponential variogram by weighted least squares, in time too where the semivariogram has time lags.

    .. math:: \min_{n, s \ge 0, L, \tau} \sum_b N_b \left(\frac{\hat\gamma_b}{\gamma_b} - 1\right)^2

    For given ``L`` and ``tau`` nugget and sill have a closed form, and these two are searched on a grid and on
    a finer one around its best node; the weights are those of the fit before.

    Returns:
        The variogram, or ``None`` where there are fewer than three bins or nothing varies.

    Reference: Cressie (1985), doi 10.1007/BF01032109.
    """
    d, t, gamma, pairs = empirical.distance, empirical.lag, empirical.gamma, empirical.pairs
    positive = d > SAME_PLACE
    if positive.sum() < 3 or gamma.max() <= 0:
        return None
    lengths = np.geomspace(0.5 * d[positive].min(), 4 * d.max(), 40)
    steps = np.geomspace(0.3, 4 * t.max(), 30) if t.max() > 0 else np.array([np.inf])
    level = float(np.average(np.maximum(gamma, 0.0), weights=pairs))
    model = np.maximum(gamma, 0.2 * level)
    best = Variogram(0.0, level, 1.0)
    for L, tau in ((lengths, steps),) * 3 + ((None, None),) * 2:
        if L is None or tau is None:
            L = best.length * np.geomspace(0.85, 1.18, 21)
            tau = best.steps * np.geomspace(0.8, 1.25, 21) if t.max() > 0 else steps
        best = _best(d, t, gamma, pairs / np.maximum(model, 0.01 * level) ** 2, L, tau)
        model = best(d, t)
    return best


def _best(d: Floats, t: Floats, gamma: Floats, weight: Floats, lengths: Floats, steps: Floats) -> Variogram:
    """The node of the grid with the least weighted squares, nugget and sill not negative."""
    away = np.sqrt((d / lengths[:, None, None]) ** 2 + (t / steps[:, None]) ** 2)
    f = -np.expm1(-away)
    a, p = weight.sum(), (weight * gamma).sum()
    b, c, q = f @ weight, f**2 @ weight, f @ (weight * gamma)
    det = np.maximum(a * c - b**2, 1e-12 * a * c)
    nugget, sill = (p * c - q * b) / det, (q * a - p * b) / det
    pure, none = sill < 0, nugget < 0
    nugget = np.where(none, 0.0, np.where(pure, max(p / a, 0.0), nugget))
    sill = np.where(none, np.maximum(q / c, 0.0), np.where(pure, 0.0, sill))
    loss = (weight * (gamma - nugget[..., None] - sill[..., None] * f) ** 2).sum(-1)
    i, j = np.unravel_index(int(np.argmin(loss)), loss.shape)
    return Variogram(float(nugget[i, j]), float(sill[i, j]), float(lengths[i]), float(steps[j]))
