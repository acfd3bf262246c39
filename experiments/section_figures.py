"""Figures of fields along one axis or none: traces with the ensemble's band, time-longitude sections, scatter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import ArrayLike, NDArray

from skyweave.report.charts import legend_row
from skyweave.report.maps import MAPS, degrees_text
from skyweave.report.style import INK, MISSING, colours, heading, new_figure, quiet, save, style

__all__ = ["Scatter", "Trace", "scatter_figure", "section_figure", "traces_figure"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trace:
    """One frame of traces.

    Args:
        title: what is shown.
        lines: by label, values ``(W,)`` of a field or ``(M, W)`` of an ensemble, drawn as its mean and central 90 %.
        units: of the values.
        marks: positions along the axis and values of observations, both ``(n,)``.
    """

    title: str
    lines: Mapping[str, ArrayLike]
    units: str = "1"
    marks: tuple[ArrayLike, ArrayLike] | None = None


def traces_figure(
    traces: Sequence[Trace],
    at: ArrayLike,
    *,
    reference: str | None = "truth",
    kind: str = "longitude",
    columns: int = 1,
    title: str = "",
    caption: str = "",
    path: str | Path | None = None,
) -> Figure:
    """Fields along a latitude (or a meridian), with the band of each ensemble.

    Args:
        traces: one frame each, row by row.
        at: longitudes or latitudes of the values, degrees, increasing, ``(W,)``.
        reference: label drawn in ink, above the others.
        kind: "longitude" or "latitude".
        columns: frames side by side.
        title, caption, path: as in `skyweave.report.map_figure`.

    Raises:
        ValueError: no traces, or one of another length than `at`.
    """
    if not traces:
        raise ValueError("a figure needs at least one trace")
    x = np.asarray(at, float)
    labels = list(dict.fromkeys(label for trace in traces for label in trace.lines))
    shades = colours(labels, reference if reference in labels else None)
    columns = min(columns, len(traces))
    rows = -(-len(traces) // columns)
    with style():
        width, height = 0.3 + 8.2 * min(columns, 1) + 5.2 * (columns - 1), 1.35 + 1.85 * rows
        figure = new_figure(width, height)
        grid = figure.add_gridspec(
            rows, columns, left=0.78 / width, right=1 - 0.12 / width, top=1 - 0.85 / height,
            bottom=0.62 / height, hspace=0.38, wspace=0.16,
        )  # fmt: skip
        for k, trace in enumerate(traces):
            ax = figure.add_subplot(grid[k // columns, k % columns])
            for label, values in trace.lines.items():
                members = np.atleast_2d(np.asarray(values, float))
                if members.shape[-1] != x.size:
                    raise ValueError(
                        f"{trace.title}, {label}: {members.shape[-1]} values at {x.size} positions"
                    )
                top = label == reference
                line: dict[str, Any] = {"color": shades[label], "linewidth": 1.8 if top else 1.4}
                ax.plot(x, members.mean(0), zorder=4 if top else 3, **line)
                if len(members) > 1:
                    low, high = np.quantile(members, (0.05, 0.95), axis=0)
                    ax.fill_between(x, low, high, color=shades[label], alpha=0.22, linewidth=0, zorder=2)
            if trace.marks is not None:
                where, values = (np.asarray(part, float) for part in trace.marks)
                ax.plot(where, values, "o", color=INK, markersize=4, markeredgecolor="white", zorder=5)
            ax.set_title(trace.title)
            ax.set_ylabel("" if trace.units == "1" else trace.units)
            ax.set_xlim(x[0], x[-1])
            ax.xaxis.set_major_locator(MaxNLocator(9, steps=[1, 1.5, 2, 3, 4.5, 6, 9, 10]))
            ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: degrees_text(v, _letters(kind))))
            ax.yaxis.set_major_locator(MaxNLocator(5))
            quiet(ax)
        legend_row(figure, [Line2D([], [], color=shades[label], label=label) for label in labels])
        heading(figure, title, caption)
        return save(figure, path)


@dataclass(frozen=True, eq=False)
class Scatter:
    """One frame of a scatter plot.

    Args:
        title: what is shown.
        truth: values ``(n,)``.
        estimates: by label, ``(n,)``, or members ``(M, n)``, of which the mean is drawn.
        units: of the values.
    """

    title: str
    truth: ArrayLike
    estimates: Mapping[str, ArrayLike] = field(default_factory=dict)
    units: str = "1"


def scatter_figure(
    panels: Sequence[Scatter],
    *,
    columns: int = 4,
    most: int = 1500,
    title: str = "",
    caption: str = "",
    path: str | Path | None = None,
) -> Figure:
    """Estimates against the truth; the numbers are the RMSE of each.

    Args:
        panels: one frame each, row by row.
        columns: frames side by side.
        most: points drawn of each estimate, evenly spread over those given; the RMSE is that of all.
        title, caption, path: as in `skyweave.report.map_figure`.

    Raises:
        ValueError: no panels, or estimates that are not as many as the truth.
    """
    if not panels:
        raise ValueError("a figure needs at least one panel")
    labels = list(dict.fromkeys(label for panel in panels for label in panel.estimates))
    shades, columns = colours(labels), min(columns, len(panels))
    rows = -(-len(panels) // columns)
    with style():
        width, height = 0.55 + 2.75 * columns, 1.3 + 2.5 * rows
        figure = new_figure(width, height)
        grid = figure.add_gridspec(
            rows, columns, left=0.62 / width, right=1 - 0.12 / width, top=1 - 0.85 / height,
            bottom=0.65 / height, hspace=0.36, wspace=0.34,
        )  # fmt: skip
        for k, panel in enumerate(panels):
            ax = figure.add_subplot(grid[k // columns, k % columns])
            truth = np.asarray(panel.truth, float)
            step = max(1, truth.size // most)
            for n, (label, values) in enumerate(panel.estimates.items()):
                estimate = np.atleast_2d(np.asarray(values, float)).mean(0)
                if estimate.shape != truth.shape:
                    raise ValueError(
                        f"{panel.title}, {label}: {estimate.size} estimates of {truth.size} values"
                    )
                ax.plot(
                    truth[::step], estimate[::step], ".", color=shades[label], markersize=3.5, alpha=0.55,
                    markeredgewidth=0, zorder=2 + n, rasterized=True,
                )  # fmt: skip
                error = np.sqrt(np.mean((estimate - truth) ** 2))
                place = (0.04, 0.96 - 0.085 * n)
                text = f"{error:.3g}" if error < 1000 else f"{error:.0f}"
                ax.text(*place, text, color=shades[label], transform=ax.transAxes, va="top", fontsize=8.5)
            low, high = truth.min(), truth.max()
            pad = 0.06 * max(high - low, 1e-12)
            ax.plot([low - pad, high + pad], [low - pad, high + pad], color=INK, linewidth=0.8, zorder=9)
            ax.set(xlim=(low - pad, high + pad), ylim=(low - pad, high + pad), title=panel.title)
            ax.set_aspect("equal")
            ax.xaxis.set_major_locator(MaxNLocator(4))
            ax.yaxis.set_major_locator(MaxNLocator(4))
            units = "" if panel.units == "1" else f" ({panel.units})"
            if k + columns >= len(panels):
                ax.set_xlabel(f"truth{units}")
            if k % columns == 0:
                ax.set_ylabel("mean of the ensemble")
            quiet(ax)
        dot: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 5}
        legend_row(
            figure,
            [Line2D([], [], color=shades[n], label=n, **dot) for n in labels],
        )
        heading(figure, title, caption)
        return save(figure, path)


def section_figure(
    sections: Mapping[str, ArrayLike],
    times: ArrayLike,
    at: ArrayLike,
    *,
    units: str,
    kind: str = "longitude",
    differences: Mapping[str, ArrayLike] | None = None,
    title: str = "",
    caption: str = "",
    path: str | Path | None = None,
) -> Figure:
    """Time-longitude sections side by side: time runs downwards, and all share their colours.

    Args:
        sections: by label, values ``(T, W)``.
        times: ``(T,)``, datetime64 or numbers, increasing, in any steps; each row is drawn around its time.
        at: longitudes or latitudes, degrees, increasing, ``(W,)``.
        units: of the values.
        kind: "longitude" or "latitude".
        differences: further sections in colours of differences.
        title, caption, path: as in `skyweave.report.map_figure`.

    Raises:
        ValueError: no sections, fewer than two times, or a section of another shape.
    """
    groups = [("field", dict(sections)), ("difference", dict(differences or {}))]
    x, when = np.asarray(at, float), np.asarray(times)
    if not sections or when.size < 2:
        raise ValueError("a time-longitude section needs at least one section and two times")
    dated = when.dtype.kind == "M"
    hours = (when - when[0]) / np.timedelta64(1, "h") if dated else when.astype(float)
    count = sum(len(part) for _, part in groups)
    with style():
        width, height = 1.0 + 3.1 * count, 4.6
        figure = new_figure(width, height)
        grid = figure.add_gridspec(
            1, count, left=0.95 / width, right=1 - 0.12 / width, top=1 - 0.7 / height, bottom=1.15 / height,
            wspace=0.08,
        )  # fmt: skip
        axes: list[Axes] = []
        for scale, part in groups:
            values = {label: np.asarray(v, float) for label, v in part.items()}
            if not values:
                continue
            low, high = np.nanpercentile(np.concatenate([v.ravel() for v in values.values()]), [0.5, 99.5])
            if scale == "difference":
                low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
            norm = Normalize(low, high)
            colour = ScalarMappable(norm, MAPS[scale])  # type: ignore[index]
            first = len(axes)
            for label, v in values.items():
                if v.shape != (when.size, x.size):
                    raise ValueError(
                        f"{label}: a section of shape {v.shape} at {when.size} times and {x.size} places"
                    )
                ax = figure.add_subplot(grid[len(axes)])
                ax.set_facecolor(MISSING)
                ax.pcolormesh(_edges(x), _edges(hours), v, cmap=colour.cmap, norm=norm, rasterized=True)
                ax.set_ylim(_edges(hours)[-1], _edges(hours)[0])
                ax.set_title(label)
                ax.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 1.5, 2, 3, 4.5, 6, 9, 10]))
                ax.xaxis.set_major_formatter(FuncFormatter(lambda q, _: degrees_text(q, _letters(kind))))
                chosen = np.unique(np.linspace(0, when.size - 1, min(when.size, 8)).round().astype(int))
                texts = [_moment(when[i]) if dated else f"{when[i]:g}" for i in chosen]
                ax.set_yticks(hours[chosen], [] if axes else texts)
                axes.append(ax)
            a, b = axes[first].get_position(), axes[-1].get_position()
            bar = figure.colorbar(
                colour, cax=figure.add_axes((a.x0, 0.62 / height, b.x1 - a.x0, 0.1 / height)),
                orientation="horizontal", extend="both", extendfrac=0.02,
            )  # fmt: skip
            bar.outline.set_visible(False)  # type: ignore[operator]
            bar.ax.set_xlabel(units if scale == "field" else f"difference, {units}", labelpad=2)
        heading(figure, title, caption)
        return save(figure, path)


def _letters(kind: str) -> str:
    return "EW" if kind == "longitude" else "NS"


def _edges(centres: Floats) -> Floats:
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])


def _moment(time: np.datetime64) -> str:
    text = str(time.astype("datetime64[h]"))
    return f"{text[5:10]} {text[11:13]} h"
