"""The rotating shallow-water equations in spherical harmonics: transforms, tendencies, a semi-implicit step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_harmonics import InverseRealSHT, InverseRealVectorSHT
from torch_harmonics.quadrature import legendre_gauss_weights

__all__ = ["Dynamics", "Harmonics", "contract", "gaussian_latitudes"]

# Whitaker and Kar (2013), the scheme with three explicit stages and a third-order implicit part. Row i holds the
# weights of the tendencies at stages 0..i in the value at stage i + 1; the last row is the new state.
_EXPLICIT = ((1 / 3,), (1 / 6, 1 / 2), (1 / 2, -1 / 2, 1.0))
_IMPLICIT = ((1 / 6, 1 / 6), (1 / 3, 0.0, 1 / 3), (3 / 8, 0.0, 3 / 8, 1 / 4))

Forcing = Callable[[Tensor], Tensor]


def gaussian_latitudes(rows: int) -> NDArray[np.float64]:
    """Latitudes of a Gaussian grid, degrees, from north to south; shape ``(rows,)``."""
    sines, _ = legendre_gauss_weights(rows, -1, 1)
    return np.rad2deg(np.arcsin(sines[::-1]))


class Harmonics:
    r"""Spherical harmonics of triangular truncation ``T`` on a Gaussian grid, in double precision.

    Coefficients have shape ``(..., L, M)`` with ``L = M = T + 1``: degree and order. With
    ``T <= (2 H - 1) / 3`` products of two fields are free of aliasing.

    Args:
        shape: ``(H, W)`` of the grid.
        truncation: ``T``; by default the largest without aliasing, 21 for 32 x 64.
        radius: of the sphere, m.
    """

    def __init__(self, shape: tuple[int, int], truncation: int | None, radius: float) -> None:
        rows, columns = shape
        alias_free = min((2 * rows - 1) // 3, (columns - 1) // 3)
        self.shape, self.radius = shape, radius
        self.truncation = alias_free if truncation is None else truncation
        count = self.truncation + 1
        size = {"lmax": count, "mmax": count, "grid": "legendre-gauss"}
        _, weights = legendre_gauss_weights(rows, -1, 1)
        self.row_weights = torch.from_numpy(weights / 2)
        # The library's own transforms spend most of their time on copies; as one batched product they take a fifth.
        legendre = InverseRealSHT(*shape, **size).pct
        slopes = InverseRealVectorSHT(*shape, **size).dpct
        both = torch.cat([slopes[0], slopes[1]], dim=-1)
        twice = torch.from_numpy(np.tile(weights, 2))
        self._from_scalar, self._from_vector = legendre.contiguous(), both.contiguous()
        self._to_scalar = (legendre * self.row_weights * 2).transpose(1, 2).contiguous()
        self._to_vector = (both * twice).unflatten(-1, (2, rows)).permute(0, 3, 2, 1).flatten(2).contiguous()
        degree = torch.arange(count, dtype=torch.float64)[:, None]
        self.degree = degree
        self.laplacian = -degree * (degree + 1) / radius**2
        self.inverse_laplacian = torch.where(degree > 0, 1 / self.laplacian, 0.0)

    def to_grid(self, coefficients: Tensor) -> Tensor:
        """Fields ``(..., H, W)`` of coefficients ``(..., L, M)``."""
        return self._inverse_fourier(contract(coefficients, self._from_scalar))

    def to_spectrum(self, fields: Tensor) -> Tensor:
        """Coefficients ``(..., L, M)`` of fields ``(..., H, W)``."""
        return contract(self._fourier(fields), self._to_scalar)

    def curl_and_divergence(self, wind: Tensor) -> Tensor:
        """Coefficients ``(..., 2, L, M)`` of curl and divergence, s-1, of a vector ``(..., 2, H, W)``, m s-1.

        The vector's components point east and north.
        """
        parts = contract(self._fourier(wind), self._to_vector)
        along, across = parts.unflatten(-2, (2, -1)).unbind(-3)
        east, north = 0, 1
        curl = along[..., east, :, :] - 1j * across[..., north, :, :]
        divergence = -1j * across[..., east, :, :] - along[..., north, :, :]
        return torch.stack([curl, divergence], dim=-3) / -self.radius

    def wind(self, curl_and_divergence: Tensor) -> Tensor:
        """The vector ``(..., 2, H, W)`` that has the given curl and divergence ``(..., 2, L, M)``."""
        parts = contract(curl_and_divergence * (self.inverse_laplacian / self.radius), self._from_vector)
        along, across = parts.unflatten(-2, (2, -1)).unbind(-3)
        stream, potential = 0, 1
        east = along[..., stream, :, :] + 1j * across[..., potential, :, :]
        north = 1j * across[..., stream, :, :] - along[..., potential, :, :]
        return self._inverse_fourier(torch.stack([east, north], dim=-3))

    def _fourier(self, fields: Tensor) -> Tensor:
        return 2 * torch.pi * torch.fft.rfft(fields, norm="forward")[..., : self.truncation + 1]

    def _inverse_fourier(self, waves: Tensor) -> Tensor:
        return torch.fft.irfft(waves, n=self.shape[1], norm="forward")

    def weighted(self, weight: Tensor) -> Tensor:
        """Matrices per order ``(M, L, L)`` that multiply a field by a function of latitude ``(H,)``; see `contract`."""
        return 2 * torch.pi * (self._from_scalar * weight) @ self._to_scalar

    def power(self, coefficients: Tensor) -> Tensor:
        """Mean square over the sphere by degree, shape ``(..., L)``: its sum is the mean square of the field."""
        square = coefficients.abs() ** 2
        return (2 * square.sum(-1) - square[..., 0]) / (4 * torch.pi)


def contract(x: Tensor, matrices: Tensor) -> Tensor:
    """``out[..., j, m] = sum_i x[..., i, m] matrices[m, i, j]`` for complex `x`, real `matrices`."""
    orders, inner, outer = matrices.shape
    flat = torch.view_as_real(x).reshape(-1, inner, orders, 2).permute(2, 0, 3, 1).reshape(orders, -1, inner)
    out = torch.bmm(flat, matrices).reshape(orders, -1, 2, outer).permute(1, 3, 0, 2).contiguous()
    return torch.view_as_complex(out).reshape(*x.shape[:-2], outer, orders)


@dataclass(eq=False)
class Dynamics:
    r"""The shallow-water equations in vorticity, divergence and geopotential.

    .. math::
        \partial_t \zeta &= -\nabla\cdot\left((\zeta + f)\,\mathbf u\right) + F_\zeta \\
        \partial_t \delta &= \mathbf k\cdot\nabla\times\left((\zeta + f)\,\mathbf u\right)
            - \nabla^2\left(\tfrac12|\mathbf u|^2 + \Phi\right) + F_\delta \\
        \partial_t \Phi &= -\nabla\cdot\left(\Phi\,\mathbf u\right) + F_\Phi

    A state is ``(M, 3, L, M')`` complex: :math:`\zeta`, :math:`\delta` (s-1) and :math:`\Phi - \bar\Phi` (m2 s-2).
    Gravity waves, the terms :math:`-\nabla^2\Phi` and :math:`-\bar\Phi\,\delta`, are implicit, all else explicit
    (Whitaker and Kar 2013); hyperdiffusion is exact, after each step.

    Args:
        harmonics: transforms.
        mean_geopotential: :math:`\bar\Phi`, m2 s-2.
        rotation: of the sphere, s-1.
        diffusion_time: after which the smallest resolved scale has lost all but 1/e to hyperdiffusion, s;
            ``inf`` for none.
        diffusion_order: power of the Laplacian.
        drag_length: of quadratic drag, :math:`-|\mathbf u|\,\mathbf u / l`, m; ``inf`` for none.

    Reference: Williamson et al. (1992), doi 10.1016/S0021-9991(05)80016-6; Whitaker and Kar (2013),
    doi 10.1175/MWR-D-13-00132.1.
    """

    harmonics: Harmonics
    mean_geopotential: float
    rotation: float
    diffusion_time: float
    diffusion_order: int = 4
    drag_length: float = math.inf

    def __post_init__(self) -> None:
        rows, columns = self.harmonics.shape
        sine = torch.from_numpy(np.sin(np.deg2rad(gaussian_latitudes(rows))))
        self.coriolis = (2 * self.rotation * sine)[:, None]
        ratio = self.harmonics.laplacian / self.harmonics.laplacian[-1]
        self._diffusion = ratio**self.diffusion_order / self.diffusion_time

    def tendency(self, state: Tensor) -> Tensor:
        """The explicit part: everything but the linear terms of gravity waves."""
        h = self.harmonics
        wind = h.wind(state[:, :2])
        curl, depth = h.to_grid(state[:, 0::2]).unbind(1)
        turning = (curl + self.coriolis)[:, None] * wind
        if math.isfinite(self.drag_length):
            # Minus its divergence is the curl of the drag, its curl the divergence of the drag.
            slowing = wind.square().sum(1, keepdim=True).sqrt() / self.drag_length
            turning = turning + slowing * torch.stack([wind[:, 1], -wind[:, 0]], dim=1)
        fluxes = torch.stack([turning, depth[:, None] * wind], dim=1)
        turned = h.curl_and_divergence(fluxes)
        kinetic = h.to_spectrum(0.5 * (wind**2).sum(1))
        absolute, mass = turned[:, 0], turned[:, 1]
        return torch.stack(
            [-absolute[:, 1], absolute[:, 0] - h.laplacian * kinetic, -mass[:, 1]],
            dim=1,
        )

    def _waves(self, state: Tensor) -> Tensor:
        still = torch.zeros_like(state[:, 0])
        return torch.stack(
            [still, -self.harmonics.laplacian * state[:, 2], -self.mean_geopotential * state[:, 1]], dim=1
        )

    def _solve_waves(self, state: Tensor, dt: float) -> Tensor:
        """``(1 - dt W)^-1 state`` with the linear operator W of the gravity waves."""
        lap = self.harmonics.laplacian
        divergence = (state[:, 1] - dt * lap * state[:, 2]) / (1 - dt**2 * self.mean_geopotential * lap)
        return torch.stack(
            [state[:, 0], divergence, state[:, 2] - dt * self.mean_geopotential * divergence], dim=1
        )

    def step(self, state: Tensor, dt: float, forcing: Forcing | None = None) -> Tensor:
        """The state `dt` seconds later.

        Args:
            state: ``(M, 3, L, M')``.
            dt: seconds.
            forcing: tendency to add, of the state, per second.
        """
        value = state
        explicit: list[Tensor] = []
        implicit: list[Tensor] = []
        for outer, inner in zip(_EXPLICIT, _IMPLICIT, strict=True):
            tendency = self.tendency(value)
            explicit.append(tendency if forcing is None else tendency + forcing(value))
            implicit.append(self._waves(value))
            total = state.clone()
            for weight, part in zip(outer, explicit, strict=True):
                total += dt * weight * part
            for weight, part in zip(inner, implicit, strict=False):
                if weight:
                    total += dt * weight * part
            value = self._solve_waves(total, dt * inner[-1])
        return value * torch.exp(-dt * self._diffusion)

    def balanced(self, state: Tensor) -> Tensor:
        """The state with the geopotential that makes its divergence stand still; its vorticity as it was.

        For zonal flow this is gradient-wind balance, and exact.
        """
        h = self.harmonics
        rotational = torch.stack(
            [state[:, 0], torch.zeros_like(state[:, 1]), torch.zeros_like(state[:, 2])], 1
        )
        rotational[:, 2] = h.inverse_laplacian * self.tendency(rotational)[:, 1]
        return rotational

    def energy(self, state: Tensor) -> Tensor:
        r"""Mean energy, :math:`\tfrac12(\Phi|\mathbf u|^2 + \Phi^2)`, m4 s-4, over gravity and density; ``(M,)``."""
        h = self.harmonics
        wind = h.wind(state[:, :2])
        depth = h.to_grid(state[:, 2]) + self.mean_geopotential
        density = 0.5 * (depth * (wind**2).sum(1) + depth**2)
        return (density.mean(-1) * h.row_weights).sum(-1)
