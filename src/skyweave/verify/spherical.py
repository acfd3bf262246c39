"""Power of global fields by degree of the spherical harmonics: of scalars, and kinetic energy of winds."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid

__all__ = ["kinetic_energy_spectrum", "largest_degree", "spherical_spectrum"]

Floats = NDArray[np.float64]


def spherical_spectrum(fields: Tensor, grid: Grid, *, degrees: int | None = None) -> Tensor:
    r"""Mean square of a global field by total wavenumber.

    .. math:: f = \sum_{n=0}^{N} \sum_{m=-n}^{n} f_n^m Y_n^m, \qquad
              S_n = \sum_m |f_n^m|^2, \qquad \sum_n S_n = \overline{f^2},

    with harmonics whose mean square over the sphere is one. The coefficients of each order are those of the
    area-weighted least-squares fit over the rows, so that a field of degrees up to `N` is resolved exactly on any
    rows that reach the poles, where a quadrature formula would stop at half as many.

    Args:
        fields: ``(..., H, W)``.
        grid: global, evenly spaced in longitude; latitudes of any kind (with or without poles, Gaussian).
        degrees: ``N``; the largest that the grid resolves by default, see `largest_degree`.

    Returns:
        ``(..., N + 1)`` float64, squared units of the field.

    Raises:
        SkyweaveError: the grid is not global, or does not resolve so many degrees.
    """
    n = _checked(grid, degrees, fields)
    waves = _waves(fields, grid, n)
    return _by_degree(_fitted(_scalar_fit(tuple(grid.lat), n), waves).abs() ** 2)


def kinetic_energy_spectrum(
    u: Tensor, v: Tensor, grid: Grid, *, degrees: int | None = None, parts: bool = False
) -> Tensor:
    r"""Kinetic energy of a global wind by total wavenumber.

    .. math:: \mathbf u = \mathbf k \times \nabla \psi + \nabla \chi, \qquad
              E_n = \frac{n(n + 1)}{2 R^2} \sum_m \left(|\psi_n^m|^2 + |\chi_n^m|^2\right), \qquad
              \sum_n E_n = \tfrac12 \overline{u^2 + v^2}.

    The wind is fitted by vector harmonics, since its components jump at the poles and are no scalars.

    Args:
        u: eastward, ``(..., H, W)``, m s-1.
        v: northward, of the same shape.
        grid, degrees: as in `spherical_spectrum`.
        parts: the energy of rotational and divergent wind apart.

    Returns:
        ``(..., N + 1)`` float64, m2 s-2; with `parts` ``(..., 2, N + 1)``, rotational first.

    Raises:
        SkyweaveError: as `spherical_spectrum`.

    Reference: Lambert (1984), doi 10.1080/07055900.1984.9649193, Eq. 4.
    """
    n = _checked(grid, degrees, u)
    _checked(grid, degrees, v)
    south, east = -_waves(v, grid, n), _waves(u, grid, n)
    plus, minus = _vector_fit(tuple(grid.lat), n)
    # Of spin one: (south -+ i east) belong to (d/dtheta +- m / sin theta) P.
    first, second = _fitted(plus, south - 1j * east), _fitted(minus, south + 1j * east)
    divergent, rotational = ((first + second) / 2).abs() ** 2, ((first - second) / 2).abs() ** 2
    energy = torch.stack([_by_degree(rotational), _by_degree(divergent)], dim=-2) / 2
    return energy if parts else energy.sum(-2)


def largest_degree(grid: Grid) -> int:
    """Greatest degree that a global grid resolves: one less than its rows, and below half of its columns."""
    H, W = grid.shape
    # A row on a pole knows of order zero alone.
    poles = int((np.abs(grid.lat) > 90 - 1e-6).sum())
    return min(H - 1 - max(0, poles - 1), (W - 1) // 2)


def _checked(grid: Grid, degrees: int | None, fields: Tensor) -> int:
    if tuple(fields.shape[-2:]) != grid.shape:
        raise SkyweaveError(
            f"fields of shape {tuple(fields.shape)} do not lie on a grid of {grid.shape[0]} x {grid.shape[1]}"
        )
    steps = np.abs(np.diff(grid.lon_unwrapped))
    gaps = 90 - np.array([grid.lat.max(), -grid.lat.min()])
    if not grid.periodic or gaps.max() > 1.01 * grid.resolution[0] or np.ptp(steps) > 1e-3 * steps.mean():
        raise SkyweaveError(
            f"a spectrum on the sphere needs a global grid, evenly spaced in longitude; this is {grid.describe()}. "
            "For a region use skyweave.verify.rapsd"
        )
    most = largest_degree(grid)
    if degrees is not None and not 0 <= degrees <= most:
        raise SkyweaveError(f"degrees = {degrees}: a grid of {grid.describe()} resolves degrees 0 to {most}")
    return most if degrees is None else degrees


def _waves(fields: Tensor, grid: Grid, n: int) -> Tensor:
    """Complex amplitudes of zonal wavenumbers, ``(..., H, n + 1)``, eastwards."""
    x = fields.double()
    if grid.lon_unwrapped[-1] < grid.lon_unwrapped[0]:
        x = x.flip(-1)
    return torch.fft.rfft(x, norm="forward")[..., : n + 1]


def _fitted(fit: Tensor, waves: Tensor) -> Tensor:
    """Coefficients ``(..., n, m)`` of rows of waves ``(..., H, m)``."""
    parts = torch.einsum("mnh,...hmc->...nmc", fit, torch.view_as_real(waves))
    return torch.view_as_complex(parts.contiguous())


def _by_degree(square: Tensor) -> Tensor:
    """Sum over all orders, of which the negative ones mirror the positive ones, ``(..., n, m)`` to ``(..., n)``."""
    return 2 * square.sum(-1) - square[..., 0]


@lru_cache(maxsize=2)
def _scalar_fit(lat: tuple[float, ...], n: int) -> Tensor:
    """Matrices ``(m, n, H)`` from the rows to the coefficients of each order."""
    P = _legendre(np.array(lat), n)[: n + 1, : n + 1]
    return _fit(P, np.array(lat))


@lru_cache(maxsize=2)
def _vector_fit(lat: tuple[float, ...], n: int) -> tuple[Tensor, Tensor]:
    """The same for the two combinations of the components of a vector."""
    P = _legendre(np.array(lat), n)
    # Order -1 is order 1 with the other sign.
    below = np.concatenate([-P[1:2], P[:n]])
    above = P[1 : n + 2]
    m, d = np.arange(n + 1.0)[:, None, None], np.arange(n + 1.0)[None, :, None]
    valid = m <= d

    def root(product: Floats) -> Floats:
        return np.sqrt(np.where(valid, np.maximum(product, 0.0), 0.0))

    slope = 0.5 * (
        root((d + m) * (d - m + 1)) * below[:, : n + 1] - root((d - m) * (d + m + 1)) * above[:, : n + 1]
    )
    # m P / sin(theta), finite at the poles, from the degree above.
    turn = 0.5 * np.sqrt((2 * d + 1) / (2 * d + 3)) * (
        root((d - m + 1) * (d - m + 2)) * below[:, 1:] + root((d + m + 1) * (d + m + 2)) * above[:, 1:]
    )  # fmt: skip
    norm = np.sqrt(np.maximum(d * (d + 1), 1.0))
    return _fit((slope + turn) / norm, np.array(lat)), _fit((slope - turn) / norm, np.array(lat))


def _legendre(lat: Floats, n: int) -> Floats:
    """Associated Legendre functions ``(m, n, H)`` up to order and degree n + 1 with a mean square of one."""
    from torch_harmonics.legendre import legpoly

    P: Floats = legpoly(n + 2, n + 2, np.sin(np.deg2rad(lat)), csphase=False)
    return P * np.sqrt(4 * np.pi)


def _fit(basis: Floats, lat: Floats) -> Tensor:
    """Weighted least squares on ``basis (m, n, H)``, by order; functions that vanish have the coefficient zero."""
    order = np.argsort(lat)
    edges = np.concatenate([[-90.0], (lat[order][1:] + lat[order][:-1]) / 2, [90.0]])
    weight = np.empty(lat.size)
    weight[order] = np.diff(np.sin(np.deg2rad(edges))) / 2
    root = np.sqrt(weight)
    out = np.zeros(basis.shape)
    for m in range(len(basis)):
        first = max(m, int(not basis[m, 0].any()))
        out[m, first:] = np.linalg.pinv((root * basis[m, first:]).T) * root
    return torch.from_numpy(out)
