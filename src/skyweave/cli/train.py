"""``skyweave train``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from skyweave.cli.calibrate import calibrate_and_tell


def train(config: Path, /, *, rounds: int | None = None, overwrite: bool = False) -> None:
    """Train a prior on gridded files, and estimate its error covariance on the validation period.

    A run that was interrupted continues where it stopped when the same command is given again.

    Parameters
    ----------
    config
        YAML file with the settings; see docs/priors.md.
    rounds
        Learn from data with gaps by expectation-maximisation, in so many rounds of completing the record and
        training on it; the steps in the file are those of one round.
    overwrite
        Start anew where the output folder holds a finished or different run.
    """
    from skyweave.config import load_config
    from skyweave.prior.config import TrainConfig

    settings = load_config(config, TrainConfig)

    if rounds is not None:
        from skyweave.reconstruction.expectation_maximisation import learn_by_expectation_maximisation

        learn_by_expectation_maximisation(
            settings, rounds=rounds, report=lambda text: print(text, file=sys.stderr)
        )
        print(f"wrote {settings.out / 'prior.safetensors'}")
        return

    from skyweave import train as run

    run(settings, overwrite=overwrite)
    if os.environ.get("RANK", "0") == "0":  # one of several processes under torchrun speaks for all
        calibrate_and_tell(settings)
