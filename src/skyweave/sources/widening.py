"""A prior given more variance where the observations ask for it: locally, until they are consistent with it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from torch import Tensor

from skyweave.diffusion.noise import NoiseStream
from skyweave.observe.assemble import SegmentObservations
from skyweave.observe.operator import StateOperator
from skyweave.posterior.preconditioner import clusters, row_positions
from skyweave.posterior.problem import GridPrior, Problem, climatological_mean
from skyweave.posterior.sample import Method, sample_posterior
from skyweave.transform import StateTransform

__all__ = ["WidenedTransform", "Widening", "find_widening"]

REACHES = (6.0, 2.0)
"""Standard deviations, in cells, of the Gaussians over which innovations are averaged; one frame in time."""
DOUBT = 1.0
"""Observations' worth of belief in what is known before: the prior, then the wider average."""
PATCH = 25
"""Places left out together: a patch of neighbours, as a cloud would hide."""
LEFT_OUT = 0.25
"""Share of the observations left out to see whether the spread is right."""
MEMBERS, STEPS, ROUNDS = 8, 12, 3
"""Of the ensembles without them, one a round."""
NEAR_ONE = 1.05
"""Factors below which no further round is needed."""
ENOUGH, CLASSES = 40, 4
"""Observations left out from which a factor is estimated, and classes of the scale that have one of their own."""
FACTORS = (0.5, 3.0)
LARGER = (0.0, 0.5, 0.75, 0.9)
"""Quantiles of the size of innovations above which the range must hold as much as over all of them."""
WIDENED = 1.5
"""Factor of the standard deviation above which a place counts as widened."""


@dataclass(frozen=True, eq=False)
class WidenedTransform:
    r"""A transform through which a prior's deviations from its mean are seen larger, each cell by its own factor.

    .. math:: x' = \mu + s\,(x - \mu), \qquad v = g(x')

    with ``g`` the inverse of the prior's transform. The network denoises ``x``, which stays what it was trained on; a
    covariance ``V`` of ``x`` is ``s V s`` of ``x'``.

    Args:
        base: the prior's own transform.
        scale: ``s``, shape ``(T, C, H, W)``.
        centre: ``mu``, normalised, the same shape.
    """

    base: StateTransform
    scale: Tensor
    centre: Tensor

    @property
    def linear(self) -> bool:
        return self.base.linear

    def _moved(self, x: Tensor) -> Tensor:
        return self.centre.to(x) + self.scale.to(x) * (x - self.centre.to(x))

    def inverse(self, x: Tensor) -> Tensor:
        """Physical state of a normalised one, ``(M, T, C, H, W)``."""
        return self.base.inverse(self._moved(x))

    def frames(self, t0: int, t1: int) -> WidenedTransform:
        """That of some of the frames."""
        return WidenedTransform(self.base, self.scale[t0:t1], self.centre[t0:t1])

    def derivative(self, x: Tensor) -> Tensor:
        """``dv/dx`` of every value."""
        return self.base.derivative(self._moved(x)) * self.scale.to(x)


@dataclass(frozen=True, eq=False)
class Widening:
    """By how much a prior is widened on one segment.

    Args:
        transform: to be used in place of the prior's.
        left_out: observations that were left out to see whether the spread is right; none where that was not done.
    """

    transform: WidenedTransform
    left_out: int = 0

    @property
    def scale(self) -> np.ndarray:
        """Factor of the standard deviation of each cell, ``(T, C, H, W)``."""
        return self.transform.scale.numpy()

    def note(self) -> dict[str, float]:
        """The factor, the largest scale, and the share of the cells that are widened."""
        scale = self.scale
        return {
            "largest": round(float(scale.max()), 3),
            "share": round(float((scale > WIDENED).mean()), 4),
        }

    def applied(self, observed: SegmentObservations) -> SegmentObservations:
        """The observations as the widened prior sees them."""
        op = observed.operator
        return replace(observed, operator=StateOperator(op.matrix, op.shape, self.transform))


def find_widening(
    observed: SegmentObservations,
    background: GridPrior,
    transform: StateTransform,
    *,
    noise: Callable[[int], NoiseStream] | None,
    periodic: bool = False,
) -> Widening:
    r"""Local factors of the prior's standard deviation under which the innovations are consistent.

    .. math:: s_j^2(p) = \max\left(1, \frac{a\,\bar b\,s_{j-1}^2(p) + \sum_i k_j(p, p_i)\,(d_i^2 - R_{ii})}
              {a\,\bar b + \sum_i k_j(p, p_i)\, b_i}\right), \qquad b = \mathrm{diag}(H V H^T), \quad s_0 = 1,

    with ``k_j`` Gaussians in space and time of `REACHES` cells, the wider first, so that a gap takes what its
    surroundings say, and one frame; ``a`` = `DOUBT`. Innovations say how large deviations are, not how well neighbours
    tell of each other, so that a part of the observations is left out, and the scale, found from the others alone as it
    is in a gap, is multiplied by the factor with which they lie in the range of the ensemble as often as they should,
    ``(M - 1) / (M + 1)``: for places that are widened much and little apart, and for the larger innovations of each
    (`LARGER`) as well as for all. Spread grows by less than the scale, so that this is done up to `ROUNDS` times.

    Args:
        observed: of one segment.
        background: the prior on it.
        transform: the prior's.
        noise: streams for so many members, for the leave-out; ``None`` leaves it out.
        periodic: whether longitudes close the circle.

    Returns:
        The widening; with factors of one where the innovations ask for none.
    """
    centre = climatological_mean(background)
    # Everything but the draws is done on the CPU.
    centre = centre.cpu()
    scale = torch.from_numpy(local_scale(observed, background, centre, periodic))
    made = Widening(WidenedTransform(transform, scale, centre))
    if noise is None or not bool((scale > WIDENED).any()):
        return made
    out = _left_out(observed)
    kept = np.setdiff1d(np.arange(observed.n), out)
    given, hidden = observed.take(kept), observed.take(out)
    at = _cells(hidden)
    size = (hidden.y - hidden.operator(centre[None])[0]).abs().numpy()
    # As a gap has it: from what surrounds it, without a look at what is hidden.
    scale = torch.from_numpy(local_scale(given, background, centre, periodic))
    trial = Widening(WidenedTransform(transform, scale, centre))
    # Several times, for the spread grows by less than the scale: observations nearby hold it.
    for _ in range(ROUNDS):
        departure = _leave_out(trial.applied(given), trial.applied(hidden), background, noise(MEMBERS))
        factors = _factors(departure, trial.scale.reshape(-1)[at], size)
        if not factors:
            break
        trial, made = (
            Widening(
                WidenedTransform(transform, torch.from_numpy(_grown(w.scale, factors)), centre), len(out)
            )
            for w in (trial, made)
        )
        if all(1 / NEAR_ONE < factor < NEAR_ONE for _, factor in factors):
            break
    return made


def _grown(scale: np.ndarray, factors: list[tuple[float, float]]) -> np.ndarray:
    """The scale times its factor, which follows its logarithm between the classes; never less than one."""
    known, wanted = (np.log([pair[k] for pair in factors]) for k in (0, 1))
    factor = np.exp(np.interp(np.log(scale), known, wanted))
    return np.where(scale > 1, np.maximum(scale * factor, 1.0), 1.0).astype(np.float32)


def local_scale(
    observed: SegmentObservations, background: GridPrior, centre: Tensor, periodic: bool
) -> np.ndarray:
    """Factors of the standard deviation from innovations alone, ``(T, C, H, W)``, float32."""
    op = observed.operator
    weights = abs(op.matrix)
    x = centre[None]
    d = (observed.y - op(x)[0]).double().numpy()
    V = background.covariance(math.inf)
    deviation = V.variance().to(x).sqrt().expand_as(x)
    slope = op.derivative(x)
    deviation = deviation if slope is None else deviation * slope
    # Of a mean of several cells: as if they were fully correlated, so that it widens less rather than more.
    b = (weights @ deviation[0].double().numpy().reshape(-1)) ** 2
    share = np.asarray(weights.sum(axis=1)).ravel()
    spread = weights.T @ np.stack([d**2 - observed.R.variance, b], axis=1) / max(float(share.mean()), 1e-12)
    ratio = np.ones(op.shape)
    for reach in REACHES:
        excess, expected = (_smoothed(part.reshape(op.shape), reach, periodic) for part in spread.T)
        belief = DOUBT * float(b.mean()) * _smoothed_unit(op.shape, reach)
        ratio = np.maximum((belief * ratio + excess) / (belief + expected), 1.0)
    return np.sqrt(ratio).astype(np.float32)


def _smoothed(field: np.ndarray, reach: float, periodic: bool) -> np.ndarray:
    """Sums over neighbours in time, latitude and longitude, the variables apart."""
    mode: Literal["wrap", "constant"] = "wrap" if periodic else "constant"
    along = gaussian_filter(field, (1.0 if len(field) > 1 else 0, 0, reach, 0), mode="constant", truncate=4)
    return gaussian_filter1d(np.asarray(along, np.float64), reach, axis=3, mode=mode, truncate=4.0)


def _smoothed_unit(shape: tuple[int, int, int, int], reach: float) -> float:
    """What a single observation counts at its own place after smoothing."""
    width = math.sqrt(2 * math.pi)
    return (1.0 if shape[0] == 1 else 1 / width) / (reach * width) ** 2


def _cells(observed: SegmentObservations) -> np.ndarray:
    """The flat cell that each observation weighs most, shape ``(n,)``."""
    _, C, H, W = observed.operator.shape
    i, j, c, t = row_positions(observed.operator.matrix, observed.operator.shape).T
    return np.asarray(((t * C + c) * H + i) * W + j)


def _left_out(observed: SegmentObservations) -> np.ndarray:
    """Rows at places hidden at all times, for what hides a place stays for a while, in the shape of the data's gaps.

    The gaps are laid over what is there in a mirror; where they would hide too much or too little, as those of stations
    would, patches of neighbours are hidden instead.
    """
    place = row_positions(observed.operator.matrix, observed.operator.shape)[:, :2]
    seen = np.zeros(observed.operator.shape[2:], bool)
    seen[place[:, 0], place[:, 1]] = True
    mirrored = [~np.flip(seen, axis) for axis in ((0, 1), 0, 1)]
    shares = [float(gap[seen].mean()) for gap in mirrored]
    best = int(np.argmin([abs(share - LEFT_OUT) for share in shares]))
    if LEFT_OUT / 2 <= shares[best] <= 2 * LEFT_OUT:
        hidden = mirrored[best]
    else:
        where = np.argwhere(seen)
        hidden = np.zeros(seen.shape, bool)
        for patch in clusters(where, PATCH)[:: round(1 / LEFT_OUT)]:
            hidden[tuple(where[patch].T)] = True
    return np.flatnonzero(hidden[place[:, 0], place[:, 1]])


def _leave_out(
    given: SegmentObservations, hidden: SegmentObservations, background: GridPrior, noise: NoiseStream
) -> np.ndarray:
    """Members less observation, ``(M, n)``, of the rows left out."""
    members = sample_posterior(Problem(background, given), noise, Method(steps=STEPS))
    return hidden.operator(members.cpu()).double().numpy() - hidden.y.double().numpy()


def _factors(departure: np.ndarray, scale: np.ndarray, size: np.ndarray) -> list[tuple[float, float]]:
    """Median scale and factor of each class of scales: places that are widened much, and little, differ.

    The larger innovations of a class decide where they ask for more: a spread that is right on the average of smoke and
    the air around it is too small in the smoke.
    """
    wide = np.flatnonzero(scale > WIDENED)
    classes = min(CLASSES, len(wide) // ENOUGH)
    order = wide[np.argsort(scale[wide], kind="stable")]
    parts = np.array_split(order, classes) if classes else []
    return [
        (
            float(np.median(scale[p])),
            max(_factor(departure[:, p[size[p] >= np.quantile(size[p], q)]]) for q in LARGER),
        )
        for p in parts
    ]


def _factor(departure: np.ndarray) -> float:
    """The factor of the members' spread with which observations lie in their range as often as they should.

    The observations are taken as they are: a spread that counted on stated errors, which are often too large, would be
    too small where they are.
    """
    members = len(departure)
    mean = departure.mean(axis=0)
    about = departure - mean

    def inside(factor: float) -> float:
        x = mean + factor * about
        return float(((x.min(axis=0) <= 0) & (x.max(axis=0) >= 0)).mean())

    wanted = (members - 1) / (members + 1)
    low, high = FACTORS
    if inside(low) >= wanted:
        return low
    if inside(high) <= wanted:
        return high
    for _ in range(30):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if inside(middle) < wanted else (low, middle)
    return math.sqrt(low * high)
