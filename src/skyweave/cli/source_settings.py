"""The sources of observations in a YAML: grids, tables of reports, soundings, AERONET, GOES and swaths."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator

from skyweave.config import Section
from skyweave.errors import did_you_mean

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

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]


def one_of(name: str, known: tuple[str, ...], what: str) -> str:
    """A name that is among those known.

    Raises:
        ValueError: it is not.
    """
    if name not in known:
        raise ValueError(f"no {what} {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}")
    return name


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


Quality = dict[str, float | tuple[float, float] | list[str] | str]


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

    `error_variable` names a field of the same file with an error per cell. `missing` names numbers that mean "no value"
    and that the file does not declare; `quality` keeps cells by fields of flags, as for tables.
    """

    grid: str | list[str]
    variable: str
    of: str | None = None
    operator: str = "auto"
    min_coverage: Fraction | None = None
    min_filled: Fraction | None = None
    error_variable: str | None = None
    units: str | None = None
    missing: list[float] | None = None
    quality: Quality | None = None

    @field_validator("operator")
    @classmethod
    def _known_operator(cls, name: str) -> str:
        return one_of(name, OPERATORS, "operator")


class TableSection(SourceSection):
    """What sources of reports at points share."""

    units: str | dict[str, str] | None = None
    errors: dict[str, Error] = Field(default={})
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    superob: bool = False
    thin: Literal["cell"] | Positive | None = None


class PointSource(TableSection):
    """Files of reports of any kind that `skyweave.io.read_reports` knows; text tables and spreadsheets need most keys.

    `variables` has the names that are taken, or `{t2m: T2}`: the prior's name, and that of the file. `columns`,
    `constants`, `missing`, `time_format`, `time_zone` and `decimal` say how to read a table. `quality` keeps reports by
    columns of flags: `{t2m_qc: 1}` the greatest kept, `[0, 1]` the least and the greatest, `["V", "P"]` the flags.
    `errors` has one error per variable where they differ, `units` may have one unit per variable. Reports of aircraft
    are used within `level_tolerance` (a fraction of the pressure) of a level of the prior.
    """

    points: str | list[str]
    variables: list[str] | dict[str, str] | None = None
    columns: dict[str, str | list[str]] = Field(default={})
    constants: dict[str, Any] = Field(default={})
    missing: list[float | str] | None = None
    quality: Quality | None = None
    time_format: str | None = None
    time_zone: str | None = None
    decimal: Literal[".", ","] | None = None
    level_tolerance: Fraction = 0.02

    @field_validator("time_format")
    @classmethod
    def _known_format(cls, text: str | None) -> str | None:
        try:
            datetime.strptime("", text or "")
        except (ValueError, re.error) as error:
            if "does not match" not in str(error):
                raise ValueError(f"no format of dates: {error}") from None
        return text

    @field_validator("time_zone", mode="before")
    @classmethod
    def _zone_as_written(cls, value: object) -> object:
        # YAML reads +10:00 as the number 600, by sixties.
        if isinstance(value, int) and not isinstance(value, bool):
            raise ValueError("put the offset into quotation marks, as in '+10:00'")
        return value


class AeronetSource(TableSection):
    """AERONET version 3 AOD, all points: see `skyweave.io.read_aeronet`; `of` is the prior's variable ("AOD").

    The files give errors, which win over `error`.
    """

    aeronet: str | list[str]
    of: str = "AOD"
    wavelength: Positive = 550.0
    minimum_level: float = 1.5
    window: str | None = "1h"
    minimum_count: Annotated[int, Field(ge=1)] = 2
    method: Literal["angstrom", "quadratic"] = "angstrom"


class PixelSection(SourceSection):
    """What sources of pixels share, which are averaged over the target's cells, or cells of `resolution` degrees."""

    of: str | None = None
    operator: str = "auto"
    resolution: Positive | tuple[Positive, Positive] | None = None
    minimum_share: Fraction = 0.2
    min_coverage: Fraction | None = None
    min_filled: Fraction | None = None

    @field_validator("operator")
    @classmethod
    def _known_operator(cls, name: str) -> str:
        return one_of(name, OPERATORS, "operator")


class GoesSource(PixelSection):
    """GOES ABI level-2 AOD granules: see `skyweave.io.read_goes_aod`; `quality` is the greatest flag kept, 0 to 2."""

    goes: str | list[str]
    quality: Literal[0, 1, 2] = 1


class SwathSource(PixelSection):
    """Level-2 files with two-dimensional latitude and longitude: see `skyweave.io.grid_swath`.

    `quality` keeps pixels by other variables of the file: `{flag: 1}` the greatest value kept, `{flag: [2, 3]}` the
    least and the greatest.
    """

    swath: str | list[str]
    variable: str
    quality: dict[str, float | tuple[float, float]] = Field(default={})
    units: str | None = None


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


KINDS = {
    "soundings": "soundings",
    "points": "a table of points",
    "aeronet": "AERONET",
    "goes": "GOES",
    "swath": "a swath",
}


def _kind(value: Any) -> str:
    keys = value if isinstance(value, dict) else getattr(value, "__dict__", ())
    return next((tag for key, tag in KINDS.items() if key in keys), "a grid")


Source = Annotated[
    Annotated[GridSource, Tag("a grid")]
    | Annotated[PointSource, Tag("a table of points")]
    | Annotated[SoundingSource, Tag("soundings")]
    | Annotated[AeronetSource, Tag("AERONET")]
    | Annotated[GoesSource, Tag("GOES")]
    | Annotated[SwathSource, Tag("a swath")],
    Discriminator(_kind),
]
