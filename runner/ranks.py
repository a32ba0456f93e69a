"""Several processes that train one model: they stop together, and none waits for one that has died."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.utilities.distributed import _set_num_threads_if_needed
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.overrides.distributed import UnrepeatedDistributedSampler
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher
from pytorch_lightning.trainer.connectors.signal_connector import _SignalConnector
from pytorch_lightning.trainer.states import RunningStage
from torch import Tensor
from torch.utils.data import IterableDataset

from runner.errors import RunFailedError, RunInterrupted, RunnerError
from runner.folder_lock import is_locked
from runner.log_setup import FILE_ONLY
from runner.other_ranks import NOTICE_SECONDS, OtherRanks
from runner.places import PHASE_VARIABLE, Place
from runner.process_state import distributed_variables_restored
from runner.rank_signs import FAILED, INTERRUPTED, RankSign
from runner.run_folder import RunFolder
from runner.run_state import Run
from runner.stop_signals import StopSignals

log = logging.getLogger(__name__)


def agreed_signal(trainer: Trainer, number: int | None) -> int | None:
    """Return the signal that any process of the training got; all stop in the same step, or one waits for ever.

    One number per step is what Lightning exchanges as well; ours also comes from processes other than the first.
    """
    if trainer.world_size == 1:
        return number
    highest = torch.tensor(number or 0, device=trainer.strategy.root_device)
    return int(trainer.strategy.reduce(highest, reduce_op="max")) or None


def prepare_ranks(trainer: Trainer, folder: RunFolder, place: Place, stop: StopSignals) -> None:
    """Let *trainer* leave signals to us, and start the other processes by a :class:`RankLauncher`."""
    trainer._signal_connector = _NoSignals(trainer)
    launcher = trainer.strategy.launcher
    if isinstance(launcher, _SubprocessScriptLauncher):
        trainer.strategy._launcher = RankLauncher(launcher, folder, place, stop)


def each_item_once(trainer: Trainer) -> None:
    """Let a test on several devices share the items as ``Trainer.predict`` does; Lightning's has some twice.

    Raises, when the test begins:
        RunFailedError: the data cannot be shared: a stream, or fewer items than processes.
    """
    connector = trainer._data_connector
    prepare = connector._prepare_dataloader

    def prepare_dataloader(loader: Any, shuffle: bool, mode: RunningStage) -> object:
        del mode
        items = getattr(loader, "dataset", None)
        count = len(items) if isinstance(items, Sized) and not isinstance(items, IterableDataset) else None
        if count is None or count < trainer.world_size:
            what = "a stream" if count is None else f"{count} items among {trainer.world_size} processes"
            raise RunFailedError(f"test_on_all_devices: {what} cannot be shared; test on one device.")
        prepared = prepare(loader, shuffle, RunningStage.PREDICTING)
        if not isinstance(_sampler(prepared), UnrepeatedDistributedSampler):
            raise RunFailedError("test_on_all_devices: a loader with a sampler like this one cannot be shared.")
        return prepared

    trainer.callbacks.append(_SameMetrics())  # type: ignore[attr-defined]
    connector._prepare_dataloader = prepare_dataloader  # type: ignore[method-assign,assignment]
    reduce = trainer.strategy.reduce

    def reduce_exactly(value: Any, *arguments: Any, **keywords: Any) -> Any:
        """Lightning divides the counts of items too, and as whole numbers they lose what is after the point."""
        is_count = isinstance(value, Tensor) and not value.is_floating_point()
        return reduce(value.double() if is_count else value, *arguments, **keywords)

    trainer.strategy.reduce = reduce_exactly  # type: ignore[method-assign,assignment]


def _sampler(loader: Any) -> Any:
    """Return what chooses the items of a loader that Lightning has prepared for ``predict``."""
    batches = getattr(loader, "batch_sampler", None)
    batches = getattr(batches, "_batch_sampler", batches)
    return getattr(batches, "sampler", None) or getattr(loader, "sampler", None)


class _SameMetrics(Callback):
    """All processes must have logged the same names, or they would add up different things."""

    def on_test_batch_end(self, trainer: Trainer, *_rest: Any) -> None:
        """Compare the names, after the last batch of each process.

        Raises:
            RunFailedError: they differ.
        """
        if not trainer.test_loop.batch_progress.is_last_batch or trainer._results is None:
            return
        own = sorted({metric.meta.name for metric in trainer._results.values()})
        found: list[Any] = [None] * trainer.world_size
        torch.distributed.all_gather_object(found, own)
        partly = set().union(*found) - set(found[0]).intersection(*found)
        if partly:
            raise RunFailedError(
                f"test_on_all_devices: {', '.join(sorted(partly))} was logged for some batches only, and not in all "
                "processes; test on one device."
            )


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

    def __init__(self, launcher: _SubprocessScriptLauncher, folder: RunFolder, place: Place, stop: StopSignals) -> None:
        super().__init__(launcher.cluster_environment, launcher.num_processes, launcher.num_nodes)
        self._folder = folder
        self._place = place
        self._stop = stop

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Trainer | None = None, **kwargs: Any) -> Any:
        """Start the other processes of this machine, unless they are there, then call *function* in this one."""
        del trainer
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not self.cluster_environment.creates_processes_externally:
            _check_port()
            self._start_others()
        _set_num_threads_if_needed(num_processes=self.num_processes)
        with self._others().watched(self._stop):
            return function(*args, **kwargs)

    def share(self, phase: str, work: Callable[[Callable[[], None]], object]) -> None:
        """Start the other processes of this machine, unless they are there, do this one's share, and wait for theirs.

        Args:
            phase: Its name.
            work: What this process has to do, without talking to the others; its argument raises where it is to stop.

        Raises:
            RunFailedError: another process failed or was killed.
            RunInterrupted: a signal stopped one.
        """
        if not self._place.is_started_outside and self._place.joined is None:
            with distributed_variables_restored():
                self._start_others()
        others = self._others()
        with others.watched(self._stop):
            work(others.check)
            others.wait_until_done(phase)

    def _start_others(self) -> None:
        os.environ[PHASE_VARIABLE] = self._folder.read_status()["phase"]
        try:
            self._call_children_scripts()
        finally:
            del os.environ[PHASE_VARIABLE]

    def _others(self) -> OtherRanks:
        """Return the processes that this one looks after: all in the first one, else those that it has started."""
        world_size = self.num_processes * self.num_nodes
        first = self._place.rank_among(self.num_processes) + 1
        ranks = range(1, world_size) if self._place.is_first else range(first, first + len(self.procs))
        return OtherRanks(self._folder.path, ranks, world_size, dict(enumerate(self.procs, first)))


def share_phase(run: Run, per_machine: int, phase: str, work: Callable[[Callable[[], None]], object]) -> None:
    """Have all processes of the run work on a phase, this one too, and wait until they are done.

    Args:
        run: The run.
        per_machine: How many processes each machine has.
        phase: Its name.
        work: What this process has to do, without talking to the others; its argument raises where it is to stop.

    Raises:
        RunFailedError: another process failed or was killed.
        RunInterrupted: a signal stopped one.
    """
    lightnings = _SubprocessScriptLauncher(LightningEnvironment(), per_machine, run.container.num_nodes)
    RankLauncher(lightnings, run.folder, run.place, run.stop).share(phase, work)


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


@contextmanager
def as_other_rank(folder: RunFolder, rank: int) -> Iterator[RankSign]:
    """Take part as process *rank*: give signs of life, say at the end why it failed, and do not outlive the first."""
    thread = threading.Thread(target=_end_with_first, args=(folder,), name="first rank", daemon=True)
    thread.start()
    sign = RankSign(folder.path, rank)
    with sign.beating():
        try:
            yield sign
        except RunInterrupted as error:
            sign.say(state=INTERRUPTED, signal=error.signal_number)
            raise
        except Exception as error:
            logging.getLogger(FILE_ONLY).exception("failed")
            said = str(error) if isinstance(error, RunnerError) else f"{type(error).__name__}: {error}"
            sign.say(state=FAILED, said=said)
            raise


def _end_with_first(folder: RunFolder) -> None:
    """End this process soon after the first one, which holds the lock of the run folder."""
    while is_locked(folder.path):
        time.sleep(1)
    time.sleep(NOTICE_SECONDS)
    os._exit(1)
