"""A reconstruction whose parts are open: the work of its units, and what its output says of itself."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from skyweave.diffusion.noise import NoiseStream
from skyweave.errors import SkyweaveError
from skyweave.posterior.background import Background, bind, error_covariance
from skyweave.posterior.calibration import recalibrate_members
from skyweave.posterior.problem import Problem
from skyweave.posterior.reach import correlation_length, within
from skyweave.posterior.sample import Method, sample_posterior
from skyweave.prior.storage import LearntPrior, open_prior
from skyweave.reconstruction.execute import Note
from skyweave.reconstruction.output import provenance, to_physical
from skyweave.reconstruction.output_grid import Target
from skyweave.reconstruction.plan import Plan, Unit
from skyweave.reconstruction.record import Observed, Record, looked_at
from skyweave.reconstruction.residuals import LIMIT, Residuals, findings
from skyweave.reconstruction.scene import Scene, compare_scene
from skyweave.reconstruction.settings import Settings
from skyweave.sources.estimates import SourceEstimates
from skyweave.sources.widening import Widening, find_widening
from skyweave.transform import ToPhysical

__all__ = ["Reconstruction", "binder"]


@dataclass(eq=False)
class Reconstruction:
    """Everything that a run needs, opened and checked.

    Args:
        prior: that is sampled.
        target: grid, times and coordinates of the output.
        observed: everything that was observed, on that grid.
        settings: with a complete method, and with the cells and the tile that were found.
        plan: the units.
        mask: cells that are wanted, ``(H, W)``; ``None`` for all.
        factor: by which the ensemble is scaled about its mean; ``None`` where it is not.
        estimates: what innovations said of the sources.
        scene: what the prior knows of the scene, once it was looked at.
        long_names: of the caller's data, by variable.
    """

    prior: LearntPrior
    target: Target
    observed: Observed
    settings: Settings
    plan: Plan
    mask: np.ndarray | None
    factor: float | None
    estimates: SourceEstimates | None = None
    scene: Scene | None = None
    long_names: Mapping[str, str] = field(default_factory=dict)
    verb: ClassVar[str] = "reconstruct"

    def __post_init__(self) -> None:
        self.name = self.prior.path or "in memory"
        self._problem: tuple[tuple[int, int], Problem] | None = None
        self._found: Note = {}
        self._widened: tuple[tuple[int, int], Widening] | None = None
        self.identities = self.target.identities()
        self._bound: tuple[tuple[int, int], Background] | None = None
        self._touched: tuple[tuple[int, int], tuple[np.ndarray, np.ndarray]] | None = None
        self._lengths: dict[int, float] = {}

    def __getstate__(self) -> dict[str, Any]:
        """What a worker needs to make it anew: files by their paths, and neither the units nor what was computed."""
        state = {own.name: getattr(self, own.name) for own in fields(self) if own.init}
        plan = replace(self.plan, units=(), settings={})
        return state | {"prior": SentPrior.of(self.prior), "plan": plan}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value.opened() if isinstance(value, SentPrior) else value)
        self.__post_init__()

    @property
    def method(self) -> Method:
        """How members are drawn."""
        return self.settings.drawn

    def background(self, t0: int, t1: int) -> Background:
        """The prior bound to frames ``t0:t1``."""
        if self._bound is None or self._bound[0] != (t0, t1):
            made = binder(self.prior, self.target, self.settings)(t0, t1)
            self._bound = ((t0, t1), made)
        return self._bound[1]

    def work(self, unit: Unit, step: Callable[[int], None]) -> np.ndarray:
        """Members of one unit, physical, ``(m, t, C, H, W)``, as many at once as the memory holds."""
        # With a prior of windows the frames on either side have a say, and are computed along.
        t0, t1 = self.plan.reached(unit)
        transform: ToPhysical = self.prior.transform
        widening = self.widening(t0, t1)
        if widening is not None:
            transform = widening.transform.frames(unit.t0 - t0, unit.t1 - t0)
            self._found["widening"] = widening.note()
        problem = self.problem(t0, t1)
        parts = [
            sample_posterior(problem, self.noise(t0, t1, members), self.method, progress=step)[
                :, unit.t0 - t0 : unit.t1 - t0
            ]
            for members in self.plan.batches(unit)
        ]
        x = torch.cat(parts)
        if self.factor is not None:
            x = recalibrate_members(x, self.factor)
        return self.fields(x, transform)

    def problem(self, t0: int, t1: int) -> Problem:
        """The prior and the observations of frames ``t0:t1``; one problem serves all members."""
        if self._problem is None or self._problem[0] != (t0, t1):
            observed, widening = self.observed.segment(t0, t1), self.widening(t0, t1)
            seen = observed if widening is None else widening.applied(observed)
            self._problem = ((t0, t1), Problem(self.background(t0, t1), seen))
        return self._problem[1]

    def fields(self, x: torch.Tensor, transform: ToPhysical | None = None) -> np.ndarray:
        """Normalised members in physical units, clipped values counted, missing outside the domain."""
        physical, clipped = to_physical(x.cpu(), transform or self.prior.transform, self.prior.spec)
        self._found["clipped"] = clipped
        values = physical.numpy()
        if self.mask is not None:
            values[..., ~self.mask] = np.nan
        return values

    def noise(self, t0: int, t1: int, members: range) -> NoiseStream:
        """Streams of some members in frames ``t0:t1``."""
        return NoiseStream(self.settings.seed, members, self.identities[t0:t1], self.settings.device)

    def look(self) -> Scene:
        """What the prior knows of the scene; computed once, with a few evaluations of the network."""
        if self.scene is None:
            seen = looked_at(self.observed, self.prior.spec.window)
            self.scene = compare_scene(self.prior, self.target, seen, self.background)
        return self.scene

    def widening(self, t0: int, t1: int) -> Widening | None:
        """By how much the prior is widened in frames ``t0:t1``; ``None`` where that is not asked for or not needed."""
        if (
            self.settings.on_conflict != "widen"
            or not self.look().conflicts
            or not self.observed.segment(t0, t1).n
        ):
            return None
        if self._widened is None or self._widened[0] != (t0, t1):
            made = find_widening(
                self.observed.segment(t0, t1),
                self.background(t0, t1),
                self.prior.transform,
                noise=lambda members: self.noise(t0, t1, range(members)),
                periodic=self.target.grid.periodic,
            )
            self._widened = ((t0, t1), made)
        return self._widened[1]

    def note(self, unit: Unit) -> Note:
        """What was found while the last unit was computed."""
        found, self._found = self._found, {}
        return found

    def verdict(self, t0: int, t1: int) -> Residuals | None:
        """Judges members by the observations of frames ``t0:t1``."""
        observed = self.observed.segment(t0, t1) if self.observed.n else None
        return Residuals(observed, self.prior.spec) if observed is not None and observed.n else None

    def found(self, notes: Mapping[str, Note]) -> Note:
        """Attributes of the output that are known when it is complete: residuals, clipped values, widening."""
        return findings(notes.values(), self.prior.spec.names)

    def flags(self, channel: int, t0: int, t1: int) -> np.ndarray:
        """Provenance of one variable in frames ``t0:t1``, ``(t, H, W)``."""
        if self._touched is None or self._touched[0] != (t0, t1):
            self._touched = (t0, t1), self._touching(t0, t1)
        seen, touched = (hit[:, channel] for hit in self._touched[1])
        near = np.stack([within(frame, self._reach(channel), self.target.grid.periodic) for frame in touched])
        return provenance((t1 - t0, *self.target.grid.shape), seen, near, self.mask)

    def _touching(self, t0: int, t1: int) -> tuple[np.ndarray, np.ndarray]:
        """Cells of frames ``t0:t1`` that are observed directly, and those that any observation weighs."""
        observed, start = self.observed, 0
        if isinstance(observed, Record):
            observed, start = observed.around(*self.plan.reached(Unit(t0, t1, 0, 1)))
        return observed.cells(t0 - start, t1 - start)

    def _reach(self, channel: int) -> float:
        """Cells at which the prior's correlation falls to 1/e."""
        if channel not in self._lengths:
            frame = (1, len(self.prior.spec.variables), *self.target.grid.shape)
            V = error_covariance(self.prior).on(frame, periodic=self.target.grid.periodic)(1e9)
            self._lengths[channel] = correlation_length(V, channel)
        return self._lengths[channel]

    def attrs(self) -> dict[str, Any]:
        """What the result depends on, for the output's global attributes."""
        return {
            "title": "Fields reconstructed by skyweave",
            "source": f"skyweave {version('skyweave')}",
            "prior": self.name,
            **{
                f"prior_{k}": v if isinstance(v, str | int) else json.dumps(v)
                for k, v in self.prior.metadata.items()
                if k in ("train", "files", "steps")
            },
            "observations": str(self.observed.report),
            "method": json.dumps(self.method.to_dict(), default=str),
            "made_with": json.dumps(self.plan.settings, default=str),
            "seed": self.settings.seed,
            "on_conflict": self.settings.on_conflict,
            **({} if self.scene is None else {"scene": json.dumps(self.scene.to_dict())}),
            "recalibration_factor": 1.0 if self.factor is None else self.factor,
            **({} if self.estimates is None else {"source_estimates": json.dumps(self.estimates.to_dict())}),
            "extrapolated_means": "further from every observation of the variable than one correlation length "
            "(1/e) of the prior's background error covariance",
            "conflict_means": f"observed, and the ensemble mean is more than {LIMIT:g} stated errors from that",
        }


@dataclass(frozen=True)
class SentPrior:
    """A prior on its way to a worker: its file where it has one, which the worker opens itself, and whole otherwise."""

    path: str | None
    fingerprint: str
    whole: LearntPrior | None

    @classmethod
    def of(cls, prior: LearntPrior) -> SentPrior:
        """The prior as it is sent."""
        if prior.path is None or type(prior) is not LearntPrior:
            return cls(None, "", prior)
        path = Path(prior.path)
        return cls(str(path.absolute()) if path.exists() else prior.path, prior.fingerprint(), None)

    def opened(self) -> LearntPrior:
        """The prior.

        Raises:
            SkyweaveError: the file is not there, or another one is.
        """
        if self.whole is not None:
            return self.whole
        assert self.path is not None
        prior = open_prior(self.path)
        if prior.fingerprint() != self.fingerprint:
            raise SkyweaveError(
                f"{self.path}: is another prior on {socket.gethostname()} than where the run was begun; workers open "
                "the prior themselves, so that the same file must be there"
            )
        return prior


def binder(prior: LearntPrior, target: Target, settings: Settings) -> Callable[[int, int], Background]:
    """What binds the prior to frames ``t0:t1`` of the target."""

    def bound(t0: int, t1: int) -> Background:
        return bind(
            prior,
            target.grid,
            None if target.times is None else target.times[t0:t1],
            t1 - t0,
            tile=settings.tile,
            stride=settings.stride,
            autocast=settings.autocast,
            device=settings.device,
        )

    return bound
