"""Biases of sources, constant or linear in predictors, from innovations by generalised least squares."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import chi2

from skyweave.sources.innovations import Innovations

__all__ = ["Bias", "estimate_bias"]

LEVEL = 0.95
"""Probability at which a bias counts as significant."""


@dataclass(frozen=True)
class Bias:
    """The bias of one group: ``value + sum_k slope_k (p_k - centre_k)``, units of the variable.

    Args:
        value, error: at the mean of the predictors, and its standard error.
        slopes: by predictor: centre, slope (units per unit of the predictor) and its standard error.
        significant: whether all terms together differ from zero with 95 % probability.
        rows: innovations that tell of it.
    """

    value: float
    error: float
    slopes: Mapping[str, tuple[float, float, float]]
    significant: bool
    rows: int

    def at(self, predictors: Mapping[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
        """The bias of some rows, given predictors of all rows; at their centre where one is missing."""
        out = np.full(len(rows), self.value)
        for name, (centre, slope, _) in self.slopes.items():
            out += slope * np.nan_to_num(predictors[name][rows] - centre)
        return out

    def __str__(self) -> str:
        parts = [f"{self.value:.4g} +- {self.error:.2g}"]
        parts += [f"{slope:.3g} +- {error:.2g} per {name}" for name, (_, slope, error) in self.slopes.items()]
        return ", ".join(parts) + ("" if self.significant else " (not significant)")


def estimate_bias(
    blocks: Sequence[Innovations],
    groups: Sequence[int],
    wanted: Mapping[int, Sequence[str]],
    predictors: Mapping[str, np.ndarray],
    log_factor: np.ndarray | None = None,
) -> dict[int, Bias]:
    r"""Best linear unbiased estimates of the biases of some groups.

    .. math:: d_t = P_t \beta + e_t, \quad e_t \sim N(0, S_t), \quad
              \hat\beta = A^{-1} \sum_t P_t^T S_t^{-1} d_t, \quad
              A = \sum_t P_t^T S_t^{-1} P_t, \quad \mathrm{cov}(\hat\beta) = A^{-1}

    Groups that are not estimated are the anchors: ``S`` carries what they say of the field to the others. Where there
    are none, biases are against the prior's mean, and their standard errors are those of the weather. Fields of
    successive times are not independent as ``A`` takes them to be; where there are eight times or more the
    covariance is replaced by that of Newey and West where it is greater.

    Args:
        blocks: innovations, in order of time.
        groups: numbers of all groups.
        wanted: groups to estimate, each with the names of its predictors.
        predictors: one number a row of the whole set, by name.
        log_factor: of the stated errors, one a group; none by default.

    Returns:
        The bias of each wanted group that has innovations.

    Reference: Aitken 1935 for the estimate; Newey and West 1987, doi 10.2307/1913610, Eq. 5 for its covariance;
    Dee and da Silva 1998, doi 10.1002/qj.49712454512 for biases in data assimilation.
    """
    theta = np.zeros(len(groups)) if log_factor is None else log_factor
    used = np.concatenate([b.rows for b in blocks]) if blocks else np.zeros(0, int)
    which = np.concatenate([b.group for b in blocks]) if blocks else np.zeros(0, int)
    columns: list[tuple[int, str | None]] = []
    centres: dict[tuple[int, str], tuple[float, float]] = {}
    for g, names in wanted.items():
        if not (which == g).any():
            continue
        columns.append((g, None))
        for name in names:
            own = predictors[name][used[which == g]]
            own = own[np.isfinite(own)]
            # A predictor that does not vary cannot be told from the constant.
            if len(own) > 2 and own.std() > 1e-9 * max(1.0, abs(float(own.mean()))):
                centres[g, name] = (float(own.mean()), float(own.std()))
                columns.append((g, name))
    if not columns:
        return {}
    size = len(columns)
    A, right, solved = np.zeros((size, size)), np.zeros(size), []
    for block in blocks:
        P = np.zeros((block.n, size))
        for k, (g, term) in enumerate(columns):
            own = block.group == g
            if term is None:
                P[own, k] = 1.0
            else:
                centre, scale = centres[g, term]
                P[own, k] = np.nan_to_num((predictors[term][block.rows[own]] - centre) / scale)
        factor = cho_factor(block.covariance(theta), lower=True)
        W = cho_solve(factor, P)
        A += P.T @ W
        right += W.T @ block.d
        solved.append((W, P, block.d))
    beta = np.linalg.solve(A, right)
    covariance = np.linalg.inv(A)
    covariance = _larger(covariance, _newey_west(covariance, [W.T @ (d - P @ beta) for W, P, d in solved]))
    return _biases(columns, centres, beta, covariance, which)


def _newey_west(inverse: np.ndarray, scores: Sequence[np.ndarray]) -> np.ndarray | None:
    """Covariance of the estimate where scores of neighbouring times are correlated; ``None`` for fewer than eight."""
    T = len(scores)
    if T < 8:
        return None
    g = np.stack(scores)
    middle = g.T @ g
    lags = max(1, math.floor(4 * (T / 100) ** (2 / 9)))
    for lag in range(1, lags + 1):
        cross = g[lag:].T @ g[:-lag]
        middle += (1 - lag / (lags + 1)) * (cross + cross.T)
    return inverse @ (middle * T / max(1, T - 1)) @ inverse


def _larger(model: np.ndarray, robust: np.ndarray | None) -> np.ndarray:
    """The model's covariance, with standard errors not less than the robust ones."""
    if robust is None:
        return model
    grow = np.sqrt(np.maximum(np.diag(robust) / np.diag(model), 1.0))
    return grow[:, None] * model * grow[None]


def _biases(
    columns: Sequence[tuple[int, str | None]],
    centres: Mapping[tuple[int, str], tuple[float, float]],
    beta: np.ndarray,
    covariance: np.ndarray,
    which: np.ndarray,
) -> dict[int, Bias]:
    out = {}
    for g in sorted({g for g, _ in columns}):
        own = [k for k, column in enumerate(columns) if column[0] == g]
        statistic = beta[own] @ np.linalg.solve(covariance[np.ix_(own, own)], beta[own])
        slopes = {}
        for k in own[1:]:
            name = str(columns[k][1])
            centre, scale = centres[g, name]
            slopes[name] = (centre, float(beta[k] / scale), math.sqrt(covariance[k, k]) / scale)
        out[g] = Bias(
            float(beta[own[0]]),
            math.sqrt(covariance[own[0], own[0]]),
            slopes,
            bool(statistic > chi2.ppf(LEVEL, len(own))),
            int((which == g).sum()),
        )
    return out
