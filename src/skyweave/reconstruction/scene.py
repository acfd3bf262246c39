"""Whether a prior can know a scene: place, season, values and innovations against what it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import chi2

from skyweave.observe.assemble import ObservationSet
from skyweave.posterior.preconditioner import row_positions
from skyweave.prior.knowledge import Knowledge, months_and_hours
from skyweave.prior.storage import LearntPrior
from skyweave.reconstruction.output_grid import Target
from skyweave.sources.innovations import (
    BackgroundOf,
    Innovations,
    choose_stretches,
    climatological_innovations,
    groups_of,
)

__all__ = ["ON_CONFLICT", "Conflict", "Scene", "compare_scene", "predictive_test"]

ON_CONFLICT = ("warn", "refuse", "widen")
"""What can be done where a prior cannot know a scene."""

TAIL = 0.01
"""Share of observations beyond the 0.1 % or 99.9 % quantile of the training data at which they are a conflict."""
FEW = 3
"""Observations beyond a tail that are a conflict at least."""
FAR_HOURS = 3
"""Hours by which a time of the day may differ from all that a prior was trained on."""
RATIO = 3.0
"""Chi-square of innovations, by their number, above which they are a conflict where validation data say nothing."""
MARGIN, LIVELY = 1.5, 2.0
"""By how much they may exceed what validation data gave, and a part of the domain the limit of the whole."""
STRETCHES = 6
LARGEST = 400
"""Times looked at, and observations of each whose innovations are judged together."""
REGIONS, WORST = 3, 3
"""Parts of the domain in either direction whose innovations are judged apart, and how many are told."""


@dataclass(frozen=True)
class Conflict:
    """One thing in which a scene is not what its prior knows.

    Args:
        kind: "domain", "season", "hour", "values" or "innovations".
        text: what was found beside what is known, in a line.
    """

    kind: str
    text: str


@dataclass(frozen=True)
class Scene:
    """What was compared, and in what prior and scene disagree; prints as a table.

    Args:
        compared: kind and finding of every comparison that found no conflict.
        conflicts: those that did.
    """

    compared: tuple[tuple[str, str], ...]
    conflicts: tuple[Conflict, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain text, for JSON."""
        return {
            "compared": [list(pair) for pair in self.compared],
            "conflicts": [[c.kind, c.text] for c in self.conflicts],
        }

    def told(self) -> str:
        """The conflicts alone, a line each."""
        return "\n".join(f"  {c.kind:<12}{c.text}" for c in self.conflicts)

    def __str__(self) -> str:
        lines = ["scene         what the prior was trained on, and what is asked of it"]
        lines += [f"  {kind:<12}{text}" for kind, text in self.compared]
        lines += [f"  {c.kind:<12}CONFLICT: {c.text}" for c in self.conflicts]
        if self.conflicts:
            lines.append(
                "  The prior may not know this scene: on_conflict (--on-conflict) 'widen' gives it more spread where "
                "the observations ask for it, 'refuse' stops; or train one on data of such scenes (docs/priors.md)"
            )
        return "\n".join(lines)


def compare_scene(
    prior: LearntPrior, target: Target, observed: ObservationSet, background_of: BackgroundOf | None
) -> Scene:
    """Compare target and observations with what a prior was trained on, and with what it predicts of them.

    Args:
        prior: with its card; one without is judged by its innovations alone.
        target: grid and times asked for.
        observed: what was observed; may be empty.
        background_of: binds the prior to frames; ``None`` leaves the innovations out, which take four evaluations of
            the network at each of at most six times.
    """
    knowledge = prior.knowledge
    compared: list[tuple[str, str]] = []
    conflicts: list[Conflict] = []
    findings: list[tuple[str, str, bool]] = []
    if knowledge is None:
        compared.append(
            ("card", "none: this prior does not say what it was trained on; `skyweave calibrate` adds it")
        )
    else:
        findings += [_place(knowledge, target), *_times(knowledge, target)]
        findings += _values(knowledge, target, observed)
    if background_of is not None and observed.n:
        findings += predictive_test(observed, target, background_of, prior.spec.window, knowledge)
    for kind, text, conflict in findings:
        if conflict:
            conflicts.append(Conflict(kind, text))
        else:
            compared.append((kind, text))
    return Scene(tuple(compared), tuple(conflicts))


def _place(knowledge: Knowledge, target: Target) -> tuple[str, str, bool]:
    inside = knowledge.inside(*target.grid.mesh(), margin=0.5 * max(target.grid.resolution))
    known = dict(knowledge.lines())["domain"]
    if inside.all():
        return "domain", f"within {known}", False
    share = 1 - float(inside.mean())
    return "domain", f"{share:.0%} of the cells asked for lie outside the prior's, {known}", share > TAIL


def _times(knowledge: Knowledge, target: Target) -> list[tuple[str, str, bool]]:
    if target.times is None or not knowledge.months:
        return []
    found = months_and_hours(target.times)
    if found is None:
        return []
    months, hours = found
    out = []
    apart = {int(m): min(_around(m, k, 12) for k in knowledge.months) for m in np.unique(months)}
    strange = [m for m, distance in apart.items() if distance > 0]
    trained = _listed(knowledge.months)
    if strange:
        far = any(apart[m] > 1 for m in strange)
        out.append(("season", f"month {_listed(strange)}; the prior was trained on month {trained}", far))
    else:
        out.append(("season", f"month {_listed(apart)}, as in training", False))
    if knowledge.hours:
        away = {int(h): min(_around(h, k, 24) for k in knowledge.hours) for h in np.unique(hours)}
        late = [h for h, distance in away.items() if distance > FAR_HOURS]
        if late:
            text = f"{_listed(late)} UTC; the prior was trained on {_listed(knowledge.hours)} UTC"
            out.append(("hour", text, True))
    return out


def _around(a: int, b: int, circle: int) -> int:
    return min((a - b) % circle, (b - a) % circle)


def _listed(numbers: Any) -> str:
    ordered = sorted(int(n) for n in numbers)
    if len(ordered) > 4 and ordered[-1] - ordered[0] == len(ordered) - 1:
        return f"{ordered[0]} to {ordered[-1]}"
    return ", ".join(map(str, ordered))


def _values(knowledge: Knowledge, target: Target, observed: ObservationSet) -> list[tuple[str, str, bool]]:
    """Observations beyond the tails of the training data by more than twice their errors, by source and variable."""
    out = []
    place = row_positions(observed.operator.matrix, observed.operator.shape) if observed.n else None
    for group, number in _by_group(observed):
        known = knowledge.values.get(group.variable)
        if known is None or place is None:
            continue
        rows = np.flatnonzero(number)
        value, error = observed.value[rows], np.sqrt(observed.R.variance[rows])
        low, high = known.quantile(0.001), known.quantile(0.999)
        # In single precision a value that is the bound is not beyond it.
        slack = 2 * error + 1e-6 * max(abs(low), abs(high))
        beyond = (value > high + slack) | (value < low - slack)
        unseen = (value > known.maximum + slack) | (value < known.minimum - slack)
        what = f"{group.name}: {group.variable}"
        spread = f"{value.min():.4g} to {value.max():.4g} {group.units}".removesuffix(" 1")
        trained = f"99.8 % of the training data within {low:.4g} to {high:.4g}"
        if not beyond.any():
            out.append(("values", f"{what} {spread}; {trained}", False))
            continue
        where = _where(target, place[rows], beyond)
        text = (
            f"{what}: {int(beyond.sum())} of {len(rows)} ({beyond.mean():.1%}) in the tail, {int(unseen.sum())} "
            f"beyond all that the prior has seen ({known.minimum:.4g} to {known.maximum:.4g}); they are {spread}, "
            f"{trained}{where}"
        )
        out.append(("values", text, bool(beyond.sum() >= FEW and beyond.mean() > TAIL)))
    return out


def _by_group(observed: ObservationSet) -> list[tuple[Any, np.ndarray]]:
    groups, number = groups_of(observed)
    return [(group, number == k) for k, group in enumerate(groups)]


def _where(target: Target, place: np.ndarray, beyond: np.ndarray) -> str:
    """The box that holds the middle four fifths of some rows, and their share of all that lie in it."""
    grid = target.grid
    i, j = place[:, 0], place[:, 1]
    low_i, high_i = np.quantile(i[beyond], [0.1, 0.9], method="nearest")
    low_j, high_j = np.quantile(j[beyond], [0.1, 0.9], method="nearest")
    inside = (i >= low_i) & (i <= high_i) & (j >= low_j) & (j <= high_j)
    lat = sorted((float(grid.lat[low_i]), float(grid.lat[high_i])))
    lon = float(grid.lon[low_j]), float(grid.lon[high_j])
    share = float(beyond[inside].mean())
    return f"; mostly at {lat[0]:.4g} to {lat[1]:.4g} N, {lon[0]:.4g} to {lon[1]:.4g} E ({share:.0%} of those there)"


def predictive_test(
    observed: ObservationSet,
    target: Target,
    background_of: BackgroundOf,
    window: int,
    knowledge: Knowledge | None = None,
) -> list[tuple[str, str, bool]]:
    r"""Chi-square of innovations under what the prior predicts of the observations: overall, by source, by region.

    .. math:: d = y - H(x_b), \qquad \chi^2 / n = d^T (H V H^T + R)^{-1} d \,/\, n,

    one in expectation where the prior describes the scene. Fields are not Gaussian, so that a conflict is what exceeds
    what the prior's own validation data gave (or 3, where that is more), without the observation that adds most, and
    what chance allows at one in a thousand.

    Args:
        observed: all observations.
        target: their grid.
        background_of: binds the prior to frames.
        window: frames of the prior's window.
        knowledge: the prior's card.

    Reference: Box (1980), doi 10.2307/2982063 (prior predictive checks); Talagrand (1999), A posteriori verification
    of analysis and assimilation algorithms, ECMWF workshop on diagnosis of data assimilation systems (chi-square).
    """
    groups, number = groups_of(observed)
    stretches = choose_stretches(observed, number, window, STRETCHES, LARGEST)
    found = climatological_innovations(
        observed, number, background_of, stretches, compact=False, largest=LARGEST
    )
    if not found:
        return []
    place = row_positions(observed.operator.matrix, observed.operator.shape)
    limit = ratio_limit(knowledge)
    out = [_judged("overall", _parts([(one, np.arange(one.n)) for one in found]), limit)]
    if len(groups) > 1:
        for g, group in enumerate(groups):
            parts = _parts([(one, np.flatnonzero(one.group == g)) for one in found])
            if len(parts):
                out.append(_judged(f"{group.name} ({group.variable})", parts, limit))
    return out + _by_region(found, place, target, limit)


def ratio_limit(knowledge: Knowledge | None) -> float:
    """Chi-square by number above which innovations are a conflict."""
    known = [high for _, high, _ in knowledge.innovations.values()] if knowledge is not None else []
    return max(RATIO, MARGIN * max(known)) if known else RATIO


def chi_square(one: Innovations, rows: np.ndarray) -> np.ndarray:
    """``d^T (H V H^T + R)^-1 d`` of some rows, as what each adds to it, shape ``(n,)``."""
    S = (one.background + one.error)[np.ix_(rows, rows)]
    S[np.diag_indices(len(rows))] *= 1 + 1e-7
    return np.asarray(one.d[rows] * np.linalg.solve(S, one.d[rows]))


def _parts(found: Sequence[tuple[Innovations, np.ndarray]]) -> np.ndarray:
    """What every row of several stretches adds to chi-square."""
    each = [chi_square(one, rows) for one, rows in found if len(rows)]
    return np.concatenate(each) if each else np.zeros(0)


def _judged(name: str, parts: np.ndarray, limit: float) -> tuple[str, str, bool]:
    count = len(parts)
    ratio = float(parts.sum()) / count
    # One report that is wrong is no scene: the others must say the same without it.
    rest = (parts.sum() - parts.max()) / max(count - 1, 1)
    text = f"{name}: chi-square / n {ratio:.2f} of {count} (a conflict above {limit:.2f})"
    return "innovations", text, bool(rest > limit and chi2.sf(parts.sum(), count) < 1e-3)


def _by_region(
    found: Sequence[Innovations], place: np.ndarray, target: Target, limit: float
) -> list[tuple[str, str, bool]]:
    """The parts of the domain whose innovations are a conflict, the worst first and at most `WORST`."""
    height, width = target.grid.shape
    rows = np.minimum(place[:, 0] * REGIONS // height, REGIONS - 1)
    columns = np.minimum(place[:, 1] * REGIONS // width, REGIONS - 1)
    out: list[tuple[float, tuple[str, str, bool]]] = []
    for r in range(REGIONS):
        for c in range(REGIONS):
            here = [(o, np.flatnonzero((rows[o.rows] == r) & (columns[o.rows] == c))) for o in found]
            parts = _parts(here)
            if not len(parts):
                continue
            i = [-(-k * height // REGIONS) for k in (r, r + 1)]
            j = [-(-k * width // REGIONS) for k in (c, c + 1)]
            lat = np.sort(target.grid.lat[[i[0], i[1] - 1]]) if i[1] > i[0] else target.grid.lat[:1]
            lon = target.grid.lon[[j[0], j[1] - 1]] if j[1] > j[0] else target.grid.lon[:1]
            name = f"{lat[0]:.4g} to {lat[-1]:.4g} N, {lon[0]:.4g} to {lon[-1]:.4g} E"
            judged = _judged(name, parts, LIVELY * limit)
            if judged[2]:
                out.append((float(parts.mean()), judged))
    worst = [finding for _, finding in sorted(out, key=lambda pair: -pair[0])[:WORST]]
    if len(out) > WORST:
        worst.append(("innovations", f"and in {len(out) - WORST} more parts of the domain", True))
    return worst
