"""How cycles are computed: keyword of Python and key of YAML."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le

from skyweave.errors import SkyweaveError
from skyweave.keywords import WHOLE, Help
from skyweave.limits import MOST
from skyweave.reconstruction.settings import OF_FORECASTS, Batch, Guided, Members

__all__ = ["CycleSettings"]

Positive = Annotated[float, Gt(0)]
UNUSED = {
    ("update", "afresh"): ("localisation_km", "refine_from", "refine_steps"),
    ("information", "stated"): ("reach", "local", "extrapolate"),
}
"""What a choice has no use for."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CycleSettings(Guided):
    """How cycles are computed.

    An analysis takes more evaluations than a single reconstruction, because the sampler's error of spread enters the
    next forecast's covariance and so grows from cycle to cycle.
    """

    members: Members = 32
    batch: Batch = 64
    information: Annotated[
        Literal["ensemble", "stated"],
        Help(
            "ensemble: the forecast's covariance is that of its members, renewed in every cycle, and what "
            "it tells beyond the climate is used (skyweave.cycle.forecast); stated: the forecast is a source with the "
            "model's stated error, as in the paper"
        ),
    ] = "ensemble"
    reach: Annotated[
        float,
        Gt(0),
        Le(1),
        Help("share of the domain beyond which the ensemble's correlations are zero"),
    ] = 0.5
    local: Annotated[
        bool,
        Help(
            "whether the ensemble's standard deviation varies in space; on domains too large to be solved "
            "directly it does not"
        ),
    ] = True
    extrapolate: Annotated[
        bool,
        Help(
            "as in skyweave.cycle.forecast.as_source; exact for Gaussian priors, not robust with learnt ones"
        ),
    ] = False
    inflation: Annotated[
        Positive,
        Help("factor of the forecast's variance before an analysis; where it adapts, the one to begin with"),
    ] = 1.0
    adaptive: Annotated[bool, Help("let the factor follow the innovations")] = True
    update: Annotated[
        Literal["refined", "afresh"],
        Help(
            "how an analysis is made of a forecast on the prior's own grid. afresh: drawn from the prior, "
            "forecast and observations as sources. refined: the members are moved by a local ensemble transform, noise "
            "of refine_from is added to them and taken away again with prior, forecast and observations, and the mean "
            "of what comes out is given to the transform's members: the mean is that of the posterior, while what lets "
            "the members grow apart in the next forecast is kept; needs a domain"
        ),
    ] = "refined"
    localisation_km: Annotated[
        Positive | None,
        Help(
            "distance at which an observation has no weight in the transform; by default 1.5 times the "
            "length over which the climate's correlation falls to 1/e"
        ),
    ] = None
    refine_from: Annotated[
        Positive,
        Help(
            "noise level in normalised units; noise larger than the members' error hides what the "
            "transform got wrong, and a larger one forgets more of what it got right"
        ),
    ] = 1.0
    refine_steps: Annotated[
        int, Ge(4), Le(MOST["steps"]), Help("network evaluations of a refinement"), WHOLE
    ] = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        values = vars(self)
        given = {own.name for own in fields(self) if values[own.name] != own.default}
        for (name, value), unused in UNUSED.items():
            if values[name] == value and (found := [other for other in unused if other in given]):
                raise SkyweaveError(
                    f"{name} = {value!r} has no use for {', '.join(found)}; leave one of them out"
                )

    default_steps: ClassVar[int | None] = 32
    methods: ClassVar[tuple[str, ...]] = OF_FORECASTS
