"""Damage that shows only when values are read, told as what it is: the file, and that it is truncated or damaged."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from skyweave.errors import SkyweaveError

__all__ = ["reading"]


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Around code that reads values: what libraries raise at damaged chunks becomes an error that names the file.

    Args:
        where: the file, and the variable where it is known.

    Raises:
        SkyweaveError: the values cannot be read.
    """
    try:
        yield
    except SkyweaveError:
        raise
    except (OSError, RuntimeError, EOFError, ValueError, zlib.error) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SkyweaveError(
            f"{where}: values cannot be read; the file is truncated or damaged, or not wholly downloaded "
            f"({type(error).__name__}: {reason:.200})"
        ) from error
