"""Figures: maps, spectra, calibration and scores."""

from skyweave.report.charts import calibration_figure, metrics_figure, spectra_figure, spread_skill_bins
from skyweave.report.comparison import comparison_figure, score_bars_figure
from skyweave.report.dependence import lag_figure, memory_figure, series_figure, variogram_figure
from skyweave.report.distributions import curves_figure, prior_figure
from skyweave.report.maps import Panel, coastlines, map_figure
from skyweave.report.sections import Scatter, Trace, scatter_figure, section_figure, traces_figure

__all__ = [
    "Panel",
    "Scatter",
    "Trace",
    "calibration_figure",
    "coastlines",
    "comparison_figure",
    "curves_figure",
    "lag_figure",
    "map_figure",
    "memory_figure",
    "metrics_figure",
    "prior_figure",
    "scatter_figure",
    "score_bars_figure",
    "section_figure",
    "series_figure",
    "spectra_figure",
    "spread_skill_bins",
    "traces_figure",
    "variogram_figure",
]
