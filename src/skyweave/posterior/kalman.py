r"""The Kalman update that every guidance method approximates, and the ways to take its inverse.

.. math:: \hat x_y = \hat x + V J^T (J V J^T + R)^{-1} (y - H(\hat x))
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from skyweave.covariance.stationary import StateCovariance
from skyweave.observe.operator import StateOperator, to_torch_csr
from skyweave.posterior.preconditioner import Partition, cholesky, tabulated, two_level

__all__ = ["KalmanSolver", "Observed", "conjugate_gradients"]

DIRECT_LIMIT = 1200
"""Observations up to which the innovation covariance is factorised whole."""


WIDE = 2500
"""Cells that observations weigh, up to which their covariance is tabulated cell by cell."""

COLUMNS = 128
"""Observations up to which columns of ``V J^T`` are computed one by one where they weigh more cells."""

EASY = 50.0
"""Ratio of signal to error variance below which a diagonal preconditioner will do."""


class Observed(Protocol):
    """Observations of one segment: operator, values ``(n,)`` or ``(M, n)`` in physical units, error covariance."""

    @property
    def operator(self) -> StateOperator: ...

    @property
    def y(self) -> Tensor: ...

    @property
    def R(self) -> Any: ...


def conjugate_gradients(
    A: Callable[[Tensor], Tensor],
    b: Tensor,
    *,
    precondition: Callable[[Tensor], Tensor] | None = None,
    tolerance: float = 1e-3,
    energy: float | None = None,
    iterations: int = 100,
) -> tuple[Tensor, int]:
    """Solve ``A u = b`` for each row of ``b`` by preconditioned conjugate gradients.

    Every row has its own step lengths and stops by itself, so the answer for a member does not depend on the
    other members of its batch.

    Args:
        A: symmetric positive definite map on ``(M, n)``.
        b: right-hand sides, shape ``(M, n)``.
        tolerance: relative residual at which a row stops.
        energy: stop a row instead where ``r^T M r`` falls to this, ``M`` the preconditioner and ``r`` the residual.
        iterations: most iterations taken.

    Returns:
        The solutions, shape ``(M, n)``, and the number of applications of ``A``.

    Reference: Saad 2003, Iterative Methods for Sparse Linear Systems, Algorithm 9.1.
    """
    M = precondition or (lambda r: r)
    u = torch.zeros_like(b)
    r = b.clone()
    target = (tolerance * torch.linalg.vector_norm(b, dim=1)).clamp_min(1e-30)
    z = M(r)
    p, rz = z, (r * z).sum(1)
    used = 0
    for _ in range(iterations):
        active = torch.linalg.vector_norm(r, dim=1) > target if energy is None else rz > energy
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
    r"""Updates states with observations, factorising where that is cheap and iterating where it is not.

    The factor of ``S = J V J^T + R`` is kept for as long as observations and noise level stay the same, so that all
    members and all batches of a run share it. Where the operator or ``V`` differs between members, the factor of
    a mean member preconditions conjugate gradients; where there are many observations, a two-level one does.

    An iterative solution with residual ``r`` leaves the state wrong by ``dx = V J^T S^{-1} r``, and

    .. math:: \|dx\|^2 \le \|V\| \; r^T S^{-1} r \le \sigma^2 \, r^T S^{-1} r,

    so iterations stop where ``r^T M r``, ``M`` the preconditioner, bounds the root mean square error of the state by
    ``tolerance`` times the noise level: an error that the next step's noise hides.

    Args:
        tolerance: root mean square error of the update in units of the noise level.
        iterations: most iterations of a solve; where they do not suffice, a warning says so.
        limit: observations up to which the matrix is factorised whole.
    """

    tolerance: float = 0.05
    iterations: int = 200
    limit: int = DIRECT_LIMIT
    _factors: dict = field(default_factory=dict, repr=False)
    applications: int = 0
    _partition: tuple[StateOperator, Partition] | None = field(default=None, repr=False)

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
        return x_hat + self.increment(x_hat, V, observed, key, y)

    def increment(
        self,
        x_hat: Tensor,
        V: StateCovariance,
        observed: Observed,
        key: object = None,
        y: Tensor | None = None,
    ) -> Tensor:
        """What `update` adds to the states, ``V J^T (J V J^T + R)^{-1} (y - H(x_hat))``."""
        op = observed.operator
        innovation = (observed.y.to(x_hat.device) if y is None else y) - op(x_hat)
        u = self.weights(x_hat, V, observed, innovation, key)
        return V @ op.vjp(x_hat, u)

    def weights(
        self, x_hat: Tensor, V: StateCovariance, observed: Observed, innovation: Tensor, key: object = None
    ) -> Tensor:
        """``(J V J^T + R)^{-1}`` applied to innovations of shape ``(M, n)``."""
        op = observed.operator
        same = op.linear and not getattr(V, "member_dependent", False)
        factor, exact = self._factor(x_hat, V, observed, None if key is None or not same else key)
        if exact and same:
            return factor(innovation)

        def A(u: Tensor) -> Tensor:
            return op.jvp(x_hat, V @ op.vjp(x_hat, u)) + observed.R @ u

        u, used = conjugate_gradients(
            A,
            innovation,
            precondition=factor,
            energy=self.tolerance**2 * x_hat[0].numel(),
            iterations=self.iterations,
        )
        self.applications += used
        if used == self.iterations:
            warnings.warn(
                f"the update with {op.n} observations did not converge in {used} iterations; the fields fit them "
                "less closely than their errors say",
                stacklevel=2,
            )
        return u

    def _factor(
        self, x_hat: Tensor, V: StateCovariance, observed: Observed, key: object
    ) -> tuple[Callable[[Tensor], Tensor], bool]:
        """``S^{-1}`` or an approximation to it, and whether it is exact for the mean member."""
        if key is not None and key in self._factors:
            return self._factors[key]
        made = self._exact(x_hat, V, observed)
        found = (made, True) if made is not None else (self._approximate(x_hat, V, observed), False)
        if key is not None:
            if len(self._factors) > 64:
                self._factors.clear()
            self._factors[key] = found
        return found

    def _exact(
        self, x_hat: Tensor, V: StateCovariance, observed: Observed
    ) -> Callable[[Tensor], Tensor] | None:
        # Where observations spread over many cells, the columns of V J^T cost more than iterating.
        wide = observed.operator.matrix.nnz > WIDE and observed.operator.n > COLUMNS
        if observed.operator.n > self.limit or wide:
            return None
        matrix = innovation_covariance(x_hat.mean(0), V, observed)
        if matrix is None:
            return None
        chol = cholesky(matrix)
        return lambda r: torch.cholesky_solve(r.T.to(chol.dtype), chol).T.to(r.dtype)

    def _approximate(
        self, x_hat: Tensor, V: StateCovariance, observed: Observed
    ) -> Callable[[Tensor], Tensor]:
        op = observed.operator
        if op.n > min(self.limit, COLUMNS) and _hard(V, observed):
            # One operator serves many noise levels; of several, the last is kept.
            if self._partition is None or self._partition[0] is not op:
                self._partition = (op, Partition.of(op.matrix, op.shape, observed.R))
            slope = op.derivative(x_hat.mean(0, keepdim=True))
            flat = None if slope is None else slope.expand(1, *op.shape).reshape(-1)
            levels = two_level(V, self._partition[1], flat)
            if levels is not None:
                return levels
        # Of the mean member where all share V: the factor may serve a batch of another size.
        whose = x_hat if getattr(V, "member_dependent", False) else x_hat.mean(0, keepdim=True)
        scale = innovation_variance(whose, V, observed)
        return lambda r: r / scale


def _hard(V: StateCovariance, observed: Observed) -> bool:
    """Whether conjugate gradients need help: not where errors are comparable to the largest mode of ``V``."""
    largest = getattr(V, "largest", None)
    if largest is None or not observed.operator.linear:
        return True
    slope = observed.operator.derivative(torch.zeros(1, *observed.operator.shape))
    size = 1.0 if slope is None else float(slope.max()) ** 2
    return largest() * size > EASY * float(observed.R.diagonal.min())


def innovation_covariance(x: Tensor, V: StateCovariance, observed: Observed) -> Tensor | None:
    """Dense ``J V J^T + R`` at one state ``(T, C, H, W)``, float64; ``None`` where ``V`` has no dense form."""
    J = observed.operator.jacobian(x)
    product = tabulated(J, V) if len(np.unique(J.indices)) <= WIDE else _by_columns(J, V)
    return None if product is None else product + observed.R.dense().double()


def _by_columns(J: sp.csr_array, V: StateCovariance, batch: int = 64) -> Tensor:
    """``J V J^T`` column by column, for operators that touch many cells with few observations."""
    Jt, n = to_torch_csr(J, torch.float32), J.shape[0]
    out = torch.empty(n, n, dtype=torch.float64)
    for first in range(0, n, batch):
        rows = torch.from_numpy(J[first : first + batch].toarray()).float()
        columns = V @ rows.reshape(-1, *V.shape)
        out[first : first + batch] = (Jt @ columns.reshape(rows.shape[0], -1).T).T.double()
    return 0.5 * (out + out.T)


def innovation_variance(x_hat: Tensor, V: StateCovariance, observed: Observed) -> Tensor:
    """Rough diagonal of ``J V J^T + R``, shape ``(M, n)``: each row's weights taken as fully correlated."""
    op = observed.operator
    variance = getattr(V, "variance", None)
    spread = torch.ones_like(x_hat) if variance is None else variance().sqrt().expand_as(x_hat)
    return op.jvp(x_hat, spread) ** 2 + observed.R.diagonal.to(x_hat.dtype)
