"""What every baseline is given: observations of one segment, the state wanted, and what is known beforehand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from skyweave.baselines.climatology import Climatology
from skyweave.baselines.located import Floats, LocatedObservations, locate
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.observe.segment import Observations
from skyweave.state import StateSpec, apply_bounds
from skyweave.transform import StateTransform

__all__ = ["Given"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Given:
    """The first argument of every baseline; its others are options of its own.

    Args:
        observed: observations of one segment, with an operator on states ``(T, C, H, W)``.
        spec: variables of the state, with their bounds.
        grid: of the state, ``H x W``.
        transform: between physical and normalised states, as in the operator; ``None`` where they are the same.
        climatology: of training data on this grid; climatology and optimal interpolation need it, the others take
            its mean for variables that are never observed.
        members: size of the ensemble; deterministic methods always return one member.
        seed: of the ensemble.
    """

    observed: Observations
    spec: StateSpec
    grid: Grid
    transform: StateTransform | None = None
    climatology: Climatology | None = None
    members: int = 1
    seed: int = 0

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape ``(T, C, H, W)`` of the state."""
        return self.observed.operator.shape

    def points(self) -> LocatedObservations:
        """Where the observations lie, see `locate`."""
        return locate(self.observed, self.grid)

    def physical_mean(self) -> Floats | None:
        """The climatological mean ``(C, H, W)`` in physical units, if there is a climatology."""
        return None if self.climatology is None else self.climatology.physical_mean(self.transform)

    def climatology_for(self, method: str) -> Climatology:
        """The climatology, for a method that cannot do without.

        Raises:
            SkyweaveError: there is none, or it is of another grid or other variables.
        """
        known = self.climatology
        if known is None:
            raise SkyweaveError(
                f"{method}: needs a climatology; make one with Climatology.fit(training states)"
            )
        if tuple(known.mean.shape) != tuple(self.shape[1:]):
            raise SkyweaveError(
                f"{method}: the climatology has shape (C, H, W) = {tuple(known.mean.shape)}, the state "
                f"{tuple(self.shape[1:])}; select its region with Climatology.isel"
            )
        return known

    def physical(self, x: Tensor) -> NDArray[np.float32]:
        """Normalised members ``(M, T, C, H, W)`` in physical units, within the bounds of their variables."""
        return self.bounded(x if self.transform is None else self.transform.inverse(x))

    def bounded(self, x: Tensor) -> NDArray[np.float32]:
        """Physical members ``(M, T, C, H, W)`` within the bounds of their variables: what a baseline returns."""
        return apply_bounds(x, self.spec)[0].float().numpy()
