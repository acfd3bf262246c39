"""Cycling with a prior: its analyses are draws of the posterior of forecast and observations."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from skyweave.cycle.analysis import analysis_problem
from skyweave.cycle.base import EnsembleCycler, Predicted
from skyweave.cycle.climate import Climate
from skyweave.cycle.ensemble import cut_off, ensemble_covariance
from skyweave.cycle.forecast import GaussianForecast, as_source
from skyweave.cycle.settings import CycleSettings
from skyweave.cycle.transform import Domain, transformed
from skyweave.diffusion.noise import NoiseStream
from skyweave.observe.assemble import SegmentObservations
from skyweave.posterior.kalman import DIRECT_LIMIT
from skyweave.posterior.sample import Method, sample_posterior

__all__ = ["Cycler"]

SMALLEST = 0.05
"""Least noise of a refinement: below it members change by less than their mean is known."""
REACH = 1.5
"""Radius of the local transform, in lengths over which the climate's correlation falls to 1/e."""


@dataclass(eq=False, kw_only=True)
class Cycler(EnsembleCycler):
    """A prior, a model, observations and settings, ready to cycle; see `EnsembleCycler` for the rest.

    Args:
        climate: the prior on the analysis grid, and what it says of the model's.
        settings: how.
        domain: places of the prior's cells, for analyses that are refined; without it they are drawn afresh.
        radius: of the local transform, in the domain's unit; see `CycleSettings.localisation_km`.
    """

    climate: Climate
    settings: CycleSettings = field(default_factory=CycleSettings)
    domain: Domain | None = None
    radius: float = float("inf")

    def __post_init__(self) -> None:
        own = self.climate
        lengths = cut_off(own.covariance.shape[2:], own.periodic, self.settings.reach)
        self.reference = own.covariance.tapered(lengths)

    @property
    def seed(self) -> int:
        return self.settings.seed

    @property
    def first_inflation(self) -> float:
        return self.settings.inflation

    @property
    def adaptive(self) -> bool:
        return self.settings.adaptive

    def brought_down(self, analysis: Tensor) -> Tensor:
        return self.climate.aggregate(analysis)

    def predicted(self, forecast: Tensor, k: int) -> Predicted | None:
        """As in every cycle where model and prior share a grid; ``None`` where they do not."""
        return None if self.climate.down is not None else super().predicted(forecast, k)

    def analysis(self, forecast: Tensor | None, k: int, inflation: float = 1.0) -> Tensor:
        """Members of the posterior at frame ``k``, physical, ``(M, C, H, W)``; the forecast itself without data."""
        settings, segment = self.settings, self.observed.segment(k, k + 1)
        refined = settings.update == "refined" and self.domain is not None and self.climate.down is None
        if forecast is None or not refined:
            return self.physical(self._drawn(forecast, segment, k, inflation, settings.drawn))
        if not segment.n:
            return forecast
        moved = self._moved(forecast, segment, inflation)
        method = replace(
            settings.drawn,
            sampler="dpm++2m", start="noise", steps=settings.refine_steps,
            sigma_max=settings.refine_from, sigma_min=min(SMALLEST, 0.1 * settings.refine_from),
        )  # fmt: skip
        drawn = self._drawn(forecast, segment, k, inflation, method, moved)
        return self.physical(drawn.mean(0) + (moved - moved.mean(0)))

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
        source = None if forecast is None else self.source(forecast, k, inflation).to(self.climate.device)
        # Of members that are refined the mean alone is kept, in which small errors of each cancel.
        problem = analysis_problem(
            self.climate.prior(k), source, segment, tolerance=0.05 if members is None else 0.2
        )
        parts, size = [], settings.batch or settings.members
        for m in range(0, settings.members, size):
            numbers = range(m, min(m + size, settings.members))
            noise = NoiseStream(settings.seed, numbers, [self.identities[k]], self.climate.device)
            start = None if members is None else members[m : m + size].to(self.climate.device)
            parts.append(sample_posterior(problem, noise, method, members=start).cpu())
        return torch.cat(parts)

    def _moved(self, forecast: Tensor, segment: SegmentObservations, inflation: float) -> Tensor:
        """Members after the local ensemble transform, normalised, ``(M, 1, C, H, W)``."""
        assert self.domain is not None
        return transformed(
            self.transform.forward(forecast[:, None]),
            segment,
            self.domain,
            self.radius if self.settings.localisation_km is None else self.settings.localisation_km,
            # Deflated members would forget in the next forecast what they do not know.
            inflation=max(1.0, inflation) ** 0.5,
        )

    def source(self, forecast: Tensor, k: int, inflation: float = 1.0) -> GaussianForecast:
        """The forecast of an ensemble as what it adds to the prior."""
        settings = self.settings
        x = self.transform.forward(forecast[:, None])[:, 0]
        mean = x.mean(0)
        if settings.information == "stated":
            if self.model_error is None:
                raise ValueError("information='stated' needs the model's error")
            return GaussianForecast(mean, self.model_error, self.climate.down)
        spread = ensemble_covariance(
            inflation**0.5 * (x - mean),
            self.climate.padded,
            periodic=self.climate.periodic,
            reach=settings.reach,
            local=settings.local and mean.numel() <= DIRECT_LIMIT,
        )
        own = self.climate
        mu = own.mean(k, self.seed) if settings.extrapolate else 0.0
        return as_source(mean, spread, own.covariance, mu, own.down, self.reference, settings.extrapolate)
