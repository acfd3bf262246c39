"""Tuning of sources and methods on cases whose truth is known: a grid of settings, scored, resumable."""

from skyweave.evaluate.grid_of_settings import expand, with_values
from skyweave.evaluate.score import DIVERGED, Card, score_fields
from skyweave.evaluate.search import Result, best, search, table_of
from skyweave.evaluate.tuning import tune

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
