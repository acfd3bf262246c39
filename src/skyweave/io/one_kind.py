"""Variables of several files that are to follow one another: the same quantity, at the same level, in one unit."""

from __future__ import annotations

import numpy as np
import xarray as xr

from skyweave.errors import SkyweaveError, note
from skyweave.io.axes import LEVEL_NAMES
from skyweave.units import conversion

__all__ = ["one_kind"]


def one_kind(group: list[xr.Dataset]) -> list[xr.Dataset]:
    """The files with every variable in the units of the first that states them.

    Args:
        group: of the same variables, each with its path as ``encoding["source"]``; stay lazy.

    Raises:
        SkyweaveError: units that cannot be converted, or that some files state and others do not; other quantities by
            their standard names; other levels.
    """
    for name in group[0].data_vars:
        _check_names(group, str(name))
        group = _in_one_unit(group, str(name))
    _check_levels(group)
    return group


def _check_names(group: list[xr.Dataset], name: str) -> None:
    held = {p.encoding["source"]: str(p[name].attrs.get("standard_name", "")) for p in group}
    known = {source: standard for source, standard in held.items() if standard}
    first = next(iter(known), None)
    for source, standard in known.items():
        if standard != known[str(first)]:
            raise SkyweaveError(
                f"{source}: {name!r} is {standard!r} by its standard_name, in {first} {known[str(first)]!r}; give "
                "files of one quantity"
            )


def _in_one_unit(group: list[xr.Dataset], name: str) -> list[xr.Dataset]:
    units = [str(piece[name].attrs.get("units", "")).strip() for piece in group]
    stated = [u for u in units if u]
    if len(set(units)) == 1:
        return group
    if len(stated) < len(units):
        lacking, other = (group[k].encoding["source"] for k in (units.index(""), units.index(stated[0])))
        raise SkyweaveError(
            f"{lacking}: {name!r} states no units, in {other} they are {stated[0]!r}; correct the attribute, or open "
            "the files apart"
        )
    out = []
    for piece, unit in zip(group, units, strict=True):
        scale, offset = conversion(
            unit, units[0], f"{piece.encoding['source']}: {name!r}, among files in {units[0]!r}"
        )
        if (scale, offset) != (1.0, 0.0):
            field = (
                piece[name] * np.float32(1) if piece[name].dtype.kind != "f" else piece[name]
            ) * scale + offset
            moved = piece.assign(
                {name: field.astype(field.dtype).assign_attrs(piece[name].attrs | {"units": units[0]})}
            )
            moved.encoding = dict(piece.encoding)
            note(
                f"{piece.encoding['source']}: {name!r} is converted from {unit!r} to {units[0]!r}, as in the first file"
            )
            piece = moved
        out.append(piece)
    return out


def _check_levels(group: list[xr.Dataset]) -> None:
    for name, coord in group[0].coords.items():
        level = coord.ndim == 0 and (str(name).lower() in LEVEL_NAMES or coord.attrs.get("axis") == "Z")
        if not level or coord.dtype.kind not in "fiu":
            continue
        for piece in group:
            if name in piece.coords and piece[name].ndim == 0 and not np.isclose(piece[name], coord):
                raise SkyweaveError(
                    f"{piece.encoding['source']}: its {name} is {piece[name].item():g}, "
                    f"in {group[0].encoding['source']} {coord.item():g}; files that follow one another hold one level"
                )
