"""Verification: scores, ensemble calibration, spectra, sets and sequences, and the scorecard that gathers them."""

from skyweave.verify.distributions import (
    PrecisionRecall,
    frechet_distance,
    pairwise_distance,
    precision_recall,
)
from skyweave.verify.ensemble import coverage, rank_histogram, spread, spread_skill_ratio
from skyweave.verify.features import EXTRACTORS, field_features
from skyweave.verify.scorecard import scorecard, scorecards, table
from skyweave.verify.scores import bias, crps, crps_field, mae, nrmse, rmse, weighted_mean
from skyweave.verify.spectra import melr, power_spectrum, rapsd, zonal_spectrum
from skyweave.verify.spherical import kinetic_energy_spectrum, largest_degree, spherical_spectrum
from skyweave.verify.temporal import (
    moment_maps,
    seam_ratio,
    step_differences,
    temporal_autocorrelation,
    variance_ratio_extreme,
)

__all__ = [
    "EXTRACTORS",
    "PrecisionRecall",
    "bias",
    "coverage",
    "crps",
    "crps_field",
    "field_features",
    "frechet_distance",
    "kinetic_energy_spectrum",
    "largest_degree",
    "mae",
    "melr",
    "moment_maps",
    "nrmse",
    "pairwise_distance",
    "power_spectrum",
    "precision_recall",
    "rank_histogram",
    "rapsd",
    "rmse",
    "scorecard",
    "scorecards",
    "seam_ratio",
    "spherical_spectrum",
    "spread",
    "spread_skill_ratio",
    "step_differences",
    "table",
    "temporal_autocorrelation",
    "variance_ratio_extreme",
    "weighted_mean",
    "zonal_spectrum",
]
