"""Ordinary kriging on the sphere, of each map by itself or of all frames in a metric of space and time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import betaincinv

from skyweave.baselines.climatology import Climatology, physical_members
from skyweave.baselines.located import Floats, LocatedObservations, Observed, locate
from skyweave.baselines.variogram import SAME_PLACE, Variogram, fit_variogram, semivariogram
from skyweave.diffusion.noise import NoiseStream
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.state import StateSpec
from skyweave.transform import StateTransform

__all__ = ["krige", "kriging", "normalised_points", "random_field", "space_time_kriging"]

NEIGHBOURS = 32
NEIGHBOURS_IN_TIME = 48
OWN_VARIOGRAM = 50
"""Observations from which a map has a variogram of its own; maps of fewer share that of all frames."""
LEAST = 10
"""Observations from which a variogram is fitted at all."""
LAGS = 12
"""Greatest time lag, in steps, at which the variogram in space and time is estimated."""
BLOCK = 2048
"""Cells solved at once."""
FREQUENCIES = 1024
"""Waves of which an unconditional field is made."""


@dataclass(frozen=True, eq=False)
class _Draws:
    """What members are made of: their numbers, errors of all observations ``(n, M)``, normalised, and a seed."""

    members: range
    errors: Floats
    seed: int


def kriging(
    observed: Observed,
    spec: StateSpec,
    grid: Grid,
    *,
    transform: StateTransform | None = None,
    climatology: Climatology | None = None,
    members: int = 1,
    seed: int = 0,
    neighbours: int = NEIGHBOURS,
    variogram: Variogram | None = None,
) -> NDArray[np.float32]:
    r"""Ordinary kriging of each map, or conditional simulations where more than one member is wanted.

    Observations are taken for points of normalised values. The variogram is that of the map, see
    `fit_variogram`; of maps with fewer than 50 observations, that of all frames. Frames without observations are
    interpolated linearly in time, where members vary as if nothing were known.

    .. math:: x_m = K(z - b_m - e_m) + b_m

    with ``K`` the weights of `krige`, ``b_m`` a Gaussian field of the variogram at cells and observations, and
    ``e_m ~ N(0, R)``: the variance of a cell among members is its kriging variance.

    Args:
        observed: as all that follow in `skyweave.baselines`.
        neighbours: observations that a cell looks at.
        variogram: of normalised values, in place of the fitted one.

    Raises:
        SkyweaveError: no neighbours wanted.

    Reference: Matheron (1963), doi 10.2113/gsecongeo.58.8.1246; conditioning by kriging, Journel and Huijbregts
    (1978), section VII.A.
    """
    T, C, H, W = observed.operator.shape
    points = locate(observed, grid)
    z, variance = normalised_points(points, transform)
    draws = _draws(observed, points, variance, members, seed)
    x = _never_observed(climatology, members, observed.operator.shape)
    for c in range(C):
        rows = np.flatnonzero(points.channel == c)
        frames = np.unique(points.frame[rows])
        if len(frames) == 0:
            continue
        shared = variogram or _fitted(points.where(rows), z[rows], variance[rows], 0, transform)
        for t in frames:
            here = rows[points.frame[rows] == t]
            own = variogram
            if own is None and len(here) >= OWN_VARIOGRAM:
                own = _fitted(points.where(here), z[here], variance[here], 0, transform)
            own = own or shared
            args = points.where(here), z[here], variance[here], grid, [int(t)], own, neighbours
            x[:, t : t + 1, c] = _conditioned(*args, draws, here)
        # Means of the observed frames' members would vary too little: only their mean says something.
        _between(x[:, :, c], frames)
        if draws is not None:
            for t in np.setdiff1d(np.arange(T), frames):
                field = _unconditional(shared, _cells(shared, grid, [t]), int(t), draws, c)
                x[:, t, c] = x[:, t, c].mean(0) + field.T.reshape(members, H, W)
    return physical_members(torch.from_numpy(x), transform, spec)


def space_time_kriging(
    observed: Observed,
    spec: StateSpec,
    grid: Grid,
    *,
    transform: StateTransform | None = None,
    climatology: Climatology | None = None,
    members: int = 1,
    seed: int = 0,
    neighbours: int = NEIGHBOURS_IN_TIME,
    variogram: Variogram | None = None,
) -> NDArray[np.float32]:
    r"""Ordinary kriging from the observations of all frames, or conditional simulations of the whole series.

    As `kriging`, with neighbours and covariances in the metric :math:`\sqrt{(d / L)^2 + (t / \tau)^2}` and one
    variogram, fitted in space and time, for the whole segment.

    Args:
        observed: as all that follow in `skyweave.baselines`.
        neighbours: observations that a cell looks at, in any frame.
        variogram: of normalised values, in place of the fitted one.

    Raises:
        SkyweaveError: no neighbours wanted.

    Reference: metric model of Dimitrakopoulos and Luo (1994); Cressie and Wikle (2011), section 6.1.
    """
    T, C, H, W = observed.operator.shape
    points = locate(observed, grid)
    z, variance = normalised_points(points, transform)
    draws = _draws(observed, points, variance, members, seed)
    x = _never_observed(climatology, members, observed.operator.shape)
    for c in range(C):
        rows = np.flatnonzero(points.channel == c)
        if len(rows) == 0:
            continue
        here, lags = points.where(rows), min(LAGS, T - 1)
        own = variogram or _fitted(here, z[rows], variance[rows], lags, transform)
        x[:, :, c] = _conditioned(here, z[rows], variance[rows], grid, range(T), own, neighbours, draws, rows)
    return physical_members(torch.from_numpy(x), transform, spec)


def krige(
    of: Floats,
    value: Floats,
    variance: Floats,
    at: Floats,
    variogram: Variogram,
    neighbours: int = NEIGHBOURS,
) -> tuple[Floats, Floats]:
    r"""Estimates and variances by ordinary kriging from the nearest observations.

    .. math:: \hat z = \lambda^T z, \quad C \lambda + \mu 1 = c_0, \quad 1^T \lambda = 1, \qquad
              v = C(0) - \lambda^T c_0 - \mu

    with ``C = s e^{-d} + n [d = 0]`` between observations, plus the variance of their errors, and ``c_0`` with
    the place. The nugget belongs to the field: without errors an observation is honoured, and ``v`` is that of the
    value in the place, not of a smooth part of it.

    Args:
        of: coordinates of the observations, ``(n, k)``, see `Variogram.coordinates`.
        value: ``z``, ``(n, m)``: each column has the same weights.
        variance: of the observations' errors, ``(n,)``.
        at: coordinates of the places, ``(p, k)``.
        variogram: of ``z``.
        neighbours: observations that a place looks at.

    Returns:
        Estimates ``(p, m)`` and variances ``(p,)``.

    Raises:
        SkyweaveError: fewer than one neighbour.

    Reference: Cressie (1993), section 3.2.
    """
    if neighbours < 1:
        raise SkyweaveError(f"kriging: neighbours is {neighbours}; a cell needs at least one observation")
    tree = cKDTree(of)
    count = min(neighbours, len(of))
    same = SAME_PLACE / variogram.length
    total = max(variogram.variance, 1e-30)
    # Two exact reports of one place make the matrix singular; so does a field that does not vary.
    jitter = 1e-10 * total

    def covariance(distance: Floats) -> Floats:
        return variogram.sill * np.exp(-distance) + variogram.nugget * (distance < same)

    estimate, error = np.empty((len(at), value.shape[1])), np.empty(len(at))
    for start in range(0, len(at), BLOCK):
        block = slice(start, start + BLOCK)
        away, which = (np.asarray(part) for part in tree.query(at[block], k=[*range(1, count + 1)]))
        # Relative to the place, so that nearby points do not cancel.
        place = of[which] - at[block][:, None]
        squared = np.einsum("pik,pik->pi", place, place)
        pairs = squared[:, :, None] + squared[:, None] - 2 * place @ place.transpose(0, 2, 1)
        C = covariance(np.sqrt(np.maximum(pairs, 0.0)))
        diagonal = np.arange(count)
        C[:, diagonal, diagonal] = total + variance[which] + jitter
        c0 = covariance(away)
        solved = np.linalg.solve(C, np.stack([c0, np.ones_like(c0)], axis=-1))
        multiplier = (solved[..., 0].sum(1) - 1) / solved[..., 1].sum(1)
        weights = solved[..., 0] - multiplier[:, None] * solved[..., 1]
        estimate[block] = np.einsum("pi,pim->pm", weights, value[which])
        error[block] = np.maximum(total - (weights * c0).sum(1) - multiplier, 0.0)
    return estimate, error


def random_field(at: Floats, coefficients: Floats, seed: int) -> Floats:
    r"""Gaussian fields of unit variance and covariance :math:`e^{-d}` between places of any dimension.

    .. math:: b(r) = \sum_k \frac{a_k \cos \omega_k \cdot r + a'_k \sin \omega_k \cdot r}{\sqrt{K}}

    The spectrum of the exponential is a Cauchy distribution; its radii are stratified, so that every draw has
    its share of short waves.

    Args:
        at: coordinates, ``(n, k)``.
        coefficients: standard normal, ``(2 K, M)``.
        seed: of the wave vectors.

    Returns:
        ``(n, M)``.

    Reference: Rahimi and Recht (2007), algorithm 1.
    """
    K, dimension = len(coefficients) // 2, at.shape[1]
    rng = np.random.default_rng(seed % 2**63)
    # Of a Cauchy vector, r^2 / (1 + r^2) has a beta distribution; its complement keeps the digits of the tail.
    rest = betaincinv(0.5, dimension / 2, (np.arange(K) + rng.random(K)) / K)
    radius = np.sqrt((1 - rest) / np.maximum(rest, 1e-12))
    direction = rng.standard_normal((K, dimension))
    waves = direction * (radius / np.linalg.norm(direction, axis=1))[:, None]
    out = np.empty((len(at), coefficients.shape[1]))
    for start in range(0, len(at), 8 * BLOCK):
        phase = at[start : start + 8 * BLOCK] @ waves.T
        out[start : start + 8 * BLOCK] = np.cos(phase) @ coefficients[:K] + np.sin(phase) @ coefficients[K:]
    return out / np.sqrt(K)


def normalised_points(points: LocatedObservations, transform: StateTransform | None) -> tuple[Floats, Floats]:
    r"""Observed values and the variances of their errors in normalised units, ``(n,)`` each.

    .. math:: z = g^{-1}(v), \qquad \mathrm{Var}\,z = \frac{\mathrm{Var}\,v}{g'(z)^2}
    """
    if transform is None:
        return points.value, points.variance
    z, variance = np.empty_like(points.value), np.empty_like(points.value)
    for c, one in enumerate(transform.transforms):
        rows = points.channel == c
        normal = one.forward(torch.from_numpy(points.value[rows]))
        z[rows] = normal.numpy()
        variance[rows] = points.variance[rows] / one.derivative(normal).numpy() ** 2
    return z, variance


def _fitted(
    points: LocatedObservations, z: Floats, variance: Floats, lags: int, transform: StateTransform | None
) -> Variogram:
    """The variogram of observations; of too few, or where nothing varies, a guess at a third of their extent."""
    fitted = None
    if len(z) >= LEAST:
        fitted = fit_variogram(semivariogram(points, z, variance, lags))
    if fitted is not None:
        return fitted
    corners = Variogram(0.0, 1.0, 1.0).coordinates(points.lat, points.lon)
    extent = float(np.linalg.norm(np.ptp(corners, axis=0)))
    # Normalised values have a climatological variance of one.
    sill = float(np.var(z) or np.mean(variance)) if transform is None or len(z) >= LEAST else 1.0
    return Variogram(0.0, sill, max(extent / 3, 1.0), max(lags, 1) / 3 if lags else float("inf"))


def _conditioned(
    points: LocatedObservations,
    z: Floats,
    variance: Floats,
    grid: Grid,
    frames: Sequence[int],
    variogram: Variogram,
    neighbours: int,
    draws: _Draws | None,
    rows: NDArray[np.int64],
) -> Floats:
    """Estimates, or members, of some frames of a variable, ``(M, frames, H, W)``, normalised."""
    of = variogram.coordinates(points.lat, points.lon, points.frame)
    at = _cells(variogram, grid, frames)
    if draws is None:
        estimate, _ = krige(of, z[:, None], variance, at, variogram, neighbours)
    else:
        field = _unconditional(variogram, np.concatenate([at, of]), frames[0], draws, int(points.channel[0]))
        known = z[:, None] - field[len(at) :] - draws.errors[rows]
        estimate, _ = krige(of, known, variance, at, variogram, neighbours)
        estimate += field[: len(at)]
    return estimate.T.reshape(-1, len(frames), *grid.shape)


def _cells(variogram: Variogram, grid: Grid, frames: Sequence[int]) -> Floats:
    lat, lon = (np.tile(part.ravel(), len(frames)) for part in grid.mesh())
    return variogram.coordinates(lat, lon, np.repeat(np.asarray(frames), grid.size))


def _unconditional(variogram: Variogram, at: Floats, frame: int, draws: _Draws, channel: int) -> Floats:
    """Gaussian fields of a variogram, ``(n, M)``; the noise is that of a frame and a variable."""
    noise = NoiseStream(draws.seed, draws.members, [frame])
    waves = noise.normal(2 + 2 * channel, (2 * FREQUENCIES,))[:, 0].double().numpy().T
    field = np.sqrt(variogram.sill) * random_field(at, waves, draws.seed)
    if variogram.nugget > 0:
        # What varies over no distance is one and the same for a cell and the observations on it.
        pairs = cKDTree(at).query_pairs(SAME_PLACE / variogram.length, output_type="ndarray")
        first = np.arange(len(at))
        np.minimum.at(first, pairs[:, 1], pairs[:, 0])
        fine = noise.normal(3 + 2 * channel, (len(at),))[:, 0].double().numpy().T
        field += np.sqrt(variogram.nugget) * fine[first]
    return field


def _draws(
    observed: Observed, points: LocatedObservations, variance: Floats, members: int, seed: int
) -> _Draws | None:
    if members == 1:
        return None
    noise = NoiseStream(seed, range(members), [0])
    errors = observed.R.sample(noise.normal_vector(1, observed.operator.n)).double().numpy()
    # From physical to normalised units, as the variances.
    scale = np.sqrt(variance / np.asarray(observed.R.diagonal, dtype=np.float64))
    return _Draws(range(members), errors.T * scale[:, None], seed)


def _never_observed(
    climatology: Climatology | None, members: int, shape: tuple[int, int, int, int]
) -> Floats:
    """The climatological mean, normalised, or NaN, in every member and frame."""
    mean = np.nan if climatology is None else climatology.mean.double().numpy()
    return np.broadcast_to(mean, (members, *shape)).copy()


def _between(x: Floats, frames: NDArray[np.int64]) -> None:
    """Fill frames without observations, along axis 1, linearly in time from those that have some."""
    place = np.interp(np.arange(x.shape[1]), frames, np.arange(len(frames)))
    for t in np.setdiff1d(np.arange(x.shape[1]), frames):
        before = int(place[t])
        after = min(before + 1, len(frames) - 1)
        share = place[t] - before
        x[:, t] = (1 - share) * x[:, frames[before]] + share * x[:, frames[after]]
