"""Settings of every test."""

import os

# Tests share small machines with other work: OpenMP teams that spin for a lost core stall for minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
