"""Priors, grids, sources and outputs in a few lines of text."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

from skyweave.grid import Grid
from skyweave.io.axes import find_time
from skyweave.observe.observation import GridObservation, PointObservation
from skyweave.prior.storage import LearntPrior

WIDTH = 14


def row(key: str, value: object) -> str:
    """An indented line with its key in a column of its own."""
    return f"  {key:<{WIDTH - 2}}{value}"


def describe_prior(prior: LearntPrior, full: bool = False) -> list[str]:
    """Variables, resolution and size of a prior; with `full` also its transforms and all of its metadata."""
    names = ", ".join(f"{v.name} ({v.units})" for v in prior.spec.variables)
    resolution = prior.spec.resolution
    lines = [
        row("variables", names),
        row("resolution", "any" if resolution is None else f"{resolution[0]:g} x {resolution[1]:g} degrees"),
        row("patch", f"{prior.patch[0]} x {prior.patch[1]} cells, window of {prior.spec.window}"),
    ]
    if not full:
        return lines
    count = sum(p.numel() for p in prior.network.parameters())
    lines.append(row("network", f"{count / 1e6:.2f} million parameters"))
    for variable, transform in zip(prior.spec.variables, prior.transform.transforms, strict=True):
        lines.append(row("transform", f"{variable.name}: {_flat(transform.to_dict())}"))
    lines.append(row("conditioning", ", ".join(prior.conditioning.names) or "none"))
    covariance = sorted(key for key in prior.attachments if key.startswith("covariance"))
    lines.append(row("covariance", "stored with it" if covariance else "none stored"))
    lines += [row(key, _flat(value)) for key, value in prior.metadata.items()]
    return lines


def describe_dataset(ds: xr.Dataset) -> list[str]:
    """Grid and times of a dataset."""
    return [row("grid", _grid(Grid.from_dataset(ds))), row("times", _times(ds))]


def describe_source(source: GridObservation | PointObservation) -> list[str]:
    """Where, when and how many observations of a source there are, before any is matched to the grid."""
    if isinstance(source, PointObservation):
        table = source.table
        lines = [row("variable", f"{name}: {count} reports") for name, count in _counts(table)]
        if len(table):
            lat, lon, time = table["lat"], table["lon"], table["time"]
            lines.append(row("area", f"{lat.min():g} to {lat.max():g} N, {lon.min():g} to {lon.max():g} E"))
            lines.append(row("times", f"{time.min():%Y-%m-%d %H:%M} to {time.max():%Y-%m-%d %H:%M}"))
        return lines
    data = source.data
    present = float(data.notnull().mean())
    return [
        row("variable", f"{data.name} ({data.attrs.get('units', 'no units')})"),
        row("grid", _grid(Grid.from_dataset(data))),
        row("times", _times(data)),
        row("present", f"{100 * present:.1f} % of {data.size} values"),
    ]


def describe_output(ds: xr.Dataset) -> list[str]:
    """Variables, grid, times, provenance and recorded settings of an output."""
    lines = describe_dataset(ds)
    lines.append(row("dimensions", ", ".join(f"{name} {size}" for name, size in ds.sizes.items())))
    for name, field in ds.data_vars.items():
        lines.append(
            row("variable", f"{name} ({', '.join(map(str, field.dims))}) {field.attrs.get('units', '')}")
        )
        meanings = str(field.attrs.get("flag_meanings", "")).split()
        if meanings:
            found = np.unique(field.values[np.isfinite(field.values)], return_counts=True)
            share = dict(zip(found[0].astype(int).tolist(), (found[1] / field.size).tolist(), strict=True))
            values = np.atleast_1d(field.attrs.get("flag_values", np.arange(len(meanings))))
            parts = (f"{m} {100 * share.get(int(v), 0):.1f} %" for v, m in zip(values, meanings, strict=True))
            lines.append(row("", ", ".join(parts)))
    return lines + [row(key, _flat(value)) for key, value in ds.attrs.items()]


def _counts(table: Any) -> list[tuple[str, int]]:
    return [(str(name), int(count)) for name, count in table["variable"].value_counts().items()]


def _grid(grid: Grid) -> str:
    (h, w), (dlat, dlon) = grid.shape, grid.resolution
    circle = ", closed in longitude" if grid.periodic else ""
    return (
        f"{h} x {w} cells of {dlat:g} x {dlon:g} degrees, {grid.lat.min():g} to {grid.lat.max():g} N, "
        f"{grid.lon[0]:g} to {grid.lon[-1]:g} E{circle}"
    )


def _times(ds: xr.Dataset | xr.DataArray) -> str:
    name = find_time(ds)
    if name is None or name not in ds.coords:
        return "none given"
    values = np.atleast_1d(ds[name].values)
    if values.size == 1:
        return f"{values[0]!s:.19}"
    return f"{values.size}, {values[0]!s:.19} to {values[-1]!s:.19}"


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flat(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(_flat(item) for item in value)
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.4g}"
    return str(value)
