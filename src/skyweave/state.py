"""The state: which variables, in which units, on which grid; the only bridge between labels and tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from skyweave.damage import reading
from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.grid import Grid
from skyweave.levels import find_level, place_of_level
from skyweave.time_axes import find_time, has_dates
from skyweave.units import conversion, pascals

__all__ = [
    "StateSpec", "Variable", "apply_bounds", "attributes", "find_variable", "time_dim", "to_dataset", "to_tensor",
]  # fmt: skip


@dataclass(frozen=True)
class Variable:
    """One channel of a state.

    Args:
        name: unique name of the channel, and of the variable in files.
        units: physical units, CF spelling.
        standard_name: CF standard name; finds the variable in files that call it otherwise.
        long_name: for titles.
        bounds: least and greatest physical value, in ``units``; ``None`` where there is none.
        level: vertical level, hPa on pressure levels, otherwise in the units of the file's vertical axis.
    """

    name: str
    units: str
    standard_name: str = ""
    long_name: str = ""
    bounds: tuple[float | None, float | None] = (None, None)
    level: float | None = None

    def __post_init__(self) -> None:
        low, high = self.bounds
        object.__setattr__(self, "bounds", (low, high))
        if low is not None and high is not None and low >= high:
            raise SkyweaveError(
                f"variable {self.name!r}: lower bound {low:g} is not below upper bound {high:g}."
            )


@dataclass(frozen=True)
class StateSpec:
    """What a state is made of.

    Args:
        variables: the channels, in order.
        resolution: ``(dlat, dlon)`` of the grid, degrees; ``None`` where any will do.
        window: number of consecutive frames that are described together, ``w = 2k + 1``.
        time_step: seconds between the frames of a window; ``None`` where it holds one, or any will do.
    """

    variables: tuple[Variable, ...]
    resolution: tuple[float, float] | None = None
    window: int = 1
    time_step: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "variables", tuple(self.variables))
        if self.resolution is not None:
            object.__setattr__(self, "resolution", tuple(float(r) for r in self.resolution))
        repeated = {n for n in self.names if self.names.count(n) > 1}
        if not self.variables or repeated:
            found = f"{', '.join(sorted(repeated))} more than once" if repeated else "none"
            raise SkyweaveError(f"a state needs one or more variables of distinct names; found {found}.")
        if self.window < 1 or self.window % 2 == 0:
            raise SkyweaveError(f"window must be an odd number of frames (w = 2k + 1), got {self.window}.")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the channels."""
        return tuple(v.name for v in self.variables)

    def channel(self, name: str) -> int:
        """Position of a variable.

        Raises:
            SkyweaveError: there is no such variable.
        """
        if name not in self.names:
            hint = did_you_mean(name, self.names)
            raise SkyweaveError(f"no variable {name!r}{hint} in the state; it has {', '.join(self.names)}.")
        return self.names.index(name)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> StateSpec:
        """The specification that `to_dict` described, also after a round trip through JSON."""
        variables = [{**v, "bounds": tuple(v.get("bounds", (None, None)))} for v in values["variables"]]
        own = tuple(Variable(**v) for v in variables)
        return cls(own, values.get("resolution"), values.get("window", 1), values.get("time_step"))


def apply_bounds(x: Tensor, spec: StateSpec) -> tuple[Tensor, dict[str, int]]:
    """Physical values moved to the nearest bound of their variable, and how many were.

    Args:
        x: physical state, shape ``(..., C, H, W)``; NaN stays NaN.
        spec: holds the bounds.

    Returns:
        The bounded state (the same tensor where nothing is out of bounds), and the number of values moved per
        variable that has bounds.
    """
    counts: dict[str, int] = {}
    for c, variable in enumerate(spec.variables):
        low, high = variable.bounds
        if low is None and high is None:
            continue
        channel = x[..., c, :, :]
        bounded = channel.clamp(min=low, max=high)
        # NaN differs from itself, so count by comparison with the bounds.
        below = 0 if low is None else int((channel < low).sum())
        above = 0 if high is None else int((channel > high).sum())
        counts[variable.name] = below + above
        if below + above:
            x = torch.cat([x[..., :c, :, :], bounded.unsqueeze(-3), x[..., c + 1 :, :, :]], dim=-3)
    return x, counts


def find_variable(ds: xr.Dataset, variable: Variable) -> str:
    """Name under which a dataset holds a variable: its own, else the one of its standard name.

    A variable of a level, such as ``z500``, is also found as ``z`` along a vertical axis.

    Raises:
        SkyweaveError: the dataset has no such variable, or several of its standard name.
    """
    if variable.name in ds.data_vars:
        return variable.name
    same = [str(n) for n in ds.data_vars if variable.standard_name == ds[n].attrs.get("standard_name", "")]
    if variable.standard_name and len(same) == 1:
        return same[0]
    stem = variable.name.rstrip("0123456789_")
    if variable.level is not None and stem in ds.data_vars:
        return stem
    where = _source(ds)
    if variable.standard_name and same:
        raise SkyweaveError(
            f"{where}: {', '.join(same)} all have the standard name {variable.standard_name!r}; rename the one "
            f"that is meant to {variable.name!r}."
        )
    names = [str(n) for n in ds.data_vars]
    raise SkyweaveError(
        f"{where}: no variable {variable.name!r}{did_you_mean(variable.name, names)}; there are "
        f"{', '.join(names) or 'no data variables'}."
    )


def to_tensor(ds: xr.Dataset, spec: StateSpec, grid: Grid | None = None) -> Tensor:
    """Values of a dataset as a physical state, in the units of the specification.

    Variables without a units attribute are taken to have the right one.

    Args:
        ds: holds the variables, in any dimension order; values are read here if they were lazy.
        spec: the variables wanted.
        grid: the grid the state must be on; by default the dataset's own.

    Returns:
        Shape ``(T, C, H, W)``, float32, NaN where missing; ``T = 1`` without a time dimension.

    Raises:
        SkyweaveError: a variable that is not there, units of another kind, another grid, or dimensions other
            than time, latitude and longitude.
    """
    own = Grid.from_dataset(ds)
    if grid is not None and not own.same_as(grid):
        raise SkyweaveError(
            f"{_source(ds)}: the grid ({own.describe()}) is not the one wanted ({grid.describe()}); regrid or "
            "select the region first."
        )
    channels = [_channel(ds, variable, own) for variable in spec.variables]
    lengths = {v.name: c.shape[0] for v, c in zip(spec.variables, channels, strict=True)}
    if len(set(lengths.values())) > 1:
        raise SkyweaveError(f"{_source(ds)}: variables differ in their number of times: {lengths}.")
    return torch.from_numpy(np.stack(channels, axis=1))


def _channel(ds: xr.Dataset, variable: Variable, grid: Grid) -> np.ndarray:
    """One variable in its wanted units, shape ``(T, H, W)``."""
    name = find_variable(ds, variable)
    what = f"{_source(ds)}, variable {name!r}"
    data = ds[name]
    if variable.level is not None:
        data = _at_level(data, variable.level, what)
    lat, lon = grid.dims_in(ds)
    absent = [d for d in (lat, lon) if d not in data.dims]
    if absent:
        raise SkyweaveError(f"{what}: has dimensions {data.dims}, but not {' and '.join(absent)}.")
    time = time_dim(data)
    others = [d for d in data.dims if d not in (lat, lon, time)]
    long = [d for d in others if data.sizes[d] > 1]
    if long:
        raise SkyweaveError(
            f"{what}: besides time, latitude and longitude it has {', '.join(map(str, long))}; select one value of "
            f"each first (`skyweave regrid FILE --select {long[0]}=VALUE --like FILE --out ONE.nc`), or give the "
            "variable a level."
        )
    data = data.squeeze(others, drop=True)
    data = data.expand_dims("time") if time is None else data
    scale, offset = conversion(str(data.attrs.get("units", "")), variable.units, what)
    with reading(what):
        values = data.transpose(time or "time", lat, lon).values.astype(np.float64)
    values = values if (scale, offset) == (1.0, 0.0) else values * scale + offset
    return np.where(np.isfinite(values), values, np.nan).astype(np.float32)


def _at_level(data: xr.DataArray, level: float, what: str) -> xr.DataArray:
    """One level of a variable; a variable without levels is taken to be of the one wanted."""
    dim = find_level(data)
    if dim is None or dim not in data.coords:
        return data
    values = np.asarray(data[dim].values, np.float64)
    own = pascals(str(data[dim].attrs.get("units", "")))
    if own is not None:
        values = values * own / 100
    place = place_of_level(values, level, f"{what}: {dim}", tolerance=1e-3)
    if place is None:
        raise SkyweaveError(
            f"{what}: no level {level:g} on {dim}; there are {', '.join(f'{v:g}' for v in values)}."
        )
    return data.isel({dim: place}, drop=True)


def time_dim(data: xr.Dataset | xr.DataArray) -> str | None:
    """Name of the time dimension: that of valid times, else one with dates or called so; ``None`` without one."""
    name = find_time(data)
    if name is not None and name in data.dims:
        return name
    if name is not None and data[name].ndim == 1:
        return str(data[name].dims[0])
    dated = [str(d) for d in data.dims if d in data.coords and has_dates(data[d])]
    known = [
        str(d) for d in data.dims if str(d).lower() in ("time", "t", "valid_time", "times", "month", "step")
    ]
    return next(iter([*dated, *known]), None)


def to_dataset(
    x: Tensor | np.ndarray, spec: StateSpec, like: xr.Dataset, *, members: Sequence[int] | None = None
) -> xr.Dataset:
    """A physical state as a labelled dataset with the coordinates of another, bit for bit.

    Args:
        x: physical state, shape ``(M, T, C, H, W)``, or ``(T, C, H, W)`` for no member dimension.
        spec: names, units and attributes of the channels.
        like: dataset whose time, latitude and longitude coordinates (values, names, attributes) are taken.
        members: labels of the members; by default ``0 .. M - 1``.

    Returns:
        Variables of dimensions ``(member, time, lat, lon)``, the last three named as in ``like``.

    Raises:
        SkyweaveError: the shape does not match ``like``.
    """
    values = x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
    grid = Grid.from_dataset(like)
    lat, lon = grid.dims_in(like)
    time = time_dim(like)
    ensemble = values.ndim == 5
    expected = (like.sizes[time] if time else 1, len(spec.variables), *grid.shape)
    if values.ndim not in (4, 5) or values.shape[-4:] != expected:
        raise SkyweaveError(
            f"a state of shape {values.shape} does not fit (time, channel, lat, lon) = {expected} of the dataset."
        )
    dims = (*(("member",) if ensemble else ()), time or "time", lat, lon)
    kept = [n for n in like.coords if set(like[n].dims) <= {time, lat, lon} and (like[n].ndim or n == time)]
    coords = {n: like[n].variable for n in kept}
    if ensemble:
        labels = np.arange(values.shape[0]) if members is None else np.asarray(members)
        coords["member"] = xr.Variable("member", labels, {"long_name": "ensemble member", "axis": "E"})
    variables = {
        v.name: xr.Variable(dims, values[..., c, :, :], attributes(v)) for c, v in enumerate(spec.variables)
    }
    return xr.Dataset(variables, coords)


def attributes(variable: Variable) -> dict[str, Any]:
    """CF attributes of a variable, empty ones left out."""
    found: dict[str, Any] = {"units": variable.units}
    found |= {k: v for k in ("standard_name", "long_name") if (v := getattr(variable, k))}
    if variable.level is not None:
        found["level"] = variable.level
    return found


def _source(ds: xr.Dataset) -> str:
    return str(ds.encoding.get("source", "dataset"))
