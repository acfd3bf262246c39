"""Scores of an ensemble or a single field against the truth, each a weighted mean over cells."""

from __future__ import annotations

import torch
from torch import Tensor


def weighted_mean(values: Tensor, *, weights: Tensor | None = None, where: Tensor | None = None) -> Tensor:
    """Mean over the cells that count, ``sum(w v) / sum(w)``.

    Args:
        values: any shape ``(..., H, W)``; what stands outside ``where`` is ignored, NaN included.
        weights: broadcasts against `values`; cell areas in m2, say. Equal weights when absent.
        where: boolean, broadcasts against `values`; every cell when absent.

    Returns:
        A 0-d float64 tensor; NaN where no cell counts.
    """
    values = values.double()
    w = torch.ones_like(values) if weights is None else weights.to(values).expand_as(values)
    if where is not None:
        where = where.expand_as(values)
        # NaN times zero is NaN, so ignored cells are replaced before they are weighted.
        values, w = values.where(where, 0.0), w.where(where, 0.0)
    return (values * w).sum() / w.sum()


def bias(fcst: Tensor, obs: Tensor, *, weights: Tensor | None = None, where: Tensor | None = None) -> Tensor:
    """Mean error, ``mean(fcst - obs)``, in the units of the field.

    Args:
        fcst: ``(..., H, W)``, physical units.
        obs: broadcasts against `fcst`; the truth.
        weights, where: as in `weighted_mean`.
    """
    return weighted_mean(fcst.double() - obs.double(), weights=weights, where=where)


def mae(fcst: Tensor, obs: Tensor, *, weights: Tensor | None = None, where: Tensor | None = None) -> Tensor:
    """Mean absolute error, ``mean |fcst - obs|``, in the units of the field.

    Args:
        fcst: ``(..., H, W)``, physical units.
        obs: broadcasts against `fcst`; the truth.
        weights, where: as in `weighted_mean`.
    """
    return weighted_mean((fcst.double() - obs.double()).abs(), weights=weights, where=where)


def rmse(fcst: Tensor, obs: Tensor, *, weights: Tensor | None = None, where: Tensor | None = None) -> Tensor:
    """Root mean square error, ``sqrt(mean (fcst - obs)^2)``, in the units of the field.

    Args:
        fcst: ``(..., H, W)``, physical units.
        obs: broadcasts against `fcst`; the truth.
        weights, where: as in `weighted_mean`.
    """
    return weighted_mean((fcst.double() - obs.double()) ** 2, weights=weights, where=where).sqrt()


def nrmse(
    fcst: Tensor,
    obs: Tensor,
    deviation: float,
    *,
    weights: Tensor | None = None,
    where: Tensor | None = None,
) -> Tensor:
    """RMSE of each field over the standard deviation of the truth, averaged over fields.

    ``mean_t( sqrt(mean_i (fcst - obs)^2) / deviation )``. Members are fields too: given an ensemble
    this is the nRMSE *of a member*, given the ensemble mean it is that *of the mean*.

    Args:
        fcst: ``(..., H, W)``, physical units; each leading index is one field.
        obs: broadcasts against `fcst`; the truth.
        deviation: standard deviation of the whole truth data set, in the same units.
        weights, where: as in `weighted_mean`; fields in which no cell counts are left out.

    Reference: AODDiff, section 4.2, nRMSE.
    """
    error = (fcst.double() - obs.double()) ** 2
    w = torch.ones_like(error) if weights is None else weights.to(error).expand_as(error)
    if where is not None:
        where = where.expand_as(error)
        error, w = error.where(where, 0.0), w.where(where, 0.0)
    total = w.sum(dim=(-2, -1))
    per_field = ((error * w).sum(dim=(-2, -1)) / total).sqrt()
    return per_field[total > 0].mean() / deviation


def crps_field(ensemble: Tensor, obs: Tensor) -> Tensor:
    """Fair continuous ranked probability score of an ensemble, cell by cell.

    ``mean_m |x_m - y| - sum_{m,n} |x_m - x_n| / (2 M (M - 1))``: its expectation is the CRPS of the
    distribution the members are drawn from, whatever their number. A single member's CRPS is its
    absolute error.

    Args:
        ensemble: ``(M, ...)``, physical units.
        obs: ``(...)``; the truth.

    Returns:
        ``(...)`` float64, in the units of the field.

    Reference: Ferro (2014), doi 10.1002/qj.2270, Eq. 7.
    """
    x = ensemble.double()
    members = x.shape[0]
    skill = (x - obs.double()).abs().mean(dim=0)
    if members == 1:
        return skill
    # In sorted order sum_{m<n} (x_n - x_m) is linear in the members: M log M, not M^2.
    order = 2.0 * torch.arange(1, members + 1, dtype=x.dtype, device=x.device) - members - 1.0
    pairs = torch.einsum("m,m...->...", order, x.sort(dim=0).values)
    return skill - pairs / (members * (members - 1))


def crps(
    ensemble: Tensor, obs: Tensor, *, weights: Tensor | None = None, where: Tensor | None = None
) -> Tensor:
    """Fair CRPS averaged over cells; of a single member, its mean absolute error.

    Args:
        ensemble: ``(M, ..., H, W)``, physical units.
        obs: ``(..., H, W)``; the truth.
        weights, where: as in `weighted_mean`.
    """
    return weighted_mean(crps_field(ensemble, obs), weights=weights, where=where)
