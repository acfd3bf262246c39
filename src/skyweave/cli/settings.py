"""The settings of a reconstruction: the YAML of ``skyweave reconstruct``, or the same as flags."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator

from skyweave.cli.source_flags import grid_flag, points_flag
from skyweave.cli.source_settings import (
    OPERATORS,
    Error,
    ErrorSection,
    Fraction,
    GridSource,
    NotNegative,
    PointSource,
    Positive,
    SoundingSource,
    Source,
    one_of,
)
from skyweave.config import RegionSection, Section, parse_config, read_yaml
from skyweave.dates import Moment, Period
from skyweave.limits import MOST

if TYPE_CHECKING:
    from skyweave.cli.flags import Flags

__all__ = [
    "METHODS",
    "OPERATORS",
    "SAMPLERS",
    "Error",
    "ErrorSection",
    "Fraction",
    "GridSource",
    "NotNegative",
    "PointSource",
    "Positive",
    "ReconstructConfig",
    "SoundingSource",
    "Source",
    "settings_from",
]

METHODS = ("covariance", "mmps", "sda", "multimodal", "pigdm", "dps")
SAMPLERS = ("dpm++2m", "dpm++2m-sde", "heun", "ancestral", "daps", "daps-exact", "dps")


class FieldSection(Section):
    """One field of a file."""

    path: str
    variable: str


Count = Annotated[int, Field(ge=1, le=MOST["frames"])]


class InnovationSection(Section):
    """How errors and biases are estimated from innovations: see `skyweave.sources.estimates.Estimation`."""

    method: Literal["leave-out", "likelihood", "desroziers"] | None = None
    times: Count | None = None
    enough: Count | None = None
    leave: Literal["rows", "sources"] | None = None
    folds: Annotated[int, Field(ge=2, le=MOST["batch"])] | None = None
    members: Annotated[int, Field(ge=4, le=MOST["members"])] | None = None
    steps: Annotated[int, Field(ge=4, le=MOST["steps"])] | None = None
    iterations: Count | None = None
    trust: Annotated[float, Field(gt=1)] | None = None


class ReconstructConfig(Section):
    """Everything a reconstruction depends on.

    `like` is a file whose grid (and times, if it has them) the fields take; without it they take those of the
    first gridded source. `region` and `period` cut that file, or the gridded sources where there is none.
    `domain_mask` is true where fields are wanted. `weights: innovations` estimates the errors of the sources.
    `on_conflict` says what happens where the prior cannot know the scene: see docs/scenes.md.
    """

    prior: str
    observations: list[Source] = Field(min_length=1)
    like: str | None = None
    region: RegionSection | None = None
    period: Period | None = None
    times: list[Moment] | None = None
    domain_mask: FieldSection | None = None
    members: int = Field(16, ge=1, le=MOST["members"])
    seed: int = Field(0, ge=0, le=MOST["seed"])
    method: str = "covariance"
    sampler: str | None = None
    steps: int | None = Field(None, ge=2, le=MOST["steps"])
    batch: int | None = Field(None, ge=1, le=MOST["batch"])
    quantiles: list[Annotated[float, Field(gt=0, lt=1)]] = Field(default=[0.05, 0.5, 0.95])
    recalibrate: bool = False
    options: dict[str, Any] = Field(default={})
    weights: Literal["stated", "innovations"] = "stated"
    anchor: list[str] | None = None
    innovations: InnovationSection = InnovationSection()
    on_conflict: Literal["warn", "refuse", "widen"] = "warn"
    autocast: bool = False
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    out: Path | None = None
    overwrite: bool = False

    @field_validator("method")
    @classmethod
    def _known_method(cls, name: str) -> str:
        return one_of(name, METHODS, "method")

    @field_validator("sampler")
    @classmethod
    def _known_sampler(cls, name: str | None) -> str | None:
        return name if name is None else one_of(name, SAMPLERS, "sampler")


def settings_from(config: Path | None, flags: Flags | None) -> ReconstructConfig:
    """A YAML, with what the flags say in its place; or flags alone.

    Raises:
        SkyweaveError: anything in either is wrong; the message lists every error.
    """
    values: dict[str, Any] = {} if config is None else read_yaml(config)
    given = {} if flags is None else {k: v for k, v in flags.given().items() if v is not None}
    sources = [grid_flag(text) for text in given.pop("grid", ())]
    sources += [points_flag(text) for text in given.pop("points", ())]
    sources += [{"soundings": text} for text in given.pop("soundings", ())]
    if sources:
        values["observations"] = sources
    values |= given
    return parse_config(values, ReconstructConfig, source=str(config) if config else "command line")
