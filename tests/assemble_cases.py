"""Grids, tables and sources that the tests of assembled observations share."""

import numpy as np
import pandas as pd
import torch
import xarray as xr

from skyweave.grid import Grid
from skyweave.observe.errors import ErrorModel
from skyweave.observe.observation import GridObservation, PointObservation
from skyweave.regrid import coarsen
from skyweave.state import StateSpec, Variable
from skyweave.transform import Log10Standardise, Standardise, StateTransform

GRID = Grid(np.arange(40.0, 56.0), np.arange(-8.0, 8.0))
WORLD = Grid(np.arange(87.5, -90, -5.0), np.arange(0.0, 360, 5.0))
TIMES = np.array(["2020-01-01T00", "2020-01-01T06", "2020-01-01T12"], "M8[ns]")
SPEC = StateSpec((Variable("t", "K"), Variable("aod", "1", bounds=(0.0, None))))
TRANSFORM = StateTransform((Standardise(280.0, 10.0), Log10Standardise(-1.0, 0.5, 1e-4)))
FINE = Grid(np.arange(39.625, 55.5, 0.25), np.arange(-8.375, 7.5, 0.25))
SHIFTED = Grid(np.arange(38.0, 60.0, 2.7), np.arange(350.3, 370.0, 2.7))


def field(grid, values=280.0, times=TIMES, name="t", units="K"):
    data = np.broadcast_to(np.asarray(values, float), (len(times), *grid.shape)).copy()
    coords = {"time": times, "lat": grid.lat, "lon": grid.lon}
    return xr.DataArray(data, dims=("time", "lat", "lon"), coords=coords, name=name, attrs={"units": units})


def table(n=30, seed=0, names=("t", "aod"), grid=GRID):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "time": rng.choice(TIMES, n),
            "lat": rng.uniform(grid.lat.min(), grid.lat.max(), n),
            "lon": rng.uniform(-7.9, 6.9, n),
            "variable": rng.choice(names, n),
            "value": rng.uniform(0.1, 1.0, n),
            "error": rng.uniform(0.5, 1.0, n),
        }
    )


def between(frame=TIMES):
    return frame[:-1] + np.array([2, 5]) * np.timedelta64(1, "h")


# One of every kind of source; the laws below hold for each and for all together.
SOURCES = {
    "mask": lambda: GridObservation(field(GRID), 1.0),
    "mask, two frames": lambda: GridObservation(field(GRID, times=between()), 1.0, time="interpolate"),
    "block-mean": lambda: GridObservation(field(coarsen(GRID, 4)), 1.0),
    "mean": lambda: GridObservation(field(SHIFTED), 1.0, operator="mean"),
    "aggregate": lambda: GridObservation(field(FINE), 1.0),
    "bilinear": lambda: GridObservation(field(FINE), 1.0, operator="bilinear"),
    "bicubic": lambda: GridObservation(field(coarsen(GRID, 4)), 1.0, operator="bicubic"),
    "bicubic-antialias": lambda: GridObservation(field(coarsen(GRID, 4)), 1.0, operator="bicubic-antialias"),
    "aod mean": lambda: GridObservation(field(SHIFTED, 0.3, name="aod", units="1"), 0.1),
    "points": lambda: PointObservation(table()),
    "points, bicubic": lambda: PointObservation(table(), interpolation="bicubic"),
    "points, superob": lambda: PointObservation(table(200), superob=True),
    "points, thinned": lambda: PointObservation(table(200), thin="cell"),
    "points, correlated": lambda: PointObservation(table(), error=ErrorModel(correlation_length_km=300.0)),
}
KINDS = [*SOURCES, "all"]


def sources(kind):
    return [make() for make in SOURCES.values()] if kind == "all" else [SOURCES[kind]()]


def states(n=2, dtype=torch.float64, seed=0):
    return torch.randn(
        n, len(TIMES), 2, *GRID.shape, dtype=dtype, generator=torch.Generator().manual_seed(seed)
    )


def dots(a, b):
    return (a * b).reshape(len(a), -1).sum(1)
