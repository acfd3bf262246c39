"""Methods known by name besides the guidance methods themselves, and where each option belongs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.options import checked_options, option_names
from skyweave.posterior.guidance import GUIDANCE
from skyweave.posterior.sample import Method
from skyweave.posterior.samplers import SAMPLERS, STEPS

__all__ = ["METHODS", "find_method", "method_of", "with_options"]

METHODS: dict[str, Method] = {
    # Algorithm 1 and Section 3.4 of the multimodal paper. What it does not state is EDM's: schedule and churn of its
    # Table 5, and 18 levels, which the two seconds of the paper's Table 3 leave room for.
    "multimodal": Method(
        guidance="multimodal",
        sampler="heun",
        steps=36,
        start="noise",
        sigma_max=80.0,
        sigma_min=0.002,
        rho=7.0,
        sampler_options={"churn": 40.0, "t_min": 0.05, "t_max": 50.0},
    ),
}

SCHEDULE = ("start", "sigma_max", "sigma_min", "rho")
INTERNAL = ("problem",)


def find_method(name: str) -> Method:
    """A method by name: one of `METHODS`, or a guidance method with the default sampler.

    Raises:
        SkyweaveError: there is none of that name.
    """
    if name not in METHODS and name not in GUIDANCE:
        known = sorted({*GUIDANCE, *METHODS})
        raise SkyweaveError(
            f"no guidance method {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}"
        )
    return METHODS.get(name) or Method(guidance=name)


def with_options(method: Method, options: Mapping[str, Any]) -> Method:
    """The method with options, each given to the guidance, the sampler or the noise schedule that knows its name.

    Raises:
        SkyweaveError: an option that none of them knows, or a value that does not fit.
    """
    # A decoupled sampler takes the place of guidance.
    guidance = () if method.decoupled else _names(GUIDANCE[method.guidance])
    sampler = _names(SAMPLERS[method.sampler])
    known = (*guidance, *sampler, *SCHEDULE)
    for name in options:
        if name not in known:
            raise SkyweaveError(
                f"option {name!r} is unknown to {method.guidance} with {method.sampler}"
                f"{did_you_mean(name, known)}; known are {', '.join(known)}"
            )
    given = {k: v for k, v in options.items() if k in guidance}
    own = checked_options(GUIDANCE[method.guidance], given, method.guidance, INTERNAL)
    given = {k: v for k, v in options.items() if k in sampler and k not in guidance}
    theirs = checked_options(SAMPLERS[method.sampler], given, method.sampler, INTERNAL)
    given = {k: v for k, v in options.items() if k in SCHEDULE}
    rest = checked_options(Method, given, "the noise schedule")
    return replace(
        method,
        guidance_options={**method.guidance_options, **own},
        sampler_options={**method.sampler_options, **theirs},
        **rest,
    )


def _names(factory: Any) -> tuple[str, ...]:
    return option_names(factory, INTERNAL)


def method_of(
    method: str | Method, sampler: str | None, steps: int | None, options: Mapping[str, Any] | None
) -> Method:
    """A method with the sampler, steps and options that are named beside it."""
    if sampler == "dps":
        # The step-wise guidance that AODDiff compares with: its likelihood score and a deterministic sampler.
        method, sampler, steps = "dps", "dpm++2m", steps or 64
    base = method if isinstance(method, Method) else find_method(method)
    changes: dict[str, Any] = {}
    if sampler is not None:
        changes["sampler"] = sampler
        changes["steps"] = STEPS.get(sampler, base.steps)
        if sampler == "daps":
            changes["start"] = "noise"  # as published
        if sampler != base.sampler:
            changes["sampler_options"] = {}
    if steps is not None:
        changes["steps"] = steps
    return with_options(replace(base, **changes), options or {})
