"""Complete atmospheric fields, with honest uncertainty, from whatever was observed.

    import skyweave
    prior = skyweave.open_prior("prior.safetensors")
    fields = skyweave.reconstruct(prior, [skyweave.PointObservation(table, error=0.5)], members=16, seed=0)

Names are imported when they are first used, so that ``import skyweave`` and the command line start at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skyweave.errors import SkyweaveError as SkyweaveError
    from skyweave.grid import Grid as Grid
    from skyweave.observe.errors import ErrorModel as ErrorModel
    from skyweave.observe.observation import GridObservation as GridObservation
    from skyweave.observe.observation import PointObservation as PointObservation
    from skyweave.posterior.reconstruct import plan as plan
    from skyweave.posterior.reconstruct import reconstruct as reconstruct
    from skyweave.posterior.reconstruct import sample as sample
    from skyweave.prior.storage import open_prior as open_prior
    from skyweave.prior.train import train as train
    from skyweave.state import StateSpec as StateSpec

    __version__: str

_HOME = {
    "ErrorModel": "skyweave.observe.errors",
    "Grid": "skyweave.grid",
    "GridObservation": "skyweave.observe.observation",
    "PointObservation": "skyweave.observe.observation",
    "SkyweaveError": "skyweave.errors",
    "StateSpec": "skyweave.state",
    "open_prior": "skyweave.prior.storage",
    "plan": "skyweave.posterior.reconstruct",
    "reconstruct": "skyweave.posterior.reconstruct",
    "sample": "skyweave.posterior.reconstruct",
    "train": "skyweave.prior.train",
}

__all__ = [*sorted(_HOME), "__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("skyweave")
    elif name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"module 'skyweave' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
