"""Settings of every test."""

import os

from skyweave.allocator import keep_large_blocks

# Tests share small machines with other work: OpenMP teams that spin for a lost core stall for minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# As the command line does: a tenth of the time, and memory that is at hand stays at hand.
keep_large_blocks()
