"""``skyweave cycle``."""

from __future__ import annotations

from pathlib import Path


def cycle(config: Path, /, *, overwrite: bool = False) -> None:
    """Forecast, fuse with what was observed, reinitialise, repeat: an ensemble of analyses at every time.

    A run that was killed continues with the same command.

    Parameters
    ----------
    config
        YAML file with the settings; see docs/cycling.md.
    overwrite
        Replace an output that exists.
    """
    from skyweave.cli.cycle_settings import CycleConfig, open_model
    from skyweave.cli.inputs import open_inputs
    from skyweave.config import load_config
    from skyweave.cycle import CycleSettings, assimilate
    from skyweave.io.read import open_fields
    from skyweave.io.store import check_output
    from skyweave.io.undeclared import with_known_fills
    from skyweave.keywords import part
    from skyweave.prior.storage import open_prior

    settings = load_config(config, CycleConfig)
    replace = overwrite or settings.overwrite
    check_output(settings.out, replace)
    inputs = open_inputs(settings)
    prior = open_prior(settings.prior)
    made = assimilate(
        prior,
        open_model(settings.model, prior),
        inputs.observations,
        times=inputs.times,
        like=inputs.like,
        initial=None if settings.initial is None else with_known_fills(open_fields(settings.initial)),
        settings=part(settings, CycleSettings),
        model_error=settings.model_error or None,
        out=settings.out,
        overwrite=replace,
    )
    print(made.attrs["observations"])
    print(f"wrote {settings.out}")
