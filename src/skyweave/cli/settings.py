"""The settings of a reconstruction: the YAML of ``skyweave reconstruct``, or the same as flags."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator

from skyweave.config import RegionSection, Section, parse_config, read_yaml
from skyweave.dates import Moment, Period
from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.limits import MOST

if TYPE_CHECKING:
    from skyweave.cli.flags import Flags

METHODS = ("covariance", "mmps", "sda", "multimodal", "pigdm", "dps")
OPERATORS = (
    "auto",
    "mask",
    "block-mean",
    "mean",
    "aggregate",
    "bilinear",
    "bicubic",
    "bicubic-antialias",
)
SAMPLERS = ("dpm++2m", "dpm++2m-sde", "heun", "ancestral", "daps", "daps-exact", "dps")

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]


class ErrorSection(Section):
    """Error of one source, in its own units; `relative` is a fraction of the observed value."""

    absolute: NotNegative = 0.0
    relative: NotNegative = 0.0
    representativeness: NotNegative = 0.0
    correlation_length_km: Positive | None = None
    correlation: Literal["exponential", "gaspari-cohn"] = "exponential"


def parse_error(value: object) -> object:
    """``0.5``, ``"10%"`` or ``"0.05+10%"`` (absolute plus relative) as keys of an error; others unchanged.

    Raises:
        ValueError: a text of another form.
    """
    if isinstance(value, bool):
        raise ValueError("expected a number, not true or false")
    if isinstance(value, (int, float)):
        return {"absolute": value}
    if not isinstance(value, str):
        return value
    parts: dict[str, float] = {}
    for word in value.split("+"):
        key = "relative" if word.strip().endswith("%") else "absolute"
        try:
            number = float(word.strip().removesuffix("%"))
        except ValueError:
            raise ValueError("an error is a number, a percentage, or both as in 0.05+10%") from None
        if key in parts:
            raise ValueError(f"two {key} errors in one")
        parts[key] = number / 100 if key == "relative" else number
    return parts


Error = Annotated[ErrorSection, BeforeValidator(parse_error)]


Range = tuple[float | None, float | None]


class BiasSection(Section):
    """The bias of a source: `estimate` it from innovations, as a constant and linear in predictors."""

    bias: Literal["estimate"] | None = None
    bias_predictors: list[str] = Field(default=[])


class SourceSection(BiasSection):
    """What sources of either kind share: see `skyweave.GridObservation` and `skyweave.PointObservation`."""

    error: Error | None = None
    weight: Positive = 1.0
    name: str | None = None
    time_window: str | float | None = None
    time: Literal["nearest", "interpolate"] = "nearest"
    valid_range: Range | None = None


class GridSource(SourceSection):
    """A gridded source: `variable` is its name in the file, `of` the prior's (the same by default).

    `error_variable` names a field of the same file with an error per cell.
    """

    grid: str | list[str]
    variable: str
    of: str | None = None
    operator: str = "auto"
    min_coverage: Fraction | None = None
    min_filled: Fraction | None = None
    error_variable: str | None = None
    units: str | None = None

    @field_validator("operator")
    @classmethod
    def _known_operator(cls, name: str) -> str:
        return _one_of(name, OPERATORS, "operator")


class PointSource(SourceSection):
    """A table of reports; `columns`, `constants`, `missing` and `time_format` say how to read it.

    `errors` has one error per variable where they differ, `units` may have one unit per variable.
    """

    points: str
    units: str | dict[str, str] | None = None
    errors: dict[str, Error] = Field(default={})
    columns: dict[str, str] = Field(default={})
    constants: dict[str, Any] = Field(default={})
    missing: list[float] = Field(default=[])
    time_format: str | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    superob: bool = False
    thin: Literal["cell"] | Positive | None = None

    @field_validator("time_format")
    @classmethod
    def _known_format(cls, text: str | None) -> str | None:
        try:
            datetime.strptime("", text or "")
        except ValueError as error:
            if "directive" in str(error) or "format" in str(error).partition("does not match")[0]:
                raise ValueError(f"no format of dates: {error}") from None
        except re.error as error:
            raise ValueError(f"no format of dates: {error}") from None
        return text


class QualitySection(Section):
    """Checks of soundings, see `skyweave.observe.sounding_checks.QualityControl`; null leaves one out."""

    ranges: dict[str, dict[float, tuple[float, float]]] | None = Field(default={})
    hypsometric: Positive | None = 3.0
    superadiabatic: Positive | None = 1.0
    shear: tuple[NotNegative, NotNegative] | None = (20.0, 0.05)
    humidity_top: Positive | None = 100.0
    departure: Positive | None = 4.0


class BackgroundSection(Section):
    """Fields that soundings are compared with; `error` is theirs, by variable or for all."""

    path: str | list[str]
    error: Positive | dict[str, Positive] | None = None


class SoundingSource(BiasSection):
    """Radiosondes, as IGRA files: see `skyweave.observe.soundings.sounding_observations`.

    `variables` are names of the prior's, or each with its quantity; `errors` replace the documented ones by variable
    or quantity, a number or numbers by pressure in hPa. `quality: null` makes no checks.
    """

    soundings: str | list[str]
    stations: str | None = None
    variables: list[str] | dict[str, str] | None = None
    errors: dict[str, Positive | dict[float, Positive]] = Field(default={})
    drift: bool = True
    ascent_rate: Positive = 5.0
    maximum_gap: Annotated[float, Field(ge=1)] = 1.5
    quality: QualitySection | None = QualitySection()
    background: BackgroundSection | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    weight: Positive = 1.0
    name: str | None = None
    time_window: str | float | None = None
    time: Literal["nearest", "interpolate"] = "nearest"


def _kind(value: Any) -> str:
    keys = value if isinstance(value, dict) else getattr(value, "__dict__", ())
    if "soundings" in keys:
        return "soundings"
    return "a table of points" if "points" in keys else "a grid"


Source = Annotated[
    Annotated[GridSource, Tag("a grid")]
    | Annotated[PointSource, Tag("a table of points")]
    | Annotated[SoundingSource, Tag("soundings")],
    Discriminator(_kind),
]


class FieldSection(Section):
    """One field of a file."""

    path: str
    variable: str


Count = Annotated[int, Field(ge=1, le=MOST["frames"])]


class InnovationSection(Section):
    """How errors and biases are estimated from innovations: see `skyweave.posterior.sources.Estimation`."""

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
    autocast: bool = False
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    out: Path | None = None
    overwrite: bool = False

    @field_validator("method")
    @classmethod
    def _known_method(cls, name: str) -> str:
        return _one_of(name, METHODS, "method")

    @field_validator("sampler")
    @classmethod
    def _known_sampler(cls, name: str | None) -> str | None:
        return name if name is None else _one_of(name, SAMPLERS, "sampler")


def _one_of(name: str, known: tuple[str, ...], what: str) -> str:
    if name not in known:
        raise ValueError(f"no {what} {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}")
    return name


def grid_flag(text: str) -> dict[str, Any]:
    """``PATH:VARIABLE[=ERROR]`` as a gridded source; the path may hold colons, as URLs do.

    Raises:
        SkyweaveError: no variable is named.
    """
    body, _, error = text.partition("=") if "://" not in text else _split_url(text)
    path, colon, variable = body.rpartition(":")
    if not colon or not path or not variable or variable.startswith("//"):
        raise SkyweaveError(f"--grid {text}: expected PATH:VARIABLE[=ERROR], as in obs.nc:t2m=0.5")
    return {"grid": path, "variable": variable} | ({"error": error} if error else {})


def _split_url(text: str) -> tuple[str, str, str]:
    # A query string of a URL may hold "=" too; the error comes after the last colon.
    path, _, tail = text.rpartition(":")
    variable, equals, error = tail.partition("=")
    return f"{path}:{variable}", equals, error


def points_flag(text: str) -> dict[str, Any]:
    """``PATH[=ERROR]`` as a table of points."""
    path, equals, error = text.rpartition("=")
    return {"points": path, "error": error} if equals else {"points": text}


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
