"""One ensemble of one segment: initial states, guidance, sampler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from skyweave.diffusion.noise import NoiseStream
from skyweave.diffusion.samplers import Sampler
from skyweave.diffusion.schedule import NoiseSchedule
from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.limits import check_counts
from skyweave.posterior.daps import DAPS
from skyweave.posterior.guidance import GUIDANCE, Guidance
from skyweave.posterior.problem import Problem
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
        for name, level in (("sigma_max", self.sigma_max), ("sigma_min", self.sigma_min)):
            if not 0 < level <= LARGEST_SIGMA:
                raise SkyweaveError(f"{name} = {level}: above zero, at most {LARGEST_SIGMA:g}")
        if not self.sigma_min < self.sigma_max or not self.rho > 0:
            raise SkyweaveError(
                f"sigma_min = {self.sigma_min}, sigma_max = {self.sigma_max}, rho = {self.rho}: the first must be "
                "below the second, rho above zero"
            )

    def make_sampler(self) -> Sampler | DAPS:
        """The sampler with its options."""
        return SAMPLERS[self.sampler](**self.sampler_options)

    def guided(self, problem: Problem) -> Guidance:
        """The denoiser of the posterior, by the guidance method with its options.

        Raises:
            SkyweaveError: an option that does not fit what was observed.
        """
        return GUIDANCE[self.guidance](problem, **self.guidance_options)

    @property
    def decoupled(self) -> bool:
        """Whether the sampler takes the place of guidance."""
        return isinstance(self.make_sampler(), DAPS)

    def schedule(self) -> NoiseSchedule:
        """Noise levels that use at most ``steps`` evaluations with the start.

        Raises:
            SkyweaveError: there are too few steps for two levels of this sampler.
        """
        left, sampler = self.steps - (1 if self.start == "analysis" else 0), self.make_sampler()
        levels = [n for n in range(2, left + 1) if sampler.evaluations(n) <= left]
        if not levels:
            least = sampler.evaluations(2) + self.steps - left
            raise SkyweaveError(
                f"steps = {self.steps}: sampler {self.sampler!r} needs at least {least} network evaluations"
            )
        return NoiseSchedule(levels[-1], self.sigma_max, self.sigma_min, self.rho)

    def evaluations(self) -> int:
        """Network evaluations for each member."""
        return self.make_sampler().evaluations(self.schedule().steps) + (1 if self.start == "analysis" else 0)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"rho": str(self.rho)}


def sample_posterior(
    problem: Problem,
    noise: NoiseStream,
    method: Method | None = None,
    *,
    progress: Callable[[int], None] | None = None,
    members: Tensor | None = None,
) -> Tensor:
    """Draw members of the posterior of one segment.

    Args:
        problem: the prior on the segment's grid and times, and what was observed.
        noise: streams of the members and times wanted.
        method: how; the default is covariance guidance, SDE-DPM-Solver++(2M), 16 evaluations.
        progress: called after each step of the sampler.
        members: draws of an approximate posterior, ``(M, T, C, H, W)``, to begin with in place of the method's start,
            once noise of ``sigma_max`` is added; the noise hides what is wrong with them at scales smaller than it.

    Returns:
        Normalised states ``(M, T, C, H, W)``.
    """
    method = method or Method()
    sampler, sigmas = method.make_sampler(), method.schedule().sigmas()
    with torch.no_grad():
        if members is not None:
            x = members + method.sigma_max * noise.normal(RENOISE, problem.shape[1:])
        elif method.start == "analysis" and problem.n:
            x = analysis_start(problem, method.sigma_max, noise)
        else:
            x = noise_start(problem.prior, method.sigma_max, noise)
        if isinstance(sampler, DAPS):
            return sampler(problem, x, sigmas, noise, progress)
        denoiser = method.guided(problem) if problem.n else problem.prior
        return sampler(denoiser, x, sigmas, noise, progress)
