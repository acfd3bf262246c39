"""The settings of a fused forecast: the YAML of ``skyweave fuse``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from skyweave.cli.settings import PlaceSection, Source
from skyweave.config import Section
from skyweave.dates import Moment, Period
from skyweave.limits import MOST
from skyweave.reconstruction.settings import FusionSettings, Members

__all__ = ["ForecastSection", "FuseConfig", "PastSection"]


class ForecastSection(Section):
    """A forecast: a file with a dimension of lead times, or of valid times with the `init_time` said here.

    `init_time` also chooses among several.
    """

    path: str
    init_time: Moment | None = None

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, value: object) -> object:
        return {"path": value} if isinstance(value, str) else value


class PastSection(Section):
    """Forecasts of the past and what came, at times that the prior was not trained on.

    Either `forecasts`, a file with one for each initial time, or an `emulator` that is run from `starts` times of the
    truth. `period` cuts the truth.
    """

    forecasts: str | None = None
    emulator: str | None = None
    truth: str | list[str]
    period: Period | None = None
    starts: int = Field(60, ge=4, le=MOST["starts"])

    @model_validator(mode="after")
    def _one(self) -> PastSection:
        if (self.forecasts is None) == (self.emulator is None):
            raise ValueError("give either forecasts (a file) or emulator")
        return self


@dataclass(frozen=True, kw_only=True, eq=False)
class FuseConfig(PlaceSection, FusionSettings):
    """Everything a fused forecast depends on: its files, and the `FusionSettings` of the library by name.

    `like` gives the grid of the analyses, the forecast's by default; their times are those of the forecast.
    """

    forecast: ForecastSection
    past: PastSection
    observations: list[Source] = field(default_factory=list)
    members: Annotated[Members, Field(ge=2)] = 16
    out: Path
    overwrite: bool = False
