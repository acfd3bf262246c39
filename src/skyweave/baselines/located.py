"""Where each observation lies: what methods need that know points and values but no operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyweave.grid import Grid
from skyweave.observe.segment import Observations

__all__ = ["Floats", "LocatedObservations", "locate"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LocatedObservations:
    """Observations as points; all arrays have shape ``(n,)``.

    Args:
        lat: degrees north.
        lon: degrees east.
        frame: index along the time axis of the state.
        channel: index of the variable.
        value: physical units.
        variance: of its error, physical units squared.
    """

    lat: Floats
    lon: Floats
    frame: NDArray[np.int64]
    channel: NDArray[np.int64]
    value: Floats
    variance: Floats

    def where(self, rows: NDArray[Any]) -> LocatedObservations:
        """The observations of a boolean mask or of indices."""
        return LocatedObservations(
            *(getattr(self, name)[rows] for name in ("lat", "lon", "frame", "channel", "value", "variance"))
        )


def locate(observed: Observations, grid: Grid) -> LocatedObservations:
    r"""The position of each observation: the centroid of its row of the operator.

    .. math:: \phi = \frac{\sum_c w_c \phi_c}{\sum_c w_c}, \qquad v = \frac{y}{\sum_c w_c}

    and likewise for longitude, as a difference from that of the heaviest cell so that it may wrap. Frame and
    channel are those of the heaviest cell. The centroid of the bicubic weights used for stations lies within
    0.05 cells of the station, other operators' where they should.

    Args:
        observed: operator on ``(T, C, H, W)``, values and errors.
        grid: of the state, ``H x W``.
    """
    matrix = observed.operator.matrix.tocsr()
    n = matrix.shape[0]
    _, C, H, W = observed.operator.shape
    lengths = np.diff(matrix.indptr)
    row, cell, weight = np.repeat(np.arange(n), lengths), matrix.indices.astype(np.int64), matrix.data
    order = np.lexsort((np.abs(weight), row))  # the heaviest cell of each row comes last
    heaviest = cell[order][np.cumsum(lengths) - 1]
    total = np.bincount(row, weight, n)

    def centroid(values: Floats) -> Floats:
        return np.bincount(row, weight * values, n) / total

    reference = grid.lon[heaviest % W]
    east = (grid.lon[cell % W] - reference[row] + 180.0) % 360.0 - 180.0
    return LocatedObservations(
        np.clip(centroid(grid.lat[cell // W % H]), -90.0, 90.0),
        reference + centroid(east),
        heaviest // (C * H * W),
        heaviest // (H * W) % C,
        np.asarray(observed.y, dtype=np.float64) / total,
        np.asarray(observed.R.diagonal, dtype=np.float64) / total**2,
    )
