"""Samples of a prior as a picture: members down, times across."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from skyweave.grid import Grid
from skyweave.report.maps import Panel, map_figure
from skyweave.state import StateSpec

__all__ = ["sample_figure"]


def sample_figure(
    samples: xr.Dataset,
    spec: StateSpec,
    path: str | Path,
    *,
    variable: str | None = None,
    members: int = 3,
    frames: int = 4,
) -> None:
    """The first members at evenly spaced times, one colour scale for all.

    Args:
        samples: as `skyweave.sample` returns them.
        spec: of the prior.
        path: of the picture.
        variable: which; the first by default.
        members, frames: how many of each.
    """
    name = variable or spec.names[0]
    field = samples[name]
    grid, time = Grid.from_dataset(samples), field.dims[1]
    chosen = np.unique(np.linspace(0, field.sizes[time] - 1, frames).round().astype(int))
    panels = []
    for m in range(min(members, field.sizes["member"])):
        for t in chosen:
            when = str(samples[time].values[t])[:16] if time in samples.coords else ""
            panels.append(Panel(f"member {m}  {when}".strip(), field.isel({"member": m, time: t}).values))
    label = spec.variables[spec.channel(name)].long_name or name
    figure = map_figure(
        panels,
        grid,
        units=spec.variables[spec.channel(name)].units,
        title=label,
        columns=len(chosen),
        path=path,
    )
    plt.close(figure)
