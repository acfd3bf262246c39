"""Where and when the fields are wanted: a grid, times, and the caller's own coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from skyweave.damage import reading
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io.axes import find_time
from skyweave.io.valid_time import with_valid_time
from skyweave.observe.observation import GridObservation, PointObservation, StateObservation
from skyweave.state import StateSpec

__all__ = ["Target", "domain_cells", "resolve_target"]


@dataclass(frozen=True, eq=False)
class Target:
    """The analysis grid and times; ``coords`` are written to the output as they came.

    Args:
        grid: where.
        times: when, shape ``(T,)``; ``None`` for one undated field.
        coords: coordinates by dimension, in the order time, latitude, longitude.
        dims: names of those dimensions.
    """

    grid: Grid
    times: np.ndarray | None
    coords: dict[str, xr.DataArray]
    dims: tuple[str, str, str]

    @property
    def count(self) -> int:
        return 1 if self.times is None else len(self.times)

    def identities(self) -> list[int]:
        """A number for each time that its noise depends on: seconds since 1970, or its place in the series."""
        if self.times is None or not np.issubdtype(self.times.dtype, np.datetime64):
            return list(range(self.count))
        return [int(t) for t in self.times.astype("datetime64[s]").astype(np.int64)]


def resolve_target(
    spec: StateSpec,
    observations: Sequence[StateObservation],
    like: xr.Dataset | xr.DataArray | Grid | None = None,
    times: Sequence[object] | np.ndarray | None = None,
) -> Target:
    """Grid from ``like`` or the first gridded source of the prior's resolution, times from whatever states them.

    Raises:
        SkyweaveError: neither states a grid or a time, or times repeat or are not in order.
    """
    source: xr.Dataset | xr.DataArray | None = None
    if isinstance(like, Grid):
        grid = like
        lat = xr.DataArray(
            grid.lat, dims=grid.lat_name, attrs={"units": "degrees_north", "standard_name": "latitude"}
        )
        lon = xr.DataArray(
            grid.lon, dims=grid.lon_name, attrs={"units": "degrees_east", "standard_name": "longitude"}
        )
        dims = (grid.lat_name, grid.lon_name)
    else:
        source = like if like is not None else _first_grid(spec, observations)
        where = str(source.encoding.get("source", "like"))
        if isinstance(source, xr.Dataset):
            source = with_valid_time(source, where)
        else:
            source = with_valid_time(source, where)
        grid = Grid.from_dataset(source)
        dims = grid.dims_in(source)
        lat, lon = source[grid.lat_name], source[grid.lon_name]
        lat, lon = lat.reset_coords(drop=True), lon.reset_coords(drop=True)
    time_name, time = _times(source, observations, times)
    coords = {} if time is None else {time_name: time}
    coords |= {dims[0]: lat, dims[1]: lon}
    values = None if time is None else np.asarray(time.values)
    if values is not None and len(values) > 1 and not (values[1:] > values[:-1]).all():
        raise SkyweaveError("analysis times must increase and not repeat; sort them and drop duplicates")
    return Target(grid, values, coords, (time_name, *dims))


def _first_grid(spec: StateSpec, observations: Sequence[StateObservation]) -> xr.DataArray:
    found = []
    for observation in observations:
        if isinstance(observation, GridObservation):
            resolution = Grid.from_dataset(observation.data).resolution
            if spec.resolution is None or np.allclose(resolution, spec.resolution, rtol=0.1):
                return observation.data
            found.append(f"{observation.label}: {resolution[0]:g} x {resolution[1]:g} degrees")
    wanted = "" if spec.resolution is None else f" of {spec.resolution[0]:g} x {spec.resolution[1]:g} degrees"
    seen = f" (there are {'; '.join(found)})" if found else ""
    raise SkyweaveError(
        f"no target grid: no gridded source has the prior's resolution{wanted}{seen}; "
        "name a file with the wanted grid with like=... (--like)"
    )


def _times(
    source: xr.Dataset | xr.DataArray | None,
    observations: Sequence[StateObservation],
    times: Sequence[object] | np.ndarray | None,
) -> tuple[str, xr.DataArray | None]:
    name = None if source is None else find_time(source)
    label = name or "time"
    if times is not None:
        values = np.atleast_1d(np.asarray(times))
        if not np.issubdtype(values.dtype, np.datetime64) and values.dtype.kind in "OUSM":
            values = pd.to_datetime(values.tolist()).to_numpy()
        return label, xr.DataArray(values, dims=label)
    if source is not None and name is not None and name in source.coords:
        return name, np_atleast_1d(source[name], name)
    stated = []
    for observation in observations:
        if isinstance(observation, GridObservation):
            own = find_time(observation.data)
            if own is not None and own in observation.data.coords:
                stated.append(np.atleast_1d(observation.data[own].values))
    if stated:
        return label, xr.DataArray(np.unique(np.concatenate(stated)), dims=label)
    tables = [o.table for o in observations if isinstance(o, PointObservation) and "time" in o.table]
    instants = (
        np.unique(np.concatenate([t["time"].dropna().to_numpy() for t in tables])) if tables else np.array([])
    )
    if len(instants) == 1:
        return label, xr.DataArray(instants, dims=label)
    if len(instants) > 1:
        raise SkyweaveError(
            f"no analysis times: the tables hold {len(instants)} different ones, from {instants[0]} to {instants[-1]}; "
            "give times=... (--times), or a like=... file that has them"
        )
    return label, None


def np_atleast_1d(coordinate: xr.DataArray, name: str) -> xr.DataArray:
    """The coordinate with a dimension of its own."""
    plain = coordinate.reset_coords(drop=True)
    return plain if plain.ndim else plain.expand_dims(name)


def domain_cells(domain_mask: xr.DataArray | np.ndarray | None, target: Target) -> np.ndarray | None:
    """The cells of a target where fields are wanted, ``(H, W)``; ``None`` for all.

    Raises:
        SkyweaveError: a mask of another shape, or of no cell.
    """
    if domain_mask is None:
        return None
    with reading("domain_mask"):
        values = np.asarray(domain_mask.values if isinstance(domain_mask, xr.DataArray) else domain_mask)
    values = (
        values.reshape(values.shape[-2:]) if values.ndim > 2 and values.size == target.grid.size else values
    )
    if values.shape != target.grid.shape:
        raise SkyweaveError(
            f"domain mask: shape {values.shape}, the target grid has {target.grid.shape}; regrid the mask"
        )
    wanted = np.nan_to_num(values.astype(float)) > 0.5
    if not wanted.any():
        raise SkyweaveError("domain mask: no cell is wanted; true (1) marks the cells to be filled")
    return wanted
