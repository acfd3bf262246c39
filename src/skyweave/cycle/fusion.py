"""Frames of a precomputed forecast, each fused with what was observed at its time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from skyweave.cycle.forecast import GaussianForecast
from skyweave.cycle.lead_time import LeadTimeSkill
from skyweave.cycle.run import Cycle, Cycler, Predicted
from skyweave.cycle.settings import CycleSettings
from skyweave.errors import SkyweaveError
from skyweave.observe.assemble import ObservationSet
from skyweave.posterior.background import Background
from skyweave.posterior.kalman import innovation_variance
from skyweave.state import StateSpec
from skyweave.transform import StateTransform

__all__ = ["Fusion", "fuse_forecasts"]


def fuse_forecasts(
    prior: Callable[[int], Background],
    spec: StateSpec,
    transform: StateTransform,
    forecast: Tensor,
    observed: ObservationSet,
    identities: list[int],
    skill: LeadTimeSkill | None = None,
    *,
    leads: Sequence[int] | None = None,
    settings: CycleSettings | None = None,
    down: sp.csr_array | None = None,
    coarse: tuple[int, int] | None = None,
    periodic: tuple[bool, bool] = (False, False),
) -> Fusion:
    r"""The posterior at every frame of a precomputed forecast, given what was observed at its time.

    .. math:: x_k \sim p(x \mid z_k, y_k) \propto p(x)\, \mathcal N(z_k; x, F_k)\, \mathcal N(y_k; H(x), R_k)

    Nothing is handed on from frame to frame, so that the model need not be run: ``z_k, F_k`` are what the forecast of
    this lead time adds to the prior. Frames without observations are drawn from forecast and prior.

    Args:
        prior: on the analysis grid at the time of a frame, with states ``(1, C, H, W)``.
        spec, transform: of the prior.
        forecast: physical units, ``(K, C, h, w)``, or of an ensemble ``(M, K, C, h, w)``, of which the mean is used
            (the skill must be that of such means).
        observed: one frame for each of the forecast.
        identities: a number for each frame, which its noise depends on.
        skill: of forecasts such as this one; without it the climate alone is known.
        leads: lead time of each frame, by number in `skill`; ``0, 1, ...`` by default.
        settings: `members`, `seed`, `method`, `batch` and `extrapolate` are used.
        down, coarse, periodic: as in `skyweave.cycle.run.Cycler`.

    Returns:
        A `Fusion`, whose `frames` are the posteriors' members.

    Raises:
        SkyweaveError: as many frames as there are not lead times or identities.
    """
    frames = (forecast if forecast.ndim == 5 else forecast[None]).transpose(0, 1)
    numbers = list(range(len(frames)) if leads is None else leads)
    if skill is not None and not len(frames) == len(numbers) == len(identities):
        raise SkyweaveError(
            f"the forecast has {len(frames)} frames, there are {len(numbers)} lead times and {len(identities)} times; "
            "give a forecast for each, without missing steps"
        )
    return Fusion(
        prior,
        spec,
        transform,
        _Stored(frames),
        observed,
        identities,
        np.arange(len(frames)),
        replace(settings or CycleSettings(), adaptive=False),
        down,
        coarse,
        None,
        periodic,
        skill,
        tuple(numbers),
    )


@dataclass(frozen=True, eq=False)
class _Stored:
    """Frames of a forecast, as a model whose times are their numbers."""

    frames: Tensor

    def step(self, state: Tensor, time: Any) -> Tensor:
        return self.frames[0 if time is None else int(time) + 1]


@dataclass(eq=False)
class Fusion(Cycler):
    """Frames of a forecast in place of a model, each of a lead time whose skill is known."""

    skill: LeadTimeSkill | None = None
    leads: tuple[int, ...] = ()

    def frames(self) -> Iterator[Cycle]:
        """A `Cycle` for each frame; innovations are those of the predictive distribution, on one grid."""
        # The next stored frame follows whatever the analysis before it was.
        return self.run(torch.zeros(1, *self.prior(0).covariance(float("inf")).shape[1:]))

    def source(self, forecast: Tensor, k: int, inflation: float = 1.0) -> GaussianForecast:
        assert self.skill is not None
        mean, mu = self._mean(forecast), self.climate_mean(k)
        return self.skill.source(mean, self.leads[k], self.climate, mu, self.down, self.settings.extrapolate)

    def _mean(self, forecast: Tensor) -> Tensor:
        return self.transform.forward(forecast[:, None])[:, 0].mean(0)

    def _predicted(self, forecast: Tensor, k: int) -> Predicted | None:
        segment = self.observed.segment(k, k + 1)
        if self.skill is None or not segment.n:
            return None
        mu = self.climate_mean(k)
        mean, P = self.skill.predictive(self._mean(forecast), self.leads[k], self.climate, mu)
        x = mean[None, None].float()
        error = segment.R.diagonal.double()
        spread = innovation_variance(x, P, segment)[0].double() - error
        d = (segment.y - segment.operator(x))[0].double()
        return Predicted(d.numpy(), spread.numpy(), error.numpy(), np.empty((0, segment.n)))
