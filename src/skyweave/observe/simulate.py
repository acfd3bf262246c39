"""Simulated observations of a known field: cloud gaps, station networks, noise.

Masks are true where there is an observation, so that ``field.where(mask)`` is what was seen.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from scipy.ndimage import gaussian_filter

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.observe.error_model import error_model
from skyweave.observe.errors import ErrorModel
from skyweave.regrid import bicubic, bilinear, nearest
from skyweave.state import time_dim

__all__ = [
    "add_noise",
    "cloud_mask",
    "sample_points",
    "station_network",
    "station_table",
]

INTERPOLATION = {"nearest": nearest, "bilinear": bilinear, "bicubic": bicubic}


def cloud_mask(
    where: Grid | tuple[int, ...],
    fraction: float,
    rng: np.random.Generator,
    length_scale: float = 4.0,
    time_scale: float = 0.0,
) -> np.ndarray:
    """Cloud-like gaps: a smooth Gaussian random field, missing where it is greatest.

    Args:
        where: a grid, or a shape ``(..., H, W)``; with three dimensions the first is time.
        fraction: of each map that is missing, 0 to 1; met to the nearest cell.
        rng: source of randomness.
        length_scale: standard deviation of the smoothing, cells; zero for independent cells.
        time_scale: the same along time, frames.

    Returns:
        True where there is an observation, of that shape.

    Raises:
        SkyweaveError: for a fraction outside 0 to 1.
    """
    _check_fraction(fraction)
    shape = where.shape if isinstance(where, Grid) else tuple(where)
    around: Literal["wrap", "reflect"] = "wrap" if isinstance(where, Grid) and where.periodic else "reflect"
    noise = rng.standard_normal(shape)
    scales = (0.0,) * (len(shape) - 3) + (time_scale,) * (len(shape) > 2) + (length_scale, length_scale)
    elsewhere: Literal["wrap", "reflect"] = "reflect"
    modes = [elsewhere] * (len(shape) - 1) + [around]
    field = gaussian_filter(noise, scales, mode=modes)
    return _keep_lowest(field, fraction)


def station_network(
    grid: Grid, n: int, rng: np.random.Generator, land_mask: np.ndarray | None = None
) -> pd.DataFrame:
    """Stations at random positions, equally dense per area, off the grid's own points.

    Args:
        grid: the domain; positions lie between its outermost cell centres.
        n: number of stations.
        rng: source of randomness.
        land_mask: cells that may hold stations, ``(H, W)``; all by default.

    Returns:
        Columns ``station, lat, lon``.

    Raises:
        SkyweaveError: when the mask has no cell.
    """
    allowed = np.ones(grid.shape, bool) if land_mask is None else np.asarray(land_mask, bool)
    if allowed.shape != grid.shape or not allowed.any():
        raise SkyweaveError(
            f"land mask of shape {allowed.shape} has no cell for a station on {grid.describe()}"
        )
    low, high = np.sin(np.radians([grid.lat.min(), grid.lat.max()]))
    edges = grid.lon_bounds if grid.periodic else grid.lon_unwrapped
    west, east = edges.min(), edges.max()
    lat, lon = np.zeros(0), np.zeros(0)
    for _ in range(10_000):
        if len(lat) >= n:
            break
        draw = max(4 * n, 256)
        new_lat = np.degrees(np.arcsin(rng.uniform(low, high, draw)))
        new_lon = rng.uniform(west, east, draw)
        good = allowed.ravel()[nearest(grid, new_lat, new_lon).indices]
        lat, lon = np.concatenate([lat, new_lat[good]]), np.concatenate([lon, new_lon[good]])
    if len(lat) < n:
        raise SkyweaveError(
            "the land mask leaves too little area between the outermost cell centres for stations"
        )
    names = [f"s{k:04d}" for k in range(n)]
    return pd.DataFrame({"station": names, "lat": lat[:n], "lon": (lon[:n] + 180) % 360 - 180})


def sample_points(field: xr.DataArray, lat: Any, lon: Any, method: str = "bilinear") -> np.ndarray:
    """A field at points, shape ``(n,)``, or ``(T, n)`` where it has a time dimension; NaN next to gaps.

    Args:
        field: (time,) lat, lon in any order.
        lat: degrees north, shape ``(n,)``.
        lon: degrees east, shape ``(n,)``.
        method: ``"nearest"``, ``"bilinear"`` or ``"bicubic"``.

    Raises:
        SkyweaveError: for an unknown method, or points outside the grid.
    """
    if method not in INTERPOLATION:
        raise SkyweaveError(f"method {method!r} is not known; known are {', '.join(INTERPOLATION)}")
    grid = Grid.from_dataset(field)
    time = time_dim(field)
    values = field.transpose(*([] if time is None else [time]), *grid.dims_in(field)).values
    weights = INTERPOLATION[method](grid, np.asarray(lat, float), np.asarray(lon, float))
    flat = values.reshape(-1, grid.size).astype(float)
    out = (weights @ flat.T).T
    return out[0] if time is None else out


def add_noise(values: Any, error: ErrorModel | float, rng: np.random.Generator) -> Any:
    """Values with independent Gaussian errors of a model's variance; NaN and labels stay.

    Args:
        values: array or DataArray.
        error: standard deviation in their units, or a model.
        rng: source of randomness.
    """
    plain = np.asarray(values, float)
    sigma = np.sqrt(error_model(error).variance(plain))
    noise = sigma * rng.standard_normal(plain.shape)
    return values + noise


def station_table(
    fields: xr.Dataset,
    stations: pd.DataFrame,
    error: ErrorModel | float | dict[str, ErrorModel | float],
    rng: np.random.Generator,
    method: str = "bilinear",
) -> pd.DataFrame:
    """Noisy reports of every variable of a dataset at every station and time, as `PointObservation` takes them.

    Args:
        fields: variables (time,) lat, lon.
        stations: columns ``lat, lon``, for example of `station_network`.
        error: of all reports, or by variable, in the units of each.
        rng: source of randomness.
        method: as in `sample_points`.
    """
    parts = []
    for name, field in fields.data_vars.items():
        model = error_model(error[str(name)] if isinstance(error, dict) else error)
        exact = np.atleast_2d(sample_points(field, stations["lat"], stations["lon"], method))
        noisy = add_noise(exact, model, rng)
        columns = {"lat": np.tile(stations["lat"], len(exact)), "lon": np.tile(stations["lon"], len(exact))}
        if "station" in stations:
            columns["station"] = np.tile(stations["station"], len(exact))
        time = time_dim(field)
        if time is not None and time in field.coords:
            columns["time"] = np.repeat(field[time].values, exact.shape[1])
        part = pd.DataFrame(columns).assign(
            variable=str(name), value=noisy.ravel(), error=np.sqrt(model.variance(exact)).ravel()
        )
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _keep_lowest(field: np.ndarray, fraction: float) -> np.ndarray:
    """False for exactly the given share of greatest values of each map."""
    maps = field.reshape(-1, field.shape[-2] * field.shape[-1])
    missing = round(fraction * maps.shape[1])
    mask = np.ones(maps.shape, bool)
    order = np.argsort(maps, axis=1)[:, maps.shape[1] - missing :]
    np.put_along_axis(mask, order, False, axis=1)
    return mask.reshape(field.shape)


def _check_fraction(fraction: float) -> None:
    if not 0 <= fraction <= 1:
        raise SkyweaveError(f"missing fraction {fraction}, it must lie between 0 and 1")
