"""``skyweave calibrate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skyweave.prior.config import TrainConfig


def calibrate(config: Path, /) -> None:
    """Estimate a trained prior's error covariance and spread on its validation period, and store both in it.

    `skyweave train` ends with this; it is needed again only where that was cut short.

    Parameters
    ----------
    config
        YAML file that the prior was trained with.
    """
    from skyweave.config import load_config
    from skyweave.prior.config import TrainConfig

    calibrate_and_tell(load_config(config, TrainConfig))


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
