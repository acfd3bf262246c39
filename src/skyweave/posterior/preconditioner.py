"""A two-level preconditioner for innovation covariances too large to factorise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from skyweave.covariance.stationary import StateCovariance
from skyweave.errors import SkyweaveError
from skyweave.finite import check_tensor
from skyweave.observe.operator import to_torch_csr

__all__ = ["Partition", "Rows", "cholesky", "clusters", "row_positions", "tabulated", "thinned", "two_level"]

BLOCK = 64
"""Observations solved together exactly, at most."""
COARSE = 128
"""Groups of observations of the coarse level, at most."""
SAMPLE = 2
"""Observations that stand for a group."""
FOOTPRINT = 9
"""Cells that stand for an observation, at most: a wider mean is replaced by the mean of some of its cells."""
CELLS = 512
"""Cells between which a covariance is tabulated at once; smaller blocks where each observation weighs many."""
MOST_JITTER = 9
"""Times that the jitter of a factorisation grows tenfold: to ten times the mean variance, beyond any rounding."""
PAIRS = 2**22
"""Pairs of cells tabulated in one go."""


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
class Rows:
    """Groups of observations, and the state cells and weights that make their rows; padded to one size.

    Args:
        cells: flat state cells of each group, ``(G, c)``.
        weights: of the observations in those cells, ``(G, r, c)``; zero where padded.
        noise: error covariance of the observations, ``(G, r, r)``; one on the diagonal where padded.
    """

    cells: Tensor
    weights: Tensor
    noise: Tensor

    def to(self, device: torch.device) -> Rows:
        """The same on a device."""
        return Rows(self.cells.to(device), self.weights.to(device), self.noise.to(device))

    def covariance(self, V: StateCovariance, slope: Tensor | None) -> Tensor | None:
        """``J V J^T + R`` of each group, ``(G, r, r)``, float64; ``None`` where ``V`` has no dense form.

        Args:
            slope: derivative of the transform in every cell, flat; ``None`` for one.
        """
        out, cells = torch.empty_like(self.noise), self.cells
        batch = max(1, PAIRS // self.cells.shape[1] ** 2)
        for first in range(0, len(self.cells), batch):
            part = slice(first, first + batch)
            table = V.dense(cells[part])
            if table is None:
                return None
            weights = self.weights[part]
            if slope is not None:
                weights = weights * slope[cells[part]][:, None, :]
            out[part] = (weights @ table.float() @ weights.mT).double()
        return 0.5 * (out + out.mT) + self.noise


@dataclass(frozen=True, eq=False)
class Partition:
    """How observations are grouped: compact blocks, and groups of one variable and time for the coarse level.

    It depends on the operator and the errors alone, so one serves all noise levels.

    Args:
        where: observations of each block, ``(B, r)``; ``n`` where padded.
        blocks: rows of the blocks.
        restrict, prolong: mean over each group, ``(G, n)`` sparse, and its transpose.
        coarse: one group of rows, those of the group means.
    """

    where: Tensor
    blocks: Rows
    restrict: Tensor
    prolong: Tensor
    coarse: Rows

    def to(self, device: torch.device) -> Partition:
        """The same on a device."""
        return Partition(
            self.where.to(device),
            self.blocks.to(device),
            self.restrict.to(device),
            self.prolong.to(device),
            self.coarse.to(device),
        )

    @classmethod
    def of(cls, matrix: sp.csr_array, shape: tuple[int, int, int, int], R: Any) -> Partition:
        """Group the rows of an operator on states ``(T, C, H, W)`` by their heaviest cells."""
        n = matrix.shape[0]
        position = row_positions(matrix, shape)
        matrix = thinned(matrix)
        footprint = max(1.0, matrix.nnz / n)
        blocks = clusters(position[:, [0, 1, 3]], int(min(BLOCK, max(8, CELLS // footprint))))
        coarse = int(min(COARSE, max(8, CELLS // (SAMPLE * footprint))))
        kinds = np.unique(position[:, 2])
        groups: list[np.ndarray] = []
        for kind in kinds:
            rows = np.flatnonzero(position[:, 2] == kind)
            size = max(1, -(-len(rows) // max(1, coarse // len(kinds))))
            groups += [rows[g] for g in clusters(position[rows][:, [0, 1, 3]], size)]
        average, few, noise = _group_means(matrix, groups, R)
        width = max(len(index) for index in blocks)
        where = torch.full((len(blocks), width), n)
        errors = torch.eye(width, dtype=torch.float64).repeat(len(blocks), 1, 1)
        for k, index in enumerate(blocks):
            where[k, : len(index)] = torch.from_numpy(index)
            errors[k, : len(index), : len(index)] = R.take(index).dense().double()
        return cls(
            where,
            _rows([matrix[index] for index in blocks], errors),
            to_torch_csr(average),
            to_torch_csr(sp.csr_array(average.T)),
            _rows([few], torch.diag(torch.from_numpy(noise))[None]),
        )


def thinned(matrix: sp.csr_array, most: int = FOOTPRINT) -> sp.csr_array:
    """The same rows with at most so many cells each, spread evenly over the row, and the same sum of weights."""
    lengths = np.diff(matrix.indptr)
    if lengths.max(initial=0) <= most:
        return matrix
    keep = [
        first
        + (np.arange(length) if length <= most else ((np.arange(most) + 0.5) * length / most).astype(int))
        for first, length in zip(matrix.indptr[:-1], lengths, strict=True)
    ]
    counts = np.array([len(k) for k in keep])
    chosen, row = np.concatenate(keep), np.repeat(np.arange(len(lengths)), counts)
    few = sp.csr_array((matrix.data[chosen], (row, matrix.indices[chosen])), shape=matrix.shape)
    before, after = np.asarray(matrix.sum(axis=1)), np.asarray(few.sum(axis=1))
    share = np.divide(before, after, out=np.ones(len(counts)), where=np.abs(after) > 1e-12)
    return sp.csr_array(sp.diags_array(share) @ few)


def _group_means(
    matrix: sp.csr_array, groups: list[np.ndarray], R: Any
) -> tuple[sp.csr_array, sp.csr_array, np.ndarray]:
    """Operator of the group means ``(G, n)``, rows that stand for them ``(G, cells)``, their error variances."""
    n, counts = matrix.shape[0], np.array([len(g) for g in groups])
    number = np.repeat(np.arange(len(groups)), counts)
    order = np.concatenate(groups)
    average = sp.csr_array((1 / counts[number], (number, order)), shape=(len(groups), n))
    chosen = [g[np.linspace(0, len(g) - 1, min(SAMPLE, len(g))).astype(int)] for g in groups]
    sizes = np.array([len(c) for c in chosen])
    one = np.repeat(np.arange(len(groups)), sizes)
    share = sp.csr_array((1 / sizes[one], (one, np.concatenate(chosen))), shape=(len(groups), n))
    return average, sp.csr_array(share @ matrix), np.bincount(number, R.variance[order]) / counts**2


def _rows(parts: list[sp.csr_array], noise: Tensor) -> Rows:
    """Groups of rows brought to one number of rows and of cells."""
    cells = [np.unique(part.indices) for part in parts]
    most = max(len(c) for c in cells)
    index = torch.zeros(len(parts), most, dtype=torch.int64)
    weights = torch.zeros(len(parts), noise.shape[1], most)
    for k, (part, own) in enumerate(zip(parts, cells, strict=True)):
        index[k, : len(own)] = torch.from_numpy(own)
        weights[k, : part.shape[0], : len(own)] = torch.from_numpy(part[:, own].toarray())
    return Rows(index, weights, noise)


def row_positions(matrix: sp.csr_array, shape: tuple[int, int, int, int]) -> np.ndarray:
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
    V: StateCovariance, partition: Partition, slope: Tensor | None = None
) -> Callable[[Tensor], Tensor] | None:
    r"""Additive Schwarz: exact solves in compact blocks, and one between the means of groups of observations.

    .. math:: M^{-1} = \sum_b E_b S_b^{-1} E_b^T + P S_c^{-1} P^T

    The blocks know small scales, the groups large ones. Wide means are represented by some of their cells, and
    groups by a few of their observations; as a preconditioner it changes the number of iterations and not the answer.

    Args:
        V: state covariance.
        partition: of the observations.
        slope: derivative of the transform in every cell, flat; ``None`` for one.

    Returns:
        A map on ``(M, n)``, or ``None`` where ``V`` has no dense form.

    Reference: Toselli and Widlund 2005, Domain Decomposition Methods, Chapter 2.
    """
    blocks, means = partition.blocks.covariance(V, slope), partition.coarse.covariance(V, slope)
    if blocks is None or means is None:
        return None
    inverses = torch.cholesky_inverse(cholesky(blocks)).float()
    coarse = torch.cholesky_inverse(cholesky(means))[0].float()
    where = partition.where

    def apply(r: Tensor) -> Tensor:
        padded = torch.cat([r, r.new_zeros(len(r), 1)], dim=1)
        # Rows of padding carry zeros in and out.
        solved = inverses @ padded.T[where]
        out = torch.zeros_like(padded.T)
        out[where] = solved
        return (out[:-1] + partition.prolong @ (coarse @ (partition.restrict @ r.T))).T

    return apply


def tabulated(J: sp.csr_array, V: StateCovariance) -> Tensor | None:
    """``J V J^T`` through a table of ``V`` between the cells that ``J`` weighs, float64; ``None`` where it has none.

    Tabulated and summed in single precision, which is all that ``V`` is known to.
    """
    cells = np.unique(J.indices)
    block = V.dense(torch.from_numpy(cells))
    if block is None:
        return None
    weights = to_torch_csr(sp.csr_array(J[:, cells]), torch.float32).to(block.device)
    product = (weights @ (weights @ block.float()).T).double()
    return 0.5 * (product + product.T)


def cholesky(matrix: Tensor) -> Tensor:
    """Cholesky factors ``(..., n, n)`` of matrices that rounding may have made slightly indefinite, float64.

    Raises:
        SkyweaveError: numbers that are not finite, or a matrix that is far from a covariance.
    """
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if bool(torch.isfinite(factor).all()) and not bool(failed.any()):
        return factor
    check_tensor(
        matrix, "the covariance of the innovations (that of the prior and of the observations' errors)"
    )
    jitter = 1e-7 * matrix.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    for _ in range(MOST_JITTER):
        factor, failed = torch.linalg.cholesky_ex(
            matrix + jitter * torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
        )
        if not bool(failed.any()):
            return factor
        jitter = jitter * 10
    raise SkyweaveError(
        "the covariance of the innovations is not positive definite: the covariance stored with the prior is damaged, "
        "or that of the observations' errors is none"
    )
