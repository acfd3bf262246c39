"""What a file was made with: a digest to compare, and names of what differs for people."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["differences", "digest_of", "told_apart"]

MOST = 4
"""Differences that a message names."""


def digest_of(made_with: Mapping[str, Any]) -> str:
    """A short name for everything that a run depends on."""
    parts = list(made_with.values())
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def differences(saved: Any, mine: Any, key: str = "") -> Iterator[str]:
    """Each setting that is another one, as ``options.training.epochs 6, now 5``."""
    if isinstance(saved, Mapping) and isinstance(mine, Mapping):
        for name in dict.fromkeys([*saved, *mine]):
            yield from differences(saved.get(name), mine.get(name), f"{key}.{name}" if key else str(name))
    elif json.dumps(saved, default=str) != json.dumps(mine, default=str):
        # Digests stand for what is too long to be told.
        long = max(len(str(saved)), len(str(mine))) > 40 or key.endswith(
            ("digest", "data", "models", "encoder")
        )
        yield key if long else f"{key} {saved}, now {mine}"


def told_apart(saved: Mapping[str, Any] | None, mine: Mapping[str, Any] | None) -> str:
    """The differences in brackets, or nothing where they are not known."""
    if saved is None or mine is None:
        return ""
    found = list(differences(saved, json.loads(json.dumps(mine, default=str))))
    rest = f", and {len(found) - MOST} more" if len(found) > MOST else ""
    return f" ({'; '.join(found[:MOST])}{rest})" if found else ""
