"""Nature runs: synthetic worlds of which everything is known, cheap enough for tests."""

from skyweave.nature_runs.aerosol import aerosol_tracer, with_gaps
from skyweave.nature_runs.world import AerosolPhysics

__all__ = ["AerosolPhysics", "aerosol_tracer", "with_gaps"]
