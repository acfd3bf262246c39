"""Reports of one place, time and variable: the same one given twice counts once, others are averaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from skyweave.observe.match import canonical_order, duplicates

__all__ = ["Twins", "find_twins"]

BEYOND = 0.999
"""Probability of the chi-square distribution beyond which twins are said to disagree."""


@dataclass(frozen=True, eq=False)
class Twins:
    """Reports of one place, time and variable, among ``n`` reports.

    Args:
        order: of the reports that stand for themselves or for a group, by place and time; independent of the table's.
        owner: the report that stands for each, shape ``(n,)``; itself where it has no twin.
        repeated: reports that repeat another wholly, shape ``(n,)``.
        groups: rows of each group that is averaged, the one that stands for it first.
        disagree: of each group, whether its values differ by more than their errors allow.
    """

    order: np.ndarray
    owner: np.ndarray
    repeated: np.ndarray
    groups: tuple[np.ndarray, ...]
    disagree: tuple[bool, ...]

    def owned(self, flag: np.ndarray) -> np.ndarray:
        """A property of the reports that stand for groups, passed on to all of their group."""
        out: np.ndarray = flag[self.owner]
        return out


def find_twins(
    rows: np.ndarray,
    place: tuple[np.ndarray, ...],
    value: np.ndarray,
    variance: np.ndarray,
    measured: np.ndarray,
    others: Mapping[str, np.ndarray],
) -> Twins:
    r"""Find twins and average them in place: the first of each group gets the mean and its error.

    .. math:: \bar y = \sum_i w_i y_i, \quad w_i \propto 1 / \sigma_i^2, \quad
              s^2 = \max(1, \chi^2 / (n - 1)) \sum_i w_i^2 s_i^2

    with ``s`` the error of the instrument; representativeness, which twins share, is added once. The factor (Birge
    1932) is used where :math:`\chi^2 = \sum_i (y_i - \bar y)^2 / s_i^2` is beyond 99.9 % of its distribution.

    Args:
        rows: reports that may be used.
        place: what twins share, each of shape ``(n,)``.
        value, variance, measured: of all reports, the state's units; changed in place.
        others: further columns of numbers that are averaged alike; changed in place.
    """
    owner = np.arange(len(value))
    repeated = np.zeros(len(value), bool)
    order = rows[canonical_order(*(k[rows] for k in (*place, variance, value)))]
    repeated[order] = duplicates(*(k[order] for k in (*place, variance, value)))
    order = order[~repeated[order]]
    first = ~duplicates(*(k[order] for k in place))
    label = np.cumsum(first) - 1
    groups, disagree = [], []
    sizes = np.bincount(label) if len(order) else np.zeros(0, int)
    starts = np.cumsum(sizes) - sizes
    for start, size in zip(starts[sizes > 1], sizes[sizes > 1], strict=True):
        group = order[start : start + size]
        owner[group] = group[0]
        groups.append(group)
        disagree.append(_average(group, value, variance, measured, others))
    return Twins(order[first], owner, repeated, tuple(groups), tuple(disagree))


def _average(
    group: np.ndarray,
    value: np.ndarray,
    variance: np.ndarray,
    measured: np.ndarray,
    others: Mapping[str, np.ndarray],
) -> bool:
    weight = 1 / variance[group]
    weight = weight / weight.sum()
    mean = float(weight @ value[group])
    own = np.where(measured[group] > 0, measured[group], variance[group])
    square = float(((value[group] - mean) ** 2 / own).sum())
    beyond = square > chi2.ppf(BEYOND, len(group) - 1)
    shared = float((variance[group] - measured[group]).min())
    spread = float(weight**2 @ measured[group])
    if beyond:
        spread = float(weight**2 @ own) * square / (len(group) - 1)
    head = group[0]
    for column in others.values():
        column[head] = weight @ column[group]
    value[head], measured[head], variance[head] = mean, spread, spread + shared
    return bool(beyond)
