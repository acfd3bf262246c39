"""Frames of a precomputed forecast, each fused with what was observed at its time."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from skyweave.cycle.analysis import analysis_problem
from skyweave.cycle.climate import Climate
from skyweave.cycle.forecast import GaussianForecast
from skyweave.cycle.lead_time import LeadTimeSkill
from skyweave.errors import SkyweaveError
from skyweave.observe.segment import Observations
from skyweave.posterior.problem import Problem
from skyweave.transform import StateTransform

__all__ = ["Fusion"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Fusion:
    r"""The posterior at every frame of a precomputed forecast, given what was observed at its time.

    .. math:: x_k \sim p(x \mid z_k, y_k) \propto p(x)\, \mathcal N(z_k; x, F_k)\, \mathcal N(y_k; H(x), R_k)

    Nothing is handed on from frame to frame, so that the model need not be run: ``z_k, F_k`` are what the forecast of
    this lead time adds to the prior. Frames without observations are drawn from forecast and prior.

    Args:
        climate: the prior on the analysis grid at the time of each frame, and what it says of the forecast's grid.
        transform: of the prior.
        frames: of the forecast, physical units, ``(K, C, h, w)``, or of an ensemble ``(M, K, C, h, w)``, of which the
            mean is used (the skill must be that of such means).
        skill: of forecasts such as this one.
        leads: lead time of each frame, by number in `skill`.
        extrapolate: see `LeadTimeSkill.source`.

    Raises:
        SkyweaveError: as many frames as there are not lead times.
    """

    climate: Climate
    transform: StateTransform
    frames: Tensor
    skill: LeadTimeSkill
    leads: tuple[int, ...]
    extrapolate: bool = False

    def __post_init__(self) -> None:
        count = self.frames.shape[-4]
        if count != len(self.leads):
            raise SkyweaveError(
                f"the forecast has {count} frames, there are {len(self.leads)} lead times; give a forecast for each, "
                "without missing steps"
            )

    def source(self, k: int) -> GaussianForecast:
        """What the forecast of frame ``k`` adds to the prior."""
        members = self.frames[..., k, :, :, :].reshape(-1, 1, *self.frames.shape[-3:])
        mean = self.transform.forward(members)[:, 0].mean(0)
        own = self.climate
        return self.skill.source(mean, self.leads[k], own.covariance, own.mean(k), own.down, self.extrapolate)

    def problem(self, k: int, observed: Observations | None) -> Problem:
        """What members of frame ``k`` are drawn from, by `skyweave.posterior.sample.sample_posterior`."""
        return analysis_problem(self.climate.prior(k), self.source(k).to(self.climate.device), observed)
