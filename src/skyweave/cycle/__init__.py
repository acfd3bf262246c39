"""Forecast, fuse, reinitialise: data assimilation with a diffusion prior inside the analysis."""

from skyweave.cycle.analysis import analyse
from skyweave.cycle.ensemble import ensemble_covariance
from skyweave.cycle.forecast import GaussianForecast, as_source

__all__ = ["GaussianForecast", "analyse", "as_source", "ensemble_covariance"]
