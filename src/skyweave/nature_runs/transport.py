"""Transport on a doubly periodic plane: trajectories, advection, diffusion, each one step at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from skyweave.nature_runs.red_noise import Spectrum, mean_square, wavenumbers

__all__ = ["advect", "departures", "diffuse", "speed", "velocity"]

Floats = NDArray[np.floating]


def velocity(psi: Spectrum, shape: tuple[int, int], cell: tuple[float, float]) -> tuple[Floats, Floats]:
    r"""Northward and eastward wind of a stream function, without divergence.

    .. math:: v = \partial\psi / \partial x, \qquad u = -\partial\psi / \partial y

    Args:
        psi: spectrum (`numpy.fft.rfft2`) of the stream function, m2 s-1.
        shape: ``(H, W)``, rows running northwards.
        cell: spacing of rows and of columns, m.

    Returns:
        ``v, u``, each ``(H, W)``, m s-1: in the order of the array's axes.
    """
    down, across = wavenumbers(shape)
    v = np.fft.irfft2(2j * np.pi * across / cell[1] * psi, shape)
    u = np.fft.irfft2(-2j * np.pi * down / cell[0] * psi, shape)
    return v, u


def speed(amplitude: Floats, shape: tuple[int, int], cell: tuple[float, float]) -> float:
    """Expected root mean square speed, m s-1, of a stream function with these amplitudes of its modes."""
    down, across = wavenumbers(shape)
    gradient = 2 * np.pi * np.hypot(down / cell[0], across / cell[1])
    return float(np.sqrt(mean_square(amplitude * gradient, shape)))


def departures(v: Floats, u: Floats, cell: tuple[float, float], seconds: float) -> Floats:
    r"""Where the air that arrives at each cell came from, by the midpoint rule.

    .. math:: \mathbf x_d = \mathbf x - \Delta t\,\mathbf u\!\left(\mathbf x - \tfrac{\Delta t}{2}
              \mathbf u(\mathbf x)\right)

    Args:
        v, u: northward and eastward wind in the middle of the step, ``(H, W)``, m s-1.
        cell: spacing of rows and of columns, m.
        seconds: length of the step.

    Returns:
        Fractional indices, ``(2, H, W)``.
    """
    shift = np.stack([v * seconds / cell[0], u * seconds / cell[1]])
    here = np.indices(v.shape, dtype=np.float64)
    halfway = here - shift / 2
    return here - np.stack([map_coordinates(part, halfway, order=1, mode="grid-wrap") for part in shift])


def advect(field: Floats, departure: Floats, *, tracer: bool = True) -> Floats:
    """The field that was at the departure points, by cubic splines.

    Splines swing beyond the values they pass through beside steep plumes. Those of a tracer are held within the
    range of the four cells around the departure point, which keeps it positive and free of ripples, and the
    whole is scaled back to its total, which a flow without divergence keeps.

    Args:
        field: ``(H, W)``.
        departure: of `departures`.
        tracer: the field is a mass, not a signed anomaly.

    Reference: the limiter is that of Bermejo and Staniforth (1992),
    doi 10.1175/1520-0493(1992)120<2622:TCOSLA>2.0.CO;2.
    """
    moved = map_coordinates(field, departure, order=3, mode="grid-wrap")
    if not tracer:
        return moved
    (height, width), corner = field.shape, np.floor(departure).astype(np.int64)
    i, j = corner[0] % height, corner[1] % width
    below, beside = (i + 1) % height, (j + 1) % width
    around = np.stack([field[i, j], field[below, j], field[i, beside], field[below, beside]])
    moved = np.clip(moved, around.min(axis=0), around.max(axis=0))
    total = moved.sum()
    return moved * (field.sum() / total) if total > 0 else moved


def diffuse(field: Floats, spread: float, cell: tuple[float, float]) -> Floats:
    r"""The exact solution of the heat equation on the cells, with the five-point Laplacian.

    .. math:: \hat c \leftarrow \hat c \exp\left(-4 K \Delta t \left[\frac{\sin^2 \pi f_y}{\Delta y^2}
              + \frac{\sin^2 \pi f_x}{\Delta x^2}\right]\right)

    Unlike that of the Laplacian in continuous space, this propagator is positive for any step, and still
    widens a plume's variance by exactly :math:`2 K \Delta t` along each axis.

    Args:
        field: ``(H, W)``.
        spread: diffusivity times the step, m2.
        cell: spacing of rows and of columns, m.
    """
    down, across = wavenumbers((field.shape[0], field.shape[1]))
    rate = (np.sin(np.pi * down) / cell[0]) ** 2 + (np.sin(np.pi * across) / cell[1]) ** 2
    smooth = np.fft.irfft2(np.exp(-4 * spread * rate) * np.fft.rfft2(field), field.shape)
    # What is below zero is rounding, and a logarithm may come later.
    return smooth if field.min() < 0 else np.maximum(smooth, 0.0)
