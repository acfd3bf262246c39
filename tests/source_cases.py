"""Worlds of known errors and biases: a Gaussian field, a satellite with gaps and ships, one observation set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr

from prior_cases import white_network
from skyweave.covariance.by_noise_level import ErrorCovarianceModel, default_levels
from skyweave.grid import Grid
from skyweave.observe.assemble import ObservationSet, assemble
from skyweave.observe.observation import GridObservation, PointObservation
from skyweave.observe.simulate import sample_points
from skyweave.prior.analytic import GaussianPrior, red_spectrum
from skyweave.prior.storage import LearntPrior
from skyweave.sources.innovations import climatological_innovations, groups_of
from skyweave.state import StateSpec, Variable
from skyweave.transform import Standardise, StateTransform

MEAN, STD = 10.0, 2.0
SPEC = StateSpec((Variable("a", "K"),), resolution=(1.0, 1.0))
TRANSFORM = StateTransform((Standardise(MEAN, STD),))


def gaussian(size: int = 20) -> GaussianPrior:
    """A red field that is its own background at every time."""
    return GaussianPrior(red_spectrum(size, size), (1, 1, size, size))


def labelled(values: np.ndarray) -> xr.DataArray:
    """Fields ``(T, H, W)`` with coordinates, a day apart."""
    lat, lon = np.arange(values.shape[1]) - 10.0, np.arange(values.shape[2]) * 1.0
    coords = {
        "time": pd.date_range("2020-01-01", periods=len(values), freq="1D"),
        "lat": ("lat", lat, {"units": "degrees_north"}),
        "lon": ("lon", lon, {"units": "degrees_east"}),
    }
    return xr.DataArray(values, coords, ("time", "lat", "lon"), name="a", attrs={"units": "K"})


def truth_of(prior: GaussianPrior, times: int, seed: int) -> xr.DataArray:
    """Draws of the prior at independent times, physical."""
    generator = torch.Generator().manual_seed(seed)
    states = prior.sample(torch.randn(times, *prior.shape, generator=generator))[:, 0]
    return labelled(TRANSFORM.inverse(states)[:, 0].numpy())


def sources_of(
    truth: xr.DataArray,
    seed: int = 0,
    *,
    errors: tuple[float, float] = (0.4, 0.3),
    stated: tuple[float, float] = (0.4, 0.3),
    bias: float = 0.0,
    slope: float = 0.0,
    share: float = 0.4,
    ships: int = 60,
    **settings,
) -> list[GridObservation | PointObservation]:
    """A satellite that sees a share of the cells, and ships whose bias may grow with a column ``angle``."""
    rng = np.random.default_rng(seed)
    seen = (truth + errors[0] * rng.standard_normal(truth.shape)).where(rng.random(truth.shape) < share)
    tables = []
    for k, stamp in enumerate(truth.time.values):
        lat, lon = (rng.uniform(float(truth[d].min()), float(truth[d].max()), ships) for d in ("lat", "lon"))
        angle = rng.uniform(0, 4, ships)
        value = sample_points(truth.isel(time=k), lat, lon) + errors[1] * rng.standard_normal(ships)
        value = value + bias + slope * angle
        rows = {"time": stamp, "lat": lat, "lon": lon, "variable": "a", "value": value, "angle": angle}
        tables.append(pd.DataFrame(rows))
    return [
        GridObservation(seen.assign_attrs(units="K"), stated[0], name="satellite"),
        PointObservation(pd.concat(tables), stated[1], name="ships", **settings),
    ]


def observed_by(truth: xr.DataArray, sources) -> ObservationSet:
    return assemble(sources, SPEC, Grid.from_dataset(truth), truth.time.values, TRANSFORM)


def white_prior() -> LearntPrior:
    """An untrained network: the exact denoiser of white noise, with the covariance of it."""
    torch.manual_seed(0)
    network = white_network(1)
    levels = default_levels()
    kernels = torch.zeros(len(levels), 1, 1, 8, 8)
    kernels[:, 0, 0, 0, 0] = 1
    attachments = ErrorCovarianceModel(levels, kernels).to_tensors()
    return LearntPrior(SPEC, TRANSFORM, (16, 16), network, attachments=attachments)


def white_truth(times: int = 2, size: int = 16, seed: int = 0) -> xr.DataArray:
    rng = np.random.default_rng(seed)
    return labelled(MEAN + STD * rng.standard_normal((times, size, size)))


def write(fields: xr.DataArray, path: Path) -> None:
    fields.to_dataset().to_netcdf(path, engine="h5netcdf")


PRIOR = gaussian(20)
TIMES = 12


def background(t0, t1):
    assert t1 - t0 == 1
    return PRIOR


def case(seed=0, times=TIMES, **how):
    """Observations, their groups and their innovations against the climatology."""
    observed = observed_by(
        truth_of(PRIOR, times, seed), sources_of(truth_of(PRIOR, times, seed), seed, **how)
    )
    _, number = groups_of(observed)
    stretches = [(t, t + 1) for t in range(times)]
    return observed, number, climatological_innovations(observed, number, background, stretches, compact=True)
