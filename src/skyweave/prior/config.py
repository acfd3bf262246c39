"""The configuration of a training run: what `skyweave train CONFIG.yaml` reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from skyweave.config import RegionSection, Section
from skyweave.dates import Period
from skyweave.diffusion.network import LIMITS, MOST_LEVELS, attention_levels
from skyweave.errors import did_you_mean, one_of
from skyweave.learn.config import RunConfig
from skyweave.limits import MOST
from skyweave.prior.conditioning import CONDITIONING, STATIC
from skyweave.prior.corruption import CorruptionConfig
from skyweave.prior.presets import PRESETS, Preset, find_preset
from skyweave.transform import TRANSFORMS


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _as_pair(value: object) -> object:
    return [value, value] if isinstance(value, int) else value


Multipliers = Annotated[
    tuple[Annotated[int, Field(ge=1, le=LIMITS["multipliers"][1])], ...],
    Field(min_length=1, max_length=MOST_LEVELS),
]
Names = Annotated[list[str], BeforeValidator(_as_list)]
Cells = Annotated[int, Field(ge=1, le=MOST["patch"])]
Pair = Annotated[tuple[Cells, Cells], BeforeValidator(_as_pair)]


LEAST_PATCH = 4
"""Cells along a patch, fewer of which have no covariance with distance."""


def check_transforms(kinds: Mapping[str, str]) -> None:
    """Refuse transforms, by variable, that there are none of.

    Raises:
        ValueError: with those that there are.
    """
    for name, kind in kinds.items():
        try:
            one_of(kind, TRANSFORMS, "transform")
        except ValueError as error:
            raise ValueError(f"transform.{name}: {error}") from None


class StaticConfig(Section):
    """Where a static conditioning field comes from."""

    path: str
    variable: str


class DataConfig(Section):
    """What the prior learns from.

    `paths` are files, globs or URLs; `units` replace those of the files where these state none; `missing` are numbers
    that mean a missing value though the files do not say so; fields up to `memory_gb` are held in memory, longer
    records are read in blocks of at most that size.
    """

    paths: Names
    variables: Names
    units: dict[str, str] = Field(default={})
    missing: list[float] | None = None
    region: RegionSection | None = None
    conditioning: list[str] = Field(default=[])
    static: dict[str, StaticConfig] = Field(default={})
    memory_gb: float = Field(default=4.0, gt=0)

    @field_validator("conditioning")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        return [one_of(name, CONDITIONING, "conditioning") for name in names]

    @model_validator(mode="after")
    def _static_files(self) -> DataConfig:
        for name in self.conditioning:
            if name in STATIC and name not in self.static:
                raise ValueError(f"conditioning on {name} needs static.{name} with a path and a variable")
        return self


class SplitConfig(Section):
    """First and last time of training and of validation, both inclusive: ``["2014-06-01", "2014-06-17"]``."""

    train: Period
    validate_: Period = Field(alias="validate")

    model_config = ConfigDict(populate_by_name=True)

    @model_validator(mode="after")
    def _apart(self) -> SplitConfig:
        a, b, c, d = (day.replace(" ", "T") for day in (*self.train, *self.validate_))
        if not (b < c and not c.startswith(b)) and not (d < a and not a.startswith(d)):
            raise ValueError(f"training ({a} to {b}) and validation ({c} to {d}) overlap")
        return self


class NetworkConfig(Section):
    """A preset, and what of it to replace; `attention` is a list of feature-map sizes of a patch."""

    preset: str = "small"
    base: int | None = Field(default=None, ge=4, le=LIMITS["base"][1])
    multipliers: Multipliers | None = None
    blocks: int | None = Field(default=None, ge=1, le=LIMITS["blocks"][1])
    attention: list[Pair] | None = None
    dropout: float | None = Field(default=None, ge=0, lt=1)
    norm: Literal["group", "cell"] | None = None

    @field_validator("preset")
    @classmethod
    def _known(cls, name: str) -> str:
        return one_of(name, PRESETS, "preset")


class NoiseConfig(Section):
    """Noise levels seen in training, ``ln sigma ~ N(p_mean, p_std^2)``; the preset's where not given."""

    p_mean: float | None = None
    p_std: float | None = Field(default=None, gt=0)
    sigma_data: float | None = Field(default=None, gt=0)


class FieldsConfig(RunConfig):
    """A run that learns from fields: `transform` and `bounds` are those of variables of `data`."""

    data: DataConfig
    split: SplitConfig
    transform: dict[str, str] = Field(default={})
    bounds: dict[str, tuple[float | None, float | None]] = Field(default={})

    @model_validator(mode="after")
    def _of_variables(self) -> FieldsConfig:
        for section, given in (("transform", self.transform), ("bounds", self.bounds)):
            for name in given:
                if name not in self.data.variables:
                    raise ValueError(
                        f"{section}.{name}: not among data.variables{did_you_mean(name, self.data.variables)}"
                    )
        check_transforms(self.transform)
        return self


class TrainConfig(FieldsConfig):
    """All a training run depends on; `out` receives checkpoints, `metrics.jsonl` and `prior.safetensors`.

    With a `window` of several frames the prior describes sequences; with `corruption` it learns from data with gaps.
    `start_from` is a prior of the same shape whose weights the run begins with.
    """

    patch: Pair = (32, 32)
    window: int = Field(default=1, ge=1, le=LIMITS["window"][1], description="frames, odd")
    corruption: CorruptionConfig | None = None
    min_observed: float = Field(default=0.0, ge=0, lt=1, description="share of a patch that must be observed")
    start_from: Path | None = None
    network: NetworkConfig = NetworkConfig()
    noise: NoiseConfig = NoiseConfig()
    autocast: bool = Field(default=True, description="bfloat16 in the network, on devices that compute in it")
    validation_sigmas: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0)
    validation_patches: int = Field(default=64, ge=1, le=MOST["starts"])

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        if min(self.patch) < LEAST_PATCH:
            raise ValueError(f"patch {self.patch}: at least {LEAST_PATCH} x {LEAST_PATCH} cells")
        if self.window % 2 == 0:
            raise ValueError(f"window {self.window}: an odd number of frames, w = 2k + 1")
        self.preset()
        return self

    def preset(self) -> Preset:
        """The architecture and noise distribution asked for."""
        n = self.network
        own = PRESETS[n.preset].architecture.multipliers if n.multipliers is None else n.multipliers
        preset = find_preset(
            n.preset,
            base=n.base,
            multipliers=n.multipliers,
            blocks=n.blocks,
            attention=None if n.attention is None else attention_levels(n.attention, self.patch, len(own)),
            dropout=n.dropout,
            norm=n.norm,
        )
        noise = self.noise
        return Preset(
            replace(preset.architecture, window=self.window, masked=self.corruption is not None),
            preset.p_mean if noise.p_mean is None else noise.p_mean,
            preset.p_std if noise.p_std is None else noise.p_std,
            preset.sigma_data if noise.sigma_data is None else noise.sigma_data,
        )
