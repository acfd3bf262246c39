"""Does the spread of an ensemble tell the truth: spread-skill ratio, coverage, rank histogram."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from skyweave.verify.scores import rmse, weighted_mean


def spread(ensemble: Tensor, *, weights: Tensor | None = None, where: Tensor | None = None) -> Tensor:
    """Root of the mean variance of the members about their mean (divisor M - 1), in the field's units.

    Args:
        ensemble: ``(M, ..., H, W)``, physical units.
        weights, where: as in `skyweave.verify.scores.weighted_mean`.

    Returns:
        A 0-d tensor; NaN for a single member, whose spread is not defined.
    """
    if ensemble.shape[0] < 2:
        return torch.tensor(math.nan, dtype=torch.float64)
    return weighted_mean(ensemble.double().var(dim=0), weights=weights, where=where).sqrt()


def spread_skill_ratio(
    ensemble: Tensor, obs: Tensor, *, weights: Tensor | None = None, where: Tensor | None = None
) -> Tensor:
    """Spread over the RMSE of the ensemble mean, one for a calibrated ensemble of any size.

    ``sqrt((M + 1) / M) spread / RMSE``: if truth and members are exchangeable with variance ``s^2``, the
    squared error of the mean of M members is ``s^2 (1 + 1/M)``.

    Args:
        ensemble: ``(M, ..., H, W)``, physical units.
        obs: ``(..., H, W)``; the truth.
        weights, where: as in `skyweave.verify.scores.weighted_mean`.

    Returns:
        A 0-d tensor; NaN for a single member.

    Reference: Fortin et al. (2014), doi 10.1175/JHM-D-14-0008.1, Eq. 15.
    """
    members = ensemble.shape[0]
    skill = rmse(ensemble.double().mean(dim=0), obs, weights=weights, where=where)
    return math.sqrt((members + 1) / members) * spread(ensemble, weights=weights, where=where) / skill


def _rank_bounds(ensemble: Tensor, obs: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest and highest rank (0 to M) that the truth may take among the members; they differ on ties."""
    # A comparison with NaN is false, and would pass for a rank; the NaN is put back.
    unknown = ensemble.isnan().any(dim=0) | obs.isnan()
    low, high = (ensemble < obs).sum(dim=0).double(), (ensemble <= obs).sum(dim=0).double()
    return low.masked_fill(unknown, math.nan), high.masked_fill(unknown, math.nan)


def coverage(
    ensemble: Tensor,
    obs: Tensor,
    level: float = 0.9,
    *,
    weights: Tensor | None = None,
    where: Tensor | None = None,
) -> Tensor:
    """Fraction of cells whose truth lies in the central interval of the ensemble.

    The interval is taken by rank, not by interpolated quantiles: of a calibrated ensemble the rank ``r`` of
    the truth among M members is uniform on ``0..M``, and stands for the probabilities ``[r, r + 1] / (M +
    1)`` (Weibull's plotting positions). A cell counts by the part of that range that lies within ``[(1 -
    level) / 2, (1 + level) / 2]``, so the expectation is `level` exactly, for every M and every distribution.
    With fewer than ``2 / (1 - level) - 1`` members (19 for 90 %) the members' whole range is narrower than
    the interval; a truth outside it then counts in part, and coverage cannot reach zero.

    Args:
        ensemble: ``(M, ..., H, W)``, physical units.
        obs: ``(..., H, W)``; the truth.
        level: nominal probability of the interval, in (0, 1).
        weights, where: as in `skyweave.verify.scores.weighted_mean`.

    Returns:
        A 0-d tensor in [0, 1]; NaN for a single member.

    Raises:
        ValueError: `level` is not inside (0, 1).
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    members = ensemble.shape[0]
    if members < 2:
        return torch.tensor(math.nan, dtype=torch.float64)
    low, high = _rank_bounds(ensemble, obs)
    start, stop = low / (members + 1), (high + 1) / (members + 1)
    inside = stop.clamp(max=(1 + level) / 2) - start.clamp(min=(1 - level) / 2)
    return weighted_mean(inside.clamp(min=0) / (stop - start), weights=weights, where=where)


def coverage_level(members: int, level: float = 0.9) -> float:
    r"""Probability of the central interval that an ensemble of ``M`` members can be held to.

    .. math:: \min\left(\alpha, \frac{M - 1}{M + 1}\right)

    The second is that of the members' range. Of a wider interval, which `coverage` scores in part, fewer members tell
    little: for 90 % fewer than 19.
    """
    return min(level, (members - 1) / (members + 1))


def rank_histogram(
    ensemble: Tensor, obs: Tensor, *, weights: Tensor | None = None, where: Tensor | None = None
) -> Tensor:
    """Relative frequency of the truth's rank among the members; flat for a calibrated ensemble.

    Where the truth equals some members its count is shared evenly among the ranks it may take, so the
    histogram needs no random numbers.

    Args:
        ensemble: ``(M, ..., H, W)``, physical units.
        obs: ``(..., H, W)``; the truth.
        weights, where: as in `skyweave.verify.scores.weighted_mean`.

    Returns:
        ``(M + 1,)`` float64, summing to one.

    Reference: Hamill (2001), doi 10.1175/1520-0493(2001)129<0550:IORHFV>2.0.CO;2.
    """
    low, high = _rank_bounds(ensemble, obs)
    share = 1.0 / (high - low + 1)
    frequencies = [
        weighted_mean(((low <= rank) & (rank <= high)) * share, weights=weights, where=where)
        for rank in range(ensemble.shape[0] + 1)
    ]
    return torch.stack(frequencies)
