"""The climatology itself as a baseline: what a method that looks at no observation would say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skyweave.baselines.given import Given
from skyweave.diffusion.noise import NoiseStream

__all__ = ["climatological"]


def climatological(given: Given) -> NDArray[np.float32]:
    """The climatological mean, or draws of the Gaussian climatology where more than one member is wanted.

    Raises:
        SkyweaveError: no climatology, or one of another grid.
    """
    known = given.climatology_for("climatology")
    T, members = given.shape[0], given.members
    x = known.mean.expand(members, T, *known.mean.shape)
    if members > 1:
        V = known.covariance(T, periodic=given.grid.periodic)
        noise = NoiseStream(given.seed, range(members), range(T)).around(V.noise_shape[0])
        x = x + V.color(noise.normal(0, V.noise_shape[1:]))
    return given.physical(x)
