"""``skyweave reconstruct``."""

from __future__ import annotations

from pathlib import Path

from skyweave.cli.flags import Flags
from skyweave.errors import SkyweaveError


def reconstruct(config: Path | None = None, /, *, flags: Flags | None = None) -> None:
    """Draw an ensemble of complete fields from a prior and observations.

    Settings come from a YAML file, from flags, or from both; a flag wins. The ERROR of a source is a standard
    deviation in the source's units, a percentage, or both as in 0.05+10%.

    Parameters
    ----------
    config
        YAML file with the settings.
    """
    from skyweave.cli.settings import settings_from

    settings = settings_from(config, flags)
    if settings.out is None:
        raise SkyweaveError("no output: give --out PATH (.zarr or .nc), or 'out' in the YAML")

    from skyweave import plan
    from skyweave import reconstruct as run
    from skyweave.cli.inputs import input_paths, open_inputs, options
    from skyweave.io.store import check_output

    for path in input_paths(settings):
        if Path(path).resolve() == settings.out.resolve():
            raise SkyweaveError(f"{settings.out}: the output is one of the inputs; give another name")
    check_output(settings.out, settings.overwrite)
    inputs = open_inputs(settings)
    chosen = options(settings, inputs)
    for report in inputs.reports.values():
        print(report)
    print(plan(settings.prior, inputs.observations, **chosen), flush=True)
    run(settings.prior, inputs.observations, out=settings.out, overwrite=settings.overwrite, **chosen)
    print(f"wrote {settings.out}")
