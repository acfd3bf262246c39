"""A prior of white noise with a card, its target and its observations: what tests of scenes share."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
import xarray as xr

from prior_cases import white_network
from skyweave.covariance.by_noise_level import ErrorCovarianceModel, default_levels
from skyweave.prior.knowledge import PROBABILITIES, Knowledge, Values
from skyweave.prior.storage import LearntPrior
from skyweave.state import StateSpec, Variable
from skyweave.transform import Standardise, StateTransform

MEAN, STD = 10.0, 2.0
# Quantiles of N(10, 2^2), from a table of the normal distribution.
NORMAL = (-3.0902, -2.3263, -1.6449, -0.6745, 0.0, 0.6745, 1.6449, 2.3263, 3.0902)
assert len(NORMAL) == len(PROBABILITIES)
CARD = Knowledge(
    lat=(30.0, 60.0),
    lon=(350.0, 380.0),
    periodic=False,
    period=("2019-01-01", "2019-02-28"),
    months={1: 0.5, 2: 0.5},
    hours={0: 0.25, 6: 0.25, 12: 0.25, 18: 0.25},
    values={"a": Values("K", tuple(MEAN + STD * q for q in NORMAL), 2.5, 17.5, MEAN, STD, 0.0)},
)


def white_prior(card: Knowledge | None = CARD) -> LearntPrior:
    """``D(x, sigma) = x / (1 + sigma^2)``: the last layer of an untrained network is zero."""
    spec = StateSpec((Variable("a", "K", long_name="what the training files said"),), resolution=(1.0, 1.0))
    transform = StateTransform((Standardise(MEAN, STD),))
    with torch.random.fork_rng():
        torch.manual_seed(0)  # the same prior at every call
        network = white_network(1)
    levels = default_levels()
    kernels = torch.zeros(len(levels), 1, 1, 8, 8)
    kernels[:, 0, 0, 0, 0] = 1
    metadata = {} if card is None else {"knowledge": card.to_dict()}
    attachments = ErrorCovarianceModel(levels, kernels).to_tensors()
    return LearntPrior(spec, transform, (16, 16), network, metadata=metadata, attachments=attachments)


def place(
    times: int = 1, start: str = "2020-01-10", lat: np.ndarray | None = None, lon: np.ndarray | None = None
) -> xr.Dataset:
    """A target of 16 x 18 cells inside the domain of the card."""
    lat = np.arange(55.0, 39.0, -1.0) if lat is None else lat
    lon = np.arange(352.0, 370.0) % 360 if lon is None else lon
    time = pd.date_range(start, periods=times, freq="6h").to_numpy()
    return xr.Dataset(
        coords={
            "time": time,
            "lat": ("lat", lat, {"units": "degrees_north"}),
            "lon": ("lon", lon, {"units": "degrees_east"}),
        }
    )


def seen_at(like: xr.Dataset, deviation: float = STD, share: float = 0.5, seed: int = 0) -> xr.DataArray:
    """Values of ``N(10, deviation^2)`` in a share of the cells."""
    rng = np.random.default_rng(seed)
    shape = tuple(like.sizes[d] for d in ("time", "lat", "lon"))
    values = rng.normal(MEAN, deviation, shape)
    values[rng.random(shape) > share] = np.nan
    attrs = {"units": "K", "long_name": "what the caller calls it"}
    return xr.DataArray(values, like.coords, ("time", "lat", "lon"), name="a", attrs=attrs)
