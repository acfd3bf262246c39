"""Local ensemble transform: each member moved by what is observed around it, its structure kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skyweave.grid import EARTH_RADIUS, Grid
from skyweave.observe.assemble import SegmentObservations
from skyweave.observe.errors import correlation, unit_vectors
from skyweave.observe.operator import StateOperator

__all__ = ["Domain", "letkf_analysis", "transformed"]

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


def transformed(
    x: Tensor,
    segment: SegmentObservations,
    domain: Domain,
    radius: float,
    *,
    inflation: float = 1.0,
    relaxation: float = 0.0,
    chunk: int = 256,
) -> Tensor:
    """Members ``(M, 1, C, H, W)``, normalised, moved by the observations of a frame; see `letkf_analysis`."""
    moved = letkf_analysis(
        x[:, 0],
        segment.operator(x),
        segment.y,
        segment.R.diagonal,
        domain,
        domain.positions(segment.operator),
        radius,
        inflation=inflation,
        relaxation=relaxation,
        chunk=chunk,
    )
    return moved[:, None]


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
    predicted, y, r = (part.to(x) for part in (predicted, y, variance))
    y_mean = predicted.mean(0)
    Y, d = predicted - y_mean, y - y_mean
    for first in range(0, height * width, chunk):
        cells = slice(first, first + chunk)
        weight = torch.from_numpy(
            correlation(domain.distance(domain.points[cells], places), radius / 2, "gaspari-cohn")
        ).to(x)
        rows, active = (weight > 0).any(0), (weight > 0).any(1)
        if not bool(active.any()):
            continue
        place = torch.arange(first, first + len(weight), device=x.device)[active]
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
    A = torch.eye(members, dtype=Y.dtype, device=Y.device) * ((members - 1) / inflation**2)
    A = A.expand(len(precision), members, members).clone()
    for part in torch.arange(n).split(ROWS):
        products = (Y[:, None, part] * Y[None, :, part]).reshape(members**2, -1)
        A += (precision[:, part] @ products.T).reshape(-1, members, members)
    values, vectors = torch.linalg.eigh(A)
    gradient = (precision * d) @ Y.T
    w = torch.einsum("bij,bj,bkj,bk->bi", vectors, 1 / values, vectors, gradient)
    # The symmetric root keeps the sum of the anomalies zero, and each member close to what it was.
    return w, (vectors * ((members - 1) / values).sqrt()[:, None]) @ vectors.mT
