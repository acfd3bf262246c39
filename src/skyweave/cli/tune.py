"""``skyweave tune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

    from skyweave.cli.tune_settings import TuneConfig


def tune(config: Path, /, *, innovations: bool = False, overwrite: bool = False) -> None:
    """Tune sources and methods: a grid of settings against known truth, or errors and biases from innovations.

    The grid prints scores of every setting and writes the best as YAML; the same command resumes. Innovations need
    no truth: CONFIG is then that of a reconstruction.

    Parameters
    ----------
    config
        YAML file with the settings.
    innovations
        Print stated and estimated error, weight and bias of each source instead.
    overwrite
        Begin the grid anew.
    """
    if innovations:
        _from_innovations(config)
    else:
        _grid(config, overwrite)


def _grid(config: Path, overwrite: bool) -> None:
    from skyweave.cli.tune_settings import TuneConfig, base_of, checked
    from skyweave.config import load_config
    from skyweave.evaluate.grid_of_settings import expand

    settings = load_config(config, TuneConfig)
    combinations = expand(settings.grid)
    base = base_of(settings.reconstruct)
    plain, *rest = checked(base, combinations, str(config))

    from skyweave import open_prior
    from skyweave import reconstruct as run
    from skyweave.cli.inputs import open_inputs
    from skyweave.evaluate.search import best, search, table_of
    from skyweave.evaluate.tuning import case_of, deviations
    from skyweave.io.read import open_fields
    from skyweave.io.undeclared import with_known_fills
    from skyweave.keywords import part
    from skyweave.reconstruction.settings import Settings

    prior = open_prior(plain.prior)
    deviation = deviations(prior, settings.variable)
    inputs = open_inputs(plain)
    truth = with_known_fills(open_fields(settings.truth, list(deviation)))
    own = part(plain, Settings)
    identity, truth = case_of(
        prior, inputs.observations, inputs.like, inputs.times, truth, list(deviation), own
    )

    def one(values: Mapping[str, Any]) -> xr.Dataset:
        config = rest[combinations.index(dict(values))]
        opened = open_inputs(config)
        return run(
            prior,
            opened.observations,
            like=opened.like,
            times=opened.times,
            progress=False,
            settings=part(config, Settings),
        )

    results = search(
        one,
        combinations,
        truth,
        deviation,
        identity=identity,
        out=settings.out,
        overwrite=overwrite or settings.overwrite,
        report=lambda text: print(text, flush=True),
    )
    variable = next(iter(deviation)) if len(deviation) == 1 else None
    unit = (
        "climatological standard deviations"
        if variable is None
        else prior.spec.variables[prior.spec.names.index(variable)].units
    )
    print(f"\nRMSE and CRPS in {unit}\n\n{table_of(results, variable)}\n")
    _write_best(best(results, settings.score, variable), base, settings, prior.spec.names)


def _write_best(result: Any, base: dict[str, Any], settings: TuneConfig, names: Any) -> None:
    import yaml

    from skyweave.evaluate.grid_of_settings import with_values

    whole = with_values(base, result.setting)
    touched = {key.strip().split(".")[0] for keys in result.setting for key in keys.split(",")}
    label = ", ".join(f"{k} {v}" for k, v in result.setting.items())
    scores = ", ".join(f"{k} {v:.4g}" for k, v in result.card.overall.items())
    text = yaml.safe_dump({key: whole[key] for key in sorted(touched)}, sort_keys=False)
    settings.best.parent.mkdir(parents=True, exist_ok=True)
    settings.best.write_text(f"# best of {settings.out}: {label}\n# {scores}\n{text}")
    print(f"best: {label}\nwrote {settings.out} and {settings.best}")


def _from_innovations(config: Path) -> None:
    from skyweave.cli.settings import ReconstructConfig
    from skyweave.cli.tune_settings import base_of
    from skyweave.config import parse_config, read_yaml

    values = read_yaml(config)
    # The configuration of a grid names that of a reconstruction.
    settings = parse_config(base_of(values.get("reconstruct", values)), ReconstructConfig, source=str(config))

    from skyweave.cli.inputs import open_inputs
    from skyweave.keywords import part
    from skyweave.reconstruction.diagnose import diagnose_sources
    from skyweave.reconstruction.reconstruct import scene as scene_of
    from skyweave.reconstruction.settings import Settings
    from skyweave.verify import table

    inputs, own = open_inputs(settings), part(settings, Settings)
    given = settings.prior, inputs.observations
    found = diagnose_sources(*given, like=inputs.like, times=inputs.times, settings=own)
    print(table(found.rows()))
    print(found.explanation())
    scene = scene_of(*given, like=inputs.like, times=inputs.times, settings=own)
    if scene.conflicts:
        print(f"The prior itself is a suspect: it may not know this scene.\n{scene.told()}")
        print(
            "Errors estimated against such a prior are its own as much as the sources'; see docs/scenes.md."
        )
