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
    from skyweave.cli.inputs import open_inputs
    from skyweave.keywords import part
    from skyweave.reconstruction.opening import check_used, open_reconstruction
    from skyweave.reconstruction.settings import Settings

    prior = open_prior(settings.prior)
    inputs = open_inputs(settings)
    print("\n".join(describe(settings, prior, inputs)))
    own = part(settings, Settings)
    check_used(own, inputs.observations)
    made = open_reconstruction(prior, inputs.observations, own, like=inputs.like, times=inputs.times)
    print(made.plan)
    scene = made.look()
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
    for source in inputs.observations:
        lines += [f"observations  {source.label}", *describe_source(source)]
    return lines
