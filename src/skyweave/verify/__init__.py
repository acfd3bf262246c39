"""Verification: scores, ensemble calibration, spectra, sets and sequences, and the scorecard that gathers them."""

from skyweave.verify.daily import daily_scores, kling_gupta, mean_and_deviation, summarise
from skyweave.verify.distributions import (
    PrecisionRecall,
    frechet_distance,
    pairwise_distance,
    precision_recall,
)
from skyweave.verify.domain import DomainSimilarity, domain_similarity, wasserstein_days, wasserstein_pooled
from skyweave.verify.ensemble import coverage, coverage_level, rank_histogram, spread, spread_skill_ratio
from skyweave.verify.features import EXTRACTORS, field_features
from skyweave.verify.memory import area_mean, lag_scores, series_memory
from skyweave.verify.scorecard import scorecard, scorecards, table
from skyweave.verify.scores import bias, crps, crps_field, mae, nrmse, rmse, weighted_mean
from skyweave.verify.seams import seam_jump_ratio
from skyweave.verify.spectra import melr, power_spectrum, rapsd, zonal_spectrum
from skyweave.verify.spherical import kinetic_energy_spectrum, largest_degree, spherical_spectrum
from skyweave.verify.temporal import (
    moment_maps,
    seam_ratio,
    step_differences,
    temporal_autocorrelation,
    variance_ratio_extreme,
)
from skyweave.verify.variograms import FieldVariogram, Spherical, field_variogram, fit_spherical

__all__ = [
    "EXTRACTORS",
    "DomainSimilarity",
    "FieldVariogram",
    "PrecisionRecall",
    "Spherical",
    "area_mean",
    "bias",
    "coverage",
    "coverage_level",
    "crps",
    "crps_field",
    "daily_scores",
    "domain_similarity",
    "field_features",
    "field_variogram",
    "fit_spherical",
    "frechet_distance",
    "kinetic_energy_spectrum",
    "kling_gupta",
    "lag_scores",
    "largest_degree",
    "mae",
    "mean_and_deviation",
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
    "seam_jump_ratio",
    "seam_ratio",
    "series_memory",
    "spherical_spectrum",
    "spread",
    "spread_skill_ratio",
    "step_differences",
    "summarise",
    "table",
    "temporal_autocorrelation",
    "variance_ratio_extreme",
    "wasserstein_days",
    "wasserstein_pooled",
    "weighted_mean",
    "zonal_spectrum",
]
