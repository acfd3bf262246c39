"""The settings of a cycled run: the YAML of ``skyweave cycle``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from skyweave.cli.settings import Error, Positive, Source
from skyweave.config import RegionSection, Section
from skyweave.dates import Moment, Period
from skyweave.limits import MOST
from skyweave.options import checked_options

if TYPE_CHECKING:
    from skyweave.emulate.forecaster import Forecaster
    from skyweave.prior.storage import LearntPrior

Share = Annotated[float, Field(gt=0, le=1)]


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
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            found = ", ".join(given) or "none"
            raise ValueError(f"a model is one of emulator, fitted, shallow_water; found {found}")
        return self


class CycleConfig(Section):
    """Everything a cycled run depends on; sources, `like`, `region`, `period` and `times` as in a reconstruction.

    `model_error` is what the model adds in one step, by variable; `initial` a file with members at the first time.
    """

    prior: str
    model: ModelSection
    observations: list[Source] = Field(min_length=1)
    like: str | None = None
    region: RegionSection | None = None
    period: Period | None = None
    times: list[Moment] | None = None
    initial: str | None = None
    members: int = Field(32, ge=3, le=MOST["members"])
    seed: int = Field(0, ge=0, le=MOST["seed"])
    steps: int = Field(32, ge=4, le=MOST["steps"])
    sampler: str = "dpm++2m-sde"
    information: Literal["ensemble", "stated"] = "ensemble"
    reach: Share = 0.5
    local: bool = True
    update: Literal["refined", "afresh"] = "refined"
    localisation_km: Positive | None = None
    refine_from: Positive = 1.0
    refine_steps: int = Field(10, ge=4, le=MOST["steps"])
    inflation: Positive = 1.0
    adaptive: bool = True
    model_error: dict[str, Error] = Field(default_factory=dict)
    batch: int = Field(64, ge=1, le=MOST["batch"])
    autocast: bool = False
    device: Literal["cpu", "cuda", "auto"] = "cpu"
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
        from skyweave.emulate.forecaster import fit_forecaster
        from skyweave.io.read import open_fields
        from skyweave.io.undeclared import with_known_fills

        chosen = section.fitted
        data = with_known_fills(open_fields(chosen.data, prior.spec.names, time=chosen.period))
        return fit_forecaster(chosen.name, data.load(), prior.spec, **chosen.options)
    from skyweave.nature_runs.shallow_water import ShallowWater, ShallowWaterConfig

    given = checked_options(ShallowWaterConfig, section.shallow_water or {}, "model.shallow_water")
    return ShallowWater(ShallowWaterConfig(**given), prior.spec.names)
