"""Local ensemble transform Kalman filter: the data assimilation that cycling with a prior is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skyweave.cycle.run import MODEL_ERROR, Cycle, Model
from skyweave.errors import SkyweaveError
from skyweave.grid import EARTH_RADIUS, Grid
from skyweave.observe.assemble import ObservationSet, SegmentObservations
from skyweave.observe.errors import correlation, unit_vectors
from skyweave.observe.operator import StateOperator
from skyweave.posterior.noise import NoiseStream
from skyweave.posterior.output import to_physical
from skyweave.prior.covariance import StationaryCovariance
from skyweave.state import StateSpec
from skyweave.transform import StateTransform

__all__ = ["Domain", "LETKFCycler", "LETKFSettings", "letkf_analysis"]

Floats = NDArray[np.float64]

ROWS = 1024
"""Observations whose products between members are held at once."""


@dataclass(frozen=True, eq=False)
class Domain:
    r"""Where the cells of a state lie and how far apart places are: a sphere, or a torus as a product of circles.

    .. math:: d^2 = \sum_i r_i^2\, \theta_i^2, \qquad \theta_i = 2 \arcsin(|a_i - b_i| / 2)

    Args:
        points: unit vectors of each factor side by side, shape ``(H * W, D)``.
        radii: of the factors, in the unit of distances.
    """

    points: Floats
    radii: tuple[float, ...]

    @classmethod
    def sphere(cls, grid: Grid) -> Domain:
        """Cells of a latitude-longitude grid; great-circle distances in km."""
        lat, lon = grid.mesh()
        return cls(unit_vectors(lat.ravel(), lon.ravel()), (EARTH_RADIUS / 1000,))

    @classmethod
    def torus(cls, height: int, width: int) -> Domain:
        """Cells of a doubly periodic plane; distances in cells."""
        i, j = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
        y, x = 2 * np.pi * i.ravel() / height, 2 * np.pi * j.ravel() / width
        points = np.stack([np.cos(y), np.sin(y), np.cos(x), np.sin(x)], axis=1)
        return cls(points, (height / (2 * np.pi), width / (2 * np.pi)))

    def distance(self, a: Floats, b: Floats) -> Floats:
        """Distances ``(k, n)`` between points ``(k, D)`` and ``(n, D)``."""
        squared = np.zeros((len(a), len(b)))
        for r, x, y in zip(self.radii, self._factors(a), self._factors(b), strict=True):
            chord = np.sqrt(np.clip(2 - 2 * x @ y.T, 0.0, 4.0))
            squared += (2 * r * np.arcsin(chord / 2)) ** 2
        return np.sqrt(squared)

    def positions(self, operator: StateOperator) -> Floats:
        """The place of each observation, ``(n, D)``: the mean of its cells by weight, brought back to the domain."""
        matrix = abs(operator.matrix.tocsr())
        columns = matrix.indices.astype(np.int64) % len(self.points)
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        mean: Floats = np.stack(
            [np.bincount(rows, matrix.data * p[columns], matrix.shape[0]) for p in self.points.T], axis=1
        )
        parts = [p / np.linalg.norm(p, axis=1, keepdims=True).clip(1e-12) for p in self._factors(mean)]
        return np.concatenate(parts, axis=1)

    def _factors(self, points: Floats) -> list[Floats]:
        return np.split(points, len(self.radii), axis=1)


def letkf_analysis(
    forecast: Tensor,
    predicted: Tensor,
    y: Tensor,
    variance: Tensor,
    domain: Domain,
    places: Floats,
    radius: float,
    *,
    inflation: float = 1.0,
    relaxation: float = 0.0,
    chunk: int = 256,
) -> Tensor:
    r"""An ensemble updated cell by cell with the observations around, weighed by distance.

    In the space of the ``M`` members, with anomalies ``X`` of the state and ``Y`` of the predicted observations and
    ``R`` divided by the weight of each observation for the cell,

    .. math:: \tilde P = \big[(M - 1) I / \rho^2 + Y^T R^{-1} Y\big]^{-1}, \quad
              \bar w = \tilde P Y^T R^{-1} (y - \bar y), \quad W = [(M - 1) \tilde P]^{1/2},

    and the analysis has the members ``mean + X (w + W_m)``. Relaxation to the spread of the forecast then multiplies
    the anomalies by ``1 + alpha (s_f - s_a) / s_a``.

    Args:
        forecast: members ``(M, C, H, W)``, in any units.
        predicted: what each would be observed as, ``(M, n)``, units of the observations.
        y: values, ``(n,)``.
        variance: of their independent errors, ``(n,)``.
        domain: places of the ``H * W`` cells.
        places: of the observations, ``(n, D)``, as `Domain.positions` gives.
        radius: distance at which the weight of an observation falls to zero: twice the length of the function of
            Gaspari and Cohn; km on the sphere, infinite for no localisation.
        inflation: ``rho``, factor of the forecast's spread.
        relaxation: ``alpha``, from zero to one.
        chunk: cells computed together.

    Returns:
        Members ``(M, C, H, W)``. Cells beyond the radius of every observation keep the forecast as it is, without
        inflation, so that the spread cannot grow without end where nothing is observed.

    Raises:
        ValueError: shapes that do not fit, fewer than two members, or numbers out of range.

    Reference: Hunt, Kostelich and Szunyogh 2007, doi 10.1016/j.physd.2006.11.008, Eq. 20-25 and section 2.3.3;
    relaxation to the prior's spread: Whitaker and Hamill 2012, doi 10.1175/MWR-D-11-00276.1, section 2.
    """
    members, channels, height, width = forecast.shape
    n = len(y)
    if predicted.shape != (members, n) or variance.shape != (n,) or len(places) != n:
        raise ValueError(
            f"{members} members and {n} observations, but predicted {tuple(predicted.shape)}, variance "
            f"{tuple(variance.shape)}, {len(places)} places"
        )
    if len(domain.points) != height * width:
        raise ValueError(f"a domain of {len(domain.points)} cells for a state of {height} x {width}")
    if members < 2 or not radius > 0 or not inflation > 0 or not 0 <= relaxation <= 1:
        raise ValueError(
            f"members {members} (two or more), radius {radius:g} and inflation {inflation:g} (positive), relaxation "
            f"{relaxation:g} (0 to 1)"
        )
    out = forecast.clone().reshape(members, channels, -1)
    x = out.double()
    mean = x.mean(0)
    X = (x - mean).permute(2, 0, 1)
    y_mean = predicted.double().mean(0)
    Y, d, r = predicted.double() - y_mean, y.double() - y_mean, variance.double()
    for first in range(0, height * width, chunk):
        cells = slice(first, first + chunk)
        weight = torch.from_numpy(
            correlation(domain.distance(domain.points[cells], places), radius / 2, "gaspari-cohn")
        )
        rows, active = (weight > 0).any(0), (weight > 0).any(1)
        if not bool(active.any()):
            continue
        place = torch.arange(first, first + len(weight))[active]
        w, W = _weights(Y[:, rows], d[rows], weight[active][:, rows] / r[rows], inflation)
        anomalies = torch.einsum("bic,bij->bjc", X[place], W)
        if relaxation:
            before, after = (a.square().sum(1, keepdim=True).sqrt() for a in (X[place], anomalies))
            anomalies = anomalies * (1 + relaxation * (before - after) / after.clamp_min(1e-30))
        centre = mean[:, place].T + torch.einsum("bic,bi->bc", X[place], w)
        out[:, :, place] = (centre[:, None] + anomalies).permute(1, 2, 0).to(out.dtype)
    return out.reshape(forecast.shape)


def _weights(Y: Tensor, d: Tensor, precision: Tensor, inflation: float) -> tuple[Tensor, Tensor]:
    """Of the mean ``(b, M)`` and of the anomalies ``(b, M, M)``, for cells of precisions ``(b, n)``."""
    members, n = Y.shape
    A = torch.eye(members, dtype=Y.dtype) * ((members - 1) / inflation**2)
    A = A.expand(len(precision), members, members).clone()
    for part in torch.arange(n).split(ROWS):
        products = (Y[:, None, part] * Y[None, :, part]).reshape(members**2, -1)
        A += (precision[:, part] @ products.T).reshape(-1, members, members)
    values, vectors = torch.linalg.eigh(A)
    gradient = (precision * d) @ Y.T
    w = torch.einsum("bij,bj,bkj,bk->bi", vectors, 1 / values, vectors, gradient)
    # The symmetric root keeps the sum of the anomalies zero, and each member close to what it was.
    return w, (vectors * ((members - 1) / values).sqrt()[:, None]) @ vectors.mT


@dataclass(frozen=True)
class LETKFSettings:
    """How the filter is run.

    Args:
        radius: see `letkf_analysis`; km on the sphere.
        inflation, relaxation: see `letkf_analysis`.
        seed: of the model's error.
        chunk: cells computed together.
    """

    radius: float
    inflation: float = 1.0
    relaxation: float = 0.0
    seed: int = 0
    chunk: int = 256


@dataclass(eq=False)
class LETKFCycler:
    """The filter with a model and observations, cycled as `skyweave.cycle.run.Cycler` is.

    Analyses are made of normalised states, where variables such as humidity are nearer to Gaussian, and kept to the
    bounds of the variables. Correlations between the errors of observations are left out.

    Args:
        spec, transform: of the state.
        model: the forecaster.
        observed: all observations, one frame per cycle, on the model's grid.
        identities: a number for each time, which its noise depends on.
        times: handed to the model; as many as frames.
        domain: places of the model's cells.
        settings: how.
        background: members that stand for the forecast of the first frame of a run begun without members: draws of the
            climate, physical, ``(M, C, h, w)``.
        model_error: error of one step of the model in normalised units; ``None`` for a perfect model.
    """

    spec: StateSpec
    transform: StateTransform
    model: Model
    observed: ObservationSet
    identities: list[int]
    times: np.ndarray
    domain: Domain
    settings: LETKFSettings
    background: Tensor | None = None
    model_error: StationaryCovariance | None = None

    def run(self, start: Tensor | None = None, first: int = 0) -> Iterator[Cycle]:
        """Cycles from frame ``first`` on.

        Args:
            start: members of the analysis before it, physical, ``(M, C, h, w)``; ``None`` to begin with `background`.

        Raises:
            SkyweaveError: neither of them is given.
        """
        if start is None and self.background is None:
            raise SkyweaveError("an ensemble filter begins with members: give `start` or `background`")
        members = start
        for k in range(first, len(self.identities)):
            forecast = None if members is None else self.forecast(members, k)
            segment = self.observed.segment(k, k + 1)
            guess = self.background if forecast is None else forecast
            assert guess is not None
            x = self.transform.forward(guess[:, None])
            predicted = segment.operator(x)
            members = self._analysis(guess, x, predicted, segment)
            found = {} if forecast is None or not segment.n else self._innovation(predicted, segment)
            yield Cycle(k, forecast, members, found)

    def forecast(self, analysis: Tensor, k: int) -> Tensor:
        """Members one step on, at frame ``k``, with the noise that `Cycler` would add; physical."""
        stepped = self.model.step(analysis, self.times[k - 1] if k else None)
        if self.model_error is None:
            return stepped
        noise = NoiseStream(self.settings.seed, range(len(stepped)), [self.identities[k]])
        error = self.model_error.color(noise.normal(MODEL_ERROR, self.model_error.noise_shape[1:]))
        return to_physical(self.transform.forward(stepped[:, None]) + error, self.transform, self.spec)[0][
            :, 0
        ]

    def _analysis(self, guess: Tensor, x: Tensor, predicted: Tensor, segment: SegmentObservations) -> Tensor:
        if not segment.n:
            return guess
        settings = self.settings
        analysis = letkf_analysis(
            x[:, 0],
            predicted,
            segment.y,
            segment.R.diagonal,
            self.domain,
            self.domain.positions(segment.operator),
            settings.radius,
            inflation=settings.inflation,
            relaxation=settings.relaxation,
            chunk=settings.chunk,
        )
        return to_physical(analysis[:, None], self.transform, self.spec)[0][:, 0]

    def _innovation(self, predicted: Tensor, segment: SegmentObservations) -> dict[str, tuple[float, float]]:
        expected = (predicted.var(0) + segment.R.diagonal).sqrt()
        scaled = ((segment.y - predicted.mean(0)) / expected).double().numpy()
        groups = {s.name: scaled[segment.source == i] for i, s in enumerate(self.observed.sources)}
        return {
            name: (float(d.mean()), float(np.sqrt(np.mean(d**2)))) for name, d in groups.items() if len(d)
        }
