"""A two-level preconditioner for innovation covariances too large to factorise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from skyweave.observe.operator import to_torch_csr
from skyweave.prior.covariance import StateCovariance

__all__ = ["Partition", "cholesky", "clusters", "tabulated", "two_level"]

BLOCK = 128
"""Observations solved together exactly, at most."""
COARSE = 256
"""Groups of observations of the coarse level, at most."""
SAMPLE = 2
"""Observations that stand for a group."""
CELLS = 4096
"""State cells between which a covariance is tabulated at once; fewer groups where each observes many cells."""


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


@dataclass(frozen=True, eq=False)
class Partition:
    """How observations are grouped: compact blocks, and groups of one variable and time for the coarse level.

    It depends on the operator alone, so one serves all noise levels.
    """

    blocks: list[np.ndarray]
    group: np.ndarray
    counts: np.ndarray
    chosen: list[np.ndarray]

    @classmethod
    def of(cls, matrix: sp.csr_array, shape: tuple[int, int, int, int]) -> Partition:
        """Group the rows of an operator on states ``(T, C, H, W)`` by their heaviest cells."""
        position = _row_positions(matrix, shape)
        footprint = max(1.0, matrix.nnz / matrix.shape[0])
        block = int(min(BLOCK, max(8, CELLS // 2 // footprint)))
        coarse = int(min(COARSE, max(8, CELLS // (SAMPLE * footprint))))
        kinds = np.unique(position[:, 2:], axis=0)
        groups: list[np.ndarray] = []
        for kind in kinds:
            rows = np.flatnonzero((position[:, 2:] == kind).all(1))
            size = max(1, -(-len(rows) // max(1, coarse // len(kinds))))
            groups += [rows[g] for g in clusters(position[rows, :2], size)]
        number = np.empty(matrix.shape[0], dtype=np.int64)
        for k, members in enumerate(groups):
            number[members] = k
        chosen = [g[np.linspace(0, len(g) - 1, min(SAMPLE, len(g))).astype(int)] for g in groups]
        return cls(clusters(position[:, :2], block), number, np.array([len(g) for g in groups]), chosen)


def _row_positions(matrix: sp.csr_array, shape: tuple[int, int, int, int]) -> np.ndarray:
    """Latitude and longitude index, channel and time of the heaviest cell of each row, ``(n, 4)``."""
    T, C, H, W = shape
    matrix = matrix.tocsr()
    lengths = np.diff(matrix.indptr)
    row = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((np.abs(matrix.data), row))  # the heaviest of each row comes last
    last = np.maximum(np.cumsum(lengths) - 1, 0)
    cell = matrix.indices[order][last]
    return np.stack([cell // W % H, cell % W, cell // (H * W) % C, cell // (C * H * W)], axis=1)


def two_level(
    J: sp.csr_array, V: StateCovariance, R: Any, partition: Partition
) -> Callable[[Tensor], Tensor] | None:
    r"""Additive Schwarz: exact solves in compact blocks, and one between the means of groups of observations.

    .. math:: M^{-1} = \sum_b E_b S_b^{-1} E_b^T + P S_c^{-1} P^T

    The blocks know small scales, the groups large ones. The coarse matrix is made from a few observations of each
    group; as a preconditioner it changes the number of iterations and not the answer.

    Args:
        J: Jacobian of the operator, ``(n, T*C*H*W)``.
        V: state covariance.
        R: observation error covariance.
        partition: of the rows of ``J``.

    Returns:
        A map on ``(M, n)``, or ``None`` where ``V`` has no dense form.

    Reference: Toselli and Widlund 2005, Domain Decomposition Methods, Chapter 2.
    """
    n, width = J.shape[0], max(len(index) for index in partition.blocks)
    # Blocks are padded to one size with a row that is always zero, so that one product serves all of them.
    where = torch.full((len(partition.blocks), width), n)
    inverses = torch.zeros(len(partition.blocks), width, width)
    for k, index in enumerate(partition.blocks):
        block = tabulated(J[index], V)
        if block is None:
            return None
        block = block + R.take(index).dense()
        where[k, : len(index)] = torch.from_numpy(index)
        inverses[k, : len(index), : len(index)] = torch.cholesky_inverse(cholesky(block)).float()
    coarse = _coarse(J, V, R, partition)

    def apply(r: Tensor) -> Tensor:
        padded = torch.cat([r, r.new_zeros(len(r), 1)], dim=1)
        solved = torch.einsum("kij,mkj->mki", inverses, padded[:, where])
        out = torch.zeros_like(padded)
        out[:, where] = solved
        return out[:, :n] + coarse(r)

    return apply


def tabulated(J: sp.csr_array, V: StateCovariance) -> Tensor | None:
    """``J V J^T`` through a table of ``V`` between the cells that ``J`` weighs, float64; ``None`` where it has none.

    Tabulated and summed in single precision, which is all that ``V`` is known to.
    """
    cells = np.unique(J.indices)
    block = V.dense(torch.from_numpy(cells))
    if block is None:
        return None
    weights = to_torch_csr(sp.csr_array(J[:, cells]), torch.float32)
    product = (weights @ (weights @ block.float()).T).double()
    return 0.5 * (product + product.T)


def cholesky(matrix: Tensor) -> Tensor:
    """Cholesky factor of a matrix that rounding may have made slightly indefinite, float64."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    jitter = 1e-7 * float(matrix.diagonal().mean())
    while bool(failed):
        factor, failed = torch.linalg.cholesky_ex(
            matrix + jitter * torch.eye(len(matrix), dtype=matrix.dtype)
        )
        jitter *= 10
    return factor


def _coarse(J: sp.csr_array, V: StateCovariance, R: Any, partition: Partition) -> Callable[[Tensor], Tensor]:
    chosen, counts, group = partition.chosen, partition.counts, partition.group
    sizes = [len(c) for c in chosen]
    rows = np.concatenate(chosen)
    share = sp.csr_array(
        (
            np.repeat(1 / np.array(sizes), sizes),
            (np.repeat(np.arange(len(chosen)), sizes), np.arange(len(rows))),
        ),
        shape=(len(chosen), len(rows)),
    )
    product = tabulated(sp.csr_array(share @ J[rows]), V)
    assert product is not None
    noise = np.bincount(group, R.variance) / counts**2
    matrix = product + torch.diag(torch.from_numpy(noise))
    inverse = torch.cholesky_inverse(cholesky(matrix)).float()
    every = np.arange(len(group))
    average = sp.csr_array((1 / counts[group], (group, every)), shape=(len(counts), len(group)))
    restrict, prolong = to_torch_csr(average), to_torch_csr(sp.csr_array(average.T))

    def apply(r: Tensor) -> Tensor:
        return (prolong @ (inverse @ (restrict @ r.T))).T

    return apply
