"""Flags of quality: which columns and variables hold them, and which values a caller keeps by them.

Nothing is kept or dropped by a flag unless the caller says how: 0 is the best flag of some archives and the worst of
others. What is not applied is told.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from skyweave.errors import SkyweaveError, clipped, did_you_mean
from skyweave.io.table_values import is_missing

__all__ = [
    "Kept",
    "Quality",
    "flag_fields",
    "flags_among",
    "is_flag",
    "kept",
    "left_out",
    "meaning_words",
    "unapplied",
]

Kept = float | Sequence[float] | Sequence[str] | str
"""The greatest flag kept; the least and the greatest; or the flags kept themselves, as texts."""
Quality = Mapping[str, Kept]

WORDS = frozenset(("qc", "qa", "qf", "dqf", "qcf", "flag", "flags", "flg", "quality", "qcflag", "qflag"))
FILLERS = frozenset(("code", "control", "level", "data", "index", "status"))
"""Words of a flag's name that tell nothing of its variable."""
OTHER = re.compile(r"(air|water)[_ ]?quality", re.IGNORECASE)
STATES = ("flag_values", "flag_masks", "flag_meanings")
SHOWN = 6


def is_flag(name: str) -> bool:
    """Whether a name is that of quality flags: ``qc``, ``t2m_qc``, ``QC_T2M``, ``Quality Flag``, ``tempQC``."""
    return OTHER.search(name) is None and not WORDS.isdisjoint(_parts(name))


def flags_among(names: Iterable[str], variables: Iterable[str]) -> dict[str, str | None]:
    """Which names are those of flags, and of which variable each is: ``None`` where it is of all.

    Args:
        names: without units.
        variables: names that may be variables; flags among them are passed over.
    """
    names = list(names)
    own = {_joined(v): v for v in variables if not is_flag(v)}
    glued = {f"{a}{b}": v for key, v in own.items() for w in WORDS for a, b in ((key, w), (w, key))}
    found: dict[str, str | None] = {}
    for name in names:
        if is_flag(name):
            rest = "".join(part for part in _parts(name) if part not in WORDS)
            bare = "".join(part for part in _parts(name) if part not in WORDS | FILLERS)
            found[name] = own.get(rest) or own.get(bare)
        elif _joined(name) in glued and _joined(name) not in own:
            found[name] = glued[_joined(name)]
    return found


def _parts(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z\d])(?=[A-Z]{2,}\b|[A-Z][a-z])", "_", name)
    return [part for part in re.split(r"[^A-Za-z\d]+", spaced.lower()) if part]


def _joined(name: str) -> str:
    return "".join(_parts(name))


def kept(column: pd.Series, how: Kept, where: str) -> np.ndarray:
    """Which rows have a flag that is kept; those without a flag have none.

    Args:
        column: flags, numbers or words.
        how: see `Kept`.
        where: file and column, for messages.

    Raises:
        SkyweaveError: a limit of another form, or flags that are words where a number is the limit.
    """
    if isinstance(how, str) or (len(_listed(how)) and all(isinstance(h, str) for h in _listed(how))):
        wanted = {str(h).strip() for h in _listed(how)}
        return flag_words(column).isin(wanted).to_numpy()
    low, high = limits_of(how, where)
    gone = is_missing(column)
    values = pd.to_numeric(column.astype(object).where(~gone), errors="coerce").astype(float)
    odd = values.isna() & ~gone
    if odd.any():
        raise SkyweaveError(
            f"{where}: holds the flag {clipped(column[odd].iloc[0], 30)}, which is no number: name the flags that are "
            f"kept as texts, quality: {{NAME: ['{column[odd].iloc[0]!s:.12}']}}"
        )
    return ((values >= low) & (values <= high)).to_numpy()


def limits_of(how: Kept, where: str) -> tuple[float, float]:
    """The least and the greatest flag kept.

    Raises:
        SkyweaveError: neither a number nor two.
    """
    given = _listed(how)
    numbers = [h for h in given if isinstance(h, (int, float, np.number)) and not isinstance(h, bool)]
    if len(numbers) != len(given) or len(numbers) not in (1, 2):
        raise SkyweaveError(
            f"{where}: quality {how!r:.60}: a number is the greatest flag kept, two are the least and the greatest; "
            "single flags are texts, as in ['0', '1', '5']"
        )
    return (-np.inf, float(numbers[0])) if len(numbers) == 1 else (float(numbers[0]), float(numbers[1]))


def _listed(how: Kept) -> list[object]:
    return [how] if isinstance(how, (str, int, float, np.number)) else list(how)


def flag_words(column: pd.Series) -> pd.Series:
    """Flags as words, whole numbers without decimals, missing ones empty."""

    def word(cell: object) -> str:
        text = str(cell).strip()
        return re.sub(r"\.0+$", "", text) if re.fullmatch(r"[+-]?\d+\.0+", text) else text

    return column.map(word).where(~is_missing(column), "")


def unapplied(names: str, column: pd.Series, of: str | None) -> str:
    """The note on a column of flags that the caller says nothing of."""
    return (
        f"WARNING: {clipped(names, 40)} holds quality flags that are not applied ({_counted(column)}): "
        f"{'all reports' if of is None else f'all values of {of}'} are used whatever their flag. Say which are kept at "
        f"the source in the YAML: quality: {{{names}: 1}} for the greatest, {{{names}: [0, 1]}} for the least and the "
        f"greatest, or {{{names}: ['A', 'B']}} for the flags themselves (quality= of read_stations in Python); "
        "quality: {} keeps all"
    )


def left_out(names: str, gone: pd.Series, of: str | None) -> str:
    """The note on what a flag left out, by flag."""
    return f"left out by quality: {len(gone)} {of or 'reports'} by {clipped(names, 40)} ({_counted(gone)})"


def _counted(column: pd.Series) -> str:
    counts = Counter(flag_words(column))
    shown = [f"{clipped(w, 20) if w else 'without one'}: {n}" for w, n in counts.most_common(SHOWN)]
    return ", ".join(shown) + (f" and {len(counts) - SHOWN} other flags" if len(counts) > SHOWN else "")


def flag_fields(ds: xr.Dataset, name: str) -> list[str]:
    """Variables of a dataset that hold flags of another: its `ancillary_variables`, or by their names."""
    field = ds[name]
    linked = {str(n): str(ds[n].attrs.get("ancillary_variables", "")).split() for n in ds.data_vars}
    found = [a for a in linked.get(name, ()) if a in ds.variables and (_states(ds[a]) or is_flag(a))]
    of_others = {a for own, names in linked.items() if own != name for a in names}
    others = [
        str(n) for n in ds.data_vars if str(n) != name and set(ds[n].dims) <= set(field.dims) and ds[n].ndim
    ]
    named = flags_among([n for n in others if n not in of_others], [str(n) for n in ds.data_vars])
    # Cloud water is called qc too; flags have no units.
    bare = {n for n in named if _states(ds[n]) or str(ds[n].attrs.get("units", "1")).strip() in ("", "1")}
    found += [n for n, of in named.items() if of in (None, name) and n in bare]
    return list(dict.fromkeys(found))


def _states(field: xr.DataArray) -> bool:
    standard = str(field.attrs.get("standard_name", ""))
    return any(key in field.attrs for key in STATES) or standard.endswith(("status_flag", "quality_flag"))


def meaning_words(field: xr.DataArray, how: Kept, where: str) -> Kept:
    """A limit in which CF's meanings (``good_data``) stand for their flags; others unchanged.

    Raises:
        SkyweaveError: texts that are neither meanings nor numbers, or meanings of bits.
    """
    texts = [h for h in _listed(how) if isinstance(h, str)]
    if len(texts) != len(_listed(how)):
        return how
    meanings = str(field.attrs.get("flag_meanings", "")).split()
    if "flag_masks" in field.attrs and any(t in meanings for t in texts):
        raise SkyweaveError(
            f"{where}: its flags are bits, several at once: say a number, as in quality: {{NAME: 0}}"
        )
    values = [str(v) for v in np.ravel(np.asarray(field.attrs.get("flag_values", ())))]
    known = dict(zip(meanings, values, strict=False))
    for text in texts:
        if meanings and text not in known and not re.fullmatch(r"[+-]?\d+(\.\d*)?", text):
            raise SkyweaveError(
                f"{where}: no flag means {text!r}{did_you_mean(text, list(known))}; its meanings are {', '.join(known)}"
            )
    return [known.get(text, text) for text in texts]
