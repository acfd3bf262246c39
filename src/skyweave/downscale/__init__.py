"""Transfer downscaling: a long fine record from a long coarse one and a short overlap.

    import skyweave.downscale as downscale
    config = downscale.load_downscaling("dust.yaml")
    downscale.fit(config)
    downscale.rollout(config, end="2024-12-31")

Names are imported when they are first used; scores are in `skyweave.evaluate.downscaling`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skyweave.lazy import attach

if TYPE_CHECKING:
    from skyweave.downscale.coarse_law import fit_coarse_law as fit_coarse_law
    from skyweave.downscale.config import DownscaleConfig as DownscaleConfig
    from skyweave.downscale.config import load_downscaling as load_downscaling
    from skyweave.downscale.prediction.area_models import AreaModels as AreaModels
    from skyweave.downscale.prediction.extension import predict as predict
    from skyweave.downscale.prediction.extension import rollout as rollout
    from skyweave.downscale.storage import open_downscaler as open_downscaler
    from skyweave.downscale.training.fitting import fit as fit
    from skyweave.downscale.zero_shot import prior_settings as prior_settings
    from skyweave.downscale.zero_shot import reconstruct_days as reconstruct_days
    from skyweave.downscale.zero_shot import train_prior as train_prior

_HOME = {
    "AreaModels": "prediction.area_models",
    "DownscaleConfig": "config",
    "fit": "training.fitting",
    "fit_coarse_law": "coarse_law",
    "load_downscaling": "config",
    "open_downscaler": "storage",
    "predict": "prediction.extension",
    "prior_settings": "zero_shot",
    "reconstruct_days": "zero_shot",
    "rollout": "prediction.extension",
    "train_prior": "zero_shot",
}

__getattr__, __dir__, __all__ = attach(__name__, _HOME)
