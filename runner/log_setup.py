"""Logging: a short console, and run.log with everything. Called by the runner only, never at import."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import TextIO

from runner.plain_text import clipped, escaped

THIRD_PARTY = ("pytorch_lightning", "lightning", "lightning_fabric", "torch", "PIL", "matplotlib", "fsspec", "urllib3")
"""Packages whose INFO messages (advertising among them) stay off the console; run.log has them."""

FILE_ONLY = "runner.traceback"
"""Logger whose messages go to run.log only."""

MOST_CHARACTERS = 100_000
"""Of one message, with its traceback; the middle of longer ones is left out."""

_FILE_FORMAT = "%(asctime)s %(levelname)-8s rank%(rank)s %(phase)-9s %(name)s: %(message)s"


class RunContext(logging.Filter):
    """Adds the rank and the phase of the run to every record."""

    def __init__(self, rank: int = 0) -> None:
        super().__init__()
        self.rank = rank
        self.phase = "start"

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, with rank and phase."""
        record.rank = self.rank
        record.phase = self.phase
        return True


class _ConsoleFilter(logging.Filter):
    """Keeps the console to our own and the user's messages."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self.level = level

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == FILE_ONLY:
            return False
        package = record.name.partition(".")[0]
        if package == "py" and self.level > logging.DEBUG:  # warnings of libraries; user code's too, see run.log
            return "site-packages" not in record.getMessage().partition(": ")[0]
        return record.levelno >= logging.WARNING or package not in THIRD_PARTY or self.level <= logging.DEBUG


class _ConsoleFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        plain = copy(record)  # other handlers get the record as it is
        plain.exc_info, plain.exc_text = None, None  # tracebacks are printed once, at the end, or lie in run.log
        text = clipped(escaped(super().format(plain)), MOST_CHARACTERS)
        return text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"


class _FileFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return clipped(escaped(super().format(record)), MOST_CHARACTERS)


class _ConsoleHandler(logging.StreamHandler[TextIO]):
    """Prints to the stream that is current at that moment; stops quietly when nobody reads any more."""

    def __init__(self, level: int) -> None:
        super().__init__(sys.stdout)
        self.setLevel(level)
        self.addFilter(_ConsoleFilter(level))
        self.setFormatter(_ConsoleFormatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        if self.stream is not None:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        if not isinstance(sys.exc_info()[1], BrokenPipeError):
            super().handleError(record)


@contextmanager
def console_logging(level: str, *, quiet: bool = False) -> Iterator[RunContext]:
    """Log to the console while the block runs; everything is as before afterwards, also in a notebook.

    Args:
        level: Least level that is printed.
        quiet: Print warnings and errors only.
    """
    root = logging.getLogger()
    before = root.level, list(root.handlers), _lightning_state()
    least = max(logging.getLevelNamesMapping()[level], logging.WARNING if quiet else 0)
    handler = _ConsoleHandler(least)
    context = RunContext()
    handler.addFilter(context)
    root.handlers = [handler]
    root.setLevel(min(logging.INFO, least))
    _set_lightning_state((logging.NOTSET, True, []))
    logging.captureWarnings(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            yield context
    finally:
        logging.captureWarnings(False)
        for each in root.handlers:
            if each not in before[1]:
                each.close()
        root.setLevel(before[0])
        root.handlers = before[1]
        _set_lightning_state(before[2])


@contextmanager
def log_to_file(path: Path, context: RunContext) -> Iterator[None]:
    """Write everything to *path* as well while the block runs."""
    handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.addFilter(context)
    formatter = _FileFormatter(_FILE_FORMAT, datefmt="%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


_LightningState = tuple[int, bool, list[logging.Handler]]


def _lightning_state() -> _LightningState:
    logger = logging.getLogger("pytorch_lightning")
    return logger.level, logger.propagate, list(logger.handlers)


def _set_lightning_state(state: _LightningState) -> None:
    """Lightning gives its logger a handler of its own, which would print what we keep off the console."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning"):
        logger = logging.getLogger(name)
        logger.level, logger.propagate, logger.handlers = state[0], state[1], list(state[2])
