"""Observation errors from innovations against the prior's climatology: maximum likelihood and Desroziers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import chi2

from skyweave.sources.innovations import Innovations

__all__ = [
    "BOUND",
    "TRUST",
    "UNCERTAIN",
    "Diagnosis",
    "ErrorEstimates",
    "chi_square",
    "consistency",
    "desroziers",
    "diagnose",
    "maximum_likelihood",
]

TRUST = 3.0
"""Factor within which a stated error is believed before any innovation is seen, one standard deviation."""

BOUND = math.log(30.0)
"""No error is estimated further from the stated one than this factor."""

UNCERTAIN = 0.5
"""Standard error of the logarithm of a factor beyond which it is not used."""


@dataclass(frozen=True, eq=False)
class ErrorEstimates:
    """Factors by which the stated errors of each group are to be multiplied.

    Args:
        log_factor: natural logarithm of the factor of the standard deviation, shape ``(G,)``.
        standard_error: of ``log_factor``.
        before, after: mean square of standardised innovations with stated and with estimated errors, one if these
            are right, shape ``(G,)``; NaN where a group has no innovation.
        iterations: taken.
    """

    log_factor: np.ndarray
    standard_error: np.ndarray
    before: np.ndarray
    after: np.ndarray
    iterations: int

    @property
    def usable(self) -> np.ndarray:
        """Whether each factor is known well enough to be used, see `UNCERTAIN`, shape ``(G,)``."""
        return np.asarray(self.standard_error <= UNCERTAIN)

    @property
    def used(self) -> np.ndarray:
        """``log_factor``, zero where it is not usable, shape ``(G,)``."""
        return np.where(self.usable, self.log_factor, 0.0)


def maximum_likelihood(
    blocks: Sequence[Innovations], groups: int, *, trust: float = TRUST, iterations: int = 30
) -> ErrorEstimates:
    r"""Factors under which the innovations are most likely.

    .. math:: \min_\theta \sum_t \tfrac12 \log\det S_t + \tfrac12 d_t^T S_t^{-1} d_t
              + \frac{|\theta|^2}{2 \log^2 a}, \qquad S = H C H^T + \sum_g e^{2\theta_g} R_g,

    by Fisher scoring, ``a`` the factor ``trust``: a log-normal prior that counts only where innovations say little.

    Args:
        blocks: innovations, taken for independent of one another.
        groups: their number.

    Reference: Dee and da Silva 1999, doi 10.1175/1520-0493(1999)127<1822:MLEOFA>2.0.CO;2.
    """
    theta, tau = np.zeros(groups), math.log(trust)
    cost, gradient, fisher = _likelihood(blocks, theta, tau)
    taken = 0
    for taken in range(1, iterations + 1):  # noqa: B007
        step = np.clip(np.linalg.solve(fisher, -gradient), -1.0, 1.0)
        while True:
            trial = np.clip(theta + step, -BOUND, BOUND)
            found = _likelihood(blocks, trial, tau)
            if found[0] <= cost + 1e-9 or np.abs(step).max() < 1e-4:
                break
            step = step / 2
        moved = float(np.abs(trial - theta).max())
        theta, (cost, gradient, fisher) = trial, found
        if moved < 1e-3:
            break
    error = np.sqrt(np.diag(np.linalg.inv(fisher)))
    zero = np.zeros(groups)
    return ErrorEstimates(
        theta, error, consistency(blocks, zero, groups), consistency(blocks, theta, groups), taken
    )


def _likelihood(
    blocks: Sequence[Innovations], theta: np.ndarray, tau: float
) -> tuple[float, np.ndarray, np.ndarray]:
    """Negative log likelihood, its gradient, and Fisher's information."""
    cost, gradient = 0.5 * float(theta @ theta) / tau**2, theta / tau**2
    fisher = np.eye(len(theta)) / tau**2
    for block in blocks:
        factor = cho_factor(block.covariance(theta), lower=True)
        inverse = cho_solve(factor, np.eye(block.n))
        u = inverse @ block.d
        cost += float(np.log(np.diag(factor[0])).sum() + 0.5 * block.d @ u)
        scale = np.exp(theta)[block.group]
        change = 2 * scale[:, None] * block.error * scale[None]  # summed over groups, whose rows it links not
        present = np.unique(block.group)
        products = {}
        for g in present:
            own = block.group == g
            products[g] = inverse[:, own] @ change[np.ix_(own, own)]
            gradient[g] += 0.5 * (np.trace(products[g][own]) - u[own] @ change[np.ix_(own, own)] @ u[own])
        for g in present:
            for h in present:
                left = products[g][block.group == h]
                right = products[h][block.group == g]
                fisher[g, h] += 0.5 * float((left * right.T).sum())
    return cost, gradient, fisher


def desroziers(
    blocks: Sequence[Innovations], groups: int, *, iterations: int = 200, tolerance: float = 1e-3
) -> ErrorEstimates:
    r"""Factors that satisfy Desroziers' relation, by repeated analyses.

    .. math:: E[d_{oa} d_{ob}^T] = R, \qquad d_{oa} = R S^{-1} d, \qquad
              d_{ob,i} = \frac{(S^{-1} d)_i}{(S^{-1})_{ii}}

    The background of an observation is the analysis of all others (of one whose error is correlated with others', of
    all outside its block), known in closed form: against the climatology itself the products would be as noisy as
    the climatology is wide. The estimate of each analysis is the error of the next.

    Args:
        blocks, groups: as in `maximum_likelihood`.
        iterations: at most.
        tolerance: change of the logarithm of a factor at which it ends.

    Reference: Desroziers et al. 2005, doi 10.1256/qj.05.108, Eq. 2 and Section 4.
    """
    theta = np.zeros(groups)
    ratio = np.ones(groups)
    taken, speed = 0, 1.0
    previous = np.zeros(groups)
    for taken in range(1, iterations + 1):  # noqa: B007
        product, expected = np.zeros(groups), np.zeros(groups)
        share, count = np.zeros(groups), np.zeros(groups)
        for block in blocks:
            analysis, background, variance, part = _departures(block, theta)
            np.add.at(product, block.group, analysis * background)
            np.add.at(expected, block.group, variance)
            np.add.at(share, block.group, part)
            np.add.at(count, block.group, 1)
        ratio = np.where(count > 0, product / np.maximum(expected, 1e-300), 1.0)
        step = 0.5 * np.log(np.maximum(ratio, 1e-2))
        # Where steps keep their direction the iteration is slow, and is hurried.
        speed = min(speed * 1.5, 8.0) if float(step @ previous) > 0 else 1.0
        theta, previous = np.clip(theta + speed * step, -BOUND, BOUND), step
        if float(np.abs(step).max()) < tolerance:
            break
    # Squares of n independent normal numbers, and how little their mean says where errors are a small share of it.
    error = np.sqrt(2 * np.maximum(count, 1)) / np.maximum(2 * share, 1e-9)
    zero = np.zeros(groups)
    return ErrorEstimates(
        theta, error, consistency(blocks, zero, groups), consistency(blocks, theta, groups), taken
    )


def _departures(
    block: Innovations, theta: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """``d_oa``, ``d_ob`` without an observation, its error's variance, and that over the variance of ``d_ob``."""
    inverse = np.linalg.inv(block.covariance(theta))
    u = inverse @ block.d
    scale = np.exp(theta)[block.group]
    error = scale[:, None] * block.error * scale[None]
    background = u / np.diag(inverse)
    for number in np.unique(block.block[block.block >= 0]):
        own = block.block == number
        background[own] = np.linalg.solve(inverse[np.ix_(own, own)], u[own])
    return error @ u, background, np.diag(error), np.diag(error) * np.diag(inverse)


def chi_square(blocks: Sequence[Innovations], theta: np.ndarray) -> tuple[float, float]:
    r"""``d^T S^{-1} d / n`` over all innovations, one if ``E[d d^T] = H C H^T + R``, and the probability of chance.

    The probability is two-sided, that of a value as far out for ``n`` degrees of freedom.

    Reference: Menard and Chang 2000, doi 10.1175/1520-0493(2000)128<2672:AOSCTO>2.0.CO;2, Section 3.
    """
    total, n = 0.0, 0
    for block in blocks:
        total += float(block.d @ np.linalg.solve(block.covariance(theta), block.d))
        n += block.n
    tail = float(chi2.cdf(total, n))
    return total / n, 2 * min(tail, 1 - tail)


def consistency(blocks: Sequence[Innovations], theta: np.ndarray, groups: int) -> np.ndarray:
    """Mean square of each group's innovations against the analysis of all others, standardised; one if ``S`` is right.

    For each row ``(S^{-1} d)_i^2 / (S^{-1})_ii``: the chi-square test of ``E[d d^T] = H C H^T + R``, shared out.
    """
    total, count = np.zeros(groups), np.zeros(groups)
    for block in blocks:
        inverse = np.linalg.inv(block.covariance(theta))
        u = inverse @ block.d
        np.add.at(total, block.group, u**2 / np.diag(inverse))
        np.add.at(count, block.group, 1)
    return np.divide(total, count, out=np.full(groups, np.nan), where=count > 0)


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Desroziers' diagnostics of each group, shape ``(G,)``, physical units.

    Args:
        error: standard deviation of the observation errors, root of the mean of ``d_oa d_ob``; zero where negative.
        background: of the background in observation space, root of the mean of ``d_ab d_ob``.
        innovation: root mean square of ``d_ob``, to be compared with that of both together.
        bias: mean of ``d_ob``.
    """

    error: np.ndarray
    background: np.ndarray
    innovation: np.ndarray
    bias: np.ndarray


def diagnose(
    y: np.ndarray, background: np.ndarray, analysis: np.ndarray, group: np.ndarray, groups: int
) -> Diagnosis:
    r"""Desroziers' diagnostics of any analysis system, from its own backgrounds and analyses.

    .. math:: E[d_{oa} d_{ob}] = R_{ii}, \qquad E[d_{ab} d_{ob}] = (H B H^T)_{ii}, \qquad
              E[d_{ob}^2] = (H B H^T)_{ii} + R_{ii}

    with ``d_ob = y - H(x_b)``, ``d_oa = y - H(x_a)`` and ``d_ab = d_ob - d_oa``. They hold where background and
    observation errors are independent and the analysis weighs them rightly.

    Args:
        y: observations, shape ``(n,)``, physical units.
        background, analysis: predicted observations, shape ``(n,)``, or ``(M, n)`` for ensembles, which are averaged.
        group: of each observation.
        groups: their number.

    Reference: Desroziers et al. 2005, doi 10.1256/qj.05.108, Eq. 1-3.
    """
    ob = y - (background.mean(0) if background.ndim == 2 else background)
    oa = y - (analysis.mean(0) if analysis.ndim == 2 else analysis)

    def mean(values: np.ndarray) -> np.ndarray:
        count = np.bincount(group, minlength=groups)
        total = np.bincount(group, weights=values, minlength=groups)
        return np.divide(total, count, out=np.full(groups, np.nan), where=count > 0)

    return Diagnosis(
        np.sqrt(np.maximum(mean(oa * ob), 0)),
        np.sqrt(np.maximum(mean((ob - oa) * ob), 0)),
        np.sqrt(mean(ob**2)),
        mean(ob),
    )
