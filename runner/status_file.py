"""status.json: what the run is doing, for people and for programs that watch it."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from runner.atomic_files import write_json
from runner.run_folder import RunFolder

HEARTBEAT_SECONDS = 10.0

NO_MEMORY: Mapping[str, int] = {}


class StatusFile:
    """Keeps status.json up to date; every change is written at once, a heartbeat now and then."""

    def __init__(self, folder: RunFolder, model: str) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._started = time.monotonic()
        earlier = folder.read_status()
        self._values: dict[str, Any] = {
            "model": model,
            "state": "running",
            "phase": "start",
            "phases": earlier.get("phases", {}),
            "epochs_finished": earlier.get("epochs_finished", 0),
            "attempts": earlier.get("attempts", 0) + 1,
            "exit_reason": None,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": earlier.get("started") or _now(),  # of the first attempt
        }
        self.update()

    @property
    def phases(self) -> dict[str, dict[str, Any]]:
        """State and seconds of each phase so far."""
        return dict(self._values["phases"])

    def update(self, **values: Any) -> None:
        """Set *values* and write the file."""
        with self._lock:
            self._values |= values
            self._write()

    def phase_completed(
        self, phase: str, seconds: float, skipped: str | None, memory: Mapping[str, int] = NO_MEMORY
    ) -> None:
        """Record that *phase* is done and the memory that it took, or that it does not apply and why."""
        outcome: dict[str, Any] = {"state": "skipped" if skipped else "completed", "seconds": round(seconds, 3)}
        if skipped:
            outcome["reason"] = skipped
        else:
            outcome |= memory
        self.update(phases=self.phases | {phase: outcome})

    def reopen(self, *phases: str) -> None:
        """Forget that *phases* were completed, because there is more to do."""
        self.update(phases={name: outcome for name, outcome in self.phases.items() if name not in phases})

    @contextmanager
    def heartbeat(self) -> Iterator[None]:
        """Write the file every few seconds while the block runs."""
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(HEARTBEAT_SECONDS):
                self.update()

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _write(self) -> None:
        self._values["heartbeat"] = _now()
        self._values["uptime_seconds"] = round(time.monotonic() - self._started, 1)
        write_json(self.folder.status, self._values)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
