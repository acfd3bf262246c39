"""The libraries that read GRIB and BUFR, which are extras: asked for here, so that what is missing is told by name."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import BinaryIO

from skyweave.errors import SkyweaveError

__all__ = ["check_between", "first_line", "library", "needed", "told_of"]

HEADING = 200
"""Bytes between messages that may be a bulletin's heading."""
PADDING = 8
"""Messages are often padded to whole words, by whatever was in memory."""


def library(module: str, extra: str, path: str) -> ModuleType:
    """A module of an extra, with ecCodes' own messages on standard error silenced: what matters is raised.

    Args:
        module: such as ``"eccodes"``.
        extra: that it belongs to, ``"grib"`` or ``"bufr"``.
        path: the file that needs it, for the message.

    Raises:
        SkyweaveError: it is not installed.
    """
    try:
        found = importlib.import_module(module)
        _silence()
    except (ImportError, RuntimeError, OSError) as exc:
        # Without the C library the Python half of ecCodes raises RuntimeError.
        raise SkyweaveError(_missing(module, extra, path, first_line(exc))) from exc
    return found


def needed(module: str, extra: str, path: str) -> None:
    """Ask for a module of an extra without importing it: another process will.

    Raises:
        SkyweaveError: it is not installed.
    """
    try:
        found = importlib.util.find_spec(module)
    except ValueError:
        found = None
    if found is None:
        raise SkyweaveError(_missing(module, extra, path, f"No module named {module!r}"))


def _missing(module: str, extra: str, path: str, why: str) -> str:
    return f"{path}: is {extra.upper()}, which needs {module}: `pip install 'skyweave[{extra}]'` ({why})"


@functools.cache
def _silence() -> None:
    eccodes = importlib.import_module("eccodes")
    # Open for as long as the process lives: ecCodes keeps the file.
    eccodes.codes_context_set_logging(open(os.devnull, "w"))  # noqa: SIM115


@contextmanager
def told_of(path: str) -> Iterator[None]:
    """Every error of the libraries as one of ours that names the file."""
    try:
        yield
    except SkyweaveError:
        raise
    except Exception as exc:
        raise SkyweaveError(
            f"{path}: is truncated or damaged, or not wholly downloaded ({type(exc).__name__}: {first_line(exc)})"
        ) from exc


def check_between(path: str, raw: BinaryIO, start: int, end: int) -> None:
    """Refuse bytes between messages that are neither padding nor a bulletin's heading.

    The libraries pass over whatever does not begin with GRIB or BUFR, and with it a message whose first bytes are
    damaged.

    Raises:
        SkyweaveError: such bytes from ``start`` to ``end``.
    """
    if end - start < PADDING:
        return
    raw.seek(start)
    between = raw.read(min(end - start, 2**20))
    padding = not between.strip(b"\x00\r\n\x01\x03\xff \t")
    heading = len(between) <= HEADING and all(b in (1, 3, 10, 13) or 32 <= b < 127 for b in between)
    if not (padding or heading) or b"7777" in between:
        raise SkyweaveError(
            f"{path}: {end - start} bytes from byte {start} belong to no message: the file is damaged there, and a "
            "message may be lost; fetch it again, or keep the whole messages with `grib_copy` or `bufr_copy IN OUT`"
        )


def first_line(exc: BaseException) -> str:
    """What an exception says, in a line."""
    return (str(exc).strip().splitlines() or ["no further message"])[0]
