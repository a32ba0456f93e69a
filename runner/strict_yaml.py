"""A strict subset of YAML 1.2 as nodes that keep the text as written: no aliases, tags, duplicates or second document.

What a plain scalar means is left to whoever knows the type wanted; :func:`to_plain` resolves it by YAML's core schema.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from runner.errors import ConfigFileError

MAX_BYTES = 1_000_000
MAX_DEPTH = 50
MAX_NODES = 50_000

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUTH = {word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")}
_NUMBERS = (
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+"), lambda text: int(text, 8)),
    (re.compile(r"0x[0-9a-fA-F]+"), lambda text: int(text, 16)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
)
_NOT_FINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_TO_ESCAPE = re.compile(r'[^ -~]|["\\]')
# PyYAML looks for the colon after a key no further than 1024 characters, unless a question mark announces the key.
_LONGEST_PLAIN_KEY = 1000


class YamlError(ValueError):
    """The text is not strict YAML; ``line`` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class Scalar:
    """One value as written, without its quotes; a block scalar counts as quoted."""

    text: str
    quoted: bool = False
    line: int = 1

    def __str__(self) -> str:
        return self.text

    @property
    def is_null(self) -> bool:
        """Whether YAML reads this as null: ``null``, ``~`` or nothing at all."""
        return not self.quoted and self.text in _NULL


@dataclass(frozen=True)
class ListNode:
    """A sequence of nodes."""

    items: tuple[Node, ...]
    line: int = 1

    def __str__(self) -> str:
        return flow(self)


@dataclass(frozen=True)
class MappingNode:
    """Pairs of key and value, in the order written."""

    items: tuple[tuple[Scalar, Node], ...]
    line: int = 1

    def __str__(self) -> str:
        return flow(self)


Node = Scalar | ListNode | MappingNode


def read_file(file: Path) -> Node:
    """Read the one document in *file*; an empty file is an empty scalar.

    Raises:
        ConfigFileError: the file cannot be read or is not strict YAML; the message begins with ``file:line:``.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        return parse(_decoded(content))
    except OSError as error:
        raise ConfigFileError(f"{file}: cannot be read: {error.strerror or error}.") from None
    except YamlError as error:
        raise ConfigFileError(f"{file}:{error.line}: {error}.") from None


def parse(text: str) -> Node:
    """Read one document.

    Raises:
        YamlError: *text* is not strict YAML, or too large.
    """
    if len(text) > MAX_BYTES:
        raise YamlError(1, f"more than {MAX_BYTES} bytes")
    try:
        return _Builder(text).document()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlError(line, f"character U+{ord(text[error.position]):04X} must be escaped") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(filter(None, (error.context, error.problem)))
        raise YamlError(mark.line + 1 if mark else 1, problem) from None


def _decoded(content: bytes) -> str:
    if len(content) > MAX_BYTES:
        raise YamlError(1, f"more than {MAX_BYTES} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise YamlError(content.count(b"\n", 0, error.start) + 1, "not UTF-8") from None


class _Builder:
    """Makes nodes from PyYAML's events. Its parser does not recurse, so depth is bounded here alone."""

    def __init__(self, text: str) -> None:
        self._loader = yaml.SafeLoader(text)
        self._num_nodes = 0

    def document(self) -> Node:
        self._next()  # the start of the stream
        if isinstance(self._next(), yaml.StreamEndEvent):
            return Scalar("")
        root = self._node(self._next(), 0)
        self._next()  # the end of the document
        event = self._next()
        if not isinstance(event, yaml.StreamEndEvent):
            raise YamlError(_line(event), "a second document begins; only one is allowed")
        return root

    def _next(self) -> Any:
        try:
            return self._loader.get_event()  # type: ignore[no-untyped-call]  # types-PyYAML leaves it out
        except (ValueError, OverflowError) as error:  # \UFFFFFFFF, or a %YAML version of 5000 digits
            raise YamlError(self._loader.line + 1, f"no YAML: {error}") from None

    def _node(self, event: Any, depth: int) -> Node:
        self._num_nodes += 1
        line = _line(event)
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise YamlError(line, "anchors (&) and aliases (*) are not allowed; quote a text that begins so")
        if event.tag is not None:
            raise YamlError(line, f"tags are not allowed: {event.tag}; quote a text that begins with !")
        if depth > MAX_DEPTH:
            raise YamlError(line, f"nested deeper than {MAX_DEPTH} levels")
        if self._num_nodes > MAX_NODES:
            raise YamlError(line, f"more than {MAX_NODES} values")
        if isinstance(event, yaml.ScalarEvent):
            return Scalar(event.value, event.style is not None, line)
        if isinstance(event, yaml.SequenceStartEvent):
            return ListNode(tuple(self._items(depth + 1)), line)
        return self._mapping(line, depth + 1)

    def _items(self, depth: int) -> Iterator[Node]:
        while not isinstance(event := self._next(), yaml.CollectionEndEvent):
            yield self._node(event, depth)

    def _mapping(self, line: int, depth: int) -> MappingNode:
        lines: dict[Any, int] = {}
        pairs: list[tuple[Scalar, Node]] = []
        nodes = self._items(depth)
        for key in nodes:
            value = next(nodes)
            if not isinstance(key, Scalar):
                raise YamlError(key.line, "a key must be a single value")
            _check_key(key, value)
            first = lines.setdefault(_plain_scalar(key), key.line)
            if len(lines) == len(pairs):
                raise YamlError(key.line, f"key {key.text!r} is already in line {first}")
            pairs.append((key, value))
        return MappingNode(tuple(pairs), line)


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _check_key(key: Scalar, value: Node) -> None:
    if key.quoted:
        return
    if key.text == "<<":
        raise YamlError(key.line, "merge keys (<<) are not allowed")
    if ":" in key.text and isinstance(value, Scalar) and not value.quoted and not value.text:
        raise YamlError(key.line, f"{key.text!r} has no value; write a blank after the colon")


# --- nodes to plain values and back ---------------------------------------------------------------------------------


def to_plain(node: Node) -> Any:
    """Return None, bool, int, float, str, list or dict, by YAML's core schema: ``on`` and ``12:30`` are text.

    Raises:
        YamlError: a number is too large.
    """
    if isinstance(node, Scalar):
        return _plain_scalar(node)
    if isinstance(node, ListNode):
        return [to_plain(item) for item in node.items]
    return {_plain_scalar(key): to_plain(value) for key, value in node.items}


def _plain_scalar(node: Scalar) -> Any:
    try:
        return node.text if node.quoted else resolve(node.text)
    except ValueError as error:
        raise YamlError(node.line, str(error)) from None


def resolve(text: str) -> bool | int | float | str | None:
    """Return what a plain scalar means by YAML's core schema.

    Raises:
        ValueError: a number is too large.
    """
    if text in _NULL:
        return None
    if text in _TRUTH:
        return _TRUTH[text]
    if match := _NOT_FINITE.fullmatch(text):
        return math.nan if match[3] else float(f"{match[1]}inf")
    convert = next((convert for pattern, convert in _NUMBERS if pattern.fullmatch(text)), None)
    if convert is None:
        return text
    try:
        number: int | float = convert(text)
    except ValueError:  # Python reads no more than 4300 digits
        raise ValueError(f"the number {text[:20]}... is too large") from None
    if math.isinf(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def from_plain(value: Any, depth: int = 0) -> Node:
    """Return the node that :func:`to_plain` turns into *value*; a tuple becomes a list.

    Raises:
        ValueError: *value* is, or contains, something else than None, bool, int, float, str, list and dict.
    """
    if depth > MAX_DEPTH - 2:  # two levels are left for the file's mapping and a list around the value
        raise ValueError(f"a value nested deeper than {MAX_DEPTH - 2} levels has no text form")
    if value is None or isinstance(value, bool):
        return Scalar({None: "null", True: "true", False: "false"}[value])
    if isinstance(value, numbers.Integral):  # NumPy's too
        return Scalar(str(int(value)))
    if isinstance(value, numbers.Real):
        return Scalar(float_text(float(value)))
    if isinstance(value, str):
        return Scalar(str.__str__(value), quoted=True)
    if isinstance(value, list | tuple):
        return ListNode(tuple(from_plain(item, depth + 1) for item in value))
    if isinstance(value, dict):
        return MappingNode(tuple((_key(key), from_plain(item, depth + 1)) for key, item in value.items()))
    raise ValueError(f"a value of type {type(value).__name__} has no text form")


def _key(key: Any) -> Scalar:
    node = from_plain(key)
    if not isinstance(node, Scalar):
        raise ValueError(f"a key of type {type(key).__name__} has no text form")
    return node


def float_text(number: float) -> str:
    """Return a text that every YAML parser, of version 1.1 too, reads as this float."""
    if math.isnan(number):
        return ".nan"
    if math.isinf(number):
        return ".inf" if number > 0 else "-.inf"
    text = repr(number)
    return text if "." in text else text.replace("e", ".0e")


def flow(node: Node) -> str:
    """Return *node* as one line of YAML."""
    if isinstance(node, Scalar):
        return quote(node.text) if node.quoted else node.text
    if isinstance(node, ListNode):
        return f"[{', '.join(map(flow, node.items))}]"
    return f"{{{', '.join(f'{_flow_key(key)}: {flow(value)}' for key, value in node.items)}}}"


def _flow_key(key: Scalar) -> str:
    written = flow(key)
    return written if len(written) <= _LONGEST_PLAIN_KEY else f"? {written} "


def quote(text: str) -> str:
    """Return *text* as a double-quoted YAML scalar of printable ASCII."""
    return f'"{_TO_ESCAPE.sub(_escaped, text)}"'


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    if character in '"\\':
        return "\\" + character
    code = ord(character)
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
