"""What a target of the fuzzer is, and the table that they are entered in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutators import Files

__all__ = ["TARGETS", "Target", "files_in", "folder_in", "target"]


@dataclass(frozen=True)
class Target:
    """One reader.

    Args:
        name: of it.
        seeds: writes valid inputs into folders of the one it is given, and returns them.
        read: opens what lies in a folder as a command would, and looks at the values.
        needs: module that must be there; without it the reader is left out, which is told.
    """

    name: str
    seeds: Callable[[Path], list[Path]]
    read: Callable[[Path], None]
    needs: str | None = None


TARGETS: dict[str, Target] = {}


def target(name: str, seeds: Callable[[Path], list[Path]], needs: str | None = None) -> Callable[[Any], Any]:
    """Enter a function that reads a folder."""

    def enter(read: Callable[[Path], None]) -> Callable[[Path], None]:
        TARGETS[name] = Target(name, seeds, read, needs)
        return read

    return enter


def files_in(folder: Path) -> Files:
    """Names below a folder and what they hold."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def folder_in(parent: Path, name: str) -> Path:
    path = parent / name
    path.mkdir()
    return path
