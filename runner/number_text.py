"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def format_metrics(metrics: Mapping[str, Any]) -> str:
    """Write metrics as ``val_loss 0.0512  val_acc 0.985``."""
    return "  ".join(f"{name} {float(value):.4g}" for name, value in metrics.items())


def format_seconds(seconds: float) -> str:
    """Write a time as ``4.1 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    if seconds < 59.95:  # which would be written as 60.0
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
