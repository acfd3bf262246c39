"""One ensemble of one segment: initial states, guidance, sampler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from skyweave.diffusion.denoiser import Denoiser
from skyweave.diffusion.noise import NoiseStream
from skyweave.diffusion.schedule import NoiseSchedule
from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.limits import check_counts
from skyweave.posterior.given import Given
from skyweave.posterior.guidance import GUIDANCE
from skyweave.posterior.guidance.base import CovarianceSource
from skyweave.posterior.kalman import KalmanSolver, Observed
from skyweave.posterior.samplers import SAMPLERS
from skyweave.posterior.start import RENOISE, analysis_start, noise_start

__all__ = ["Method", "sample_posterior"]

LARGEST_SIGMA = 1e5
"""Noise beyond which nothing of a state is left in single precision."""


@dataclass(frozen=True)
class Method:
    """How to sample: a guidance method, a sampler, a noise schedule and a start.

    Args:
        guidance: one of `skyweave.posterior.guidance.GUIDANCE`.
        sampler: one of `skyweave.posterior.samplers.SAMPLERS`.
        steps: network evaluations per member (Heun takes two for each of its levels).
        start: "analysis" or "noise", see `skyweave.posterior.start`.
        sigma_max, sigma_min, rho: of the noise schedule.
        guidance_options, sampler_options: passed to their classes.

    Raises:
        SkyweaveError: a name is unknown, there are too few steps or too many, or noise levels that are none.
    """

    guidance: str = "covariance"
    sampler: str = "dpm++2m-sde"
    steps: int = 16
    start: str = "analysis"
    sigma_max: float = 10.0
    sigma_min: float = 0.01
    rho: float = float("inf")
    guidance_options: Mapping[str, Any] = field(default_factory=dict)
    sampler_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, name, known in (
            ("guidance method", self.guidance, tuple(GUIDANCE)),
            ("sampler", self.sampler, tuple(SAMPLERS)),
            ("start", self.start, ("analysis", "noise")),
        ):
            if name not in known:
                raise SkyweaveError(
                    f"no {what} {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}"
                )
        if self.steps < 4:
            raise SkyweaveError(f"steps = {self.steps}: a sampler needs at least 4 network evaluations")
        check_counts(4, steps=self.steps)
        for name in ("sigma_max", "sigma_min"):
            if not 0 < getattr(self, name) <= LARGEST_SIGMA:
                raise SkyweaveError(f"{name} = {getattr(self, name)}: above zero, at most {LARGEST_SIGMA:g}")
        if not self.sigma_min < self.sigma_max or not self.rho > 0:
            raise SkyweaveError(
                f"sigma_min = {self.sigma_min}, sigma_max = {self.sigma_max}, rho = {self.rho}: the first must be "
                "below the second, rho above zero"
            )

    def schedule(self) -> NoiseSchedule:
        """Noise levels that use at most ``steps`` evaluations with the start."""
        left = self.steps - (1 if self.start == "analysis" else 0)
        sampler = SAMPLERS[self.sampler](**self.sampler_options)
        levels = max(n for n in range(2, left + 1) if sampler.evaluations(n) <= left)
        return NoiseSchedule(levels, self.sigma_max, self.sigma_min, self.rho)

    def evaluations(self) -> int:
        """Network evaluations for each member."""
        sampler = SAMPLERS[self.sampler](**self.sampler_options)
        return sampler.evaluations(self.schedule().steps) + (1 if self.start == "analysis" else 0)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"rho": str(self.rho)}


def sample_posterior(
    denoiser: Denoiser,
    prior: CovarianceSource,
    observed: Observed,
    noise: NoiseStream,
    shape: tuple[int, int, int, int],
    method: Method | None = None,
    *,
    solver: KalmanSolver | None = None,
    key: object = 0,
    progress: Callable[[int], None] | None = None,
    members: Tensor | None = None,
) -> Tensor:
    """Draw members of the posterior of one segment.

    Args:
        denoiser: the prior on the segment's grid and times.
        prior: what knows its error covariance.
        observed: operator, values in physical units, error covariance.
        noise: streams of the members and times wanted.
        shape: ``(T, C, H, W)`` of the segment.
        method: how; the default is covariance guidance, SDE-DPM-Solver++(2M), 16 evaluations.
        solver: keeps factors from call to call.
        key: names these observations among those that share the solver.
        progress: called after each step of the sampler.
        members: draws of an approximate posterior, ``(M, T, C, H, W)``, to begin with in place of the method's start,
            once noise of ``sigma_max`` is added; the noise hides what is wrong with them at scales smaller than it.

    Returns:
        Normalised states ``(M, T, C, H, W)``.
    """
    method = method or Method()
    solver = solver or KalmanSolver()
    options = dict(method.guidance_options)
    if method.guidance == "covariance":
        options |= {"solver": solver, "key": key}
    guided = GUIDANCE[method.guidance](denoiser, prior, observed, **options)
    sampler = SAMPLERS[method.sampler](**method.sampler_options)
    full = (len(noise.members), *shape)
    with torch.no_grad():
        if members is not None:
            x = members + method.sigma_max * noise.normal(RENOISE, shape[1:])
        elif method.start == "analysis" and observed.operator.n:
            x = analysis_start(denoiser, prior, observed, method.sigma_max, full, noise, solver, key)
        else:
            x = noise_start(prior, method.sigma_max, full, noise)
        sigmas = method.schedule().sigmas()
        if getattr(sampler, "decoupled", False):
            given = Given(prior, observed, solver, key)
            return sampler(denoiser, x, sigmas, noise, progress, given=given)  # type: ignore[call-arg]
        target = guided if observed.operator.n else denoiser
        return sampler(target, x, sigmas, noise, progress)
