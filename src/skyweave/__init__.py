"""Complete atmospheric fields, with honest uncertainty, from whatever was observed.

    import skyweave
    prior = skyweave.open_prior("prior.safetensors")
    fields = skyweave.reconstruct(prior, [skyweave.PointObservation(table, error=0.5)], members=16, seed=0)

Names are imported when they are first used, so that ``import skyweave`` and the command line start at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skyweave.lazy import attach

if TYPE_CHECKING:
    from skyweave.errors import SkyweaveError as SkyweaveError
    from skyweave.grid import Grid as Grid
    from skyweave.observe.error_model import ErrorModel as ErrorModel
    from skyweave.observe.observation import GridObservation as GridObservation
    from skyweave.observe.observation import PointObservation as PointObservation
    from skyweave.observe.observation import SoundingObservation as SoundingObservation
    from skyweave.prior.storage import open_prior as open_prior
    from skyweave.prior.train import train as train
    from skyweave.reconstruction.reconstruct import plan as plan
    from skyweave.reconstruction.reconstruct import reconstruct as reconstruct
    from skyweave.reconstruction.reconstruct import sample as sample
    from skyweave.reconstruction.reconstruct import scene as scene
    from skyweave.state import StateSpec as StateSpec
    from skyweave.version import __version__ as __version__

_HOME = {
    "__version__": "version",
    "ErrorModel": "observe.error_model",
    "Grid": "grid",
    "GridObservation": "observe.observation",
    "PointObservation": "observe.observation",
    "SkyweaveError": "errors",
    "SoundingObservation": "observe.observation",
    "StateSpec": "state",
    "open_prior": "prior.storage",
    "plan": "reconstruction.reconstruct",
    "reconstruct": "reconstruction.reconstruct",
    "sample": "reconstruction.reconstruct",
    "scene": "reconstruction.reconstruct",
    "train": "prior.train",
}

__getattr__, __dir__, __all__ = attach(__name__, _HOME)
