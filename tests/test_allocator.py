"""Blocks of memory that are kept: asked for once, and left alone where the user asked for something else."""

import resource
import sys

import numpy as np
import pytest

from skyweave.allocator import keep_large_blocks


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_a_block_that_was_freed_is_at_hand(monkeypatch):
    for name in ("MALLOC_ARENA_MAX", "MALLOC_MMAP_MAX_"):
        monkeypatch.delenv(name, raising=False)
    assert keep_large_blocks()
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        np.ones(2**22)
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert faults < 2**22 * 8 / 4096 / 2


def test_the_environment_wins(monkeypatch):
    monkeypatch.setenv("MALLOC_MMAP_MAX_", "4")
    assert not keep_large_blocks()
