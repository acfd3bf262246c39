"""What a prior knows: the places, seasons, hours and values that it was trained on, stored with it as its card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import cftime
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.prior.data import Record

__all__ = ["PROBABILITIES", "Knowledge", "Values", "knowledge_of", "months_and_hours"]

PROBABILITIES = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)
"""Of the quantiles that are kept of each variable."""

SAMPLE = 4_000_000
"""Values of a variable that quantiles are taken of, at most."""


@dataclass(frozen=True)
class Values:
    """Distribution of one variable over the training data.

    Args:
        units: of all that follows.
        quantiles: at `PROBABILITIES`.
        minimum, maximum: extremes.
        mean, deviation: over all observed cells.
        missing: share of cells without a value.
    """

    units: str
    quantiles: tuple[float, ...]
    minimum: float
    maximum: float
    mean: float
    deviation: float
    missing: float

    def quantile(self, probability: float) -> float:
        """One of the quantiles that are kept."""
        return self.quantiles[PROBABILITIES.index(probability)]

    def __str__(self) -> str:
        low, middle, high = (self.quantile(p) for p in (0.001, 0.5, 0.999))
        units = "" if self.units == "1" else f" {self.units}"
        return (
            f"{self.minimum:.4g} to {self.maximum:.4g}{units}, median {middle:.4g}, "
            f"99.8 % within {low:.4g} to {high:.4g}, {self.missing:.0%} missing"
        )


@dataclass(frozen=True)
class Knowledge:
    """The training data of a prior in a few numbers.

    Args:
        lat, lon: extent of the cells, degrees; ``lon`` runs eastwards and may pass 180 or 360.
        periodic: whether the longitudes close the circle.
        period: first and last time, as text; empty where the data have no dates.
        months: of the year, 1 to 12, and the share of the times in each.
        hours: of the day, UTC, and the share of the times in each; empty for steps of a day and more.
        values: by variable.
        innovations: what `skyweave calibrate` found of ``d^T S^-1 d / n`` on validation data, by kind of observations:
            its median, 95 % quantile and greatest value.
    """

    lat: tuple[float, float]
    lon: tuple[float, float]
    periodic: bool
    period: tuple[str, str] | tuple[()] = ()
    months: Mapping[int, float] = field(default_factory=dict)
    hours: Mapping[int, float] = field(default_factory=dict)
    values: Mapping[str, Values] = field(default_factory=dict)
    innovations: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)

    def inside(self, lat: ArrayLike, lon: ArrayLike, margin: float = 0.0) -> NDArray[np.bool_]:
        """Whether places (degrees) lie in the domain or within `margin` degrees of it."""
        lat_, lon_ = np.asarray(lat, float), np.asarray(lon, float)
        rows = (lat_ >= self.lat[0] - margin) & (lat_ <= self.lat[1] + margin)
        if self.periodic:
            return rows & np.isfinite(lon_)
        width = self.lon[1] - self.lon[0] + 2 * margin
        return rows & ((lon_ - self.lon[0] + margin) % 360 <= width)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Knowledge:
        """What `to_dict` gave, also after JSON turned numbers that are keys into text.

        Raises:
            SkyweaveError: it is not of that form.
        """
        try:
            return cls(
                (float(told["lat"][0]), float(told["lat"][1])),
                (float(told["lon"][0]), float(told["lon"][1])),
                bool(told["periodic"]),
                tuple(str(t) for t in told.get("period", ())),  # type: ignore[arg-type]
                {int(k): float(v) for k, v in told.get("months", {}).items()},
                {int(k): float(v) for k, v in told.get("hours", {}).items()},
                {str(k): _values(v) for k, v in told.get("values", {}).items()},
                {
                    str(k): (float(v[0]), float(v[1]), float(v[2]))
                    for k, v in told.get("innovations", {}).items()
                },
            )
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise SkyweaveError(f"the prior's card is damaged ({type(error).__name__}: {error})") from None

    def lines(self) -> list[tuple[str, str]]:
        """The card: keys and texts."""
        across = "all longitudes" if self.periodic else f"{_east(self.lon[0])} to {_east(self.lon[1])} E"
        out = [("domain", f"{self.lat[0]:g} to {self.lat[1]:g} N, {across}")]
        if self.period:
            out.append(("trained on", f"{self.period[0]:.16s} to {self.period[1]:.16s}"))
        if self.months:
            out.append(
                ("months", ", ".join(f"{m} ({share:.0%})" for m, share in sorted(self.months.items())))
            )
        if self.hours:
            out.append(("hours (UTC)", ", ".join(str(h) for h in sorted(self.hours))))
        out += [("values", f"{name}: {values}") for name, values in self.values.items()]
        for kind, (median, high, most) in self.innovations.items():
            text = f"{kind}: {median:.2f} in the median, 95 % below {high:.2f}, at most {most:.2f}"
            out.append(("chi-square / n", text))
        return out


def knowledge_of(record: Record, grid: Grid, memory_bytes: float = 4e9, seed: int = 0) -> Knowledge:
    """The card of a (training) record in physical units.

    A record that needs more than `memory_bytes` is represented by as many random times as fit; months and hours are
    those of all its times.
    """
    times = np.arange(len(record))
    fitting = max(1, int(memory_bytes // record.frame_bytes))
    if fitting < len(record):
        times = np.sort(np.random.default_rng(seed).choice(len(record), fitting, replace=False))
    fields = Record(record.dataset, record.spec, record.grid).read(times).numpy()
    values = {}
    for channel, variable in enumerate(record.spec.variables):
        own = fields[:, channel].ravel()
        seen = own[np.isfinite(own)].astype(np.float64)
        if not seen.size:
            continue
        some = (
            seen if seen.size <= SAMPLE else np.random.default_rng(seed).choice(seen, SAMPLE, replace=False)
        )
        quantiles = tuple(float(q) for q in np.quantile(some, PROBABILITIES))
        ends = float(seen.min()), float(seen.max())
        missing = float(1 - seen.size / own.size)
        values[variable.name] = Values(
            variable.units, quantiles, *ends, float(seen.mean()), float(seen.std()), missing
        )
    lat = np.sort(grid.lat_bounds[[0, -1]])
    lon = np.sort(grid.lon_bounds[[0, -1]])
    when = record.times
    months, hours, period = _when(when)
    return Knowledge(
        (float(lat[0]), float(lat[1])),
        (float(lon[0]), float(lon[1])),
        bool(grid.periodic),
        period,
        months,
        hours,
        values,
    )


def months_and_hours(times: np.ndarray) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Month and hour of each date, of any calendar; ``None`` where they are no dates."""
    if times.dtype.kind == "M":
        index = pd.DatetimeIndex(times)
        return np.asarray(index.month, np.int64), np.asarray(index.hour, np.int64)
    if times.dtype == object and len(times) and isinstance(times[0], cftime.datetime):
        return np.array([t.month for t in times]), np.array([t.hour for t in times])
    return None


def _when(times: np.ndarray) -> tuple[dict[int, float], dict[int, float], tuple[str, str] | tuple[()]]:
    """Shares of months and hours, and the period; empty without dates."""
    found = months_and_hours(times)
    if found is None:
        return {}, {}, ()
    months, hours = found
    daily = len(np.unique(hours)) == 1
    return _shares(months), {} if daily else _shares(hours), (str(times.min()), str(times.max()))


def _shares(numbers: np.ndarray) -> dict[int, float]:
    found, counts = np.unique(numbers, return_counts=True)
    return {int(k): round(float(n / counts.sum()), 4) for k, n in zip(found, counts, strict=True)}


def _values(told: Mapping[str, Any]) -> Values:
    numbers = {k: float(told[k]) for k in ("minimum", "maximum", "mean", "deviation", "missing")}
    quantiles = tuple(float(q) for q in told["quantiles"])
    if len(quantiles) != len(PROBABILITIES):
        raise ValueError(f"{len(quantiles)} quantiles, {len(PROBABILITIES)} are kept")
    return Values(str(told["units"]), quantiles, **numbers)


def _east(lon: float) -> str:
    return f"{(lon + 180) % 360 - 180:g}"
