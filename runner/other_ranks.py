"""What becomes of the other processes of a run, seen from the one that has started them or that leads them."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from runner.errors import RankDiedError, RunFailedError, RunInterrupted
from runner.rank_signs import DONE, FAILED, INTERRUPTED, RankSigns
from runner.stop_signals import StopSignals

log = logging.getLogger(__name__)

NOTICE_SECONDS = 10.0
"""How long a process may take to notice by itself that another one has died, before it is ended by force."""

LAST_WORDS_SECONDS = 5.0
"""How long it waits for the others to end when it ends itself."""

ENDING_SECONDS = 30.0
"""How long it waits for them where all is done."""

LOOK_SECONDS = 0.2

SIGNS_SECONDS = 1.0
"""How often it looks for their signs of life."""

Reason = RunInterrupted | RunFailedError


class OtherRanks:
    """The processes with other ranks: those started here are known by their exit codes, all by their signs of life."""

    def __init__(
        self, folder: Path, ranks: range, world_size: int, started: Mapping[int, subprocess.Popen[bytes]]
    ) -> None:
        """Look after the processes.

        Args:
            folder: The run folder.
            ranks: Their ranks; none of them is that of this process.
            world_size: How many processes there are in all.
            started: Those of them that this process has started, by rank.
        """
        self._ranks = ranks
        self._world_size = world_size
        self._started = started
        self._signs = RankSigns(folder)
        self._next_look = 0.0

    @contextmanager
    def watched(self, stop: StopSignals) -> Iterator[None]:
        """Do not outlive the others while the block runs, nor let those started here outlive it.

        Where this process waits for another one inside a library and that has died, it writes down the reason and ends
        by force. What torch says of a lost connection is replaced by why the other one ended.

        Raises:
            RunFailedError: another process failed or was killed.
            RunInterrupted: a signal stopped it.
        """
        is_over = threading.Event()
        threading.Thread(target=self._watch, args=(is_over, stop), name="ranks", daemon=True).start()
        try:
            yield
        except Exception as error:
            reason = self._reason_of_loss(error) if _is_lost_connection(error) else None
            if reason is None:
                raise
            raise reason from error
        finally:
            is_over.set()
            if sys.exception() is not None:
                self._end(LAST_WORDS_SECONDS)
                self._forget(self._ranks)
        self._end(ENDING_SECONDS)
        self._forget(self._started)

    def wait_until_done(self, phase: str) -> None:
        """Wait until all have done their part of a phase.

        Raises:
            RunFailedError: one of them failed or was killed.
            RunInterrupted: a signal stopped one.
        """
        waited_for = set(self._ranks)
        while waited_for := {rank for rank in waited_for if not self._has_done(rank, phase)}:
            self.check()
            reason = self._ended_too_early(phase)
            if reason is not None:
                raise reason
            time.sleep(LOOK_SECONDS)

    def _has_done(self, rank: int, phase: str) -> bool:
        sign = self._signs.read(rank)
        return sign.get("state") == DONE and sign.get("phase") == phase

    def _ended_too_early(self, phase: str) -> Reason | None:
        ended = (rank for rank, each in self._started.items() if each.poll() == 0 and not self._has_done(rank, phase))
        rank = next(ended, None)
        return None if rank is None else self._failed(rank, "failed: it ended with exit code 0")

    def reason(self, *, only_started: bool = False) -> Reason | None:
        """Return why one of the others has ended badly; None as long as none has."""
        now = time.monotonic()
        looks = not only_started and now >= self._next_look  # the files may lie on a network disk
        if looks:
            self._next_look = now + SIGNS_SECONDS
        for rank in self._ranks:
            process = self._started.get(rank)
            found = self._reason_of_exit(rank, process.poll()) if process is not None else None
            if found is None and looks and (process is None or process.returncode is None):
                found = self._reason_of_sign(rank, is_here=process is not None)
            if found is not None:
                return found
        return None

    def check(self) -> None:
        """Go on only if all others do.

        Raises:
            RunFailedError: one of them failed or was killed.
            RunInterrupted: a signal stopped one.
        """
        reason = self.reason()
        if reason is not None:
            raise reason

    def _reason_of_exit(self, rank: int, code: int | None) -> Reason | None:
        if not code:
            return None
        number = -code if code < 0 else code - 128
        if number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            return RunInterrupted(number)
        if code < 0:
            memory = ", maybe because memory ran out" if number == signal.SIGKILL else ""
            return self._died(rank, f"was killed by {signal.Signals(number).name}{memory}")
        return self._failed(rank, f"failed: {self._signs.read(rank).get('said') or f'exit code {code}'}")

    def _reason_of_sign(self, rank: int, *, is_here: bool) -> Reason | None:
        """Return what a process has told or not told; of those started here the exit code tells the end."""
        sign = self._signs.read(rank)
        if is_here:
            return self._died(rank, "gives no sign of life") if self._signs.is_silent(rank) else None
        if sign.get("state") == INTERRUPTED and isinstance(sign.get("signal"), int):
            return RunInterrupted(sign["signal"])
        host = f", on {sign.get('host')},"
        if sign.get("state") == FAILED:
            return self._failed(rank, f"failed: {sign.get('said')}", host)
        return self._died(rank, "gives no sign of life", host) if self._signs.is_silent(rank) else None

    def _failed(self, rank: int, what: str, where: str = ",") -> RunFailedError:
        return RunFailedError(self._text(rank, what, where))

    def _died(self, rank: int, what: str, where: str = ",") -> RankDiedError:
        return RankDiedError(self._text(rank, what, where))

    def _text(self, rank: int, what: str, where: str) -> str:
        text = f"The process with rank {rank}, of {self._world_size}{where} {what}"
        return text if text.endswith((".", "!", "?")) else f"{text}."

    def _reason_of_loss(self, error: Exception) -> Reason | None:
        """Return why another process ended; its connection closes a little before."""
        end = time.monotonic() + LAST_WORDS_SECONDS
        while time.monotonic() < end:
            found = self.reason()
            if found is not None:
                return found
            if any(each.poll() == 0 for each in self._started.values()):
                rank = next(rank for rank, each in self._started.items() if each.poll() == 0)
                return self._failed(rank, "failed: it ended with exit code 0")
            time.sleep(0.02)
        if len(self._ranks) > len(self._started):
            text = str(error).strip().splitlines() or [""]
            return RunFailedError(f"The connection to a process on another machine was lost: {text[0]}")
        return None

    def _watch(self, is_over: threading.Event, stop: StopSignals) -> None:
        while self.reason() is None:
            if is_over.wait(LOOK_SECONDS):
                return
        if not is_over.wait(NOTICE_SECONDS):
            reason = self.reason()
            code = reason.exit_code if reason is not None else 1
            self._forget(self._ranks)
            stop.end_process(code, "interrupted" if isinstance(reason, RunInterrupted) else "failed", str(reason))

    def _end(self, seconds: float) -> None:
        """Wait for those started here, say where one fails so late, and kill who does not end."""
        end = time.monotonic() + seconds
        while any(each.poll() is None for each in self._started.values()) and time.monotonic() < end:
            time.sleep(0.02)
        reason = self.reason(only_started=True)
        if reason is not None and sys.exception() is None:  # this process has all that the run keeps
            log.warning("afterwards: %s", reason)
        for each in self._started.values():
            each.kill()
            each.wait()

    def _forget(self, ranks: Iterable[int]) -> None:
        for rank in ranks:
            self._signs.forget(rank)


def _is_lost_connection(error: Exception) -> bool:
    """Tell whether *error* comes from torch's communication, and thus maybe from another process."""
    text = str(error)
    return isinstance(error, torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and any(word in text for word in ("gloo", "NCCL", "Gloo", "nccl"))
    )
