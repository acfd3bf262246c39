"""What a run will cost, from a few evaluations of what it will evaluate."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from skyweave.reconstruction.run import Reconstruction

__all__ = ["Costs", "calibrated"]

TIMED = 2
"""Evaluations that are timed, after one that is not."""


@dataclass(frozen=True)
class Costs:
    """Seconds and bytes of a whole run.

    Args:
        evaluation: seconds of one evaluation of the network, with the observations' part in it.
        members, frames: that it was timed with.
        seconds: of the run, on one worker such as this process.
        workers: among which it is shared; ``None`` where that is not known.
        disk: bytes of the output before it is compressed.
    """

    evaluation: float
    members: int
    frames: int
    seconds: float
    workers: int | None
    disk: int

    def __str__(self) -> str:
        several = self.workers is not None and self.workers > 1
        shared = f", {span(self.seconds / (self.workers or 1))} on {self.workers}" if several else ""
        alone = " on one worker" if self.workers != 1 else ""
        lines = [
            f"time          about {span(self.seconds)}{alone}{shared}, from evaluations of {self.members} members x "
            f"{self.frames} times, {self.evaluation:.3g} s each",
            f"disk          at most {self.disk / 1e9:.3g} GB, less what compression saves",
        ]
        return "\n".join(lines)


def calibrated(made: Reconstruction, clock: Callable[[], float] = time.perf_counter) -> Costs:
    """Time a few evaluations of the first unit's batch, and reckon from them.

    Args:
        made: a reconstruction that is ready; nothing is written.
        clock: seconds that go on.
    """
    plan = made.plan
    unit = plan.units[0]
    t0, t1 = plan.reached(unit)
    batch, problem = plan.batches(unit)[0], made.problem(t0, t1)
    denoiser = made.method.guided(problem) if problem.n and not made.method.decoupled else problem.prior
    x, sigma = made.noise(t0, t1, batch).normal(0, problem.shape[1:]), torch.tensor(1.0)
    with torch.no_grad():
        denoiser(x, sigma.to(x))
        began = clock()
        for _ in range(TIMED):
            denoiser(x, sigma.to(x))
        if x.is_cuda:
            torch.cuda.synchronize()
        each = (clock() - began) / TIMED
    reached = [plan.reached(one) for one in plan.units]
    work = sum((one.m1 - one.m0) * (b - a) for one, (a, b) in zip(plan.units, reached, strict=True))
    seconds = each * plan.evaluations * work / (len(batch) * (t1 - t0))
    members, frames, channels, height, width = plan.shape
    fields = members + 2 + len(made.settings.quantiles)
    disk = frames * channels * height * width * (4 * fields + (1 if made.observed.n else 0))
    return Costs(each, len(batch), t1 - t0, seconds, made.settings.workers, disk)


def span(seconds: float) -> str:
    """Seconds as people tell them."""
    for size, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
