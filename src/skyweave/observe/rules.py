"""How sources are used, by kind: what observations in memory and the sources of a configuration have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.keywords import STRICT, check
from skyweave.observe.profiles import ASCENT_RATE
from skyweave.observe.sounding_checks import QualityControl

__all__ = [
    "GRID_OPERATORS", "GridRules", "Interpolation", "PointRules", "ReportRules", "SoundingRules", "SourceRules",
]  # fmt: skip

GRID_OPERATORS = (
    "auto",
    "mask",
    "block-mean",
    "mean",
    "aggregate",
    "bilinear",
    "bicubic",
    "bicubic-antialias",
)

TimeRule = Literal["nearest", "interpolate"]
Window = str | float | np.timedelta64 | pd.Timedelta | None
Interpolation = Literal["bilinear", "bicubic"]
Range = tuple[float | None, float | None]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


def _operator(name: str) -> str:
    if name not in GRID_OPERATORS:
        hint = did_you_mean(name, GRID_OPERATORS)
        raise ValueError(f"{name!r} is not known{hint}; known are {', '.join(GRID_OPERATORS)}")
    return name


def _bias(value: Any) -> Any:
    if value not in (None, "estimate"):
        raise ValueError("it is 'estimate' or None; subtract a known bias from the values")
    return value


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceRules:
    """What sources of every kind share; see `skyweave.GridObservation`."""

    weight: Positive = 1.0
    name: str | None = None
    time_window: Window = None
    time: TimeRule = "nearest"
    bias: Annotated[Literal["estimate"] | None, BeforeValidator(_bias)] = None
    bias_predictors: tuple[str, ...] = ()

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    def __post_init__(self) -> None:
        # Of an observation in memory its rules alone; what it holds it checks itself.
        kind = next(k for k in type(self).__mro__ if k in KINDS)
        check(self, kind, f"observation {self.label!r}")

    @property
    def label(self) -> str:
        """Name of the source in reports."""
        return self.name or "source"

    def _check_range(self, valid: Range | None) -> None:
        low, high = valid or (None, None)
        if low is not None and high is not None and low > high:
            raise SkyweaveError(f"observation {self.label!r}: valid_range ({low}, {high}) is empty")


@dataclass(frozen=True, kw_only=True, eq=False)
class GridRules(SourceRules):
    """What gridded sources share; see `skyweave.GridObservation`."""

    operator: Annotated[str, AfterValidator(_operator)] = "auto"
    min_coverage: Share = 0.999
    min_filled: Share = 0.5
    valid_range: Range | None = None
    units: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_range(self.valid_range)


@dataclass(frozen=True, kw_only=True, eq=False)
class PointRules(SourceRules):
    """What sources of reports at points share; see `skyweave.PointObservation`."""

    interpolation: Interpolation = "bilinear"
    superob: bool = False
    thin: str | float | None = None
    valid_range: Range | Mapping[str, Range | None] | None = None
    units: str | Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        valid = self.valid_range
        for own in valid.values() if isinstance(valid, Mapping) else [valid]:
            self._check_range(own)
        if self.superob and self.thin is not None:
            raise SkyweaveError(
                f"observation {self.label!r}: superob and thin exclude one another, choose one"
            )
        if self.thin not in (None, "cell") and not _positive(self.thin):
            raise SkyweaveError(
                f"observation {self.label!r}: thin={self.thin!r}, give 'cell' or a distance in km"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportRules(PointRules):
    """The same of reports of which some may be aloft; see `skyweave.PointObservation`."""

    level_tolerance: Share = 0.02


@dataclass(frozen=True, kw_only=True, eq=False)
class SoundingRules(SourceRules):
    """How soundings are used; see `skyweave.SoundingObservation`."""

    variables: list[str] | dict[str, str | None] | None = None
    errors: dict[str, float | dict[float, float]] | None = None
    drift: bool = True
    ascent_rate: Positive = ASCENT_RATE
    maximum_gap: Annotated[float, Field(ge=1)] = 1.5
    quality: QualityControl | None = field(default_factory=QualityControl)
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, given in (self.errors or {}).items():
            numbers = list(given.values()) if isinstance(given, dict) else [given]
            if not numbers or not all(np.isfinite(n) and n > 0 for n in numbers):
                raise SkyweaveError(f"errors of soundings: that of {name} is {given!r}, it must be positive")


KINDS: tuple[type, ...] = (GridRules, SoundingRules, ReportRules, PointRules)


def _positive(value: Any) -> bool:
    try:
        return bool(0 < float(value) < np.inf)
    except (TypeError, ValueError):
        return False
