"""Scores of a reconstruction against the truth, and whether it diverged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr

from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.grid import Grid
from skyweave.state import time_dim
from skyweave.verify import coverage, crps, rmse, spread_skill_ratio

__all__ = ["DIVERGED", "Card", "score_fields", "truth_like"]

DIVERGED = 3.0
"""Climatological standard deviations of error beyond which a member has diverged."""


@dataclass(frozen=True)
class Card:
    """Scores of one reconstruction.

    Args:
        variables: by variable ``rmse`` (of the mean) and ``crps`` (fair) in its units, ``ssr`` and ``coverage90``.
        overall: the same, averaged over variables, ``rmse`` and ``crps`` over climatological standard deviations.
        diverged: share of members, over all times, with a value that is not finite or an RMSE beyond `DIVERGED`.
    """

    variables: Mapping[str, Mapping[str, float]]
    overall: Mapping[str, float]
    diverged: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; what does not exist is left out."""
        parts = {name: _finite(card) for name, card in self.variables.items()}
        return {"variables": parts, "overall": _finite(self.overall), "diverged": self.diverged}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Card:
        return cls(values["variables"], values["overall"], float(values["diverged"]))


def _finite(card: Mapping[str, float]) -> dict[str, float]:
    return {key: value for key, value in card.items() if math.isfinite(value)}


def score_fields(fields: xr.Dataset, truth: xr.Dataset, deviation: Mapping[str, float]) -> Card:
    """Scores over all cells, weighted by area, and times.

    Args:
        fields: output of `skyweave.reconstruct`, members along ``member``.
        truth: as `truth_like` makes it.
        deviation: climatological standard deviation of each variable to be scored, in its units.
    """
    grid = Grid.from_dataset(truth)
    area = torch.as_tensor(np.asarray(grid.area))
    cards: dict[str, dict[str, float]] = {}
    bad: np.ndarray | bool = False
    for name, scale in deviation.items():
        x, y = torch.from_numpy(fields[name].values), torch.from_numpy(truth[name].values)
        seen = y.isfinite()
        error = ((x.double() - y) ** 2).where(seen, 0.0) * area
        each = (error.sum((-2, -1)) / (seen * area).sum((-2, -1))).sqrt()  # (member, time)
        bad = bad | ~(each < DIVERGED * scale).numpy()
        where = {"weights": area, "where": seen}
        cards[name] = {
            "rmse": float(rmse(x.double().mean(0), y, **where)),
            "crps": float(crps(x, y, **where)),
            "ssr": float(spread_skill_ratio(x, y, **where)),
            "coverage90": float(coverage(x, y, 0.9, **where)),
        }
    unit = {"rmse": deviation, "crps": deviation}
    mean = {
        key: float(np.mean([card[key] / unit.get(key, {}).get(n, 1.0) for n, card in cards.items()]))
        for key in ("rmse", "crps", "ssr", "coverage90")
    }
    return Card(cards, mean, float(np.mean(bad)))


def truth_like(truth: xr.Dataset, fields: xr.Dataset, names: Sequence[str]) -> xr.Dataset:
    """The truth at the times and cells of a reconstruction, each variable as (time, lat, lon).

    Args:
        truth: with the variables ``names``, on a grid that holds the cells of ``fields``.
        fields: with the grid and times that are wanted.

    Raises:
        SkyweaveError: a variable, a time or a cell is missing.
    """
    known = [str(v) for v in truth.data_vars]
    for name in names:
        if name not in known:
            raise SkyweaveError(
                f"truth: no variable {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}"
            )
    wanted, own = Grid.from_dataset(fields), Grid.from_dataset(truth)
    i = own.index(wanted.lat, np.full(len(wanted.lat), own.lon[0]))[0]
    j = own.index(np.full(len(wanted.lon), own.lat[0]), wanted.lon)[1]
    if not (_on_cells(i, len(own.lat)) and _on_cells(j, len(own.lon))):
        raise SkyweaveError(
            f"truth: its grid is {own.describe()}, the fields' is {wanted.describe()}; regrid it first"
        )
    lat, lon = own.dims_in(truth)
    out = truth[list(names)].isel({lat: np.rint(i).astype(int), lon: np.rint(j).astype(int) % len(own.lon)})
    time, when = time_dim(fields), time_dim(out)
    if when is None:
        when, out = "time", out.drop_vars("time", errors="ignore").expand_dims("time")
    count = 1 if time is None else fields.sizes[time]
    if time is not None and time in fields.coords and when in out.coords:
        stamps = fields[time].values
        absent = ~np.isin(stamps, out[when].values)
        if absent.any():
            raise SkyweaveError(
                f"truth: {int(absent.sum())} of {count} times are missing, the first is {stamps[absent][0]}"
            )
        out = out.sel({when: stamps})
    elif out.sizes[when] != count:
        raise SkyweaveError(f"truth: {out.sizes[when]} fields for {count} times; give it a time coordinate")
    return out.transpose(when, lat, lon).load()


def _on_cells(index: np.ndarray, count: int) -> bool:
    near = np.rint(index)
    # On a globe the first longitude may come out as just below the number of longitudes.
    return bool(np.all(np.abs(index - near) < 1e-2) and near.min() >= 0 and near.max() <= count)
