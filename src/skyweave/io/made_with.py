"""What a file was made with: a digest of everything but what is marked free, and names of what differs for people."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import xarray as xr

__all__ = ["FREE", "bytes_digest", "differences", "digest_of", "essential", "told_apart"]

FREE: dict[str, Any] = {"free": True}
"""Metadata of a dataclass's field that no result depends on: ``field(default="cpu", metadata=FREE)``."""

MOST = 4
"""Differences that a message names."""


@runtime_checkable
class Fingerprinted(Protocol):
    """What knows its own name, such as a prior."""

    def fingerprint(self) -> Any:
        """The same for the same content."""


def digest_of(made_with: Mapping[str, Any]) -> str:
    """A short name for everything that a run depends on.

    Args:
        made_with: values by name, as `essential` takes them.
    """
    parts = list(essential(made_with).values())
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def essential(settings: Any, free: Collection[str] = ()) -> Any:
    """Settings as JSON values, all of them but those that no result depends on; arrays by digest.

    Args:
        settings: a mapping, or a dataclass whose fields may be marked `FREE`; what they hold may be nested, and
            arrays, tensors, datasets, models and whatever has a ``fingerprint()`` stand for their content.
        free: names that are left out, beside the fields that are marked.
    """
    if settings is None or isinstance(settings, bool | int | float | str):
        return settings
    if isinstance(settings, Mapping):
        return {str(key): essential(value) for key, value in settings.items() if key not in free}
    if isinstance(settings, type) or (callable(settings) and hasattr(settings, "__qualname__")):
        return f"{settings.__module__}.{settings.__qualname__}"
    if isinstance(settings, Fingerprinted):
        return essential(settings.fingerprint())
    if is_dataclass(settings):
        marked = {f.name for f in fields(settings) if f.metadata.get("free")} | set(free)
        kept = {f.name: getattr(settings, f.name) for f in fields(settings) if f.name not in marked}
        return essential(kept)
    if isinstance(settings, list | tuple | set | frozenset):
        parts = [essential(part) for part in settings]
        return sorted(parts, key=str) if isinstance(settings, set | frozenset) else parts
    return _thing(settings)


def _thing(value: Any) -> Any:
    """Arrays by their bytes, other objects by what they hold."""
    if isinstance(value, np.generic):
        return value.item() if value.dtype.kind in "biuf" else str(value)
    if isinstance(value, np.ndarray):
        return {"shape": list(value.shape), "digest": bytes_digest(value)}
    if isinstance(value, xr.DataArray):
        value = value.to_dataset(name="values")
    if isinstance(value, xr.Dataset):
        return {"digest": bytes_digest(*(v.values for v in value.variables.values()))}
    if type(value).__module__.partition(".")[0] == "torch":
        return _torch(value)
    held = vars(value) if hasattr(value, "__dict__") else {}
    return {"kind": type(value).__name__} | {k: _part(v) for k, v in held.items()} if held else str(value)


def _part(value: Any) -> Any:
    """What an object of an unknown kind holds, but no other objects of unknown kinds."""
    known = (bool, int, float, str, list, tuple, np.ndarray, np.generic, Fingerprinted)
    if value is None or isinstance(value, known) or is_dataclass(value) or type(value).__module__ == "torch":
        return essential(value)
    return type(value).__name__


def _torch(value: Any) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        return {"shape": list(value.shape), "digest": bytes_digest(value.detach().cpu().contiguous().numpy())}
    return essential(value.state_dict()) if isinstance(value, torch.nn.Module) else str(value)


def bytes_digest(*arrays: np.ndarray) -> str:
    """A name for the values of arrays, in order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        plain = array.dtype.kind in "biufcMmSU"
        digest.update(np.ascontiguousarray(array).tobytes() if plain else str(array.tolist()).encode())
    return digest.hexdigest()[:32]


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
