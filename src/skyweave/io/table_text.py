"""From bytes to a table of text: encoding, separator, heading, and rows that have as many fields as it."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator

import pandas as pd

from skyweave.errors import SkyweaveError, clipped

__all__ = ["text_frame", "text_of"]

SEPARATORS = (",", ";", "\t", "|")
SPACES = " "
LONGEST_HEADING = 100_000
"""Characters of a heading; what is longer is no heading."""

MANY_LINES, SHORT = 2_000_000, 4
"""Lines, and characters of each on the average, of which a text is no table: each costs memory of its own."""
LONGEST_ROW = 10_000_000
"""Characters of a row, which is cut into fields that cost memory of their own."""
PROLOGUE = 40
"""Lines above the heading that are looked through for it."""

# Words that a heading has: enough to tell it from lines above it, and units from values.
HEADING_WORDS = frozenset(
    ("time", "date", "datetime", "date_time", "timestamp", "valid_time", "valid", "utc", "year", "lat", "latitude",
     "lon", "long", "lng", "longitude", "station", "station_id", "id", "site", "name", "variable", "value", "obs")
)  # fmt: skip


def text_of(raw: bytes, path: str, notes: list[str]) -> str:
    """Text of a file: UTF-8, UTF-16 with or without its mark, else Windows-1252; what was assumed is noted.

    Raises:
        SkyweaveError: it is no text.
    """
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return _decoded(raw, "utf-16", path)
    nulls = raw[:2000].count(0)
    if nulls and nulls >= 0.3 * len(raw[:2000]):
        # Latin letters in UTF-16 have a zero in every other byte, in the first or the second of each pair.
        return _decoded(raw, "utf-16-le" if raw[1:2] == b"\0" else "utf-16-be", path)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        control = sum(raw[:4000].count(byte) for byte in (*range(9), *range(14, 32)))
        if control:
            raise SkyweaveError(_no_text(path)) from None
        notes.append("read as Windows-1252 (Latin-1), for it is not UTF-8")
        return raw.decode("cp1252", "replace")
    if "\0" in text:
        raise SkyweaveError(_no_text(path))
    return text


def _decoded(raw: bytes, encoding: str, path: str) -> str:
    try:
        return raw.decode(encoding).lstrip("\ufeff")
    except UnicodeDecodeError:
        raise SkyweaveError(_no_text(path)) from None


def _no_text(path: str) -> str:
    return f"{path}: is not a text table (CSV or CSV.gz); gridded files are opened with open_fields"


def text_frame(text: str, path: str, notes: list[str]) -> pd.DataFrame:
    """A table of text, one column per heading; nothing is converted, missing fields are empty.

    Lines that are empty or begin with ``#`` are left out, as are lines above the heading, which is the first line
    that names a column such as ``lat`` or ``time`` twice or more, or else the first.

    Args:
        text: of the file.
        path: for messages.
        notes: takes what is to be known of how it was read.

    Raises:
        SkyweaveError: nothing in it, rows of more or fewer fields than the heading (the first is shown), quotes that
            do not close.
    """
    if text.count("\n") > MANY_LINES and len(text) < SHORT * text.count("\n"):
        raise SkyweaveError(
            f"{path}: has {text.count(chr(10))} lines of hardly a character each; it is no table, or damaged"
        )
    numbered = _content(text)
    longest = max((len(line) for _, line in numbered), default=0)
    if longest > LONGEST_ROW:
        raise SkyweaveError(
            f"{path}: has a row of {longest} characters; it is no table, or its lines do not end"
        )
    if not numbered:
        raise SkyweaveError(f"{path}: is empty")
    start, heading, separator = _heading(numbered, text, path)
    if start is not None and start > 0:
        notes.append(f"{start} lines above the heading left out, the first {clipped(numbered[0][1], 50)}")
    body = numbered if start is None else numbered[start + 1 :]
    names = [name.strip() for name in heading]
    rows = list(_rows([line for _, line in body], separator, path))
    rows = [row for row in rows if any(field.strip() for field in row)]
    _check_widths(rows, len(names), separator, path)
    _note_open_end(text, rows, notes)
    rows = [row[: len(names)] for row in rows]
    if len(names) > 1 and not names[-1] and not any(row[-1].strip() for row in rows):
        names, rows = names[:-1], [row[:-1] for row in rows]  # every line ends in a separator
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    frame = pd.DataFrame(dict(enumerate(pd.Series(c, dtype=object) for c in columns)))
    frame.columns = pd.Index(names)
    return frame


def _content(text: str) -> list[tuple[int, str]]:
    """Number and text of each line that holds something; comments only where a heading may hide in one."""
    lines = text.splitlines()
    kept = [(n, line) for n, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")]
    return kept


def _heading(numbered: list[tuple[int, str]], text: str, path: str) -> tuple[int | None, list[str], str]:
    """Where the heading is among the lines (``None``: in a comment above them), its fields, and the separator."""
    for start, (_, line) in enumerate(numbered[:PROLOGUE]):
        found = _split_heading(line, numbered[start + 1 : start + 6])
        if found is not None and _named(found[0]) >= 2:
            return start, *found
    comments = [line.strip().lstrip("#").strip() for line in text.splitlines()[: numbered[0][0]]]
    for line in filter(None, reversed(comments)):
        found = _split_heading(line, numbered[:5])
        if found is not None and _named(found[0]) >= 2:
            return None, *found
    line = numbered[0][1]
    if len(line) > LONGEST_HEADING:
        raise SkyweaveError(
            f"{path}: its first line has {len(line)} characters ({clipped(line, 40)}): no heading of a table; "
            "are its line ends lost?"
        )
    found = _split_heading(line, numbered[1:6])
    return 0, *(found or ([line.strip()], SEPARATORS[0]))


def _named(fields: list[str]) -> int:
    """How many fields are words that headings have, without their units."""
    bare = (re.sub(r"\s*[\[(].*", "", field).strip().lower().replace(" ", "_") for field in fields)
    return sum(field in HEADING_WORDS for field in bare)


def _split_heading(line: str, following: list[tuple[int, str]]) -> tuple[list[str], str] | None:
    """Fields of a heading, and the separator: of those that it may have, one that the rows below agree with."""
    if len(line) > LONGEST_HEADING:
        return None
    best: tuple[tuple[bool, int, int], list[str], str] | None = None
    for separator in SEPARATORS:
        fields = _fields(line, separator)
        if len(fields) < 2:
            continue
        agreed = any(len(_fields(row[:LONGEST_HEADING], separator)) == len(fields) for _, row in following)
        rank = (agreed, _named(fields), len(fields))
        if best is None or rank > best[0]:
            best = (rank, fields, separator)
    if best is None and len(line.split()) > 1:
        return _fields(line, SPACES), SPACES
    return None if best is None else best[1:]


def _fields(line: str, separator: str) -> list[str]:
    if separator == SPACES:
        line = " ".join(line.split())
    try:
        return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:
        return line.split(separator)


def _rows(lines: Iterable[str], separator: str, path: str) -> Iterator[list[str]]:
    if separator == SPACES:
        lines = (" ".join(line.split()) for line in lines)
    try:
        for row in csv.reader(
            (f"{line}\n" for line in lines), delimiter=separator, skipinitialspace=True, strict=True
        ):
            if any("\n" in field for field in row):
                raise csv.Error(f"a quoted field that goes over several lines, {clipped(max(row, key=len))}")
            yield row
    except csv.Error as exc:
        raise SkyweaveError(
            f"{path}: cannot be read as a table ({exc}): look for a quotation mark that does not close; a field has "
            f"at most {csv.field_size_limit()} characters"
        ) from None


def _check_widths(rows: list[list[str]], width: int, separator: str, path: str) -> None:
    """Every row has as many fields as the heading; empty ones beyond its end do not count."""
    odd = [
        (number, row)
        for number, row in enumerate(rows)
        if len(row) != width and (len(row) < width or any(field.strip() for field in row[width:]))
    ]
    if not odd:
        return
    number, row = odd[0]
    last = number == len(rows) - 1 and len(row) < width
    counts = Counter(len(r) for _, r in odd)
    told = ", ".join(f"{n} of {k} fields" for k, n in sorted(counts.items())[:4])
    raise SkyweaveError(
        f"{path}: row {number + 1}{' (the last)' if last else ''} has {len(row)} fields where the heading has {width}: "
        f"{clipped(separator.join(row), 80)} ({told}; rows count from 1 after the heading); {_advice(odd, width, last)}"
    )


def _note_open_end(text: str, rows: list[list[str]], notes: list[str]) -> None:
    """A file cut within its last number looks whole, but for the line end that it lacks."""
    if len(rows) > 2 and not text.endswith(("\n", "\r")):
        last, others = rows[-1][-1].strip(), [row[-1].strip() for row in rows[:-1]]
        if len(last) < min(map(len, others)):
            notes.append(f"the last line ends in {last!r} without a line end: is the file whole?")


def _advice(odd: list[tuple[int, list[str]]], width: int, last: bool) -> str:
    if last and len(odd) == 1:
        return "is the file cut short, or is this a line below the table? Complete it or take the line out"
    if all(len(row) > width for _, row in odd):
        whole = all(
            re.fullmatch(r"[+-]?\d+", field.strip()) for _, row in odd for field in row[1 : width + 1]
        )
        return (
            "decimal commas between commas cannot be told apart: write decimal points, or separate by semicolons"
            if whole
            else "put text that holds the separator into quotation marks, or name every column in the heading"
        )
    return "write a separator for every column, also where a value is missing"
