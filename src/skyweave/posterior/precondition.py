"""A two-level preconditioner for innovation covariances too large to factorise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from skyweave.observe.operator import to_torch_csr
from skyweave.prior.covariance import StateCovariance

__all__ = ["clusters", "two_level"]

BLOCK = 128
"""Observations solved together exactly."""
COARSE = 256
"""Groups of observations of the coarse level."""
SAMPLE = 4
"""Observations that stand for a group."""


def clusters(position: np.ndarray, size: int) -> list[np.ndarray]:
    """Observations in compact groups of at most ``size``, by halving the longer side again and again.

    Args:
        position: coordinates ``(n, d)``.
    """
    out, stack = [], [np.arange(len(position))]
    while stack:
        index = stack.pop()
        if len(index) <= size:
            out.append(index)
            continue
        here = position[index]
        axis = int(np.argmax(here.max(0) - here.min(0)))
        order = index[np.argsort(here[:, axis], kind="stable")]
        half = len(order) // 2
        stack += [order[half:], order[:half]]
    return out


def row_positions(J: sp.csr_array, shape: tuple[int, int, int, int]) -> np.ndarray:
    """Row and column of the heaviest cell of each observation, ``(n, 2)``, and its channel and time ``(n, 2)``."""
    T, C, H, W = shape
    J = J.tocsr()
    start, stop = J.indptr[:-1], J.indptr[1:]
    heaviest = np.array(
        [a + int(np.argmax(np.abs(J.data[a:b]))) if b > a else 0 for a, b in zip(start, stop, strict=True)]
    )
    cell = J.indices[heaviest]
    return np.stack([cell // W % H, cell % W, cell // (H * W) % C, cell // (C * H * W)], axis=1)


def two_level(
    J: sp.csr_array, V: StateCovariance, R: object, shape: tuple[int, int, int, int]
) -> Callable[[Tensor], Tensor] | None:
    r"""Additive Schwarz: exact solves in compact blocks, and one between the means of groups of observations.

    .. math:: M^{-1} = \sum_b E_b S_b^{-1} E_b^T + P S_c^{-1} P^T

    The blocks know small scales, the groups large ones. The coarse matrix is made from a few observations of each
    group; as a preconditioner it changes the number of iterations and not the answer.

    Returns:
        A map on ``(M, n)``, or ``None`` where ``V`` has no dense form.

    Reference: Toselli and Widlund 2005, Domain Decomposition Methods, Chapter 2.
    """
    position = row_positions(J, shape)
    groups = clusters(position[:, :2], BLOCK)
    factors = []
    for index in groups:
        block = _innovation(J[index], V, R.take(index))  # type: ignore[attr-defined]
        if block is None:
            return None
        factors.append((torch.from_numpy(index), torch.linalg.cholesky(block).float()))
    coarse = _coarse(J, V, R, position)

    def apply(r: Tensor) -> Tensor:
        out = torch.zeros_like(r)
        for index, factor in factors:
            out[:, index] = torch.cholesky_solve(r[:, index].T, factor).T
        return out + coarse(r)

    return apply


def _innovation(J: sp.csr_array, V: StateCovariance, R: object) -> Tensor | None:
    cells = np.unique(J.indices)
    block = V.dense(torch.from_numpy(cells))
    if block is None:
        return None
    Js = to_torch_csr(sp.csr_array(J[:, cells]), torch.float64)
    product = Js @ (Js @ block.double()).T
    return 0.5 * (product + product.T) + R.dense().double()  # type: ignore[attr-defined]


def _coarse(
    J: sp.csr_array, V: StateCovariance, R: object, position: np.ndarray
) -> Callable[[Tensor], Tensor]:
    per_kind = max(1, COARSE // len(np.unique(position[:, 2:], axis=0)))
    groups = []
    for kind in np.unique(position[:, 2:], axis=0):
        rows = np.flatnonzero((position[:, 2:] == kind).all(1))
        size = max(1, -(-len(rows) // per_kind))
        groups += [rows[g] for g in clusters(position[rows, :2], size)]
    counts = np.array([len(g) for g in groups])
    member = np.empty(J.shape[0], dtype=np.int64)
    for number, group in enumerate(groups):
        member[group] = number
    chosen = [g[np.linspace(0, len(g) - 1, min(SAMPLE, len(g))).astype(int)] for g in groups]
    rows = np.concatenate(chosen)
    share = sp.csr_array(
        (
            np.concatenate([np.full(len(c), 1 / len(c)) for c in chosen]),
            (np.repeat(np.arange(len(groups)), [len(c) for c in chosen]), np.arange(len(rows))),
        ),
        shape=(len(groups), len(rows)),
    )
    means = sp.csr_array(share @ J[rows])
    cells = np.unique(means.indices)
    block = V.dense(torch.from_numpy(cells))
    assert block is not None
    weights = to_torch_csr(sp.csr_array(means[:, cells]), torch.float64)
    product = weights @ (weights @ block.double()).T
    noise = np.bincount(member, R.variance) / counts**2  # type: ignore[attr-defined]
    # Means of n observations: each row and column of the sum has a factor n.
    matrix = 0.5 * (product + product.T) + torch.diag(torch.from_numpy(noise))
    factor = torch.linalg.cholesky(matrix).float()
    restrict = to_torch_csr(
        sp.csr_array((1 / counts[member], (member, np.arange(len(member)))), shape=(len(groups), len(member)))
    )
    prolong = to_torch_csr(
        sp.csr_array((1 / counts[member], (np.arange(len(member)), member)), shape=(len(member), len(groups)))
    )

    def apply(r: Tensor) -> Tensor:
        return (prolong @ torch.cholesky_solve(restrict @ r.T, factor)).T

    return apply
