"""What is left at the observations after a run, in units of their stated errors, and where it contradicts them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp

from skyweave.observe.assemble import SegmentObservations
from skyweave.state import StateSpec

__all__ = ["LIMIT", "Residuals", "findings", "merged", "residual_lines"]

LIMIT = 3.0
"""Stated errors from the ensemble mean at which an observation and the result disagree."""


class Residuals:
    r"""Departures of an ensemble's mean from the observations of one segment.

    .. math:: z_i = \frac{y_i - \overline{H(x)}_i}{\sqrt{R_{ii}}}

    Where the result fits the observations as well as they say they can be fitted, the mean square of ``z`` is at most
    one (``R - H A H^T`` over ``R``, with ``A`` the covariance of the analysis). Variables are added one after the
    other, so that one of them is in memory at a time; ``H`` is linear in the physical state.

    Args:
        observed: of the segment.
        spec: names and units of the variables.
    """

    def __init__(self, observed: SegmentObservations, spec: StateSpec) -> None:
        self.observed, self.spec = observed, spec
        self.predicted = np.zeros(observed.n)
        self.weights = sp.csc_array(observed.operator.matrix)

    def add(self, channel: int, members: np.ndarray) -> None:
        """The members of one variable, physical, ``(M, t, H, W)``."""
        T, C, H, W = self.observed.operator.shape
        mean = np.nan_to_num(members.mean(axis=0, dtype=np.float64))
        cells = np.arange(T * C * H * W).reshape(T, C, H, W)[:, channel].ravel()
        self.predicted += self.weights[:, cells] @ mean.ravel()

    @property
    def normalised(self) -> np.ndarray:
        """``z``, shape ``(n,)``."""
        return (self.observed.y.numpy() - self.predicted) / np.sqrt(self.observed.R.variance)

    def disagreeing(self) -> np.ndarray:
        """Cells of observations that the result misses by more than `LIMIT` stated errors, ``(t, C, H, W)``."""
        hit = np.zeros(self.observed.operator.shape, bool)
        rows = np.flatnonzero(np.abs(self.normalised) > LIMIT)
        if len(rows):
            hit.reshape(-1)[np.unique(self.observed.operator.matrix[rows].indices)] = True
        return hit

    def note(self) -> dict[str, Any]:
        """The sums, for the segment's mark."""
        return {"residuals": self.sums()}

    def sums(self) -> dict[str, list[float]]:
        """By source and variable: how many, sum and sum of squares of ``z``, how many beyond `LIMIT`."""
        z, out = self.normalised, {}
        for s, source in enumerate(self.observed.sources):
            for c, variable in enumerate(self.spec.variables):
                own = z[(self.observed.source == s) & (self.observed.channel == c)]
                if len(own):
                    beyond = float((np.abs(own) > LIMIT).sum())
                    key = f"{source.name}: {variable.name}"
                    out[key] = [float(len(own)), float(own.sum()), float((own**2).sum()), beyond]
        return out


def merged(parts: Iterable[Mapping[str, list[float]]]) -> dict[str, dict[str, Any]]:
    """Root mean square, mean and share beyond `LIMIT` over all segments, by source and variable."""
    total: dict[str, np.ndarray] = {}
    for part in parts:
        for key, numbers in part.items():
            total[key] = total.get(key, np.zeros(4)) + np.asarray(numbers)
    return {
        key: {
            "n": int(n),
            "mean": round(float(first / n), 4),
            "rms": round(math.sqrt(second / n), 4),
            f"beyond_{LIMIT:g}": round(float(beyond / n), 5),
        }
        for key, (n, first, second, beyond) in total.items()
    }


def findings(notes: Iterable[Mapping[str, Any]], names: Iterable[str]) -> dict[str, Any]:
    """What the notes of all units say together, as attributes: clipped values, residuals, widening."""
    told = list(notes)
    clipped = dict.fromkeys(names, 0)
    for note in told:
        for name, count in note.get("clipped", {}).items():
            clipped[name] += count
    out = {"clipped_values": json.dumps(clipped)}
    residuals = merged(note["residuals"] for note in told if "residuals" in note)
    if residuals:
        out["residuals"] = json.dumps(residuals)
    widened = [note["widening"] for note in told if "widening" in note]
    if widened:
        out["widening"] = json.dumps({k: max(float(w[k]) for w in widened) for k in widened[0]})
    return out


def residual_lines(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The residuals as lines of text."""
    return [
        f"  {key}: rms {one['rms']:.2f}, mean {one['mean']:+.2f}, {one[f'beyond_{LIMIT:g}']:.1%} of {one['n']} "
        f"further than {LIMIT:g}"
        for key, one in found.items()
    ]
