"""The sources of observations in a YAML: grids, tables of reports, soundings, AERONET, GOES and swaths."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, is_dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from skyweave.keywords import STRICT, values_of
from skyweave.observe.error_model import ErrorModel
from skyweave.observe.rules import GridRules, PointRules, ReportRules, SoundingRules

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]
Paths = str | list[str]


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


Error = Annotated[ErrorModel, BeforeValidator(parse_error)]


def _format(text: str | None) -> str | None:
    try:
        datetime.strptime("", text or "")
    except (ValueError, re.error) as error:
        if "does not match" not in str(error):
            raise ValueError(f"no format of dates: {error}") from None
    return text


Quality = dict[str, float | tuple[float, float] | list[str] | str]


def _zone(value: object) -> object:
    # YAML reads +10:00 as the number 600, by sixties.
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError("put the offset into quotation marks, as in '+10:00'")
    return value


@dataclass(frozen=True, kw_only=True, eq=False)
class GridSource(GridRules):
    """A gridded source: `variable` is its name in the file, `of` the prior's (the same by default).

    `error_variable` names a field of the same file with an error per cell. `missing` names numbers that mean "no value"
    and that the file does not declare; `quality` keeps cells by fields of flags, as for tables.
    """

    grid: Paths
    variable: str
    of: str | None = None
    error: Error | None = None
    error_variable: str | None = None
    missing: list[float] | None = None
    quality: Quality | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class TableSection(PointRules):
    """What sources of reports at points share; `errors` has one error per variable where they differ."""

    error: Error | None = None
    errors: dict[str, Error] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class PointSource(TableSection, ReportRules):
    """Files of reports of any kind that `skyweave.io.read_reports` knows; text tables and spreadsheets need most keys.

    `variables` has the names that are taken, or `{t2m: T2}`: the prior's name, and that of the file. `columns`,
    `constants`, `missing`, `time_format`, `time_zone` and `decimal` say how to read a table. `quality` keeps reports by
    columns of flags: `{t2m_qc: 1}` the greatest kept, `[0, 1]` the least and the greatest, `["V", "P"]` the flags.
    `units` may have one unit per variable. Reports of aircraft are used within `level_tolerance` (a fraction of the
    pressure) of a level of the prior.
    """

    points: Paths
    variables: list[str] | dict[str, str] | None = None
    columns: dict[str, str | list[str]] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)
    missing: list[float | str] | None = None
    quality: Quality | None = None
    time_format: Annotated[str | None, AfterValidator(_format)] = None
    time_zone: Annotated[str | None, BeforeValidator(_zone)] = None
    decimal: Literal[".", ","] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class AeronetSource(TableSection):
    """AERONET version 3 AOD, all points: see `skyweave.io.read_aeronet`; `of` is the prior's variable ("AOD").

    The files give errors, which win over `error`.
    """

    aeronet: Paths
    of: str = "AOD"
    wavelength: Positive = 550.0
    minimum_level: float = 1.5
    window: str | None = "1h"
    minimum_count: Annotated[int, Field(ge=1)] = 2
    method: Literal["angstrom", "quadratic"] = "angstrom"


@dataclass(frozen=True, kw_only=True, eq=False)
class PixelSection(GridRules):
    """What sources of pixels share, which are averaged over the target's cells, or cells of `resolution` degrees."""

    of: str | None = None
    error: Error | None = None
    resolution: Positive | tuple[Positive, Positive] | None = None
    minimum_share: Fraction = 0.2


@dataclass(frozen=True, kw_only=True, eq=False)
class GoesSource(PixelSection):
    """GOES ABI level-2 AOD granules: see `skyweave.io.read_goes_aod`; `quality` is the greatest flag kept, 0 to 2."""

    goes: Paths
    quality: Literal[0, 1, 2] = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class SwathSource(PixelSection):
    """Level-2 files with two-dimensional latitude and longitude: see `skyweave.io.grid_swath`.

    `quality` keeps pixels by other variables of the file: `{flag: 1}` the greatest value kept, `{flag: [2, 3]}` the
    least and the greatest.
    """

    swath: Paths
    variable: str
    quality: dict[str, float | tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class BackgroundSection:
    """Fields that soundings are compared with; `error` is theirs, by variable or for all."""

    path: Paths
    error: Positive | dict[str, Positive] | None = None

    __pydantic_config__: ClassVar[ConfigDict] = STRICT


@dataclass(frozen=True, kw_only=True, eq=False)
class SoundingSource(SoundingRules):
    """Radiosondes, as IGRA or BUFR files; see `skyweave.SoundingObservation`. `quality: null` makes no checks."""

    soundings: Paths
    stations: str | None = None
    background: BackgroundSection | None = None


KINDS = {
    "soundings": "soundings",
    "points": "a table of points",
    "aeronet": "AERONET",
    "goes": "GOES",
    "swath": "a swath",
}


def _kind(value: Any) -> str:
    keys = values_of(value) if is_dataclass(value) and not isinstance(value, type) else value
    if not isinstance(keys, dict):
        return "a grid"
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
