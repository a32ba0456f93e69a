"""From a container and a run folder to Lightning's ``Trainer``. What ``get_trainer_arguments`` returns wins."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric.plugins import CheckpointIO
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping, ModelSummary, ProgressBar
from pytorch_lightning.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler
from pytorch_lightning.strategies import StrategyRegistry

from runner.checkpoints import SafeCheckpointIO
from runner.container import LightningContainer
from runner.errors import TrialPrunedError, UsageError, did_you_mean
from runner.metric_modes import mode_of
from runner.metrics_file import LearningRates, MetricsFile
from runner.places import Place
from runner.progress import progress_callback
from runner.ranks import agreed_signal, each_item_once, prepare_ranks
from runner.run_checkpoints import RunCheckpoints
from runner.run_loggers import as_list, further_loggers
from runner.run_state import Run
from runner.stop_signals import StopSignals
from runner.training_guards import BatchesThere, FiniteLoss, FirstError, SharesOnly

log = logging.getLogger(__name__)

_PROFILERS: dict[str, type[Profiler]] = {
    "simple": SimpleProfiler,
    "advanced": AdvancedProfiler,
    "pytorch": PyTorchProfiler,
}


def create_training_trainer(run: Run) -> Trainer:
    """Return the Trainer for training: the container's parameters, then ``get_trainer_arguments``, which win.

    Raises:
        UsageError: an argument is unknown to the Trainer, or the Trainer refuses a value.
    """
    container = run.container
    arguments = container.trainer_arguments() | {"default_root_dir": run.folder.path}
    if container.profiler in _PROFILERS:
        run.folder.profiler.mkdir(exist_ok=True)
        arguments["profiler"] = _PROFILERS[container.profiler](dirpath=run.folder.profiler, filename="fit")
    theirs = _checked_arguments(container.get_trainer_arguments())
    _say_overruled(run, theirs)
    callbacks = as_list(theirs.pop("callbacks", None)) + as_list(container.get_callbacks())
    loggers = theirs.pop("logger", None)
    arguments["plugins"] = as_list(theirs.pop("plugins", None))
    if not any(isinstance(each, CheckpointIO) for each in arguments["plugins"]):
        arguments["plugins"].append(SafeCheckpointIO(trust=container.trust_checkpoint))
    arguments |= theirs
    metrics = MetricsFile(run.folder.metrics)
    run.loggers = [metrics, *further_loggers(run, loggers)]
    if arguments["barebones"]:
        arguments = _barebones(arguments)
    else:
        arguments["logger"] = run.loggers
        callbacks.insert(0, FirstError())
        callbacks += _own_callbacks(run, metrics, arguments, callbacks)
    trainer = _make_trainer(arguments | {"callbacks": callbacks})
    prepare_ranks(trainer, run.folder, run.place, run.stop)
    return trainer


def check_devices(container: LightningContainer, place: Place, num_nodes: int) -> None:
    """Refuse devices that are not there, before anything is made.

    Raises:
        UsageError: the Trainer refuses them, or somebody has started another number of processes.
    """
    per_machine = processes_per_machine(container)
    if place.is_started_outside and place.world_size != per_machine * num_nodes:
        raise UsageError(
            f"{place.world_size} processes were started, but devices={per_machine} and num_nodes={num_nodes} make "
            f"{per_machine * num_nodes}."
        )


def processes_per_machine(container: LightningContainer) -> int:
    """Return how many processes train on each machine: one per device, for strategies that start processes.

    Raises:
        UsageError: the Trainer refuses devices, num_nodes, strategy or accelerator.
    """
    theirs = _checked_arguments(container.get_trainer_arguments())
    names = ("accelerator", "devices", "num_nodes", "strategy")
    asked = {name: value for name, value in (container.trainer_arguments() | theirs).items() if name in names}
    if asked["devices"] in (1, "1") and asked["num_nodes"] == 1:
        return 1
    off = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = _make_trainer(asked | off)
    return trainer.num_devices if trainer.strategy.launcher is not None else 1


def create_evaluation_trainer(run: Run, callbacks: list[Callback], *, on_all_devices: bool = False) -> Trainer:
    """Return the Trainer for what comes after training.

    Args:
        run: The run.
        callbacks: The container's or others; those that only training has a use for are left out.
        on_all_devices: Share the data among all devices of the training, each item once; else one device has all.
    """
    container = run.container
    callbacks = [each for each in callbacks if not isinstance(each, Checkpoint | ProgressBar | ModelSummary)]
    keep = {
        "accelerator",
        "precision",
        "limit_test_batches",
        "limit_predict_batches",
        "inference_mode",
        "deterministic",
        "benchmark",
        "fast_dev_run",
    }
    shared = {"devices", "num_nodes", "strategy"} if on_all_devices else set()
    theirs = _checked_arguments(container.get_trainer_arguments())
    if container.logger and not run.loggers:  # nothing was trained
        run.loggers = further_loggers(run, theirs.get("logger"))
    arguments = {
        name: value for name, value in (container.trainer_arguments() | theirs).items() if name in keep | shared
    }
    trainer = _make_trainer(
        {"devices": _own_device(run)}
        | arguments
        | {
            "logger": [each for each in run.loggers if not isinstance(each, MetricsFile)] or False,
            "callbacks": callbacks,
            "default_root_dir": run.folder.path,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
        }
    )
    if on_all_devices:
        each_item_once(trainer)
        prepare_ranks(trainer, run.folder, run.place, run.stop)
    return trainer


def _own_device(run: Run) -> int | list[int]:
    """Return the device of this process, for what each of several does alone."""
    asked, local_rank = run.container.devices, run.place.local_rank
    if not local_rank or run.container.accelerator == "cpu" or not torch.cuda.is_available():
        return 1
    return [asked[local_rank] if isinstance(asked, list) else local_rank]


@contextmanager
def without_trainer_variables() -> Iterator[None]:
    """Hide ``PL_TRAINER_...`` variables, which would change the Trainer's defaults behind everyone's back."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PL_TRAINER_")}
    if hidden:
        log.warning("ignoring %s: set the parameters of the container instead", ", ".join(sorted(hidden)))
    try:
        yield
    finally:
        os.environ.update(hidden)


def _make_trainer(arguments: dict[str, Any]) -> Trainer:
    try:
        with without_trainer_variables():
            return Trainer(**arguments)
    except (MisconfigurationException, ValueError, TypeError) as error:
        hint = ""
        if isinstance(strategy := arguments.get("strategy"), str):
            hint = did_you_mean(strategy, StrategyRegistry.available_strategies())
        raise UsageError(f"Lightning's Trainer refuses these settings: {error}{hint}") from error


def _checked_arguments(arguments: dict[str, Any] | None) -> dict[str, Any]:
    arguments = arguments or {}
    known = list(inspect.signature(Trainer.__init__).parameters)[1:]
    unknown = [name for name in arguments if name not in known]
    if unknown:
        raise UsageError(
            f"get_trainer_arguments returned {unknown[0]!r}, which Lightning's Trainer does not know."
            f"{did_you_mean(unknown[0], known)}"
        )
    return dict(arguments)


def _say_overruled(run: Run, theirs: dict[str, Any]) -> None:
    """Warn where ``get_trainer_arguments`` overrules what the user asked for."""
    for name, value in theirs.items():
        parameter = "num_epochs" if name == "max_epochs" else name
        origin = run.set_by.get(parameter, "default")
        if origin not in ("default", "container") and value != getattr(run.container, parameter):
            log.warning(
                "%s: %s (%s) is overruled by get_trainer_arguments: %s",
                parameter,
                getattr(run.container, parameter),
                origin,
                value,
            )


def container_callbacks(container: LightningContainer) -> list[Callback]:
    """Return the callbacks of ``get_callbacks`` and of ``get_trainer_arguments``."""
    arguments = _checked_arguments(container.get_trainer_arguments())
    return as_list(arguments.get("callbacks")) + as_list(container.get_callbacks())


def _barebones(arguments: dict[str, Any]) -> dict[str, Any]:
    """Leave out what Lightning refuses beside ``barebones=True``."""
    refused = {
        "logger",
        "enable_checkpointing",
        "enable_progress_bar",
        "enable_model_summary",
        "profiler",
        "num_sanity_val_steps",
        "fast_dev_run",
        "detect_anomaly",
        "log_every_n_steps",
    }
    return {name: value for name, value in arguments.items() if name not in refused}


def _own_callbacks(run: Run, metrics: MetricsFile, arguments: dict[str, Any], theirs: list[Callback]) -> list[Callback]:
    """Return our callbacks, leaving out what the user brought an own version of."""
    container = run.container
    own: list[Callback] = [IgnoredSettings(run), BatchesThere(), SharesOnly(), FiniteLoss(), LearningRates(metrics)]
    if arguments["enable_progress_bar"] and not any(isinstance(each, ProgressBar) for each in theirs):
        own.append(progress_callback())
        arguments["enable_progress_bar"] = False  # else Lightning adds a bar of its own
    if arguments["enable_model_summary"] and not any(isinstance(each, ModelSummary) for each in theirs):
        own.append(ModelSummary())
    if container.early_stopping_patience is not None and container.monitor is not None:
        mode = mode_of(container.monitor, container.monitor_mode)
        own.append(EarlyStopping(container.monitor, mode=mode, patience=container.early_stopping_patience))
    if arguments["enable_checkpointing"]:
        own.append(
            RunCheckpoints(
                run.folder,
                metrics,
                monitor=container.monitor,
                mode=container.monitor_mode,
                save_top_k=container.save_top_k,
                every_n_epochs=container.autosave_every_n_val_epochs,
                stop=run.stop,
                on_saved=run.on_epoch_finished,
                extends=run.extends,
            )
        )
    else:
        own.append(StopOnSignal(run.stop))
    if run.should_prune is not None:
        own.append(Pruning(run.should_prune))
    return own


class Pruning(Callback):
    """Asks the sweep before each epoch but the first whether the trial is to go on."""

    def __init__(self, should_prune: Callable[[int], bool]) -> None:
        self._should_prune = should_prune

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise TrialPrunedError in all processes, if the first one says so."""
        del pl_module
        epoch = trainer.current_epoch
        is_pruned = epoch > 0 and trainer.is_global_zero and self._should_prune(epoch)
        if trainer.strategy.broadcast(is_pruned):
            raise TrialPrunedError(f"pruned after {epoch} epochs")


class IgnoredSettings(Callback):
    """Warns when optimizer parameters were set that nothing has read once training begins."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare what was set with what was read."""
        del trainer
        container = self._run.container
        ignored = {
            name: origin
            for name, origin in self._run.set_by.items()
            if name in container.unread_optimizer_parameters()
            and container.param[name].default != getattr(container, name)
        }
        if ignored:
            log.warning(
                "%s: set, but without effect: %s has its own configure_optimizers and nothing reads these parameters "
                "(LightningModuleWithOptimizer would)",
                ", ".join(f"{name} ({origin})" for name, origin in ignored.items()),
                type(pl_module).__name__,
            )


class StopOnSignal(Callback):
    """Stops a training that writes no checkpoints after the step in which a signal came."""

    def __init__(self, stop: StopSignals) -> None:
        self._stop = stop

    def on_train_start(self, *_arguments: Any) -> None:
        """Let steps end in good order."""
        self._stop.defer()

    def on_train_batch_end(self, trainer: Trainer, *_arguments: Any, **_keywords: Any) -> None:
        """Stop if a signal came to any process."""
        self._stop.requested = agreed_signal(trainer, self._stop.requested)
        self._stop.stop_if_requested()
