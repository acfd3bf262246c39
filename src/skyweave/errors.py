"""The one error a user meets: what was found, where, and what would work."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from typing import ClassVar


class SkyweaveError(ValueError):
    """Input that cannot be used; the message names the file, the variable, what was found and what would work.

    The command line prints the message without a traceback and exits with its status: 2 where nothing was begun, 3
    where a run was begun, and what it finished is kept.
    """

    status: ClassVar[int] = 2


class NotRectilinearError(SkyweaveError):
    """Fields whose cells have a latitude and a longitude each, where a latitude-longitude grid was expected."""


class UnknownNameError(SkyweaveError):
    """A variable or column that is not there.

    Args:
        message: what was asked for, and what there is.
        asked: the name.
        known: the names that there are.
    """

    def __init__(self, message: str, asked: str, known: Sequence[str]) -> None:
        super().__init__(message)
        self.asked, self.known = asked, tuple(known)


class SkyweaveWarning(UserWarning):
    """Something that was put right or assumed on the way and should be known; the command line prints it as a note."""


def note(text: str) -> None:
    """Tell the caller what was put right or assumed, as a `SkyweaveWarning`."""
    warnings.warn(text, SkyweaveWarning, stacklevel=3)


def did_you_mean(word: str, known: list[str] | tuple[str, ...]) -> str:
    """A hint such as ``" (did you mean 'members'?)"`` for a misspelt name, or an empty string."""
    import difflib

    for close in difflib.get_close_matches(word, [str(k) for k in known], n=3, cutoff=0.6):
        # Words that begin otherwise are other words, unless nearly all of them is the same.
        if close[:1].lower() == word[:1].lower() or difflib.SequenceMatcher(None, word, close).ratio() > 0.8:
            return f" (did you mean {close!r}?)"
    return ""


def one_of(name: str, known: Collection[str], what: str) -> str:
    """A name that is among those known.

    Raises:
        ValueError: it is not.
    """
    if name not in known:
        raise ValueError(f"no {what} {name!r}{did_you_mean(name, list(known))}; there are {', '.join(known)}")
    return name


def clipped(value: object, length: int = 60) -> str:
    """A value as Python writes it, cut to a length that a message can bear."""
    shown = repr(value if not isinstance(value, str) or len(value) <= 4 * length else value[: 4 * length])
    total = len(value) if isinstance(value, str) else len(shown)
    return shown if len(shown) <= length else f"{shown[:length]}... ({total} characters)"
