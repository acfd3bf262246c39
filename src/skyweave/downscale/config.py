"""The configuration of a downscaling: what `skyweave downscale ... CONFIG.yaml` reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from skyweave.config import RegionSection, Section, load_config
from skyweave.dates import Period
from skyweave.downscale.settings import (
    PRESETS,
    EncoderSection,
    InferenceSection,
    ModelSection,
    PresetName,
    preset,
)
from skyweave.errors import SkyweaveError, did_you_mean, one_of
from skyweave.io.daily import step_length
from skyweave.limits import MOST
from skyweave.prior.config import LEAST_PATCH, Names, Pair
from skyweave.transform import TRANSFORMS

__all__ = [
    "SEASONS", "DownscaleConfig", "ElevationConfig", "RecordConfig", "Season", "SplitConfig", "load_downscaling",
]  # fmt: skip

Season = Literal["DJF", "MAM", "JJA", "SON", "all"]
SEASONS: tuple[Season, ...] = ("DJF", "MAM", "JJA", "SON")
"""The four seasons; "all" stands for the whole year, unsplit."""


class RecordConfig(Section):
    """One record: files, globs or URLs, and the variables taken from them.

    `least` is the share of the values of a step that a mean over it needs; a step with fewer is missing. `period`
    keeps a part of the record. `layout` "g5nr" reads the files of the nature run or its data server. `missing` are
    numbers that mean a missing value though the files do not say so.
    """

    paths: Names
    variables: Names
    period: Period | None = None
    layout: Literal["cf", "g5nr"] = "cf"
    least: float = Field(default=0.8, gt=0, le=1)
    missing: list[float] | None = None


class ElevationConfig(Section):
    """A digital elevation model in m; its area means on the fine grid are used."""

    path: str
    variable: str


class SplitConfig(Section):
    """How the days of an area and season are divided.

    `fractions` are training, validation and test, in temporal order. Of the training days `train_validation` watch
    the training (plateaus, early stopping), in runs of `block` days, for neighbouring days are much alike; 1 is the
    paper's. A season's lags reach at most `buffer_days` before it. `gaps` says what becomes of a day with a missing
    day among its lags: it is skipped, or, with "fill", missing cells take the last value seen up to `fill_days` days
    earlier. Days that are left out are counted and named either way. Where steps are shorter than a day, all of these
    count steps but `buffer_days`.
    """

    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    train_validation: float = Field(default=0.2, gt=0, lt=1)
    block: int = Field(default=8, ge=1, le=MOST["lead_times"])
    buffer_days: int = Field(default=45, ge=0, le=MOST["lead_times"])
    least_days: int = Field(
        default=20, ge=4, le=MOST["lead_times"], description="target days that a season needs"
    )
    gaps: Literal["skip", "fill"] = "skip"
    fill_days: int = Field(default=3, ge=1, le=MOST["lead_times"])
    seed: int = Field(default=0, ge=0, le=MOST["seed"])

    @field_validator("fractions")
    @classmethod
    def _one(cls, parts: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(parts) <= 0 or abs(sum(parts) - 1) > 1e-6:
            raise ValueError("training, validation and test are positive shares that sum to 1")
        return parts

    @property
    def filled(self) -> int:
        """Days over which gaps among the lags are filled; zero where they are not."""
        return self.fill_days if self.gaps == "fill" else 0


class DownscaleConfig(Section):
    """Everything that a downscaling depends on.

    `shared` names, for each fine variable, the coarse variable of the same meaning; without it names are compared,
    and after that the order decides. `step` is the length of a "day": a frequency such as "1D" or "3h", to which
    finer records are averaged in UTC, or "native". `transform` is one of `skyweave.transform.TRANSFORMS` for all
    variables, or one by variable; `floor` is what values at or below zero become under a logarithm, fitted on training
    days when absent. `pretrain` keeps a part of the coarse record for the transfer encoder. `years_beyond` says what
    the days since start and the year are beyond the training days: the last values seen, or ever larger ones, as in
    the paper. `encoder`, `options` and `inference` hold only what differs from `preset`.
    """

    coarse: RecordConfig
    fine: RecordConfig
    elevation: ElevationConfig | None = None
    areas: dict[str, RegionSection] = Field(default={})
    seasons: tuple[Season, ...] = ("all",)
    overlap: Period | None = None
    pretrain: Period | None = None
    shared: dict[str, str] = Field(default={})
    step: str = "1D"
    lags: int = Field(default=5, ge=1, le=MOST["steps"], description="T_lag, days")
    transform: str | dict[str, str] = "log10"
    floor: float | dict[str, float] | None = None
    years_beyond: Literal["hold", "continue"] = "hold"
    split: SplitConfig = SplitConfig()
    patch: Pair = (16, 16)
    stride: int = Field(default=8, ge=1, le=MOST["stride"])
    memory_gb: float = Field(default=2.0, gt=0)
    model: str = "ddpm"
    preset: PresetName = "default"
    encoder: EncoderSection = EncoderSection()
    options: ModelSection = ModelSection()
    inference: InferenceSection = InferenceSection()
    out: Path = Path("runs/downscale")

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        """The preset's values below those given, so that an error is told under its own key."""
        if not isinstance(values, dict) or values.get("preset", "default") not in PRESETS:
            return values
        name, filled = values.get("preset", "default"), dict(values)
        for key, section in (("encoder", "encoder"), ("options", "model"), ("inference", "inference")):
            given = values.get(key, {})
            if isinstance(given, dict):
                filled[key] = preset(name, section, given)
        return filled

    @field_validator("seasons", mode="before")
    @classmethod
    def _one_season(cls, value: Any) -> Any:
        if value is None or value in ("none", "all", []):
            return ("all",)
        return tuple(SEASONS) if value == "four" else [value] if isinstance(value, str) else value

    @field_validator("seasons")
    @classmethod
    def _apart(cls, value: tuple[Season, ...]) -> tuple[Season, ...]:
        if len(set(value)) < len(value) or ("all" in value and len(value) > 1):
            raise ValueError("each season once, or 'all' alone")
        return value

    @field_validator("step")
    @classmethod
    def _known_step(cls, value: str) -> str:
        if value != "native":
            try:
                step_length(value)
            except SkyweaveError as error:
                raise ValueError(str(error)) from None
        return value

    @field_validator("transform")
    @classmethod
    def _known_transform(cls, value: str | dict[str, str]) -> str | dict[str, str]:
        for kind in value.values() if isinstance(value, dict) else [value]:
            one_of(kind, TRANSFORMS, "transform")
        return value

    @field_validator("areas")
    @classmethod
    def _plain_names(cls, value: dict[str, RegionSection]) -> dict[str, RegionSection]:
        for name in value:
            if not name or not all(c.isalnum() or c in "-_" for c in name):
                raise ValueError(
                    f"area {name!r}: names of areas become folders; use letters, digits, - and _"
                )
        return value

    @model_validator(mode="after")
    def _fits(self) -> DownscaleConfig:
        if min(self.patch) < LEAST_PATCH:
            raise ValueError(f"patch {self.patch}: at least {LEAST_PATCH} x {LEAST_PATCH} cells")
        if self.stride > min(self.patch):
            raise ValueError(f"a stride of {self.stride} leaves gaps between patches of {self.patch} cells")
        known = [*self.coarse.variables, *self.fine.variables]
        for key, given in (("transform", self.transform), ("floor", self.floor)):
            for name in given if isinstance(given, dict) else ():
                if name not in known:
                    raise ValueError(f"{key}: no variable {name!r}{did_you_mean(name, known)}")
        for fine, coarse in self.shared.items():
            if fine not in self.fine.variables or coarse not in self.coarse.variables:
                raise ValueError(
                    f"shared: {fine} (fine) and {coarse} (coarse) are not variables of the records"
                )
        if len(self.fine.variables) > len(self.coarse.variables):
            raise ValueError(
                "every fine variable needs its coarse one: coarse.variables has fewer than fine.variables"
            )
        return self

    def tasks(self) -> Iterator[tuple[str, Season]]:
        """Areas and seasons, one model each; the whole fine grid is the area "all" where none is named."""
        for area in self.areas or ("all",):
            for season in self.seasons:
                yield area, season

    def region(self, area: str) -> dict[str, tuple[float, float]]:
        """Bounds of an area as `skyweave.io.open_fields` takes them; empty for the whole grid."""
        if not self.areas:
            return {}
        box = self.areas[area]
        return {"lat": box.lat, **({} if box.lon is None else {"lon": box.lon})}

    @property
    def step_name(self) -> str:
        """What messages call a step of the records."""
        return "day" if self.step == "1D" else "step"

    @property
    def shared_positions(self) -> tuple[int, ...]:
        """Position, among the coarse variables, of the counterpart of each fine one."""
        coarse = self.coarse.variables
        lower = [name.lower() for name in coarse]
        found = []
        for place, name in enumerate(self.fine.variables):
            partner = self.shared.get(name)
            if partner is not None:
                found.append(coarse.index(partner))
            else:
                found.append(lower.index(name.lower()) if name.lower() in lower else place)
        return tuple(found)


def load_downscaling(path: str | Path) -> DownscaleConfig:
    """Read the configuration of a downscaling from a YAML file; see `skyweave.config.load_config`."""
    return load_config(path, DownscaleConfig)
