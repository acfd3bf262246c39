"""Observation operators: sparse matrices on the physical state, differentiated through the prior's transform."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

if TYPE_CHECKING:
    from skyweave.transform import ToPhysical

__all__ = ["Operator", "StateOperator", "stack", "to_torch_csr"]


class Operator(Protocol):
    """Predicted observations ``H(x)`` of a normalised state, with its tangent and adjoint: what guidance needs.

    States have shape ``(member, time, channel, lat, lon)``, observations ``(member, n)``.
    """

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(T, C, H, W)`` of the state."""
        ...

    @property
    def n(self) -> int:
        """Number of observations."""
        ...

    @property
    def linear(self) -> bool:
        """True when ``J`` does not depend on the state."""
        ...

    def __call__(self, x: Tensor) -> Tensor:
        """``H(x)`` in physical units."""
        ...

    def jvp(self, x: Tensor, v: Tensor) -> Tensor:
        """Tangent ``J(x) v``."""
        ...

    def vjp(self, x: Tensor, u: Tensor) -> Tensor:
        """Adjoint ``J(x)^T u``, with the shape of a state."""
        ...

    def jacobian(self, x: Tensor) -> sp.csr_array:
        """``J(x)`` of one state ``(T, C, H, W)`` as a sparse matrix."""
        ...


def to_torch_csr(matrix: sp.csr_array, dtype: torch.dtype = torch.float32) -> Tensor:
    """The same sparse matrix as a torch CSR tensor."""
    matrix = matrix.tocsr()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        return _csr(matrix, dtype)


def _csr(matrix: sp.csr_array, dtype: torch.dtype) -> Tensor:
    return torch.sparse_csr_tensor(
        torch.from_numpy(matrix.indptr.astype(np.int64)),
        torch.from_numpy(matrix.indices.astype(np.int64)),
        torch.from_numpy(matrix.data.astype(np.float64)).to(dtype),
        size=matrix.shape,
        check_invariants=False,
    )


@dataclass(frozen=True, eq=False)
class StateOperator:
    r"""Sparse weights on the physical state, seen from the normalised one.

    .. math:: H(x) = W\, g(x), \qquad J(x) = W\, \mathrm{diag}(g'(x)),

    where ``g`` is the inverse of the prior's transform, so an area mean of AOD is a mean of AOD and not of
    its logarithm.

    Args:
        matrix: ``W``, shape ``(n, T*C*H*W)``, row-major over (time, channel, lat, lon); rows in physical units.
        shape: ``(T, C, H, W)`` of the state.
        transform: the prior's transform; ``None`` where the state is physical already.
    """

    matrix: sp.csr_array
    shape: tuple[int, int, int, int]
    transform: ToPhysical | None = None
    _torch: dict = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        size = int(np.prod(self.shape))
        if self.matrix.shape[1] != size:
            raise ValueError(
                f"matrix has {self.matrix.shape[1]} columns, a state {self.shape} has {size} cells"
            )

    @property
    def n(self) -> int:
        return int(self.matrix.shape[0])

    @property
    def linear(self) -> bool:
        """True when ``J`` does not depend on the state."""
        return self.transform is None or self.transform.linear

    def __call__(self, x: Tensor) -> Tensor:
        """Predicted observations in physical units, shape ``(M, n)``."""
        physical = x if self.transform is None else self.transform.inverse(x)
        return self._apply(physical)

    def derivative(self, x: Tensor) -> Tensor | None:
        """``g'(x)``, physical units per normalised unit, with the shape of ``x``; ``None`` for the identity."""
        return None if self.transform is None else self.transform.derivative(x)

    def jvp(self, x: Tensor, v: Tensor) -> Tensor:
        """Tangent ``J(x) v``, shape ``(M, n)``."""
        slope = self.derivative(x)
        return self._apply(v if slope is None else slope * v)

    def vjp(self, x: Tensor, u: Tensor) -> Tensor:
        """Adjoint ``J(x)^T u`` of observations ``u`` of shape ``(M, n)``, with the shape of a state."""
        back = (self._weights("T", u) @ u.T).T.reshape(u.shape[0], *self.shape)
        slope = self.derivative(x)
        return back if slope is None else slope * back

    def jacobian(self, x: Tensor) -> sp.csr_array:
        """``J(x)`` of one state ``x`` of shape ``(T, C, H, W)`` as a sparse matrix."""
        slope = self.derivative(x[None])
        if slope is None:
            return self.matrix
        column = np.broadcast_to(slope[0].detach().cpu().double().numpy(), self.shape).reshape(-1)
        return sp.csr_array(self.matrix @ sp.diags_array(column))

    def _apply(self, physical: Tensor) -> Tensor:
        flat = physical.reshape(physical.shape[0], -1)
        return (self._weights("N", flat) @ flat.T).T

    def _weights(self, side: str, like: Tensor) -> Tensor:
        key = (side, like.dtype, like.device)
        if key not in self._torch:
            matrix = self.matrix if side == "N" else sp.csr_array(self.matrix.T)
            self._torch[key] = to_torch_csr(matrix, like.dtype).to(like.device)
        return self._torch[key]


def stack(operators: Sequence[StateOperator]) -> StateOperator:
    """One operator that predicts the observations of all, in order; they must share state and transform."""
    first = operators[0]
    for op in operators[1:]:
        if op.shape != first.shape or op.transform != first.transform:
            raise ValueError("operators of different states cannot be stacked")
    return StateOperator(
        sp.csr_array(sp.vstack([op.matrix for op in operators])), first.shape, first.transform
    )
