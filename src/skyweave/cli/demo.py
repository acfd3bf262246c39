"""``skyweave demo``."""

from __future__ import annotations

from pathlib import Path


def demo(
    *, out: Path = Path("demo-output"), members: int = 16, seed: int = 0, overwrite: bool = False
) -> None:
    """Reconstruct real ERA5 fields that ship with the package.

    The shipped prior has not seen the fields, the North Atlantic and Europe on 2026-03-31 at 23 UTC. They are
    observed as coarse means, at stations, with cloud-like gaps, and in all three ways, reconstructed, and
    compared with interpolation and optimal interpolation of the same observations.

    Parameters
    ----------
    out
        Folder for the reconstructions (Zarr), figures (PNG) and tables.
    members
        Size of the ensembles.
    seed
        Seed of the observations' errors and of the ensembles.
    overwrite
        Write into a folder that is not empty.
    """
    from skyweave.cli.demo_run import run

    run(out, members, seed, overwrite)
