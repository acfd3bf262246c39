"""Settings written once: fields of a dataclass as keywords of Python, keys of YAML and flags of the command line.

A field's annotation says its type, its range, its help and, by `FREE`, that no result depends on it; see
`skyweave.reconstruction.settings`. What takes settings takes ``settings``, an object, and ``**changes``, its fields.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Protocol,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from skyweave.errors import SkyweaveError, did_you_mean

if TYPE_CHECKING:  # flags are made of settings, and help is to be quick
    from pydantic import ConfigDict, TypeAdapter

__all__ = [
    "FREE", "STRICT", "WHOLE", "Checked", "Declared", "Flag", "Help", "check", "declared", "made_with", "part",
    "settings_of", "takes", "values_of",
]  # fmt: skip

STRICT: ConfigDict = {
    "extra": "forbid",
    "coerce_numbers_to_str": True,
    "arbitrary_types_allowed": True,
}
"""Of a section: unknown keys are errors. As `__pydantic_config__` of a dataclass it makes a section of that."""


class Dataclass(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


Kind = TypeVar("Kind", bound=Dataclass)
Function = TypeVar("Function", bound=Callable[..., Any])


class Free:
    """Marks a field on which no result depends: a run may be continued with another value."""


FREE = Free()


@dataclass(frozen=True)
class Help:
    """What a field is, as its keyword, its key and its flag tell it."""

    text: str


@dataclass(frozen=True)
class Checked:
    """A function that a value passes after its type was checked, or before; a ValueError refuses it."""

    function: Callable[[Any], Any]
    before: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        from pydantic_core import core_schema

        if self.before:
            return core_schema.no_info_before_validator_function(self.function, handler(source))
        return core_schema.no_info_after_validator_function(self.function, handler(source))


@dataclass(frozen=True)
class Flag:
    """How a field is given on the command line: by words of another type than its own, or, for a reason, not at all."""

    type: Any = None
    absent: str = ""


def _whole(value: object) -> object:
    """Whole numbers of any library as Python's own."""
    if isinstance(value, bool):
        raise ValueError("a whole number is needed")
    return int(value) if isinstance(value, numbers.Integral) else value


WHOLE = Checked(_whole, before=True)


@dataclass(frozen=True)
class Declared:
    """What the annotation of a field says.

    Args:
        name: of the field.
        type: without what is declared beside it.
        default: ``dataclasses.MISSING`` where there is none.
        help: a sentence.
        free: whether no result depends on it.
        flag: how it is given on the command line.
    """

    name: str
    type: Any
    default: Any
    help: str
    free: bool
    flag: Flag

    def told(self) -> str:
        """The help, with the default where it says something."""
        plain = isinstance(self.default, int | float | str) and not isinstance(self.default, bool)
        return f"{self.help} ({self.default})" if plain and self.help else self.help


def declared(kind: Any) -> dict[str, Declared]:
    """The fields of a dataclass as they are declared, by name."""
    whole, bare = get_type_hints(kind, include_extras=True), get_type_hints(kind)
    out = {}
    for name, default in _defaults(kind).items():
        marks = _marks(whole[name])
        help_ = next((m.text for m in marks if isinstance(m, Help)), "")
        flag = next((m for m in marks if isinstance(m, Flag)), Flag())
        free = any(isinstance(m, Free) for m in marks)
        out[name] = Declared(name, bare[name], default, help_, free, flag)
    return out


def _defaults(kind: Any) -> dict[str, Any]:
    return {
        own.name: own.default_factory() if own.default_factory is not MISSING else own.default
        for own in fields(kind)
        if own.init
    }


def _marks(annotation: Any) -> list[Any]:
    """What stands beside a type, also inside of an optional one."""
    if get_origin(annotation) is Annotated:
        inner, *marks = get_args(annotation)
        return [*marks, *_marks(inner)]
    return [mark for inner in get_args(annotation) for mark in _marks(inner)]


def values_of(settings: Dataclass) -> dict[str, Any]:
    """What a dataclass was made of, by name; `dataclasses.asdict` would take apart what the fields hold."""
    return {own.name: getattr(settings, own.name) for own in fields(settings) if own.init}


def check(settings: Dataclass, kind: type | None = None, label: str = "") -> None:
    """Check every field of a new, frozen dataclass against its annotation; values take the type that it names.

    Args:
        settings: the object.
        kind: a base of its class, whose fields alone are checked.
        label: what the message begins with.

    Raises:
        SkyweaveError: with every error.
    """
    from pydantic import ValidationError

    kind, wrong = kind or type(settings), []
    values = values_of(settings)
    for name, own in _adapters(kind).items():
        try:
            object.__setattr__(settings, name, own.validate_python(values[name]))
        except ValidationError as error:
            items = [{**item, "loc": (name, *item["loc"])} for item in error.errors()]
            wrong += [_told(item, kind, "is" if label else "=") for item in items]
    if wrong:
        raise SkyweaveError(f"{label}{': ' if label else ''}{'; '.join(wrong)}")


def _told(item: dict[str, Any], kind: Any, verb: str) -> str:
    from skyweave.config import explain

    if len(item["loc"]) == 1 and item["type"] == "less_than_equal":
        return f"{item['loc'][0]} {verb} {item['input']!r:.80}: at most {item['ctx']['le']:,}"
    if len(item["loc"]) == 1 and item["type"].startswith(("greater_than", "less_than")):
        return f"{item['loc'][0]} {verb} {item['input']!r:.80}: {item['msg'].lower()}"
    return next(explain([item], kind))


_ADAPTERS: dict[type, dict[str, TypeAdapter[Any]]] = {}


def _adapters(kind: Any) -> dict[str, TypeAdapter[Any]]:
    if kind not in _ADAPTERS:
        hints = get_type_hints(kind, include_extras=True)
        _ADAPTERS[kind] = {f.name: _adapter(hints[f.name]) for f in fields(kind) if f.init}
    return _ADAPTERS[kind]


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    from pydantic import PydanticUserError, TypeAdapter

    try:
        return TypeAdapter(annotation, config=STRICT)
    except PydanticUserError:
        return TypeAdapter(annotation)  # a section, which has a configuration of its own


def settings_of(kind: type[Kind], settings: Kind | None, changes: Mapping[str, Any], what: str) -> Kind:
    """The settings with changes by name.

    Args:
        kind: of the settings.
        settings: the defaults where None.
        changes: values of fields by name.
        what: takes them, for the message.

    Raises:
        SkyweaveError: a name that is no field, or a value that does not fit.
    """
    known = [own.name for own in fields(kind) if own.init]
    for name in changes:
        if name not in known:
            raise SkyweaveError(
                f"{what} takes no {name!r}{did_you_mean(name, known)}; its settings are {', '.join(known)}"
            )
    if settings is None:
        return kind(**changes)
    if not isinstance(settings, kind):
        raise SkyweaveError(f"{what}: settings are {kind.__name__}, not {type(settings).__name__}")
    return replace(settings, **changes) if changes else settings


def part(settings: Any, kind: type[Kind]) -> Kind:
    """Of a larger section the settings that it has from `kind`."""
    return kind(**{own.name: getattr(settings, own.name) for own in fields(kind) if own.init})


def takes(kind: Any) -> Callable[[Function], Function]:
    """Show the fields of settings in the signature and the help of a function, in place of its ``**changes``."""

    def shown(function: Function) -> Function:
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        named = [
            inspect.Parameter(d.name, inspect.Parameter.KEYWORD_ONLY, default=d.default, annotation=d.type)
            for d in declared(kind).values()
        ]
        function.__signature__ = signature.replace(parameters=[*own, *named])  # type: ignore[attr-defined]
        lines = [f"    {d.name}: {d.told()}" for d in declared(kind).values()]
        function.__doc__ = "\n".join([inspect.cleandoc(function.__doc__ or ""), "", "Settings:", *lines])
        return function

    return shown


def made_with(settings: Dataclass) -> dict[str, Any]:
    """Every field on which results depend, as JSON values; of arrays their digest."""
    values, known = values_of(settings), declared(type(settings))
    return {name: _plain(values[name]) for name, own in known.items() if not own.free}


def _plain(value: Any) -> Any:
    import numpy as np

    if isinstance(value, np.ndarray):
        found = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:16]
        return f"{' x '.join(map(str, value.shape))} {found}"
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(item) for name, item in values_of(value).items()}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value.item() if isinstance(value, np.generic) else value
