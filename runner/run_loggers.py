"""The loggers of a run beside metrics.csv: those of ``--logger``, of the container, and of a job in AzureML."""

from __future__ import annotations

import importlib.util
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any

from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers import Logger, MLFlowLogger

from runner.container import LightningContainer
from runner.environment import redact
from runner.run_folder import RunFolder
from runner.run_state import Run
from runner.shown import printable

log = logging.getLogger(__name__)

_AZUREML_RUN = "AZUREML_RUN_ID"
"""Environment variable that AzureML sets in the processes of a job: the job's name."""

SECONDS = 10.0
"""Longest that a training waits for the server of its job, once."""

UPLOAD_SECONDS = 60.0
"""The same for a file."""

_MLFLOW_LIMITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "8", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
"""Environment variables that MLflow reads at each request: seconds, and further attempts. Its own choice is minutes."""


def further_loggers(run: Run, theirs: Any) -> list[Logger]:
    """Return what ``--logger`` says, then what the container brings; in a job of AzureML also its workspace.

    ``logger=False`` from the container turns all but metrics.csv off; ``True`` means the parameter's choice. An empty
    ``--logger=`` is no logger, in a job too.
    """
    if theirs is False:
        return []
    names = run.container.logger
    if names is None:
        names = ["tensorboard"] if importlib.util.find_spec("tensorboard") else []
    brought = [] if theirs is True else as_list(theirs)
    has_mlflow = "mlflow" in names or any(type(each).__name__ == "MLFlowLogger" for each in brought)
    if run.container.logger != [] and not has_mlflow and _logs_to_azureml():
        names = [*names, "mlflow"]
    made = (_make_logger(name, run.folder, run.container) for name in names)
    return [*(each for each in made if each is not None), *brought]


def as_list(value: Any) -> list[Any]:
    """Return one or several things, or none, as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _logs_to_azureml() -> bool:
    """Tell whether this is a job of AzureML whose environment can send metrics to the workspace."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri or _AZUREML_RUN not in os.environ:
        return False
    lacks_plugin = uri.startswith("azureml:") and not entry_points(group="mlflow.tracking_store", name="azureml")
    if lacks_plugin or importlib.util.find_spec("mlflow") is None:
        log.warning("metrics go to the run folder, not to the AzureML workspace: its environment lacks azureml-mlflow")
        return False
    return True


def _make_logger(name: str, folder: RunFolder, container: LightningContainer) -> Logger | None:
    model = type(container).__name__
    if name == "wandb":
        from pytorch_lightning.loggers import WandbLogger

        return WandbLogger(name=folder.path.name, save_dir=folder.path, project=model)
    if name == "mlflow":
        uri, job = os.environ.get("MLFLOW_TRACKING_URI"), os.environ.get(_AZUREML_RUN)
        if uri and job:
            return _joined_job(uri, job)
        uri = uri or f"sqlite:///{folder.path / 'mlflow.db'}"
        return MLFlowLogger(experiment_name=model, run_name=folder.path.name, tracking_uri=uri)
    from pytorch_lightning.loggers import TensorBoardLogger

    return TensorBoardLogger(folder.path, name="tensorboard", version="")


class JobLogger(MLFlowLogger):
    """The run that a job is on its MLflow server; nothing that the server does, or fails to do, ends the training.

    At the first failure there is one warning, and from then on nothing is sent.

    Args:
        uri: The server.
        job: The run there, which is joined.

    Raises:
        Exception: what MLflow makes of a server that does not know the run, or of an address that is none.
    """

    def __init__(self, uri: str, job: str) -> None:
        super().__init__(tracking_uri=uri, run_id=job)
        _ = super().experiment  # asks for the run
        self._client = _LimitedClient(self._mlflow_client)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Return MLflow's client, whose methods return None where they fail or take too long."""
        return self._client


class _LimitedClient:
    """MLflow's client with a limit to its time, and to its failures: one."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._failed = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # of Python's own protocols, such as pickle
            raise AttributeError(name)
        theirs = getattr(self._client, name)
        if not callable(theirs):
            return theirs
        return lambda *args, **options: self._call(lambda: theirs(*args, **options), name)

    def _call(self, function: Callable[[], Any], name: str) -> Any:
        if self._failed:
            return None
        try:
            return _within(UPLOAD_SECONDS if "artifact" in name else SECONDS, function)
        except Exception as error:  # whatever a server or a plugin makes of it
            self._failed = True
            _warn(error)
            return None


def _joined_job(uri: str, job: str) -> Logger | None:
    """Return the logger of a job, or None with a warning where its server does not answer."""
    import mlflow.tracking  # noqa: F401 - may take seconds, which are not the server's

    try:
        logger: Logger = _within(SECONDS, lambda: JobLogger(uri, job))
    except Exception as error:  # as above
        _warn(error)
        return None
    return logger


def _warn(error: Exception) -> None:
    said = printable(redact(" ".join(str(error).split())), 300)
    log.warning("the MLflow server of this job fails, and metrics go to the run folder only: %s", said)


def _within(seconds: float, function: Callable[[], Any]) -> Any:
    """Return what a function returns, or raise what it raises; a thread, as no limit of MLflow's holds for a plugin.

    Raises:
        TimeoutError: it takes longer. It goes on, and no one waits for it.
    """
    done: list[Any] = []
    failed: list[Exception] = []

    def call() -> None:
        try:
            done.append(function())
        except Exception as error:  # raised again below
            failed.append(error)

    thread = threading.Thread(target=call, daemon=True)
    with _short_limits():
        thread.start()
        thread.join(seconds)
    if failed:
        raise failed[0]
    if not done:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return done[0]


@contextmanager
def _short_limits() -> Iterator[None]:
    """Set MLflow's limits, but not over the user's; only for now, since others may use MLflow in this process.

    That a request is tried again is no warning meanwhile.
    """
    requests = logging.getLogger("urllib3.connectionpool")
    level = requests.level
    ours = [name for name in _MLFLOW_LIMITS if name not in os.environ]
    os.environ.update({name: _MLFLOW_LIMITS[name] for name in ours})
    requests.setLevel(logging.ERROR)
    try:
        yield
    finally:
        requests.setLevel(level)
        for name in ours:
            os.environ.pop(name, None)
