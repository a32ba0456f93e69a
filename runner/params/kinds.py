"""Kinds of parameter that the param library lacks.

Each reads its own text: any user's Parameter subclass may define ``from_text`` to be settable from the command line
and from YAML.
"""

from __future__ import annotations

import math
import re
import reprlib
from pathlib import Path
from typing import Any

import param

_TIME = re.compile(r"\d+:\d\d:\d\d:\d\d")
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)


def number_from_text(text: str) -> int | float:
    """Read a number and keep the difference between ``1`` (int) and ``1.0`` (float).

    Raises:
        ValueError: the text is no plain decimal number, or too large.
    """
    stripped = text.strip()
    if not stripped.isascii() or "_" in stripped:
        raise ValueError(f"{reprlib.repr(text)} is not a number")
    word = stripped.lower().replace(".inf", "inf").replace(".nan", "nan")  # YAML's spellings beside Python's
    try:
        number = int(stripped) if _INTEGER.fullmatch(stripped) else float(word)
    except ValueError:
        raise ValueError(f"{reprlib.repr(text)} is not a number, or too large") from None
    if math.isinf(number) and "inf" not in word:
        raise ValueError(f"{reprlib.repr(text)} is too large")
    return number


class IntOrFloat(param.Parameter[Any]):
    """A count when given as an int, a fraction of the whole in [0, 1] when given as a float.

    With ``time=True`` also a duration ``DD:HH:MM:SS``, as Lightning's ``val_check_interval`` takes it.
    """

    __slots__ = ["time"]
    _slot_defaults = {  # noqa: RUF012 - the param library's way to declare a slot
        **param.Parameter._slot_defaults,
        "time": False,
    }

    def __init__(self, default: int | float | None = None, *, time: bool = False, **keywords: Any) -> None:
        self.time = time
        super().__init__(default=default, **keywords)
        self._validate(self.default)

    def _validate(self, val: Any) -> None:
        if val is None and self.allow_None:
            return
        if self.time and isinstance(val, str) and _TIME.fullmatch(val):
            return
        if isinstance(val, bool) or not isinstance(val, int | float):
            raise ValueError(f"{self.name!r} takes {self.describe()}, not {val!r}")
        if val < 0 or not math.isfinite(val) or (isinstance(val, float) and val > 1):
            raise ValueError(f"{self.name!r} takes {self.describe()}, not {val!r}")

    def describe(self) -> str:
        """Say in words what values are allowed."""
        time = ", or a time DD:HH:MM:SS" if self.time else ""
        return f"an int >= 0 (that many) or a float from 0.0 to 1.0 (that fraction){time}"

    def from_text(self, text: str) -> int | float | str:
        """Read ``3`` as a count, ``0.5`` or ``1.0`` as a fraction."""
        return text if self.time and _TIME.fullmatch(text) else number_from_text(text)


class BoolOrInt(param.Parameter[Any]):
    """True or False, or a count: what Lightning's ``fast_dev_run`` takes."""

    __slots__: list[str] = []

    def __init__(self, default: bool | int = False, **keywords: Any) -> None:
        super().__init__(default=default, **keywords)
        self._validate(self.default)

    def _validate(self, val: Any) -> None:
        if not isinstance(val, int) or val < 0:
            raise ValueError(f"{self.name!r} takes {self.describe()}, not {val!r}")

    def describe(self) -> str:
        """Say in words what values are allowed."""
        return "true, false or an int >= 0"

    def from_text(self, text: str) -> bool | int:
        """Read ``true`` and its kin as a bool and ``3`` as a count; ``0`` and ``1`` are counts."""
        if text.lower() in ("true", "t", "on", "yes", "y"):
            return True
        if text.lower() in ("false", "f", "off", "no", "n"):
            return False
        if not _INTEGER.fullmatch(text):
            raise ValueError(f"{text!r} is neither a truth value nor a count")
        return int(text)


class Devices(param.Parameter[Any]):
    """Which devices to use: ``auto``, a number of them, ``-1`` for all, or a list of indices."""

    __slots__: list[str] = []

    def __init__(self, default: str | int | list[int] = "auto", **keywords: Any) -> None:
        super().__init__(default=default, **keywords)
        self._validate(self.default)

    def _validate(self, val: Any) -> None:
        is_count = isinstance(val, int) and not isinstance(val, bool) and (val == -1 or val >= 1)
        is_list = isinstance(val, list) and bool(val) and all(type(item) is int and item >= 0 for item in val)
        if not (is_count or is_list or val == "auto"):
            raise ValueError(f"{self.name!r} takes {self.describe()}, not {val!r}")

    def describe(self) -> str:
        """Say in words what values are allowed."""
        return "auto, a number of devices, -1 for all, or indices like 0,2"

    def from_text(self, text: str) -> str | int | list[int]:
        """Read ``auto``, ``2`` (two devices), ``0,1`` or ``[0,1]`` or ``0,`` (these devices)."""
        if text.lower() == "auto":
            return "auto"
        if _INTEGER.fullmatch(text):
            return int(text)
        return [int(part) for part in text.strip("[]").split(",") if part.strip()]


def is_path_parameter(parameter: param.Parameter[Any]) -> bool:
    """Tell whether *parameter* holds one ``pathlib.Path``."""
    class_ = getattr(parameter, "class_", None)
    return (
        isinstance(parameter, param.ClassSelector)
        and isinstance(class_, type)
        and issubclass(Path, class_)
        and class_ is not object
    )


def path_parameter(default: Path | None = None, *, doc: str) -> Any:
    """Return a parameter for a file or folder; the container makes a text or relative path absolute."""
    return param.ClassSelector(class_=Path, default=default, allow_None=True, doc=doc)
