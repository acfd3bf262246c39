"""Observation errors: a model per source, and the covariance ``R`` of all stacked observations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from skyweave.errors import SkyweaveError
from skyweave.observe.error_model import Correlation, ErrorModel

__all__ = ["CorrelatedBlock", "ErrorCovariance", "ErrorModel", "correlation", "unit_vectors"]

EARTH_RADIUS_KM = 6371.0
# The part of every correlated error that stays independent: it bounds the condition number of R, also where
# two reports lie almost in one place.
NUGGET = 1e-3
# A block is dense: 6000 rows are 288 MB and some seconds of Cholesky.
MAX_BLOCK = 6000


def unit_vectors(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """Positions on the unit sphere, shape ``(n, 3)``, of latitudes and longitudes in degrees."""
    phi, lam = np.radians(np.asarray(lat, float)), np.radians(np.asarray(lon, float))
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)


def correlation(distance: np.ndarray, length: float, kind: Correlation = "exponential") -> np.ndarray:
    r"""Correlation at a distance.

    ``exponential``: :math:`e^{-d/L}`. ``gaspari-cohn``: the compact fifth-order function, zero beyond
    ``2 L``. Both are positive definite in three dimensions, hence on the sphere for chordal distances.

    Args:
        distance: km, any shape.
        length: ``L`` in km.

    Reference: Gaspari and Cohn 1999, doi 10.1002/qj.49712555417, Eq. 4.10.
    """
    z = np.asarray(distance, float) / length
    if kind == "exponential":
        return np.exp(-z)
    near = ((-0.25 * z + 0.5) * z + 0.625) * z**3 - 5.0 / 3.0 * z**2 + 1.0
    safe = np.maximum(z, 1.0)
    far = (
        ((((safe / 12 - 0.5) * safe + 0.625) * safe + 5.0 / 3.0) * safe - 5.0) * safe
        + 4.0
        - 2.0 / (3.0 * safe)
    )
    return np.where(z <= 1, near, np.where(z < 2, np.maximum(far, 0.0), 0.0))


def correlation_matrix(position: np.ndarray, length: float, kind: Correlation) -> np.ndarray:
    """Correlations ``(1 - nugget) C + nugget I`` between unit vectors ``(k, 3)``, length in km."""
    squared = np.sum(position**2, -1)
    chord = (
        np.sqrt(np.maximum(squared[:, None] + squared[None] - 2 * position @ position.T, 0.0))
        * EARTH_RADIUS_KM
    )
    matrix = (1 - NUGGET) * correlation(chord, length, kind)
    np.fill_diagonal(matrix, 1.0)
    return 0.5 * (matrix + matrix.T)


@dataclass(frozen=True, eq=False)
class CorrelatedBlock:
    """Rows of ``R`` whose errors are correlated by distance.

    Args:
        index: rows of ``R``, shape ``(k,)``.
        position: unit vectors of the observations, shape ``(k, 3)``.
        length_km: correlation length in km.
        kind: ``"exponential"`` or ``"gaspari-cohn"``.
    """

    index: np.ndarray
    position: np.ndarray
    length_km: float
    kind: Correlation = "exponential"

    def __post_init__(self) -> None:
        if len(self.index) > MAX_BLOCK:
            raise SkyweaveError(
                f"{len(self.index)} observations of one source at one time have correlated errors, at most "
                f"{MAX_BLOCK} can be handled: thin or superob them, or give an error without "
                "correlation_length_km"
            )

    def matrix(self) -> np.ndarray:
        """Correlation matrix, shape ``(k, k)``."""
        return correlation_matrix(self.position, self.length_km, self.kind)


@dataclass(frozen=True, eq=False)
class ErrorCovariance:
    r"""Covariance ``R`` of stacked observations: a diagonal, and dense blocks where errors are correlated.

    .. math:: R = S C S, \qquad S = \mathrm{diag}(\sigma),

    with ``C`` the identity but for the blocks. ``R`` is symmetric and positive definite.

    Args:
        variance: diagonal of ``R``, shape ``(n,)``, physical units squared, already divided by the sources'
            weights.
        blocks: correlated rows; no row in two blocks.

    Raises:
        SkyweaveError: when a variance is not positive.
    """

    variance: np.ndarray
    blocks: tuple[CorrelatedBlock, ...] = ()
    _cache: dict = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        variance = np.asarray(self.variance, float)
        object.__setattr__(self, "variance", variance)
        if variance.ndim != 1 or not np.all(np.isfinite(variance) & (variance > 0)):
            raise SkyweaveError("observation errors must be positive and finite")

    @property
    def n(self) -> int:
        return len(self.variance)

    @property
    def diagonal(self) -> Tensor:
        """Variances, shape ``(n,)``, float32, physical units squared."""
        return torch.from_numpy(self.variance).float()

    def __matmul__(self, u: Tensor) -> Tensor:
        """``R u`` of ``u`` with shape ``(M, n)`` (or ``(n,)``)."""
        return self._by_block(u, u * self._on(u)["variance"], lambda part, block: part @ block["covariance"])

    def solve(self, u: Tensor) -> Tensor:
        """``R^-1 u`` of ``u`` with shape ``(M, n)`` (or ``(n,)``), by Cholesky factors of the blocks."""

        def inverse(part: Tensor, block: dict[str, Tensor]) -> Tensor:
            return torch.cholesky_solve(part.reshape(-1, part.shape[-1]).T, block["factor"]).T.reshape(
                part.shape
            )

        return self._by_block(u, u / self._on(u)["variance"], inverse)

    def sample(self, noise: Tensor) -> Tensor:
        """``L noise`` with ``L L^T = R``: errors drawn from white noise of shape ``(M, n)`` (or ``(n,)``)."""
        plain = noise * self._on(noise)["variance"].sqrt()
        return self._by_block(noise, plain, lambda part, block: part @ block["factor"].T)

    def dense(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """``R`` as a matrix, shape ``(n, n)``."""
        matrix = np.diag(self.variance)
        for block in self.blocks:
            matrix[np.ix_(block.index, block.index)] = self._covariance(block)
        return torch.from_numpy(matrix).to(dtype)

    def take(self, rows: np.ndarray) -> ErrorCovariance:
        """The covariance of some of the observations, in the order of ``rows`` (distinct integers)."""
        rows = np.asarray(rows)
        where = np.full(self.n, -1)
        where[rows] = np.arange(len(rows))
        blocks = []
        for block in self.blocks:
            new = where[block.index]
            kept = new >= 0
            if kept.sum() > 1:
                blocks.append(CorrelatedBlock(new[kept], block.position[kept], block.length_km, block.kind))
        return ErrorCovariance(self.variance[rows], tuple(blocks))

    def scaled(self, factor: np.ndarray | float) -> ErrorCovariance:
        """``S R S`` with variances multiplied by ``factor`` (a number, or one per row); correlations stay."""
        return ErrorCovariance(self.variance * factor, self.blocks)

    @classmethod
    def stack(cls, parts: Sequence[ErrorCovariance]) -> ErrorCovariance:
        """One covariance of independent groups of observations, in order."""
        blocks, start = [], 0
        for part in parts:
            blocks += [CorrelatedBlock(b.index + start, b.position, b.length_km, b.kind) for b in part.blocks]
            start += part.n
        return cls(np.concatenate([part.variance for part in parts]), tuple(blocks))

    def _covariance(self, block: CorrelatedBlock) -> np.ndarray:
        sigma = np.sqrt(self.variance[block.index])
        return block.matrix() * sigma[:, None] * sigma[None]

    def _on(self, like: Tensor) -> dict:
        key = (like.dtype, like.device)
        if key not in self._cache:
            blocks = []
            for block in self.blocks:
                covariance = self._covariance(block)
                # Factored in double precision, also for single-precision use.
                factor = np.linalg.cholesky(covariance)
                blocks.append(
                    {
                        "index": torch.from_numpy(np.asarray(block.index, np.int64)).to(like.device),
                        "covariance": torch.from_numpy(covariance).to(like),
                        "factor": torch.from_numpy(factor).to(like),
                    }
                )
            self._cache[key] = {"variance": torch.from_numpy(self.variance).to(like), "blocks": blocks}
        return self._cache[key]

    def _by_block(self, u: Tensor, plain: Tensor, apply) -> Tensor:
        out = plain
        for block in self._on(u)["blocks"]:
            out[..., block["index"]] = apply(u[..., block["index"]], block)
        return out
