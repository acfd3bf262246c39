"""Charts of distributions and sweeps: what a prior generates beside the truth, and scores along a difficulty."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator
from numpy.typing import ArrayLike, NDArray

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.report.maps import Panel, draw_panel, extent_of, graticule, mappable_of
from skyweave.report.style import INK, PALETTE, colours, heading, new_figure, quiet, save, style
from skyweave.verify.arrays import double
from skyweave.verify.spectra import rapsd
from skyweave.verify.temporal import moment_maps, temporal_autocorrelation

__all__ = ["curves_figure", "prior_figure"]

LABELS = {
    "nrmse": "nRMSE",
    "nrmse_mean": "nRMSE of the mean",
    "nrmse_member": "nRMSE of a member",
    "melr": "MELR",
    "melr_mean": "MELR of the mean",
    "melr_member": "MELR of a member",
    "rmse": "RMSE of the mean",
    "crps": "fair CRPS",
    "ssr": "spread / skill",
    "coverage90": "coverage of 90 %",
    "factor": "downscaling factor",
    "missing": "missing (%)",
}
MARKS = "oDs^v<>Phd"


def prior_figure(
    sets: Mapping[str, ArrayLike],
    grid: Grid,
    *,
    units: str = "1",
    reference: str | None = None,
    lags: int | None = None,
    step_hours: float = 1.0,
    title: str = "",
    caption: str = "",
    width: float = 10.0,
    path: str | Path | None = None,
) -> Figure:
    """What sets of fields have in common: mean and deviation maps, spectra and memory.

    Upper rows: a map of each set's mean, and of its standard deviation, on common scales. Below: the radially
    averaged power of the sets' complete frames, and, where sets hold sequences, the spatially averaged temporal
    autocorrelation.

    Args:
        sets: by label, fields ``(N, H, W)`` or sequences ``(N, T, H, W)`` of `grid`, NaN where missing. One
            long sequence is ``(1, T, H, W)``.
        grid: of the fields.
        units: of the fields.
        reference: the label drawn in ink, the truth; the first by default.
        lags: longest lag, frames; the longest sequence's half, or two days, by default.
        step_hours: between frames.
        title, caption, width, path: as in `skyweave.report.map_figure`.

    Raises:
        SkyweaveError: no sets, fields that do not lie on the grid, or an unknown reference.

    Reference: AODDiff, Figures 4 and 5.
    """
    fields = {label: _checked(label, values, grid) for label, values in sets.items()}
    if not fields:
        raise SkyweaveError("a figure needs at least one set of fields")
    reference = next(iter(fields)) if reference is None else reference
    if reference not in fields:
        raise SkyweaveError(f"no set is called {reference!r}; there are {', '.join(fields)}")
    moments = {label: moment_maps(values) for label, values in fields.items()}
    rows = [
        [Panel(f"{label}: mean", moments[label][0].numpy(), "field") for label in fields],
        [Panel(f"{label}: st. dev.", moments[label][1].numpy(), "spread") for label in fields],
    ]

    west, east, south, north = extent_of(grid)
    aspect = 1 / np.cos(np.deg2rad(np.clip((south + north) / 2, -60, 60)))
    left, right, gap, between, chart = 0.5, 0.85, 0.14, 0.36, 2.35  # inches
    top, bottom = (0.66 if title else 0.4), (0.78 if caption else 0.55)
    # One or two sets would make maps taller than a page.
    across = min((width - left - right - gap * (len(fields) - 1)) / len(fields), 2.6)
    down = across * (north - south) / (east - west) * aspect
    height = top + 2 * down + between + 0.95 + chart + bottom
    with style():
        figure = new_figure(width, height)
        for r, panels in enumerate(rows):
            y = height - top - down - r * (down + between)
            mappable = mappable_of(panels[0].scale, panels, None)
            for c, panel in enumerate(panels):
                x = left + c * (across + gap)
                ax = figure.add_axes((x / width, y / height, across / width, down / height))
                draw_panel(ax, panel, grid, mappable)
                ax.set(xlim=(west, east), ylim=(south, north))
                ax.set_title(panel.title)
                graticule(ax, labels=(c == 0, r == 1))
            x = left + len(panels) * (across + gap)
            bar = figure.colorbar(
                mappable, cax=figure.add_axes((x / width, y / height, 0.1 / width, down / height))
            )
            bar.outline.set_visible(False)  # type: ignore[operator]
            bar.ax.set_ylabel(("mean", "standard deviation")[r] + ("" if units == "1" else f" ({units})"))
        sequences = {k: x for k, x in fields.items() if x.ndim == 4 and x.shape[1] > 1}
        charts, edge = (2 if sequences else 1), 0.62
        wide = (width - edge - 0.2 - 0.75 * (charts - 1)) / charts
        boxes = [
            ((edge + c * (wide + 0.75)) / width, bottom / height, wide / width, chart / height)
            for c in range(charts)
        ]
        shades = colours(list(fields), reference)
        _spectra(figure.add_axes(boxes[0]), fields, grid, shades, reference, units)
        if sequences:
            _memory(figure.add_axes(boxes[1]), sequences, shades, reference, lags, step_hours)
        figure.legend(
            handles=[Line2D([], [], color=shades[label], label=label, linewidth=2) for label in fields],
            loc="lower left", bbox_to_anchor=(0.5 / width, (bottom + chart + 0.22) / height),
            ncols=len(fields), borderaxespad=0, columnspacing=1.6, handlelength=1.6,
        )  # fmt: skip
        heading(figure, title, caption)
        return save(figure, path)


def curves_figure(
    rows: Sequence[Mapping[str, Any]],
    x: str,
    y: str | Sequence[str],
    hue: str = "method",
    *,
    dashed: Collection[str] = (),
    log: Collection[str] = (),
    limits: Mapping[str, tuple[float, float]] | None = None,
    labels: Mapping[str, str] | None = None,
    title: str = "",
    caption: str = "",
    path: str | Path | None = None,
) -> Figure:
    """Scores along a difficulty, such as a downscaling factor or a missing ratio, one line for each method.

    Args:
        rows: as for `skyweave.verify.table`; a value that is missing or not finite is left out. Rows of the
            same method and difficulty (several cases) are drawn as their mean.
        x: key of the difficulty, a number; its values are the ticks.
        y: key of the score, or of several, side by side.
        hue: key of the method.
        dashed: methods of another kind, such as deterministic ones.
        log: keys among `x` and `y` whose axes are logarithmic.
        limits: of the axis of a score, by key; from zero by default, or what the values need if logarithmic.
        labels: of axes, by key, beside those known here.
        title, caption, path: as in `skyweave.report.map_figure`.

    Raises:
        SkyweaveError: no rows, or none that has the keys.

    Reference: AODDiff, Figures 6 and 7.
    """
    scores = [y] if isinstance(y, str) else list(y)
    for key in (x, hue, *scores):
        if not any(key in row for row in rows):
            known = ", ".join(dict.fromkeys(k for row in rows for k in row))
            raise SkyweaveError(f"no row has {key!r}; there are {known or 'no rows'}")
    names = {**LABELS, **(labels or {})}
    methods = list(dict.fromkeys(str(row[hue]) for row in rows if hue in row))
    ticks = sorted({float(row[x]) for row in rows if x in row})
    looks = {m: _look(k, m in dashed) for k, m in enumerate(methods)}
    with style():
        key_width = 0.55 + 0.075 * max(map(len, methods))
        width, height = 0.2 + 3.75 * len(scores) + key_width, max(3.4, 1.1 + 0.2 * len(methods))
        figure = new_figure(width, height)
        for k, score in enumerate(scores):
            low, high = (0.72 if caption else 0.55), height - (0.72 if title else 0.4)
            box = ((0.65 + 3.75 * k) / width, low / height, 3.05 / width, (high - low) / height)
            ax = figure.add_axes(box)
            for method in methods:
                at, value = _curve(rows, x, score, hue, method)
                ax.plot(at, value, **looks[method], zorder=3 - 0.5 * (method in dashed))
            ax.set_title(names.get(score, score))
            ax.set_xlabel(names.get(x, x))
            if x in log:
                ax.set_xscale("log")
                ax.xaxis.set_minor_locator(NullLocator())
            ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
            if score in log:
                ax.set_yscale("log")
                ax.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0), numticks=12))
                ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                ax.yaxis.set_minor_formatter(NullFormatter())
            else:
                ax.set_ylim(0, 1.05 * max(ax.dataLim.y1, 1e-12))
            if limits and score in limits:
                ax.set_ylim(*limits[score])
            quiet(ax)
        handles = [Line2D([], [], label=m, **looks[m]) for m in methods]
        figure.legend(
            handles=handles, loc="upper left", borderaxespad=0, handlelength=2.2, labelspacing=0.55,
            bbox_to_anchor=((0.2 + 3.75 * len(scores)) / width, 1 - (0.72 if title else 0.4) / height),
        )  # fmt: skip
        heading(figure, title, caption)
        return save(figure, path)


# ---- parts


def _checked(label: str, values: ArrayLike, grid: Grid) -> Any:
    x = double(values)
    if x.ndim not in (3, 4) or tuple(x.shape[-2:]) != grid.shape or 0 in x.shape:
        raise SkyweaveError(
            f"{label}: fields of shape {tuple(x.shape)}; expected (N, {grid.shape[0]}, {grid.shape[1]}) or "
            f"(N, T, {grid.shape[0]}, {grid.shape[1]}), as the grid has it"
        )
    return x


def _spectra(
    ax: Axes, fields: Mapping[str, Any], grid: Grid, shades: Mapping[str, str], reference: str, units: str
) -> None:
    for label, x in fields.items():
        frames = x.flatten(0, -3)
        complete = frames[frames.isfinite().all(dim=-1).all(dim=-1)]
        if len(complete):
            power = rapsd(complete, periodic=grid.periodic).mean(dim=0)[1:].numpy()
            ax.plot(np.arange(1, len(power) + 1), power, **_emphasis(label, reference, shades))
    ax.set(xscale="log", yscale="log", xlabel="wavenumber (cycles per longest side)")
    ax.set_title(f"Radially averaged power ({'dimensionless' if units == '1' else f'({units})²'})")
    ax.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    quiet(ax)


def _memory(
    ax: Axes,
    sequences: Mapping[str, Any],
    shades: Mapping[str, str],
    reference: str,
    lags: int | None,
    step_hours: float,
) -> None:
    lengths = {label: x.shape[1] for label, x in sequences.items()}
    most = lags or min(max(1, max(lengths.values()) // 2), max(1, round(48 / step_hours)))
    ax.axhline(0, color=INK, linewidth=0.8)
    for label, length in lengths.items():
        reach = min(most, length - 1)
        curve = temporal_autocorrelation(sequences[label], reach).numpy()
        ax.plot(np.arange(reach + 1) * step_hours, curve, **_emphasis(label, reference, shades))
    ax.set_title("Temporal autocorrelation, mean over cells")
    quiet(ax)
    ax.set(xlabel="lag (hours)", xlim=(0, most * step_hours), ylim=(min(0.0, ax.dataLim.y0) - 0.03, 1.03))


def _emphasis(label: str, reference: str, shades: Mapping[str, str]) -> dict[str, Any]:
    # The truth is broad and lies below, so that a line that follows it is seen upon it.
    first = label == reference
    return {"color": shades[label], "linewidth": 3.2 if first else 1.5, "zorder": 2 if first else 3}


def _look(k: int, dashed: bool) -> dict[str, Any]:
    """Of the k-th line: colours come again after a round, with other marks."""
    return {
        "color": PALETTE[k % len(PALETTE)],
        "marker": MARKS[k % len(MARKS)],
        "markersize": 5.5,
        "markeredgecolor": "white",
        "markeredgewidth": 0.6,
        "linewidth": 1.1 if dashed else 1.7,
        "linestyle": (0, (4, 2)) if dashed else "-",
    }


def _curve(
    rows: Sequence[Mapping[str, Any]], x: str, y: str, hue: str, method: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values: dict[float, list[float]] = {}
    for row in rows:
        value = row.get(y)
        if str(row.get(hue)) == method and x in row and value is not None and np.isfinite(value):
            values.setdefault(float(row[x]), []).append(float(value))
    at = sorted(values)
    return np.array(at), np.array([np.mean(values[a]) for a in at])
