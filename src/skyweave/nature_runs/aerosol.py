"""An hourly aerosol tracer with known truth: emitted, advected, diffused, deposited, and hidden by clouds."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from skyweave.errors import SkyweaveError
from skyweave.nature_runs.world import AerosolPhysics, cloud_cover, create

__all__ = ["aerosol_tracer", "with_gaps"]

Floats = NDArray[np.floating]


def aerosol_tracer(
    hours: int,
    shape: tuple[int, int] = (64, 64),
    *,
    resolution: float = 0.5,
    south_west: tuple[float, float] = (10.0, 80.0),
    seed: int = 0,
    start: str = "2020-06-01",
    spin_up: int = 72,
    cloud_fraction: float = 0.5,
    physics: AerosolPhysics | None = None,
) -> xr.Dataset:
    r"""Hourly aerosol optical depth and cloud cover of a synthetic world, complete and deterministic.

    AOD is a background plus a tracer, :math:`\tau = b + c`, both dimensionless, with

    .. math::
        \frac{\partial c}{\partial t} + \mathbf u \cdot \nabla c
            = K \nabla^2 c - \left(\frac{1}{T_d} + \frac{r(C)}{T_w}\right) c + E(t),
        \qquad
        \mathbf u = \bar{\mathbf u} + \left(-\frac{\partial\psi}{\partial y},
            \frac{\partial\psi}{\partial x}\right)

    - :math:`\mathbf u`, m s-1: mean wind and a stream function :math:`\psi`, m2 s-1, whose Fourier modes are
      Ornstein-Uhlenbeck processes, so the flow evolves and has no divergence;
    - :math:`K`, m2 s-1: diffusivity;
    - :math:`T_d, T_w`, h: lifetimes against dry deposition and rain-out, the latter where clouds are thick:
      :math:`r` rises from 0 at a cover of 0.8 to 1 at 1;
    - :math:`E`, h-1: cities in clusters, strongest in the afternoon, and fires or dust sources that break out
      for a day or two (`skyweave.nature_runs.sources`);
    - cloud cover :math:`C = \Phi((z - z_0) / s)`, with `z` a red Gaussian field that drifts with the flow and
      whose scales are renewed as autoregressive processes of first order, and :math:`\Phi` the normal
      distribution function; :math:`z_0` sets the expected cover.

    Space is a plane with the metric of the domain's middle latitude, doubly periodic, and wider than the domain
    by a quarter, at least 16 cells, on every side: air comes in with a history. A step of an hour advects
    along trajectories by limited cubic interpolation that keeps the total, diffuses by the exact propagator of
    the five-point Laplacian, and integrates sources and sinks exactly. Random numbers are drawn hour by hour,
    so a run is the beginning of a longer run with the same arguments.

    Args:
        hours: length of the run.
        shape: ``(H, W)`` cells.
        resolution: of both axes, degrees.
        south_west: latitude and longitude of the centre of the first cell, degrees.
        seed: of geography and weather.
        start: first hour, UTC; the sun follows it.
        spin_up: hours before `start` that are run and dropped.
        cloud_fraction: expected cloud cover, 0 to 1.
        physics: constants other than the default.

    Returns:
        ``AOD (time, lat, lon)``, 1, positive, and ``cloud_cover (time, lat, lon)``, 1, in 0..1; float32.

    Raises:
        SkyweaveError: no hours, a domain of less than two cells a side or beyond 85 degrees of latitude, or a
            cloud fraction outside 0..1.
    """
    _check(hours, shape, resolution, south_west, spin_up, cloud_fraction)
    constants = physics or AerosolPhysics()
    first = _first_hour(start)
    pad = (max(16, shape[0] // 4), max(16, shape[1] // 4))
    lat = south_west[0] + resolution * np.arange(shape[0])
    lon = south_west[1] + resolution * np.arange(shape[1])
    beyond = south_west[1] + resolution * (np.arange(shape[1] + 2 * pad[1]) - pad[1])
    sun = first.hour + first.minute / 60 + beyond / 15
    world = create(
        (shape[0] + 2 * pad[0], len(beyond)), lat, resolution, sun, seed, cloud_fraction, constants
    )
    inside = (slice(pad[0], pad[0] + shape[0]), slice(pad[1], pad[1] + shape[1]))
    aod, cover = np.empty((2, hours, *shape), np.float32)
    for hour in range(-spin_up, hours):
        world.step(hour)
        if hour >= 0:
            aod[hour] = (world.background + world.tracer)[inside]
            cover[hour] = cloud_cover(world.z, world.threshold)[inside]
    run = {"seed": seed, "spin_up_hours": spin_up, "cloud_fraction": cloud_fraction}
    return _labelled(aod, cover, first, lat, lon, run, constants)


def with_gaps(ds: xr.Dataset, gamma: float = 0.5) -> xr.Dataset:
    r"""The same world as a satellite sees it: AOD missing where clouds cover more than `gamma` of a cell.

    .. math:: M = [\, C \le \gamma \,]

    Args:
        ds: ``AOD`` and ``cloud_cover`` on the same cells, as `aerosol_tracer` returns them.
        gamma: threshold of cloud cover, 0 to 1.

    Returns:
        A copy with NaN in ``AOD``; everything else as it was.

    Raises:
        SkyweaveError: a variable is absent, or the threshold lies outside 0..1.

    Reference: AODDiff, section 2.3.1, masking operator.
    """
    absent = [name for name in ("AOD", "cloud_cover") if name not in ds]
    if absent:
        raise SkyweaveError(
            f"no {' and no '.join(absent)} in the dataset, which has {', '.join(map(str, ds.data_vars))}; "
            "aerosol_tracer makes both"
        )
    if not 0 <= gamma <= 1:
        raise SkyweaveError(f"gamma = {gamma}, it is a cloud cover and must lie between 0 and 1")
    out = ds.copy()
    out["AOD"] = ds["AOD"].where(ds["cloud_cover"] <= gamma).assign_attrs(ds["AOD"].attrs)
    out["AOD"].attrs["comment"] = f"missing where cloud_cover > {gamma:g}"
    return out


def _labelled(
    aod: NDArray[np.float32],
    cover: NDArray[np.float32],
    first: pd.Timestamp,
    lat: Floats,
    lon: Floats,
    run: dict[str, float],
    physics: AerosolPhysics,
) -> xr.Dataset:
    """Arrays with CF coordinates and attributes, and the arguments that made them."""
    dims = ("time", "lat", "lon")
    constants = {
        f"physics_{name}": list(v) if isinstance(v, tuple) else v for name, v in asdict(physics).items()
    }
    time = pd.date_range(first, periods=len(aod), freq="h").to_numpy().astype("datetime64[ns]")
    return xr.Dataset(
        {
            "AOD": (dims, aod, {
                "standard_name": "atmosphere_optical_thickness_due_to_ambient_aerosol_particles",
                "long_name": "aerosol optical depth at 550 nm", "units": "1",
            }),
            "cloud_cover": (dims, cover, {
                "standard_name": "cloud_area_fraction", "long_name": "total cloud cover", "units": "1",
            }),
        },
        coords={
            "time": ("time", time, {"standard_name": "time", "axis": "T"}),
            "lat": ("lat", lat, {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"}),
            "lon": ("lon", lon, {"standard_name": "longitude", "units": "degrees_east", "axis": "X"}),
        },
        attrs={
            "Conventions": "CF-1.11", "title": "Synthetic hourly aerosol tracer under drifting clouds",
            "source": "skyweave.nature_runs.aerosol_tracer", **run, **constants,
        },
    )  # fmt: skip


def _first_hour(start: str) -> pd.Timestamp:
    try:
        first = pd.Timestamp(start)
    except ValueError as error:
        raise SkyweaveError(f"start = {start!r} is not a date such as '2020-06-01'") from error
    return first.tz_convert(None) if first.tzinfo is not None else first


def _check(
    hours: int,
    shape: tuple[int, int],
    resolution: float,
    south_west: tuple[float, float],
    spin_up: int,
    cloud_fraction: float,
) -> None:
    if hours < 1 or spin_up < 0:
        raise SkyweaveError(f"{hours} hours after {spin_up} of spin-up; a run has at least one hour")
    if len(shape) != 2 or min(shape) < 2:
        raise SkyweaveError(f"a domain of {shape} cells; it needs two sides of at least two")
    if resolution <= 0 or resolution * shape[1] > 360:
        raise SkyweaveError(f"{shape[1]} columns of {resolution} degrees do not fit on a circle of 360")
    north = south_west[0] + resolution * (shape[0] - 1)
    if south_west[0] < -85 or north > 85:
        raise SkyweaveError(
            f"latitudes {south_west[0]:g} to {north:g}: the plane of this world ends at 85 degrees"
        )
    if not 0 <= cloud_fraction <= 1:
        raise SkyweaveError(f"cloud_fraction = {cloud_fraction}, it must lie between 0 and 1")
