"""The language of ``--where``: comparisons of what runs have with values. Nothing is ever executed.

::

    condition  = and_part {"or" and_part}
    and_part   = not_part {"and" not_part}
    not_part   = "not" not_part | comparison
    comparison = value {("==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "not" "in") value}
    value      = name | `name` | number | text | true | false | none | list | "(" condition ")"
    list       = ("[" | "(") [condition {"," condition}] ("]" | ")")

It means what it means in Python, but that a value which a run does not have, or which cannot be compared, is unknown:
a condition that comes out unknown does not match, and neither does its opposite.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len

from runner.browser.records import MISSING
from runner.errors import UsageError
from runner.shown import printable

Lookup = Callable[[str], Any]
"""From a name to the value that a run has; :data:`~runner.browser.records.MISSING` where it has none."""

_Node = Callable[[Lookup], Any]

_LONGEST = 10_000
_DEEPEST = 50
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>[-+]?(?:\d{1,300}(?:\.\d{0,300})?|\.\d{1,300})(?:[eE][-+]?\d{1,9})?(?![\w.]))
    | (?P<name>[^\W\d]\w*(?:\.\w+)*)
    | `(?P<quoted>[^`]+)`
    | (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    | (?P<operator><=|>=|==|!=|[<>()\[\],])
    | (?P<end>\Z)
    )""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = frozenset({"and", "or", "not", "in"})
_CONSTANTS = {"true": True, "True": True, "false": False, "False": False, "none": None, "None": None, "null": None}
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_HINTS = (
    ("=", "write == to compare"),
    ("&", "write and"),
    ("|", "write or"),
    ("!", "write not, or != to compare"),
    ("`", "the other ` is missing"),
    ("'", "the text has no end"),
    ('"', "the text has no end"),
    ("/-:@#", "names with such characters are written in backticks: `val/loss`"),
)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Name:
    """A name in a condition, and where it stands."""

    name: str
    start: int
    end: int


class Where:
    """A condition that runs match or not."""

    def __init__(self, text: str) -> None:
        """Read the condition.

        Raises:
            UsageError: it cannot be read; the message points at the place.
        """
        self.text = text
        self.names: list[Name] = []
        """Every name in it, in the order written."""
        if len(text) > _LONGEST:
            raise UsageError(f"--where has more than {_LONGEST} characters.")
        self._depth = 0
        self._place = 0
        self._tokens = self._split()
        self._node = self._alternatives()
        if self._next.kind != "end":
            raise self._unexpected("and, or or the end")

    def matches(self, lookup: Lookup) -> bool:
        """Tell whether the run whose values *lookup* returns matches."""
        value = self._node(lookup)
        return value is not MISSING and bool(value)

    def error(self, message: str, start: int, end: int) -> UsageError:
        """Return an error that shows the condition with a mark below the characters from *start* to *end*."""
        first = max(0, start - 50)
        before, marked = printable(self.text[first:start], 400), printable(self.text[start:end], 100)
        line = f"{'…' if first else ''}{before}{marked}{printable(self.text[end : end + 30], 60)}"
        blanks = " " * cell_len(("…" if first else "") + before)
        return UsageError(f"--where: {message}\n  {line}\n  {blanks}{'^' * max(cell_len(marked), 1)}")

    # --- reading ----------------------------------------------------------------------------------------------------

    def _split(self) -> list[_Token]:
        tokens: list[_Token] = []
        place = 0
        while not tokens or tokens[-1].kind != "end":
            found = _TOKEN.match(self.text, place)
            if found is None:
                raise self._unreadable(place)
            kind = str(found.lastgroup)
            word = found[kind]
            start = found.start(kind) - (kind == "quoted")
            place = found.end()
            tokens.append(_Token("operator" if kind == "name" and word in _WORDS else kind, word, start, place))
        return tokens

    def _unreadable(self, place: int) -> UsageError:
        place += len(self.text[place:]) - len(self.text[place:].lstrip())
        hint = next((hint for characters, hint in _HINTS if self.text[place] in characters), "")
        word = re.compile(r"[\w.]*").match(self.text, place)
        end = max(word.end() if word else 0, place + 1)
        message = f"cannot read {printable(self.text[place:end], 40)!r} at column {place + 1}"
        return self.error(f"{message}; {hint}." if hint else f"{message}.", place, end)

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _take(self, *words: str) -> str:
        """Step over the next token where it is one of *words*, and return it; an empty text where it is not."""
        token = self._next
        if token.kind != "operator" or token.text not in words:
            return ""
        self._place += 1
        return token.text

    def _unexpected(self, wanted: str) -> UsageError:
        token = self._next
        found = "the end" if token.kind == "end" else repr(printable(token.text, 40))
        return self.error(f"{wanted} expected at column {token.start + 1}, not {found}.", token.start, token.end)

    def _alternatives(self) -> _Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self.error(f"more than {_DEEPEST} parentheses in one another.", self._next.start, self._next.end)
        parts = [self._conjunction()]
        while self._take("or"):
            parts.append(self._conjunction())
        self._depth -= 1
        return parts[0] if len(parts) == 1 else lambda lookup: _first(parts, lookup, decisive=True)

    def _conjunction(self) -> _Node:
        parts = [self._negation()]
        while self._take("and"):
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else lambda lookup: _first(parts, lookup, decisive=False)

    def _negation(self) -> _Node:
        negations = 0
        while self._take("not"):
            negations += 1
        node = self._comparison()
        if not negations:
            return node

        def negated(lookup: Lookup) -> Any:
            value = node(lookup)
            return value if value is MISSING else bool(value) != bool(negations % 2)

        return negated

    def _comparison(self) -> _Node:
        values, compares = [self._value()], []
        while compare := self._comparing():
            compares.append(compare)
            values.append(self._value())
        if not compares:
            return values[0]
        pairs = [_compared(each, values[i], values[i + 1]) for i, each in enumerate(compares)]
        return lambda lookup: _first(pairs, lookup, decisive=False)

    def _comparing(self) -> Callable[[Any, Any], Any] | None:
        if word := self._take(*_COMPARISONS):
            return _COMPARISONS[word]
        if self._take("not"):
            if not self._take("in"):
                raise self._unexpected("in")
            return lambda one, other: _negated(_contains(one, other))
        return None

    def _value(self) -> _Node:
        token = self._next
        opened = self._take("(", "[")
        if opened:
            return self._group(")" if opened == "(" else "]", is_list=opened == "[")
        if token.kind in ("operator", "end"):
            raise self._unexpected("a name, a number or a text")
        self._place += 1
        if token.kind == "quoted" or (token.kind == "name" and token.text not in _CONSTANTS):
            self.names.append(Name(token.text, token.start, token.end))
            return lambda lookup: lookup(token.text)
        value = _constant(token)
        return lambda lookup: value

    def _group(self, closing: str, *, is_list: bool) -> _Node:
        items: list[_Node] = []
        while not ((is_list or not items) and self._take(closing)):  # "()" is a list as well
            items.append(self._alternatives())
            if self._take(","):
                is_list = True
            elif self._take(closing):
                break
            else:
                raise self._unexpected(f"{closing} or ," if is_list else closing)
        return (lambda lookup: [item(lookup) for item in items]) if is_list or not items else items[0]


def _constant(token: _Token) -> Any:
    if token.kind == "text":
        return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), token.text[1:-1], flags=re.DOTALL)
    if token.kind == "name":
        return _CONSTANTS[token.text]
    return int(token.text) if token.text.lstrip("+-").isdecimal() else float(token.text)


def _first(parts: Sequence[_Node], lookup: Lookup, *, decisive: bool) -> Any:
    """Return the first value that decides an ``or`` (true) or an ``and`` (false); else unknown, else the last one."""
    value: Any = None
    is_unknown = False
    for part in parts:
        value = part(lookup)
        if value is MISSING:
            is_unknown = True
        elif bool(value) == decisive:
            return value
    return MISSING if is_unknown else value


def _compared(compare: Callable[[Any, Any], Any], one: _Node, other: _Node) -> _Node:
    def compared(lookup: Lookup) -> Any:
        left, right = one(lookup), other(lookup)
        if left is MISSING or right is MISSING:
            return MISSING
        try:
            return compare(left, right)
        except TypeError:  # text < number
            return MISSING

    return compared


def _contains(one: Any, other: Any) -> Any:
    if isinstance(other, list):
        if any(one == each for each in other if each is not MISSING):
            return True
        return MISSING if any(each is MISSING for each in other) else False
    return one in other if isinstance(other, str) else MISSING


def _negated(value: Any) -> Any:
    return value if value is MISSING else not value


_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": _contains,
}
