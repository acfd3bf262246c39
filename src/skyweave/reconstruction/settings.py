"""How an ensemble is drawn, each setting once: keyword of Python, key of YAML and flag of the command line.

The kinds of settings are declared first, with type, range and help; the dataclasses say which of them a road takes, and
with what default. A field that is marked `FREE` is no part of what a resume must match.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from annotated_types import Ge, Gt, Le, Lt

from skyweave.errors import SkyweaveError, one_of
from skyweave.keywords import FREE, STRICT, WHOLE, Checked, Flag, Help, check
from skyweave.limits import MOST

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

    from skyweave.posterior.sample import Method
    from skyweave.sources.estimates import Estimation

    Array: TypeAlias = "xr.DataArray | np.ndarray | FieldOfFile | None"
    MethodName = str | Method
    Innovations = Estimation | Mapping[str, Any] | None
else:  # heavy to import, and checked by what imports them when it is used
    Array, MethodName, Innovations = Any, Any, Any

__all__ = [
    "METHODS", "OF_FORECASTS", "SAMPLERS", "Batch", "Drawing", "FieldOfFile", "FusionSettings", "Guided", "Members",
    "PriorSettings", "Seed", "Settings",
]  # fmt: skip

METHODS = ("covariance", "mmps", "sda", "multimodal", "pigdm", "dps")
SAMPLERS = ("dpm++2m", "dpm++2m-sde", "heun", "ancestral", "daps", "daps-exact", "dps")
OF_FORECASTS = ("covariance", "mmps", "pigdm")
"""Methods that take errors with their correlations, as those of a forecast have."""
DECOUPLED = ("daps", "daps-exact", "dps")
"""Samplers that take the place of guidance."""


def _method(value: Any) -> Any:
    if isinstance(value, str):
        return one_of(value, METHODS, "guidance method")
    from skyweave.posterior.sample import Method

    if not isinstance(value, Method):
        raise ValueError("the name of a method is needed, or a skyweave.posterior.sample.Method")
    return value


def _sampler(value: str | None) -> str | None:
    return value if value is None else one_of(value, SAMPLERS, "sampler")


def _device(value: str) -> str:
    if value == "cpu":
        return value
    from skyweave.learn.processes import usable_device

    return str(usable_device(value))


def _cluster(value: str | None) -> str | None:
    if value is None:
        return None
    from skyweave.engine.cluster import cluster_text

    return cluster_text(value)


def _innovations(value: Any) -> Any:
    if not value:
        return None
    from skyweave.sources.estimates import Estimation, estimation

    return value if isinstance(value, Estimation) else estimation(value)


@dataclass(frozen=True)
class FieldOfFile:
    """One field of a file."""

    path: str
    variable: str

    __pydantic_config__: ClassVar[Any] = STRICT


def _mask(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    from pydantic import ValidationError

    from skyweave.config import adapter, explain

    try:
        return adapter(FieldOfFile).validate_python(value)
    except ValidationError as error:
        raise ValueError("; ".join(explain(error.errors(), FieldOfFile))) from None


Members = Annotated[int, Ge(1), Le(MOST["members"]), Help("size of the ensemble"), WHOLE]
Seed = Annotated[
    int,
    Ge(0),
    Le(MOST["seed"]),
    Help("of the noise; a member is the same field whatever the batch, the segment or a resume"),
    WHOLE,
]
MethodOf = Annotated[
    MethodName,
    Checked(_method),
    Help(
        f"guidance: {', '.join(METHODS)}; multimodal is the whole sampler of that paper. In Python also a "
        "complete Method"
    ),
    Flag(str),
]
Sampler = Annotated[
    str | None,
    Checked(_sampler),
    Help(
        f"one of {', '.join(SAMPLERS)}; the method's own by default. {', '.join(DECOUPLED)}, as in "
        "AODDiff, take the place of guidance"
    ),
]
Steps = Annotated[
    Annotated[int, Ge(4), Le(MOST["steps"]), WHOLE] | None,
    Help("network evaluations of a member; the method's own by default"),
]
Options = Annotated[
    Mapping[str, Any] | None,
    Help("of the guidance method, the sampler or the noise schedule, by name"),
    Flag(absent="each method has its own; give them in the YAML"),
]
Batch = Annotated[
    Annotated[int, Ge(1), Le(MOST["batch"]), WHOLE] | None,
    Help("members computed at once; what fits half of the free memory by default"),
    FREE,
]
Tile = Annotated[
    tuple[Annotated[int, Ge(1), WHOLE], Annotated[int, Ge(1), WHOLE]] | None,
    Help(
        "cells, lat and lon, of the tiles in which the network sees a large domain; by default tiles of "
        "four patches a side where the whole domain does not fit the memory"
    ),
]
Stride = Annotated[
    int,
    Ge(1),
    Le(MOST["stride"]),
    Help("frames between the windows of a prior of windows; each frame costs window / stride evaluations"),
    WHOLE,
]
Autocast = Annotated[bool, Help("run the network in bfloat16, on devices that compute in it")]
Device = Annotated[str, Checked(_device), Help("where the network runs: cpu, cuda or auto"), FREE]
Cluster = Annotated[
    str | None,
    Checked(_cluster),
    Help(
        "where units are computed: local:N for N workers on this machine, or the address of a running scheduler of "
        "dask, tcp://host:8786; in this process by default"
    ),
    FREE,
]
Mask = Annotated[
    Array,
    Checked(_mask),
    Help(
        "true where fields are wanted, on the target grid; elsewhere everything stays missing. An array, or "
        "{path, variable} of a file"
    ),
    Flag(absent="it has a path and a variable; give it in the YAML"),
]
Quantiles = Annotated[
    Sequence[Annotated[float, Gt(0), Lt(1)]],
    Checked(tuple, before=True),
    Help("of the ensemble, kept beside mean and spread"),
    Flag(list[float]),
]
Recalibrate = Annotated[
    bool,
    Help(
        "scale the ensemble about its mean by the factor that was fitted on validation data and is stored "
        "with the prior"
    ),
]
Weights = Annotated[
    Literal["stated", "innovations"],
    Help(
        "how sources are weighed, stated: with errors and weights as they state them; innovations: with "
        "errors estimated from innovations, see docs/sources.md"
    ),
]
Anchor = Annotated[
    Sequence[str] | None,
    Help(
        "sources that have no bias, against which those with `bias: estimate` are measured; all others by "
        "default"
    ),
    Flag(list[str]),
]
HowEstimated = Annotated[
    Innovations,
    Checked(_innovations, before=True),
    Help("how errors and biases are estimated, by the fields of skyweave.sources.estimates.Estimation"),
    Flag(absent="it has keys of its own; give them in the YAML"),
]
ON_CONFLICT = "where the prior cannot know the scene, see docs/scenes.md: warn says so, refuse stops"


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawing:
    """What every road on which members are drawn takes."""

    members: Members = 16
    seed: Seed = 0
    sampler: Sampler = None
    steps: Steps = None
    options: Options = None
    batch: Batch = None
    autocast: Autocast = False
    device: Device = "cpu"

    __pydantic_config__: ClassVar[Any] = STRICT

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True, eq=False)
class Guided(Drawing):
    """What every road from observations takes."""

    method: MethodOf = "covariance"
    tile: Tile = None

    default_steps: ClassVar[int | None] = None
    methods: ClassVar[tuple[str, ...]] = METHODS

    @cached_property
    def drawn(self) -> Method:
        """The method with the sampler, the steps and the options that are given beside it.

        Raises:
            SkyweaveError: an option that nothing knows, a method that the sampler would leave unused, or that has no
                use for errors as there are.
        """
        from skyweave.posterior.methods import method_of

        name = self.method if isinstance(self.method, str) else self.method.guidance
        if self.sampler in DECOUPLED and name not in ("covariance", self.sampler):
            raise SkyweaveError(
                f"sampler {self.sampler} takes the place of guidance, and method {name} would not be used; give one "
                "of the two"
            )
        steps = self.steps
        if steps is None and self.sampler not in DECOUPLED and isinstance(self.method, str):
            steps = self.default_steps
        made = method_of(self.method, self.sampler, steps, self.options)
        if made.guidance not in self.methods:
            raise SkyweaveError(
                f"method {made.guidance} takes errors as independent, which those of a forecast are not; there are "
                f"{', '.join(self.methods)}"
            )
        return made

    def settled(self, **found: Any) -> Any:
        """These settings with a complete method, and with what was found of others."""
        return replace(self, method=self.drawn, sampler=None, steps=None, options=None, **found)


@dataclass(frozen=True, kw_only=True, eq=False)
class Settings(Guided):
    """How a reconstruction is made."""

    stride: Stride = 1
    domain_mask: Mask = None
    quantiles: Quantiles = (0.05, 0.5, 0.95)
    recalibrate: Recalibrate = False
    weights: Weights = "stated"
    anchor: Anchor = None
    innovations: HowEstimated = None
    on_conflict: Annotated[
        Literal["warn", "refuse", "widen"],
        Help(f"{ON_CONFLICT}, widen gives it more variance where the observations ask for it"),
    ] = "warn"
    cluster: Cluster = None

    @property
    def workers(self) -> int | None:
        """Processes that compute units; ``None`` for as many as a scheduler has."""
        if self.cluster is None:
            return 1
        kind, _, count = self.cluster.partition(":")
        return int(count) if kind == "local" else None

    @property
    def estimation(self) -> Estimation:
        """How errors and biases are estimated."""
        from skyweave.sources.estimates import Estimation

        return self.innovations if isinstance(self.innovations, Estimation) else Estimation()


@dataclass(frozen=True, kw_only=True, eq=False)
class FusionSettings(Guided):
    """How a forecast is fused with observations, at each of its lead times."""

    methods: ClassVar[tuple[str, ...]] = OF_FORECASTS
    domain_mask: Mask = None
    quantiles: Quantiles = (0.05, 0.5, 0.95)
    on_conflict: Annotated[Literal["warn", "refuse"], Help(ON_CONFLICT)] = "warn"

    def whole(self) -> Settings:
        """As settings of a reconstruction."""
        made = self.settled()
        return Settings(**{own.name: getattr(made, own.name) for own in fields(FusionSettings)})


@dataclass(frozen=True, kw_only=True, eq=False)
class PriorSettings(Drawing):
    """How fields are drawn from a prior alone."""

    tile: Tile = None
    stride: Stride = 1
    domain_mask: Mask = None
    quantiles: Quantiles = (0.05, 0.5, 0.95)
    cluster: Cluster = None

    def whole(self) -> Settings:
        """As settings of a reconstruction, from noise on.

        Raises:
            SkyweaveError: an option of guidance, of which there is none.
        """
        from skyweave.posterior.sample import Method

        if self.sampler == "dps":
            raise SkyweaveError(
                "sampler dps is a guidance method, and there is no guidance without observations"
            )
        method = Method(start="noise", sigma_max=40.0, steps=32)
        given = {own.name: getattr(self, own.name) for own in fields(PriorSettings)}
        made = Settings(method=method, **given)
        unused = made.drawn.guidance_options
        if unused:
            raise SkyweaveError(f"options: {', '.join(unused)}: there is no guidance without observations")
        return made
