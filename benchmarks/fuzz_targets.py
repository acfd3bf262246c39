"""What is fuzzed: each reader with small valid inputs, made on the spot, and how an input is read."""

from __future__ import annotations

import tempfile
from pathlib import Path

import fuzz_configs
import fuzz_gridded
import fuzz_tables
import fuzz_trained
from fuzz_target import TARGETS, Target, files_in
from mutators import Files

__all__ = ["TARGETS", "Target", "files_in", "make_seeds"]

KINDS = (fuzz_gridded, fuzz_tables, fuzz_trained, fuzz_configs)
"""Modules whose import enters their targets."""


def make_seeds(target: Target) -> list[Files]:
    """The valid inputs of a reader."""
    with tempfile.TemporaryDirectory() as folder:
        return [files_in(path) for path in target.seeds(Path(folder))]
