"""Charts of dependence in space and time: semivariograms, autocorrelations, differences by lag, series of days."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from skyweave.errors import SkyweaveError
from skyweave.report.style import INK, colours, heading, new_figure, quiet, save, style
from skyweave.verify.memory import LagScores, SeriesMemory
from skyweave.verify.variograms import FieldVariogram, Spherical

__all__ = ["lag_figure", "memory_figure", "series_figure", "variogram_figure"]


def variogram_figure(
    variograms: Mapping[str, FieldVariogram],
    fits: Mapping[str, Spherical] | None = None,
    *,
    units: str = "1",
    reference: str | None = None,
    title: str = "",
    caption: str = "",
    path: str | Path | None = None,
) -> Figure:
    """Semivariograms as points, fitted models as lines, with nugget, sill and range beside them.

    Args:
        variograms: by label.
        fits: by label, of some or all of them.
        units: squared units of the fields, such as "(log10 AOD)²".
        reference: the label drawn in ink, such as the truth.
        title, caption, path: as in `skyweave.report.map_figure`.

    Raises:
        SkyweaveError: nothing to draw, or an unknown reference.

    Reference: downscaling paper, Figures 4 and 8.
    """
    shades = _shades(variograms, reference)
    fits = fits or {}
    with style():
        figure = new_figure(7.6, 4.1)
        ax = figure.add_axes((0.11, 0.17 if caption else 0.13, 0.54, 0.71 if caption else 0.75))
        for label, empirical in variograms.items():
            ax.plot(
                empirical.distance,
                empirical.gamma,
                "o",
                color=shades[label],
                markersize=4,
                **_rim(label == reference),
            )
            model = fits.get(label)
            if model is not None:
                h = np.linspace(1e-3, float(empirical.distance.max()) * 1.02, 300)
                ax.plot(h, model(h), color=shades[label], linewidth=1.6)
                if model.range < empirical.distance.max():
                    ax.plot(
                        [model.range] * 2,
                        [0, model.sill],
                        color=shades[label],
                        linewidth=0.8,
                        linestyle=(0, (2, 2)),
                    )
        ax.set(
            xlabel="great-circle distance (km)",
            ylabel="semivariance" + ("" if units == "1" else f", {units}"),
        )
        ax.set_xlim(0, None)
        ax.set_ylim(0, None)
        quiet(ax)
        for k, label in enumerate(variograms):
            y = 0.84 - 0.13 * k
            figure.text(0.68, y, label, color=shades[label], fontweight="bold")
            if label in fits:
                m = fits[label]
                text = f"nugget {m.nugget:.3g}, sill {m.sill:.3g}\nrange {m.range:.0f} km"
                figure.text(0.68, y - 0.015, text, fontsize=8, va="top")
        heading(figure, title, caption)
        return save(figure, path)


def memory_figure(
    memories: Mapping[str, SeriesMemory],
    *,
    reference: str | None = None,
    step: str = "days",
    title: str = "",
    caption: str = "",
    path: str | Path | None = None,
) -> Figure:
    """Autocorrelation and partial autocorrelation of area means, side by side.

    The shaded band holds 95 % of what white noise of the shortest series would give.

    Args:
        memories: by label.
        reference: the label drawn in ink.
        step: what a lag is counted in.
        title, caption, path: as in `skyweave.report.map_figure`.

    Raises:
        SkyweaveError: nothing to draw, or an unknown reference.

    Reference: downscaling paper, Figures 5 and 9.
    """
    shades = _shades(memories, reference)
    noise = max(memory.noise for memory in memories.values())
    with style():
        figure, axes = _pair(caption)
        for ax, name in zip(axes, ("acf", "pacf"), strict=True):
            ax.axhspan(-noise, noise, color="#eeeeec", linewidth=0)
            ax.axhline(0, color=INK, linewidth=0.8)
            curves = {label: getattr(memory, name)[1:] for label, memory in memories.items()}
            _by_lag(ax, curves, shades, reference, step)
            ax.set_xlim(0, None)
            ax.set_ylim(min(ax.get_ylim()[0], -0.25), 1.02)
        axes[0].set_title("Autocorrelation of the area mean")
        axes[1].set_title("Partial autocorrelation")
        _legend(figure, shades)
        heading(figure, title, caption)
        return save(figure, path)


def lag_figure(
    scores: Mapping[str, LagScores],
    *,
    units: str = "1",
    reference: str | None = None,
    step: str = "days",
    title: str = "",
    caption: str = "",
    path: str | Path | None = None,
) -> Figure:
    """R2 and RMSE between days by how far apart they are.

    Args:
        scores: by label.
        units: of the fields.
        reference: the label drawn in ink.
        step: what a lag is counted in.
        title, caption, path: as in `skyweave.report.map_figure`.

    Raises:
        SkyweaveError: nothing to draw, or an unknown reference.

    Reference: downscaling paper, Figure 3.
    """
    shades = _shades(scores, reference)
    with style():
        figure, axes = _pair(caption)
        for ax, name in zip(axes, ("r2", "rmse"), strict=True):
            _by_lag(ax, {k: getattr(score, name) for k, score in scores.items()}, shades, reference, step)
        axes[0].set_title("R² between days")
        axes[0].axhline(0, color=INK, linewidth=0.8)
        axes[1].set_title("RMSE between days" + ("" if units == "1" else f" ({units})"))
        axes[1].set_ylim(0, None)
        _legend(figure, shades)
        heading(figure, title, caption)
        return save(figure, path)


def series_figure(
    days: ArrayLike,
    panels: Mapping[str, Mapping[str, ArrayLike]],
    *,
    smooth: int = 1,
    reference: str | None = None,
    begin: Any = None,
    title: str = "",
    caption: str = "",
    path: str | Path | None = None,
) -> Figure:
    """Daily series one above another, such as the area mean and the error of a rollout.

    Args:
        days: datetime64, ``(T,)``.
        panels: by title, series by label, each ``(T,)``, NaN where missing.
        smooth: days of a running mean.
        reference: the label drawn in ink.
        begin: a day marked by a line, such as the first that was predicted without a fine record.
        title, caption, path: as in `skyweave.report.map_figure`.

    Raises:
        SkyweaveError: nothing to draw, or a series of another length.
    """
    labels = list(dict.fromkeys(label for series in panels.values() for label in series))
    shades = _shades(dict.fromkeys(labels), reference if reference in labels else None)
    times = np.asarray(days, "datetime64[s]")
    with style():
        height = 1.05 + 1.75 * len(panels)
        figure = new_figure(9.0, height)
        for k, (name, series) in enumerate(panels.items()):
            bottom = (height - 0.98 - 1.75 * k - 1.3) / height
            ax = figure.add_axes((0.075, bottom, 0.9, 1.3 / height))
            for label, values in series.items():
                y = np.asarray(values, float)
                if y.shape != times.shape:
                    raise SkyweaveError(f"{name}, {label}: {y.size} values for {times.size} days")
                style_of = {**_emphasis(label == reference), "linewidth": 1.8 if label == reference else 1.1}
                ax.plot(times, _running(y, smooth), color=shades[label], **style_of)
            if begin is not None:
                ax.axvline(
                    float(date2num(np.datetime64(begin, "s"))),
                    color=INK,
                    linewidth=0.8,
                    linestyle=(0, (4, 3)),
                )
            ax.set_title(name)
            locator = AutoDateLocator(maxticks=9)
            ax.xaxis.set_major_locator(locator)
            ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
            ax.set_xlim(times[0], times[-1])
            quiet(ax)
        _legend(figure, shades)
        heading(figure, title, caption)
        return save(figure, path)


# ---- parts


def _shades(labels: Mapping[str, Any], reference: str | None) -> dict[str, str]:
    if not labels:
        raise SkyweaveError("a figure needs at least one curve")
    if reference is not None and reference not in labels:
        raise SkyweaveError(f"no curve is called {reference!r}; there are {', '.join(labels)}")
    return colours(list(labels), reference)


def _pair(caption: str) -> tuple[Figure, list[Axes]]:
    figure = new_figure(8.6, 3.7)
    bottom, top = (0.2 if caption else 0.14), 0.74
    return figure, [figure.add_axes((x, bottom, 0.42, top - bottom)) for x in (0.06, 0.56)]


def _by_lag(
    ax: Axes,
    curves: Mapping[str, NDArray[np.float64]],
    shades: Mapping[str, str],
    reference: str | None,
    step: str,
) -> None:
    """Curves over the lags 1, 2, ..."""
    for label, values in curves.items():
        lags = np.arange(1, len(values) + 1)
        ax.plot(lags, values, "o-", markersize=3, color=shades[label], **_emphasis(label == reference))
    ax.set_xlabel(f"lag ({step})")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    quiet(ax)


def _emphasis(first: bool) -> dict[str, Any]:
    # The reference is broad and lies below, so that a curve that follows it is seen upon it.
    return {"linewidth": 2.6 if first else 1.4, "zorder": 2 if first else 3}


def _rim(first: bool) -> dict[str, Any]:
    return {"markeredgecolor": "white", "markeredgewidth": 0.5, "zorder": 2 if first else 3}


def _legend(figure: Figure, shades: Mapping[str, str]) -> None:
    """One row of labels below the title."""
    width, height = figure.get_size_inches()
    handles = [Line2D([], [], color=shades[label], label=label, linewidth=2) for label in shades]
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.05 / width, 1 - 0.34 / height), ncols=len(handles),
        columnspacing=1.4, handletextpad=0.4, handlelength=1.4,
    )  # fmt: skip


def _running(values: Any, days: int) -> Any:
    if days <= 1:
        return values
    known = np.isfinite(values)
    window = np.ones(days)
    total = np.convolve(np.where(known, values, 0.0), window, "same")
    number = np.convolve(known.astype(float), window, "same")
    return np.divide(total, number, out=np.full(len(values), np.nan), where=number > 0)
