"""Observation errors from predictions of observations that were left out, by the sampler itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from skyweave.diffusion.noise import NoiseStream
from skyweave.errors import SkyweaveError
from skyweave.observe.assemble import ObservationSet, SegmentObservations
from skyweave.posterior.problem import GridPrior, Problem
from skyweave.posterior.sample import Method, sample_posterior
from skyweave.sources.errors import BOUND, TRUST, ErrorEstimates
from skyweave.sources.innovations import BackgroundOf, Stretch, correlated_blocks

__all__ = ["leave_out"]

BORROWED = 4
"""Degrees of freedom by which the variance of a small ensemble is drawn towards the mean variance of its group."""


def leave_out(
    observed: ObservationSet,
    group: np.ndarray,
    groups: int,
    background_of: BackgroundOf,
    stretches: Sequence[Stretch],
    *,
    folds: int = 4,
    leave: str = "rows",
    members: int = 16,
    steps: int = 8,
    iterations: int = 3,
    trust: float = TRUST,
    seed: int = 0,
    identities: Sequence[int] | None = None,
    batch: int | None = None,
    device: str = "cpu",
) -> ErrorEstimates:
    r"""Factors under which observations are most likely, given ensembles that have not seen them.

    .. math:: \min_{\theta_g} \sum_{i \in g} \tfrac12 \log(v_i + e^{2\theta_g} R_{ii})
              + \frac{(y_i - \bar h_i)^2}{2 (v_i + e^{2\theta_g} R_{ii})} + \frac{\theta_g^2}{2 \log^2 a},

    ``h`` the predictions of the members of a posterior without the fold of ``i``, of mean ``h_bar`` and variance
    ``v_i``, and ``a`` the factor ``trust``. The members know the flow, so that a quiet region tells more of an error
    than a lively one. The errors found are those of the next iteration.

    Args:
        observed: all observations.
        group, groups: of each row, and their number.
        background_of: the prior bound to frames ``t0:t1``.
        stretches: frames ``(t0, t1)`` on which to do it.
        folds: parts that are left out in turn.
        leave: "rows": a share of the rows at random, those of correlated errors together; "sources": each source as
            a whole, for sources whose errors are correlated in unknown ways.
        members, steps: of each ensemble.
        iterations: at most; it ends when no factor changes by more than 3 %.
        trust: factor within which stated errors are believed.
        seed: of the noise.
        identities: of the frames, for their noise.
        batch: members computed at once; all of them by default.

    Raises:
        SkyweaveError: sources are to be left out, and there is one.
    """
    if leave == "sources" and len(observed.sources) < 2:
        raise SkyweaveError("leave='sources' needs two sources or more; leave='rows' takes one")
    theta, tau = np.zeros(groups), math.log(trust)
    times = range(observed.operator.shape[0]) if identities is None else identities
    before, after, error = np.full((3, groups), np.nan)
    error[:] = tau
    method, taken, size = Method(steps=steps), 0, batch or members
    for taken in range(1, iterations + 1):
        found = []
        for t0, t1 in stretches:
            rows = observed.rows(t0, t1)
            if not len(rows):
                continue
            segment, number = observed.segment(t0, t1), group[rows]
            assumed = replace(segment, R=segment.R.scaled(np.exp(2 * theta)[number]))
            noise = [
                NoiseStream(seed, range(m, min(m + size, members)), times[t0:t1], device)
                for m in range(0, members, size)
            ]
            fold = _folds(segment, folds, leave, seed)
            background = background_of(t0, t1)
            found.append((*_predict(segment, assumed, fold, background, noise, method), number))
        if not found:
            break
        departure, variance, own, which = (np.concatenate(part) for part in zip(*found, strict=True))
        last = theta.copy()
        for g in np.unique(which):
            mine = which == g
            spread = variance[mine]
            spread = ((members - 1) * spread + BORROWED * spread.mean()) / (members - 1 + BORROWED)
            theta[g], error[g], stated, after[g] = _fit(departure[mine], spread, own[mine], tau)
            before[g] = stated if taken == 1 else before[g]
        if float(np.abs(theta - last).max()) < 0.03:
            break
    return ErrorEstimates(theta, error, before, after, taken)


def _predict(
    segment: SegmentObservations,
    assumed: SegmentObservations,
    fold: np.ndarray,
    background: GridPrior,
    noise: Sequence[NoiseStream],
    method: Method,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Departure of each row from its mean prediction, variance of that prediction, and the stated error variance."""
    departure, variance = np.zeros(segment.n), np.zeros(segment.n)
    for k in np.unique(fold):
        out, kept = np.flatnonzero(fold == k), np.flatnonzero(fold != k)
        given, left = assumed.take(kept), segment.take(out)
        problem = Problem(background, given)
        parts = [sample_posterior(problem, some, method) for some in noise]
        h = left.operator(torch.cat(parts).cpu()).double().numpy()
        departure[out] = left.y.double().numpy() - h.mean(0)
        # The mean of a few members is uncertain itself.
        variance[out] = h.var(0, ddof=1) * (1 + 1 / len(h))
    return departure, variance, np.asarray(segment.R.variance)


def _folds(segment: SegmentObservations, folds: int, leave: str, seed: int) -> np.ndarray:
    if leave == "sources":
        return segment.source
    block = correlated_blocks(segment)
    rng = np.random.default_rng(seed)
    fold = rng.permutation(np.arange(segment.n) % folds)
    return np.where(block >= 0, block % folds, fold)


def _fit(
    departure: np.ndarray, variance: np.ndarray, own: np.ndarray, tau: float
) -> tuple[float, float, float, float]:
    """``theta`` of one group, its standard error, and the mean square of standardised departures before and after."""

    def total(theta: float) -> np.ndarray:
        return variance + math.exp(2 * theta) * own

    def cost(theta: float) -> float:
        S = total(theta)
        return float(0.5 * (np.log(S) + departure**2 / S).sum()) + 0.5 * (theta / tau) ** 2

    theta = float(minimize_scalar(cost, bounds=(-BOUND, BOUND), method="bounded").x)
    share = math.exp(2 * theta) * own / total(theta)
    error = (2 * float((share**2).sum()) + 1 / tau**2) ** -0.5
    return theta, error, float((departure**2 / total(0)).mean()), float((departure**2 / total(theta)).mean())
