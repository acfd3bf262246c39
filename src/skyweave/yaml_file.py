"""YAML files as plain values: nothing that a person would not write into a configuration is followed or built."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from skyweave.errors import SkyweaveError

__all__ = ["read_yaml"]

MOST_BYTES = 2**20
"""Of a configuration; one of a hundred thousand words is a mistake."""

MOST_DEPTH = 40
MOST_VALUES = 50_000
"""Of a configuration, aliases written out: a few lines of them can stand for more than memory holds."""


_ERRORS = (
    yaml.YAMLError, ValueError, ArithmeticError, RecursionError, TypeError, AttributeError, LookupError,
)  # fmt: skip
"""Of the loader: !!int of a word, an empty !!bool or a number of ten thousand digits are plain errors of Python."""


class _Loader(yaml.SafeLoader):
    """YAML whose dates stay the strings that were written, and whose keys stand once, depth and size bounded."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.depth = self.values = 0
        self.sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A node; an alias counts as often as what it stands for."""
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise _refused(f"more than {MOST_DEPTH} levels of keys or lists", self.peek_event())
        event, before = self.peek_event(), self.values
        if isinstance(event, yaml.AliasEvent):
            node: yaml.Node | None = self.anchors.get(event.anchor)
            if node is not None and id(node) not in self.sizes:
                raise _refused(f"{event.anchor!r:.60} contains itself", event)
        node = super().compose_node(parent, index)  # type: ignore[no-untyped-call]
        self.values += self.sizes.get(id(node), 0) if isinstance(event, yaml.AliasEvent) else 1
        if self.values > MOST_VALUES:
            raise _refused(f"more than {MOST_VALUES} values, aliases written out", event)
        if not isinstance(event, yaml.AliasEvent):
            self.sizes[id(node)] = self.values - before
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A dictionary of plain keys, each of them once."""
        if isinstance(node, yaml.MappingNode):
            self._check_keys(node)
        return dict(super().construct_mapping(node, deep))  # type: ignore[no-untyped-call]

    def _check_keys(self, node: yaml.MappingNode) -> None:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if not isinstance(key, yaml.ScalarNode):
                raise _refused("a key that is a list or has keys of its own", key)
            value = self.construct_object(key)  # type: ignore[no-untyped-call]
            if isinstance(value, float) and math.isnan(value):
                raise _refused("a key that is not a number (.nan)", key)
            if value in seen:
                raise _refused(f"the key {key.value!r:.60} stands twice", key)
            seen.add(value)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:timestamp"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _refused(what: str, place: Any) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=what, problem_mark=place.start_mark)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The keys of a YAML file.

    Raises:
        SkyweaveError: the file is missing, too large, not YAML, something else than keys, or has what no
            configuration needs: keys that stand twice, aliases of themselves, hundreds of levels.
    """
    try:
        with open(path, "rb") as handle:
            content = handle.read(MOST_BYTES + 1)
    except OSError as error:
        raise SkyweaveError(f"{path}: cannot read this configuration ({error.strerror})") from None
    except ValueError as error:  # a NUL in the name
        raise SkyweaveError(f"{str(path)!r}: cannot read this configuration ({error})") from None
    if len(content) > MOST_BYTES:
        raise SkyweaveError(f"{path}: more than {MOST_BYTES >> 20} MiB; this is no configuration")
    try:
        values = yaml.load(content.decode("utf-8-sig"), _Loader)
    except _ERRORS as error:
        reason = str(error) if len(str(error)) < 500 else f"{error!s:.500} ..."
        raise SkyweaveError(f"{path}: not valid YAML: {reason or type(error).__name__}") from None
    if not isinstance(values, dict):
        raise SkyweaveError(f"{path}: expected a mapping of keys, found {type(values).__name__}")
    _check_plain(values, str(path))
    return values


def _check_plain(values: Any, path: str) -> None:
    """Refuse characters that no path or name has, and what YAML's rarer tags build."""
    waiting = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str):
            if "\0" in value:
                raise SkyweaveError(f"{path}: {value!r:.80} holds a NUL character, which no name or path has")
        elif isinstance(value, int) and abs(value) > 2**63:
            raise SkyweaveError(
                f"{path}: a whole number of {value.bit_length()} bits; none needs more than 63"
            )
        elif not (value is None or isinstance(value, (bool, int, float))):
            raise SkyweaveError(
                f"{path}: {value!r:.80} is a {type(value).__name__}; only text, numbers, true, false, null, lists and "
                "keys are understood"
            )
