"""The text forms of a choice: one of several objects, such as the members of an enum; a value or None."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runner import strict_yaml
from runner.strict_yaml import Node, Scalar
from runner.text_forms import PlainValue, TextForm, parsed

_MARKED_NONE = re.compile(r'("*)None\1')


@dataclass(frozen=True)
class ChoiceValue(TextForm):
    """One of several objects by its name. A name in quotes prefers an object that is a text."""

    choices: Sequence[tuple[str, Any]]
    """Names and objects; an object may have several names, the first is the one written."""

    def from_text(self, text: str) -> Any:
        """Return the object of that name: exactly, else in another case, else of that value."""
        return self.from_node(parsed(text) if text[:1] == '"' else Scalar(text))

    def from_node(self, node: Node) -> Any:
        """Return the object of that name."""
        named = self._named(node.text, quoted=node.quoted) if isinstance(node, Scalar) else []
        plain = strict_yaml.to_plain(node)
        for value in (*named, *(value for _, value in self.choices if _same(value, plain))):
            return value
        raise ValueError(f"{reprlib.repr(str(node))} is not {self.describe()}")

    def to_node(self, value: Any) -> Node:
        """Return the object's name, without quotes where the object is no text but a number or truth value."""
        name = self._name(value)
        return Scalar(name, quoted=name != str(value) or not isinstance(value, bool | int | float))

    def to_text(self, value: Any) -> str:
        """Return the object's name, in quotes where another object would be read."""
        name = self._name(value)
        is_clear = name[:1] != '"' and _same(self._named(name, quoted=False)[0], value)
        return name if is_clear else strict_yaml.quote(name)

    def describe(self) -> str:
        """Say in a few words what values there are."""
        return f"one of {', '.join(dict.fromkeys(self._name(value) for _, value in self.choices))}"

    def _name(self, value: Any) -> str:
        for name, known in self.choices:
            if _same(known, value):
                return name
        raise ValueError(f"{reprlib.repr(value)} is not {self.describe()}")

    def _named(self, text: str, *, quoted: bool) -> list[Any]:
        """Return the objects of that name, the likeliest first."""
        exact = [value for name, value in self.choices if name == text]
        folded = [value for name, value in self.choices if name.casefold() == text.casefold()]
        return sorted(exact, key=lambda value: isinstance(value, str) != quoted) or folded


@dataclass(frozen=True)
class OpenChoiceValue(PlainValue):
    """Any plain value, or an object by its name."""

    choices: Sequence[tuple[str, Any]]

    def from_text(self, text: str) -> Any:
        """Return the object of that name, else what the text means in YAML."""
        return self._object(super().from_text(text))

    def from_node(self, node: Node) -> Any:
        """Return the object of that name, else the plain value."""
        return self._object(super().from_node(node))

    def to_node(self, value: Any) -> Node:
        """Return the object's name, else the plain value."""
        return super().to_node(next((name for name, known in self._named if _same(known, value)), value))

    def describe(self) -> str:
        """Say in a few words what values there are."""
        return ", ".join([*(name for name, _ in self.choices), self.kind])

    def _object(self, plain: Any) -> Any:
        return next((value for name, value in self._named if name == plain), plain)

    @property
    def _named(self) -> list[tuple[str, Any]]:
        """The objects that need their names; those that are plain values speak for themselves."""
        return [(name, value) for name, value in self.choices if name != str(value) or not _is_plain(value)]


@dataclass(frozen=True)
class OrNone(TextForm):
    """None, or a value of another form.

    On the command line ``None`` is None; so that the text "None" can be written too, it takes a pair of double quotes.
    """

    form: TextForm

    def from_text(self, text: str) -> Any:
        """Read ``None`` as None, ``"None"`` as the other form reads ``None``."""
        if text == "None":
            return None
        return self.form.from_text(text[1:-1] if _MARKED_NONE.fullmatch(text) else text)

    def from_node(self, node: Node) -> Any:
        """Read null, and ``None`` without quotes, as None."""
        if isinstance(node, Scalar) and not node.quoted and (node.is_null or node.text == "None"):
            return None
        return self.form.from_node(node)

    def to_node(self, value: Any) -> Node:
        """Return null for None."""
        return Scalar("null") if value is None else self.form.to_node(value)

    def to_text(self, value: Any) -> str:
        """Return ``None`` for None."""
        if value is None:
            return "None"
        text = self.form.to_text(value)
        return f'"{text}"' if _MARKED_NONE.fullmatch(text) else text

    def describe(self) -> str:
        """Say in a few words what values there are."""
        return f"{self.form.describe()} or None"


def _is_plain(value: Any) -> bool:
    try:
        strict_yaml.from_plain(value)
    except ValueError:
        return False
    return True


def _same(one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) and bool(one == other))
