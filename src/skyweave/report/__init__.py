"""Figures: maps, spectra, calibration and scores."""

from skyweave.report.charts import calibration_figure, metrics_figure, spectra_figure, spread_skill_bins
from skyweave.report.comparison import comparison_figure, score_bars_figure
from skyweave.report.dependence import lag_figure, memory_figure, series_figure, variogram_figure
from skyweave.report.maps import Panel, coastlines, map_figure

__all__ = [
    "Panel",
    "calibration_figure",
    "coastlines",
    "comparison_figure",
    "lag_figure",
    "map_figure",
    "memory_figure",
    "metrics_figure",
    "score_bars_figure",
    "series_figure",
    "spectra_figure",
    "spread_skill_bins",
    "variogram_figure",
]
