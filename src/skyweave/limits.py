"""Upper limits of counts: what is beyond is a slip of the pen, told before anything is allocated for it."""

from __future__ import annotations

from skyweave.errors import SkyweaveError

__all__ = ["MOST", "check_counts"]

MOST: dict[str, int] = {
    "members": 10_000,
    "steps": 10_000,
    "frames": 1_000_000,
    "batch": 10_000,
    "seed": 2**63 - 1,
    "stride": 10_000,
    "training_steps": 100_000_000,
    "lead_times": 100_000,
    "starts": 100_000,
    "patch": 8192,
    "jobs": 1024,
    "threads": 4096,
    "every": 1_000_000,
    "cells": 2**28,
}
"""Greatest number of each, by name: members of an ensemble, network evaluations of a member, frames of a sequence
(a century of hours), members computed at once, steps of a training run, steps of a forecast, forecasts, cells along a
patch, processes, threads, times or steps from one kept to the next, cells of a grid."""


def check_counts(least: int = 1, /, *, label: str = "", **counts: int | None) -> None:
    """Refuse counts outside ``least .. MOST[name]``; None passes.

    Args:
        least: smallest count.
        label: what the message calls it, such as "--steps"; the name by default.
        counts: by the names of `MOST`.

    Raises:
        SkyweaveError: with the count and both limits.
    """
    for name, value in counts.items():
        if value is None:
            continue
        called = label or name
        # A bool is an int, and a float that happens to be whole was meant otherwise.
        if isinstance(value, bool) or not float(value).is_integer():
            raise SkyweaveError(f"{called} = {value}: a whole number is needed")
        if value < least:
            words = {0: "zero or greater", 1: "at least one is needed"}
            raise SkyweaveError(f"{called} = {value}: {words.get(least, f'at least {least}')}")
        if value > MOST[name]:
            raise SkyweaveError(f"{called} = {value}: at most {MOST[name]:,}")
