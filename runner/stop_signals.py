"""Ctrl-C, SIGTERM and SIGHUP: the first asks the run to stop in good order, the second stops it now."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from runner.errors import RunInterrupted

GRACE_SECONDS = 20
"""How long a training step may take to end after the first signal."""


class StopSignals:
    """Turns signals into ``RunInterrupted``: at once, or after the current step if :meth:`defer` was called."""

    def __init__(self) -> None:
        self.requested: int | None = None
        self._deferring = False
        self._process = os.getpid()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle signals while the block runs. Only the main thread can; elsewhere this does nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
        before = {number: signal.getsignal(number) for number in numbers}
        for number in numbers:
            signal.signal(number, self._handle)
        try:
            yield
        finally:
            signal.alarm(0)
            for number, handler in before.items():
                signal.signal(number, handler)

    def defer(self) -> None:
        """From now on only note a signal in :attr:`requested`; whoever calls this calls :meth:`stop_if_requested`."""
        self._deferring = True

    @contextmanager
    def deferring_ends(self) -> Iterator[None]:
        """Let signals raise at once again after the block, whether or not it called :meth:`defer`."""
        try:
            yield
        finally:
            self._deferring = False
            signal.alarm(0)

    def stop_if_requested(self) -> None:
        """Raise ``RunInterrupted`` if a signal came."""
        if self.requested is not None:
            raise RunInterrupted(self.requested)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker that was forked: the first process stops it
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        if number == signal.SIGALRM:
            say(f"the step did not end within {GRACE_SECONDS} s: stopping now")
            raise RunInterrupted(self.requested or signal.SIGTERM)
        if self._deferring and self.requested is None:
            self.requested = number
            say(f"{signal.Signals(number).name}: stopping after this step; once more stops now")
            signal.alarm(GRACE_SECONDS)
            return
        self.requested = number
        raise RunInterrupted(number)


def say(text: str) -> None:
    """Write to stderr without buffers or locks, which the code that was interrupted may hold."""
    with suppress(OSError):
        os.write(2, f"\n{text}\n".encode())
