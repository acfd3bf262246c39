r"""The Kalman update that every guidance method approximates, and the ways to take its inverse.

.. math:: \hat x_y = \hat x + V J^T (J V J^T + R)^{-1} (y - H(\hat x))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from skyweave.observe.operator import StateOperator, to_torch_csr
from skyweave.prior.covariance import StateCovariance

__all__ = ["KalmanSolver", "Observed", "conjugate_gradients"]

DIRECT_LIMIT = 3000
"""Observations up to which the innovation covariance is factorised."""


class ErrorLike(Protocol):
    """What the update asks of an observation error covariance."""

    diagonal: Tensor

    def __matmul__(self, u: Tensor) -> Tensor: ...

    def dense(self) -> Tensor: ...


class Observed(Protocol):
    """Observations of one segment: operator, values ``(n,)`` or ``(M, n)`` in physical units, error covariance."""

    operator: StateOperator
    y: Tensor
    R: Any


def conjugate_gradients(
    A: Callable[[Tensor], Tensor],
    b: Tensor,
    *,
    precondition: Callable[[Tensor], Tensor] | None = None,
    tolerance: float | Tensor = 1e-3,
    iterations: int = 100,
    start: Tensor | None = None,
) -> tuple[Tensor, int]:
    """Solve ``A u = b`` for each row of ``b`` by preconditioned conjugate gradients.

    Every row has its own step lengths and stops by itself, so the answer for a member does not depend on the
    other members of its batch.

    Args:
        A: symmetric positive definite map on ``(M, n)``.
        b: right-hand sides, shape ``(M, n)``.
        tolerance: relative residual at which a row stops.
        iterations: most iterations taken.

    Returns:
        The solutions, shape ``(M, n)``, and the number of applications of ``A``.

    Reference: Saad 2003, Iterative Methods for Sparse Linear Systems, Algorithm 9.1.
    """
    M = precondition or (lambda r: r)
    u = torch.zeros_like(b) if start is None else start
    r = b.clone() if start is None else b - A(u)
    target = (tolerance * torch.linalg.vector_norm(b, dim=1)).clamp_min(1e-30)
    z = M(r)
    p, rz = z, (r * z).sum(1)
    used = 0
    for _ in range(iterations):
        active = torch.linalg.vector_norm(r, dim=1) > target
        if not bool(active.any()):
            break
        Ap = A(p)
        used += 1
        curvature = (p * Ap).sum(1)
        alpha = torch.where(active & (curvature > 0), rz / curvature.clamp_min(1e-30), 0.0)[:, None]
        u = u + alpha * p
        r = r - alpha * Ap
        z = M(r)
        rz_next = (r * z).sum(1)
        beta = torch.where(active, rz_next / rz.clamp_min(1e-30), 0.0)[:, None]
        p, rz = z + beta * p, rz_next
    return u, used


@dataclass(eq=False)
class KalmanSolver:
    """Updates states with observations, factorising where that is cheap and iterating where it is not.

    The factor of ``J V J^T + R`` is kept for as long as observations and noise level stay the same, so that all
    members and all batches of a run share it. Where the operator or ``V`` differs between members, the factor of
    a mean member preconditions conjugate gradients.

    Args:
        tolerance: relative residual of the iterative solve.
        iterations: its most iterations.
        limit: observations up to which the matrix is factorised.
    """

    tolerance: float = 1e-3
    iterations: int = 100
    limit: int = DIRECT_LIMIT
    _factors: dict = field(default_factory=dict, repr=False)
    applications: int = 0

    def update(
        self,
        x_hat: Tensor,
        V: StateCovariance,
        observed: Observed,
        key: object = None,
        y: Tensor | None = None,
    ) -> Tensor:
        """The updated states, shape ``(M, T, C, H, W)``.

        Args:
            x_hat: states before, shape ``(M, T, C, H, W)``.
            V: their error covariance.
            observed: operator, values and errors.
            key: names ``V`` and the observations; equal keys share a factor.
            y: values that replace ``observed.y``, for example perturbed ones of shape ``(M, n)``.
        """
        op = observed.operator
        innovation = (observed.y if y is None else y) - op(x_hat)
        u = self.weights(x_hat, V, observed, innovation, key)
        return x_hat + (V @ op.vjp(x_hat, u))

    def weights(
        self, x_hat: Tensor, V: StateCovariance, observed: Observed, innovation: Tensor, key: object = None
    ) -> Tensor:
        """``(J V J^T + R)^{-1}`` applied to innovations of shape ``(M, n)``."""
        op = observed.operator
        exact = op.linear and not getattr(V, "member_dependent", False)
        factor = self._factor(x_hat, V, observed, None if key is None else (key, exact))
        if exact and factor is not None:
            return factor(innovation)

        def A(u: Tensor) -> Tensor:
            return op.jvp(x_hat, V @ op.vjp(x_hat, u)) + observed.R @ u

        if factor is None:
            scale = innovation_variance(x_hat, V, observed)
            factor = lambda r: r / scale  # noqa: E731
        u, used = conjugate_gradients(
            A, innovation, precondition=factor, tolerance=self.tolerance, iterations=self.iterations
        )
        self.applications += used
        return u

    def _factor(
        self, x_hat: Tensor, V: StateCovariance, observed: Observed, key: object
    ) -> Callable[[Tensor], Tensor] | None:
        if observed.operator.n > self.limit:
            return None
        if key is not None and key in self._factors:
            return self._factors[key]
        matrix = innovation_covariance(x_hat.mean(0), V, observed)
        if matrix is None:
            return None
        chol = torch.linalg.cholesky(matrix)

        def solve(r: Tensor) -> Tensor:
            return torch.cholesky_solve(r.T.to(chol.dtype), chol).T.to(r.dtype)

        if key is not None:
            if len(self._factors) > 256:
                self._factors.clear()
            self._factors[key] = solve
        return solve


def innovation_covariance(x: Tensor, V: StateCovariance, observed: Observed) -> Tensor | None:
    """Dense ``J V J^T + R`` at one state ``(T, C, H, W)``, float64; ``None`` where ``V`` has no dense form."""
    J = observed.operator.jacobian(x)
    cells = np.unique(J.indices)
    if len(cells) <= 2 * DIRECT_LIMIT:
        block = V.dense(torch.from_numpy(cells))
        if block is None:
            return None
        Js = to_torch_csr(sp.csr_array(J[:, cells]), torch.float64)
        product = Js @ (Js @ block.double()).T
    else:
        product = _by_columns(J, V)
    return 0.5 * (product + product.T) + observed.R.dense().double()


def _by_columns(J: sp.csr_array, V: StateCovariance, batch: int = 64) -> Tensor:
    """``J V J^T`` column by column, for operators that touch many cells with few observations."""
    Jt, n = to_torch_csr(J, torch.float32), J.shape[0]
    out = torch.empty(n, n, dtype=torch.float64)
    for first in range(0, n, batch):
        rows = torch.from_numpy(J[first : first + batch].toarray()).float()
        columns = V @ rows.reshape(-1, *V.shape)
        out[first : first + batch] = (Jt @ columns.reshape(rows.shape[0], -1).T).T.double()
    return out


def innovation_variance(x_hat: Tensor, V: StateCovariance, observed: Observed) -> Tensor:
    """Rough diagonal of ``J V J^T + R``, shape ``(M, n)``: each row's weights taken as fully correlated."""
    op = observed.operator
    variance = getattr(V, "variance", None)
    spread = torch.ones_like(x_hat) if variance is None else variance().sqrt().expand_as(x_hat)
    return op.jvp(x_hat, spread) ** 2 + observed.R.diagonal.to(x_hat.dtype)
