"""Figures: maps, spectra, calibration and scores."""

from skyweave.report.charts import calibration_figure, metrics_figure, spectra_figure, spread_skill_bins
from skyweave.report.distributions import curves_figure, prior_figure
from skyweave.report.maps import Panel, coastlines, map_figure

__all__ = [
    "Panel",
    "calibration_figure",
    "coastlines",
    "curves_figure",
    "map_figure",
    "metrics_figure",
    "prior_figure",
    "spectra_figure",
    "spread_skill_bins",
]
