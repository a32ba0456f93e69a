"""Dimensions in YAML, and in Python as lists, texts and mappings; mistakes are reported with their place."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from runner import strict_yaml
from runner.command_line import truth_value
from runner.errors import ConfigFileError, did_you_mean
from runner.params.kinds import number_from_text
from runner.strict_yaml import ListNode, MappingNode, Node, Scalar
from runner.sweep.dimensions import Condition, Dimension
from runner.sweep.expressions import EXAMPLES, dimension_from_text, sentence

AXIS_KEYS = ("values", "low", "high", "step", "log", "int", "when")


@dataclass(frozen=True)
class Source:
    """Where values come from: a file, or an object whose values have no lines."""

    name: str
    has_lines: bool = True

    def place(self, line: int) -> str:
        """Return how messages about a line begin."""
        return f"{self.name}:{line}" if self.has_lines else self.name

    def entries(self, node: Node, what: str, known: Collection[str] = ()) -> dict[str, Entry]:
        """Return the pairs of a mapping by name.

        Args:
            node: The mapping.
            what: What it is called in messages.
            known: The names it may have; empty for any.

        Raises:
            ConfigFileError: it is no mapping, a name is unknown, or two differ in hyphens only.
        """
        if not isinstance(node, MappingNode):
            raise ConfigFileError(f"{self.place(node.line)}: {what} must be a mapping, lines like name: value.")
        entries: dict[str, Entry] = {}
        for key, value in node.items:
            name = key.text.replace("-", "_")
            if known and name not in known:
                hint = did_you_mean(name, known)
                raise ConfigFileError(
                    f"{self.place(key.line)}: {what} has no key {key.text}; known are {', '.join(known)}.{hint}"
                )
            if name in entries:
                raise ConfigFileError(f"{self.place(key.line)}: {name} is there twice.")
            entries[name] = Entry(name, value, key.line, self)
        return entries


@dataclass(frozen=True)
class Entry:
    """A name with its value, and where it stands."""

    name: str
    node: Node
    line: int
    source: Source

    def error(self, error: ValueError) -> ConfigFileError:
        """Return *error* with the place and the name before it."""
        return ConfigFileError(f"{self.source.place(self.line)}: {self.name}: {sentence(error)}")


def node_from_python(value: Any) -> Node:
    """Return a value of Python as YAML: enums by name, paths as text, a range as its numbers.

    Raises:
        ValueError: there is something in it that YAML does not know.
    """
    return strict_yaml.from_plain(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple | range):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {_plain(key): _plain(each) for key, each in value.items()}
    return value


def read_dimension(entry: Entry) -> Dimension:
    """Read a list of values, an expression, or a mapping with ``values``, or ``low`` and ``high``, and ``when``.

    Raises:
        ConfigFileError: it is none of these; the message begins with the place.
    """
    try:
        if isinstance(entry.node, MappingNode):
            return _from_mapping(entry)
        return _from_values(entry.name, entry.node)
    except ValueError as error:
        raise entry.error(error) from None


def node_text(node: Node) -> str:
    """Return a value of YAML as the command line takes it.

    Raises:
        ValueError: there is none.
    """
    if not isinstance(node, Scalar):
        return strict_yaml.flow(node)
    if not node.is_null:
        return node.text
    if not node.text:
        raise ValueError('a value is needed; null is None, and "" is the empty text')
    return "None"


def texts(node: Node) -> tuple[str, ...]:
    """Return the items of a list, or a single value, as the command line takes them.

    Raises:
        ValueError: a value is missing.
    """
    return tuple(map(node_text, node.items if isinstance(node, ListNode) else (node,)))


def _from_values(name: str, node: Node) -> Dimension:
    if isinstance(node, ListNode):
        return Dimension(name, values=texts(node))
    if not isinstance(node, Scalar) or node.is_null:
        raise ValueError(f"a list of values is needed, 0..4, or {', '.join(EXAMPLES.values())}")
    return dimension_from_text(name, node.text)


def _from_mapping(entry: Entry) -> Dimension:
    what = f"the mapping for {entry.name}"
    keys = entry.source.entries(entry.node, what, AXIS_KEYS)
    condition = _condition(keys["when"]) if "when" in keys else None
    if "values" not in keys:
        return replace(_from_ends(entry.name, keys), condition=condition)
    other = next((each for each in keys if each not in ("values", "when")), None)
    if other is not None:
        raise ValueError(f"values and {other} do not go together")
    return replace(_from_values(entry.name, keys["values"].node), condition=condition)


def _from_ends(name: str, keys: Mapping[str, Entry]) -> Dimension:
    missing = [key for key in ("low", "high") if key not in keys]
    if missing:
        raise ValueError(f"{' and '.join(missing)} missing; give values, or low and high")
    numbers = {key: _number(keys[key]) for key in ("low", "high", "step") if key in keys}
    are_whole = "step" in keys and all(isinstance(number, int) for number in numbers.values())
    return Dimension(
        name,
        low=numbers["low"],
        high=numbers["high"],
        step=numbers.get("step"),
        log="log" in keys and truth_value(_scalar(keys["log"])),
        is_int=truth_value(_scalar(keys["int"])) if "int" in keys else are_whole,
    )


def _condition(entry: Entry) -> Condition:
    parents = entry.source.entries(entry.node, "when")
    if len(parents) != 1:
        raise ValueError("when takes one parameter with the values for which this one exists: {optimizer: [sgd]}")
    ((name, parent),) = parents.items()
    return Condition(name, texts(parent.node))


def _number(entry: Entry) -> int | float:
    try:
        return number_from_text(_scalar(entry))
    except ValueError as error:
        raise ValueError(f"{entry.name}: {error}") from None


def _scalar(entry: Entry) -> str:
    if not isinstance(entry.node, Scalar) or entry.node.is_null:
        raise ValueError(f"{entry.name} takes a single value")
    return entry.node.text
