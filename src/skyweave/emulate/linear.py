"""A linear inverse model: the state's principal components, stepped by a regression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from skyweave.diffusion.noise import NoiseStream
from skyweave.emulate.forecaster import check_state, later, seconds_of
from skyweave.emulate.simple import Climatology, annual_basis, complete, fit_climatology
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.prior.data import regular
from skyweave.state import StateSpec, time_dim, to_tensor

__all__ = ["LinearForecaster", "fit_linear"]

FOLDS = 5
RIDGES = (1e-3, 1e-2, 1e-1)
WHOLE = 2048
"""Times or cells up to which EOFs are those of a whole decomposition."""
LEAST = 0.1
"""Least square amplitude of the residual in any season, in units of its mean."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LinearForecaster:
    r"""Anomalies from climatology, stepped in the space of their leading empirical orthogonal functions (EOFs).

    .. math:: z(t) = E^T\,\frac{x(t) - \bar x(t)}{s}\sqrt{w}, \qquad
              z(t + \Delta t) = G z(t) + a(t)\,L\,n

    What the EOFs leave out decays at once. With `noise` the residual, of covariance :math:`a^2 L L^T`, is drawn anew
    at every step. It is that of years the regression has not seen, and :math:`a` goes with the season: storms grow
    faster in winter.

    Args:
        climatology: :math:`\bar x`.
        scale: :math:`s`, of each channel, physical units, ``(C,)``.
        eofs: :math:`E`, ``(C H W, K)``, orthonormal.
        weight: :math:`\sqrt w`, of each row, ``(H,)``.
        propagator: :math:`G`, ``(K, K)``.
        residual: :math:`L`, ``(K, K)``.
        seasons: coefficients of :math:`a^2` on a mean and the waves of the year, ``(1,)`` where there are no seasons.
        noise: draw the residual.
        seed: of what is drawn.

    Reference: Penland and Magorian (1993), doi 10.1175/1520-0442(1993)006<1067:PONSST>2.0.CO;2.
    """

    climatology: Climatology
    scale: Tensor
    eofs: Tensor
    weight: Tensor
    propagator: Tensor
    residual: Tensor
    seasons: Tensor
    noise: bool = False
    seed: int = 0

    @property
    def spec(self) -> StateSpec:
        return self.climatology.spec

    @property
    def grid(self) -> Grid:
        return self.climatology.grid

    @property
    def time_step(self) -> float:
        return self.climatology.time_step

    def step(self, state: Tensor, time: Any = None, members: Sequence[int] | None = None) -> Tensor:
        """The state one time step later; see `Forecaster`."""
        check_state(state, self.spec, self.grid, "the linear forecaster")
        if time is None and any(self.climatology.harmonics):
            raise SkyweaveError("the linear forecaster needs the time of the state, and none was given")
        like = state.new_zeros((), dtype=torch.float64)
        factor = (self.weight[:, None] / self.scale[:, None, None]).to(like)
        times = [time, later(time, self.time_step)]
        before, after = (
            self.climatology.at(times if any(self.climatology.harmonics) else [0, 0]).to(like).unbind(0)
        )
        eofs = self.eofs.to(like)
        z = ((state.double() - before) * factor).nan_to_num().flatten(1) @ eofs
        z = z @ self.propagator.T.to(like)
        if self.noise:
            labels = range(len(state)) if members is None else members
            draws = NoiseStream(self.seed, tuple(labels), (seconds_of(time),)).normal(0, (z.shape[1],))
            drawn = self.amplitude([time])[0] * draws[:, 0].double() @ self.residual.T
            z = z + drawn.to(like)
        anomaly = (z @ eofs.T).reshape(state.shape) / factor
        return (after + anomaly).to(state)

    def amplitude(self, times: Sequence[Any] | np.ndarray) -> Tensor:
        """The factor ``a`` of the residual for steps that begin at some times, ``(T,)``."""
        if len(self.seasons) == 1:
            return self.seasons.sqrt().expand(len(times))
        return (_seasons(times) @ self.seasons).clamp_min(LEAST).sqrt()


def fit_linear(
    data: xr.Dataset,
    spec: StateSpec,
    *,
    components: int = 40,
    ridge: float | None = None,
    noise: bool = False,
    seed: int = 0,
) -> LinearForecaster:
    """A linear inverse model of training data.

    Args:
        data: training data in order of time; pairs are taken where times follow at the record's own step.
        spec: variables of the states.
        components: EOFs kept, at most.
        ridge: added to the covariance of the components, as a share of its mean diagonal; by default that of `RIDGES`
            which forecasts best what the regression has not seen (five stretches of the record, left out in turn).
        noise: make the forecaster draw the residual.
        seed: of what it draws.

    Raises:
        SkyweaveError: gaps, or fewer pairs of times than components.
    """
    climatology = fit_climatology(data, spec)
    times = data[str(time_dim(data))].values
    values = complete(to_tensor(data, spec), spec)
    anomaly = values.double() - climatology.at(times)
    scale = anomaly.nan_to_num().square().mean((0, 2, 3)).sqrt().clamp(min=torch.finfo(torch.float64).tiny)
    rows = torch.from_numpy(np.sqrt(climatology.grid.area.mean(1) / climatology.grid.area.mean()))
    flat = (anomaly * (rows[:, None] / scale[:, None, None])).nan_to_num().flatten(1)
    count = min(components, len(flat) - 1, flat.shape[1])
    eofs = _leading(flat, count)
    z = flat @ eofs
    follows = np.flatnonzero(regular(times))
    if len(follows) <= count:
        raise SkyweaveError(
            f"the linear forecaster: {len(follows)} pairs of times for {count} components; give a longer record or "
            "fewer components"
        )
    x, y = z[follows], z[follows + 1]
    left = {r: _left_out(x, y, r) for r in (RIDGES if ridge is None else (ridge,))}
    best = min(left, key=lambda r: float(left[r].square().mean()))
    residuals, seasons = left[best], torch.ones(1, dtype=x.dtype)
    if climatology.harmonics[0]:
        # The size of a residual goes with the season, its pattern is taken to be the same.
        basis = _seasons(times[follows])
        size = residuals.square().mean(1)
        seasons = torch.linalg.lstsq(basis, size / size.mean()).solution
        residuals = residuals / (basis @ seasons).clamp_min(LEAST).sqrt()[:, None]
    values_, modes = torch.linalg.eigh(residuals.T @ residuals / len(residuals))
    return LinearForecaster(
        climatology=climatology,
        scale=scale,
        eofs=eofs,
        weight=rows,
        propagator=_regression(x, y, best),
        residual=modes * values_.clamp(min=0).sqrt(),
        seasons=seasons,
        noise=noise,
        seed=seed,
    )


def _leading(flat: Tensor, count: int) -> Tensor:
    """The leading right singular vectors, ``(columns, count)``, each with its largest element positive.

    Noise is drawn along them, so they must be the same on every machine: signs are fixed and nothing is drawn where
    one side is small enough for a whole decomposition.
    """
    if min(flat.shape) <= WHOLE:
        small = flat.T @ flat if flat.shape[1] <= flat.shape[0] else flat @ flat.T
        vectors = torch.linalg.eigh(small).eigenvectors.flip(1)[:, :count]
        if flat.shape[1] > flat.shape[0]:
            vectors = torch.nn.functional.normalize(flat.T @ vectors, dim=0)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            vectors = torch.svd_lowrank(flat, q=count + 10, niter=4)[2][:, :count]
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    return vectors * largest.sign()


def _regression(x: Tensor, y: Tensor, ridge: float) -> Tensor:
    """``G`` of ``y = G x`` by least squares, ``(K, K)``."""
    covariance = x.T @ x / len(x)
    covariance += ridge * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=x.dtype)
    return torch.linalg.solve(covariance, x.T @ y / len(x)).T


def _left_out(x: Tensor, y: Tensor, ridge: float) -> Tensor:
    """Residuals of each stretch of the record by the regression of the others; of all at once where it is short."""
    folds = torch.arange(len(x)) * FOLDS // len(x)
    if len(x) * (FOLDS - 1) // FOLDS <= x.shape[1]:
        return y - x @ _regression(x, y, ridge).T
    out = torch.empty_like(y)
    for fold in range(FOLDS):
        here = folds == fold
        out[here] = y[here] - x[here] @ _regression(x[~here], y[~here], ridge).T
    return out


def _seasons(times: Sequence[Any] | np.ndarray) -> Tensor:
    """A mean and one wave of the year at some times, ``(T, 3)``."""
    return torch.from_numpy(annual_basis(times, 1))
