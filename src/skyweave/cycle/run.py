"""The cycle: forecast every member one step, fuse with what is observed, bring down to the model's grid, repeat."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import scipy.sparse as sp
import torch
from scipy.fft import next_fast_len
from torch import Tensor

from skyweave.covariance.stationary import StationaryCovariance
from skyweave.cycle.analysis import analysis_problem
from skyweave.cycle.ensemble import cut_off, ensemble_covariance
from skyweave.cycle.forecast import GaussianForecast, aggregated, as_source
from skyweave.cycle.settings import CycleSettings
from skyweave.cycle.transform import Domain, letkf_analysis
from skyweave.diffusion.noise import NoiseStream
from skyweave.finite import NotFiniteError, check_channels
from skyweave.observe.assemble import ObservationSet, SegmentObservations
from skyweave.observe.operator import to_torch_csr
from skyweave.posterior.background import Background
from skyweave.posterior.kalman import DIRECT_LIMIT
from skyweave.posterior.sample import Method, sample_posterior
from skyweave.reconstruction.output import to_physical
from skyweave.state import StateSpec
from skyweave.transform import StateTransform

__all__ = ["Cycle", "Cycler", "Model", "torus_size"]

# Streams of noise beside those of the posterior's sampler, which counts its steps from zero.
MODEL_ERROR, CLIMATE = 1_000_001, 1_000_002
FAR = 80.0
"""Noise level at which the prior says nothing but the mean of its climate."""
CHANGE = 0.2
"""How much the inflation may change in a cycle: weather comes and goes, what a model lacks stays."""
SMALLEST = 0.05
"""Least noise of a refinement: below it members change by less than their mean is known."""
REACH = 1.5
"""Radius of the local transform, in lengths over which the climate's correlation falls to 1/e."""


class Model(Protocol):
    """What steps an ensemble: physical states ``(M, C, h, w)`` at a time to those one time step later."""

    def step(self, state: Tensor, time: Any) -> Tensor: ...


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


@dataclass(eq=False)
class Cycler:
    """A prior, a model, observations and settings, ready to cycle.

    Args:
        prior: the prior on the analysis grid at the time of a frame, with states ``(1, C, H, W)``.
        spec, transform: of the prior.
        model: the forecaster.
        observed: all observations, one frame per cycle.
        identities: a number for each time, which its noise depends on.
        times: handed to the model; as many as frames.
        settings: how.
        down: weights ``(h * w, H * W)`` to the model's grid; ``None`` where it is that of the prior.
        coarse: ``(h, w)``, with ``down``.
        model_error: error of one step of the model in normalised units on the model's grid; ``None`` for a perfect
            model.
        periodic: whether latitudes and longitudes are circles.
        domain: places of the prior's cells, for analyses that are refined; without it they are drawn afresh.
        radius: of the local transform, in the domain's unit; see `CycleSettings.localisation_km`.
    """

    prior: Callable[[int], Background]
    spec: StateSpec
    transform: StateTransform
    model: Model
    observed: ObservationSet
    identities: list[int]
    times: np.ndarray
    settings: CycleSettings = field(default_factory=CycleSettings)
    down: sp.csr_array | None = None
    coarse: tuple[int, int] | None = None
    model_error: StationaryCovariance | None = None
    periodic: tuple[bool, bool] = (False, False)
    domain: Domain | None = field(default=None, kw_only=True)
    radius: float = field(default=float("inf"), kw_only=True)

    def __post_init__(self) -> None:
        V = self.prior(0).covariance(float("inf"))
        if not isinstance(V, StationaryCovariance):
            raise ValueError("cycling needs a prior of single frames with a stationary covariance")
        shape = V.shape[2:] if self.coarse is None else self.coarse
        # Members, forecasts and statistics are kept on the CPU; posteriors are drawn where the prior is.
        self.device, V = V.spectrum.device, V.to("cpu")
        self.padded = V.padded if self.down is None else torus_size(shape, self.periodic)
        self.climate = aggregated(V, self.down, (shape[0], shape[1]), self.padded)
        lengths = cut_off(self.climate.shape[2:], self.periodic, self.settings.reach)
        self.reference = self.climate.tapered(lengths)
        self._matrix = None if self.down is None else to_torch_csr(self.down)

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
        members, factor = start, self.settings.inflation if inflation is None else inflation
        for k in range(first, len(self.identities)):
            forecast = None if members is None else self.forecast(members, k)
            if forecast is not None:
                check_channels(forecast, self.spec.names, "the forecast", where=f"at {self._moment(k)}")
            seen = None if forecast is None or self.down is not None else self._predicted(forecast, k)
            if seen is not None and self.settings.adaptive:
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

    def forecast(self, analysis: Tensor, k: int) -> Tensor:
        """Members one step on, at frame ``k``, with the model's own error added; physical, on the model's grid."""
        begin = self.times[k - 1] if k else None
        stepped = self.model.step(self._aggregate(analysis), begin)
        if self.model_error is None:
            return stepped
        noise = NoiseStream(self.settings.seed, range(len(stepped)), [self.identities[k]])
        error = self.model_error.color(noise.normal(MODEL_ERROR, self.model_error.noise_shape[1:]))
        moved = self.transform.forward(stepped[:, None]) + error
        return to_physical(moved, self.transform, self.spec)[0][:, 0]

    def analysis(self, forecast: Tensor | None, k: int, inflation: float = 1.0) -> Tensor:
        """Members of the posterior at frame ``k``, physical, ``(M, C, H, W)``; the forecast itself without data."""
        settings, segment = self.settings, self.observed.segment(k, k + 1)
        refined = settings.update == "refined" and self.domain is not None and self.down is None
        if forecast is None or not refined:
            return self._physical(self._drawn(forecast, segment, k, inflation, settings.drawn))
        if not segment.n:
            return forecast
        moved = self._moved(forecast, segment, inflation)
        method = replace(
            settings.drawn,
            sampler="dpm++2m", start="noise", steps=settings.refine_steps,
            sigma_max=settings.refine_from, sigma_min=min(SMALLEST, 0.1 * settings.refine_from),
        )  # fmt: skip
        drawn = self._drawn(forecast, segment, k, inflation, method, moved)
        return self._physical(drawn.mean(0) + (moved - moved.mean(0)))

    def _drawn(
        self,
        forecast: Tensor | None,
        segment: SegmentObservations,
        k: int,
        inflation: float,
        method: Method,
        members: Tensor | None = None,
    ) -> Tensor:
        """Normalised draws ``(M, 1, C, H, W)`` of the posterior, begun with members where some are given."""
        settings = self.settings
        source = None if forecast is None else self.source(forecast, k, inflation).to(self.device)
        # Of members that are refined the mean alone is kept, in which small errors of each cancel.
        problem = analysis_problem(self.prior(k), source, segment, tolerance=0.05 if members is None else 0.2)
        parts, size = [], settings.batch or settings.members
        for m in range(0, settings.members, size):
            numbers = range(m, min(m + size, settings.members))
            noise = NoiseStream(settings.seed, numbers, [self.identities[k]], self.device)
            start = None if members is None else members[m : m + size].to(self.device)
            parts.append(sample_posterior(problem, noise, method, members=start).cpu())
        return torch.cat(parts)

    def _moved(self, forecast: Tensor, segment: SegmentObservations, inflation: float) -> Tensor:
        """Members after the local ensemble transform, normalised, ``(M, 1, C, H, W)``."""
        assert self.domain is not None
        x = self.transform.forward(forecast[:, None])
        return letkf_analysis(
            x[:, 0],
            segment.operator(x),
            segment.y,
            segment.R.diagonal,
            self.domain,
            self.domain.positions(segment.operator),
            self.radius if self.settings.localisation_km is None else self.settings.localisation_km,
            # Deflated members would forget in the next forecast what they do not know.
            inflation=max(1.0, inflation) ** 0.5,
        )[:, None]

    def _physical(self, x: Tensor) -> Tensor:
        return to_physical(x, self.transform, self.spec)[0][:, 0]

    def source(self, forecast: Tensor, k: int, inflation: float = 1.0) -> GaussianForecast:
        """The forecast of an ensemble as what it adds to the prior."""
        settings = self.settings
        x = self.transform.forward(forecast[:, None])[:, 0]
        mean = x.mean(0)
        if settings.information == "stated":
            if self.model_error is None:
                raise ValueError("information='stated' needs the model's error")
            return GaussianForecast(mean, self.model_error, self.down)
        spread = ensemble_covariance(
            inflation**0.5 * (x - mean),
            self.padded,
            periodic=self.periodic,
            reach=settings.reach,
            local=settings.local and mean.numel() <= DIRECT_LIMIT,
        )
        climate_mean = self.climate_mean(k) if settings.extrapolate else 0.0
        return as_source(
            mean, spread, self.climate, climate_mean, self.down, self.reference, settings.extrapolate
        )

    def climate_mean(self, k: int) -> Tensor:
        """What the prior expects at frame ``k`` where nothing is known, on the model's grid, ``(C, h, w)``."""
        prior = self.prior(k)
        noise = NoiseStream(self.settings.seed, range(4), [0], self.device)
        x = FAR * noise.normal(CLIMATE, prior.shape[1:])
        with torch.no_grad():
            mean = prior(x, x.new_tensor(FAR)).mean(0)[0]
        return self._aggregate(mean.cpu())

    def _aggregate(self, field_: Tensor) -> Tensor:
        """Fields ``(..., H, W)`` on the model's grid."""
        if self._matrix is None or self.coarse is None:
            return field_
        flat = field_.reshape(-1, field_.shape[-2] * field_.shape[-1])
        return (self._matrix @ flat.T).T.reshape(*field_.shape[:-2], *self.coarse)

    def _predicted(self, forecast: Tensor, k: int) -> Predicted | None:
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


def torus_size(shape: tuple[int, ...], periodic: tuple[bool, bool]) -> tuple[int, int]:
    """Size of a torus that holds a domain ``(H, W)`` and all of its lags; that of a circle itself."""
    lat, lon = (
        n if circle else next_fast_len(2 * n, True) for n, circle in zip(shape, periodic, strict=True)
    )
    return lat, lon
