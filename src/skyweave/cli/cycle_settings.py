"""The settings of a cycled run: the YAML of ``skyweave cycle``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from skyweave.cli.settings import TimesSection
from skyweave.cli.source_settings import Error
from skyweave.config import Section
from skyweave.cycle.settings import CycleSettings
from skyweave.dates import Period
from skyweave.options import checked_options
from skyweave.reconstruction.settings import Members

if TYPE_CHECKING:
    from skyweave.emulate.forecaster import Forecaster
    from skyweave.prior.storage import LearntPrior


class FittedSection(Section):
    """A forecaster that is fitted in a moment: persistence, climatology, linear."""

    name: str
    data: str | list[str]
    period: Period | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class ModelSection(Section):
    """What steps the members: an emulator's folder or file, a fitted forecaster, or the shallow-water world."""

    emulator: str | None = None
    fitted: FittedSection | None = None
    shallow_water: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one(self) -> ModelSection:
        given = [name for name, value in self if value is not None]
        if len(given) != 1:
            found = ", ".join(given) or "none"
            raise ValueError(f"a model is one of emulator, fitted, shallow_water; found {found}")
        return self


@dataclass(frozen=True, kw_only=True, eq=False)
class CycleConfig(TimesSection, CycleSettings):
    """Everything a cycled run depends on: its files and model, and the `CycleSettings` of the library by name.

    `model_error` is what the model adds in one step, by variable; `initial` a file with members at the first time.
    """

    model: ModelSection
    members: Annotated[Members, Field(ge=3)] = 32
    initial: str | None = None
    model_error: dict[str, Error] = field(default_factory=dict)
    out: Path
    overwrite: bool = False


def open_model(section: ModelSection, prior: LearntPrior) -> Forecaster:
    """The model that a configuration names.

    Raises:
        SkyweaveError: it cannot be read, or there is none of that name.
    """
    if section.emulator is not None:
        from skyweave.emulate import open_emulator

        return open_emulator(section.emulator)
    if section.fitted is not None:
        from skyweave.emulate.registry import fit_forecaster
        from skyweave.io.read import open_fields
        from skyweave.io.undeclared import with_known_fills

        chosen = section.fitted
        data = with_known_fills(open_fields(chosen.data, prior.spec.names, time=chosen.period))
        return fit_forecaster(chosen.name, data.load(), prior.spec, **chosen.options)
    from skyweave.nature_runs.shallow_water import ShallowWater, ShallowWaterConfig

    given = checked_options(ShallowWaterConfig, section.shallow_water or {}, "model.shallow_water")
    return ShallowWater(ShallowWaterConfig(**given), prior.spec.names)
