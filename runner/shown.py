"""How names and numbers, whoever wrote them, are shown on a terminal and in the report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.cells import cell_len, set_cell_size

from runner.plain_text import escaped

MAX_CELL = 32_000
"""No cell of sweep.csv has more characters: spreadsheets take 32,767."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\0")


def printable(text: str, limit: int = 200) -> str:
    r"""Return *text* in one line of at most *limit* columns; control characters appear as escapes like ``\x1b``."""
    head = text[: limit + 1]  # a text of megabytes is not escaped as a whole
    return cut(head if head.isprintable() else escaped(head).replace("\n", r"\n").replace("\t", r"\t"), limit)


def cut(text: str, limit: int) -> str:
    """Return *text* with an ellipsis instead of what does not fit into *limit* columns."""
    return text if cell_len(text) <= limit else set_cell_size(text, max(limit - 1, 0)).rstrip() + "…"


def format_number(value: float) -> str:
    """Write a number in four digits: ``0.9123``, ``3e-5``, ``nan``; ``inf`` for an int that no float can hold."""
    try:
        return _short_exponent(f"{value:.4g}")
    except OverflowError:
        return "inf" if value > 0 else "-inf"


def format_exact(value: float) -> str:
    """Write a round number, as it stands beside an axis, in all its digits."""
    return _short_exponent(f"{value:.10g}")


def format_spread(mean: float, deviation: float) -> str:
    """Write ``0.9123 ± 0.004``; without the deviation where there is none."""
    if not math.isfinite(deviation):
        return format_number(mean)
    return f"{format_number(mean)} ± {_short_exponent(f'{deviation:.2g}')}"


def format_ranges(numbers: Sequence[int]) -> str:
    """Write ``0-4, 7`` for ascending numbers."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)


def number_of(text: str | None) -> float | None:
    """Return the finite number that *text* is; None where it is none."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def brief(text: str, limit: int = 24) -> str:
    """Return the value of a parameter in at most *limit* columns; a number with many digits in four of them."""
    number = number_of(text) if len(text) > 8 else None
    return printable(text, limit) if number is None else format_number(number)


def _short_exponent(text: str) -> str:
    mantissa, mark, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if mark else text


def csv_line(cells: Iterable[str]) -> str:
    """Return one line of CSV that no spreadsheet takes for formulas."""
    return ",".join(map(csv_cell, cells)) + "\n"


def csv_cell(text: str) -> str:
    """Return one cell of such a line."""
    text = cut(text, MAX_CELL) if len(text) > MAX_CELL else text
    is_formula = text.startswith(_FORMULA) and number_of(text) is None and text not in ("-inf", "-nan")
    text = ("'" if is_formula else "") + escaped(text)
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if any(character in text for character in ',"\r\n') else text
