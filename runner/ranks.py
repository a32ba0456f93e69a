"""Several processes that train one model: they stop together, and none waits for one that has died."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from lightning_fabric.utilities.distributed import _set_num_threads_if_needed
from pytorch_lightning import Trainer
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher
from pytorch_lightning.trainer.connectors.signal_connector import _SignalConnector

from runner.atomic_files import write_text
from runner.errors import RunFailedError, RunInterrupted, RunnerError
from runner.folder_lock import is_locked
from runner.log_setup import FILE_ONLY
from runner.run_folder import RunFolder
from runner.stop_signals import StopSignals

log = logging.getLogger(__name__)

NOTICE_SECONDS = 10.0
"""How long a process may take to notice by itself that another one has died, before it is ended by force."""

LAST_WORDS_SECONDS = 5.0
"""How long it waits for the others to end when it ends itself."""


def agreed_signal(trainer: Trainer, number: int | None) -> int | None:
    """Return the signal that any process of the training got; all stop in the same step, or one waits for ever.

    One number per step is what Lightning exchanges as well; ours also comes from processes other than the first.
    """
    if trainer.world_size == 1:
        return number
    highest = torch.tensor(number or 0, device=trainer.strategy.root_device)
    return int(trainer.strategy.reduce(highest, reduce_op="max")) or None


def prepare_ranks(trainer: Trainer, folder: RunFolder, stop: StopSignals) -> None:
    """Let *trainer* leave signals to us, and start the other processes by a :class:`RankLauncher`."""
    trainer._signal_connector = _NoSignals(trainer)
    launcher = trainer.strategy.launcher
    if isinstance(launcher, _SubprocessScriptLauncher):
        trainer.strategy._launcher = RankLauncher(launcher, folder, stop)


class _NoSignals(_SignalConnector):
    """Lightning's handlers send to other processes from inside of a handler, and requeue Slurm's jobs."""

    def register_signal_handlers(self) -> None:
        """Leave the handlers as they are."""
        self.received_sigterm = False


class RankLauncher(_SubprocessScriptLauncher):
    """Lightning's launcher, but the first process lives to say what has become of the others.

    Lightning's own observer kills it. Here it gets the other's reason as an exception, or, where it waits for the other
    inside a library, writes down the reason before it is ended.
    """

    def __init__(self, launcher: _SubprocessScriptLauncher, folder: RunFolder, stop: StopSignals) -> None:
        super().__init__(launcher.cluster_environment, launcher.num_processes, launcher.num_nodes)
        self._folder = folder
        self._stop = stop

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Trainer | None = None, **kwargs: Any) -> Any:
        """Start the other processes, then call *function* in this one."""
        if self.cluster_environment.creates_processes_externally:
            return super().launch(function, *args, trainer=trainer, **kwargs)
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        _check_port()
        self._call_children_scripts()
        _set_num_threads_if_needed(num_processes=self.num_processes)
        is_over = threading.Event()
        threading.Thread(target=self._watch, args=(is_over,), name="ranks", daemon=True).start()
        try:
            result = function(*args, **kwargs)
        except Exception as error:
            reason = self._reason_of_other() if _is_lost_connection(error) else None
            if reason is None:
                raise
            raise reason from error
        finally:
            is_over.set()
            self._end_others()
            if sys.exception() is not None:
                self._forget_last_words()
        if self._died() is not None:  # this process has all that the run keeps
            log.warning("after the training: %s", self._reason_of_other())
        self._forget_last_words()
        return result

    def _watch(self, is_over: threading.Event) -> None:
        while self._died() is None:
            if is_over.wait(0.2):
                return
        if not is_over.wait(NOTICE_SECONDS):
            reason = self._reason_of_other()
            is_stopped = isinstance(reason, RunInterrupted)
            code = reason.exit_code if isinstance(reason, RunInterrupted | RunFailedError) else 1
            self._forget_last_words()
            self._stop.end_process(code, "interrupted" if is_stopped else "failed", str(reason))

    def _died(self) -> tuple[int, int] | None:
        """Return rank and exit code of the first process that has ended badly."""
        return next(((rank, each.returncode) for rank, each in enumerate(self.procs, 1) if each.poll()), None)

    def _ended(self) -> tuple[int, int] | None:
        """Return rank and exit code of the first process that has ended at all."""
        return next(((rank, 0) for rank, each in enumerate(self.procs, 1) if each.poll() is not None), None)

    def _reason_of_other(self) -> RunInterrupted | RunFailedError | None:
        """Return why another process ended; its connection closes a little before."""
        end = time.monotonic() + LAST_WORDS_SECONDS
        while (died := self._died() or self._ended()) is None:
            if time.monotonic() > end:
                return None
            time.sleep(0.02)
        rank, code = died
        number = -code if code < 0 else code - 128
        if number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            return RunInterrupted(number)
        who = f"The process with rank {rank}, of {self.num_processes},"
        if code < 0:
            memory = ", maybe because memory ran out" if number == signal.SIGKILL else ""
            return RunFailedError(f"{who} was killed by {signal.Signals(number).name}{memory}.")
        words = self._folder.last_words(rank)
        said = words.read_text(encoding="utf-8") if words.is_file() else f"it ended with exit code {code}"
        return RunFailedError(f"{who} failed: {said}")

    def _end_others(self) -> None:
        """Wait for the others, and kill who does not end."""
        end = time.monotonic() + LAST_WORDS_SECONDS
        while any(each.poll() is None for each in self.procs):
            if time.monotonic() > end:
                log.debug("other processes are killed: they did not end")
                self.kill(signal.SIGKILL)
                break
            time.sleep(0.02)
        for each in self.procs:
            each.wait()

    def _forget_last_words(self) -> None:
        for rank in range(1, self.num_processes):
            self._folder.last_words(rank).unlink(missing_ok=True)


def _check_port() -> None:
    """Refuse a port that the user chose and that another program has; without a choice Lightning finds a free one."""
    port = os.environ.get("MASTER_PORT", "")
    if not port.isdigit() or os.environ.get("NODE_RANK", "0") != "0":
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", int(port)))
        except (OSError, OverflowError) as error:
            raise RunFailedError(
                f"MASTER_PORT={port} cannot be used: {error}. Without it a free one is taken."
            ) from None


def _is_lost_connection(error: Exception) -> bool:
    """Tell whether *error* comes from torch's communication, and thus maybe from another process."""
    text = str(error)
    return isinstance(error, torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and any(word in text for word in ("gloo", "NCCL", "Gloo", "nccl"))
    )


@contextmanager
def as_other_rank(folder: RunFolder, rank: int) -> Iterator[None]:
    """Take part as process *rank*: leave a last word for the first process, and do not outlive it."""
    thread = threading.Thread(target=_end_with_first, args=(folder,), name="first rank", daemon=True)
    thread.start()
    try:
        yield
    except Exception as error:
        logging.getLogger(FILE_ONLY).exception("failed")
        said = str(error) if isinstance(error, RunnerError) else f"{type(error).__name__}: {error}"
        with suppress(OSError):
            write_text(folder.last_words(rank), said)
        raise


def _end_with_first(folder: RunFolder) -> None:
    """End this process soon after the first one, which holds the lock of the run folder."""
    while is_locked(folder.path):
        time.sleep(1)
    time.sleep(NOTICE_SECONDS)
    os._exit(1)
