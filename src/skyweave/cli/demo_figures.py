"""The demo's figures: maps of each case, and calibration, spectra and scores of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from skyweave.cli.demo_cases import Case
from skyweave.grid import Grid
from skyweave.report import (
    Panel,
    calibration_figure,
    map_figure,
    metrics_figure,
    spectra_figure,
    spread_skill_bins,
)
from skyweave.verify import rank_histogram, rapsd

__all__ = ["LABELS", "draw_case", "draw_scores"]

CREDIT = "Contains modified Copernicus Climate Change Service information 2026."
LABELS = {
    "t2m": "2 metre temperature",
    "u10": "10 metre eastward wind",
    "v10": "10 metre northward wind",
    "msl": "mean sea level pressure",
}
# Factor, offset and name of the units in which a variable is drawn.
SHOWN = {"t2m": (1.0, -273.15, "°C"), "msl": (0.01, 0.0, "hPa")}


def draw_case(case: Case, name: str, truth: xr.Dataset, fields: xr.Dataset, grid: Grid, path: Path) -> None:
    """Truth, observations, mean, two members and spread of one variable."""
    factor, offset, units = SHOWN.get(
        name, (1.0, 0.0, str(truth[name].attrs["units"]).replace("m s-1", "m/s"))
    )
    members = fields[name].values[:, 0]

    def shown(values: np.ndarray) -> np.ndarray:
        return np.asarray(values, float) * factor + offset

    seen = case.panels[name]
    if seen.values is not None:
        seen = replace(seen, values=shown(seen.values))
    if seen.points is not None:
        lat, lon, values = seen.points
        seen = replace(seen, points=(lat, lon, shown(values)))
    when = np.datetime_as_string(truth.time.values[0], "h").replace("T", " ")
    panels = [
        Panel(f"Truth: ERA5, {when} UTC", shown(truth[name].values[0])),
        seen,
        Panel("Ensemble mean", shown(members.mean(0))),
        Panel("Member 1", shown(members[0])),
        Panel("Member 2", shown(members[1])),
        Panel("Ensemble spread", members.std(0, ddof=1) * factor, "spread"),
    ]
    caption = f"{len(members)} members. {CREDIT}"
    title = f"{LABELS[name].capitalize()} from {case.title}"
    # The truth's own range, so that a wild member cannot wash out the others.
    low, high = float(panels[0].numbers().min()), float(panels[0].numbers().max())
    map_figure(
        panels, grid, units=units, title=title, caption=caption, limits={"field": (low, high)}, path=path
    )


def draw_scores(
    name: str,
    truth: xr.Dataset,
    ensembles: Mapping[str, np.ndarray],
    rows: Sequence[Mapping[str, Any]],
    grid: Grid,
    out: Path,
) -> None:
    """Calibration and spectra of every case, and the scores of every method, for one variable.

    Args:
        ensembles: by title of the case, ``(M, H, W)``.
        rows: of the table, those of this variable.
    """
    y = np.asarray(truth[name].values[0], float)
    units = str(truth[name].attrs["units"]).replace("m s-1", "m/s")
    label = LABELS[name].capitalize()
    ranks = {t: rank_histogram(torch.tensor(e), torch.tensor(y)).numpy() for t, e in ensembles.items()}
    groups = {t: spread_skill_bins(e, y) for t, e in ensembles.items()}
    calibration_figure(
        ranks, groups, units=units, title=f"{label}: calibration",
        caption=f"Dashed: a perfect ensemble. {CREDIT}", path=out / f"calibration_{name}.png",
    )  # fmt: skip
    spectra = {"truth": rapsd(torch.tensor(y)).numpy()}
    spectra |= {t: rapsd(torch.tensor(e, dtype=torch.float64)).numpy() for t, e in ensembles.items()}
    spectra_figure(
        spectra, units=units, title=f"{label}: power spectra of the members",
        caption="Lines: mean of the members; shading: their range.", path=out / f"spectra_{name}.png",
    )  # fmt: skip
    metrics_figure(
        rows, case="observations", title=f"{label}: scores", caption=f"Dashed: a perfect ensemble. {CREDIT}",
        path=out / f"scores_{name}.png",
    )  # fmt: skip
