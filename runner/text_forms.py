"""The text forms of single values: a number, a text, a path, a date."""

from __future__ import annotations

import datetime
import re
import reprlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from runner import strict_yaml
from runner.command_line import truth_value
from runner.params.kinds import number_from_text
from runner.strict_yaml import Node, Scalar

_INTEGER = re.compile(r"[+-]?[0-9]+")


class TextForm(ABC):
    """How values of one kind are read from, and written to, the command line and YAML."""

    kind: ClassVar[str]
    """What the values are, in a few words, where that is the same for all parameters."""

    def describe(self) -> str:
        """Say in a few words what values there are."""
        return self.kind

    @abstractmethod
    def from_text(self, text: str) -> Any:
        """Return the value that *text* means on the command line.

        Raises:
            ValueError: it means none.
        """

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

    def claims(self, text: str) -> bool:  # noqa: ARG002 - for lists and tuples to look at
        """Tell whether *text* may be of this kind where several kinds are possible."""
        return True


class TextValue(TextForm):
    """A text as it is."""

    kind = "text"

    def from_text(self, text: str) -> str:
        """Return *text* itself."""
        return text


class IntegerValue(TextForm):
    """A whole number in plain decimal digits."""

    kind = "int"

    def from_text(self, text: str) -> int:
        """Read an int; ``3.7``, ``1_000`` and digits of other scripts are none."""
        if not _INTEGER.fullmatch(text.strip()):
            raise ValueError(f"{reprlib.repr(text)} is not an int")
        try:
            return int(text)
        except ValueError:  # Python reads no more than 4300 digits
            raise ValueError(f"{reprlib.repr(text)} has too many digits") from None


class NumberValue(TextForm):
    """A number: ``1`` stays an int and ``1.0`` a float."""

    kind = "float"

    def from_text(self, text: str) -> int | float:
        """Read a number."""
        return number_from_text(text)


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

    kind = "true or false"

    def from_text(self, text: str) -> bool:
        """Read on/off, true/false, t/f, yes/no, y/n or 1/0 in any case."""
        return truth_value(text)


@dataclass(frozen=True)
class PathValue(TextForm):
    """A path, made absolute; a :class:`Path`, or a text for the param library's own path parameters."""

    kind = "path"

    as_text: bool = False
    stays_relative: bool = False
    """Whether the parameter looks for relative paths in folders of its own."""

    def from_text(self, text: str) -> Path | str:
        """Read a path; ``~`` is the home folder."""
        if not text:  # Path("") would be the working directory
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

    kind = "bytes"

    def from_text(self, text: str) -> bytes:
        """Return the bytes that *text* stands for."""
        try:
            return text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise ValueError(f"{reprlib.repr(text)} has characters that stand for no bytes") from None

    def to_node(self, value: Any) -> Scalar:
        """Return the bytes as text."""
        return Scalar(value.decode("utf-8", "surrogateescape"), quoted=True)


class PlainValue(TextForm):
    """Whatever YAML's core schema knows. A text that looks like something else is written in quotes."""

    kind = "any value"

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


def parsed(text: str) -> Node:
    """Read a piece of YAML from the command line.

    Raises:
        ValueError: it is none.
    """
    try:
        return strict_yaml.parse(text)
    except strict_yaml.YamlError as error:
        raise ValueError(f"{reprlib.repr(text)} cannot be read: {error}") from None


def _is_text(text: str) -> bool:
    try:
        return isinstance(strict_yaml.resolve(text), str)
    except ValueError:
        return False
