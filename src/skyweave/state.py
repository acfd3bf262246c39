"""What a state is made of, and the only bridge between labelled fields and tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.grid import Grid

__all__ = ["StateSpec", "Variable", "apply_bounds", "convert", "to_dataset", "to_tensor", "unit_conversion"]


@dataclass(frozen=True)
class Variable:
    """One field of the state: its name and units, CF names, and the physical bounds no member may cross."""

    name: str
    units: str
    standard_name: str = ""
    long_name: str = ""
    bounds: tuple[float | None, float | None] = (None, None)
    level: float | None = None

    @property
    def attrs(self) -> dict[str, Any]:
        """CF attributes of the variable, empty ones left out."""
        named = {"units": self.units, "standard_name": self.standard_name, "long_name": self.long_name}
        return {key: value for key, value in named.items() if value}


@dataclass(frozen=True)
class StateSpec:
    """The variables of a state in channel order, the grid spacing in degrees and the frames of a window."""

    variables: tuple[Variable, ...]
    resolution: tuple[float, float] | None = None
    window: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(v.name for v in self.variables)

    def channel(self, name: str) -> int:
        """Index of a variable.

        Raises:
            SkyweaveError: the state has no such variable.
        """
        if name not in self.names:
            hint = did_you_mean(name, self.names)
            raise SkyweaveError(f"no variable {name!r} in this state{hint}; it has {', '.join(self.names)}")
        return self.names.index(name)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        variables = [asdict(v) | {"bounds": list(v.bounds)} for v in self.variables]
        resolution = None if self.resolution is None else [float(r) for r in self.resolution]
        return {"variables": variables, "resolution": resolution, "window": self.window}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StateSpec:
        variables = tuple(Variable(**{**v, "bounds": tuple(v["bounds"])}) for v in values["variables"])
        resolution = values["resolution"]
        pair = None if resolution is None else (float(resolution[0]), float(resolution[1]))
        return cls(variables, pair, int(values["window"]))


# Units by family: factor and offset to the family's base unit, spellings as `_spelling` leaves them.
_FAMILIES: tuple[dict[str, tuple[float, float]], ...] = (
    {"K": (1, 0), "degC": (1, 273.15), "degF": (5 / 9, 459.67 * 5 / 9)},
    {"Pa": (1, 0), "hPa": (100, 0), "kPa": (1000, 0)},
    {"1": (1, 0), "%": (0.01, 0), "g kg-1": (1e-3, 0)},
    {"m s-1": (1, 0), "km h-1": (1 / 3.6, 0), "knot": (0.514444, 0)},
    {"kg m-2": (1, 0), "g m-2": (1e-3, 0)},
    {"m": (1, 0), "km": (1000, 0), "gpm": (1, 0), "cm": (0.01, 0)},
    {"m2 s-2": (1, 0)},
    {"kg m-2 s-1": (1, 0), "mm h-1": (1 / 3600, 0), "mm day-1": (1 / 86400, 0)},
)

_ALIASES = {
    "k": "K", "kelvin": "K", "degk": "K", "c": "degC", "degc": "degC", "celsius": "degC", "deg_c": "degC",
    "degree_celsius": "degC", "degrees_celsius": "degC", "f": "degF", "degf": "degF", "fahrenheit": "degF",
    "pa": "Pa", "pascal": "Pa", "hpa": "hPa", "mbar": "hPa", "mb": "hPa", "millibar": "hPa", "kpa": "kPa",
    "1": "1", "": "1", "-": "1", "none": "1", "unitless": "1", "dimensionless": "1", "(0 - 1)": "1",
    "(0-1)": "1", "0-1": "1", "fraction": "1", "kg kg-1": "1", "kg/kg": "1", "kg kg**-1": "1", "m3 m-3": "1",
    "%": "%", "percent": "%", "g kg-1": "g kg-1", "g/kg": "g kg-1",
    "m s-1": "m s-1", "m/s": "m s-1", "ms-1": "m s-1", "meter second-1": "m s-1", "metre second-1": "m s-1",
    "km h-1": "km h-1", "km/h": "km h-1", "kt": "knot", "kts": "knot", "knot": "knot", "knots": "knot",
    "kg m-2": "kg m-2", "kg/m2": "kg m-2", "mm": "kg m-2", "g m-2": "g m-2",
    "m": "m", "meter": "m", "metre": "m", "meters": "m", "metres": "m", "km": "km", "gpm": "gpm", "cm": "cm",
    "m2 s-2": "m2 s-2", "m2/s2": "m2 s-2",
    "kg m-2 s-1": "kg m-2 s-1", "mm/h": "mm h-1", "mm h-1": "mm h-1", "mm/day": "mm day-1",
    "mm day-1": "mm day-1",
}  # fmt: skip


def _spelling(units: str) -> str:
    """One spelling for the common ways to write a unit."""
    text = re.sub(r"\s+", " ", str(units).strip().replace("**", "").replace("^", "")).lower()
    return _ALIASES.get(text, text)


def unit_conversion(found: str, wanted: str, name: str = "") -> tuple[float, float]:
    """Factor and offset with ``wanted = factor * found + offset``.

    An error or a difference is converted by the factor alone.

    Raises:
        SkyweaveError: the units are not of one kind, or not known.
    """
    a, b = _spelling(found), _spelling(wanted)
    if a == b:
        return 1.0, 0.0
    for family in _FAMILIES:
        if a in family and b in family:
            (scale, shift), (scale_b, shift_b) = family[a], family[b]
            return scale / scale_b, (shift - shift_b) / scale_b
    where = f"{name}: " if name else ""
    raise SkyweaveError(
        f"{where}units {found!r} cannot be converted to {wanted!r}; convert the data, or correct their `units`"
    )


def convert(values: np.ndarray, found: str, wanted: str, name: str = "") -> np.ndarray:
    """Values in the wanted units; the same array where nothing changes."""
    factor, offset = unit_conversion(found, wanted, name)
    return values if factor == 1 and offset == 0 else values * factor + offset


def to_tensor(ds: xr.Dataset, spec: StateSpec, grid: Grid | None = None) -> Tensor:
    """Fields of a dataset as a physical state ``(T, C, H, W)``, float32, NaN where missing.

    Args:
        ds: holds every variable of the state, dims time, latitude, longitude in any order; time may be absent.
        spec: variables and their units; a file that states no units is taken to have these.
        grid: whose dimensions are the horizontal ones; found in ``ds`` by default.

    Raises:
        SkyweaveError: a variable is missing, has other dimensions, or units of another kind.
    """
    grid = Grid.from_dataset(ds) if grid is None else grid
    channels = []
    for variable in spec.variables:
        if variable.name not in ds:
            names = [str(n) for n in ds.data_vars]
            hint = did_you_mean(variable.name, names)
            raise SkyweaveError(f"no variable {variable.name!r}{hint}; the data have {', '.join(names)}")
        array = ds[variable.name]
        horizontal = _horizontal_dims(array, grid)
        others = [d for d in array.dims if d not in horizontal]
        if len(others) > 1:
            raise SkyweaveError(
                f"{variable.name}: dimensions {array.dims}; select one of {others[1:]} first, a state has "
                "time, latitude and longitude"
            )
        values = np.asarray(array.transpose(*others, *horizontal).values, dtype=np.float64)
        values = convert(values, str(array.attrs.get("units", variable.units)), variable.units, variable.name)
        channels.append(values.reshape(-1, *values.shape[-2:]))
    return torch.from_numpy(np.stack(channels, axis=1).astype(np.float32))


def _horizontal_dims(array: xr.DataArray, grid: Grid) -> tuple[str, str]:
    """Dimension names of latitude and longitude: those of the grid's coordinates."""
    names = []
    for name in (grid.lat_name, grid.lon_name):
        dim = array[name].dims[0] if name in array.coords and array[name].ndim == 1 else name
        if dim not in array.dims:
            raise SkyweaveError(f"{array.name}: dimensions {array.dims} lack {name!r}")
        names.append(str(dim))
    return names[0], names[1]


def to_dataset(x: Tensor, spec: StateSpec, coords: Mapping[str, xr.DataArray | np.ndarray]) -> xr.Dataset:
    """A physical state as labelled fields.

    Args:
        x: ``(M, T, C, H, W)``, physical units.
        spec: variables in channel order.
        coords: the caller's own coordinates of member, time, latitude and longitude, in this order.
    """
    dims = tuple(coords)
    values = x.detach().cpu().numpy()
    fields = {v.name: (dims, values[:, :, c], v.attrs) for c, v in enumerate(spec.variables)}
    return xr.Dataset(fields, coords=dict(coords))


def apply_bounds(x: Tensor, spec: StateSpec) -> tuple[Tensor, dict[str, int]]:
    """Clip each variable to its physical bounds.

    Args:
        x: ``(..., C, H, W)``, physical units.

    Returns:
        The clipped state, and how many values were clipped by variable.
    """
    channels, counts = [], {}
    for c, variable in enumerate(spec.variables):
        field = x[..., c, :, :]
        low, high = variable.bounds
        clipped = field if low is None and high is None else field.clamp(low, high)
        counts[variable.name] = int((clipped != field).logical_and(~torch.isnan(field)).sum())
        channels.append(clipped)
    return torch.stack(channels, dim=-3), counts
