"""The settings of a fused forecast: the YAML of ``skyweave fuse``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from skyweave.cli.settings import Source
from skyweave.config import RegionSection, Section
from skyweave.dates import Moment, Period
from skyweave.limits import MOST

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


class FuseConfig(Section):
    """Everything a fused forecast depends on; sources, `like`, `region` and sampling as in a reconstruction.

    `like` gives the grid of the analyses, the forecast's by default; their times are those of the forecast.
    """

    prior: str
    forecast: ForecastSection
    past: PastSection
    observations: list[Source] = Field(default_factory=list)
    like: str | None = None
    region: RegionSection | None = None
    members: int = Field(16, ge=2, le=MOST["members"])
    seed: int = Field(0, ge=0, le=MOST["seed"])
    sampler: str | None = None
    steps: int | None = Field(None, ge=4, le=MOST["steps"])
    batch: int | None = Field(None, ge=1, le=MOST["batch"])
    quantiles: list[Annotated[float, Field(gt=0, lt=1)]] = Field(default_factory=lambda: [0.05, 0.5, 0.95])
    autocast: bool = False
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    out: Path
    overwrite: bool = False
