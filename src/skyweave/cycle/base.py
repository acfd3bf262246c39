"""The cycle, whatever makes its analyses: forecast every member one step, let what is observed correct it, repeat."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from skyweave.covariance.stationary import StationaryCovariance
from skyweave.diffusion.noise import NoiseStream
from skyweave.emulate.forecaster import Forecaster
from skyweave.finite import NotFiniteError, check_channels
from skyweave.observe.assemble import ObservationSet
from skyweave.reconstruction.output import to_physical
from skyweave.state import StateSpec
from skyweave.transform import StateTransform

__all__ = ["Cycle", "EnsembleCycler", "adapted"]

MODEL_ERROR = 1_000_001
"""A stream of noise beside those of the posterior's sampler, which counts its steps from zero."""
CHANGE = 0.2
"""How much the inflation may change in a cycle: weather comes and goes, what a model lacks stays."""


@dataclass(frozen=True, eq=False)
class Cycle:
    """One cycle's outcome, physical units.

    Args:
        index: place of its time in the series.
        forecast: members on the model's grid ``(M, C, h, w)``; ``None`` where the series begins without one.
        analysis: members on the prior's grid ``(M, C, H, W)``.
        innovation: mean and standard deviation of ``y - H x_f`` per source, in units of what the forecast's spread
            and the observation's error predict; empty without forecast or observations.
        inflation: factor of the forecast's variance that this analysis took.
    """

    index: int
    forecast: Tensor | None
    analysis: Tensor
    innovation: dict[str, tuple[float, float]]
    inflation: float = 1.0


class Predicted(NamedTuple):
    """Observations as the forecast predicts them, each ``(n,)``: ``y - H x_f`` of the mean, its variance, that of the
    observation's error, and the members' anomalies ``(M, n)``.
    """

    departure: np.ndarray
    spread: np.ndarray
    error: np.ndarray
    anomalies: np.ndarray


@dataclass(eq=False, kw_only=True)
class EnsembleCycler(ABC):
    """A model and observations, ready to cycle; how an analysis is made is a subclass's to say.

    Args:
        spec, transform: of the state.
        model: the forecaster.
        observed: all observations, one frame per cycle.
        identities: a number for each time, which its noise depends on.
        times: handed to the model; as many as frames.
        model_error: error of one step of the model in normalised units on the model's grid; ``None`` for a perfect
            model.
    """

    spec: StateSpec
    transform: StateTransform
    model: Forecaster
    observed: ObservationSet
    identities: list[int]
    times: np.ndarray
    model_error: StationaryCovariance | None = None

    @property
    @abstractmethod
    def seed(self) -> int:
        """Of the model's error."""

    @property
    def first_inflation(self) -> float:
        """Factor of the forecast's variance that the first cycle begins with."""
        return 1.0

    @property
    def adaptive(self) -> bool:
        """Whether the factor follows the innovations."""
        return False

    @abstractmethod
    def analysis(self, forecast: Tensor | None, k: int, inflation: float = 1.0) -> Tensor:
        """Members given those of a forecast and what is observed at frame ``k``, physical, ``(M, C, H, W)``."""

    def run(
        self, start: Tensor | None = None, first: int = 0, inflation: float | None = None
    ) -> Iterator[Cycle]:
        """Cycles from frame ``first`` on.

        Args:
            start: members of the analysis before it, physical, ``(M, C, H, W)``; ``None`` to begin with an analysis of
                the observations alone.
            inflation: that of the cycle before it, where a run is continued.

        Raises:
            NotFiniteError: a forecast or an analysis with NaN or infinite values, with its time.
        """
        members, factor = start, self.first_inflation if inflation is None else inflation
        for k in range(first, len(self.identities)):
            forecast = None if members is None else self.forecast(members, k)
            if forecast is not None:
                check_channels(forecast, self.spec.names, "the forecast", where=f"at {self._moment(k)}")
            seen = None if forecast is None else self.predicted(forecast, k)
            if seen is not None and self.adaptive:
                factor = adapted(factor, seen.departure, seen.anomalies, seen.error)
            # Where nothing is observed the forecast is kept as it is, not inflated once more.
            try:
                members = self.analysis(forecast, k, factor if self.observed.segment(k, k + 1).n else 1.0)
            except NotFiniteError as error:
                raise NotFiniteError(f"analysis at {self._moment(k)}: {error}") from None
            yield Cycle(
                k, forecast, members, {} if seen is None else self._innovation(k, factor, seen), factor
            )

    def _moment(self, k: int) -> str:
        return f"{self.times[k]!s:.19}" if k < len(self.times) else f"frame {k}"

    def brought_down(self, analysis: Tensor) -> Tensor:
        """Members of an analysis on the model's grid."""
        return analysis

    def forecast(self, analysis: Tensor, k: int) -> Tensor:
        """Members one step on, at frame ``k``, with the model's own error added; physical, on the model's grid."""
        begin = self.times[k - 1] if k else None
        stepped = self.model.step(self.brought_down(analysis), begin)
        if self.model_error is None:
            return stepped
        noise = NoiseStream(self.seed, range(len(stepped)), [self.identities[k]])
        error = self.model_error.color(noise.normal(MODEL_ERROR, self.model_error.noise_shape[1:]))
        return self.physical(self.transform.forward(stepped[:, None]) + error)

    def physical(self, x: Tensor) -> Tensor:
        """Normalised members ``(M, 1, C, H, W)`` in physical units and within their bounds, ``(M, C, H, W)``."""
        return to_physical(x, self.transform, self.spec)[0][:, 0]

    def predicted(self, forecast: Tensor, k: int) -> Predicted | None:
        """What the forecast says of the observations of frame ``k``; ``None`` where there are none."""
        segment = self.observed.segment(k, k + 1)
        if not segment.n:
            return None
        predicted = segment.operator(self.transform.forward(forecast[:, None])).double()
        d, Y = segment.y.double() - predicted.mean(0), predicted - predicted.mean(0)
        return Predicted(d.numpy(), predicted.var(0).numpy(), segment.R.diagonal.double().numpy(), Y.numpy())

    def _innovation(self, k: int, factor: float, seen: Predicted) -> dict[str, tuple[float, float]]:
        scaled = seen.departure / np.sqrt(factor * seen.spread + seen.error)
        source = self.observed.segment(k, k + 1).source
        return {
            s.name: (float(scaled[source == i].mean()), float(np.sqrt(np.mean(scaled[source == i] ** 2))))
            for i, s in enumerate(self.observed.sources)
            if (source == i).any()
        }


def adapted(factor: float, d: np.ndarray, anomalies: np.ndarray, error: np.ndarray) -> float:
    r"""The inflation of the forecast's variance, drawn towards what the innovations of this cycle say.

    .. math:: \hat\lambda = \frac{\sum_i d_i^2 / r_i - n}{\sum_i s_i / r_i}, \qquad
              v_o = \frac{2 \left(\lambda^2 \|G\|^2 + 2 \lambda \sum_i s_i / r_i + n\right)}
                    {\left(\sum_i s_i / r_i\right)^2}, \qquad G = \frac{Y R^{-1} Y^T}{M - 1}

    weighted with the value so far by ``v_o`` and by how much a factor may change in a cycle, `CHANGE` of itself. The
    variance ``v_o`` of the estimate is that of Gaussian innovations of covariance ``lambda Y^T Y / (M - 1) + R``: where
    the forecast's errors reach far, many observations tell little more than a few.

    Args:
        factor: so far.
        d: innovations of the mean, shape ``(n,)``.
        anomalies: ``Y``, predicted observations about their mean, ``(M, n)``; ``s`` is their variance.
        error: ``r``, error variance of the observations.

    Reference: Li, Kalnay and Miyoshi 2009, doi 10.1002/qj.371, Eq. 6 and 13; Miyoshi 2011, Eq. 9, has ``v_o`` for
    errors that are independent.
    """
    n, (members, _) = len(d), anomalies.shape
    gram = (anomalies / error) @ anomalies.T / (members - 1)
    total = float(np.trace(gram))
    if total <= 1e-6 * n:
        return factor
    found = (float((d**2 / error).sum()) - n) / total
    uncertain = 2 * (factor**2 * float((gram**2).sum()) + 2 * factor * total + n) / total**2
    allowed = (CHANGE * factor) ** 2
    return float(np.clip(factor + allowed / (allowed + uncertain) * (found - factor), 0.25, 25.0))
