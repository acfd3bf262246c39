"""What the JSON headers of trained files may hold: checked before a grid, a transform or a network is built of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from skyweave.diffusion.network import LIMITS, MOST_LEVELS
from skyweave.io.tensors import Part
from skyweave.prior.conditioning import CONDITIONING, STATIC

__all__ = [
    "ArchitectureHeader", "ConditioningHeader", "GridHeader", "PriorHeader", "SpecHeader",
    "StateTransformHeader", "check_channels",
]  # fmt: skip

MOST_VARIABLES = 4096
MOST_POINTS = 50_000
"""Of an axis: 800 m round the globe."""

Finite = Annotated[float, Field(allow_inf_nan=False, strict=False)]
Text = Annotated[str, Field(max_length=1000)]
Bound = Finite | None
Axis = Annotated[list[Finite], Field(min_length=1, max_length=MOST_POINTS)]


class VariableHeader(Part):
    """See `skyweave.state.Variable`."""

    name: Annotated[str, Field(min_length=1, max_length=1000)]
    units: Text
    standard_name: Text = ""
    long_name: Text = ""
    bounds: Annotated[list[Bound], Field(min_length=2, max_length=2, default_factory=lambda: [None, None])]
    level: Bound = None


class SpecHeader(Part):
    """See `skyweave.state.StateSpec`."""

    variables: Annotated[list[VariableHeader], Field(min_length=1, max_length=MOST_VARIABLES)]
    resolution: (
        Annotated[list[Annotated[float, Field(gt=0, le=360)]], Field(min_length=2, max_length=2)] | None
    ) = None
    window: Annotated[int, Field(ge=1, le=LIMITS["window"][1])] = 1
    time_step: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class GridHeader(Part):
    """See `skyweave.grid.Grid`."""

    lat: Axis
    lon: Axis
    lat_name: Text = "lat"
    lon_name: Text = "lon"


class TransformHeader(Part):
    """One of `skyweave.transform.TRANSFORMS`, whose own checks follow: its kind and finite numbers."""

    model_config = ConfigDict(extra="allow", strict=True)
    __pydantic_extra__: dict[str, Finite]

    kind: Annotated[str, Field(max_length=100)]


class StateTransformHeader(Part):
    """See `skyweave.transform.StateTransform`."""

    transforms: Annotated[list[TransformHeader], Field(min_length=1, max_length=MOST_VARIABLES)]


def _count(name: str) -> Any:
    low, high = LIMITS[name]
    return Field(ge=low, le=high)


class ArchitectureHeader(Part):
    """See `skyweave.diffusion.network.Architecture`."""

    base: Annotated[int, _count("base")]
    multipliers: Annotated[
        list[Annotated[int, _count("multipliers")]], Field(min_length=1, max_length=MOST_LEVELS)
    ]
    blocks: Annotated[int, _count("blocks")]
    attention: Annotated[
        list[Annotated[int, _count("attention")]], Field(max_length=MOST_LEVELS, default_factory=list)
    ]
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    norm: Literal["group", "cell"] = "group"
    embedding: Annotated[int, _count("embedding")] = 4
    window: Annotated[int, _count("window")] = 1
    masked: bool = False


class ConditioningHeader(Part):
    """See `skyweave.prior.conditioning.Conditioning`."""

    names: Annotated[list[Literal[tuple(CONDITIONING)]], Field(max_length=100)]  # type: ignore[valid-type]
    static: dict[Literal[STATIC], GridHeader]  # type: ignore[valid-type]

    @model_validator(mode="after")
    def _surfaces(self) -> ConditioningHeader:
        lacking = [name for name in self.names if name in STATIC and name not in self.static]
        if lacking:
            raise ValueError(f"no grid of {lacking[0]}")
        return self


class CalibrationHeader(BaseModel):
    """What is told of the calibration of a prior, so far as it is computed with."""

    model_config = ConfigDict(extra="ignore", strict=True)

    spread_factor: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    kinds: dict[str, dict[str, float]] = {}


class PriorMetadata(BaseModel):
    """What is told of a prior, so far as it is computed with."""

    model_config = ConfigDict(extra="ignore", strict=True)

    calibration: CalibrationHeader | None = None


class PriorHeader(BaseModel):
    """The header of a prior; further keys are left to those who know them."""

    model_config = ConfigDict(extra="ignore", strict=True)

    spec: SpecHeader
    transform: StateTransformHeader
    patch: Annotated[list[Annotated[int, Field(ge=1, le=2**20)]], Field(min_length=2, max_length=2)]
    architecture: ArchitectureHeader
    sigma_data: Annotated[float, Field(gt=0, le=1e6)]
    conditioning: ConditioningHeader
    metadata: PriorMetadata

    @model_validator(mode="after")
    def _fits(self) -> PriorHeader:
        check_channels(self.spec, self.transform)
        if self.spec.window != self.architecture.window:
            raise ValueError(
                f"windows of {self.spec.window} frames, the network has {self.architecture.window}"
            )
        return self


def check_channels(spec: SpecHeader, transform: StateTransformHeader) -> None:
    """Refuse another number of transforms than of variables.

    Raises:
        ValueError: with both.
    """
    if len(spec.variables) != len(transform.transforms):
        raise ValueError(f"{len(spec.variables)} variables, {len(transform.transforms)} transforms")
