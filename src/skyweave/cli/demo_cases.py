"""What the demo observes of a known field: a coarse grid, stations, a field with gaps, and all three."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from skyweave.grid import Grid
from skyweave.observe.observation import GridObservation, PointObservation
from skyweave.observe.simulate import add_noise, cloud_mask, station_network, station_table
from skyweave.regrid import block_mean, coarsen
from skyweave.report import Panel

__all__ = ["ERRORS", "Case", "make_cases"]

ERRORS = {"t2m": 0.5, "u10": 0.7, "v10": 0.7, "msl": 50.0}
"""Standard deviation of every observation's error, in the variable's units."""

COARSE = 8  # cells along a side of an observed block
STATIONS = 40
CLOUD_COVER = 0.6
CLOUD_SIZE = 3.0  # cells, of the smoothing that shapes the gaps


@dataclass(frozen=True, eq=False)
class Case:
    """One way of observing the truth.

    Args:
        name: used in file names.
        title: used in figures and tables.
        sources: the observations.
        panels: a map of them for each variable.
        coarse, points, gaps: the observed values by variable, where the case has them.
    """

    name: str
    title: str
    sources: list[GridObservation | PointObservation]
    panels: dict[str, Panel]
    coarse: dict[str, np.ndarray] | None = None
    points: pd.DataFrame | None = None
    gaps: dict[str, np.ndarray] | None = None
    factor: int = COARSE

    def scattered(self, name: str, grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Latitudes, longitudes and values of all observations of one variable, means at block centres."""
        parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        if self.coarse is not None:
            parts.append((*coarsen(grid, self.factor).mesh(), self.coarse[name]))
        if self.gaps is not None:
            parts.append((*grid.mesh(), self.gaps[name]))
        if self.points is not None:
            table = self.points[self.points["variable"] == name]
            parts.append((table["lat"].to_numpy(), table["lon"].to_numpy(), table["value"].to_numpy()))
        lat, lon, values = (np.concatenate([np.ravel(part[k]) for part in parts]) for k in range(3))
        seen = np.isfinite(values)
        return lat[seen], lon[seen], values[seen]


def make_cases(truth: xr.Dataset, grid: Grid, seed: int) -> list[Case]:
    """The four cases, with errors drawn from `ERRORS`; the fourth has the sources of the other three.

    Args:
        truth: one time step of every variable of `ERRORS`, on `grid`.
        grid: the target grid; `COARSE` divides its sides.
        seed: of the errors, the stations' places and the gaps.
    """
    rng = np.random.default_rng(seed)
    coarse, points, gaps = _coarse(truth, grid, rng), _stations(truth, grid, rng), _gaps(truth, grid, rng)
    panels = {}
    for name in ERRORS:
        assert coarse.coarse is not None
        assert gaps.gaps is not None
        blocks = np.kron(coarse.coarse[name], np.ones((COARSE, COARSE)))
        seen = np.where(np.isfinite(gaps.gaps[name]), gaps.gaps[name], blocks)
        panels[name] = Panel("Observations: all three sources", seen, points=points.panels[name].points)
    sources = [*coarse.sources, *points.sources, *gaps.sources]
    together = Case(
        "all",
        "all three sources",
        sources,
        panels,
        coarse=coarse.coarse,
        points=points.points,
        gaps=gaps.gaps,
    )
    return [coarse, points, gaps, together]


def _coarse(truth: xr.Dataset, grid: Grid, rng: np.random.Generator) -> Case:
    means, target = block_mean(grid, COARSE), coarsen(grid, COARSE)
    exact = {name: (means @ truth[name].values.ravel()).reshape(target.shape) for name in ERRORS}
    values = {name: add_noise(exact[name], error, rng) for name, error in ERRORS.items()}
    title = f"{COARSE} x {COARSE} means"
    panels = {name: Panel(f"Observations: {title}", values[name], grid=target) for name in ERRORS}
    sources = _sources(truth, values, target, "coarse", "block-mean")
    return Case("coarse", title, sources, panels, coarse=values)


def _stations(truth: xr.Dataset, grid: Grid, rng: np.random.Generator) -> Case:
    network = station_network(grid, STATIONS, rng)
    table = station_table(truth[list(ERRORS)], network, dict(ERRORS), rng)
    title = f"{STATIONS} stations"
    panels = {}
    for name in ERRORS:
        part = table[table["variable"] == name]
        places = part["lat"].to_numpy(), part["lon"].to_numpy(), part["value"].to_numpy()
        panels[name] = Panel(f"Observations: {title}", points=places)
    return Case("stations", title, [PointObservation(table, name=title)], panels, points=table)


def _gaps(truth: xr.Dataset, grid: Grid, rng: np.random.Generator) -> Case:
    seen = cloud_mask(grid, CLOUD_COVER, rng, CLOUD_SIZE)
    values = {
        name: np.where(seen, add_noise(truth[name].values[0], error, rng), np.nan)
        for name, error in ERRORS.items()
    }
    title = f"{100 * CLOUD_COVER:.0f} % cloud"
    panels = {name: Panel(f"Observations: {title}", values[name]) for name in ERRORS}
    return Case("gaps", title, _sources(truth, values, grid, "gappy", "mask"), panels, gaps=values)


def _sources(
    truth: xr.Dataset, values: dict[str, np.ndarray], grid: Grid, kind: str, operator: str
) -> list[GridObservation | PointObservation]:
    return [
        GridObservation(
            _array(truth, name, field, grid), ERRORS[name], name=f"{kind} {name}", operator=operator
        )
        for name, field in values.items()
    ]


def _array(truth: xr.Dataset, name: str, values: np.ndarray, grid: Grid) -> xr.DataArray:
    dims = truth[name].dims
    coords = {
        dims[0]: truth[dims[0]],
        dims[1]: (dims[1], grid.lat, truth[dims[1]].attrs),
        dims[2]: (dims[2], grid.lon, truth[dims[2]].attrs),
    }
    return xr.DataArray(values[None].astype(np.float32), coords, dims, name=name, attrs=truth[name].attrs)
