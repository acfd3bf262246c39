"""Forecasts: learnt emulators, simple forecasters beside them, and adapters for those of others.

Names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skyweave.lazy import attach

if TYPE_CHECKING:
    from skyweave.emulate.config import EmulatorConfig as EmulatorConfig
    from skyweave.emulate.earth2studio import Earth2StudioForecaster as Earth2StudioForecaster
    from skyweave.emulate.emulator import Emulator as Emulator
    from skyweave.emulate.emulator import open_emulator as open_emulator
    from skyweave.emulate.emulator import save_emulator as save_emulator
    from skyweave.emulate.files import ForecastFile as ForecastFile
    from skyweave.emulate.files import open_forecast as open_forecast
    from skyweave.emulate.forecaster import Forecaster as Forecaster
    from skyweave.emulate.forecaster import check_fits as check_fits
    from skyweave.emulate.forecaster import later as later
    from skyweave.emulate.hindcast import Hindcast as Hindcast
    from skyweave.emulate.hindcast import hindcast_errors as hindcast_errors
    from skyweave.emulate.linear import LinearForecaster as LinearForecaster
    from skyweave.emulate.registry import FORECASTERS as FORECASTERS
    from skyweave.emulate.registry import fit_forecaster as fit_forecaster
    from skyweave.emulate.rollout import forecast as forecast
    from skyweave.emulate.rollout import forecast_states as forecast_states
    from skyweave.emulate.simple import Climatology as Climatology
    from skyweave.emulate.simple import FunctionForecaster as FunctionForecaster
    from skyweave.emulate.simple import Persistence as Persistence
    from skyweave.emulate.train import train_emulator as train_emulator

_HOME = {
    "Climatology": "simple",
    "Earth2StudioForecaster": "earth2studio",
    "Emulator": "emulator",
    "EmulatorConfig": "config",
    "FORECASTERS": "registry",
    "ForecastFile": "files",
    "Forecaster": "forecaster",
    "FunctionForecaster": "simple",
    "Hindcast": "hindcast",
    "LinearForecaster": "linear",
    "Persistence": "simple",
    "check_fits": "forecaster",
    "fit_forecaster": "registry",
    "forecast": "rollout",
    "forecast_states": "rollout",
    "hindcast_errors": "hindcast",
    "later": "forecaster",
    "open_emulator": "emulator",
    "open_forecast": "files",
    "save_emulator": "emulator",
    "train_emulator": "train",
}

__getattr__, __dir__, __all__ = attach(__name__, _HOME)
