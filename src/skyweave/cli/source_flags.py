"""Sources as flags name them: a path, names of variables, errors; paths may hold ``=`` and ``:`` themselves."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from typing import Any

from skyweave.cli.source_settings import GridSource, PointSource
from skyweave.errors import SkyweaveError
from skyweave.observe.error_model import ErrorModel

__all__ = ["by_another_name", "grid_flag", "points_flag"]

NUMBER = r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
ERROR = re.compile(rf"[+-]?{NUMBER}%?(\+{NUMBER}%?)?")
PATH_LIKE = re.compile(r"[/\\]|\.[A-Za-z]\w*$")
GRID_FORM = (
    "expected PATH:VARIABLE[=ERROR] or PATH:NAME=VARIABLE[=ERROR], as in obs.nc:t2m=0.5 or obs.nc:t2m=T2=0.5"
)
POINTS_FORM = (
    "expected PATH[=ERROR] or PATH:NAME=COLUMN[=ERROR],..., as in x.csv=0.5 or x.csv:t2m=T2=0.5,msl=P=100"
)


def grid_flag(text: str) -> dict[str, Any]:
    """``PATH:VARIABLE[=ERROR]`` or ``PATH:NAME=VARIABLE[=ERROR]`` as a gridded source.

    The path may hold colons and equals signs, as URLs do; the prior's name comes before the file's.

    Raises:
        SkyweaveError: no variable is named.
    """
    path, _, tail = text.rpartition(":")
    if not path or not tail or tail.startswith("//") or re.match(r"[\\/]", tail):
        raise SkyweaveError(f"--grid {text}: {GRID_FORM}")
    parts = tail.split("=")
    if len(parts) > 3 or not all(parts):
        raise SkyweaveError(f"--grid {text}: {GRID_FORM}")
    if len(parts) == 1:
        return {"grid": path, "variable": parts[0]}
    if len(parts) == 3:
        return {"grid": path, "of": parts[0], "variable": parts[1], "error": parts[2]}
    if _is_error(parts[1]):
        return {"grid": path, "variable": parts[0], "error": parts[1]}
    return {"grid": path, "of": parts[0], "variable": parts[1]}


def points_flag(text: str) -> dict[str, Any]:
    """``PATH[=ERROR]`` or ``PATH:NAME=COLUMN[=ERROR],...`` as a source of reports.

    Each ``NAME=COLUMN`` takes one variable, by the prior's name and then the file's; ``NAME=ERROR`` one whose names
    agree. What exists as a file is a path, whatever it holds; after the ``?`` of a URL the last key keeps its ``=``.

    Raises:
        SkyweaveError: variables that are named twice or without a column.
    """
    if _exists(text):
        return {"points": text}
    for place in (n for n, letter in enumerate(text) if letter == ":"):
        path, names = text[:place], text[place + 1 :]
        if _exists(path) and "=" in names:
            return {"points": path, **_names(names, text)}
    path, equals, error = text.rpartition("=")
    head, colon, names = text.rpartition(":")
    mapped = colon and not re.match(r"//|[\\/]", names) and all(
        re.fullmatch(r"[^=/\\]+(=[^=/\\]+){1,2}", part) for part in names.split(",")
    )  # fmt: skip
    if mapped and not _exists(path):
        return {"points": head, **_names(names, text)}
    query = path.rpartition("?")[2] if "?" in path and "://" in path else None
    own = query is not None and "=" not in query.rpartition("&")[2]
    named = PATH_LIKE.search(error) is not None and not _exists(path)
    if equals and not own and not named:
        return {"points": path, "error": error}
    return {"points": text}


def by_another_name(source: object, asked: str, known: Sequence[str]) -> str:
    """How a source says that a variable has another name in its file, as a flag and in the YAML; for messages.

    Args:
        source: of the settings.
        asked: the name that the file lacks.
        known: the names that it has.
    """
    name = asked.partition("@")
    close = difflib.get_close_matches(asked, known, n=1, cutoff=0.6) or [
        k for k in known if asked.startswith(k) or k.startswith(name[0])
    ]
    guess = close[0] if close else known[0] if len(known) == 1 else "NAME_IN_FILE"
    if name[1] and "@" not in guess and guess != "NAME_IN_FILE":
        guess += name[1] + name[2]
    if isinstance(source, GridSource):
        path = source.grid if isinstance(source.grid, str) else source.grid[0]
        own = source.of or asked
        return (
            f". A variable of another name in the file: --grid {path}:{own}={guess}{_stated(source.error)}, or "
            f"of: {own} and variable: {guess} in the YAML"
        )
    if isinstance(source, PointSource):
        path = source.points if isinstance(source.points, str) else source.points[0]
        named = source.variables if isinstance(source.variables, dict) else {}
        own = next((n for n, column in named.items() if column == asked), asked)
        stated = _stated(source.errors.get(own, source.error))
        return (
            f". A variable of another name in the file: --points {path}:{own}={guess}{stated}, or variables: "
            f"{{{own}: {guess}}} in the YAML"
        )
    return ""


def _stated(error: ErrorModel | str | None) -> str:
    """An error as a flag writes it, behind an equals sign."""
    if error is None:
        return ""
    if not isinstance(error, ErrorModel):
        return f"={error}"
    parts = [f"{error.absolute:g}"] if error.absolute or not error.relative else []
    parts += [f"{100 * error.relative:g}%"] if error.relative else []
    return "=" + "+".join(parts)


def _names(names: str, text: str) -> dict[str, Any]:
    variables: dict[str, str] = {}
    errors: dict[str, str] = {}
    for part in names.split(","):
        words = [word.strip() for word in part.split("=")]
        if not 2 <= len(words) <= 3 or not all(words) or words[0] in variables:
            raise SkyweaveError(f"--points {text}: {part!r}: {POINTS_FORM}")
        named = len(words) == 2 and _is_error(words[1])
        variables[words[0]] = words[0] if named else words[1]
        if named or len(words) == 3:
            errors[words[0]] = words[-1]
    return {"variables": variables} | ({"errors": errors} if errors else {})


def _is_error(text: str) -> bool:
    return ERROR.fullmatch(text.strip()) is not None


def _exists(path: str) -> bool:
    """Whether a local file or folder has that name, or a glob may mean some."""
    try:
        return bool(path) and os.path.exists(os.path.expanduser(path))
    except (OSError, ValueError):
        return False
