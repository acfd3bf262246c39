"""How days are predicted, each setting once: keyword of Python, key of YAML and flag of the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le

from skyweave.keywords import FREE, STRICT, WHOLE, Help, check
from skyweave.limits import MOST
from skyweave.reconstruction.settings import Members, Seed

__all__ = ["InferenceSection"]


@dataclass(frozen=True, kw_only=True)
class InferenceSection:
    """How a day is put together, and how members are drawn."""

    stride: Annotated[int, Ge(1), Le(MOST["stride"]), Help("cells between patches"), WHOLE] = 8
    halo: Annotated[
        int, Ge(0), Le(MOST["stride"]), Help("cells at the edge of a patch that are dropped"), WHOLE
    ] = 2
    window: Annotated[
        Literal["hann", "paper", "flat", "nearest"],
        Help(
            "weights within a patch; paper is Eq. 5 as published, with the border of the image filled by "
            "its own half window"
        ),
    ] = "hann"
    blend: Annotated[
        Literal["steps", "shared", "patches"],
        Help(
            "how patches are joined: steps draws members from one noise field and blends patches inside "
            "each sampling step; shared draws every patch by itself from its part of one noise field and averages "
            "afterwards; patches gives every patch noise of its own, as the paper does"
        ),
    ] = "steps"
    members: Members = 16
    seed: Seed = 0
    sampler: Annotated[
        Literal["dpm++2m", "dpm++2m-sde", "ddim", "ddpm", "heun"],
        Help("one of dpm++2m, dpm++2m-sde, ddim, ddpm, heun"),
    ] = "dpm++2m-sde"
    steps: Annotated[
        int,
        Ge(2),
        Le(MOST["steps"]),
        Help("network evaluations for each member and day"),
        WHOLE,
    ] = 16
    batch: Annotated[
        int,
        Ge(1),
        Le(MOST["training_steps"]),
        Help("patches that pass the network at once"),
        WHOLE,
        FREE,
    ] = 1024
    device: Annotated[
        Literal["cpu", "cuda", "auto"], Help("where the networks run: cpu, cuda or auto"), FREE
    ] = "cpu"

    __pydantic_config__: ClassVar[Any] = STRICT

    def __post_init__(self) -> None:
        check(self)
