"""The error that a model adds in one step, as a covariance on its grid."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from skyweave.covariance.stationary import StationaryCovariance
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.observe.errors import EARTH_RADIUS_KM, ErrorModel, correlation
from skyweave.state import StateSpec
from skyweave.transform import StateTransform

__all__ = ["model_error_covariance"]


def model_error_covariance(
    errors: Mapping[str, ErrorModel],
    spec: StateSpec,
    transform: StateTransform,
    grid: Grid,
    padded: tuple[int, int],
) -> StationaryCovariance:
    r"""Independent errors of each variable, ``sigma_c^2 rho(d / L_c)``, in normalised units.

    Distances are those at the middle latitude of the grid; a variable without a length has errors of its own in every
    cell. Where the transform is not linear its slope at the mean of the climate is used.

    Args:
        errors: by variable; `absolute` in the variable's units, `correlation_length_km`, `correlation`.
        spec, transform: of the prior.
        grid: of the model.
        padded: the torus of its covariance.

    Raises:
        SkyweaveError: a variable without an error, or one the state does not have.
    """
    missing = [name for name in spec.names if name not in errors]
    unknown = [name for name in errors if name not in spec.names]
    if missing or unknown:
        found = f"none for {', '.join(missing)}" if missing else f"one for {', '.join(unknown)}"
        raise SkyweaveError(f"model error: {found}; give one for each of {', '.join(spec.names)}")
    middle = np.radians(float(np.mean(grid.lat)))
    steps = [np.radians(r) * EARTH_RADIUS_KM for r in grid.resolution]
    lags = [np.minimum(np.arange(n), n - np.arange(n)) for n in padded]
    distance = np.hypot(lags[0][:, None] * steps[0], lags[1][None] * steps[1] * np.cos(middle))
    channels = len(spec.names)
    slope = transform.derivative(torch.zeros(1, 1, channels, 1, 1)).reshape(-1)
    kernel = torch.zeros(channels, channels, 1, *padded, dtype=torch.float64)
    for c, name in enumerate(spec.names):
        model = errors[name]
        length = model.correlation_length_km
        shape = (
            (distance == 0).astype(float)
            if length is None
            else correlation(distance, length, model.correlation)
        )
        variance = (model.absolute**2 + model.representativeness**2) / float(slope[c]) ** 2
        kernel[c, c, 0] = torch.from_numpy(variance * shape)
    return StationaryCovariance.of(kernel, (1, channels, *grid.shape))
