"""Forecasts: learnt emulators, simple forecasters beside them, and adapters for those of others."""

from skyweave.emulate.forecaster import FORECASTERS, Forecaster, check_fits, fit_forecaster, later
from skyweave.emulate.simple import Climatology, FunctionForecaster, Persistence

__all__ = [
    "FORECASTERS", "Climatology", "Forecaster", "FunctionForecaster", "Persistence", "check_fits", "fit_forecaster",
    "later",
]  # fmt: skip
