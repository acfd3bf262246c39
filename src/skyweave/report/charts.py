"""Charts of verification: spectra, calibration, and scores of several methods side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import ArrayLike, NDArray

from skyweave.report.style import INK, colours, heading, new_figure, quiet, save, style

__all__ = ["IDEAL", "calibration_figure", "metrics_figure", "spectra_figure", "spread_skill_bins"]

IDEAL = {"ssr": 1.0, "coverage90": 0.9, "melr_member": 0.0, "melr_mean": 0.0}
"""The value of a perfect ensemble; of scores that are not here it is zero, and they are drawn from zero."""

NAMES = {
    "rmse": "RMSE of the mean",
    "crps": "fair CRPS",
    "ssr": "spread / skill",
    "coverage90": "coverage of 90 %",
    "melr_member": "MELR of members",
    "melr_mean": "MELR of the mean",
    "seconds": "seconds",
    "evaluations": "network evaluations",
}


def spectra_figure(
    spectra: Mapping[str, ArrayLike],
    *,
    units: str,
    length_km: float | None = None,
    reference: str | None = "truth",
    wavenumber: str = "wavenumber (cycles per longest side)",
    title: str = "",
    caption: str = "",
    path: str | Path | None = None,
) -> Figure:
    """Power against wavenumber, and below it the ratio to the reference's power.

    Args:
        spectra: by label, power of shape ``(K + 1,)`` from wavenumber 0, squared `units`; of shape
            ``(M, K + 1)`` for members, drawn as their mean and range.
        units: of the field.
        length_km: length of the side to which the wavenumbers refer; adds wavelengths above.
        reference: the label that others are divided by; None leaves the lower panel out.
        wavenumber: what the wavenumbers are.
        title, caption, path: as in `skyweave.report.map_figure`.

    Raises:
        ValueError: `reference` is not among the labels.
    """
    if reference is not None and reference not in spectra:
        raise ValueError(f"no spectrum is called {reference!r}; there are {', '.join(spectra)}")
    with style():
        figure = new_figure(6.4, 5.0 if reference else 3.9)
        ratios = [2.4, 1] if reference else [1]
        grid = figure.add_gridspec(
            len(ratios),
            1,
            height_ratios=ratios,
            left=0.13,
            right=0.97,
            bottom=0.16,
            top=0.89 if length_km is None else 0.83,
            hspace=0.12,
        )
        upper = figure.add_subplot(grid[0])
        lower = figure.add_subplot(grid[1], sharex=upper) if reference else None
        base = None if reference is None else np.atleast_2d(np.asarray(spectra[reference], float)).mean(0)[1:]
        shades = colours(list(spectra), reference)
        for label, power in spectra.items():
            members = np.atleast_2d(np.asarray(power, float))[:, 1:]
            k = np.arange(1, members.shape[1] + 1)
            top: dict[str, Any] = {"zorder": 2, "linewidth": 2.8 if label == reference else 1.4}
            upper.plot(k, members.mean(0), color=shades[label], label=label, **top)
            if len(members) > 1:
                upper.fill_between(
                    k, members.min(0), members.max(0), color=shades[label], alpha=0.15, linewidth=0
                )
            if lower is not None and base is not None:
                lower.plot(k, members.mean(0) / base, color=shades[label], **top)
        upper.set(xscale="log", yscale="log", ylabel=f"power ({_squared(units)})")
        upper.legend(loc="lower left")
        if base is not None:
            upper.set_ylim(bottom=max(upper.get_ylim()[0], base.min() / 100))
        last = lower or upper
        if lower is not None:
            upper.tick_params(labelbottom=False)
            lower.set(yscale="log", ylabel=f"/ {reference}")
            low, high = lower.get_ylim()
            lower.set_ylim(max(low, 0.01), min(high, 100.0))
            lower.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 3.0), numticks=5))
            _plain_ticks(lower, "y")
        last.set_xlabel(wavenumber)
        _plain_ticks(last, "x")
        for ax in (upper, lower):
            if ax is not None:
                quiet(ax)
        if length_km is not None:
            above = upper.secondary_xaxis("top", functions=(lambda k: length_km / np.maximum(k, 1e-9),) * 2)
            above.set_xlabel("wavelength (km)", labelpad=4)
            _plain_ticks(above, "x")
        heading(figure, title, caption)
        return save(figure, path)


def spread_skill_bins(
    ensemble: ArrayLike, truth: ArrayLike, bins: int = 12
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Spread and RMSE of cells grouped by their spread, in equally full groups.

    .. math:: s_b = \sqrt{\tfrac{M + 1}{M} \overline{\mathrm{var}}_b}, \qquad
              e_b = \sqrt{\overline{(\bar x - y)^2}_b},

    equal for an ensemble whose spread tells where the error is.

    Args:
        ensemble: ``(M, ...)``, M at least 2.
        truth: ``(...)``; NaN is left out.
        bins: number of groups.

    Reference: Fortin et al. (2014), doi 10.1175/JHM-D-14-0008.1, Eq. 15.
    """
    members, y = np.asarray(ensemble, float), np.asarray(truth, float)
    count = members.shape[0]
    variance = (members.var(0, ddof=1) * (count + 1) / count).ravel()
    error = (members.mean(0) - y).ravel() ** 2
    good = np.isfinite(variance) & np.isfinite(error)
    variance, error = variance[good], error[good]
    groups = np.array_split(np.argsort(variance, kind="stable"), bins)
    groups = [g for g in groups if g.size]
    return (
        np.sqrt([variance[g].mean() for g in groups]),
        np.sqrt([error[g].mean() for g in groups]),
    )


def calibration_figure(
    ranks: Mapping[str, ArrayLike],
    spread_skill: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    units: str,
    title: str = "",
    caption: str = "",
    path: str | Path | None = None,
) -> Figure:
    """Rank histograms beside error against spread; both straight where the ensemble is calibrated.

    Args:
        ranks: by label, relative frequencies of shape ``(M + 1,)``, from `skyweave.verify.rank_histogram`.
        spread_skill: by label, spread and RMSE per group, from `spread_skill_bins`.
        units: of the field.
        title, caption, path: as in `skyweave.report.map_figure`.
    """
    with style():
        figure = new_figure(8.6, 4.1)
        left = figure.add_axes((0.075, 0.19, 0.42, 0.57))
        right = figure.add_axes((0.60, 0.19, 0.37, 0.57))
        shades = colours(list(dict.fromkeys([*ranks, *spread_skill])))
        for label, frequency in ranks.items():
            f = np.asarray(frequency, float)
            edges = np.linspace(0, 1, f.size + 1)
            left.stairs(f * f.size, edges, baseline=None, color=shades[label], linewidth=1.6)
        left.axhline(1, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        left.set(xlim=(0, 1), xlabel="rank of the truth among the members", ylabel="frequency / uniform")
        left.set_ylim(0, max(2.0, left.get_ylim()[1]))
        left.set_xticks([0, 0.5, 1], ["lowest", "middle", "highest"])
        left.set_title("Rank histogram")
        largest = 0.0
        for label, (spread, error) in spread_skill.items():
            s, e = np.asarray(spread, float), np.asarray(error, float)
            right.plot(s, e, color=shades[label], marker="o", markersize=4, linewidth=1.2)
            largest = max(largest, float(s.max()), float(e.max()))
        right.plot(
            [0, 1.1 * largest], [0, 1.1 * largest], color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1
        )
        right.set(xlim=(0, 1.08 * largest), ylim=(0, 1.08 * largest))
        right.set(xlabel=f"ensemble spread ({units})", ylabel=f"RMSE of the mean ({units})")
        right.set_title("Error against spread")
        for ax in (left, right):
            quiet(ax)
        legend_row(figure, [Line2D([], [], color=shades[label], label=label) for label in shades])
        heading(figure, title, caption)
        return save(figure, path)


def metrics_figure(
    rows: Sequence[Mapping[str, Any]],
    metrics: Sequence[str] = ("rmse", "crps", "ssr", "coverage90", "melr_member"),
    *,
    case: str = "case",
    method: str = "method",
    title: str = "",
    caption: str = "",
    path: str | Path | None = None,
) -> Figure:
    """One column per score, one line per case, one mark per method; dashed where a score has an ideal.

    Args:
        rows: as for `skyweave.verify.table`; a score that is missing or NaN is left out.
        metrics: keys of the scores.
        case, method: keys of what was observed, and of what reconstructed it.
        title, caption, path: as in `skyweave.report.map_figure`.
    """
    cases = list(dict.fromkeys(str(row[case]) for row in rows))
    methods = list(dict.fromkeys(str(row[method]) for row in rows))
    shades = colours(methods)
    marks = dict(zip(methods, "oDs^vP" * len(methods), strict=False))
    with style():
        width, height = 1.6 + 1.75 * len(metrics), 1.55 + 0.52 * len(cases)
        figure = new_figure(width, height)
        grid = figure.add_gridspec(
            1, len(metrics), left=1.45 / width, right=1 - 0.15 / width, bottom=0.55 / height,
            top=1 - 0.95 / height, wspace=0.16,
        )  # fmt: skip
        for column, key in enumerate(metrics):
            ax = figure.add_subplot(grid[column])
            for row in rows:
                value = row.get(key)
                if value is None or not np.isfinite(value):
                    continue
                name = str(row[method])
                offset = (methods.index(name) - (len(methods) - 1) / 2) * min(0.16, 0.7 / len(methods))
                at = cases.index(str(row[case])) + offset
                ax.plot(value, at, marks[name], color=shades[name], markersize=5.5, markeredgecolor="white")
            ax.set_title(NAMES.get(key, key))
            ax.set(ylim=(len(cases) - 0.5, -0.5), yticks=range(len(cases)))
            ax.set_yticklabels(cases if column == 0 else [])
            if key in IDEAL:
                ax.axvline(IDEAL[key], color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
            else:
                ax.set_xlim(0, max(ax.get_xlim()[1], 1e-12))
            ax.xaxis.set_major_locator(MaxNLocator(4))
            quiet(ax)
            ax.grid(False, axis="y")
            ax.tick_params(axis="y", length=0)
            ax.spines["left"].set_visible(False)
            for line in range(len(cases) - 1):
                ax.axhline(line + 0.5, color="#ececec", linewidth=0.7, zorder=0)
        handles = [Line2D([], [], marker=marks[m], linestyle="", color=shades[m], label=m) for m in methods]
        legend_row(figure, handles)
        heading(figure, title, caption)
        return save(figure, path)


def legend_row(figure: Figure, handles: list[Line2D]) -> None:
    """One row of labels below the title."""
    width, height = figure.get_size_inches()
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.02 / width, 1 - 0.34 / height),
        ncols=len(handles), columnspacing=1.4, handletextpad=0.4, handlelength=1.4,
    )  # fmt: skip


def _plain_ticks(ax: Any, which: str) -> None:
    axis = ax.xaxis if which == "x" else ax.yaxis
    if which == "x":
        axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _squared(units: str) -> str:
    return f"{units}²" if units.isalpha() else f"({units})²"
