r"""A forecast as one more source of information, and how not to count the climate twice.

The predictive distribution of a forecast, ``N(m, P)``, already knows what the climate knows. The prior knows it too,
``N(\mu, C)`` in the Gaussian approximation. Their product would count it twice; what the forecast adds is

.. math:: F^{-1} = P^{-1} - C^{-1}, \qquad F^{-1} z = P^{-1} m - C^{-1} \mu,

an observation ``z = x + \epsilon, \epsilon \sim N(0, F)`` of the whole state: prior times observation is ``N(m, P)``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import scipy.sparse as sp
import torch
from torch import Tensor

from skyweave.covariance.stationary import StationaryCovariance
from skyweave.covariance.torus import blocks, hermitian, modes
from skyweave.posterior.kalman import conjugate_gradients

__all__ = ["GaussianForecast", "aggregated", "as_source", "observed_mean"]

MOST = 1e-3
"""Least variance of a forecast at any scale, in units of the climate's: no model is better than that for long."""

LEAST = 0.02
"""Information of a forecast about a wavenumber, in units of the climate's, below which it is taken as that much."""
FLOOR = 1e-8
"""Least variance of a wavenumber of the climate, in units of the mean one."""
RIDGE = 1e-3
"""Variance of a mode of the climate, in units of a cell's, below which a departure of the forecast is not answered."""
TOLERANCE = 3e-3
"""Error of the mean that prior and source give together, in units of its departure from the climate's."""


@dataclass(frozen=True, eq=False)
class GaussianForecast:
    r"""A forecast as a source in normalised units: ``z = G x + e``, ``e ~ N(0, F)``.

    Args:
        mean: ``z``, shape ``(C, h, w)``.
        error: ``F``, acting on ``(M, 1, C, h, w)``.
        aggregate: ``G``, weights ``(h * w, H * W)`` from the state's grid to the forecast's; ``None`` where they
            are one.
    """

    mean: Tensor
    error: StationaryCovariance
    aggregate: sp.csr_array | None = None

    def to(self, device: str | torch.device) -> GaussianForecast:
        """The same on a device."""
        return replace(self, mean=self.mean.to(device), error=self.error.to(device))


def as_source(
    mean: Tensor,
    spread: StationaryCovariance,
    climate: StationaryCovariance,
    climate_mean: Tensor | float = 0.0,
    aggregate: sp.csr_array | None = None,
    reference: StationaryCovariance | None = None,
    extrapolate: bool = True,
) -> GaussianForecast:
    r"""What a forecast ``N(m, P)`` adds to a prior whose climate is ``N(\mu, C)``; see the module.

    Per wavenumber, with ``P`` and ``C`` whitened by ``C`` and eigenvalues ``p`` of ``C^{-1/2} P C^{-1/2}``:
    ``f = 1 / max(1 / p - 1, LEAST)``. Scales at which the forecast has no skill are left to the prior; none is taken as
    known better than to `MOST` of the climate's variance.

    Args:
        mean: ``m``, shape ``(C, h, w)``.
        spread: ``P`` of the predictive distribution (an ensemble's, with the model's error).
        climate: ``C`` on the same grid and torus.
        climate_mean: ``mu``, broadcastable to ``mean``.
        aggregate: ``G`` of `GaussianForecast`.
        reference: the climate's covariance as it would have been estimated in the way that ``P`` was (tapered, say);
            ``p`` is that of ``P`` relative to it. ``C`` itself by default.
        extrapolate: observe ``z``, which lies beyond ``m`` as seen from the climate, so that prior times source is
            ``N(m, P)``. Exact for a Gaussian prior; a learnt one is asked for states that it has never seen, so ``m``
            itself is safer: where there is little skill the mean is then drawn to the climate.

    Raises:
        ValueError: the two covariances live on different tori.
    """
    if spread.padded != climate.padded or spread.shape != climate.shape:
        raise ValueError(
            f"spread on {spread.shape} {spread.padded}, climate on {climate.shape} {climate.padded}"
        )
    inverse = _power(hermitian(modes((reference or climate).spectrum)), -0.5)
    p, U = torch.linalg.eigh(hermitian(inverse @ hermitian(modes(spread.spectrum)) @ inverse))
    f = 1 / (1 / p.clamp_min(MOST) - 1).clamp_min(LEAST)
    half = _power(hermitian(modes(climate.spectrum)), 0.5) @ U
    F = (half * f[..., None, :].to(half.dtype)) @ half.mH
    error = replace(spread, spectrum=blocks(F, spread.spectrum), scale=None, _cache={})
    local = _local_factor(spread, climate)
    error = error if local is None else error.scaled(local)
    z = observed_mean(mean, error, climate, climate_mean) if extrapolate else mean
    return GaussianForecast(z, error, aggregate)


def observed_mean(
    mean: Tensor,
    error: StationaryCovariance,
    climate: StationaryCovariance,
    climate_mean: Tensor | float = 0.0,
) -> Tensor:
    r"""What has to be observed with an error ``F`` for the mean given it to be ``m``, whatever ``F`` is.

    .. math:: z = m + F C^{-1} (m - \mu) \quad\Rightarrow\quad \mu + C (C + F)^{-1} (z - \mu) = m

    ``C`` is that of the domain: a filter by wavenumber is its inverse on a torus alone, and wrong by a good part of the
    forecast's error within a correlation length of an open end, or where a local standard deviation varies.

    Args:
        mean: ``m``, shape ``(C, h, w)``.
        error: ``F``.
        climate: ``C`` on the same grid.
        climate_mean: ``mu``, broadcastable to ``mean``.
    """
    d = (mean - climate_mean).expand_as(mean).double().reshape(1, -1)
    values, vectors = torch.linalg.eigh(hermitian(modes(climate.spectrum)))
    # Scales that hold next to no variance of the climate are left out: dividing by it would make them all there is.
    ridge = RIDGE * float(climate.variance().mean())
    values = values.clamp_min(0) + ridge
    exact = replace(climate, spectrum=climate.spectrum.to(_double(climate.spectrum)), _cache={})
    inverse = blocks((vectors / values[..., None, :]) @ vectors.mH, exact.spectrum)
    around = replace(
        exact, spectrum=inverse, scale=None if climate.scale is None else 1 / climate.scale, _cache={}
    )

    def by(V: StationaryCovariance, u: Tensor) -> Tensor:
        return (V @ u.reshape(len(u), *V.shape)).reshape(len(u), -1)

    u, _ = conjugate_gradients(
        lambda u: by(exact, u) + ridge * u,
        d,
        precondition=lambda r: by(around, r),
        tolerance=TOLERANCE,
        iterations=500,
    )
    return mean + by(error, u).reshape(mean.shape).to(mean.dtype)


def _local_factor(spread: StationaryCovariance, climate: StationaryCovariance) -> Tensor | None:
    """Local standard deviation of ``F`` over that of its stationary part, from the total variances of each cell.

    Where little is known on the whole it is that of the spread itself: ``F`` is then large, and two neighbours of one
    error, one of them scaled by much more, would tell the state between them.
    """
    if spread.scale is None:
        return None
    own, C = spread.scale**2, climate.variance()
    P0 = spread.scaled(None).variance().clamp_min(1e-12 * C)  # members may be the same, all of them
    known = (2 * (1 - P0 / C)).clamp(0, 1)
    P = (P0 * own).minimum(C / (1 + LEAST))
    P0 = P0.minimum(C / (1 + LEAST))
    ratio = (P * (C - P0) / (P0 * (C - P))).clamp(1e-3, 1e3)
    return (own * (ratio / own) ** known).sqrt()


def aggregated(
    V: StationaryCovariance, G: sp.csr_array | None, shape: tuple[int, int], padded: tuple[int, int]
) -> StationaryCovariance:
    """``G V G^T`` as a stationary covariance on the coarser grid: its response to a unit in the middle.

    Args:
        V: on the state's grid.
        G: weights ``(h * w, H * W)``; ``None`` gives ``V`` itself.
        shape: ``(h, w)``.
        padded: torus of the coarser grid.
    """
    if G is None:
        return V
    from skyweave.observe.operator import to_torch_csr

    device = V.spectrum.device
    down, up = to_torch_csr(G).to(device), to_torch_csr(sp.csr_array(G.T)).to(device)
    C, (h, w) = V.shape[1], shape
    middle = (h // 2) * w + w // 2
    unit = torch.zeros(C, C, h * w, device=device)
    unit[:, :, middle] = torch.eye(C, device=device)
    fine = (up @ unit.reshape(C * C, h * w).T).T.reshape(C, 1, *V.shape[1:])
    response = (down @ (V @ fine).reshape(C * C, -1).T).T.reshape(C, C, h, w)
    kernel = response.new_zeros(C, C, 1, *padded)
    rows, columns = torch.arange(h) - h // 2, torch.arange(w) - w // 2
    # Column q of the response is the covariance of every variable with variable q.
    kernel[..., 0, (rows % padded[0])[:, None], (columns % padded[1])[None]] = response.transpose(0, 1)
    return StationaryCovariance.of(kernel, (1, C, h, w))


def _power(C: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(C)
    values = values.clamp_min(FLOOR * float(values.mean()))
    return (vectors * values[..., None, :] ** exponent) @ vectors.mH


def _double(blocks: Tensor) -> torch.dtype:
    return torch.complex128 if blocks.is_complex() else torch.float64
