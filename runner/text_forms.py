"""The text forms of single values: a number, a word, a path, a date, one out of several."""

from __future__ import annotations

import datetime
import re
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from runner import strict_yaml
from runner.command_line import truth_value
from runner.params.kinds import number_from_text
from runner.strict_yaml import Node, Scalar

_INTEGER = re.compile(r"[+-]?[0-9]+")
_MARKED_NONE = re.compile(r'("*)None\1')


class TextForm(ABC):
    """How values of one kind are read from, and written to, the command line and YAML."""

    @abstractmethod
    def from_text(self, text: str) -> Any:
        """Return the value that *text* means on the command line.

        Raises:
            ValueError: it means none.
        """

    @abstractmethod
    def describe(self) -> str:
        """Say in a few words what values there are."""

    def from_node(self, node: Node) -> Any:
        """Return the value that *node* means: by default a scalar's text means what it does on the command line.

        Raises:
            ValueError: it means none.
        """
        if not isinstance(node, Scalar):
            raise ValueError(f"{reprlib.repr(str(node))} is not {self.describe()}")
        if node.is_null:
            raise ValueError("a value is needed, not null")
        return self.from_text(node.text)

    def to_node(self, value: Any) -> Node:
        """Return what :meth:`from_node` reads as *value*.

        Raises:
            ValueError: *value* has no text form.
        """
        return strict_yaml.from_plain(value)

    def to_text(self, value: Any) -> str:
        """Return what :meth:`from_text` reads as *value*.

        Raises:
            ValueError: *value* has no text form.
        """
        node = self.to_node(value)
        return node.text if isinstance(node, Scalar) else strict_yaml.flow(node)

    def claims(self, text: str) -> bool:
        """Tell whether *text* may be of this kind where several kinds are possible."""
        del text
        return True


class TextValue(TextForm):
    """A text as it is."""

    def from_text(self, text: str) -> str:
        """Return *text* itself."""
        return text

    def describe(self) -> str:
        """Say in a few words what values there are."""
        return "text"


class IntegerValue(TextForm):
    """A whole number in plain decimal digits."""

    def from_text(self, text: str) -> int:
        """Read an int; ``3.7``, ``1_000`` and digits of other scripts are none."""
        if not _INTEGER.fullmatch(text.strip()):
            raise ValueError(f"{reprlib.repr(text)} is not an int")
        try:
            return int(text)
        except ValueError:  # Python reads no more than 4300 digits
            raise ValueError(f"{reprlib.repr(text)} has too many digits") from None

    def describe(self) -> str:
        """Say in a few words what values there are."""
        return "int"


class NumberValue(TextForm):
    """A number: ``1`` stays an int and ``1.0`` a float."""

    def from_text(self, text: str) -> int | float:
        """Read a number."""
        return number_from_text(text)

    def describe(self) -> str:
        """Say in a few words what values there are."""
        return "float"


class FloatValue(NumberValue):
    """A float; ``1`` is 1.0."""

    def from_text(self, text: str) -> float:
        """Read a float."""
        try:
            return float(number_from_text(text))
        except OverflowError:
            raise ValueError(f"{reprlib.repr(text)} is too large") from None


class TruthValue(TextForm):
    """True or False in the many words for it."""

    def from_text(self, text: str) -> bool:
        """Read on/off, true/false, t/f, yes/no, y/n or 1/0 in any case."""
        return truth_value(text)

    def describe(self) -> str:
        """Say in a few words what values there are."""
        return "true or false"


@dataclass(frozen=True)
class PathValue(TextForm):
    """A path, made absolute; a :class:`Path`, or a text for the param library's own path parameters."""

    as_text: bool = False
    stays_relative: bool = False
    """Whether the parameter looks for relative paths in folders of its own."""

    def from_text(self, text: str) -> Path | str:
        """Read a path; ``~`` is the home folder."""
        if not text:
            raise ValueError("a path is needed")
        try:
            path = Path(text).expanduser()
        except RuntimeError as error:  # ~name of a user who does not exist
            raise ValueError(f"{reprlib.repr(text)}: {error}") from None
        path = path if self.stays_relative else path.absolute()
        return str(path) if self.as_text else path

    def to_node(self, value: Any) -> Scalar:
        """Return the path as a text."""
        return Scalar(str(value), quoted=True)

    def describe(self) -> str:
        """Say in a few words what values there are."""
        return "path"


@dataclass(frozen=True)
class DateValue(TextForm):
    """A date, or where *with_time* a date or a point in time, as ISO 8601 has it."""

    with_time: bool = False

    def from_text(self, text: str) -> datetime.date:
        """Read a date, or a datetime where the text has a time."""
        try:
            return datetime.date.fromisoformat(text)
        except ValueError:
            if not self.with_time:
                raise ValueError(f"{reprlib.repr(text)} is not a {self.describe()}") from None
        try:
            return datetime.datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{reprlib.repr(text)} is not a {self.describe()}") from None

    def to_node(self, value: Any) -> Scalar:
        """Return ISO 8601."""
        moment = value if isinstance(value, datetime.date) else value.astype("datetime64[us]").item()
        return Scalar(moment.isoformat(), quoted=True)

    def describe(self) -> str:
        """Say in a few words what values there are."""
        return "date YYYY-MM-DD" + (" or time YYYY-MM-DDTHH:MM:SS" if self.with_time else "")


class BytesValue(TextForm):
    """Bytes as the command line has them: UTF-8, and surrogates U+DC80 to U+DCFF for bytes that are none."""

    def from_text(self, text: str) -> bytes:
        """Return the bytes that *text* stands for."""
        try:
            return text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise ValueError(f"{reprlib.repr(text)} has characters that stand for no bytes") from None

    def to_node(self, value: Any) -> Scalar:
        """Return the bytes as text."""
        return Scalar(value.decode("utf-8", "surrogateescape"), quoted=True)

    def describe(self) -> str:
        """Say in a few words what values there are."""
        return "bytes"


@dataclass(frozen=True)
class EnumValue(TextForm):
    """A member of an enum, by name or value."""

    enum: type[Enum]

    def from_text(self, text: str) -> Enum:
        """Return the member whose name, else whose value, is *text*: exactly, else in another case."""
        members = self.enum.__members__
        by_value = {str(member.value): member for member in reversed(self.enum)}
        for known in (members, by_value):
            if text in known:
                return known[text]
        for known in (members, by_value):
            match = next((name for name in known if name.casefold() == text.casefold()), None)
            if match is not None:
                return known[match]
        raise ValueError(f"{reprlib.repr(text)} is not {self.describe()}")

    def to_node(self, value: Any) -> Scalar:
        """Return the member's name."""
        return Scalar(value.name, quoted=True)

    def describe(self) -> str:
        """Say in a few words what values there are."""
        return f"one of {', '.join(self.enum.__members__)}"


class PlainValue(TextForm):
    """Whatever YAML's core schema knows. A text that looks like something else is written in quotes."""

    def from_text(self, text: str) -> Any:
        """Read a number, a truth value, null, a list, a mapping or a text."""
        if not text:
            raise ValueError('a value is needed; "" is the empty text')
        return strict_yaml.to_plain(parsed(text)) if text[0] in "[{\"'" else strict_yaml.resolve(text)

    def from_node(self, node: Node) -> Any:
        """Return what *node* means by YAML's core schema."""
        return strict_yaml.to_plain(node)

    def to_text(self, value: Any) -> str:
        """Return YAML, without the quotes that a text does not need."""
        if isinstance(value, str) and value and value[0] not in "[{\"'" and _is_text(value):
            return value
        return strict_yaml.flow(self.to_node(value))

    def describe(self) -> str:
        """Say in a few words what values there are."""
        return "any value"


@dataclass(frozen=True)
class ChoiceValue(TextForm):
    """One of several objects by its name. A name in quotes prefers an object that is a text."""

    choices: Sequence[tuple[str, Any]]
    """Names and objects; an object may have several names, the first is the one written."""
    is_open: bool = False
    """Whether other values are possible too."""

    def from_text(self, text: str) -> Any:
        """Return the object of that name: exactly, else in another case, else of that value."""
        if text[:1] == '"':
            node = parsed(text)
            if isinstance(node, Scalar) and self._named(node.text, quoted=True):
                return self._named(node.text, quoted=True)[0]
        return self.from_node(Scalar(text))

    def from_node(self, node: Node) -> Any:
        """Return the object of that name."""
        named = self._named(node.text, quoted=node.quoted) if isinstance(node, Scalar) else []
        plain = strict_yaml.to_plain(node)
        for value in (*named, *(value for _, value in self.choices if _same(value, plain))):
            return value
        if self.is_open and not (isinstance(node, Scalar) and not node.text and not node.quoted):
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


def parsed(text: str) -> Node:
    """Read a piece of YAML from the command line.

    Raises:
        ValueError: it is none.
    """
    try:
        return strict_yaml.parse(text)
    except strict_yaml.YamlError as error:
        raise ValueError(f"{reprlib.repr(text)} cannot be read: {error}") from None


def _is_written_bare(name: str, value: Any) -> bool:
    return isinstance(value, bool | int | float) and name == str(value)


def _is_text(text: str) -> bool:
    try:
        return isinstance(strict_yaml.resolve(text), str)
    except ValueError:
        return False


def _same(one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) and bool(one == other))
