"""What innovations say of the sources, without truth: errors, weights and biases; and their use."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.keywords import values_of
from skyweave.observe.assemble import ObservationSet, is_called
from skyweave.observe.observation import Observation
from skyweave.observe.report import Report
from skyweave.options import checked_options
from skyweave.sources.bias import Bias, estimate_bias
from skyweave.sources.errors import UNCERTAIN, ErrorEstimates, desroziers, maximum_likelihood
from skyweave.sources.innovations import (
    BackgroundOf,
    Group,
    choose_stretches,
    climatological_innovations,
    groups_of,
)
from skyweave.sources.leave_out import leave_out

__all__ = [
    "ESTIMATORS",
    "Estimation",
    "SourceEstimates",
    "adjust",
    "adjusted",
    "estimate_sources",
    "estimation",
]

ESTIMATORS = ("leave-out", "likelihood", "desroziers")


@dataclass(frozen=True)
class Estimation:
    """How errors and biases are estimated from innovations.

    Args:
        method: of the errors. "leave-out": predictions of left-out observations by the sampler
            (`skyweave.sources.leave_out`); "likelihood" and "desroziers": innovations against the prior's
            climatology alone (`skyweave.sources.errors`), which take seconds.
        times: stretches of time that are used, at most, spread over the record.
        enough: observations of a group after which it needs no further stretch for its error.
        leave, folds, members, steps, iterations: of "leave-out".
        trust: factor within which stated errors are believed before any innovation is seen.

    Raises:
        SkyweaveError: an unknown name, or a number out of range.
    """

    method: str = "leave-out"
    times: int = 24
    enough: int = 2000
    leave: str = "rows"
    folds: int = 4
    members: int = 16
    steps: int = 8
    iterations: int = 3
    trust: float = 3.0

    def __post_init__(self) -> None:
        for what, name, known in (
            ("method", self.method, ESTIMATORS),
            ("leave", self.leave, ("rows", "sources")),
        ):
            if name not in known:
                raise SkyweaveError(
                    f"innovations: no {what} {name!r}{did_you_mean(str(name), known)}; there are {', '.join(known)}"
                )
        least = {"times": 1, "enough": 1, "folds": 2, "members": 4, "steps": 4, "iterations": 1}
        given = values_of(self)
        for key, low in least.items():
            if not given[key] >= low:
                raise SkyweaveError(f"innovations: {key} = {given[key]}, at least {low} is needed")
        if not self.trust > 1:
            raise SkyweaveError(f"innovations: trust = {self.trust}, a factor above 1 is needed")


@dataclass(frozen=True)
class SourceEstimates:
    """What innovations say of each group, and what of it was used.

    Args:
        groups: source and variable of each.
        method: of the errors; empty where only biases were estimated.
        errors: factors of the stated errors, or ``None``.
        biases: by number of the group.
        weighted: whether errors were rescaled, those of usable estimates.
        removed: groups whose bias was taken off.
        anchored: whether biases are against other sources; against the prior's climatology otherwise.
    """

    groups: Sequence[Group]
    method: str = ""
    errors: ErrorEstimates | None = None
    biases: Mapping[int, Bias] = field(default_factory=dict)
    weighted: bool = False
    removed: frozenset[int] = frozenset()
    anchored: bool = False

    def factor(self, g: int) -> float:
        """Estimated over stated standard deviation, four digits: what is stored is what is used."""
        return 1.0 if self.errors is None else float(f"{math.exp(self.errors.log_factor[g]):.4g}")

    def weight(self, g: int) -> float:
        """``lambda = R_stated / R_estimated``, by which the error variance is divided."""
        return self.factor(g) ** -2

    def usable(self, g: int) -> bool:
        """Whether the estimated error is known well enough to be used."""
        return self.errors is not None and bool(self.errors.usable[g])

    def rows(self) -> list[dict[str, Any]]:
        """A row of a table for each group."""
        out = []
        for g, group in enumerate(self.groups):
            row: dict[str, Any] = {"source": group.name, "variable": group.variable, "units": group.units}
            row |= {"rows": group.rows, "stated error": group.stated}
            if self.errors is not None:
                row["estimated error"] = group.stated * self.factor(g)
                row["+- %"] = 100 * float(self.errors.standard_error[g])
                row["usable"] = "yes" if self.usable(g) else "no"
                row["weight"] = self.weight(g)
                row["z2 stated"], row["z2 estimated"] = (
                    float(self.errors.before[g]),
                    float(self.errors.after[g]),
                )
            if self.biases:
                bias = self.biases.get(g)
                row["bias"], row["+-"] = (math.nan, math.nan) if bias is None else (bias.value, bias.error)
                row["significant"] = "" if bias is None else ("yes" if bias.significant else "no")
            out.append(row)
        return out

    def to_dict(self) -> list[dict[str, Any]]:
        """Plain numbers and strings for the output's attributes; what was used is marked."""
        out = []
        for g, row in enumerate(self.rows()):
            one = {key.replace(" ", "_"): value for key, value in row.items() if value == value}
            one |= {
                "weight_used": self.weighted and self.usable(g),
                "bias_removed": g in self.removed,
            }
            bias = self.biases.get(g)
            if bias is not None and bias.slopes:
                one["slopes"] = {k: list(v) for k, v in bias.slopes.items()}
            if self.errors is not None:
                one["method"] = self.method
            out.append(one)
        return out

    def __str__(self) -> str:
        """A line for each source and variable."""
        width = max(len(g.name) for g in self.groups)
        lines = ["from innovations:"]
        for k in sorted({g.source for g in self.groups}):
            name = next(g.name for g in self.groups if g.source == k)
            lines += [f"  {name.ljust(width)}  {note}" for note in self.notes(k)]
        return "\n".join(lines)

    def explanation(self) -> str:
        """What the columns of the table are."""
        lines = []
        if self.errors is not None:
            lines += [
                f"errors by {self.method}; weight = (stated / estimated error)^2; z2: mean square of standardised "
                "innovations, one where errors are right"
            ]
            if not self.errors.usable.all():
                lines.append(
                    f"usable no: the estimate is uncertain by more than {100 * UNCERTAIN:g} %, too much to be used; "
                    "weights: innovations keeps the stated error there"
                )
        if self.biases:
            against = (
                "the other sources" if self.anchored else "the prior's climatology (name anchors for others)"
            )
            lines.append(f"biases against {against}; significant at 95 %")
            lines += [
                f"  {self.groups[g].name}, {self.groups[g].variable}: {bias} {self.groups[g].units}"
                for g, bias in self.biases.items()
                if bias.slopes
            ]
        return "\n".join(lines)

    def notes(self, source: int) -> list[str]:
        """Lines for the report of one source."""
        out = []
        for g, group in enumerate(self.groups):
            if group.source != source:
                continue
            if self.weighted and self.errors is not None and not self.usable(g):
                about = f"+- {100 * self.errors.standard_error[g]:.0f} %"
                out.append(
                    f"error of {group.variable} from innovations ({self.method}): "
                    f"{group.stated * self.factor(g):.3g} {group.units} {about}, too uncertain; the stated "
                    f"{group.stated:.3g} {group.units} is kept"
                )
            elif self.weighted:
                out.append(
                    f"weight of {group.variable} from innovations ({self.method}): {self.weight(g):.3g}, "
                    f"error {group.stated * self.factor(g):.3g} instead of {group.stated:.3g} {group.units}"
                )
            if g in self.biases:
                done = "removed" if g in self.removed else "left"
                against = "the other sources" if self.anchored else "the prior's climatology"
                out.append(
                    f"bias of {group.variable} against {against}: {self.biases[g]} {group.units}, {done}"
                )
        return out


def estimate_sources(
    observed: ObservationSet,
    background_of: BackgroundOf,
    *,
    window: int = 1,
    errors: bool = True,
    biases: Mapping[int, Sequence[str]] | None = None,
    removable: Collection[int] | None = None,
    anchor: Sequence[str] | None = None,
    how: Estimation | None = None,
    seed: int = 0,
    identities: Sequence[int] | None = None,
    batch: int | None = None,
    device: str = "cpu",
) -> SourceEstimates:
    """Errors and biases of all groups from innovations alone.

    Args:
        observed: all observations, with stated errors.
        background_of: the prior bound to frames ``t0:t1``.
        window: frames of the prior's window.
        errors: estimate them.
        biases: sources whose bias is wanted, by number, with the names of predictors.
        removable: sources whose bias, where it is significant, is taken off before errors are estimated; by default
            all whose bias is wanted.
        anchor: sources that are held to have no bias; by default all whose bias is not wanted.
        how: see `Estimation`.
        seed, identities, batch, device: as in `skyweave.sources.leave_out.leave_out`.

    Raises:
        SkyweaveError: an anchor that is no source, or whose own bias is wanted.
    """
    how = how or Estimation()
    groups, number = groups_of(observed)
    asked = dict(biases or {})
    wanted, requested = _wanted(groups, asked, anchor, [s.name for s in observed.sources])
    found: dict[int, Bias] = {}
    free = asked if removable is None else removable
    requested_free = {g for g in requested if groups[g].source in free}
    blocks, removed = [], frozenset[int]()
    numbers = range(len(groups))
    if wanted:
        everything = choose_stretches(observed, number, window, how.times, observed.n)
        blocks = climatological_innovations(observed, number, background_of, everything, compact=False)
        found = estimate_bias(blocks, numbers, wanted, observed.predictors)
        removed = frozenset(g for g in requested_free if g in found and found[g].significant)
    estimates = None
    if errors:
        clean = replace(observed, value=observed.value - _bias(observed, number, found, removed))
        stretches = choose_stretches(observed, number, window, how.times, how.enough)
        if how.method == "leave-out":
            estimates = leave_out(
                clean, number, len(groups), background_of, stretches, folds=how.folds, leave=how.leave,
                members=how.members, steps=how.steps, iterations=how.iterations, trust=how.trust, seed=seed + 1,
                identities=identities, batch=batch, device=device,
            )  # fmt: skip
        else:
            small = climatological_innovations(clean, number, background_of, stretches, compact=True)
            estimates = (
                maximum_likelihood(small, len(groups), trust=how.trust)
                if how.method == "likelihood"
                else desroziers(small, len(groups))
            )
        if wanted:
            found = estimate_bias(blocks, numbers, wanted, observed.predictors, estimates.used)
            removed = frozenset(g for g in requested_free if g in found and found[g].significant)
    # Groups that were estimated only to free the others of them are no one's concern.
    kept = {g: bias for g, bias in found.items() if g in requested}
    anchored = len({g for g in numbers if g not in wanted}) > 0
    return SourceEstimates(groups, how.method if errors else "", estimates, kept, False, removed, anchored)


def _wanted(
    groups: Sequence[Group],
    asked: Mapping[int, Sequence[str]],
    anchor: Sequence[str] | None,
    names: Sequence[str],
) -> tuple[dict[int, Sequence[str]], set[int]]:
    """Groups whose bias is a parameter, with predictors, and those of them that the caller asked for."""
    if not asked:
        return {}, set()
    anchors: set[int] = set()
    for name in anchor or ():
        own = {k for k, n in enumerate(names) if is_called(name, n)}
        if not own:
            raise SkyweaveError(
                f"anchor: there is no source {name!r}{did_you_mean(name, list(names))}; there are {', '.join(names)}"
            )
        if own & set(asked):
            raise SkyweaveError(f"anchor: the bias of source {name!r} is to be estimated; an anchor has none")
        anchors |= own
    requested = {g for g, group in enumerate(groups) if group.source in asked}
    free = {
        g for g, group in enumerate(groups) if anchor and group.source not in anchors and g not in requested
    }
    return {g: asked.get(groups[g].source, ()) for g in sorted(requested | free)}, requested


def estimation(options: Mapping[str, Any] | None) -> Estimation:
    """How to estimate, from options by name.

    Raises:
        SkyweaveError: an option is unknown or out of range.
    """
    return Estimation(**checked_options(Estimation, options or {}, "innovations"))


def adjusted(
    observed: ObservationSet,
    given: Sequence[Observation],
    background_of: BackgroundOf,
    *,
    weights: bool,
    anchor: Sequence[str] | None,
    how: Estimation,
    window: int,
    seed: int,
    identities: Sequence[int],
    batch: int,
    device: str,
) -> tuple[ObservationSet, SourceEstimates | None]:
    """Observations with what their sources ask for (``bias="estimate"``), and with weights where these are wanted.

    Args:
        given: sources, in the order in which they were assembled.
        weights: whether errors are wanted.
        anchor, how, window, seed, identities, batch, device: as in `estimate_sources`.
    """
    asked = {k: o.bias_predictors for k, o in enumerate(given) if o.bias == "estimate"}
    if not weights and not asked:
        return observed, None
    found = estimate_sources(
        observed,
        background_of,
        window=window,
        errors=weights,
        biases=asked,
        anchor=anchor,
        how=how,
        seed=seed,
        identities=identities,
        batch=batch,
        device=device,
    )
    return adjust(observed, found, weights=weights)


def _bias(
    observed: ObservationSet, number: np.ndarray, biases: Mapping[int, Bias], removed: frozenset[int]
) -> np.ndarray:
    out = np.zeros(observed.n)
    for g in removed:
        rows = np.flatnonzero(number == g)
        out[rows] = biases[g].at(observed.predictors, rows)
    return out


def adjust(
    observed: ObservationSet, estimates: SourceEstimates, *, weights: bool
) -> tuple[ObservationSet, SourceEstimates]:
    """Observations without the biases found, and with the errors found where ``weights`` says so; and what was used.

    Weights divide error covariances exactly: ``R / lambda``, correlations kept. A group whose estimate is too
    uncertain keeps its stated error.
    """
    _, number = groups_of(observed)
    used = replace(estimates, weighted=weights and estimates.errors is not None)
    value = observed.value - _bias(observed, number, estimates.biases, estimates.removed)
    R, weight = observed.R, observed.weight
    if used.weighted:
        by_group = [used.weight(g) if used.usable(g) else 1.0 for g in range(len(used.groups))]
        by_row = np.array(by_group)[number]
        R, weight = R.scaled(1 / by_row), (weight if len(weight) else 1.0) * by_row
    report = Report(
        tuple(
            replace(source, notes=(*source.notes, *used.notes(k)))
            for k, source in enumerate(observed.report.sources)
        )
    )
    return replace(observed, value=value, R=R, weight=weight, report=report), used
