"""A small world for tests of forecasters: smooth fields that drift east by a cell a step and are slowly renewed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from skyweave.emulate import EmulatorConfig
from skyweave.grid import Grid
from skyweave.io.write import write
from skyweave.state import StateSpec, Variable

ROWS, COLUMNS = 12, 24
SPEC = StateSpec((Variable("t", "K", "air_temperature"), Variable("q", "g kg-1")))


def global_grid(rows: int = ROWS, columns: int = COLUMNS) -> Grid:
    """Cell centres of a regular grid, from south to north."""
    lat = -90 + (np.arange(rows) + 0.5) * 180 / rows
    return Grid(lat, np.arange(columns) * 360 / columns)


def smooth(rng: np.random.Generator, shape: tuple[int, ...], scale: float = 3.0) -> np.ndarray:
    """Random fields of unit variance, smooth over some cells, periodic both ways."""
    rows, columns = shape[-2:]
    k = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None])
    waves = np.fft.rfft2(rng.standard_normal(shape)) * np.exp(-((k * scale) ** 2) * 6)
    fields = np.fft.irfft2(waves, s=(rows, columns))
    return fields / fields.std(axis=(-2, -1), keepdims=True)


def drifting(steps: int, *, memory: float = 0.97, seed: int = 0, grid: Grid | None = None) -> xr.Dataset:
    """``x(t + 1) = memory roll(x(t)) + sqrt(1 - memory^2) n``; temperature and humidity, 6-hourly."""
    grid = grid or global_grid()
    rng = np.random.default_rng(seed)
    x = smooth(rng, (2, *grid.shape))
    frames = []
    for _ in range(steps):
        frames.append(x)
        x = memory * np.roll(x, 1, axis=-1) + np.sqrt(1 - memory**2) * smooth(rng, x.shape)
    values = np.stack(frames).astype(np.float32)
    time = np.datetime64("2001-01-01", "ns") + np.arange(steps) * np.timedelta64(6, "h")
    dims = ("time", "lat", "lon")
    return xr.Dataset(
        {
            "t": (dims, 280 + 10 * values[:, 0], {"units": "K", "standard_name": "air_temperature"}),
            "q": (dims, 5 + values[:, 1], {"units": "g kg-1"}),
        },
        {
            "time": time,
            "lat": ("lat", grid.lat, {"units": "degrees_north", "standard_name": "latitude"}),
            "lon": ("lon", grid.lon, {"units": "degrees_east", "standard_name": "longitude"}),
        },
    )


def written(folder: Path, steps: int = 240, **how: object) -> Path:
    """The world in a file."""
    path = folder / "world.nc"
    write(drifting(steps, **how), path)  # type: ignore[arg-type]
    return path


def settings(path: Path, out: Path, **changes: object) -> EmulatorConfig:
    """A training run of seconds: 45 days of training, 10 of validation."""
    values: dict[str, object] = {
        "data": {"paths": str(path), "variables": ["t", "q"], "conditioning": ["latitude"]},
        "split": {"train": ["2001-01-01", "2001-02-14"], "validate": ["2001-02-15", "2001-02-28"]},
        "out": str(out),
        "network": {"kind": "sfno", "width": 12, "layers": 1},
        "optimiser": {"name": "adamw", "lr": 1e-2, "warmup": 5},
        "ema_half_life": 5,
        "batch": 8,
        "steps": 40,
        "validate_every": 20,
        "log_every": 10,
        "validation_starts": 8,
        "hindcast": {"steps": 3, "starts": 6},
        "residuals": 6,
    }
    return EmulatorConfig.model_validate(values | changes)
