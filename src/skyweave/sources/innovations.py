"""Innovations: observations minus what the prior knows without them, and the covariance expected of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from skyweave.observe.assemble import ObservationSet, SegmentObservations
from skyweave.posterior.kalman import innovation_covariance
from skyweave.posterior.preconditioner import clusters, row_positions
from skyweave.posterior.problem import GridPrior, climatological_mean

__all__ = [
    "Group",
    "Innovations",
    "choose_stretches",
    "climatological_innovations",
    "correlated_blocks",
    "groups_of",
]

LARGEST = 1000
"""Observations whose covariance is factorised together."""


Stretch = tuple[int, int]
BackgroundOf = Callable[[int, int], GridPrior]


@dataclass(frozen=True)
class Group:
    """Observations of one variable by one source: what shares an error and a bias.

    Args:
        source, channel: numbers of the source and of the variable.
        name: of the source.
        variable, units: of the variable.
        rows: how many observations there are.
        stated: root mean square of their stated errors, with the source's weight, in ``units``.
    """

    source: int
    channel: int
    name: str
    variable: str
    units: str
    rows: int
    stated: float


def groups_of(observed: ObservationSet) -> tuple[list[Group], np.ndarray]:
    """All groups, by source and then by variable, and the number of the group of each row, ``(n,)``."""
    groups: list[Group] = []
    number = np.full(observed.n, -1)
    for s, c in sorted(set(zip(observed.source.tolist(), observed.channel.tolist(), strict=True))):
        here = (observed.source == s) & (observed.channel == c)
        number[here] = len(groups)
        variable = observed.spec.variables[c]
        stated = math.sqrt(float(observed.R.variance[here].mean()))
        groups.append(
            Group(s, c, observed.sources[s].name, variable.name, variable.units, int(here.sum()), stated)
        )
    return groups, number


@dataclass(frozen=True, eq=False)
class Innovations:
    r"""Innovations of one stretch of time and what is expected of them.

    .. math:: d = y - H(x_b), \qquad E[d d^T] = H C H^T + R

    Args:
        rows: of the whole set of observations, shape ``(n,)``.
        d: physical units, shape ``(n,)``, float64.
        background: ``H C H^T``, shape ``(n, n)``.
        error: ``R`` as stated, shape ``(n, n)``.
        group: of each row.
        block: number of the rows with which an error is correlated, -1 for none.
    """

    rows: np.ndarray
    d: np.ndarray
    background: np.ndarray
    error: np.ndarray
    group: np.ndarray
    block: np.ndarray

    @property
    def n(self) -> int:
        return len(self.d)

    def covariance(self, log_factor: np.ndarray) -> np.ndarray:
        """``H C H^T + R`` with the errors of each group multiplied by ``exp(log_factor)``, one a group."""
        scale = np.exp(log_factor)[self.group]
        out = self.background + scale[:, None] * self.error * scale[None]
        # The prior's covariance is single precision: rounding must not make the sum indefinite.
        out[np.diag_indices(self.n)] += 1e-7 * np.diag(self.background)
        return out

    def without(self, bias: np.ndarray) -> Innovations:
        """The same with a bias taken off, one number a row of the whole set."""
        return replace(self, d=self.d - bias[self.rows])


def climatological_innovations(
    observed: ObservationSet,
    group: np.ndarray,
    background_of: BackgroundOf,
    stretches: Sequence[Stretch],
    *,
    compact: bool,
    largest: int = LARGEST,
) -> list[Innovations]:
    """Innovations against the prior's climatology, of stretches of time one after the other.

    Args:
        observed: all observations.
        group: of each row.
        background_of: the prior bound to frames ``t0:t1``.
        stretches: frames ``(t0, t1)``.
        compact: of a stretch with more than ``largest`` rows take at most two compact regions, which keeps small
            scales; otherwise some of the rows of each group, which keeps the large ones.
        largest: rows treated together.
    """
    out = []
    for t0, t1 in stretches:
        segment, rows = observed.segment(t0, t1), observed.rows(t0, t1)
        if not segment.n:
            continue
        background = background_of(t0, t1)
        x_b = climatological_mean(background)
        V = background.covariance(math.inf)
        for part in _parts(segment, group[rows], compact, largest):
            some = segment.take(part)
            d = (some.y - some.operator(x_b[None])[0].cpu()).double().numpy()
            whole = innovation_covariance(x_b, V, some)
            if whole is None:
                raise TypeError("innovations need a covariance with a dense form")
            error = some.R.dense().double().numpy()
            block = correlated_blocks(some)
            out.append(
                Innovations(rows[part], d, whole.cpu().numpy() - error, error, group[rows[part]], block)
            )
    return out


def correlated_blocks(observed: SegmentObservations) -> np.ndarray:
    """Number of the block of correlated errors of each row, -1 where its error is independent, shape ``(n,)``."""
    out = np.full(observed.n, -1)
    for number, block in enumerate(observed.R.blocks):
        out[block.index] = number
    return out


def _parts(segment: SegmentObservations, group: np.ndarray, compact: bool, largest: int) -> list[np.ndarray]:
    n = segment.n
    if n <= largest:
        return [np.arange(n)]
    if compact:
        position = row_positions(segment.operator.matrix, segment.operator.shape)
        regions = clusters(position[:, [0, 1, 3]], largest)
        return [np.sort(regions[k]) for k in sorted({0, len(regions) // 2})]
    kept = [np.flatnonzero(group == g) for g in np.unique(group)]
    share = largest // len(kept)
    thinned = [k[np.linspace(0, len(k) - 1, min(len(k), share)).astype(int)] for k in kept]
    return [np.sort(np.concatenate(thinned))]


def choose_stretches(
    observed: ObservationSet, group: np.ndarray, window: int, most: int, enough: int
) -> list[Stretch]:
    """Stretches of time, spread over the record, that show every group.

    Args:
        window: frames of the prior's window.
        most: stretches.
        enough: rows of a group after which it needs no further stretch.
    """
    frames = observed.operator.shape[0]
    if window == 1:
        stretches = observed.segments()
    else:
        starts = [*range(0, frames - window + 1, window)]
        stretches = [(t, t + window) for t in (starts or [0])]
    counts = np.zeros((len(stretches), int(group.max()) + 1), int)
    for k, (t0, t1) in enumerate(stretches):
        np.add.at(counts[k], group[observed.rows(t0, t1)], 1)
    chosen: set[int] = set()
    # The rarest group first: the others are mostly there as well.
    for g in np.argsort(counts.astype(bool).sum(0), kind="stable"):
        have = np.flatnonzero(counts[:, g])
        if not len(have):
            continue
        wanted = min(most, len(have), max(2, math.ceil(enough / counts[have, g].mean())))
        missing = wanted - len(chosen & set(have.tolist()))
        left = np.array(sorted(set(have.tolist()) - chosen), int)
        if missing > 0 and len(left):
            chosen |= set(left[np.linspace(0, len(left) - 1, min(missing, len(left))).astype(int)].tolist())
    return [stretches[k] for k in sorted(chosen)]
