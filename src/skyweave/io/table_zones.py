"""Time zones as tables name them: offsets from UTC, abbreviations that mean one thing, names of the tz database."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from skyweave.errors import SkyweaveError, clipped

__all__ = ["AMBIGUOUS", "LOCAL", "zone_of", "zones_to_utc"]

# Minutes east of UTC. Only abbreviations that stand for one offset in common use.
KNOWN = {
    "z": 0, "utc": 0, "gmt": 0, "ut": 0, "ut1": 0, "uct": 0, "zulu": 0, "universal": 0, "wet": 0,
    "cet": 60, "mez": 60, "west": 60, "cest": 120, "mesz": 120, "eet": 120, "oez": 120, "eest": 180, "msk": 180,
    "est": -300, "edt": -240, "cdt": -300, "mst": -420, "mdt": -360, "pst": -480, "pdt": -420, "akst": -540,
    "akdt": -480, "hst": -600, "jst": 540, "kst": 540, "hkt": 480, "awst": 480, "acst": 570, "acdt": 630,
    "aest": 600, "aedt": 660, "nzst": 720, "nzdt": 780,
}  # fmt: skip
AMBIGUOUS = frozenset(
    ("cst", "ist", "bst", "ast", "gst", "sst", "amt", "adt", "wst", "act", "et", "ct", "mt", "pt")
)
LOCAL = frozenset(("local", "lt", "lst", "lmt", "loc", "localtime", "local_time", "local time", "ldt"))
OFFSET = re.compile(
    r"(?:utc|gmt|z)?\s*(?P<sign>[+-])(?P<h>\d{1,2})(?::?(?P<m>[0-5]\d))?(?::?00)?", re.IGNORECASE
)
FARTHEST = 14 * 60
ADVICE = "state it: time_zone: '+02:00' at the source in the configuration (time_zone='+02:00' in Python), or 'UTC'"


def zone_of(text: str, where: str) -> float | str | None:
    """Minutes east of UTC, the name of a zone of the tz database, or ``None`` where the text names no zone.

    Raises:
        SkyweaveError: it is local time, an abbreviation of several zones, or an offset beyond 14 hours.
    """
    word = " ".join(text.strip().split())
    lower = word.lower()
    if lower in KNOWN:
        return float(KNOWN[lower])
    if lower in LOCAL or lower in AMBIGUOUS:
        kind = "local time, whose zone is not told" if lower in LOCAL else "a zone that stands for several"
        raise SkyweaveError(f"{where}: {clipped(word)} is {kind}; {ADVICE}")
    match = OFFSET.fullmatch(word)
    if match:
        minutes = 60 * int(match["h"]) + int(match["m"] or 0)
        if minutes > FARTHEST:
            raise SkyweaveError(
                f"{where}: {clipped(word)} is no offset from UTC, which is at most 14 hours; {ADVICE}"
            )
        return float(-minutes if match["sign"] == "-" else minutes)
    if re.fullmatch(r"[A-Za-z_]+/[A-Za-z_/+-]+\d*", word):
        try:
            pd.Timestamp("2020-01-01").tz_localize(word)
        except Exception:
            raise SkyweaveError(f"{where}: {clipped(word)} is no zone of the tz database; {ADVICE}") from None
        return word
    return None


def _zone_of_cell(cell: object, where: str) -> float | str:
    """The zone of a cell of a column of zones: hours as a number too."""
    text = str(cell).strip()
    try:
        hours = float(text)
        if not re.fullmatch(r"[+-]\d{4}", text):
            if abs(hours) <= FARTHEST / 60:
                return 60 * hours
            raise SkyweaveError(
                f"{where}: {clipped(text)} is no offset in hours; write hours (-5), or +hh:mm as in -05:00"
            )
    except ValueError:
        pass
    zone = zone_of(text, where)
    if zone is None:
        raise SkyweaveError(f"{where}: {clipped(text)} is no time zone; {ADVICE}")
    return zone


def zones_to_utc(times: pd.Series, zones: pd.Series | str, own: np.ndarray, where: str) -> pd.Series:
    """Times as UTC, of zones by row or of one for all; those with an offset of their own are left as they are.

    Args:
        times: without zone, datetime64.
        zones: of each row, or one for all: any form that `zone_of` knows, or hours as numbers.
        own: rows whose times are UTC already.
        where: for messages.

    Raises:
        SkyweaveError: no zone, or a time that a change of the clocks leaves out or repeats.
    """
    out = times.copy()
    named = pd.Series(zones, index=times.index) if isinstance(zones, str) else zones
    for cell in pd.unique(named[~own].dropna()):
        zone = _zone_of_cell(cell, where)
        rows = (named == cell) & ~own
        if isinstance(zone, float):
            out[rows] = times[rows] - pd.Timedelta(minutes=zone)
            continue
        try:
            out[rows] = times[rows].dt.tz_localize(zone).dt.tz_convert("UTC").dt.tz_localize(None)
        except Exception as exc:
            raise SkyweaveError(
                f"{where}: a time that the clocks of {zone} skip or repeat ({exc}); write UTC, or an offset with each"
            ) from None
    lacking = named.isna() & times.notna() & ~own
    if lacking.any():
        row = int(np.flatnonzero(lacking.to_numpy())[0])
        raise SkyweaveError(f"{where}: row {row + 1} has no time zone; {ADVICE}")
    return out
