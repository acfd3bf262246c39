"""What a prior says of a model's grid before anything is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import scipy.sparse as sp
import torch
from scipy.fft import next_fast_len
from torch import Tensor

from skyweave.covariance.stationary import StationaryCovariance
from skyweave.cycle.forecast import aggregated
from skyweave.diffusion.noise import NoiseStream
from skyweave.observe.operator import to_torch_csr
from skyweave.posterior.background import Background

__all__ = ["Climate", "torus_size"]

CLIMATE = 1_000_002
"""A stream of noise beside those of the posterior's sampler, which counts its steps from zero."""
FAR = 80.0
"""Noise level at which the prior says nothing but the mean of its climate."""


@dataclass(eq=False, kw_only=True)
class Climate:
    """The prior's own mean and covariance on a model's grid. Statistics are kept on the CPU.

    Args:
        prior: on the analysis grid at the time of a frame, with states ``(1, C, H, W)``.
        down: weights ``(h * w, H * W)`` to the model's grid; ``None`` where it is that of the prior.
        coarse: ``(h, w)``, with ``down``.
        periodic: whether latitudes and longitudes are circles.

    Raises:
        ValueError: a prior without a stationary covariance.
    """

    prior: Callable[[int], Background]
    down: sp.csr_array | None = None
    coarse: tuple[int, int] | None = None
    periodic: tuple[bool, bool] = (False, False)

    def __post_init__(self) -> None:
        V = self.prior(0).covariance(float("inf"))
        if not isinstance(V, StationaryCovariance):
            raise ValueError("cycling needs a prior of single frames with a stationary covariance")
        shape = V.shape[2:] if self.coarse is None else self.coarse
        self.device, V = V.spectrum.device, V.to("cpu")
        self.padded = V.padded if self.down is None else torus_size(shape, self.periodic)
        self.covariance = aggregated(V, self.down, (shape[0], shape[1]), self.padded)
        self._matrix = None if self.down is None else to_torch_csr(self.down)

    def mean(self, k: int, seed: int = 0) -> Tensor:
        """What the prior expects at frame ``k`` where nothing is known, normalised, ``(C, h, w)``."""
        prior = self.prior(k)
        x = FAR * NoiseStream(seed, range(4), [0], self.device).normal(CLIMATE, prior.shape[1:])
        with torch.no_grad():
            mean = prior(x, x.new_tensor(FAR)).mean(0)[0]
        return self.aggregate(mean.cpu())

    def aggregate(self, fields: Tensor) -> Tensor:
        """Fields ``(..., H, W)`` on the model's grid."""
        if self._matrix is None or self.coarse is None:
            return fields
        flat = fields.reshape(-1, fields.shape[-2] * fields.shape[-1])
        return (self._matrix @ flat.T).T.reshape(*fields.shape[:-2], *self.coarse)


def torus_size(shape: tuple[int, ...], periodic: tuple[bool, bool]) -> tuple[int, int]:
    """Size of a torus that holds a domain ``(H, W)`` and all of its lags; that of a circle itself."""
    lat, lon = (
        n if circle else next_fast_len(2 * n, True) for n, circle in zip(shape, periodic, strict=True)
    )
    return lat, lon
