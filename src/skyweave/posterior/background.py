"""A learnt prior on one grid, with the error covariance that was stored with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from skyweave.covariance.by_noise_level import ErrorCovarianceModel
from skyweave.covariance.stationary import StationaryCovariance
from skyweave.diffusion.denoiser import Denoiser
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.prior.storage import LearntPrior

__all__ = ["Background", "bind", "error_covariance"]


@dataclass(eq=False)
class Background:
    """A denoiser that knows the covariance of its errors: what guidance methods take as prior."""

    denoiser: Denoiser
    kernel: Callable[[float], StationaryCovariance]
    shape: tuple[int, int, int, int]

    def __call__(self, x_sigma: Tensor, sigma: Tensor) -> Tensor:
        return self.denoiser(x_sigma, sigma)

    def covariance(
        self, sigma: float, x_hat: Tensor | None = None, x_sigma: Tensor | None = None
    ) -> StationaryCovariance:
        """Covariance of the state given its noisy version at that noise level."""
        return self.kernel(sigma)


def bind(
    prior: LearntPrior,
    grid: Grid,
    times: np.ndarray | Sequence[object] | None,
    frames: int = 1,
    *,
    tile: tuple[int, int] | None = None,
    stride: int = 1,
    autocast: bool = False,
    device: str = "cpu",
) -> Background:
    """Put a learnt prior on a grid, at times, for segments of so many frames.

    Raises:
        SkyweaveError: the prior has no error covariance, or does not fit the grid.
    """
    model = error_covariance(prior)
    shape = (frames, len(prior.spec.variables), *grid.shape)
    denoiser = prior.denoiser(grid, times, tile=tile, stride=stride, autocast=autocast, device=device)
    return Background(denoiser, model.on(shape, periodic=grid.periodic, device=device), shape)


def error_covariance(prior: LearntPrior) -> ErrorCovarianceModel:
    """The error covariance stored with a prior.

    Raises:
        SkyweaveError: there is none.
    """
    model = ErrorCovarianceModel.from_tensors(prior.attachments, len(prior.spec.variables))
    if model is None:
        raise SkyweaveError(
            "this prior has no error covariance yet; run `skyweave calibrate CONFIG`, which estimates it from "
            "validation data"
        )
    return model
