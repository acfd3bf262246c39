"""Local ensemble transform Kalman filter: the data assimilation that cycling with a prior is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from skyweave.covariance.stationary import StationaryCovariance
from skyweave.cycle.run import MODEL_ERROR, Cycle, Model
from skyweave.cycle.transform import Domain, letkf_analysis
from skyweave.diffusion.noise import NoiseStream
from skyweave.errors import SkyweaveError
from skyweave.observe.assemble import ObservationSet, SegmentObservations
from skyweave.reconstruction.output import to_physical
from skyweave.state import StateSpec
from skyweave.transform import StateTransform

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


@dataclass(eq=False)
class LETKFCycler:
    """The filter with a model and observations, cycled as `skyweave.cycle.run.Cycler` is.

    Analyses are made of normalised states, where variables such as humidity are nearer to Gaussian, and kept to the
    bounds of the variables. Correlations between the errors of observations are left out.

    Args:
        spec, transform: of the state.
        model: the forecaster.
        observed: all observations, one frame per cycle, on the model's grid.
        identities: a number for each time, which its noise depends on.
        times: handed to the model; as many as frames.
        domain: places of the model's cells.
        settings: how.
        background: members that stand for the forecast of the first frame of a run begun without members: draws of the
            climate, physical, ``(M, C, h, w)``.
        model_error: error of one step of the model in normalised units; ``None`` for a perfect model.
    """

    spec: StateSpec
    transform: StateTransform
    model: Model
    observed: ObservationSet
    identities: list[int]
    times: np.ndarray
    domain: Domain
    settings: LETKFSettings
    background: Tensor | None = None
    model_error: StationaryCovariance | None = None

    def run(self, start: Tensor | None = None, first: int = 0) -> Iterator[Cycle]:
        """Cycles from frame ``first`` on.

        Args:
            start: members of the analysis before it, physical, ``(M, C, h, w)``; ``None`` to begin with `background`.

        Raises:
            SkyweaveError: neither of them is given.
        """
        if start is None and self.background is None:
            raise SkyweaveError("an ensemble filter begins with members: give `start` or `background`")
        members = start
        for k in range(first, len(self.identities)):
            forecast = None if members is None else self.forecast(members, k)
            segment = self.observed.segment(k, k + 1)
            guess = self.background if forecast is None else forecast
            assert guess is not None
            x = self.transform.forward(guess[:, None])
            predicted = segment.operator(x)
            members = self._analysis(guess, x, predicted, segment)
            found = {} if forecast is None or not segment.n else self._innovation(predicted, segment)
            yield Cycle(k, forecast, members, found)

    def forecast(self, analysis: Tensor, k: int) -> Tensor:
        """Members one step on, at frame ``k``, with the noise that `Cycler` would add; physical."""
        stepped = self.model.step(analysis, self.times[k - 1] if k else None)
        if self.model_error is None:
            return stepped
        noise = NoiseStream(self.settings.seed, range(len(stepped)), [self.identities[k]])
        error = self.model_error.color(noise.normal(MODEL_ERROR, self.model_error.noise_shape[1:]))
        return to_physical(self.transform.forward(stepped[:, None]) + error, self.transform, self.spec)[0][
            :, 0
        ]

    def _analysis(self, guess: Tensor, x: Tensor, predicted: Tensor, segment: SegmentObservations) -> Tensor:
        if not segment.n:
            return guess
        settings = self.settings
        analysis = letkf_analysis(
            x[:, 0],
            predicted,
            segment.y,
            segment.R.diagonal,
            self.domain,
            self.domain.positions(segment.operator),
            settings.radius,
            inflation=settings.inflation,
            relaxation=settings.relaxation,
            chunk=settings.chunk,
        )
        return to_physical(analysis[:, None], self.transform, self.spec)[0][:, 0]

    def _innovation(self, predicted: Tensor, segment: SegmentObservations) -> dict[str, tuple[float, float]]:
        expected = (predicted.var(0) + segment.R.diagonal).sqrt()
        scaled = ((segment.y - predicted.mean(0)) / expected).double().numpy()
        groups = {s.name: scaled[segment.source == i] for i, s in enumerate(self.observed.sources)}
        return {
            name: (float(d.mean()), float(np.sqrt(np.mean(d**2)))) for name, d in groups.items() if len(d)
        }
