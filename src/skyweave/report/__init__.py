"""Figures: maps, spectra, calibration and scores."""

from skyweave.report.charts import calibration_figure, metrics_figure, spectra_figure, spread_skill_bins
from skyweave.report.maps import Panel, coastlines, map_figure

__all__ = [
    "Panel",
    "calibration_figure",
    "coastlines",
    "map_figure",
    "metrics_figure",
    "spectra_figure",
    "spread_skill_bins",
]
