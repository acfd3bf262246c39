"""Forecast and observations as one set of observations, and the solver that knows the structure of both."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from skyweave.covariance.stationary import StateCovariance, StationaryCovariance
from skyweave.covariance.torus import blocks, hermitian
from skyweave.cycle.forecast import GaussianForecast, aggregated
from skyweave.diffusion.noise import NoiseStream
from skyweave.errors import SkyweaveError
from skyweave.observe.errors import ErrorCovariance
from skyweave.observe.operator import StateOperator, to_torch_csr
from skyweave.observe.segment import Observations, Source
from skyweave.posterior.kalman import (
    Inverse,
    Solver,
    flat_slope,
    innovation_variance,
    solved_by,
)
from skyweave.posterior.preconditioner import Partition, cholesky, tabulated, two_level

__all__ = ["FusedObserved", "FusedSolver"]

DENSE = 1500
"""Observations up to which the innovation covariance given the forecast is factorised."""


@dataclass(frozen=True, eq=False)
class FusedOperator:
    """``x -> (G x, H(x))``: the forecast's view of the normalised state, then that of the observations."""

    forecast: GaussianForecast
    shape: tuple[int, int, int, int]
    inner: StateOperator | None = None
    _weights: dict = field(default_factory=dict, repr=False)

    @property
    def first(self) -> int:
        """Rows of the forecast."""
        return self.forecast.mean.numel()

    @property
    def n(self) -> int:
        return self.first + (0 if self.inner is None else self.inner.n)

    @property
    def linear(self) -> bool:
        return self.inner is None or self.inner.linear

    def __call__(self, x: Tensor) -> Tensor:
        parts = [self.down(x)] + ([] if self.inner is None else [self.inner(x)])
        return torch.cat(parts, 1)

    def jvp(self, x: Tensor, v: Tensor) -> Tensor:
        parts = [self.down(v)] + ([] if self.inner is None else [self.inner.jvp(x, v)])
        return torch.cat(parts, 1)

    def vjp(self, x: Tensor, u: Tensor) -> Tensor:
        out = self.up(u[:, : self.first])
        return out if self.inner is None else out + self.inner.vjp(x, u[:, self.first :])

    def jacobian(self, x: Tensor) -> sp.csr_array:
        """``J(x)`` of one state ``(1, C, H, W)`` as a sparse matrix."""
        G = self.forecast.aggregate
        cells = self.shape[2] * self.shape[3]
        own = sp.block_diag([sp.eye_array(cells) if G is None else G] * self.shape[1])
        return sp.csr_array(own if self.inner is None else sp.vstack([own, self.inner.jacobian(x)]))

    def down(self, x: Tensor) -> Tensor:
        """``G x`` as rows, ``(M, C h w)``."""
        G = self._matrix("down", x)
        flat = x.reshape(-1, self.shape[2] * self.shape[3])
        return (flat if G is None else (G @ flat.T).T).reshape(len(x), -1)

    def up(self, u: Tensor) -> Tensor:
        """``G^T u`` with the shape of states."""
        G = self._matrix("up", u)
        flat = u.reshape(len(u) * self.shape[1], -1)
        return (flat if G is None else (G @ flat.T).T).reshape(len(u), *self.shape)

    def _matrix(self, side: str, like: Tensor) -> Tensor | None:
        G = self.forecast.aggregate
        if G is None:
            return None
        key = (side, like.dtype, like.device)
        if key not in self._weights:
            matrix = to_torch_csr(G if side == "down" else G.T.tocsr(), like.dtype)
            self._weights[key] = matrix.to(like.device)
        return self._weights[key]


@dataclass(frozen=True, eq=False)
class FusedErrors:
    """Independent errors: those of the forecast, then those of the observations."""

    forecast: GaussianForecast
    inner: ErrorCovariance | None = None

    @property
    def first(self) -> int:
        return self.forecast.mean.numel()

    @property
    def diagonal(self) -> Tensor:
        F = self.forecast.error
        own = F.variance().expand(1, *F.shape).reshape(-1)
        return own if self.inner is None else torch.cat([own, self.inner.diagonal.to(own)])

    def __matmul__(self, u: Tensor) -> Tensor:
        own = (self.forecast.error @ self._field(u)).reshape(len(u), -1)
        return own if self.inner is None else torch.cat([own, self.inner @ u[:, self.first :]], 1)

    def solve(self, u: Tensor) -> Tensor:
        """There is none: the errors of a forecast reach across the whole domain.

        Raises:
            SkyweaveError: always, with the samplers that do without.
        """
        raise SkyweaveError(
            "sampler 'daps' draws by Langevin steps, which need the inverse of the errors, and those of a forecast "
            "have none at hand; take 'daps-exact' or another sampler"
        )

    def sample(self, noise: Tensor) -> Tensor:
        """Errors drawn from the white noise of `FusedObserved.noise`."""
        F = self.forecast.error
        size = math.prod(F.noise_shape)
        own = F.color(noise[:, :size].reshape(len(noise), *F.noise_shape)).reshape(len(noise), -1)
        return own if self.inner is None else torch.cat([own, self.inner.sample(noise[:, size:])], 1)

    def _field(self, u: Tensor) -> Tensor:
        return u[:, : self.first].reshape(len(u), *self.forecast.error.shape)


@dataclass(frozen=True, eq=False)
class FusedObserved:
    """A forecast and, where there are any, observations of one time.

    Args:
        forecast: in normalised units.
        shape: ``(1, C, H, W)`` of the state.
        observed: what else is known.
    """

    forecast: GaussianForecast
    shape: tuple[int, int, int, int]
    observed: Observations | None = None

    @cached_property
    def operator(self) -> FusedOperator:
        inner = self.observed.operator if self.observed is not None and self.observed.operator.n else None
        return FusedOperator(self.forecast, self.shape, inner)

    @property
    def y(self) -> Tensor:
        own = self.forecast.mean.reshape(-1).float()
        inner = self.operator.inner
        return own if inner is None or self.observed is None else torch.cat([own, self.observed.y.to(own)])

    @cached_property
    def R(self) -> FusedErrors:
        inner = None if self.operator.inner is None or self.observed is None else self.observed.R
        return FusedErrors(self.forecast, inner)

    @property
    def source(self) -> np.ndarray:
        """Empty: forecast and observations count as one source where constants of sources are asked for."""
        return np.zeros(0, np.int64)

    @property
    def weight(self) -> np.ndarray:
        """Empty, as `source`."""
        return np.zeros(0)

    @property
    def sources(self) -> tuple[Source, ...]:
        """None, as `source`."""
        return ()

    def noise(self, stream: NoiseStream, step: int) -> Tensor:
        """White numbers that `FusedErrors.sample` takes for each member."""
        inner = self.operator.inner
        own = math.prod(self.forecast.error.noise_shape)
        return stream.normal_vector(step, own + (0 if inner is None else inner.n))


class FusedSolver(Solver):
    r"""Conjugate gradients for ``S = J V J^T + R`` with a forecast of the whole state among the observations.

    The preconditioner eliminates the forecast first, by zonal wavenumber, and then the observations given it:

    .. math:: S = \begin{pmatrix} A & B \\ B^T & D \end{pmatrix}, \quad
              A = G V G^T + F, \quad
              D - B^T A^{-1} B \approx H V' H^T + R, \quad V' = (V^{-1} + F^{-1})^{-1}.

    On a periodic domain with stationary covariances it is exact.

    Args:
        observed: forecast and observations.
        tolerance, iterations, limit: as in `skyweave.posterior.kalman.Solver`; rows are those of both.
    """

    observed: FusedObserved

    def weights(self, x_hat: Tensor, V: StateCovariance, innovation: Tensor, key: object = None) -> Tensor:
        """As `Solver.weights`, in double precision: a forecast tells scales of very different power apart."""
        return super().weights(x_hat.double(), V, innovation.double(), key).to(x_hat.dtype)

    def _exact(self, x_hat: Tensor, V: StateCovariance) -> Inverse | None:
        op, F = self.observed.operator, self.observed.forecast.error
        if op.n > self.limit or op.forecast.aggregate is not None:
            return None
        cells = torch.arange(x_hat[0].numel(), device=x_hat.device)
        C, own = V.dense(cells), F.dense(cells)
        if C is None or own is None:
            return None
        matrix = C.double() + own.double()
        R = self.observed.R.inner
        if op.inner is not None and R is not None:
            J = torch.from_numpy(op.inner.jacobian(x_hat.mean(0)).toarray()).to(matrix)
            across = J @ C.double()
            D = across @ J.T + R.dense().to(matrix)
            matrix = torch.cat([torch.cat([matrix, across.T], 1), torch.cat([across, D], 1)])
        return solved_by(cholesky(matrix))

    def _approximate(self, x_hat: Tensor, V: StateCovariance) -> Inverse:
        op, F = self.observed.operator, self.observed.forecast.error
        if not isinstance(V, StationaryCovariance):
            scale = innovation_variance(x_hat, V, self.observed)
            return lambda r: r / scale
        G = op.forecast.aggregate
        own = aggregated(V, G, F.shape[2:], F.padded)
        smooth = _plain(F)
        inverse = ZonalInverse.of(own, F)
        first = op.first

        def A(r: Tensor) -> Tensor:
            return inverse(r.reshape(len(r), *F.shape)).reshape(len(r), -1)

        if (inner := op.inner) is None:
            return A
        left = V
        if G is None:
            left = replace(V, spectrum=_product(own.spectrum, smooth), scale=None, _cache={})
        D = self._given(left, inner, self.observed.R.inner, x_hat)

        def factor(r: Tensor) -> Tensor:
            a = A(r[:, :first])
            across = inner.jvp(x_hat, V @ op.up(a))
            u = D(r[:, first:] - across)
            back = op.down(V @ inner.vjp(x_hat, u))
            return torch.cat([a - A(back), u], 1)

        return factor

    def _given(self, V: StationaryCovariance, op: Any, R: Any, x_hat: Tensor) -> Inverse:
        """``(H V H^T + R)^{-1}`` for the observations, dense where they are few."""
        if op.n <= DENSE:
            matrix = tabulated(op.jacobian(x_hat.mean(0)), V)
            if matrix is not None:
                return solved_by(cholesky(matrix + R.dense().to(matrix)))
        if self._partition is None:
            self._partition = Partition.of(op.matrix, op.shape, R).to(x_hat.device)
        made = two_level(V, self._partition, flat_slope(op, x_hat))
        if made is not None:
            return made
        scale = op.jvp(x_hat, V.variance().sqrt().expand_as(x_hat)) ** 2 + R.diagonal.to(x_hat)
        return lambda r: r / scale


@dataclass(frozen=True, eq=False)
class ZonalInverse:
    r"""``(V + F)^{-1}`` by zonal wavenumber: a dense block over latitudes and variables for each.

    Exact where longitudes are a circle and the local standard deviation of ``F`` does not vary along it; its zonal mean
    is taken where it does.

    Args:
        factors: inverse of each block, ``(kx, C h, C h)``, complex.
        columns: longitudes of the torus.
    """

    factors: Tensor
    columns: int

    @classmethod
    def of(cls, V: StationaryCovariance, F: StationaryCovariance) -> ZonalInverse:
        """For covariances on one grid and torus."""
        _, C, h, _ = F.shape
        matrix = _zonal_blocks(F, h)
        if F.scale is not None:
            s = (F.scale**2).mean(-1).sqrt().expand(1, 1, C, h).reshape(-1).to(matrix.dtype)
            matrix = s[:, None] * matrix * s[None]
        matrix = matrix + _zonal_blocks(V, h)
        return cls(torch.linalg.inv(0.5 * (matrix + matrix.mH)), F.padded[1])

    def __call__(self, r: Tensor) -> Tensor:
        M, T, C, h, w = r.shape
        hat = torch.fft.rfft(r.reshape(M, C * h, w), n=self.columns)
        out = torch.einsum("xpq,mqx->mpx", self.factors.to(hat.dtype), hat)
        return torch.fft.irfft(out, n=self.columns)[..., :w].reshape(r.shape)


def _zonal_blocks(V: StationaryCovariance, h: int) -> Tensor:
    """Covariances between latitudes and variables for each zonal wavenumber, ``(kx, C h, C h)``, complex128."""
    lags = torch.fft.ifft(V.spectrum[:, :, 0].to(torch.complex128), n=V.padded[0], dim=-2)
    place = (torch.arange(h)[:, None] - torch.arange(h)[None]) % V.padded[0]
    blocks = lags[:, :, place].permute(4, 0, 2, 1, 3)
    C = V.shape[1]
    return blocks.reshape(blocks.shape[0], C * h, C * h)


def _plain(F: StationaryCovariance) -> Tensor:
    """Blocks of ``F`` with its mean local variance in place of the local one."""
    return F.spectrum if F.scale is None else F.spectrum * float((F.scale**2).mean())


def _product(V: Tensor, F: Tensor) -> Tensor:
    """``(V^{-1} + F^{-1})^{-1} = V (V + F)^{-1} F`` per wavenumber."""
    if V.shape[0] == 1:
        return V.real * F.real / (V.real + F.real)
    V_k, F_k = (S.movedim((0, 1), (-2, -1)) for S in (V, F))
    return blocks(hermitian(V_k @ torch.linalg.inv(V_k + F_k) @ F_k))
