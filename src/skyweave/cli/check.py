"""``skyweave check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from skyweave.cli.flags import Flags
from skyweave.errors import SkyweaveError

if TYPE_CHECKING:
    from skyweave.cli.inputs import Inputs
    from skyweave.cli.settings import ReconstructConfig
    from skyweave.prior.storage import LearntPrior


def check(config: Path | None = None, /, *, flags: Flags | None = None) -> None:
    """Open everything a reconstruction needs and report on it; compute no field.

    Takes what `skyweave reconstruct` takes. Reports the prior, the sources, what would be dropped from each
    and why, the memory and network evaluations that the run would need, and whether the prior can know the scene:
    its place, season and values against the training data, and the chi-square of the innovations.

    Parameters
    ----------
    config
        YAML file with the settings.
    """
    from skyweave.cli.settings import settings_from

    settings = settings_from(config, flags)

    from skyweave import open_prior
    from skyweave.cli.inputs import open_inputs, options
    from skyweave.reconstruction.reconstruct import prepare_job

    prior = open_prior(settings.prior)
    inputs = open_inputs(settings)
    print("\n".join(describe(settings, prior, inputs)))
    job = prepare_job(prior, inputs.observations, **options(settings, inputs))
    print(job.plan)
    scene = job.look()
    print(scene)
    if settings.out is not None and settings.out.exists():
        ending = (
            "would be replaced"
            if settings.overwrite
            else "exists: the run would refuse; --overwrite allows it"
        )
        print(f"output        {settings.out} {ending}")
    if scene.conflicts and settings.on_conflict == "refuse":
        raise SkyweaveError(
            "the prior may not know this scene, and the run would refuse it (on_conflict: refuse)"
        )


def describe(settings: ReconstructConfig, prior: LearntPrior, inputs: Inputs) -> list[str]:
    """What was found in the prior, the target and each source, a line each."""
    from skyweave.cli.describe import describe_dataset, describe_prior, describe_source

    lines = [f"prior         {settings.prior}", *describe_prior(prior)]
    if inputs.like is not None:
        lines += [f"target        {settings.like}", *describe_dataset(inputs.like)]
    for number, source in enumerate(inputs.observations):
        lines += [f"observations  {source.label}", *describe_source(source)]
        if number in inputs.reports:
            lines += [f"  {line}" for line in str(inputs.reports[number]).splitlines()]
    return lines
