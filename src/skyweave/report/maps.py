"""Maps in small multiples: fields, observations, members and spread of one variable, with coastlines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from numpy.typing import NDArray

from skyweave.grid import Grid
from skyweave.report.style import LAND_LINE, MISSING, heading, new_figure, save, style

__all__ = ["Panel", "coastlines", "map_figure"]

Floats = NDArray[np.floating]
Scale = Literal["field", "spread", "difference"]
MAPS: dict[Scale, str] = {"field": "viridis", "spread": "magma_r", "difference": "RdBu_r"}


@dataclass(frozen=True, eq=False)
class Panel:
    """One map.

    Args:
        title: what is shown.
        values: shape ``(H, W)`` of `grid`; NaN is drawn as missing.
        scale: panels of one scale share limits, colours and a colour bar.
        grid: the grid of `values` where it is not the figure's, such as that of coarse observations.
        points: latitudes, longitudes (degrees) and values of observations at points, drawn above `values`.
    """

    title: str
    values: Floats | None = None
    scale: Scale = "field"
    grid: Grid | None = None
    points: tuple[Floats, Floats, Floats] | None = None

    def numbers(self) -> Floats:
        """All that is drawn, in one row."""
        parts = [self.values] if self.values is not None else []
        parts += [self.points[2]] if self.points is not None else []
        return np.concatenate([np.ravel(part) for part in parts]) if parts else np.zeros(0)


@cache
def coastlines() -> Floats:
    """Coastlines of Natural Earth 1:110m as ``(n, 2)`` longitude and latitude, lines separated by NaN."""
    with (files("skyweave") / "data" / "coastlines.npz").open("rb") as file:
        lines: Floats = np.load(file, allow_pickle=False)["lonlat"]
    return lines


def map_figure(
    panels: Sequence[Panel],
    grid: Grid,
    *,
    units: str,
    title: str = "",
    caption: str = "",
    columns: int = 3,
    limits: dict[Scale, tuple[float, float]] | None = None,
    names: dict[Scale, str] | None = None,
    width: float = 10.0,
    path: str | Path | None = None,
) -> Figure:
    """Maps in rows, with one colour bar per scale below them.

    Args:
        panels: the maps, row by row.
        grid: the extent of every map, and the grid of values that have none of their own.
        units: shown beside the colour bars.
        title, caption: above and below the maps.
        columns: maps per row.
        limits: colour limits per scale; by default the range of all but the outermost percent.
        names: what a scale's colour bar shows, where it is not the field, a standard deviation or a difference.
        width: of the figure, inches.
        path: where to write a PNG.

    Raises:
        ValueError: no panels, or values whose shape is not that of their grid or positions.
    """
    if not panels:
        raise ValueError("a figure needs at least one panel")
    scales = list(dict.fromkeys(panel.scale for panel in panels))
    columns = max(min(columns, len(panels)), len(scales))
    rows = -(-len(panels) // columns)
    west, east, south, north = extent_of(grid)
    aspect = 1 / np.cos(np.deg2rad(np.clip((south + north) / 2, -60, 60)))

    left, right, gap = 0.48, 0.15, 0.14  # inches
    top, bottom, between = (0.62 if title else 0.36), (0.72 if caption else 0.52), 0.34
    across = (width - left - right - gap * (columns - 1)) / columns
    down = across * (north - south) / (east - west) * aspect
    height = top + rows * down + (rows - 1) * between + 0.52 + bottom
    with style():
        figure = new_figure(width, height)
        spec = GridSpec(
            rows, columns, figure=figure, left=left / width, right=1 - right / width, top=1 - top / height,
            bottom=1 - (top + rows * down + (rows - 1) * between) / height, wspace=gap / across,
            hspace=between / down,
        )  # fmt: skip
        mappables = {
            s: mappable_of(s, [p for p in panels if p.scale == s], (limits or {}).get(s)) for s in scales
        }
        axes: list[Axes] = []
        for k, panel in enumerate(panels):
            ax = figure.add_subplot(spec[k // columns, k % columns])
            draw_panel(ax, panel, grid, mappables[panel.scale])
            ax.set(xlim=(west, east), ylim=(south, north))
            ax.set_aspect(aspect)
            ax.set_title(panel.title)
            graticule(ax, labels=(k % columns == 0, k + columns >= len(panels)))
            axes.append(ax)
        for k, scale in enumerate(scales):
            # The first scale's bar runs below all columns but those that the other scales' bars take.
            first = 0 if k == 0 else columns - len(scales) + k
            last = columns - len(scales) if k == 0 else first
            label = {**_named(units), **{s: f"{n}, {units}" for s, n in (names or {}).items()}}[scale]
            place = bottom / height, 0.1 / height
            _bar(figure, mappables[scale], scale, label, axes[first], axes[last], *place)
        heading(figure, title, caption)
        return save(figure, path)


def extent_of(grid: Grid) -> tuple[float, float, float, float]:
    lon, lat = grid.lon_bounds, grid.lat_bounds
    return float(lon.min()), float(lon.max()), float(lat.min()), float(lat.max())


def mappable_of(scale: Scale, panels: Sequence[Panel], limits: tuple[float, float] | None) -> ScalarMappable:
    values = np.concatenate([panel.numbers() for panel in panels])
    values = values[np.isfinite(values)]
    if limits is None:
        limits = (0.0, 1.0) if values.size == 0 else _round_limits(*np.percentile(values, [0.5, 99.5]))
        if scale == "spread":
            limits = (0.0, limits[1])
        if scale == "difference":
            limits = (-max(map(abs, limits)), max(map(abs, limits)))
    norm = Normalize(*(limits if limits[0] < limits[1] else (limits[0] - 0.5, limits[0] + 0.5)))
    mappable = ScalarMappable(norm, _colours(scale))
    mappable.set_array(values)
    return mappable


def _round_limits(low: float, high: float) -> tuple[float, float]:
    step = 10.0 ** np.floor(np.log10(max(high - low, 1e-30))) / 10
    return float(np.floor(low / step) * step), float(np.ceil(high / step) * step)


def _colours(scale: Scale) -> Colormap:
    return mpl.colormaps[MAPS[scale]].with_extremes(bad=MISSING)


def draw_panel(ax: Axes, panel: Panel, grid: Grid, mappable: ScalarMappable) -> None:
    ax.set_facecolor(MISSING)
    style_of: dict[str, Any] = {"cmap": mappable.cmap, "norm": mappable.norm}
    west = float(grid.lon_bounds.min())
    if panel.values is not None:
        own = panel.grid or grid
        if panel.values.shape != own.shape:
            raise ValueError(f"{panel.title}: values of shape {panel.values.shape} on a grid of {own.shape}")
        shift = 360 * np.round((west - float(own.lon_bounds.min())) / 360)
        ax.pcolormesh(own.lon_bounds + shift, own.lat_bounds, panel.values, rasterized=True, **style_of)
    else:
        ax.set_facecolor("#f6f6f4")
    if panel.points is not None:
        lat, lon, values = panel.points
        east = west + np.mod(lon - west, 360)
        ax.scatter(east, lat, c=values, s=26, edgecolors=LAND_LINE, linewidths=0.6, zorder=3, **style_of)
    coast = coastlines()
    # White below black: a coast is seen on dark and on light colours.
    for colour, line in (("white", 1.3), (LAND_LINE, 0.6)):
        for turn in (-360, 0, 360):
            ax.plot(coast[:, 0] + turn, coast[:, 1], color=colour, linewidth=line, alpha=0.8, zorder=2)


def graticule(ax: Axes, labels: tuple[bool, bool]) -> None:
    (west, east), (south, north) = ax.get_xlim(), ax.get_ylim()
    for axis, low, high, most, shown in (
        (ax.xaxis, west, east, 4, labels[1]),
        (ax.yaxis, south, north, 4, labels[0]),
    ):
        step = next((s for s in (1, 2, 5, 10, 15, 20, 30, 45, 60, 90) if (high - low) / s <= most), 90)
        ticks = np.arange(np.ceil(low / step) * step, high + 1e-9, step)
        ticks = ticks[(ticks - low > 0.04 * (high - low)) & (high - ticks > 0.04 * (high - low))]
        axis.set_ticks(ticks)
        kind = "EW" if axis is ax.xaxis else "NS"
        axis.set_ticklabels([degrees_text(t, kind) for t in ticks] if shown else [])


def degrees_text(value: float, letters: str) -> str:
    if letters == "EW":
        value = (value + 180) % 360 - 180
    if value in (0, -180):
        return f"{abs(value):g}°"
    return f"{abs(value):g}°{letters[0] if value > 0 else letters[1]}"


def _bar(
    figure: Figure,
    mappable: ScalarMappable,
    scale: Scale,
    label: str,
    first: Axes,
    last: Axes,
    bottom: float,
    thick: float,
) -> None:
    a, b = first.get_position(), last.get_position()
    ax = figure.add_axes((a.x0, bottom, b.x1 - a.x0, thick))
    values = np.asarray(mappable.get_array())
    low, high = mappable.norm.vmin, mappable.norm.vmax
    below, above = bool((values < low).any()) and scale != "spread", bool((values > high).any())
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    bar = figure.colorbar(
        mappable, cax=ax, orientation="horizontal", extend=extend[below, above], extendfrac=0.02
    )
    bar.outline.set_visible(False)  # type: ignore[operator]
    ax.tick_params(length=2, pad=2)
    ax.set_xlabel(label, labelpad=2, fontsize=8.5)


def _named(units: str) -> dict[Scale, str]:
    return {"field": units, "spread": f"standard deviation, {units}", "difference": f"difference, {units}"}
