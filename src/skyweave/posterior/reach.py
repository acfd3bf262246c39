"""How far an observation reaches: cells within the correlation length of a prior."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt

from skyweave.covariance.stationary import StationaryCovariance

__all__ = ["correlation_length", "within"]


def correlation_length(V: StationaryCovariance, channel: int) -> float:
    """Cells at which the correlation of a variable falls to 1/e, mean of both axes."""
    kernel = V.kernel[channel, channel]
    lengths = []
    for line in (kernel[: V.padded[0] // 2, 0], kernel[0, : V.padded[1] // 2]):
        below = torch.nonzero(line < line[0] / math.e)
        lengths.append(float(below[0]) if len(below) else float(len(line)))
    return float(np.mean(lengths))


def within(touched: np.ndarray, reach: float, periodic: bool) -> np.ndarray:
    """Cells within ``reach`` cells of a true one; across the edge of periodic longitudes."""
    if not touched.any():
        return touched
    width = touched.shape[1]
    pad = min(width, int(np.ceil(reach))) if periodic else 0
    padded = (
        np.concatenate([touched[:, width - pad :], touched, touched[:, :pad]], axis=1) if pad else touched
    )
    near = distance_transform_edt(~padded) <= reach
    return near[:, pad : pad + width]
