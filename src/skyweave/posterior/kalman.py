r"""The Kalman update that every guidance method approximates, and the ways to take its inverse.

.. math:: \hat x_y = \hat x + V J^T (J V J^T + R)^{-1} (y - H(\hat x))
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from skyweave.covariance.stationary import StateCovariance
from skyweave.diffusion.noise import NoiseStream
from skyweave.observe.operator import Operator, StateOperator, to_torch_csr
from skyweave.observe.segment import Observations, Source
from skyweave.posterior.preconditioner import Partition, cholesky, tabulated, two_level

__all__ = [
    "DIRECT_LIMIT", "Errors", "Inverse", "KalmanSolver", "Observed", "Solver", "by_columns", "conjugate_gradients",
    "flat_slope",    "innovation_covariance", "innovation_variance", "solved_by",
]  # fmt: skip

Inverse = Callable[[Tensor], Tensor]
"""A map on innovations ``(M, n)``."""

DIRECT_LIMIT = 1200
"""Observations up to which the innovation covariance is factorised whole."""


WIDE = 2500
"""Cells that observations weigh, up to which their covariance is tabulated cell by cell."""

COLUMNS = 128
"""Observations up to which columns of ``V J^T`` are computed one by one where they weigh more cells."""

EASY = 50.0
"""Ratio of signal to error variance below which a diagonal preconditioner will do."""


class Errors(Protocol):
    """Covariance ``R`` of the errors of ``n`` observations, physical units squared."""

    @property
    def diagonal(self) -> Tensor:
        """Variances, ``(n,)``."""
        ...

    def __matmul__(self, u: Tensor) -> Tensor:
        """``R u`` of ``u`` with shape ``(M, n)``."""
        ...

    def solve(self, u: Tensor) -> Tensor:
        """``R^-1 u``."""
        ...

    def sample(self, noise: Tensor) -> Tensor:
        """Errors drawn from white noise, that of `Observed.noise`."""
        ...


class Observed(Protocol):
    """Observations of one segment, as `skyweave.observe.segment.Observations` are."""

    @property
    def operator(self) -> Operator:
        """``H`` and its derivatives."""
        ...

    @property
    def y(self) -> Tensor:
        """Values ``(n,)`` or ``(M, n)`` in physical units."""
        ...

    @property
    def R(self) -> Errors:
        """Covariance of their errors."""
        ...

    @property
    def source(self) -> np.ndarray:
        """Number of the source of each row, ``(n,)``; empty where all are of one."""
        ...

    @property
    def weight(self) -> np.ndarray:
        """By which the error variance of each row was divided, ``(n,)``; empty for one."""
        ...

    @property
    def sources(self) -> tuple[Source, ...]:
        """By number."""
        ...

    def noise(self, stream: NoiseStream, step: int) -> Tensor:
        """White noise for `Errors.sample`, of each member."""
        ...


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


class Solver(ABC):
    """Updates states with the observations of one problem; factors are kept for as long as it lives.

    Args:
        observed: operator, values and errors.
        tolerance: root mean square error of the update in units of the noise level.
        iterations: most iterations of a solve; where they do not suffice, a warning says so.
        limit: rows up to which the matrix is factorised whole.
    """

    def __init__(
        self, observed: Any, *, tolerance: float = 0.05, iterations: int = 200, limit: int = DIRECT_LIMIT
    ) -> None:
        self.observed, self.tolerance, self.iterations, self.limit = observed, tolerance, iterations, limit
        self.applications = 0
        """Applications of ``S`` so far."""
        self._factors: dict[object, tuple[Inverse, bool]] = {}
        self._partition: Partition | None = None

    def update(
        self, x_hat: Tensor, V: StateCovariance, key: object = None, y: Tensor | None = None
    ) -> Tensor:
        """The updated states, shape ``(M, T, C, H, W)``.

        Args:
            x_hat: states before, shape ``(M, T, C, H, W)``.
            V: their error covariance.
            key: names ``V`` among those that this solver is given, such as the noise level; equal keys share a factor.
            y: values that replace those observed, for example perturbed ones of shape ``(M, n)``.
        """
        return x_hat + self.increment(x_hat, V, key, y)

    def increment(
        self, x_hat: Tensor, V: StateCovariance, key: object = None, y: Tensor | None = None
    ) -> Tensor:
        """What `update` adds to the states, ``V J^T (J V J^T + R)^{-1} (y - H(x_hat))``."""
        op = self.observed.operator
        innovation = (self.observed.y if y is None else y).to(x_hat.device) - op(x_hat)
        return V @ op.vjp(x_hat, self.weights(x_hat, V, innovation, key))

    def weights(self, x_hat: Tensor, V: StateCovariance, innovation: Tensor, key: object = None) -> Tensor:
        """``(J V J^T + R)^{-1}`` applied to innovations of shape ``(M, n)``."""
        op, R = self.observed.operator, self.observed.R
        same = op.linear and not V.member_dependent
        factor, exact = self._factor(x_hat, V, key if same else None)
        if exact and same:
            return factor(innovation)

        def A(u: Tensor) -> Tensor:
            return op.jvp(x_hat, V @ op.vjp(x_hat, u)) + R @ u

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

    def _factor(self, x_hat: Tensor, V: StateCovariance, key: object) -> tuple[Inverse, bool]:
        """``S^{-1}`` or an approximation to it, and whether it is exact for the mean member."""
        if key is not None and key in self._factors:
            return self._factors[key]
        made = self._exact(x_hat, V)
        found = (made, True) if made is not None else (self._approximate(x_hat, V), False)
        if key is not None:
            if len(self._factors) > 64:
                self._factors.clear()
            self._factors[key] = found
        return found

    @abstractmethod
    def _exact(self, x_hat: Tensor, V: StateCovariance) -> Inverse | None:
        """``S^{-1}`` of the mean member by a factorisation; ``None`` where that costs too much."""

    @abstractmethod
    def _approximate(self, x_hat: Tensor, V: StateCovariance) -> Inverse:
        """An approximation to it, a preconditioner."""


class KalmanSolver(Solver):
    r"""Factorises where that is cheap and iterates where it is not.

    The factor of ``S = J V J^T + R`` is kept, so that all members and all batches of a run share it. Where the operator
    or ``V`` differs between members, the factor of a mean member preconditions conjugate gradients; where there are
    many observations, a two-level one does.

    An iterative solution with residual ``r`` leaves the state wrong by ``dx = V J^T S^{-1} r``, and

    .. math:: \|dx\|^2 \le \|V\| \; r^T S^{-1} r \le \sigma^2 \, r^T S^{-1} r,

    so iterations stop where ``r^T M r``, ``M`` the preconditioner, bounds the root mean square error of the state by
    ``tolerance`` times the noise level: an error that the next step's noise hides.

    Args:
        observed, tolerance, iterations, limit: as in `Solver`.
    """

    def _exact(self, x_hat: Tensor, V: StateCovariance) -> Inverse | None:
        op = self.observed.operator
        # Where observations spread over many cells, the columns of V J^T cost more than iterating.
        wide = op.matrix.nnz > WIDE and op.n > COLUMNS
        if op.n > self.limit or wide:
            return None
        matrix = innovation_covariance(x_hat.mean(0), V, self.observed)
        return None if matrix is None else solved_by(cholesky(matrix))

    def _approximate(self, x_hat: Tensor, V: StateCovariance) -> Inverse:
        op, R = self.observed.operator, self.observed.R
        if op.n > min(self.limit, COLUMNS) and _hard(V, self.observed):
            if self._partition is None:  # one serves all noise levels
                self._partition = Partition.of(op.matrix, op.shape, R).to(x_hat.device)
            levels = two_level(V, self._partition, flat_slope(op, x_hat))
            if levels is not None:
                return levels
        # Of the mean member where all share V: the factor may serve a batch of another size.
        whose = x_hat if V.member_dependent else x_hat.mean(0, keepdim=True)
        scale = innovation_variance(whose, V, self.observed)
        return lambda r: r / scale


def solved_by(chol: Tensor) -> Inverse:
    """``S^{-1}`` of innovations ``(M, n)``, in the precision of the Cholesky factor of ``S``."""
    return lambda r: torch.cholesky_solve(r.T.to(chol), chol).T.to(r)


def flat_slope(op: StateOperator, x_hat: Tensor) -> Tensor | None:
    """Derivative of the transform in every cell of the mean member, flat; ``None`` for one."""
    slope = op.derivative(x_hat.mean(0, keepdim=True))
    return None if slope is None else slope.expand(1, *op.shape).reshape(-1)


def _hard(V: StateCovariance, observed: Observations) -> bool:
    """Whether conjugate gradients need help: not where errors are comparable to the largest mode of ``V``."""
    if not observed.operator.linear:
        return True
    slope = observed.operator.derivative(torch.zeros(1, *observed.operator.shape))
    size = 1.0 if slope is None else float(slope.max()) ** 2
    return V.largest() * size > EASY * float(observed.R.diagonal.min())


def innovation_covariance(x: Tensor, V: StateCovariance, observed: Observations) -> Tensor | None:
    """Dense ``J V J^T + R`` at one state ``(T, C, H, W)``, float64; ``None`` where ``V`` has no dense form."""
    J = observed.operator.jacobian(x)
    product = tabulated(J, V) if len(np.unique(J.indices)) <= WIDE else by_columns(J, V)
    return None if product is None else product + observed.R.dense().to(product)


def by_columns(J: sp.csr_array, V: StateCovariance, batch: int = 64) -> Tensor:
    """``J V J^T`` column by column, for operators that touch many cells with few observations."""
    device, n = V.variance().device, J.shape[0]
    Jt, out = to_torch_csr(J, torch.float32).to(device), torch.empty(n, n, dtype=torch.float64, device=device)
    for first in range(0, n, batch):
        rows = torch.from_numpy(J[first : first + batch].toarray()).float().to(device)
        columns = V @ rows.reshape(-1, *V.shape)
        out[first : first + batch] = (Jt @ columns.reshape(rows.shape[0], -1).T).T.double()
    return 0.5 * (out + out.T)


def innovation_variance(x_hat: Tensor, V: StateCovariance, observed: Observed) -> Tensor:
    """Rough diagonal of ``J V J^T + R``, shape ``(M, n)``: each row's weights taken as fully correlated."""
    spread = V.variance().to(x_hat).sqrt().expand_as(x_hat)
    return observed.operator.jvp(x_hat, spread) ** 2 + observed.R.diagonal.to(x_hat)
