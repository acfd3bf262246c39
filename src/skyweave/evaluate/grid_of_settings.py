"""Grids of settings: dotted keys into nested configurations, and their combinations."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.keywords import values_of

__all__ = ["expand", "with_values"]


def expand(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values of every key, the last key varying fastest.

    Args:
        grid: values by dotted key. Keys joined by a comma take one value together.

    Raises:
        SkyweaveError: the grid is empty, or a key has no values, or one twice.
    """
    if not grid:
        raise SkyweaveError("grid: no keys; give values by key, as in {observations.LR.weight: [0.5, 1, 2]}")
    for key, values in grid.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not len(values):
            raise SkyweaveError(f"grid: {key} has no list of values (found {values!r})")
        if any(value in values[:k] for k, value in enumerate(values)):
            raise SkyweaveError(f"grid: {key} has a value twice: {list(values)}")
    return [dict(zip(grid, combination, strict=True)) for combination in itertools.product(*grid.values())]


def with_values(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a configuration with other values at dotted keys.

    A part of a key is a key of a mapping (made where it is missing), a field of a source, or, of a list, a number or
    the name of sources: all of that name. ``observations.LR.weight`` is the weight of every source called LR.

    Args:
        config: nested mappings, lists and sources.
        values: by dotted key; ``a.b, c.d`` sets both.

    Raises:
        SkyweaveError: a key leads nowhere.
    """
    out: Any = dict(config)
    for keys, value in values.items():
        for key in keys.split(","):
            out = _put(out, key.strip().split("."), value, key.strip())
    return out


def _put(node: Any, path: Sequence[str], value: Any, key: str) -> Any:
    if not path:
        return value
    first, rest = path[0], path[1:]
    if node is None or isinstance(node, Mapping):
        inside = dict(node or {})
        return {**inside, first: _put(inside.get(first), rest, value, key)}
    if isinstance(node, Sequence) and not isinstance(node, str):
        return [
            _put(item, rest, value, key) if k in _chosen(node, first, key) else item
            for k, item in enumerate(node)
        ]
    if is_dataclass(node) and not isinstance(node, type):
        known = [f.name for f in fields(node) if f.init]
        held = values_of(node)
        if first not in known:
            raise SkyweaveError(
                f"grid: {key}: no field {first!r}{did_you_mean(first, known)}; there are {', '.join(known)}"
            )
        return replace(node, **{first: _put(held[first], rest, value, key)})
    raise SkyweaveError(f"grid: {key}: {first!r} leads into {node!r}, which has no parts")


def _chosen(items: Sequence[Any], part: str, key: str) -> list[int]:
    names = [str(item.get("name") if isinstance(item, Mapping) else item.label) for item in items]
    own = [k for k, name in enumerate(names) if name == part]
    if own:
        return own
    if part.isdigit() and int(part) < len(items):
        return [int(part)]
    named = [name for name in names if name != "None"]
    raise SkyweaveError(
        f"grid: {key}: nothing is called {part!r}{did_you_mean(part, named)}; there are the names "
        f"{', '.join(named) or '(none)'} and the numbers 0 to {len(items) - 1}"
    )
