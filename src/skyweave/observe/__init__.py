"""Observations with their errors, the operators that see the state as they do, and simulators of both.

Import from the modules: `observation` (grids and point tables), `errors`, `assemble`, `operator`, `simulate`.
"""
