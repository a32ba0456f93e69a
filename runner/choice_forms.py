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
    is_open: bool = False
    """Whether other values are possible too."""

    def from_text(self, text: str) -> Any:
        """Return the object of that name: exactly, else in another case, else of that value."""
        is_yaml = text[:1] == '"' or (self.is_open and text[:1] in ("'", "[", "{"))
        return self.from_node(parsed(text) if is_yaml else Scalar(text))

    def from_node(self, node: Node) -> Any:
        """Return the object of that name."""
        named = self._named(node.text, quoted=node.quoted) if isinstance(node, Scalar) else []
        plain = strict_yaml.to_plain(node)
        for value in (*named, *(value for _, value in self.choices if _same(value, plain))):
            return value
        if self.is_open and plain is not None:
            return plain
        raise ValueError(f"{reprlib.repr(str(node))} is not {self.describe()}")

    def to_node(self, value: Any) -> Node:
        """Return the object's name, or its plain value where that is as good."""
        name = self._name(value)
        if name is None or _is_written_bare(name, value):
            return strict_yaml.from_plain(value)
        return Scalar(name, quoted=True)

    def to_text(self, value: Any) -> str:
        """Return the object's name, in quotes where another object would be read."""
        name = self._name(value)
        if name is None:
            return PlainValue().to_text(value)
        is_clear = name[:1] != '"' and _same(self._named(name, quoted=False)[0], value)
        return name if is_clear else strict_yaml.quote(name)

    def describe(self) -> str:
        """Say in a few words what values there are."""
        names = dict.fromkeys(self._name(value) or name for name, value in self.choices)
        return f"one of {', '.join(names)}" + (" or any other value" if self.is_open else "") if names else "any value"

    def _name(self, value: Any) -> str | None:
        return next((name for name, known in self.choices if _same(known, value)), None)

    def _named(self, text: str, *, quoted: bool) -> list[Any]:
        """Return the objects of that name, the likeliest first."""
        choices = [each for each in self.choices if not (quoted and self.is_open and _is_written_bare(*each))]
        exact = [value for name, value in choices if name == text]
        folded = [value for name, value in choices if name.casefold() == text.casefold()]
        return sorted(exact, key=lambda value: isinstance(value, str) != quoted) or folded


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


def _is_written_bare(name: str, value: Any) -> bool:
    return isinstance(value, bool | int | float) and name == str(value)


def _same(one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) and bool(one == other))
