"""Bounds of cells and of steps, kept as coordinates along the axis that they bound, and written as CF has them."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import xarray as xr

from skyweave.coordinates import EDGE, bounds_of, degrees_per, edge_names, is_edge
from skyweave.errors import note
from skyweave.grid import Grid
from skyweave.io.axes import has_dates, time_role

__all__ = ["as_bounds", "edge_coordinates", "with_edges"]


def with_edges(ds: xr.Dataset, grid: Grid, where: str) -> xr.Dataset:
    """Latitude and longitude in degrees, and bounds of both and of times as coordinates of one dimension.

    A variable taken out of the dataset keeps those, as it cannot keep bounds of two dimensions; any selection keeps
    them with their cells.

    Args:
        ds: with the grid's names as dimensions.
        grid: found in it.
        where: file named in notes.
    """
    known = {
        grid.lat_name: (grid.lat_edges, "degrees_north"),
        grid.lon_name: (grid.lon_edges, "degrees_east"),
    }
    if grid.lat_edges is None and not np.array_equal(grid.lat_bounds, _midway(grid)):
        known[grid.lat_name] = (grid.lat_bounds, "degrees_north")
    for name, centres in ((grid.lat_name, grid.lat), (grid.lon_name, grid.lon)):
        edges, units = known[name]
        if degrees_per(ds[name].attrs.get("units")) != 1.0:
            note(f"{where}: {name} is in {ds[name].attrs['units']}; it was converted to degrees")
            ds = ds.assign_coords({name: (name, centres, {**ds[name].attrs, "units": units})})
        ds = _without_bounds(ds, name)
        if edges is not None:
            ds = ds.assign_coords(edge_coordinates(name, edges[:-1], edges[1:], units))
    dated = [n for n, c in ds.coords.items() if c.ndim == 1 and has_dates(c) and time_role(n, c) == "time"]
    for axis in dated:
        ds = _with_time_edges(ds, str(axis), where)
    return ds


def edge_coordinates(
    name: str, first: np.ndarray, second: np.ndarray, units: str = ""
) -> dict[str, xr.Variable]:
    """Lower and upper edges of the cells along an axis, shape ``(n,)`` each, as coordinates of its dimension."""
    attrs = {EDGE: name} | ({"units": units} if units else {})
    ordered = np.minimum(first, second), np.maximum(first, second)
    return {n: xr.Variable(name, v, dict(attrs)) for n, v in zip(edge_names(name), ordered, strict=True)}


def as_bounds(ds: xr.Dataset) -> xr.Dataset:
    """Coordinates of edges as CF's bounds: a variable of shape ``(n, 2)`` that the coordinate names."""
    axes = {str(c.attrs[EDGE]) for c in ds.coords.values() if is_edge(c)}
    for name in sorted(axes):
        pair = edge_names(name)
        if name in ds.dims and name in ds.coords and all(n in ds.coords for n in pair):
            values = np.stack([ds[n].values for n in pair], axis=-1)
            ds = ds.assign_coords({f"{name}_bnds": ((name, "bnds"), values)})
            ds[name].attrs = {**ds[name].attrs, "bounds": f"{name}_bnds"}
    return ds.drop_vars([n for n, c in ds.coords.items() if is_edge(c)])


def _midway(grid: Grid) -> np.ndarray:
    from skyweave.cells import edges_between

    return np.clip(edges_between(grid.lat, grid.resolution[0]), -90.0, 90.0)


def _without_bounds(ds: xr.Dataset, name: Hashable) -> xr.Dataset:
    """The attribute taken away, which would name a variable that is not kept."""
    attrs = {k: v for k, v in ds[name].attrs.items() if k != "bounds"}
    encoding = {k: v for k, v in ds[name].encoding.items() if k != "bounds"}
    if attrs != ds[name].attrs:
        ds[name].attrs = attrs
    ds[name].encoding = encoding
    return ds


def _with_time_edges(ds: xr.Dataset, name: str, where: str) -> xr.Dataset:
    found = bounds_of(ds, name)
    ds = _without_bounds(ds, name)
    if found is None:
        return ds
    bounds, stamps = np.asarray(found[1].values), ds[name].values
    told = None
    if bounds.shape != (stamps.size, 2):
        told = f"their shape is {bounds.shape}, not {(stamps.size, 2)}"
    elif not has_dates(xr.DataArray(bounds)) or bounds.dtype.kind != stamps.dtype.kind:
        told = "they are not dates of the same calendar"
    elif bounds.dtype.kind == "M" and np.isnat(bounds).any():
        told = "some are missing"
    else:
        low, high = np.minimum(*bounds.T), np.maximum(*bounds.T)
        off = (stamps < low) | (stamps > high)
        if off.any():
            place = int(np.flatnonzero(off)[0])
            told = (
                f"{str(low[place])[:19]} to {str(high[place])[:19]} does not hold {str(stamps[place])[:19]}"
            )
    if told is not None:
        note(f"{where}: {found[0]}, the bounds of {name}, are not used: {told}")
        return ds
    if (low == high).all():
        return ds  # instants
    dim = ds[name].dims[0]
    pair = {n: xr.Variable(dim, v, {EDGE: name}) for n, v in zip(edge_names(name), (low, high), strict=True)}
    return ds.assign_coords(pair)
