"""Tensors and a JSON header in one safetensors file: written whole or not at all, and checked before it is believed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from skyweave.config import explain
from skyweave.errors import SkyweaveError
from skyweave.io.disk import clear_dead, sync_file
from skyweave.io.folder import make_folder

__all__ = [
    "Part", "check_file", "check_kind", "check_shapes", "damaged", "parse_header", "read_tensors", "write_tensors",
]  # fmt: skip

Header = TypeVar("Header", bound=BaseModel)

MOST_HEADER = 2**26
"""Bytes of a JSON header, at most; those of the shipped priors are a few thousand."""

MAY_MISS = ("static.", "climatology")
"""Tensors that may have missing values, by the beginning of their names: surfaces, and climates of part of a grid."""

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class Part(BaseModel):
    """A part of a header: nothing unknown, no number for a text and no text for a number."""

    model_config = ConfigDict(extra="forbid", strict=True)


def write_tensors(tensors: dict[str, Tensor], header: dict[str, Any], path: Path) -> None:
    """Write tensors and a JSON header as one file that appears complete or not at all.

    Raises:
        SkyweaveError: a number that is not finite, or the disk refuses; what was there is untouched.
    """
    _check_finite(tensors, path, "nothing was written")
    make_folder(path.parent)
    clear_dead(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.touch()
        mode = (
            partial.stat().st_mode
        )  # as the umask wants it; safetensors would have it readable by its owner alone
        # Shared storage is refused by safetensors, and views would be written whole.
        save_file({k: v.clone() for k, v in tensors.items()}, partial, {"skyweave": json.dumps(header)})
        partial.chmod(mode)
        sync_file(partial)
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        raise SkyweaveError(f"{path}: cannot be written ({error}); what was there is untouched") from error
    finally:
        partial.unlink(missing_ok=True)


def read_tensors(path: Path, what: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a file written by `write_tensors`.

    Raises:
        SkyweaveError: the file is missing, damaged, holds numbers that are not finite, or was not written by
            skyweave.
    """
    check_file(path, what)
    try:
        with safe_open(path, framework="pt") as handle:  # type: ignore[no-untyped-call]
            text = (handle.metadata() or {}).get("skyweave")
            if text is None:
                raise SkyweaveError(f"{path}: a safetensors file, but not {what} of skyweave")
            header = _parsed(text, path)
            tensors = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118
    except SkyweaveError:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        # The library's messages may quote the whole header.
        raise SkyweaveError(
            f"{path}: not a readable safetensors file ({error!s:.200}); expected {what}"
        ) from None
    _check_finite(tensors, path, f"{what} holds finite numbers only: the file is damaged, or training failed")
    return header, tensors


def check_file(path: Path, what: str) -> None:
    """Refuse what cannot be a safetensors file before it is opened: its header must lie within the file.

    Raises:
        SkyweaveError: no such file, or a length of the header that is beyond the file or `MOST_HEADER`.
    """
    try:
        found = path.is_file()
        if found:
            with path.open("rb") as handle:
                size, length = os.fstat(handle.fileno()).st_size, int.from_bytes(handle.read(8), "little")
                head = handle.read(min(length, MOST_HEADER, size))
    except (OSError, ValueError) as error:
        raise SkyweaveError(f"{str(path)!r:.200}: cannot be read ({error!s:.200}); expected {what}") from None
    if not found:
        raise SkyweaveError(f"{path}: no such file; expected {what}")
    if size < 10 or length > size - 8 or length > MOST_HEADER:
        raise SkyweaveError(
            f"{path}: not a readable safetensors file (a header of {length} bytes in a file of {size}); "
            f"expected {what}"
        )
    _parsed(head, path)  # of two entries of one name the library would take one


def parse_header(header: Mapping[str, Any], model: type[Header], path: Path | str, what: str) -> Header:
    """The header of a file checked against a model, before anything is built from it.

    Raises:
        SkyweaveError: with the keys that are wrong.
    """
    try:
        return model.model_validate(header)
    except (ValidationError, RecursionError) as error:
        lines = list(explain(error.errors(), model)) if isinstance(error, ValidationError) else ["too deep"]
        more = f"; and {len(lines) - 3} more" if len(lines) > 3 else ""
        raise SkyweaveError(
            f"{path}: {what} is incomplete or damaged ({'; '.join(f'{x:.160}' for x in lines[:3])}{more})"
        ) from None


def check_shapes(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path | str, what: str
) -> None:
    """Refuse weights that are not those of the network that a header describes (built without memory, say).

    Raises:
        SkyweaveError: a tensor that lacks, is too many, or has another shape or kind of number.
    """
    lacking, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if lacking or extra:
        told = [f"no {_few(lacking)}"] if lacking else []
        told += [f"{_few(extra)} belongs to no layer"] if extra else []
        raise SkyweaveError(
            f"{path}: {what} is incomplete or damaged: {'; '.join(told)} of the network of its header"
        )
    for name, tensor in wanted.items():
        if found[name].shape != tensor.shape:
            raise SkyweaveError(
                f"{path}: {what} is incomplete or damaged: {name} has shape {tuple(found[name].shape)}, the network "
                f"of its header {tuple(tensor.shape)}"
            )
        if tensor.is_floating_point() and found[name].dtype not in _DTYPES:
            raise SkyweaveError(
                f"{path}: {what} is incomplete or damaged: {name} holds {found[name].dtype}, weights are floating "
                "point numbers"
            )


def check_kind(header: Mapping[str, Any], kind: str, version: int, path: Path | str, what: str) -> None:
    """Refuse a header of another kind of file, or of a newer schema.

    Raises:
        SkyweaveError: with the kind or the version found.
    """
    if header.get("kind") != kind:
        raise SkyweaveError(f"{path}: not {what} (kind {header.get('kind')!r:.60})")
    found = header.get("schema_version", 0)
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise SkyweaveError(f"{path}: damaged header (schema version {found!r:.60})")
    if found > version:
        raise SkyweaveError(
            f"{path}: schema version {found!r:.60} is newer than this skyweave reads ({version})"
        )


def damaged(path: Path | str, what: str, error: Exception) -> SkyweaveError:
    """The error of a file that could not be put together."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    kind = "" if isinstance(error, SkyweaveError) else f"{type(error).__name__}: "
    return SkyweaveError(f"{path}: {what} is incomplete or damaged ({kind}{reason:.300})")


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(f"{name:.60}" for name in names[:3]) + (
        f" and {len(names) - 3} more" if len(names) > 3 else ""
    )


def _check_finite(tensors: Mapping[str, Tensor], path: Path, ending: str) -> None:
    for name, value in tensors.items():
        if not (value.is_floating_point() or value.is_complex()) or value.numel() == 0:
            continue
        value = value.float() if value.element_size() == 1 else value  # numbers of 8 bits have few functions
        wrong = ~torch.isfinite(value)
        if name.startswith(MAY_MISS):
            wrong &= ~value.isnan()
        if bool(wrong.any()):
            raise SkyweaveError(
                f"{path}: {name:.80} is not finite in {int(wrong.sum())} of {value.numel()} values; {ending}"
            )


def _parsed(text: str | bytes, path: Path) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(pairs)
        if len(out) < len(pairs):
            names = [key for key, _ in pairs]
            twice = next(key for key in names if names.count(key) > 1)
            raise SkyweaveError(f"{path}: damaged header ({twice!r:.60} stands twice)")
        return out

    try:
        header = json.loads(text, object_pairs_hook=once)
    except SkyweaveError:
        raise
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else f"{error!s:.200}"
        raise SkyweaveError(f"{path}: not a readable safetensors file: damaged header ({reason})") from None
    if not isinstance(header, dict):
        raise SkyweaveError(f"{path}: damaged header (a {type(header).__name__}, not keys and values)")
    return header
