"""Numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def format_metrics(metrics: Mapping[str, Any], intervals: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """Write metrics as ``val_loss 0.0512  val_acc 0.985``.

    Args:
        metrics: Name to value.
        intervals: Name to ``value``, ``low`` and ``high`` of 95 % confidence intervals, which are written behind the
            values: ``test_acc 0.985 (95 % CI 0.97-1)``; those that are no metrics come last.
    """
    intervals = intervals or {}
    values = {name: each["value"] for name, each in intervals.items()} | dict(metrics)
    names = [*metrics, *(name for name in intervals if name not in metrics)]
    return "  ".join(f"{name} {float(values[name]):.4g}{_interval(intervals.get(name))}" for name in names)


def _interval(interval: Mapping[str, Any] | None) -> str:
    if interval is None or not math.isfinite(interval["low"]):
        return ""
    return f" (95 % CI {interval['low']:.3g}-{interval['high']:.3g})"


def counted(number: int, noun: str) -> str:
    """Write ``1 trial``, ``2 trials``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def format_seconds(seconds: float) -> str:
    """Write a time as ``4.1 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    if seconds < 59.95:  # which would be written as 60.0
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
