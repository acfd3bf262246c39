"""The messages of a GRIB file: what each says of its field, and which of them belong to one variable."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from skyweave.errors import SkyweaveError
from skyweave.native.process import ask

__all__ = ["Cube", "Fields", "cubes", "join_grids", "scan"]

SHAPE = ("Nx", "Ny", "N", "iScansNegatively", "jScansPositively", "jPointsAreConsecutive")
CORNERS = (
    "latitudeOfFirstGridPointInDegrees", "latitudeOfLastGridPointInDegrees",
    "longitudeOfFirstGridPointInDegrees", "longitudeOfLastGridPointInDegrees",
)  # fmt: skip

# Statistics over the members are other quantities than the members: they never join them in one variable.
STATISTICS = ("em", "es", "ep", "taem", "taes")

# What tells fields of one name, level, member and time apart, and how it stands in the name of the variable.
DISTINCT = {
    "chemShortName": "{}",
    "wavelength": "{}nm",
    "length": "{}h",
    "percentileNumber": "p{}",
    "quantile": "quantile{}",
    "directionNumber": "direction{}",
    "frequencyNumber": "frequency{}",
    "bottomLevel": "to{}",
    "constituentType": "constituent{}",
    "aerosolType": "aerosol{}",
    "experimentVersionNumber": "expver{}",
    "stream": "{}",
    "dataType": "{}",
}

MOST_POINTS = 2 * 10**8


class Field(Mapping):
    """One message, whose errors, of decoding too, are ours."""

    def __init__(self, path: str, place: Any) -> None:
        self.path, self.place = path, place

    def __getitem__(self, key: str) -> Any:
        found = ask(self.path, "grib_fields.value", self.place, key)
        if found is None:
            raise KeyError(key)
        return found

    def attempt(self, key: str, kind: type | None = None) -> Any:
        """A value of a stated type, None where there is none or ecCodes cannot tell."""
        return ask(self.path, "grib_fields.attempt", self.place, key, kind)

    def __iter__(self) -> Iterator[str]:
        return iter(ask(self.path, "grib_fields.keys", self.place))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Fields(Mapping):
    """Messages by their place in the file, as cfgrib takes them: headers as they were scanned, values from the file."""

    def __init__(self, path: str, headers: dict[Any, dict[str, Any]]) -> None:
        self.path, self.headers = path, headers

    def __getitem__(self, place: Any) -> Field:
        return Field(self.path, place)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.headers)

    def __len__(self) -> int:
        return len(self.headers)

    def items(self) -> Any:
        return self.headers.items()


@dataclass
class Cube:
    """Messages of one variable: its name, their headers by place, and the dimensions of time that tell them apart."""

    name: str
    headers: dict[Any, dict[str, Any]]
    time_dims: tuple[str, ...] = ("valid_time",)
    repeated: int = 0

    def one(self, key: str) -> Any:
        return next(iter(self.headers.values()))[key]


def scan(path: str) -> dict[Any, dict[str, Any]]:
    """Headers of every message, by its place.

    Raises:
        SkyweaveError: a file that ends within a message or has anything but blanks and bulletins' headings between
            them, a date that is none, or a field of absurd size.
    """
    found = ask(path, "grib_fields.headers")
    return {place: _checked(path, header, k) for k, (place, header) in enumerate(found, 1)}


def join_grids(path: str, headers: dict[Any, dict[str, Any]]) -> None:
    """Give grids that editions 1 and 2 describe in other bytes one mark, ``md5GridSection``."""
    firsts: dict[str, Any] = {}
    for place, h in headers.items():
        firsts.setdefault(h["md5GridSection"], place)
    if len(firsts) == 1:
        return
    fields, marks = Fields(path, headers), {}
    alike: dict[tuple[Any, ...], str] = {}
    for mark, place in firsts.items():
        message = fields[place]
        corners = tuple(round(message.attempt(key, float) or 0.0, 3) % 360 for key in CORNERS)
        shape = tuple(message.attempt(key) for key in ("gridType", *SHAPE))
        regular = headers[place]["gridType"].startswith("regular")
        marks[mark] = alike.setdefault((*shape, *corners) if regular else (mark,), mark)
    for h in headers.values():
        h["md5GridSection"] = marks[h["md5GridSection"]]


def _checked(path: str, found: dict[str, Any], count: int) -> dict[str, Any]:
    what = f"{path}: message {count} ({found['shortName']})"
    if not 0 < (found["numberOfPoints"] or 0) <= MOST_POINTS:
        raise SkyweaveError(f"{what}: {found['numberOfPoints']} points; at most {MOST_POINTS} are read")
    for day, hour in (("validityDate", "validityTime"), ("dataDate", "dataTime")):
        date, time = found[day], found[hour]
        try:
            datetime.datetime(date // 10000, date // 100 % 100, date % 100, time // 100, time % 100)
        except (ValueError, TypeError):
            raise SkyweaveError(
                f"{what}: its date is {date} {time} (year month day, hour minute), which is none; set it with "
                "`grib_set -s dataDate=YYYYMMDD IN OUT`"
            ) from None
    # Edition 1 says that a field is of member 0 where edition 2 says nothing.
    found["number"] = found["number"] or 0
    return found


def cubes(path: str, headers: dict[Any, dict[str, Any]]) -> list[Cube]:
    """Messages gathered by variable, each with a name of its own.

    Variables have cfgrib's names (``t2m``, ``u10``, ``z``); those that differ in their kind of level, or in what
    `DISTINCT` lists, have it in their names: ``t_isobaricInhPa``, ``aod_550nm``.

    Raises:
        SkyweaveError: fields that nothing tells apart and that differ.
    """
    groups: dict[tuple[Any, ...], dict[Any, dict[str, Any]]] = {}
    for place, h in headers.items():
        name = h["cfVarName"] if h["cfVarName"] not in (None, "unknown", "undef") else h["shortName"]
        name = f"param{h['paramId']}" if name in (None, "unknown", "undef") else name
        if h["typeOfLevel"] == "isobaricInPa":
            h |= {"typeOfLevel": "isobaricInhPa", "level": h["level"] / 100}
        statistic = h["dataType"] if h["dataType"] in STATISTICS else ""
        key = (str(name), h["typeOfLevel"], h["stepType"], statistic)
        groups.setdefault(key, {})[place] = h
    named: dict[str, list[tuple[Any, ...]]] = {}
    for key in groups:
        named.setdefault(key[0], []).append(key)
    found: list[Cube] = []
    for name, keys in named.items():
        for key in keys:
            # Only what differs among variables of one name is told by the name.
            differing = [str(key[k]) for k in (1, 2, 3) if len({other[k] for other in keys}) > 1 and key[k]]
            found += _distinct(path, "_".join([name, *differing]), groups[key])
    if any(cube.time_dims != ("valid_time",) for cube in found):
        for cube in found:
            cube.time_dims = ("time", "step")
    return found


def _distinct(path: str, name: str, headers: dict[Any, dict[str, Any]]) -> list[Cube]:
    """One variable, or several where fields of one place and time differ in more than that."""
    for dims in (("valid_time",), ("time", "step")):
        if _unique(headers, dims):
            return [Cube(name, headers, dims)]
    fields = Fields(path, headers)
    for key, form in DISTINCT.items():
        values = {place: _value(fields, place, key) for place in headers}
        if len(set(values.values())) > 1:
            parts: dict[Any, dict[Any, dict[str, Any]]] = {}
            for place, value in values.items():
                parts.setdefault(value, {})[place] = headers[place]
            return [
                cube
                for value, part in parts.items()
                for cube in _distinct(path, f"{name}_{form.format(value)}", part)
            ]
    return [_once(path, name, fields)]


def _unique(headers: dict[Any, dict[str, Any]], dims: tuple[str, ...]) -> bool:
    return max(Counter(_position(h, dims) for h in headers.values()).values()) == 1


def _position(h: dict[str, Any], dims: tuple[str, ...]) -> tuple[Any, ...]:
    valid = (h["validityDate"], h["validityTime"])
    when = valid if dims == ("valid_time",) else (h["dataDate"], h["dataTime"], *valid)
    return (h["number"], h["level"], *when)


def _value(fields: Fields, place: Any, key: str) -> Any:
    if key == "length":
        h = fields.headers[place]
        hours = {0: 1 / 60, 1: 1, 2: 24, 10: 3, 11: 6, 12: 12, 13: 1 / 3600}.get(h["stepUnits"], np.nan)
        return f"{(h['endStep'] - h['startStep']) * hours:g}"
    return fields[place].attempt(key)


def _once(path: str, name: str, fields: Fields) -> Cube:
    """Repeated messages once, where their values are the same."""
    kept: dict[tuple[Any, ...], Any] = {}
    dims = ("time", "step")
    for place, h in fields.items():
        first = kept.setdefault(_position(h, dims), place)
        if first == place:
            continue
        one, other = (np.asarray(fields[p]["values"]) for p in (first, place))
        if one.shape != other.shape or not np.array_equal(one, other):
            raise SkyweaveError(
                f"{path}: variable {name!r} comes twice for level {h['level']}, member {h['number']}, "
                f"{h['validityDate']} {h['validityTime']:04d}, with other values, and nothing tells which is meant; "
                "take the right ones with `grib_copy -w KEY=VALUE IN OUT` (`grib_ls IN` lists them)"
            )
    headers = {place: fields.headers[place] for place in kept.values()}
    dims_now = next(d for d in (("valid_time",), dims) if _unique(headers, d))
    return Cube(name, headers, dims_now, repeated=len(fields) - len(headers))
