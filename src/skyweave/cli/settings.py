"""The settings of a reconstruction: the YAML of ``skyweave reconstruct``, or the same as flags."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from skyweave.cli.flags import given
from skyweave.cli.source_flags import grid_flag, points_flag
from skyweave.cli.source_settings import GridSource, PointSource, SoundingSource, Source
from skyweave.config import RegionSection, parse_config, read_yaml
from skyweave.dates import Moment, Period
from skyweave.keywords import STRICT
from skyweave.reconstruction.settings import Settings

if TYPE_CHECKING:
    from skyweave.cli.flags import Flags

__all__ = [
    "GridSource", "PlaceSection", "PointSource", "ReconstructConfig", "SoundingSource", "Source", "TimesSection",
    "settings_from",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class PlaceSection:
    """The prior, the sources and the grid of fields.

    `like` is a file whose grid (and times, if it has them) the fields take; without it they take those of the
    first gridded source. `region` cuts that file, or the gridded sources where there is none.
    """

    prior: str
    observations: Annotated[list[Source], Field(min_length=1)]
    like: str | None = None
    region: RegionSection | None = None

    __pydantic_config__: ClassVar[ConfigDict] = STRICT


@dataclass(frozen=True, kw_only=True, eq=False)
class TimesSection(PlaceSection):
    """The same with times; `period` cuts what `region` cuts."""

    period: Period | None = None
    times: list[Moment] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ReconstructConfig(TimesSection, Settings):
    """Everything a reconstruction depends on: its files, and the `Settings` of the library by name."""

    out: Path | None = None
    overwrite: bool = False


def settings_from(config: Path | None, flags: Flags | None) -> ReconstructConfig:
    """A YAML, with what the flags say in its place; or flags alone.

    Raises:
        SkyweaveError: anything in either is wrong; the message lists every error.
    """
    values: dict[str, Any] = {} if config is None else read_yaml(config)
    stated = given(flags)
    sources = [grid_flag(text) for text in stated.pop("grid", ())]
    sources += [points_flag(text) for text in stated.pop("points", ())]
    sources += [{"soundings": text} for text in stated.pop("soundings", ())]
    if sources:
        values["observations"] = sources
    values |= stated
    return parse_config(values, ReconstructConfig, source=str(config) if config else "command line")
