"""A thread that writes files while the next images are computed."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

log = logging.getLogger(__name__)

CAPACITY = 4
"""Calls that may wait. One more and the caller waits: the disk cannot fall behind by more than so many images."""

_Call = tuple[Callable[..., object], tuple[Any, ...]]


class BackgroundWriter:
    """Makes calls one after the other in a thread of its own, in the order in which they are put.

    The first exception of a call ends the work: what waits is dropped, and the exception is raised where the next call
    is put or at the end. When the ``with`` block itself ends with an exception, what was put is still done.
    """

    def __init__(self) -> None:
        self._calls: queue.Queue[_Call | None] = queue.Queue(CAPACITY)
        self._error: BaseException | None = None
        # a daemon: the program can end even where a signal breaks into close; files are whole or not there anyway
        self._thread = threading.Thread(target=self._work, name="saliency writer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._calls.put(None)
        self._thread.join()
        if error is None:
            self._raise_error()
        elif self._error is not None and self._error is not error:
            log.error("saliency: writing failed too: %s: %s", type(self._error).__name__, self._error)

    def put(self, function: Callable[..., object], *arguments: Any) -> None:
        """Have ``function(*arguments)`` called; wait while too many calls are waiting.

        Raises:
            Exception: what an earlier call raised.
        """
        self._raise_error()
        self._calls.put((function, arguments))

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            if self._error is not None:
                continue
            function, arguments = call
            try:
                function(*arguments)
            except BaseException as error:  # for the main thread
                self._error = error
