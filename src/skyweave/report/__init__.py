"""Figures: maps, spectra, calibration and scores."""

from skyweave.report.charts import calibration_figure, metrics_figure, spectra_figure, spread_skill_bins
from skyweave.report.distributions import curves_figure, prior_figure
from skyweave.report.maps import Panel, coastlines, map_figure
from skyweave.report.sections import Scatter, Trace, scatter_figure, section_figure, traces_figure

__all__ = [
    "Panel",
    "Scatter",
    "Trace",
    "calibration_figure",
    "coastlines",
    "curves_figure",
    "map_figure",
    "metrics_figure",
    "prior_figure",
    "scatter_figure",
    "section_figure",
    "spectra_figure",
    "spread_skill_bins",
    "traces_figure",
]
