"""Forecasters that are fitted in a moment, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import xarray as xr

from skyweave.emulate.forecaster import Forecaster
from skyweave.emulate.linear import fit_linear
from skyweave.emulate.simple import fit_climatology, fit_persistence
from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.options import checked_options
from skyweave.state import StateSpec

__all__ = ["FORECASTERS", "fit_forecaster"]

FORECASTERS: dict[str, Callable[..., Forecaster]] = {
    "persistence": fit_persistence,
    "climatology": fit_climatology,
    "linear": fit_linear,
}
"""``factory(dataset, spec, **options)`` of training data."""


def fit_forecaster(name: str, data: xr.Dataset, spec: StateSpec, **options: Any) -> Forecaster:
    """A forecaster of `FORECASTERS`, fitted on training data.

    Args:
        name: such as "persistence", "climatology", "linear".
        data: training data, at equal time steps, in order.
        spec: variables and units of the states.
        options: of the factory, by name.

    Raises:
        SkyweaveError: an unknown name or option, or data it cannot be fitted to.
    """
    if name not in FORECASTERS:
        raise SkyweaveError(
            f"no forecaster {name!r}{did_you_mean(name, list(FORECASTERS))}; there are {', '.join(FORECASTERS)}"
        )
    factory = FORECASTERS[name]
    return factory(data, spec, **checked_options(factory, options, name, ("data", "spec")))
