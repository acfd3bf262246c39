"""Verification: scores, ensemble calibration, spectra, and the scorecard that gathers them."""

from skyweave.verify.ensemble import coverage, rank_histogram, spread, spread_skill_ratio
from skyweave.verify.scorecard import scorecard, scorecards, table
from skyweave.verify.scores import bias, crps, crps_field, mae, nrmse, rmse, weighted_mean
from skyweave.verify.spectra import melr, power_spectrum, rapsd, zonal_spectrum

__all__ = [
    "bias",
    "coverage",
    "crps",
    "crps_field",
    "mae",
    "melr",
    "nrmse",
    "power_spectrum",
    "rank_histogram",
    "rapsd",
    "rmse",
    "scorecard",
    "scorecards",
    "spread",
    "spread_skill_ratio",
    "table",
    "weighted_mean",
    "zonal_spectrum",
]
