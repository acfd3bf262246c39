"""Odd units; see `odd_cases`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from odd_cases import Refused, odd
from skyweave.observe.rows import beyond_limits
from skyweave.reconstruction.plausible import usual_units
from skyweave.state import StateSpec, Variable, to_tensor
from skyweave.transform import Standardise
from skyweave.units import conversion, pascals


def unit(found: str, wanted: str, value: float, right: Any) -> None:
    """Enter one conversion of a value."""

    @odd("units", f"{found!r} as {wanted!r}", right)
    def _(_: Path) -> float:
        scale, offset = conversion(found, wanted, "x")
        return value * scale + offset


# ---- the case of prefixes

unit("Mm-1", "m-1", 50.0, 50e-6)  # extinction by aerosol; mm-1 would be 50,000
unit("Mg m-2", "kg m-2", 1.0, 1000.0)
unit("mg m-2", "kg m-2", 1.0, 1e-6)
unit("MPa", "hPa", 0.1, 1000.0)
unit("mPa", "Pa", 1.0, 1e-3)
unit("MPA", "Pa", 1.0, Refused("'MPA'", "MPa or mPa"))
unit("MJ m-2", "J m-2", 1.0, 1e6)
unit("MG", "kg", 1.0, Refused("'MG'"))
unit("Mbar", "hPa", 1.0, Refused("megabar", "mbar or hPa"))
unit("HPA", "Pa", 1013.25, 101325.0)
unit("KELVIN", "degC", 273.15, 0.0)
unit("M/S", "m s-1", 3.0, 3.0)

# ---- letters that are units of their own

unit("kN m-2", "Pa", 1.0, 1000.0)
unit("H", "s", 1.0, Refused("'H'", "another kind"))  # henry
unit("D", "day", 1.0, Refused("'D'", "another kind"))  # debye
unit("mb", "Pa", 1.0, 100.0)  # not the millibarn

# ---- spellings

unit("m s**-1", "km/h", 10.0, 36.0)
unit("m s^{-1}", "kt", 1852.0 / 3600.0, 1.0)
unit("µg m⁻³", "kg m-3", 1.0, 1e-9)  # U+00B5
unit("μg/m³", "kg m-3", 1.0, 1e-9)  # U+03BC
unit("kg/(m2 s)", "mm/day", 1 / 86400, 1.0)
unit("kg/m2 s", "kg m-2 s-1", 1.0, Refused("another kind"))  # by its letters kg s m-2
unit("1e-3 kg m-2", "kg m-2", 5.0, 5e-3)
unit("10^-6 m-1", "Mm-1", 20.0, 20.0)
unit("0.01 hPa", "Pa", 100000.0, 100000.0)
unit("℃", "K", 10.0, 283.15)
unit("degrees Celsius", "degF", 100.0, 212.0)
unit("degC day-1", "K s-1", 86400.0, 1.0)  # a difference: no zero is shifted
unit("0.1 degC", "K", 100.0, Refused("0.1 degC", "zero of its own"))
unit("hundreds of feet", "m", 1.0, Refused("not a unit"))
unit("code table", "1", 1.0, Refused("not a unit"))
unit("m of water equivalent", "mm", 1.0, Refused("unit of length"))
unit("__import__('os')", "K", 1.0, Refused("not a unit"))
unit("9**9**9**9", "1", 1.0, Refused("not a unit"))

# ---- the same dimensions, another kind

unit("mm/day", "kg m-2 s-1", 86400.0, 1.0)
unit("kg kg-1", "kg m-3", 1.0, Refused("another kind"))
unit("m2 s-2", "m", 98066.5, Refused("9.80665"))
unit("g kg-1", "mol mol-1", 1.0, Refused("mass and not moles"))
unit("ppmv", "mol mol-1", 400.0, 4e-4)
unit("degree", "1", 180.0, Refused("angle"))
unit("W m-2 sr-1", "W m-2", 1.0, Refused("another kind"))
unit("J m-2", "W m-2", 1.0, Refused("divided by its seconds"))
unit("mm month-1", "mm/day", 30.0, Refused("no fixed length"))
unit("dB", "1", 10.0, Refused("not a linear unit"))
unit("ppt", "1", 1.0, Refused("per trillion or per thousand"))
unit("35 psu", "1", 1.0, Refused("salinity"))
unit("DU", "mol m-2", 300.0, 0.133845)


@odd("units", "what is a pressure on an axis, and how many pascals", [100, 100, 1000, 0, 0])
def _(_):
    return [pascals(text) or 0.0 for text in ("HPA", "millibars", "cbar", "sigma", "mm")]


@odd("units", "levels in kPa, asked for in hPa", 7.0)
def _(_):
    axes = {"lat": [0.0, 1.0], "lon": [0.0, 1.0], "level": ("level", [85.0, 50.0], {"units": "kPa"})}
    field = np.stack([np.full((2, 2), 7.0), np.full((2, 2), 9.0)])
    ds = xr.Dataset({"z": (("level", "lat", "lon"), field, {"units": "m"})}, axes)
    return float(to_tensor(ds, StateSpec((Variable("z850", "m", level=850),))).mean())


@odd("units", "-0.05 in single precision lies within a bound of -0.05, -0.0501 does not", [False, True])
def _(_):
    return beyond_limits(np.array([np.float32(-0.05), -0.0501]), (-0.05, 5.0)).tolist()


@odd("units", "15 without a unit where the prior has 288 K: two units fit, none is guessed", ["degC", "degF"])
def _(_):
    law = Standardise(288.0, 10.0)
    away = lambda value: abs(float(law.forward(torch.tensor(value))))  # noqa: E731
    return usual_units(15.0, Variable("t2m", "K"), away)
