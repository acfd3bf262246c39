"""Valid files turned into odd ones: bytes, numbers, cells, JSON, tensors' headers, HDF5 attributes, YAML.

An input is a dictionary of file names and contents, so that a Zarr store or a pair of files is one as well. Every
mutator is a function of a generator of random numbers, the input and another seed to splice with; `mutant` chooses.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["KINDS", "Files", "mutant"]

Files = dict[str, bytes]
Mutator = Callable[[random.Random, bytes, bytes], bytes]

NUMBERS = (
    "0", "-1", "1e308", "-1e308", "1e400", "nan", "inf", "-inf", "9999999999999999999999", "0.1.2", "1,5", "-0",
    "2147483648", "4294967296", "18446744073709551616", "0x10", "1e-400", "--5", "",
)  # fmt: skip
WORDS = (
    "",
    " ",
    "\0",
    "NaN",
    "null",
    "None",
    "-999",
    "é",
    "\ud7ff",
    "a" * 5000,
    '"',
    "'",
    ";",
    "\t",
    "2020-13-45",
    "../x",
)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 1e308, -1e308, float("nan"), float("inf"), 2**31, 2**63, 2**70, 10**30, "", "a",
    "\0",
    "9" * 200, [], {}, [[]], [1], [1, "a", None], {"a": 1}, [float("nan")], "x" * 10_000, list(range(300)),
)  # fmt: skip
INTEGERS = (
    0,
    1,
    2,
    7,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    2**40,
    2**63 - 1,
    2**64 - 1,
)


# ---- bytes


def _flip(r: random.Random, data: bytes, other: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(r.choice((1, 1, 2, 4, 16, 64))):
        if out:
            out[r.randrange(len(out))] ^= 1 << r.randrange(8)
    return bytes(out)


def _run(r: random.Random, data: bytes, other: bytes) -> bytes:
    at, length = r.randrange(len(data) + 1), r.choice((1, 2, 4, 8, 32, 256, 4096))
    filler = bytes([r.choice((0, 0xFF, 0x20, 0x2C, 0x80, r.randrange(256)))]) * length
    return data[:at] + filler + data[at + (length if r.random() < 0.7 else 0) :]


def _truncate(r: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: r.randrange(len(data) + 1)]


def _duplicate(r: random.Random, data: bytes, other: bytes) -> bytes:
    a = r.randrange(len(data) + 1)
    b = min(len(data), a + r.choice((1, 8, 64, 512, 4096)))
    return data[:b] + data[a:b] * r.choice((1, 1, 2, 10)) + data[b:]


def _delete(r: random.Random, data: bytes, other: bytes) -> bytes:
    a = r.randrange(len(data) + 1)
    return data[:a] + data[a + r.choice((1, 2, 4, 8, 64, 512)) :]


def _splice(r: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: r.randrange(len(data) + 1)] + other[r.randrange(len(other) + 1) :]


def _integer(r: random.Random, data: bytes, other: bytes) -> bytes:
    size = r.choice((1, 2, 4, 8))
    if len(data) < size:
        return data
    at = r.randrange(len(data) - size + 1)
    value = (r.choice(INTEGERS) & (256**size - 1)).to_bytes(size, r.choice(("little", "big")))
    return data[:at] + value + data[at + size :]


def _number(r: random.Random, data: bytes, other: bytes) -> bytes:
    found = list(re.finditer(rb"-?\d+(\.\d+)?(e-?\d+)?", data))
    if not found:
        return _flip(r, data, other)
    match = r.choice(found)
    return data[: match.start()] + r.choice(NUMBERS).encode() + data[match.end() :]


BYTES: tuple[Mutator, ...] = (
    _flip,
    _flip,
    _run,
    _truncate,
    _duplicate,
    _delete,
    _splice,
    _integer,
    _integer,
    _number,
)


# ---- text


def _cell(r: random.Random, data: bytes, other: bytes) -> bytes:
    """Another word in a cell of a table, or cells too many or too few."""
    lines = data.split(b"\n")
    k = r.randrange(len(lines))
    cells = lines[k].split(b",")
    c = r.randrange(len(cells))
    what = r.randrange(6)
    if what < 3:
        cells[c] = r.choice((*NUMBERS, *WORDS)).encode("utf-8", "surrogatepass")
    elif what == 3:
        cells[c:c] = [b""] * r.choice((1, 2, 30))
    elif what == 4:
        del cells[c]
    else:
        cells[c] = bytes(r.randrange(256) for _ in range(r.randrange(1, 9)))
    lines[k] = b",".join(cells)
    return b"\n".join(lines)


def _lines(r: random.Random, data: bytes, other: bytes) -> bytes:
    """Lines swapped, doubled, dropped, joined, made very long, or with other ends."""
    lines = data.split(b"\n")
    a, b = r.randrange(len(lines)), r.randrange(len(lines))
    what = r.randrange(6)
    if what == 0:
        lines[a], lines[b] = lines[b], lines[a]
    elif what == 1:
        lines.insert(b, lines[a])
    elif what == 2:
        del lines[a]
    elif what == 3:
        lines[a] += lines[b]
    elif what == 4:
        lines[a] *= 2000
    return (b"\r\n" if what == 5 else b"\n").join(lines)


TEXT: tuple[Mutator, ...] = (_cell, _cell, _cell, _lines, _number, _number, *BYTES)


# ---- JSON, and what holds it


def _nodes(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    out = [path]
    if isinstance(value, dict):
        for key in value:
            out += _nodes(value[key], (*path, key))
    elif isinstance(value, list):
        for k in range(min(len(value), 8)):
            out += _nodes(value[k], (*path, k))
    return out


def mutate_tree(r: random.Random, tree: Any) -> Any:
    """Values of a tree replaced, dropped, doubled, renamed or nested."""
    for _ in range(r.choice((1, 1, 1, 2, 4))):
        paths = [p for p in _nodes(tree) if p]
        if not paths:
            return r.choice(VALUES)
        *way, last = r.choice(paths)
        parent = tree
        for key in way:
            parent = parent[key]
        what = r.randrange(9)
        if what < 5:
            parent[last] = json.loads(json.dumps(r.choice(VALUES)))
        elif what == 5:
            del parent[last]
        elif what == 6 and isinstance(parent[last], (int, float)) and not isinstance(parent[last], bool):
            parent[last] = (
                parent[last] * r.choice((-1, 0, 2, 10, 1000, 1e6)) if abs(parent[last]) < 1e200 else 0
            )
        elif what == 7 and isinstance(parent, dict):
            parent[r.choice(("x", "", "a\0b", str(last).upper(), str(last) + "2"))] = parent.pop(last)
        else:
            nested = parent[last]
            for _ in range(r.choice((1, 3, 60))):
                nested = [nested] if r.random() < 0.5 else {"a": nested}
            parent[last] = nested
    return tree


def _doubled(r: random.Random, text: str) -> str:
    """A key of a JSON text twice."""
    keys = list(re.finditer(r'"\w+": ', text))
    if not keys:
        return text
    key = r.choice(keys)
    return text[: key.start()] + key.group() + r.choice(("1, ", "null, ", "{}, ")) + text[key.start() :]


def mutate_json(r: random.Random, text: str) -> str:
    """A JSON text with another tree, a doubled key, great depth or other bytes."""
    what = r.randrange(12)
    if what == 0:
        return _doubled(r, text)
    if what == 1:
        return "[" * r.choice((10, 200, 5000)) + text + "]" * r.choice((0, 10, 200))
    if what == 2:
        return r.choice(TEXT)(r, text.encode(), b"{}").decode("utf-8", "replace")
    return json.dumps(mutate_tree(r, json.loads(text)))


def _json(r: random.Random, data: bytes, other: bytes) -> bytes:
    try:
        return mutate_json(r, data.decode()).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return r.choice(BYTES)(r, data, other)


def _tensors(r: random.Random, data: bytes, other: bytes) -> bytes:
    """The header of a safetensors file, that of skyweave within it, or its numbers."""
    try:
        length = int.from_bytes(data[:8], "little")
        header, body = data[8 : 8 + length], bytearray(data[8 + length :])
        outer = json.loads(header)
        what = r.randrange(8)
        if what < 5:
            own = outer["__metadata__"]
            own["skyweave"] = mutate_json(r, own["skyweave"])
        elif what == 5:
            mutate_tree(r, outer)
        elif what == 6:
            name = r.choice([key for key in outer if key != "__metadata__"])
            if r.random() < 0.5:
                outer[name]["dtype"] = r.choice(("F64", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "C64"))
            else:
                outer[name]["shape"] = outer[name]["shape"][::-1] + r.choice(([], [1]))
        else:
            for _ in range(r.choice((1, 4))):
                at = r.randrange(max(1, len(body) // 4)) * 4
                body[at : at + 4] = r.choice(
                    (b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xff", b"\xff\xff\xff\xff", b"\0" * 4)
                )
        header = json.dumps(outer).encode()
        return len(header).to_bytes(8, "little") + header + bytes(body)
    except (ValueError, KeyError, RecursionError, TypeError, IndexError):
        return r.choice(BYTES)(r, data, other)


# ---- HDF5


def _attributes(r: random.Random, data: bytes, other: bytes) -> bytes:
    """An attribute of an odd type, or none, on a variable or on the file."""
    import h5py
    import numpy as np

    odd = (
        "", "K", "abc", "hours since 1800-01-01", "days since 0000-00-00", "degrees", np.nan, 1e308, -1, 0,
        np.array([1.0, 2.0]), np.array([], float), np.bytes_(b"\xff\xfe"), np.array(["a", "b"], "S1"), np.int8(-1),
        np.complex64(1), np.array([[1, 2], [3, 4]]), True, h5py.Empty("f"), "x" * 3000,
    )  # fmt: skip
    names = (
        "units", "_FillValue", "scale_factor", "add_offset", "valid_range", "valid_min", "missing_value", "calendar",
        "standard_name", "axis", "coordinates", "bounds", "_Unsigned", "long_name", "grid_mapping", "dtype",
    )  # fmt: skip
    held = io.BytesIO(data)
    try:
        with h5py.File(held, "r+") as file:
            places = [file, *(file[name] for name in file)]
            for _ in range(r.choice((1, 1, 2, 4))):
                place = r.choice(places)
                name = r.choice((*names, *list(place.attrs)))
                if name in ("DIMENSION_LIST", "CLASS", "REFERENCE_LIST") and r.random() < 0.8:
                    continue
                if name in place.attrs and r.random() < 0.3:
                    del place.attrs[name]
                else:
                    place.attrs[name] = r.choice(odd)
    except (OSError, ValueError, TypeError, RuntimeError, KeyError):
        return r.choice(BYTES)(r, data, other)
    return held.getvalue()


# ---- YAML


def _yaml(r: random.Random, data: bytes, other: bytes) -> bytes:
    """Other values, or a construct that no configuration needs."""
    import yaml

    text = data.decode("utf-8", "replace")
    try:
        if r.random() < 0.65:
            return yaml.safe_dump(mutate_tree(r, yaml.safe_load(text))).encode("utf-8", "surrogatepass")
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, KeyError):
        pass
    lines = text.split("\n")
    k = r.randrange(len(lines))
    odd = (
        "a: &a [*a]", "<<: *none", "x: !!python/object/apply:os.system [ls]", "? [a, b]\n: 1", "y: 2020-02-30",
        "a: &b {c: *b}", "z: " + "[" * 3000, "z: {a: " * 500, "b: !!binary aaa", "s: !!set {a, b}", "k: 1\nk: 2",
        "t: 12:30:45",
        "n: .nan", "i: -.inf", "h: 0x" + "f" * 200, "o: 0o17", "e: !!int abc", "f: !!float x", "q: \"\\0\"", "- 1",
        "---", "...",
        "%TAG ! x", "a: *a", "v: ${HOME}", "v: ${NO_SUCH:-${X}}", "w: '" + "x" * 5000 + "'", "\t",
        "m: !!merge 5", "l: !!omap [a]",
        "a: &x [1,2]\nb: &y [*x,*x,*x,*x]\nc: &z [*y,*y,*y,*y]\nd: &w [*z,*z,*z,*z]\ne: [*w,*w,*w,*w]",
    )  # fmt: skip
    if r.random() < 0.5:
        lines.insert(k, r.choice(odd))
    else:
        key = lines[k].partition(":")[0]
        value = json.dumps(r.choice(VALUES)) if r.random() < 0.5 else r.choice(odd).partition(": ")[2]
        lines[k] = f"{key}: {value}"
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _bomb(r: random.Random, data: bytes, other: bytes) -> bytes:
    """A compressed file whose content is a hundred times as long, or damaged inside."""
    try:
        text = gzip.decompress(data)
    except (OSError, EOFError, ValueError, zlib.error):
        return r.choice(BYTES)(r, data, other)
    if r.random() < 0.05:
        return gzip.compress(text + r.choice((b" ", b"\n", b"a")) * 30_000_000, 1)
    return gzip.compress(r.choice(TEXT)(r, text, text), 1)


KINDS: dict[str, tuple[Mutator, ...]] = {
    "bytes": BYTES,
    "text": TEXT,
    "json": (_json, _json, _json, *BYTES[:6]),
    "tensors": (_tensors, _tensors, _tensors, _tensors, _tensors, _tensors, *BYTES),
    "hdf5": (_attributes, _attributes, _attributes, _attributes, *BYTES),
    "yaml": (_yaml, _yaml, _yaml, _yaml, *TEXT),
    "gzip": (_bomb, _bomb, _bomb, *BYTES),
}
"""Mutators by the kind of file."""


def kind_of(name: str) -> str:
    """The kind of file that a name stands for."""
    endings = {
        ".json": "json", ".zgroup": "json", ".zarray": "json", ".zattrs": "json", ".zmetadata": "json", ".yaml": "yaml",
        ".csv": "text", ".txt": "text", ".lev20": "text", ".safetensors": "tensors", ".nc": "hdf5", ".nc4": "hdf5",
        ".gz": "gzip",
    }  # fmt: skip
    return next((kind for ending, kind in endings.items() if name.endswith(ending)), "bytes")


def mutant(r: random.Random, seeds: Sequence[Files]) -> Files:
    """One odd input made of valid ones."""
    files = dict(r.choice(list(seeds)))
    for _ in range(r.choice((1, 1, 1, 2, 3))):
        name = r.choice(sorted(files))
        others = [s[name] for s in seeds if name in s]
        kind = kind_of(name)
        if kind == "hdf5" and not (files[name].startswith(b"\x89HDF") and files[name] in others):
            kind = "bytes"  # the library must not be given here what it is to be tried with later
        files[name] = r.choice(KINDS[kind])(r, files[name], r.choice(others))
        if len(files) > 1 and r.random() < 0.03:
            del files[r.choice(sorted(files))]
            if not files:
                break
    return files
