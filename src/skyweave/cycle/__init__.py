"""Forecast, fuse, reinitialise: data assimilation with a diffusion prior inside the analysis."""

from skyweave.cycle.analysis import analysis_problem
from skyweave.cycle.assimilate import assimilate
from skyweave.cycle.ensemble import ensemble_covariance
from skyweave.cycle.forecast import GaussianForecast, as_source
from skyweave.cycle.fusion import Fusion, fuse_forecasts
from skyweave.cycle.lead_time import LeadTimeSkill
from skyweave.cycle.past import PastForecasts, past_from_files, past_from_forecaster
from skyweave.cycle.precomputed import fuse
from skyweave.cycle.report_skill import ReportSkill, skill_from_reports
from skyweave.cycle.run import Cycle, Cycler
from skyweave.cycle.settings import CycleSettings

__all__ = [
    "Cycle",
    "CycleSettings",
    "Cycler",
    "Fusion",
    "GaussianForecast",
    "LeadTimeSkill",
    "PastForecasts",
    "ReportSkill",
    "analysis_problem",
    "as_source",
    "assimilate",
    "ensemble_covariance",
    "fuse",
    "fuse_forecasts",
    "past_from_files",
    "past_from_forecaster",
    "skill_from_reports",
]
