"""Ctrl-C, SIGTERM and SIGHUP: the first asks the run to stop in good order, the second stops it now."""

from __future__ import annotations

import faulthandler
import math
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar

from runner.errors import RunInterrupted

Result = TypeVar("Result")

GRACE_SECONDS = 20
"""How long a training step may take to end after the first signal."""

AGAIN_SECONDS = 5
"""So long after it was raised an interruption is raised again, as a ``__del__`` or other code may have swallowed it."""

LAST_SECONDS = 27.0
"""So long after the first signal the process ends, whatever its main thread is stuck in."""

HURRY_SECONDS = 5.0
"""The same after the second signal."""

WORDS_SECONDS = 2.0
"""How long writing down the reason may take then."""

_NO_SIGNAL = b"\0"


def stopping_signals() -> tuple[int, ...]:
    """Return the signals that stop a run: not SIGHUP where ``nohup`` has this process ignore it."""
    ignores_hangup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return (signal.SIGINT, signal.SIGTERM, *(() if ignores_hangup else (signal.SIGHUP,)))


def _say_nothing(state: str, reason: str) -> None:
    """Do nothing before the process ends by force."""


class StopSignals:
    """Turns signals into ``RunInterrupted``: at once, or after the current step if :meth:`defer` was called.

    It is raised only inside of what :meth:`interruptible` calls. What comes after that, the writing down of how the run
    ended, is left alone by further signals.

    Python calls its signal handlers in the main thread between two instructions. Where that is stuck inside a library,
    or in code that catches whatever is raised, a thread of our own ends the process in time.
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        self._deferring = False
        self._process = os.getpid()
        self._on_stuck: Callable[[str, str], None] = _say_nothing

    @contextmanager
    def installed(self, on_stuck: Callable[[str, str], None] = _say_nothing) -> Iterator[None]:
        """Handle signals while the block runs. Only the main thread can; elsewhere this does nothing.

        A block inside of the block has its own time, counted from the first signal that comes in it.

        Args:
            on_stuck: Called with state and reason of the run before the process is ended by force.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (*stopping_signals(), signal.SIGALRM)
        before = {number: signal.getsignal(number) for number in numbers}
        on_stuck_before, self._on_stuck = self._on_stuck, on_stuck
        for number in numbers:
            signal.signal(number, self._handle)
        try:
            with self._deadline():
                yield
        finally:
            signal.alarm(0)
            self._on_stuck = on_stuck_before
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def _deadline(self) -> Iterator[None]:
        """Let a thread learn of signals, by the pipe into which the interpreter writes them as they come."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        thread = threading.Thread(target=self._watch, args=(reader,), name="deadline", daemon=True)
        thread.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            os.write(writer, _NO_SIGNAL)  # closing it would not end the thread: processes that were forked have it too
            thread.join()
            os.close(writer)
            os.close(reader)

    def _watch(self, reader: int) -> None:
        end, first, count = None, 0, 0
        while True:
            left = None if end is None else max(0.0, end - time.monotonic())
            if not select.select([reader], [], [], left)[0]:
                self._end_by_force(first)
            numbers = os.read(reader, 1)
            if numbers == _NO_SIGNAL:
                return
            if numbers[0] in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                count += 1
                first = first or numbers[0]
                seconds = LAST_SECONDS if count == 1 else HURRY_SECONDS
                end = min(end or math.inf, time.monotonic() + seconds)

    def _end_by_force(self, number: int) -> NoReturn:
        name = signal.Signals(number).name
        reason = f"stopped by {name}, by force: the process did not stop by itself"
        self.end_process(128 + number, "interrupted", reason)

    def end_process(self, code: int, state: str, reason: str) -> NoReturn:
        """End this process and those it has started, whatever its main thread is stuck in.

        Args:
            code: Exit code.
            state: State of the run, for status.json.
            reason: The same.
        """
        say(f"{reason}. It was here:")
        with suppress(Exception):
            faulthandler.dump_traceback(2)
        thread = threading.Thread(target=self._on_stuck, args=(state, reason), daemon=True)
        thread.start()
        thread.join(WORDS_SECONDS)  # the disk may be what it is stuck on
        _kill_children()
        os._exit(code)

    def interruptible(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call *function*; signals are raised as long as this call is on the stack, and never after it.

        Raises:
            RunInterrupted: a signal came, now or before the call.
        """
        self.stop_if_requested()
        return function(*arguments)

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

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker that was forked: the first process stops it
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        if not self._is_interruptible(frame):
            if number != signal.SIGALRM:
                self.requested = self.requested or number
                say(f"{signal.Signals(number).name}: the last files are being written")
            return
        if number == signal.SIGALRM:
            if self._deferring:
                say(f"the step did not end within {GRACE_SECONDS} s: stopping now")
            signal.alarm(AGAIN_SECONDS)
            raise RunInterrupted(self.requested or signal.SIGTERM)
        if self._deferring and self.requested is None:
            self.requested = number
            say(f"{signal.Signals(number).name}: stopping after this step; once more stops now")
            signal.alarm(GRACE_SECONDS)
            return
        self.requested = number
        signal.alarm(AGAIN_SECONDS)
        raise RunInterrupted(number)

    def _is_interruptible(self, frame: FrameType | None) -> bool:
        """Tell whether *frame* was called by :meth:`interruptible`: a flag would always be a moment late."""
        code = StopSignals.interruptible.__code__
        while frame is not None and not (frame.f_code is code and frame.f_locals["self"] is self):
            frame = frame.f_back
        return frame is not None


def _forget_pipe() -> None:
    """In a forked child: its signals are no business of the first process."""
    with suppress(ValueError):
        signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_forget_pipe)


def _kill_children() -> None:
    """Kill the processes that this one has started, such as data loader workers that hang as well."""
    for path in Path("/proc/self/task").glob("*/children"):  # Linux
        with suppress(OSError):
            for child in path.read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGKILL)


def say(text: str) -> None:
    """Write to stderr without buffers or locks, which the code that was interrupted may hold."""
    with suppress(OSError):
        os.write(2, f"\n{text}\n".encode())
