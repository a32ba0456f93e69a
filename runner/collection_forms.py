"""The text forms of lists, mappings and arrays, of several kinds at once, and of parameters that bring their own."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner import strict_yaml
from runner.strict_yaml import ListNode, MappingNode, Node, Scalar
from runner.text_forms import PlainValue, TextForm, parsed

_MAY_RUN_CODE = frozenset({".pkl", ".h5", ".hdf5"})
"""Files that pandas reads by unpickling."""
_NEEDS_NO_QUOTES = re.compile(r"[A-Za-z0-9/.+-][A-Za-z0-9/._+-]*")


@dataclass(frozen=True)
class ListValue(TextForm):
    """A list: ``1,2,3``, or YAML's ``[1, 2, 3]`` where an item needs quotes."""

    item: TextForm

    def from_text(self, text: str) -> Any:
        """Read items between commas; blanks around them do not count, nor does a comma after the last."""
        stripped = text.strip()
        if stripped.startswith("[") and stripped.endswith("]"):
            return self.from_node(parsed(stripped))
        parts = [part.strip() for part in stripped.split(",")]
        return [self.item.from_text(part) for part in (parts if parts[-1] else parts[:-1])]

    def from_node(self, node: Node) -> Any:
        """Read a YAML list; a scalar without quotes is read as on the command line, one in quotes is the one item."""
        if isinstance(node, ListNode):
            return [self.item.from_node(item) for item in node.items]
        if isinstance(node, Scalar) and node.quoted:
            return [self.item.from_node(node)]
        if isinstance(node, Scalar) and node.is_null:
            raise ValueError("a value is needed, not null; [] is the empty list")
        return super().from_node(node)

    def to_node(self, value: Any) -> ListNode:
        """Return a YAML list."""
        return ListNode(tuple(self.item.to_node(item) for item in value))

    def to_text(self, value: Any) -> str:
        """Return items between commas where that reads well, else YAML."""
        texts = [self.item.to_text(item) for item in value]
        joined = ",".join(texts)
        if texts and joined[:1] not in ("[", "(") and all(map(_is_simple, texts)):
            return joined
        return strict_yaml.flow(self.to_node(value))

    def claims(self, text: str) -> bool:
        """Tell whether *text* has a list's brackets or commas."""
        return text.startswith("[") or ("," in text and not text.startswith("("))

    def describe(self) -> str:
        """Say in a few words what values there are."""
        what = self.item.describe()
        return f"list of {what}" if not what.startswith("one of ") else f"list out of {what.removeprefix('one of ')}"


@dataclass(frozen=True)
class TupleValue(ListValue):
    """A tuple: ``0.5,0.9``, ``(0.5, 0.9)`` or ``[0.5, 0.9]``."""

    length: int | None = None

    def from_text(self, text: str) -> Any:
        """Read items between commas, in brackets of any kind or none."""
        stripped = text.strip()
        is_bracketed = stripped.startswith("(") and stripped.endswith(")")
        return tuple(super().from_text(f"[{stripped[1:-1]}]" if is_bracketed else stripped))

    def from_node(self, node: Node) -> Any:
        """Read a YAML list, or a scalar as on the command line."""
        return tuple(super().from_node(node))

    def claims(self, text: str) -> bool:
        """Tell whether *text* has a tuple's brackets or commas."""
        return text.startswith(("(", "[")) or "," in text

    def describe(self) -> str:
        """Say in a few words what values there are."""
        return f"tuple of {'' if self.length is None else f'{self.length} '}{self.item.describe()}"


class MappingValue(TextForm):
    """A mapping as YAML or JSON has it."""

    kind = "mapping like {a: 1}"

    def from_text(self, text: str) -> Any:
        """Read ``{a: 1, b: [2, 3]}``."""
        if not text.strip():
            raise ValueError("a value is needed; {} is the empty mapping")
        return self.from_node(parsed(text))

    def from_node(self, node: Node) -> Any:
        """Read a YAML mapping."""
        if isinstance(node, MappingNode):
            return strict_yaml.to_plain(node)
        raise ValueError(f"{reprlib.repr(str(node))} is not a {self.describe()}")


@dataclass(frozen=True)
class SerializedValue(TextForm):
    """What the param library itself turns into plain lists and back: arrays and tables."""

    parameter: Any

    def from_text(self, text: str) -> Any:
        """Read ``[[1, 2], [3, 4]]``, or the name of a file that holds the values."""
        return self._deserialized(PlainValue().from_text(text))

    def from_node(self, node: Node) -> Any:
        """Read a YAML list, or the name of a file."""
        return self._deserialized(strict_yaml.to_plain(node))

    def to_node(self, value: Any) -> Node:
        """Return the values as YAML."""
        return strict_yaml.from_plain(self.parameter.serialize(value))

    def describe(self) -> str:
        """Say in a few words what values there are."""
        return f"{type(self.parameter).__name__} as nested lists, or file"

    def _deserialized(self, plain: Any) -> Any:
        if isinstance(plain, str) and _MAY_RUN_CODE.intersection(Path(plain).suffixes):
            raise ValueError(f"{plain!r} could run code when it is read; use another format, such as CSV")
        try:
            return self.parameter.deserialize(plain)
        except (ValueError, TypeError, OSError) as error:
            raise ValueError(f"{reprlib.repr(plain)} is no {self.describe()}: {error}") from None


@dataclass(frozen=True)
class EitherValue(TextForm):
    """A value of one of several classes; the first form that can read a text does. A text in quotes is a text."""

    forms: Sequence[tuple[type, TextForm]]
    """Classes and their forms, those that read everything last."""

    def from_text(self, text: str) -> Any:
        """Read a value of the first class that fits."""
        if self._has_text and text[:1] == '"' and isinstance(node := parsed(text), Scalar):
            return node.text
        for _, form in self.forms:
            try:
                if form.claims(text):
                    return form.from_text(text)
            except ValueError:
                continue
        raise ValueError(f"{reprlib.repr(text)} is not {self.describe()}")

    def from_node(self, node: Node) -> Any:
        """Read a list or mapping by the form for these, a scalar as on the command line."""
        if isinstance(node, Scalar):
            return node.text if node.quoted and self._has_text else super().from_node(node)
        for _, form in self.forms:
            try:
                return form.from_node(node)
            except ValueError:
                continue
        raise ValueError(f"{reprlib.repr(str(node))} is not {self.describe()}")

    def to_node(self, value: Any) -> Node:
        """Return the value as the form of its class writes it, without the quotes that would make it a text."""
        node = self._form_for(value).to_node(value)
        is_text = type(value) is str or not isinstance(node, Scalar)
        return node if is_text or not _NEEDS_NO_QUOTES.fullmatch(str(node)) else Scalar(str(node))

    def to_text(self, value: Any) -> str:
        """Return the value as the form of its class writes it, a text in quotes where it would be read otherwise."""
        form = self._form_for(value)
        node = form.to_node(value)
        if isinstance(node, ListNode):
            written = strict_yaml.flow(node)
            return f"({written[1:-1]})" if isinstance(value, tuple) else written
        text = form.to_text(value)
        return strict_yaml.quote(text) if type(value) is str and not self._reads_back(text) else text

    def describe(self) -> str:
        """Say in a few words what values there are."""
        return " or ".join(form.describe() for _, form in self.forms)

    @property
    def _has_text(self) -> bool:
        return any(class_ is str for class_, _ in self.forms)

    def _form_for(self, value: Any) -> TextForm:
        exact = [form for class_, form in self.forms if type(value) is class_]
        near = [form for class_, form in self.forms if isinstance(value, class_)]
        for form in (*exact, *near):
            return form
        raise ValueError(f"a value of type {type(value).__name__} is not {self.describe()}")

    def _reads_back(self, text: str) -> bool:
        try:
            return bool(self.from_text(text) == text)
        except ValueError:
            return False


@dataclass(frozen=True)
class OwnForm(TextForm):
    """The form of a parameter that defines ``from_text`` and perhaps ``to_text`` itself."""

    parameter: Any

    def from_text(self, text: str) -> Any:
        """Return what the parameter reads."""
        return self.parameter.from_text(text)

    def from_node(self, node: Node) -> Any:
        """Return what the parameter reads; a YAML list or mapping is first turned into text."""
        if isinstance(node, Scalar):
            return self.from_text(node.text)
        plain = strict_yaml.to_plain(node)
        return self.from_text(self._joined(plain) if isinstance(plain, list) else json.dumps(plain))

    def to_node(self, value: Any) -> Scalar:
        """Return the parameter's text, without quotes where it is a number or a truth value."""
        text = self.to_text(value)
        return Scalar(text, quoted=strict_yaml.resolve(text) in (None, text))

    def to_text(self, value: Any) -> str:
        """Return what the parameter writes: without a ``to_text``, str(), and items joined by commas."""
        if hasattr(self.parameter, "to_text"):
            return str(self.parameter.to_text(value))
        return self._joined(value) if isinstance(value, list | tuple) else str(value)

    def describe(self) -> str:
        """Say in a few words what values there are."""
        described = getattr(self.parameter, "describe", None)
        return str(described()) if described else type(self.parameter).__name__

    def _joined(self, value: Sequence[Any]) -> str:
        joined = ",".join(map(str, value))
        # 0,2 is a list by its comma; a list of one item may need brackets to be read as one
        return joined if self._reads(joined, value) or not self._reads(f"[{joined}]", value) else f"[{joined}]"

    def _reads(self, text: str, value: Sequence[Any]) -> bool:
        try:
            read = self.from_text(text)
        except ValueError:
            return False
        return isinstance(read, list | tuple) and list(read) == list(value)


def _is_simple(text: str) -> bool:
    return bool(text) and text == text.strip() and "," not in text
