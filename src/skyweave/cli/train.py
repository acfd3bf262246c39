"""``skyweave train``."""

from __future__ import annotations

import os
from pathlib import Path

from skyweave.cli.calibrate import calibrate_and_tell


def train(config: Path, /, *, overwrite: bool = False) -> None:
    """Train a prior on gridded files, and estimate its error covariance on the validation period.

    A run that was interrupted continues where it stopped when the same command is given again.

    Parameters
    ----------
    config
        YAML file with the settings; see docs/priors.md.
    overwrite
        Start anew where the output folder holds a finished or different run.
    """
    from skyweave.config import load_config
    from skyweave.prior.config import TrainConfig

    settings = load_config(config, TrainConfig)

    from skyweave import train as run

    run(settings, overwrite=overwrite)
    if os.environ.get("RANK", "0") == "0":  # one of several processes under torchrun speaks for all
        calibrate_and_tell(settings)
