"""``skyweave fuse``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skyweave.cli.fuse_settings import FuseConfig
    from skyweave.emulate.files import ForecastFile


def fuse(config: Path, /, *, overwrite: bool = False) -> None:
    """Fuse a forecast that lies in a file with observations, at each of its lead times.

    What a forecast of each lead time is worth comes from past forecasts. A run that was killed continues with the same
    command.

    Parameters
    ----------
    config
        YAML file with the settings; see docs/fusing.md.
    overwrite
        Replace an output that exists.
    """
    from skyweave.cli.fuse_settings import FuseConfig
    from skyweave.config import load_config
    from skyweave.cycle.precomputed import fuse as run
    from skyweave.emulate.files import open_forecast
    from skyweave.io.store import check_output
    from skyweave.keywords import part
    from skyweave.prior.storage import open_prior
    from skyweave.reconstruction.settings import FusionSettings

    settings = load_config(config, FuseConfig)
    replace = overwrite or settings.overwrite
    check_output(settings.out, replace)
    prior = open_prior(settings.prior)
    file = open_forecast(settings.forecast.path, prior.spec, settings.forecast.init_time)
    past = _past(settings, prior, file)
    sources, like = _inputs(settings, file)
    run(
        prior,
        file,
        sources,
        past,
        like=like,
        out=settings.out,
        overwrite=replace,
        settings=part(settings, FusionSettings),
    )
    print(f"wrote {settings.out}")


def _past(settings: FuseConfig, prior: Any, file: ForecastFile) -> Any:
    from skyweave.cycle.past import past_from_files, past_from_forecaster
    from skyweave.io.formats import open_one
    from skyweave.io.read import open_fields
    from skyweave.io.undeclared import with_known_fills

    own = settings.past
    truth = with_known_fills(open_fields(own.truth, [*prior.spec.names], time=own.period))
    leads = [float(lead) for lead in file.leads if lead > 0]
    if own.forecasts is not None:
        return past_from_files(open_one(own.forecasts), truth, prior.spec, leads)
    from skyweave.emulate.emulator import open_emulator

    return past_from_forecaster(open_emulator(str(own.emulator)), truth, prior.spec, leads, own.starts)


def _inputs(settings: FuseConfig, file: ForecastFile) -> tuple[list[Any], Any]:
    """Sources, and the grid of the analyses."""
    import numpy as np

    from skyweave.cli.inputs import open_inputs
    from skyweave.emulate.forecaster import later
    from skyweave.grid import Grid

    times = [later(file.init_time, float(lead)) for lead in file.leads]
    # Soundings are read around these times; dates of other calendars are matched later.
    dated = all(isinstance(time, np.datetime64) for time in times)
    inputs = open_inputs(settings, [_plain(time) for time in times] if dated else None)
    return list(inputs.observations), None if inputs.like is None else Grid.from_dataset(inputs.like)


def _plain(time: Any) -> Any:
    import pandas as pd

    return pd.Timestamp(time).to_pydatetime()
