"""Which dimension of a variable is vertical, and where along it a level is."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from skyweave.errors import SkyweaveError
from skyweave.units import pascals

__all__ = ["LEVEL_NAMES", "find_level", "place_of_level"]

LEVEL_NAMES = (
    "level", "lev", "plev", "levels", "pressure_level", "isobaricInhPa", "pressure", "pres", "height", "altitude",
    "depth", "z",
)  # fmt: skip

SAME = 1e-6
"""Relative difference of two numbers that are one level: files hold them in single precision too."""


def find_level(var: xr.DataArray) -> str | None:
    """Name of the vertical dimension of one variable, found by CF meaning and then by name, or None."""
    for dim in var.dims:
        if dim in var.coords:
            attrs: dict[str, Any] = var[dim].attrs
            if (
                attrs.get("axis") == "Z"
                or "positive" in attrs
                or attrs.get("standard_name") == "air_pressure"
            ):
                return str(dim)
            if attrs.get("axis") is None and pascals(str(attrs.get("units", ""))) is not None:
                return str(dim)
    lower = [n.lower() for n in LEVEL_NAMES]
    return next((str(d) for d in var.dims if str(d).lower() in lower), None)


def place_of_level(
    levels: NDArray[np.float64], wanted: float, where: str, *, tolerance: float = SAME
) -> int | None:
    """Index of the level nearest to the one wanted, or ``None`` where none is as near as that.

    Args:
        levels: of the vertical axis, ``(n,)``.
        wanted: in the same units.
        where: file and axis named in errors.
        tolerance: greatest difference, as a share of the level wanted.

    Raises:
        SkyweaveError: the axis holds that level more than once.
    """
    near = np.flatnonzero(np.isclose(levels, wanted, rtol=tolerance, atol=0))
    if not near.size:
        return None
    best = int(near[np.argmin(np.abs(levels[near] - wanted))])
    same = int(np.isclose(levels, levels[best], rtol=SAME, atol=0).sum())
    if same > 1:
        raise SkyweaveError(
            f"{where} holds the level {levels[best]:g} {same} times; drop all but one of them"
        )
    return best
