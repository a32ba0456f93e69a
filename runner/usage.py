"""How long a phase takes, and how much memory."""

from __future__ import annotations

import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any


class Usage:
    """Measures from where it is made on."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        cuda = _cuda()
        for device in range(cuda.device_count() if cuda else 0):
            cuda.reset_peak_memory_stats(device)

    def seconds(self) -> float:
        """Return how long ago it was made."""
        return time.monotonic() - self._started

    def memory(self) -> dict[str, int]:
        """Return ``peak_memory``, what the process had resident at most since it began, in bytes.

        Where CUDA is in use also ``peak_gpu_memory``: what torch had allocated at most on one GPU since this was made.
        """
        found = {"peak_memory": _peak_memory()}
        if cuda := _cuda():
            found["peak_gpu_memory"] = max(map(cuda.max_memory_allocated, range(cuda.device_count())), default=0)
        return found


def _peak_memory() -> int:
    """Return the most that was resident, in bytes; Linux counts what the parent had into getrusage, but not here."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024  # see getrusage(2)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _cuda() -> Any:
    """Return ``torch.cuda`` where it is in use; asking must not start it."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized() else None
