"""Local ensemble transform Kalman filter: the data assimilation that cycling with a prior is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from skyweave.cycle.base import Cycle, EnsembleCycler
from skyweave.cycle.transform import Domain, letkf_analysis, transformed
from skyweave.errors import SkyweaveError

__all__ = ["Domain", "LETKFCycler", "LETKFSettings", "letkf_analysis"]


@dataclass(frozen=True)
class LETKFSettings:
    """How the filter is run.

    Args:
        radius: see `letkf_analysis`; km on the sphere.
        inflation, relaxation: see `letkf_analysis`.
        seed: of the model's error.
        chunk: cells computed together.
    """

    radius: float
    inflation: float = 1.0
    relaxation: float = 0.0
    seed: int = 0
    chunk: int = 256


@dataclass(eq=False, kw_only=True)
class LETKFCycler(EnsembleCycler):
    """The filter with a model and observations on the model's grid, cycled as `skyweave.cycle.run.Cycler` is.

    Analyses are made of normalised states, where variables such as humidity are nearer to Gaussian, and kept to the
    bounds of the variables. Correlations between the errors of observations are left out.

    Args:
        domain: places of the model's cells.
        settings: how.
        background: members that stand for the forecast of the first frame of a run begun without members: draws of the
            climate, physical, ``(M, C, h, w)``.
    """

    domain: Domain
    settings: LETKFSettings
    background: Tensor | None = None

    @property
    def seed(self) -> int:
        return self.settings.seed

    def run(
        self, start: Tensor | None = None, first: int = 0, inflation: float | None = None
    ) -> Iterator[Cycle]:
        """Cycles from frame ``first`` on, of members or, without them, of `background`; see `EnsembleCycler.run`.

        Raises:
            SkyweaveError: neither of them is given.
        """
        if start is None and self.background is None:
            raise SkyweaveError("an ensemble filter begins with members: give `start` or `background`")
        return super().run(start, first, inflation)

    def analysis(self, forecast: Tensor | None, k: int, inflation: float = 1.0) -> Tensor:
        """Members after the transform; the forecast, or the background, itself without observations."""
        guess, segment, own = (
            self.background if forecast is None else forecast,
            self.observed.segment(k, k + 1),
            self.settings,
        )
        assert guess is not None
        if not segment.n:
            return guess
        return self.physical(
            transformed(
                self.transform.forward(guess[:, None]),
                segment,
                self.domain,
                own.radius,
                inflation=own.inflation,
                relaxation=own.relaxation,
                chunk=own.chunk,
            )
        )
