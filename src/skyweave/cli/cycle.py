"""``skyweave cycle``."""

from __future__ import annotations

from dataclasses import fields
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
    import numpy as np

    from skyweave.cli.cycle_settings import CycleConfig, open_model
    from skyweave.cli.inputs import open_inputs
    from skyweave.cli.settings import ReconstructConfig
    from skyweave.config import load_config
    from skyweave.cycle import CycleSettings, assimilate
    from skyweave.io.read import open_fields
    from skyweave.io.store import check_output
    from skyweave.io.undeclared import with_known_fills
    from skyweave.learn.processes import usable_device
    from skyweave.observe.errors import ErrorModel
    from skyweave.posterior.sample import Method
    from skyweave.prior.storage import open_prior

    settings = load_config(config, CycleConfig)
    replace = overwrite or settings.overwrite
    check_output(settings.out, replace)
    shared = ("prior", "observations", "like", "region", "period", "times")
    inputs = open_inputs(ReconstructConfig(**{key: getattr(settings, key) for key in shared}))
    for report in inputs.reports.values():
        print(report)
    prior = open_prior(settings.prior)
    method = Method(sampler=settings.sampler, steps=settings.steps)
    keys = set(CycleConfig.model_fields) & {f.name for f in fields(CycleSettings)}
    made = assimilate(
        prior,
        open_model(settings.model, prior),
        inputs.observations,
        times=None if settings.times is None else np.array(settings.times, dtype="datetime64[ns]"),
        like=inputs.like,
        initial=None if settings.initial is None else with_known_fills(open_fields(settings.initial)),
        settings=CycleSettings(method=method, **{key: getattr(settings, key) for key in keys}),
        model_error={name: ErrorModel(**dict(error)) for name, error in settings.model_error.items()} or None,
        out=settings.out,
        overwrite=replace,
        autocast=settings.autocast,
        device=str(usable_device(settings.device)),
    )
    print(made.attrs["observations"])
    print(f"wrote {settings.out}")
