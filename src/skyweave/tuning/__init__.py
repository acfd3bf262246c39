"""Tuning of sources and methods on cases whose truth is known: a grid of settings, scored, resumable."""

from skyweave.tuning.cases import tune
from skyweave.tuning.score import DIVERGED, Card, score_fields
from skyweave.tuning.search import Result, best, search, table_of
from skyweave.tuning.settings import expand, with_values

__all__ = [
    "DIVERGED",
    "Card",
    "Result",
    "best",
    "expand",
    "score_fields",
    "search",
    "table_of",
    "tune",
    "with_values",
]
