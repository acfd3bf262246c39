"""A damaged chunk is told with its file by whatever reads it, also from a dataset that the caller opened."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io import grid_swath, open_fields, read_reports, read_swaths
from skyweave.io.cells import cells_as_points
from skyweave.io.elevation import elevation_on
from skyweave.observe.clouds import gap_masks
from skyweave.observe.grids import grid_rows
from skyweave.observe.observation import GridObservation
from table_cases import STATE

GRID = Grid(np.arange(44.5, 50), np.arange(4.5, 10))


def damaged(path, ds, name):
    """A file in which the chunk of a variable fails its checksum."""
    ds.to_netcdf(path, engine="h5netcdf", encoding={name: {"zlib": True, "fletcher32": True}})
    with h5py.File(path) as file:
        chunk = file[name].id.get_chunk_info(0)
    with open(path, "r+b") as raw:
        raw.seek(chunk.byte_offset + chunk.size // 2)
        raw.write(bytes(40))
    return path


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    axes = {"lat": ("lat", np.arange(40.0, 60), {"units": "degrees_north"}),
            "lon": ("lon", np.arange(0.0, 20), {"units": "degrees_east"})}  # fmt: skip
    values = rng.normal(280, 3, (20, 20))
    times = {"time": pd.to_datetime(["2020-06-01"])}
    fields = xr.Dataset({"t2m": (("time", "lat", "lon"), values[None], {"units": "K"})}, axes | times)
    lat, lon = np.meshgrid(axes["lat"][1], axes["lon"][1], indexing="ij")
    swath = xr.Dataset(
        {"x": (("y", "x0"), values)}, {"lat": (("y", "x0"), lat + 0.01 * lon), "lon": (("y", "x0"), lon)}
    )
    places = {
        "lat": ("station", lat[:, 0]),
        "lon": ("station", lat[:, 0]),
        "time": pd.date_range("2020", periods=20),
    }
    stations = xr.Dataset(
        {"t2m": (("station", "time"), values, {"units": "K"})}, places, {"featureType": "timeSeries"}
    )
    height = xr.Dataset({"z": (("lat", "lon"), values, {"units": "m"})}, axes)
    return {
        "fields": damaged(tmp_path / "fields.nc", fields, "t2m"),
        "swath": damaged(tmp_path / "swath.nc", swath, "x"),
        "stations": damaged(tmp_path / "stations.nc", stations, "t2m"),
        "height": damaged(tmp_path / "height.nc", height, "z"),
    }


READERS = {
    "fields": ("fields", lambda p: open_fields(p).load()),
    "observations": (
        "fields",
        lambda p: grid_rows(GridObservation(open_fields(p).t2m, 1.0), "fields", STATE),
    ),
    "observations of a caller": (
        "fields",
        lambda p: grid_rows(GridObservation(xr.open_dataset(p).t2m, 1.0), "fields", STATE),
    ),
    "gap masks of a caller": (
        "fields",
        lambda p: gap_masks(xr.open_dataset(p).t2m, GRID, 1, np.random.default_rng(0)),
    ),
    "swaths": ("swath", lambda p: read_swaths(p, "x", GRID)),
    "a swath of a caller": ("swath", lambda p: grid_swath(xr.open_dataset(p), "x", GRID)),
    "cells": ("swath", cells_as_points),
    "stations": ("stations", lambda p: read_reports(p)),
    "elevation": ("height", lambda p: elevation_on(GRID, p, "z")),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_damaged_chunk_is_told(files, reader):
    name, read = READERS[reader]
    with pytest.raises(SkyweaveError, match=rf"(?s){name}.*truncated or damaged"):
        read(str(files[name]))
