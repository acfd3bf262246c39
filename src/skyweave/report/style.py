"""The look of every figure: quiet axes, colours for the colour blind too, legible at 100 dpi."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = [
    "DPI",
    "INK",
    "LAND_LINE",
    "MISSING",
    "PALETTE",
    "colours",
    "heading",
    "new_figure",
    "quiet",
    "save",
    "style",
]

DPI = 100
INK = "#222222"
FAINT = "#8a8a8a"
MISSING = "#e9e9e7"
LAND_LINE = "#1a1a1a"
# Okabe and Ito's colours without their yellow, which is too faint for lines on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 5,
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "white",
}


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's settings for the figures of this package, and the caller's again afterwards."""
    with mpl.rc_context(RC):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches that no window and no global state know of."""
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def quiet(ax: Axes) -> None:
    """Only the left and lower spines, and a faint grid behind the data."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(True, color="#ececec", linewidth=0.7)
    ax.set_axisbelow(True)


def heading(figure: Figure, title: str, caption: str = "") -> None:
    """A title at the top left and a grey caption at the bottom left, at a fixed distance from the edges."""
    width, height = figure.get_size_inches()
    if title:
        figure.text(
            0.12 / width, 1 - 0.13 / height, title, fontsize=11.5, fontweight="bold", va="top", ha="left"
        )
    if caption:
        figure.text(0.12 / width, 0.09 / height, caption, fontsize=8, color="#555555", va="bottom", ha="left")


def colours(labels: Sequence[str], reference: str | None = None) -> dict[str, str]:
    """A colour for each label, always the same for the same list; the reference is drawn in ink."""
    others = [label for label in labels if label != reference]
    chosen = {label: PALETTE[k % len(PALETTE)] for k, label in enumerate(others)}
    return chosen if reference is None else {reference: INK} | chosen


def save(figure: Figure, path: str | Path | None) -> Figure:
    """Write the figure where a path is given, and return it."""
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=DPI)
    return figure
