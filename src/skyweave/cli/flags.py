"""The flags of commands that take settings: made of the settings themselves, with their types, defaults and help."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_origin

from cyclopts import Parameter

from skyweave.keywords import declared, values_of
from skyweave.reconstruction.settings import PriorSettings, Settings

__all__ = ["Flags", "SampleFlags", "flags_of", "given"]

Repeated = Parameter(consume_multiple=False)
Kind = TypeVar("Kind", bound=type)


def flags_of(settings: Any, *, defaults: bool = True) -> Callable[[Kind], Kind]:
    """Give a class, before it becomes a dataclass, a field for every setting that can be a flag.

    A flag that is not given is None: what stands in the YAML, or the default, counts.

    Args:
        settings: a dataclass or section.
        defaults: tell them in the help; a command whose file has defaults of its own does not.
    """

    def extended(kind: Kind) -> Kind:
        for name, own in declared(settings).items():
            if own.flag.absent:
                continue
            type_ = own.flag.type or own.type
            text = own.told() if defaults else own.help
            mark = Parameter(
                help=f"{text[:1].upper()}{text[1:]}.", consume_multiple=get_origin(type_) is list or None
            )
            kind.__annotations__[name] = Annotated[_optional(type_), mark]
            setattr(kind, name, None)
        return kind

    return extended


def given(flags: Any) -> dict[str, Any]:
    """The flags that were given, by name."""
    values = {} if flags is None else values_of(flags)
    return {name: value for name, value in values.items() if value is not None}


def _optional(type_: Any) -> Any:
    # Names among few are told as errors of settings are, with a hint.
    return (str if get_origin(type_) is Literal else type_) | None


@Parameter(name="*")
@dataclass(frozen=True)
@flags_of(Settings)
class Flags:
    """Settings given on the command line; what is None was not given.

    Attributes
    ----------
    prior
        Prior file, as `skyweave train` writes it.
    grid
        Gridded source PATH:VARIABLE[=ERROR], as in obs.nc:t2m=0.5, or obs.nc:t2m=T2=0.5 where T2 is its name in the
        file; may be given again.
    points
        Reports PATH[=ERROR], as in stations.csv=0.5, or stations.csv:t2m=T2=0.5,msl=P=100 to take columns by other
        names: a table, .xlsx, AERONET, BUFR, NetCDF of stations, or cells of a file; may be given again.
    soundings
        Radiosondes, IGRA or BUFR: files PATH, or a folder of IGRA files; may be given again.
    like
        File whose grid, and times if it has them, the fields take; the first gridded source by default.
    out
        Output, .zarr or .nc.
    overwrite
        Replace an output that exists.
    """

    prior: str | None = None
    grid: Annotated[list[str] | None, Repeated] = None
    points: Annotated[list[str] | None, Repeated] = None
    soundings: Annotated[list[str] | None, Repeated] = None
    like: str | None = None
    out: Path | None = None
    overwrite: bool | None = None


@Parameter(name="*")
@dataclass(frozen=True)
@flags_of(PriorSettings)
class SampleFlags:
    """How fields are drawn from a prior."""
