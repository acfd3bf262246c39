"""Nature runs: synthetic worlds of which everything is known, cheap enough for tests."""

from skyweave.nature_runs.aerosol import aerosol_tracer, with_gaps
from skyweave.nature_runs.shallow_water import (
    ShallowWater,
    ShallowWaterConfig,
    shallow_water,
    shallow_water_chunks,
)
from skyweave.nature_runs.two_records import DustPhysics, TwoRecords, two_records
from skyweave.nature_runs.world import AerosolPhysics

__all__ = [
    "AerosolPhysics", "DustPhysics", "ShallowWater", "ShallowWaterConfig", "TwoRecords", "aerosol_tracer",
    "shallow_water", "shallow_water_chunks", "two_records", "with_gaps",
]  # fmt: skip
