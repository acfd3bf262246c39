"""``skyweave calibrate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skyweave.prior.config import TrainConfig


def calibrate(config: Path, /, *, card: bool = False, prior: Path | None = None) -> None:
    """Estimate a trained prior's error covariance and spread on its validation period, and store both in it.

    `skyweave train` ends with this; it is needed again only where that was cut short.

    Parameters
    ----------
    config
        YAML file that the prior was trained with.
    card
        Only write what the prior was trained on into it: domain, seasons, values, chi-square on validation data.
    prior
        The prior whose card is written, where it is not that of the run.
    """
    from skyweave.config import load_config
    from skyweave.errors import SkyweaveError
    from skyweave.prior.config import TrainConfig

    settings = load_config(config, TrainConfig)
    if prior is not None and not card:
        raise SkyweaveError("--prior goes with --card: a calibration is that of the run's own prior")
    if not card:
        calibrate_and_tell(settings)
        return
    from skyweave.posterior.calibration import write_card

    made = write_card(settings, prior, report=lambda text: print(text, file=sys.stderr, flush=True))
    knowledge = made.knowledge
    assert knowledge is not None
    print("\n".join(f"{key:<16}{text}" for key, text in knowledge.lines()))
    print(f"wrote {prior or settings.out / 'prior.safetensors'}")


def calibrate_and_tell(settings: TrainConfig) -> None:
    """Calibrate the prior of a run; progress and scores as plain lines."""
    from skyweave.posterior.calibration import calibrate_run

    prior = calibrate_run(settings, report=lambda text: print(text, file=sys.stderr, flush=True))
    for kind, scores in prior.metadata["calibration"].get("kinds", {}).items():
        print(
            f"validation, {kind:<6} spread-skill ratio {scores['spread_skill_ratio']:.3f}, "
            f"coverage of the 90 % interval {100 * scores['coverage_90']:.1f} %"
        )
    print(f"wrote {settings.out / 'prior.safetensors'}")
