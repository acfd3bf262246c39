"""Downscaled fields beside the truth: maps with their differences, and bars of scores with their spread over days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import ArrayLike

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.report.maps import Panel, map_figure
from skyweave.report.style import INK, colours, heading, new_figure, quiet, save, style
from skyweave.verify.daily import DAILY_TITLES

__all__ = ["comparison_figure", "score_bars_figure"]


def comparison_figure(
    truth: ArrayLike,
    predictions: Mapping[str, ArrayLike],
    grid: Grid,
    coarse: tuple[ArrayLike, Grid],
    *,
    names: tuple[str, str] = ("fine record", "coarse record"),
    units: str = "1",
    log: bool = False,
    title: str = "",
    caption: str = "",
    path: str | Path | None = None,
) -> Figure:
    """One day: the truth and the predictions above, the coarse day at its own resolution and the differences below.

    Args:
        truth: ``(H, W)``, physical units.
        predictions: by label, ``(H, W)``.
        grid: of both.
        coarse: the driver, ``(h, w)``, and its grid.
        names: of truth and driver.
        units: of the field.
        log: draw log10 of positive fields, and differences of it.
        title, caption, path: as in `skyweave.report.map_figure`.

    Raises:
        SkyweaveError: no prediction, or fields that do not lie on the grid.

    Reference: downscaling paper, Figures 2, 6 and 7.
    """
    if not predictions:
        raise SkyweaveError("a comparison needs at least one prediction")

    def drawn(values: ArrayLike) -> Any:
        x = np.asarray(values, float)
        return np.log10(np.where(x > 0, x, np.nan)) if log else x

    for name, field in {names[0]: truth, **predictions}.items():
        if np.shape(field) != grid.shape:
            raise SkyweaveError(f"{name}: a field of shape {np.shape(field)}; the grid has {grid.shape}")
    reference = drawn(truth)
    panels = [Panel(names[0], reference)]
    panels += [Panel(label, drawn(field)) for label, field in predictions.items()]
    panels.append(Panel(names[1], drawn(coarse[0]), grid=coarse[1]))
    panels += [
        Panel(f"{label} − truth", drawn(field) - reference, "difference")
        for label, field in predictions.items()
    ]
    shown = f"log10 ({units})" if log and units != "1" else "log10" if log else units
    columns = len(predictions) + 1
    return map_figure(
        panels, grid, units=shown, columns=columns, width=min(2.9 * columns + 0.6, 15.0), title=title,
        caption=caption, path=path,
    )  # fmt: skip


def score_bars_figure(
    rows: Sequence[Mapping[str, Any]],
    metrics: Sequence[str] = ("r2", "nse", "kge", "rmse"),
    *,
    case: str = "case",
    method: str = "method",
    titles: Mapping[str, str] | None = None,
    title: str = "",
    caption: str = "",
    path: str | Path | None = None,
) -> Figure:
    """Bars of scores for each case and method, with their standard deviation over days as whiskers.

    Args:
        rows: each with `case`, `method` and, by metric, a number or a pair (mean, standard deviation), such as
            `skyweave.verify.mean_and_deviation` gives; what is missing is left out.
        metrics: keys of scores, one panel each.
        case, method: keys of the group and of the bar.
        titles: of the metrics, where they are not those of daily scores.
        title, caption, path: as in `skyweave.report.map_figure`.

    Raises:
        SkyweaveError: no row has any of the metrics.

    Reference: downscaling paper, Table 3.
    """
    if not any(key in row for row in rows for key in metrics):
        raise SkyweaveError(f"no row has a score among {', '.join(metrics)}")
    cases = list(dict.fromkeys(str(row[case]) for row in rows))
    methods = list(dict.fromkeys(str(row[method]) for row in rows))
    shades = colours(methods)
    known = {**DAILY_TITLES, **(titles or {})}
    wide = 0.8 / len(methods)
    across = min(max(1.6, 0.4 + 0.2 * len(cases) * (len(methods) + 1)), 5.0)
    per_line = max(1, min(len(metrics), int(13 / (across + 0.6))))
    lines = -(-len(metrics) // per_line)
    with style():
        width, height = 0.2 + per_line * (across + 0.6), 1.2 + lines * 2.35
        figure = new_figure(width, height)
        for k, key in enumerate(metrics):
            left, line = 0.55 + (k % per_line) * (across + 0.6), k // per_line
            bottom = height - 1.05 - 1.75 - line * 2.35
            ax = figure.add_axes((left / width, bottom / height, across / width, 1.7 / height))
            low = 0.0
            for row in rows:
                value = row.get(key)
                if value is None:
                    continue
                mean, deviation = value if isinstance(value, (tuple, list)) else (value, np.nan)
                at = cases.index(str(row[case])) + (methods.index(str(row[method])) + 0.5) * wide - 0.4
                ax.bar(at, mean, wide * 0.9, color=shades[str(row[method])])
                if np.isfinite(deviation):
                    ax.errorbar(at, mean, deviation, color=INK, linewidth=0.8, capsize=1.5, capthick=0.8)
                low = min(low, mean - (deviation if np.isfinite(deviation) else 0))
            ax.set_title(known.get(key, key))
            ax.set_xticks(range(len(cases)), cases)
            ax.set_xlim(-0.55, len(cases) - 0.45)
            # One bad method must not press the others flat against the top.
            if key in ("nse", "kge", "r2", "nse_log10", "kge_log10", "r2_log10"):
                ax.set_ylim(max(low * 1.05, -1.0), 1.02)
            ax.axhline(0, color=INK, linewidth=0.8)
            quiet(ax)
            ax.grid(False, axis="x")
            ax.tick_params(axis="x", length=0)
        handles = [Patch(color=shades[m], label=m) for m in methods]
        figure.legend(
            handles=handles, loc="upper left", bbox_to_anchor=(0.05 / width, 1 - 0.34 / height),
            ncols=min(len(handles), max(2, int(width / 1.6))), columnspacing=1.2, handletextpad=0.4, handlelength=1.0,
        )  # fmt: skip
        heading(figure, title, caption)
        return save(figure, path)
