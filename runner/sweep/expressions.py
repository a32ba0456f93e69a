"""What one parameter varies over, as people write it: ``1e-3,3e-3``, ``0..4``, ``0..1:0.25``, ``log(1e-4,1e-1)``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from runner.errors import UsageError, did_you_mean
from runner.params.kinds import number_from_text
from runner.sweep.dimensions import Dimension

EXAMPLES = {
    "choice": "choice(a,b)",
    "int": "int(2,8) or int(2,64,log)",
    "log": "log(1e-4,1e-1)",
    "uniform": "uniform(0,0.5)",
}
"""The functions, and how they are used."""

_OTHER_NAMES = {"loguniform": "log", "randint": "int", "grid": "choice"}
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_CALL = re.compile(r"([A-Za-z_]\w*)\s*\((.*)\)", re.DOTALL)
_NUMBER = r"[+-]?(?:\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|inf|nan)"
_RANGE_BEGINS = re.compile(rf"{_NUMBER}\s*\.\.")
_RANGE = re.compile(rf"({_NUMBER})\s*\.\.\s*({_NUMBER})(?:\s*:\s*({_NUMBER}))?")
_MOST_SHOWN = 80


def parse_axis(name: str, text: str) -> Dimension:
    """Read what follows ``--sweep name=``.

    - ``1e-3,3e-3,1e-2``: these values, as they are typed. Brackets and quotes protect commas, and quotes around a
      whole value are taken off: ``[1,2],[3,4]`` are two lists.
    - ``0..4``: whole numbers with both ends; ``0..1:0.25``: numbers with a step.
    - ``log(1e-4,1e-1)``, ``uniform(0,0.5)``: all numbers between; ``int(2,8)``, ``int(2,64,log)``: whole numbers.
    - ``choice(a,b)``: the same as ``a,b``.

    Raises:
        UsageError: the text is none of these.
    """
    try:
        return dimension_from_text(name, text)
    except ValueError as error:
        shown = text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
        raise UsageError(f"--sweep {name}={shown}: {sentence(error)}") from None


def sentence(error: ValueError) -> str:
    """Return what *error* says, with a full stop unless a mark is there already."""
    text = str(error)
    return text if text.endswith((".", "?")) else f"{text}."


def dimension_from_text(name: str, text: str) -> Dimension:
    """Read what :func:`parse_axis` reads.

    Raises:
        ValueError: the text cannot be read; the message says what can.
    """
    items = _split(text)
    if not items:
        raise ValueError(f"values are needed, such as 1,2,3 or 0..4 or {', '.join(EXAMPLES.values())}")
    if len(items) == 1 and (call := _CALL.fullmatch(items[0])):
        return _called(name, call[1], _split(call[2]))
    alone = next((item for item in items if _RANGE_BEGINS.match(item) or _is_call(item)), None)
    if alone is None:
        return Dimension(name, values=tuple(map(_unquoted, items)))
    if len(items) > 1:
        raise ValueError(f"{alone} must stand alone; put it in quotes if it is a text")
    return _range(name, alone)


def _called(name: str, function: str, arguments: Sequence[str]) -> Dimension:
    if function not in _FUNCTIONS:
        other = _OTHER_NAMES.get(function)
        hint = f" Did you mean {other}?" if other else did_you_mean(function, EXAMPLES)
        known = ", ".join(EXAMPLES)
        raise ValueError(f"there is no function {function}, only {known}; put a text with brackets in quotes.{hint}")
    return _FUNCTIONS[function](name, arguments)


def _choice(name: str, arguments: Sequence[str]) -> Dimension:
    return Dimension(name, values=tuple(map(_unquoted, arguments)))


def _log(name: str, arguments: Sequence[str]) -> Dimension:
    low, high = _two_numbers("log", arguments)
    return Dimension(name, low=low, high=high, log=True)


def _uniform(name: str, arguments: Sequence[str]) -> Dimension:
    low, high = _two_numbers("uniform", arguments)
    return Dimension(name, low=low, high=high)


def _int(name: str, arguments: Sequence[str]) -> Dimension:
    is_log = list(arguments[2:]) == ["log"]
    low, high = _two_numbers("int", arguments[:2] if is_log else arguments)
    return Dimension(name, low=low, high=high, log=is_log, is_int=True)


_FUNCTIONS: dict[str, Callable[[str, Sequence[str]], Dimension]] = {
    "choice": _choice,
    "int": _int,
    "log": _log,
    "uniform": _uniform,
}


def _two_numbers(function: str, arguments: Sequence[str]) -> tuple[int | float, int | float]:
    if len(arguments) != 2:
        raise ValueError(f"{function} takes a low and a high end: {EXAMPLES[function]}")
    return number_from_text(arguments[0]), number_from_text(arguments[1])


def _range(name: str, text: str) -> Dimension:
    match = _RANGE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text} is no range such as 0..4 or 0..1:0.25; put it in quotes if it is a text")
    low, high = number_from_text(match[1]), number_from_text(match[2])
    step = None if match[3] is None else number_from_text(match[3])
    is_int = all(isinstance(each, int) for each in (low, high, step) if each is not None)
    dimension = Dimension(name, low=low, high=high, step=step, is_int=is_int)
    if dimension.step is None:
        raise ValueError(
            f"{text} needs a step, such as {text}:{(high - low) / 10:g}; all numbers between are uniform({low},{high})"
        )
    return dimension


# --- commas, brackets and quotes ------------------------------------------------------------------------------------


def _split(text: str) -> list[str]:
    """Return what stands between the commas that are outside of brackets and quotes, without blanks around it.

    Raises:
        ValueError: a bracket or quote is not closed, or nothing is between two commas.
    """
    if not text.strip():
        return []
    items, start = [], 0
    for comma in [*_commas(text), len(text)]:
        items.append(text[start:comma].strip())
        start = comma + 1
    if not all(items):
        raise ValueError('a value is missing at a comma; "" is the empty text')
    return items


def _commas(text: str) -> list[int]:
    """Return where the commas are that are outside of brackets and quotes."""
    commas: list[int] = []
    waiting: list[str] = []
    before, place = ",", 0
    while place < len(text):
        character = text[place]
        if character in "\"'" and before in ",([{:":  # elsewhere it is an apostrophe
            place = _end_of_quote(text, place, may_escape=bool(waiting))
        elif character in _CLOSING:
            waiting.append(_CLOSING[character])
        elif character in _CLOSING.values() and (not waiting or waiting.pop() != character):
            raise ValueError(f"a {character} closes nothing; put a text in quotes if it has brackets")
        elif character == "," and not waiting:
            commas.append(place)
        before = before if character.isspace() else character
        place += 1
    if waiting:
        raise ValueError(f"a {waiting[-1]} is missing; put a text in quotes if it has brackets")
    return commas


def _end_of_quote(text: str, start: int, *, may_escape: bool) -> int:
    """Return where the quote ends that begins at *start*; between brackets YAML has escapes in double quotes."""
    pattern = r'"(?:[^"\\]|\\.)*"' if may_escape and text[start] == '"' else r'"[^"]*"|\'[^\']*\''
    match = re.compile(pattern, re.DOTALL).match(text, start)
    if match is None:
        raise ValueError(f"a closing {text[start]} is missing")
    return match.end() - 1


def _unquoted(item: str) -> str:
    if not item or item[0] not in "\"'":
        return item
    if len(item) == 1 or item.find(item[0], 1) < len(item) - 1:
        raise ValueError(f"{item}: quotes go around a whole text, and the same quotes cannot be in it")
    return item[1:-1]


def _is_call(item: str) -> bool:
    call = _CALL.fullmatch(item)
    return call is not None and call[1] in EXAMPLES
