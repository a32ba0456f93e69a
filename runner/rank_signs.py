"""Signs of life of the processes of a run other than the first: a small file of each, in the run folder.

The first process judges them by its own monotonic clock and by what changes in the files, as clocks of machines differ
and process numbers mean nothing on another one.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from runner.atomic_files import write_json
from runner.foreign_files import read_text

BEAT_SECONDS = 5.0

SILENCE_SECONDS = 45.0
"""A process whose file did not change for so long is taken for dead."""

_BYTES = 20_000

WORKING, DONE, FAILED, INTERRUPTED = "working", "done", "failed", "interrupted"


def sign_file(folder: Path, rank: int) -> Path:
    """Return the file of one process; its name is that of files that a resumed run clears away."""
    return folder / f".rank{rank}.tmp"


class RankSign:
    """What one of the other processes tells about itself."""

    def __init__(self, folder: Path, rank: int) -> None:
        self._path = sign_file(folder, rank)
        self._lock = threading.Lock()
        self._values: dict[str, Any] = {"state": WORKING, "phase": None, "said": "", "signal": None, "beats": 0}
        self._values |= {"host": socket.gethostname(), "pid": os.getpid()}

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Write the file every few seconds while the block runs."""
        over = threading.Event()

        def beat() -> None:
            self.say()
            while not over.wait(BEAT_SECONDS):
                self.say()

        thread = threading.Thread(target=beat, name="sign of life", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def say(self, **values: Any) -> None:
        """Change what the file says: ``state``, ``phase``, ``said``, ``signal``. A full disk loses the message only."""
        with self._lock, suppress(OSError):
            self._values |= {**values, "beats": self._values["beats"] + 1}
            write_json(self._path, self._values)

    def remove(self) -> None:
        """Leave nothing behind."""
        self._path.unlink(missing_ok=True)


class RankSigns:
    """What the first process knows of others by their files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[int, tuple[int, float]] = {}

    def read(self, rank: int) -> dict[str, Any]:
        """Return what a process has told last; nothing if it has told nothing yet."""
        with suppress(OSError, ValueError):
            found = json.loads(read_text(sign_file(self._folder, rank), _BYTES))
            if isinstance(found, dict):
                return found
        return {}

    def is_silent(self, rank: int) -> bool:
        """Tell whether a process that gave signs of life has given none for too long."""
        before, since = self._seen.get(rank, (0, time.monotonic()))
        beats, now = self.read(rank).get("beats", before), time.monotonic()
        if beats != before:
            self._seen[rank] = (beats, now)
            return False
        return before > 0 and now - since > SILENCE_SECONDS

    def forget(self, rank: int) -> None:
        """Remove the file of a process, and what is left of it where that was killed while it wrote."""
        file = sign_file(self._folder, rank)
        for each in (file, *self._folder.glob(f".{file.name}.*.tmp")):
            each.unlink(missing_ok=True)
