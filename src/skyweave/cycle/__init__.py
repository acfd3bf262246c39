"""Forecast, fuse, reinitialise: data assimilation with a diffusion prior inside the analysis."""

from skyweave.cycle.analysis import analysis_problem
from skyweave.cycle.assimilate import assimilate
from skyweave.cycle.base import Cycle
from skyweave.cycle.climate import Climate
from skyweave.cycle.ensemble import ensemble_covariance
from skyweave.cycle.forecast import GaussianForecast, as_source
from skyweave.cycle.fusion import Fusion
from skyweave.cycle.lead_time import LeadTimeSkill
from skyweave.cycle.past import PastForecasts, past_from_files, past_from_forecaster
from skyweave.cycle.precomputed import fuse
from skyweave.cycle.report_skill import ReportSkill, skill_from_reports
from skyweave.cycle.run import Cycler
from skyweave.cycle.settings import CycleSettings

__all__ = [
    "Climate",
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
    "past_from_files",
    "past_from_forecaster",
    "skill_from_reports",
]
