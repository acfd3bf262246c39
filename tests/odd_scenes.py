"""Odd scenes: what a prior is asked for that it never saw; see `odd_cases`."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

import skyweave
from odd_cases import Refused, odd
from scene_cases import CARD, MEAN, STD, place, seen_at, white_prior
from skyweave.observe.observation import GridObservation


def conflicts(like, seen, card=CARD, error: float = 0.5) -> tuple[str, ...]:
    """Kinds of conflict, each once."""
    scene = skyweave.scene(white_prior(card), GridObservation(seen, error=error), like=like)
    return tuple(sorted({conflict.kind for conflict in scene.conflicts}))


def flags(like, seen, on_conflict: str = "warn") -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = skyweave.reconstruct(
            white_prior(), GridObservation(seen, error=1.0), like=like, members=4, progress=False,
            on_conflict=on_conflict,
        )  # fmt: skip
    return out.a_provenance.values


@odd("scene", "like the training data", right=())
def _(folder: Path):
    like = place()
    return conflicts(like, seen_at(like))


@odd("scene", "Africa, with a prior of Europe", right=("domain",))
def _(folder: Path):
    like = place(lat=np.arange(-10.0, 6.0))
    return conflicts(like, seen_at(like))


@odd("scene", "the other side of the date line, longitudes in another convention", right=())
def _(folder: Path):
    like = place(lon=np.arange(172.0, 190.0))
    return conflicts(like, seen_at(like), replace(CARD, lon=(-190.0, -168.0)))


@odd("scene", "July, with a prior of January and February", right=("season",))
def _(folder: Path):
    like = place(start="2020-07-10")
    return conflicts(like, seen_at(like))


@odd("scene", "December, with a prior of January: the neighbour across the year", right=())
def _(folder: Path):
    like = place(start="2020-12-10")
    return conflicts(like, seen_at(like))


@odd("scene", "midnight, with a prior of noon", right=("hour",))
def _(folder: Path):
    like = place()
    return conflicts(like, seen_at(like), replace(CARD, hours={11: 0.5, 12: 0.5}))


@odd("scene", "a plume of twelve cells, far above all that was trained on", right=("innovations", "values"))
def _(folder: Path):
    like = place()
    seen = seen_at(like, share=1.0)
    seen[0, 4:7, 4:8] = 30.0
    return conflicts(like, seen)


@odd("scene", "twice the variance of the training data, hardly a value in the tail", right=("innovations",))
def _(folder: Path):
    like = place()
    seen = seen_at(like, share=1.0)
    # Two signs of one size: 2.2 deviations, none of them beyond a quantile of 99.9 %.
    seen[0] = MEAN + 2.2 * STD * np.sign(seen[0].values - MEAN)
    return conflicts(like, seen)


@odd("scene", "one stuck sensor among 288 cells", right=())
def _(folder: Path):
    like = place()
    seen = seen_at(like, share=1.0)
    seen[0, 5, 5] = 26.0
    return conflicts(like, seen)


@odd("scene", "a value that is the tail's own bound in single precision", right=())
def _(folder: Path):
    like = place()
    seen = seen_at(like, share=1.0)
    high = CARD.values["a"].quantile(0.999)
    seen[0, 5, 5:9] = np.float32(high) + np.spacing(np.float32(high))
    return conflicts(like, seen, error=1e-3)


@odd(
    "scene", "an odd scene where it shall be refused", right=Refused("may not know this scene", "in the tail")
)
def _(folder: Path):
    like = place()
    return flags(like, seen_at(like, 6 * STD), "refuse")


@odd("scene", "a cell that its prior contradicts", right=[4])
def _(folder: Path):
    like = place()
    seen = seen_at(like, share=1.0)
    seen[0, 5, 5] = MEAN + 30 * STD
    found = flags(like, seen)
    # The gain of a unit error is 4 / 5: a fifth of 60 K is left, twelve stated errors.
    return np.unique(found[found != 1]).tolist()


@odd("scene", "the same cell where the prior is widened: it is believed", right=0)
def _(folder: Path):
    like = place()
    seen = seen_at(like, share=1.0)
    seen[0, 4:8, 4:8] = MEAN + 30 * STD
    return int((flags(like, seen, "widen") == 4).sum())
