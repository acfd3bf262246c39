"""Options that a configuration hands to a function or a class by name, checked against its signature."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, get_type_hints

from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from skyweave.errors import SkyweaveError, did_you_mean

__all__ = ["checked_options", "option_names"]

MOST_COUNT = 100_000
"""Of a whole number among options: iterations, modes and the like."""


def option_names(factory: Callable[..., Any], apart: Iterable[str] = ()) -> tuple[str, ...]:
    """Names of the parameters that may be given by name, without those that are handed over otherwise."""
    return tuple(
        name
        for name, parameter in inspect.signature(factory).parameters.items()
        if name not in apart and parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    )


def checked_options(
    factory: Callable[..., Any], options: Mapping[str, Any], what: str, apart: Iterable[str] = ()
) -> dict[str, Any]:
    """The options as the annotations of a factory want them.

    Args:
        factory: that takes them by name.
        options: by name.
        what: the message calls the factory.
        apart: parameters that are no options.

    Raises:
        SkyweaveError: an unknown name, a value of another type, or a number that is negative, huge or none.
    """
    known = option_names(factory, apart)
    hints = _hints(factory)
    out = {}
    for name, value in options.items():
        if name not in known:
            raise SkyweaveError(
                f"option {name!r} is unknown to {what}{did_you_mean(str(name), known)}; "
                f"known are {', '.join(known) or 'none'}"
            )
        try:
            out[name] = _as(hints.get(name, Any), value)
        except ValueError as error:
            raise SkyweaveError(f"option {name} of {what}: {error} (found {value!r:.80})") from None
    return out


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    if isinstance(factory, partial):
        factory = factory.func
    try:
        return get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)  # type: ignore[misc]
    except NameError:  # imported for type checkers alone
        return {}


def _as(annotation: Any, value: Any) -> Any:
    if isinstance(value, bool) and annotation in (int, float):
        raise ValueError("expected a number, not true or false")
    try:
        made = TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
    except PydanticSchemaGenerationError:
        made = value
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"]) from None
    for number in made.values() if isinstance(made, Mapping) else [made]:
        if isinstance(number, (int, float)) and (math.isnan(number) or number < 0):
            raise ValueError("a number of zero or more is needed")
        if isinstance(number, int) and number > MOST_COUNT:
            raise ValueError(f"at most {MOST_COUNT:,}")
    return made
