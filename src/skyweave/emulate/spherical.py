"""Spherical harmonic transforms of network activations, on any global latitude-longitude grid."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid

__all__ = ["SphericalTransform", "is_global", "legendre"]

Floats = NDArray[np.float64]

MOST_FUNCTIONS = 2**30
"""Values of the harmonics on the rows of a grid, 8 GB: those of 1,400 rows."""


def is_global(grid: Grid) -> bool:
    """Whether a grid goes round the globe, at equal steps, and from pole to pole but for a cell or so."""
    dlat, dlon = grid.resolution
    steps = np.abs(np.diff(grid.lon_unwrapped))
    even = (
        grid.lon.size > 3
        and np.allclose(steps, dlon, rtol=1e-3)
        and abs(dlon * grid.lon.size - 360) < 0.01 * dlon
    )
    return bool(grid.periodic and even and np.abs(grid.lat[[0, -1]]).min() > 90 - 1.5 * dlat)


def legendre(lat: Floats, degrees: int, orders: int) -> Floats:
    r"""Associated Legendre functions of unit norm on the sphere, without the phase of the longitude.

    .. math:: \bar P_l^m(\sin\phi), \qquad 2\pi\int (\bar P_l^m)^2 \cos\phi\,d\phi = 1

    by the recursion in `l` that is stable upwards.

    Args:
        lat: degrees north, ``(H,)``.
        degrees: ``L``; degrees ``0 .. L - 1``.
        orders: ``M``.

    Returns:
        ``(M, L, H)``, zero where the order exceeds the degree.

    Reference: Holmes and Featherstone (2002), doi 10.1007/s00190-002-0216-2, Eq. 11 and 13.
    """
    sine, cosine = np.sin(np.deg2rad(lat)), np.cos(np.deg2rad(lat))
    out = np.zeros((orders, degrees, len(lat)))
    diagonal = np.full(len(lat), np.sqrt(1 / (4 * np.pi)))
    for m in range(min(orders, degrees)):
        if m:
            diagonal = -np.sqrt((2 * m + 1) / (2 * m)) * cosine * diagonal
        out[m, m] = diagonal
        if m + 1 < degrees:
            out[m, m + 1] = np.sqrt(2 * m + 3) * sine * diagonal
        for l in range(m + 2, degrees):
            a = np.sqrt((4 * l**2 - 1) / (l**2 - m**2))
            b = np.sqrt(((l - 1) ** 2 - m**2) / (4 * (l - 1) ** 2 - 1))
            out[m, l] = a * (sine * out[m, l - 1] - b * out[m, l - 2])
    return out


class SphericalTransform(nn.Module):
    """Fields ``(..., H, W)`` to coefficients ``(M, ..., 2, L)`` (real and imaginary part apart), and back.

    The analysis is the area-weighted least-squares fit of the harmonics, which on a Gaussian grid is exact
    quadrature; it and the synthesis are one batched product each.

    Args:
        grid: global, of any latitudes.
        degrees: ``L``, at most two thirds of the rows by default; ``M = L``, if there are columns enough.

    Raises:
        SkyweaveError: the grid is not global, has too few rows for so many degrees, or is too large.
    """

    synthesis: Tensor
    analysis: Tensor

    def __init__(self, grid: Grid, degrees: int | None = None) -> None:
        super().__init__()
        if not is_global(grid):
            raise SkyweaveError(
                f"spherical harmonics need a global grid of equal longitude steps, this one covers {grid.describe()}; "
                "use the network 'unet' for a region"
            )
        rows, self.columns = grid.shape
        self.degrees = degrees or max(2, 2 * rows // 3 + 1)
        self.orders = min(self.degrees, self.columns // 2)
        if self.degrees > rows:
            raise SkyweaveError(
                f"{self.degrees} degrees of spherical harmonics need as many rows; there are {rows}"
            )
        if rows * self.degrees * self.orders > MOST_FUNCTIONS:
            raise SkyweaveError(
                f"{self.degrees} degrees and {self.orders} orders on {rows} rows are more than memory holds; "
                "choose fewer network.degrees"
            )
        functions = legendre(grid.lat, self.degrees, self.orders)
        weights = _row_weights(grid)
        fitted = np.zeros((self.orders, rows, self.degrees))
        for m in range(self.orders):
            design = functions[m, m:]
            fitted[m, :, m:] = np.linalg.solve((design * weights) @ design.T, design * weights).T
        self.register_buffer("synthesis", torch.from_numpy(functions).float().contiguous(), persistent=False)
        self.register_buffer("analysis", torch.from_numpy(fitted).float().contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Coefficients ``(M, B, 2, L)`` of fields ``(..., H, W)``, leading axes in one."""
        waves = torch.view_as_real(torch.fft.rfft(x.flatten(0, -3), norm="forward")[..., : self.orders])
        rows = waves.shape[1]
        flat = waves.permute(2, 0, 3, 1).reshape(self.orders, -1, rows)
        return torch.bmm(flat, self.analysis).unflatten(1, (-1, 2))

    def inverse(self, coefficients: Tensor) -> Tensor:
        """Fields ``(B, H, W)`` of coefficients ``(M, B, 2, L)``."""
        rows = torch.bmm(coefficients.flatten(1, 2), self.synthesis).unflatten(1, (-1, 2))
        waves = torch.view_as_complex(rows.permute(1, 3, 0, 2).contiguous())
        return torch.fft.irfft(waves, n=self.columns, norm="forward")


def _row_weights(grid: Grid) -> Floats:
    """Weights of the rows: those of Gaussian quadrature where the latitudes are its nodes, else by area."""
    nodes, weights = np.polynomial.legendre.leggauss(len(grid.lat))
    order = np.argsort(grid.lat)
    if np.allclose(np.sin(np.deg2rad(grid.lat[order])), nodes, atol=1e-5):
        out = np.empty_like(weights)
        out[order] = weights
        return out
    return grid.area.mean(1)
