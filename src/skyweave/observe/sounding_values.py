"""Values of soundings at wanted levels and at the surface, and why a sounding has none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skyweave.errors import SkyweaveError
from skyweave.observe.profiles import (
    bracket,
    complete,
    drift,
    launch_time,
    pressures_of_heights,
    sorted_levels,
)
from skyweave.observe.quantities import QUANTITIES
from skyweave.observe.sounding_checks import QualityControl, check_mass, check_wind

__all__ = ["Ledger", "at_level", "at_surface", "completed_profiles", "prepared"]

NEEDED = ("sounding", "time", "lat", "lon", "pressure")
NUMBERS = (
    "elapsed",
    "height",
    "temperature",
    "dew_point",
    "relative_humidity",
    "specific_humidity",
    "u",
    "v",
    "drift_lat",
    "drift_lon",
)
VALUES = ("height", "temperature", "dew_point", "relative_humidity", "specific_humidity", "u", "v")

NOT_REPORTED = "not reported"
BEYOND = "outside the sounding"
GAP = "levels too far apart"
REJECTED = "rejected by quality control"


@dataclass
class Ledger:
    """Counts that are made on the way; fields as in `skyweave.observe.sounding_report.SoundingReport`."""

    values: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, dict[str, int]] = field(default_factory=dict)
    wind_only: tuple[int, int] = (0, 0)
    no_pressure: int = 0
    assumed: int = 0

    def count(self, reason: str, quantity: str, n: int) -> None:
        by = self.rejected.setdefault(reason, {})
        by[quantity] = by.get(quantity, 0) + n


def prepared(soundings: pd.DataFrame, name: str) -> pd.DataFrame:
    """The levels with every column there, soundings numbered from 0."""
    lacking = [c for c in NEEDED if c not in soundings]
    if lacking or soundings.empty:
        found = ", ".join(map(str, soundings.columns)) or "none"
        what = f"column {', '.join(lacking)}" if lacking else "rows"
        raise SkyweaveError(f"{name}: the table of soundings lacks {what}; its columns are {found}")
    numbers = {c: soundings.get(c, np.nan) for c in NUMBERS}
    levels = pd.DataFrame({c: soundings[c] for c in NEEDED}).assign(**numbers)
    levels["sounding"] = pd.factorize(levels["sounding"])[0]
    levels["station"] = soundings.get("station", "")
    levels["release"] = soundings.get("release", pd.NaT)
    for column in ("level_type", "level_kind"):
        levels[column] = soundings.get(column, 0)
    for column in ("time", "release"):
        levels[column] = levels[column].astype("datetime64[ns]")
    return levels.reset_index(drop=True)


def completed_profiles(
    raw: pd.DataFrame,
    wanted: list[float],
    quality: QualityControl | None,
    ascent_rate: float,
    ledger: Ledger,
) -> pd.DataFrame:
    """Checked and completed profiles, with a level at each wanted pressure (hPa; column ``wanted``)."""
    for quantity, own in QUANTITIES.items():
        if quantity not in ("geopotential", "northward_wind"):
            ledger.values["wind" if own.column == "u" else quantity] = int(raw[own.column].notna().sum())
    raw = raw.assign(wanted=False, **{f"reported_{c}": raw[c] for c in VALUES})
    pressed = raw["pressure"].notna() & (raw["pressure"] > 0)
    mass = sorted_levels(raw[pressed])
    if quality is not None:
        mass = check_mass(mass, quality, ledger.count)
    mass = complete(mass)
    aloft = raw[~pressed & raw["height"].notna() & raw["u"].notna()]
    aloft = aloft.assign(pressure=pressures_of_heights(mass, aloft), height=np.nan, reported_height=np.nan)
    placed = aloft[aloft["pressure"].notna()]
    ledger.wind_only = (len(aloft), len(placed))
    ledger.no_pressure = int((~pressed).sum()) - len(aloft)
    launches = raw.drop_duplicates("sounding")
    assumed = launch_time(launches)[1]
    ledger.assumed = int(assumed.sum())
    blank = launches.assign(wanted=True, level_type=0, level_kind=0)
    blank[[*NUMBERS, *(f"reported_{c}" for c in VALUES)]] = np.nan
    targets = [blank.assign(pressure=p) for p in wanted]
    profiles = complete(sorted_levels(pd.concat([mass, placed, *targets], ignore_index=True)))
    if quality is not None:
        profiles = check_wind(profiles, quality, ledger.count)
    return drift(profiles, ascent_rate)


def at_level(
    column: str, profiles: pd.DataFrame, level: float, maximum_gap: float
) -> tuple[NDArray, NDArray, dict[str, int]]:
    """Rows of the wanted level that have a value, the values, and counts of the rest by reason."""
    s, x = profiles["sounding"].to_numpy(), profiles["x"].to_numpy()
    goal = np.flatnonzero(profiles["wanted"].to_numpy() & (profiles["pressure"].to_numpy() == level))

    def around(name: str) -> tuple[NDArray, Any, NDArray, NDArray]:
        known = np.flatnonzero(profiles[name].notna().to_numpy())
        at = bracket(s[known], x[known], s[goal], x[goal])
        gap = np.zeros(len(goal))
        if len(known):
            gap = x[known[at.high]] - x[known[at.low]]
        return known, at, gap, at.inside & (gap <= np.log(maximum_gap) + 1e-9)

    _, before, _, once = around(f"reported_{column}")
    known, at, _, good = around(column)
    reasons = np.select(
        [good, once, ~before.some, ~before.inside], ["", REJECTED, NOT_REPORTED, BEYOND], default=GAP
    )
    if column == "height":
        value = profiles["full_height"].to_numpy()[goal]
    elif len(known):
        y = profiles[column].to_numpy()[known]
        value = (1 - at.weight) * y[at.low] + at.weight * y[at.high]
    else:
        value = np.full(len(goal), np.nan)
    return goal[good], value[good], {str(r): int((reasons == r).sum()) for r in np.unique(reasons[~good])}


def at_surface(
    column: str, profiles: pd.DataFrame, soundings: int
) -> tuple[NDArray, NDArray, dict[str, int]]:
    """The same of the surface level."""
    surface = profiles[(profiles["level_kind"] == 1) & ~profiles["wanted"]]
    told = surface[surface[f"reported_{column}"].notna()].drop_duplicates("sounding")
    kept = told[told[column].notna()]
    dropped = {NOT_REPORTED: soundings - len(told), REJECTED: len(told) - len(kept)}
    return kept.index.to_numpy(), kept[column].to_numpy(), {r: n for r, n in dropped.items() if n}
