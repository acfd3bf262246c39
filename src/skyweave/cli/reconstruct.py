"""``skyweave reconstruct``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from skyweave.cli.flags import Flags
from skyweave.errors import SkyweaveError

if TYPE_CHECKING:
    from skyweave.cli.settings import ReconstructConfig


def reconstruct(config: Path | None = None, /, *, dry_run: bool = False, flags: Flags | None = None) -> None:
    """Draw an ensemble of complete fields from a prior and observations.

    Settings come from a YAML file, from flags, or from both; a flag wins. The ERROR of a source is a standard
    deviation in the source's units, a percentage, or both as in 0.05+10%.

    Parameters
    ----------
    config
        YAML file with the settings.
    dry_run
        Print units, evaluations, time, memory and disk that it would take, from a few evaluations; write nothing.
    """
    from skyweave.cli.settings import settings_from

    whole = settings_from(config, flags)
    if dry_run:
        _tell_costs(whole)
        return
    if whole.out is None:
        raise SkyweaveError("no output: give --out PATH (.zarr or .nc), or 'out' in the YAML")

    from skyweave import plan
    from skyweave import reconstruct as run
    from skyweave.cli.inputs import input_paths, open_inputs
    from skyweave.io.inputs import check_apart
    from skyweave.io.store import check_output
    from skyweave.keywords import part
    from skyweave.reconstruction.settings import Settings

    check_apart(whole.out, input_paths(whole))
    check_output(whole.out, whole.overwrite)
    inputs, settings = open_inputs(whole), part(whole, Settings)
    given = whole.prior, inputs.observations
    print(plan(*given, like=inputs.like, times=inputs.times, settings=settings), flush=True)
    run(
        *given,
        like=inputs.like,
        times=inputs.times,
        out=whole.out,
        overwrite=whole.overwrite,
        settings=settings,
    )
    print(f"wrote {whole.out}")


def _tell_costs(whole: ReconstructConfig) -> None:
    from skyweave.cli.inputs import open_inputs
    from skyweave.keywords import part
    from skyweave.reconstruction.costs import calibrated
    from skyweave.reconstruction.opening import check_used, open_reconstruction
    from skyweave.reconstruction.settings import Settings

    inputs, settings = open_inputs(whole), part(whole, Settings)
    check_used(settings, inputs.observations)
    made = open_reconstruction(
        whole.prior, inputs.observations, settings, like=inputs.like, times=inputs.times
    )
    print(made.plan)
    print(calibrated(made))
