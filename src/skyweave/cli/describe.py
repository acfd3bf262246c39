"""Priors, grids, sources and outputs in a few lines of text."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from skyweave.io.describe import describe
from skyweave.observe.observation import Observation, PointObservation, SoundingObservation
from skyweave.prior.storage import LearntPrior

WIDTH = 24
CARD = ("knowledge", "calibration", "domain", "training_range")
"""Of the metadata, what a prior's card tells in its own words."""
LONG = 1000
"""Characters shown of what an output is made with, which lists each of its times."""


def row(key: str, value: object) -> str:
    """An indented line with its key in a column of its own."""
    lines = str(value).splitlines() or [""]
    return ("\n" + " " * WIDTH).join([f"  {key:<{WIDTH - 2}}{lines[0]}", *lines[1:]])


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
    knowledge = prior.knowledge
    if knowledge is not None:
        lines += [row(key, text) for key, text in knowledge.lines()]
    kinds = (prior.metadata.get("calibration") or {}).get("kinds", {})
    for kind, scores in kinds.items():
        ratio, inside = scores["spread_skill_ratio"], scores["coverage_90"]
        lines.append(
            row("spread and skill", f"{kind}: ratio {ratio:.2f}, the 90 % interval holds {inside:.0%}")
        )
    told = {key: value for key, value in prior.metadata.items() if key not in CARD}
    lines += [row(key, _flat(value)) for key, value in told.items()]
    return lines


def describe_dataset(ds: xr.Dataset) -> list[str]:
    """Grid, times, variables, units, fill values and missing share of a dataset, from some of its maps."""
    return [f"  {line}" for line in str(describe(ds)).splitlines()]


def describe_source(source: Observation) -> list[str]:
    """Where, when and how many observations of a source there are, before any is matched to the grid."""
    if isinstance(source, SoundingObservation):
        return describe_reports(source.soundings)
    if isinstance(source, PointObservation):
        return describe_reports(source.table)
    ds = source.data.to_dataset(name=str(source.data.name))
    # A mean of members or a level is a field of its own, which knows no file.
    ds.encoding["source"] = source.data.encoding.get("source") or source.label
    return describe_dataset(ds)


def describe_reports(table: pd.DataFrame) -> list[str]:
    """How many reports there are of each variable, their units, where and when they are."""
    lines = []
    for name, part in table.groupby("variable", sort=False) if "variable" in table else ():
        known = sorted({str(u) for u in part["units"].dropna() if str(u)}) if "units" in table else []
        told = f" ({', '.join(known)})" if known else ""
        lines.append(row("variable", f"{name}{told}: {len(part)} reports"))
    if len(table):
        lat, lon = table["lat"], table["lon"]
        lines.append(row("area", f"{lat.min():g} to {lat.max():g} N, {lon.min():g} to {lon.max():g} E"))
        time = table["time"].dropna()
        if len(time):
            lines.append(row("times", f"{time.min():%Y-%m-%d %H:%M} to {time.max():%Y-%m-%d %H:%M}"))
    return lines


def describe_output(ds: xr.Dataset) -> list[str]:
    """Variables, grid, times, shares of the provenance flags and recorded settings of an output."""
    lines = describe_dataset(ds)
    for name, field in ds.data_vars.items():
        meanings = str(field.attrs.get("flag_meanings", "")).split()
        if meanings:
            values = np.atleast_1d(field.attrs.get("flag_values", np.arange(len(meanings))))
            shares = ((field.values == value).mean() for value in values)
            parts = (f"{m} {100 * share:.1f} %" for m, share in zip(meanings, shares, strict=True))
            lines.append(row(str(name), ", ".join(parts)))
    told = {key: _flat(value) for key, value in ds.attrs.items()}
    if len(told.get("made_with", "")) > LONG:
        told["made_with"] = f"{told['made_with'][:LONG]} ... ({len(told['made_with'])} characters)"
    return lines + [row(key, text) for key, text in told.items()]


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flat(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(_flat(item) for item in value)
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.4g}"
    return str(value)
