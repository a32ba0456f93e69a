"""Progress of the saliency phase: plain lines with the speed and the time left, and on a terminal a bar below them."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from runner.log_setup import FILE_ONLY
from runner.number_text import format_seconds
from runner.saliency.data import Items

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 5.0


def explaining_progress(title: str, *, bar: bool) -> ProgressLines:
    """Return what shows the progress, as the terminal allows.

    Args:
        title: The method in a few words.
        bar: Whether a bar is wanted where there is a terminal.
    """
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return ProgressBar(title) if bar and is_terminal else ProgressLines(title)


class ProgressLines:
    """Logs how far the phase is, a line every few seconds, and one at the end of the ``with`` block."""

    def __init__(self, title: str) -> None:
        """Start the clock.

        Args:
            title: The method in a few words.
        """
        self._title = title
        self._total: int | None = 0
        self._num_before = 0
        self._num_made = 0
        self._num_failed = 0
        self._num_masks = 0
        self._start = self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            now = time.monotonic()
            log.info("%s", self._line(now, format_seconds(now - self._start)))

    def expect(self, items: Items) -> None:
        """Add the images of another loader; their number may be unknown."""
        if items.total is None or items.num_missing is None or self._total is None:
            self._total = None
            return
        self._total += items.total
        self._num_before += items.total - items.num_missing

    def count(self, num_masks: int) -> None:
        """Count one image that was explained.

        Args:
            num_masks: How many masks that took; 0 for methods without.
        """
        self._num_made += 1
        self._num_masks += num_masks
        self._show(time.monotonic())

    def count_failed(self) -> None:
        """Count one image that could not be explained."""
        self._num_failed += 1
        self._show(time.monotonic())

    def _show(self, now: float) -> None:
        if now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            self._say(self._line(now, self._time_left(now)))

    def _say(self, line: str) -> None:
        log.info("%s", line)

    @property
    def _num_done(self) -> int:
        return self._num_before + self._num_made + self._num_failed

    def _line(self, now: float, end: str) -> str:
        count = f"{self._num_done}/{self._total}" if self._total is not None else f"{self._num_done}"
        failed = f"{self._num_failed} failed" if self._num_failed else ""
        return "  ".join(each for each in (f"saliency {count}", self._title, failed, self._speed(now), end) if each)

    def _speed(self, now: float) -> str:
        seconds = max(now - self._start, 1e-9)
        images = f"{self._num_made / seconds:.1f} images/s" if self._num_made else ""
        return f"{images}  {self._num_masks / seconds:.0f} masks/s" if self._num_masks else images

    def _time_left(self, now: float) -> str:
        num_tried = self._num_made + self._num_failed
        if self._total is None or not num_tried:
            return ""
        return f"{format_seconds((self._total - self._num_done) * (now - self._start) / num_tried)} left"


class ProgressBar(ProgressLines):
    """A bar with speed and time left; only the last line goes to the terminal, all of them to run.log."""

    def __init__(self, title: str) -> None:
        """Make the bar; it is shown from the beginning to the end of the ``with`` block.

        Args:
            title: The method in a few words.
        """
        super().__init__(title)
        columns = (TextColumn("saliency"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[speed]}"))
        self._bar = Progress(*columns, transient=True)
        self._task = self._bar.add_task("", total=None, speed="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()
        super().__exit__(kind, error, traceback)

    def _show(self, now: float) -> None:
        speed = "  ".join(each for each in (self._speed(now), self._time_left(now)) if each)
        self._bar.update(self._task, total=self._total, completed=self._num_done, speed=speed)
        super()._show(now)

    def _say(self, line: str) -> None:
        logging.getLogger(FILE_ONLY).info("%s", line)
