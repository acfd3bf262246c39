"""What a BUFR file holds, gathered key by key into plain arrays; runs in a process of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from skyweave.native.bufr_messages import Floats, Message, read_messages

__all__ = ["AIRCRAFT", "AMOUNT", "CATEGORY", "SOUNDING", "Ascent", "Reports", "ascents", "reports"]

SURFACE, SOUNDING, AIRCRAFT = (0, 1), 2, 4
CATEGORY = "dataCategory"
AMOUNT = "totalPrecipitationOrTotalWaterEquivalent"
IDENTIFIERS = (
    "wigosLocalIdentifierCharacter", "shipOrMobileLandStationIdentifier", "aircraftFlightNumber",
    "aircraftRegistrationNumberOrOtherIdentification", "aircraftTailNumber", "icaoLocationIndicator",
)  # fmt: skip
BUOYS = ("marineObservingPlatformIdentifier", "buoyOrPlatformIdentifier")


@dataclass
class Reports:
    """Reports of stations, ships, buoys and aircraft.

    Args:
        columns: values by key, each ``(reports,)``; infinite where a report lacks the key, NaN where its value is
            missing.
        stations: identifiers, empty where there is none.
        units: of keys that were asked for by their bare names.
        dropped: reports that were passed over, by reason.
        soundings: how many there were.
    """

    columns: dict[str, Floats]
    stations: list[str] = field(default_factory=list)
    units: dict[str, str] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    soundings: int = 0


@dataclass(frozen=True)
class Ascent:
    """One sounding: single values, and those of its levels, by key, and its station's identifier."""

    single: dict[str, float]
    levels: dict[str, Floats]
    station: str


def reports(
    path: str,
    keys: Sequence[str],
    wanted: Sequence[str],
    sums: Mapping[str, tuple[str, int]],
    bare: Sequence[str],
) -> Reports:
    """All reports of a file that are no soundings.

    Args:
        path: of a local file.
        keys: columns that are gathered; `CATEGORY` is the message's.
        wanted: a message whose descriptors cannot give any of these keys is not unpacked.
        sums: amounts of precipitation by the name of their column: the key that they may have, and hours.
        bare: of the keys those that were asked for by name, whatever the category, with their units.

    Raises:
        SkyweaveError: the extra is not installed, or the file is not whole.
    """
    parts: dict[str, list[Floats]] = {key: [] for key in (*keys, *sums)}
    out = Reports({})
    for message in read_messages(path, wanted, out.dropped, attributes=bool(bare)):
        n = message.subsets
        if message.category == SOUNDING:
            out.soundings += n
            out.dropped["sounding"] += n
            continue
        if message.category not in (*SURFACE, AIRCRAFT) and not bare:
            out.dropped[f"report of category {message.category}"] += n
            continue
        lacking = np.full(n, np.inf)
        for key in keys:
            found = np.full(n, float(message.category)) if key == CATEGORY else message.numbers(key)
            parts[key].append(lacking if found is None else found)
        for name, (key, hours) in sums.items():
            found = _precipitation(message, key, hours)
            parts[name].append(lacking if found is None else found)
        for key in bare:
            if key not in out.units:
                out.units[key] = message.units(key)
        out.stations += _stations(message)
    out.columns = {key: np.concatenate(part) if part else np.zeros(0) for key, part in parts.items()}
    return out


def ascents(
    path: str, single: Sequence[str], levels: Sequence[str], wanted: Sequence[str]
) -> tuple[list[Ascent], Counter[str]]:
    """All soundings of a file, in order, and what was passed over, by reason.

    Args:
        path: of a local file.
        single: keys of one value.
        levels: keys of values by level, each ``(levels,)``, empty where there is no such key.
        wanted: as of `reports`.

    Raises:
        SkyweaveError: as of `reports`.
    """
    counts: Counter[str] = Counter()
    found = []
    for message in read_messages(path, wanted, counts, single=True):
        if message.category != SOUNDING:
            counts[f"reports of category {message.category}"] += message.subsets
            continue
        numbers = {key: message.numbers(key) for key in single}
        first = {key: np.nan if values is None else float(values[0]) for key, values in numbers.items()}
        found.append(Ascent(first, {key: message.levels(key) for key in levels}, _stations(message)[0]))
    return found, counts


def _precipitation(message: Message, key: str, hours: int) -> Floats | None:
    """The sum of the past hours: by its own key, or as an amount whose period is told before it."""
    found = message.numbers(key)
    if message.numbers(AMOUNT) is None:
        return found
    period, rank = "", 0
    for name in message.names():
        bare = name.rpartition("#")[2]
        if bare == "timePeriod":
            period = name
        elif bare == AMOUNT:
            rank += 1
            span = message.levels(period) if period else np.zeros(0)
            amount = message.levels(f"#{rank}#{AMOUNT}")
            # Periods before the report are negative, in hours for amounts.
            told = (
                np.where(np.abs(span) == hours, amount, np.nan) if len(span) and len(amount) else np.zeros(0)
            )
            if np.isfinite(told).any():
                told = np.broadcast_to(told, message.subsets)
                found = told if found is None else np.where(np.isnan(found), told, found)
    return found


def _stations(message: Message) -> list[str]:
    """WMO number of each report's station, else the first other identifier that it has, else nothing."""
    block, number = message.numbers("blockNumber"), message.numbers("stationNumber")
    found = [""] * message.subsets
    if block is not None and number is not None:
        found = [
            f"{int(b):02d}{int(n):03d}" if np.isfinite(b + n) else ""
            for b, n in zip(block, number, strict=True)
        ]
    for key in IDENTIFIERS:
        if not all(found) and message.has(key):
            found = [own or other for own, other in zip(found, message.texts(key), strict=True)]
    for key in BUOYS:
        numbers = None if all(found) else message.numbers(key)
        if numbers is not None:
            found = [
                own or (f"{n:.0f}" if np.isfinite(n) else "") for own, n in zip(found, numbers, strict=True)
            ]
    return found
