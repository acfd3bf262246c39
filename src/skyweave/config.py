"""YAML into checked sections, with every error reported at once and before any data is opened."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.yaml_file import read_yaml

__all__ = [
    "RegionSection", "Section", "adapter", "explain", "load_config", "parse_config", "read_yaml", "told_in_bounds",
]  # fmt: skip

Model = TypeVar("Model")

SHOWN = 200
"""Characters of a wrong value that a message repeats."""


class Section(BaseModel):
    """A part of a configuration: unknown keys are errors, values do not change, and a year may stand for a date."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class RegionSection(Section):
    """Bounds in degrees; a western bound greater than the eastern one crosses the edge of the longitudes."""

    lat: tuple[float, float] = (-90.0, 90.0)
    lon: tuple[float, float] | None = None


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """What checks values of a section, which is a pydantic model or a dataclass of the library's own."""
    return TypeAdapter(kind)


def load_config(path: str | Path, model: type[Model]) -> Model:
    """Read a YAML file into `model`.

    Raises:
        SkyweaveError: the file is missing or not YAML, or a value in it is wrong; the message lists all.
    """
    return parse_config(read_yaml(path), model, source=str(path))


MOST_TOLD, LONGEST = 40, 400
"""Errors of a configuration that are told, and characters of each."""


def told_in_bounds(lines: Sequence[str]) -> list[str]:
    """The first lines, each to its first characters, and how many more there are."""
    told = [line if len(line) <= LONGEST else f"{line[:LONGEST]} ..." for line in lines[:MOST_TOLD]]
    return told + ([f"  and {len(lines) - MOST_TOLD} more"] if len(lines) > MOST_TOLD else [])


def parse_config(values: Any, model: type[Model], source: str = "configuration") -> Model:
    """Check a mapping against `model`; strings may hold environment variables.

    They are written ``${NAME}`` or ``${NAME:-default}``.

    Raises:
        SkyweaveError: with one line per error, misspelt keys with the nearest known one.
    """
    if not isinstance(values, dict):
        raise SkyweaveError(f"{source}: expected a mapping of keys, found {type(values).__name__}")
    missing: list[str] = []
    values = _expand(values, missing)
    lines = [f"  environment variable {name} is not set" for name in missing]
    try:
        result: Model = adapter(model).validate_python(values)  # type: ignore[arg-type]
    except ValidationError as error:
        lines += [f"  {line}" for line in explain(error.errors(), model)]
    if lines:
        count = f"{len(lines)} error" + ("s" if len(lines) > 1 else "")
        raise SkyweaveError(f"{source}: {count}\n" + "\n".join(told_in_bounds(lines)))
    return result


def _expand(value: Any, missing: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: _expand(item, missing) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, missing) for item in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name, default = match.group(1), match.group(2)
        found = os.environ.get(name, default)
        if found is None:
            missing.append(name)
        return found or ""

    return re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", replace, value)


KEYLESS = ("dict_type", "model_type", "dataclass_type")
"""Errors of a value where there should be keys."""


def explain(errors: Sequence[Any], model: Any) -> Iterator[str]:
    """Each error of a validation in a line: the key, what is wrong with it, and what was found."""
    told: set[str] = set()
    # Of the branches of a union, one that wanted keys where there is a value says the least.
    for item in sorted(errors, key=lambda e: e["type"] in KEYLESS):
        where = f"{'.'.join(_keys(item['loc'])) or '(top)':.{SHOWN}}"
        if where in told and item["type"] in KEYLESS:
            continue
        told.add(where)
        if item["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            known = _known_keys(model, item["loc"][:-1])
            hint = did_you_mean(str(item["loc"][-1]), known) or (
                f"; known: {', '.join(known)}" if known else ""
            )
            yield f"{where}: unknown key{hint}"
        elif item["type"] == "missing":
            yield f"{where}: missing"
        elif item["type"] in ("model_type", "dataclass_type"):
            known = _known_keys(model, item["loc"])
            yield f"{where}: expected a mapping of keys ({', '.join(known)}), found {item['input']!r:.{SHOWN}}"
        elif item["type"] == "literal_error":
            known = re.findall(r"'([^']*)'", item["ctx"]["expected"]) or [item["ctx"]["expected"]]
            hint = did_you_mean(str(item["input"]), known)
            yield f"{where} = {item['input']!r:.{SHOWN}}{hint}; there are {', '.join(known)}"
        else:
            message = item["msg"].removeprefix("Value error, ")
            found = item["input"]
            shown = "" if isinstance(found, dict) else f" (found {found!r:.{SHOWN}})"
            yield f"{where}: {message}{shown}"


def _keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys of a location: branches of unions appear in it as well, by a tag or a type, and stand in no file."""
    keys = [str(part) for part in location if not re.search(r"[ \[\]]", str(part))]
    return keys[:-1] if keys and re.fullmatch(r"(constrained-)?(float|int|str|bool)", keys[-1]) else keys


def _known_keys(model: Any, location: tuple[int | str, ...]) -> list[str]:
    annotation: Any = model
    for part in location:
        inside = [own[part] for own in map(_fields, _models_in(annotation)) if part in own]
        # The tag of a union may be the name of a field that holds no keys.
        if inside and any(True for _ in _models_in(inside[0])):
            annotation = inside[0]
    return [key for m in _models_in(annotation) for key in _fields(m)]


def _fields(model: Any) -> dict[Any, Any]:
    """Annotations of a section by key."""
    if issubclass(model, BaseModel):
        return {key: own.annotation for key, own in model.model_fields.items()}
    hints = get_type_hints(model)
    return {own.name: hints[own.name] for own in fields(model) if own.init}


def _models_in(annotation: Any) -> Iterator[Any]:
    """Sections named by an annotation, through optional types, unions, lists and dictionaries."""
    if isinstance(annotation, type) and (issubclass(annotation, BaseModel) or is_dataclass(annotation)):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, list, tuple, dict) or get_args(annotation):
        for argument in get_args(annotation):
            yield from _models_in(argument)
