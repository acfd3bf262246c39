"""What a reconstruction will do before it does anything: units of work, evaluations, memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from skyweave.diffusion.network import UNet
from skyweave.grid import Grid
from skyweave.io.made_with import digest_of
from skyweave.prior.storage import LearntPrior
from skyweave.reconstruction.record import Observed

__all__ = [
    "DIFFERENTIATING", "Layout", "Plan", "Unit", "graph_bytes", "layout_of", "make_units", "member_bytes",
    "segments_of",
]  # fmt: skip

LARGEST_BATCH = 64

SEGMENT = 48
"""Frames computed together with a prior of windows, besides those on either side of them."""

DIFFERENTIATING = ("mmps", "sda", "pigdm", "dps")
"""Guidance methods that differentiate the network, so that all its maps are kept."""
GRAPH_MAPS = 50
"""Maps of the finest width that an evaluation keeps for that, for each block of a level (47 to 51 were counted)."""

REACH = 2
"""Windows on either side of a segment that are computed along and then left to the neighbouring segments."""


@dataclass(frozen=True)
class Unit:
    """Independent work: the members ``m0:m1`` of the times ``t0:t1``."""

    t0: int
    t1: int
    m0: int
    m1: int
    needs: ClassVar[tuple[str, ...]] = ()
    weight: ClassVar[float] = 1.0

    @property
    def name(self) -> str:
        return f"t{self.t0}-{self.t1} m{self.m0}-{self.m1}"


@dataclass(frozen=True)
class Plan:
    """The work, its cost and what was kept of the observations.

    Args:
        units: of work, in the order in which they run.
        shape: ``(members, times, channels, lat, lon)`` of the result.
        batch: members of a unit, which are stored together.
        evaluations: of the network for each member and time.
        peak_bytes: predicted peak of memory beyond the libraries themselves.
        report: counts of observations used and dropped, printable.
        settings: everything the values depend on.
        at_once: members computed at once, on which nothing depends; those of a unit by default.
        reach: frames on either side of a unit that are computed along.
    """

    units: tuple[Unit, ...]
    shape: tuple[int, int, int, int, int]
    batch: int
    evaluations: int
    peak_bytes: int
    report: Any
    settings: dict[str, Any]
    at_once: int | None = None
    reach: int = 0

    def reached(self, unit: Unit) -> tuple[int, int]:
        """Frames that are computed for a unit."""
        return max(0, unit.t0 - self.reach), min(self.shape[1], unit.t1 + self.reach)

    def batches(self, unit: Unit) -> list[range]:
        """Members of a unit that are computed at once."""
        size = self.at_once or self.batch
        return [range(m, min(m + size, unit.m1)) for m in range(unit.m0, unit.m1, size)]

    @property
    def digest(self) -> str:
        """Names the settings: a run resumes only with the same."""
        return digest_of(self.settings)

    def __str__(self) -> str:
        members, times, channels, height, width = self.shape
        lines = [
            f"work          {members} members x {times} times of {channels} x {height} x {width} cells, "
            f"in {len(self.units)} units of at most {self.batch} members",
            f"evaluations   {self.evaluations} per member and time, {self.evaluations * members * times} in all",
            f"memory        about {self.peak_bytes / 2**20:.0f} MiB at the peak, beyond some 400 MiB of libraries",
            str(self.report),
        ]
        return "\n".join(lines)


def make_units(segments: Sequence[tuple[int, int]], members: int, batch: int) -> tuple[Unit, ...]:
    """Segments of time by blocks of members."""
    return tuple(
        Unit(t0, t1, m0, min(m0 + batch, members)) for t0, t1 in segments for m0 in range(0, members, batch)
    )


def segments_of(observed: Observed, frames: int, window: int) -> list[tuple[int, int]]:
    """Stretches of time computed one after the other; those of windows overlap when they are computed."""
    if window == 1:
        return observed.segments()
    count = max(1, round(frames / SEGMENT))
    edges = np.linspace(0, frames, count + 1).astype(int).tolist()
    return list(pairwise(edges))


@dataclass(frozen=True)
class Layout:
    """How the work is cut to fit the memory; nothing of it but the tile has a say in the result.

    Args:
        unit: members that are stored together.
        at_once: members that are computed at once.
        tile: in which the network sees the domain; ``None`` for the whole.
        peak_bytes: memory that this takes.
    """

    unit: int
    at_once: int
    tile: tuple[int, int] | None
    peak_bytes: int = 0


def layout_of(
    prior: LearntPrior,
    grid: Grid,
    frames: int,
    members: int,
    memory: float,
    *,
    batch: int | None = None,
    tile: tuple[int, int] | None = None,
    together: bool = False,
    graph: bool = False,
    begun: Layout | None = None,
) -> Layout:
    """What fits the memory.

    Args:
        prior: whose network is evaluated.
        grid: of the fields.
        frames: computed together.
        members: of the ensemble.
        memory: that may be used, bytes.
        batch: members at once, if asked for.
        tile: if asked for.
        together: one unit has to hold all members.
        graph: whether the network is differentiated.
        begun: by an earlier call, whose units and tile are kept.
    """
    channels = len(prior.spec.variables)
    each = member_bytes(frames, channels, *grid.shape)
    if graph:
        each += graph_bytes(prior, frames, grid)
    network = prior.working_bytes(grid)
    if tile is None and begun is not None:
        tile = begun.tile
    elif tile is None and network > memory and prior.spec.window == 1:
        tile = (4 * prior.patch[0], 4 * prior.patch[1])
    if tile is not None:
        network = network * min(tile[0] * tile[1], grid.size) // grid.size
    fitting = max(1, min(LARGEST_BATCH, int(memory // each)))
    size = min(fitting if batch is None else batch, members)
    unit = begun.unit if begun is not None else members if together else size
    size = min(size, unit)
    peak = size * each + network + 4 * channels * grid.size * (members + 8) * frames
    return Layout(unit, size, tile, peak)


def graph_bytes(prior: LearntPrior, frames: int, grid: Grid) -> int:
    """What one member's evaluation keeps where it is differentiated: the maps of every block, single precision."""
    network = prior.network.network
    if not isinstance(network, UNet):
        return 0
    of = network.architecture
    # A prior of windows sees every frame in several of them; those beside one another are most that are kept.
    return 4 * frames * grid.size * of.base * of.multipliers[0] * GRAPH_MAPS * of.blocks


def member_bytes(frames: int, channels: int, height: int, width: int) -> int:
    """Working memory of one member: states of the solver and Fourier coefficients on the padded domain.

    Twelve single-precision copies of the state (``x``, noise, two estimates, the update and their temporaries), and
    six of the transform on a domain that padding makes up to four times as large.
    """
    cells = frames * channels * height * width
    return 4 * cells * (12 + 6 * 4)
