"""Scaling of the variables of both records, fitted on training days only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from skyweave.downscale.data.records import Frames, Record
from skyweave.errors import SkyweaveError
from skyweave.transform import TRANSFORMS, Log10Standardise, StateTransform, Transform

__all__ = ["Scaler"]

MOST_ZERO = 0.25
"""Share of training values without a logarithm, above which a floor must be asked for."""


@dataclass(frozen=True)
class Scaler:
    r"""Transforms of the variables of both records, each fitted on training days only.

    .. math:: z = (\log_{10} \max(x, f) - \mu) / s

    by default (section 2.4 of the downscaling paper). Its [0, 1] scale for a sigmoid output is a further linear
    step on the target, `skyweave.downscale.models.target_form.TargetForm` of kind "unit".

    Args:
        fine: of the ``C`` fine variables.
        coarse: of the ``Cc`` coarse variables.
        notes: how many training values a logarithm takes for its floor, where there are any.
    """

    fine: StateTransform
    coarse: StateTransform
    notes: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def fit(
        cls,
        record: Record,
        days: ArrayLike,
        kinds: str | Mapping[str, str] = "log10",
        floors: float | Mapping[str, float] | None = None,
        memory_bytes: float = 2e9,
    ) -> Scaler:
        """Fit on the cells of an area on training days; where these exceed the memory, on evenly chosen ones.

        Args:
            record: physical fields.
            days: indices of the training days.
            kinds: name of a transform for all variables, or by variable ("log10" where absent).
            floors: what a logarithm takes values at or below zero for, physical units, for all variables or by
                variable; by default the least positive training value, see `Log10Standardise.fit`.
            memory_bytes: most that is read at once.

        Raises:
            SkyweaveError: no training day, a variable that is empty or constant there, or has no positive value.
        """
        index = np.asarray(days, np.int64)
        if index.size == 0:
            raise SkyweaveError("no training day to fit the scaling on")

        notes: list[str] = []

        def fitted(frames: Frames, which: str) -> StateTransform:
            most = max(1, int(memory_bytes // frames.frame_bytes))
            chosen = index if len(index) <= most else index[np.linspace(0, len(index) - 1, most).astype(int)]
            values = frames.read(chosen)
            transforms = []
            for c, name in enumerate(frames.names):
                transforms.append(_fit_one(name, values[:, c], kinds, floors))
                given = floors is not None and (not isinstance(floors, Mapping) or name in floors)
                notes.extend(_floored(f"{name} of the {which} record", values[:, c], transforms[-1], given))
            return StateTransform(tuple(transforms))

        return cls(fitted(record.fine, "fine"), fitted(record.coarse, "coarse"), tuple(notes))

    def inverse(self, z: Tensor) -> Tensor:
        """Fine fields in physical units of scaled ones, ``(..., C, h, w)``."""
        return self.fine.inverse(z)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, for JSON."""
        return {"fine": self.fine.to_dict(), "coarse": self.coarse.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Scaler:
        """The scaler that `to_dict` described."""
        return cls(StateTransform.from_dict(values["fine"]), StateTransform.from_dict(values["coarse"]))


def _fit_one(
    name: str,
    values: NDArray[np.float32],
    kinds: str | Mapping[str, str],
    floors: float | Mapping[str, float] | None,
) -> Transform:
    kind = kinds if isinstance(kinds, str) else kinds.get(name, "log10")
    floor = floors.get(name) if isinstance(floors, Mapping) else floors
    options = {"floor": float(floor)} if kind == "log10" and floor is not None else {}
    try:
        return TRANSFORMS[kind].fit(values, **options)
    except SkyweaveError as error:
        raise SkyweaveError(f"{name}, on the {len(values)} training days: {error}") from error


def _floored(name: str, values: NDArray[np.float32], transform: Transform, given: bool) -> list[str]:
    """What a logarithm does to values below its floor, if there are any; refused where the floor is not given and most
    values are."""
    if not isinstance(transform, Log10Standardise):
        return []
    known = int(np.isfinite(values).sum())
    below, zero = int((values < np.float32(transform.floor)).sum()), int((values <= 0).sum())
    if not below:
        return []
    if zero > MOST_ZERO * known and not given:
        raise SkyweaveError(
            f"{name}: {zero} of {known} training values ({zero / known:.0%}) are zero or less, and its transform is "
            "log10; set `transform` to standardise for it, or a `floor` that these values stand for"
        )
    return [
        f"{name}: {below} of {known} training values ({below / known:.1%}) are below {transform.floor:.3g}, {zero} of "
        "them zero or less; the logarithm takes them for that (floor)"
    ]
