"""The loggers of a run beside metrics.csv: those of ``--logger``, of the container, and of a job in AzureML."""

from __future__ import annotations

import importlib.util
import logging
import os
from importlib.metadata import entry_points
from typing import Any

from pytorch_lightning.loggers import Logger

from runner.container import LightningContainer
from runner.run_folder import RunFolder
from runner.run_state import Run

log = logging.getLogger(__name__)

_AZUREML_RUN = "AZUREML_RUN_ID"
"""Environment variable that AzureML sets in the processes of a job: the job's name."""


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
    return [*(_make_logger(name, run.folder, run.container) for name in names), *brought]


def as_list(value: Any) -> list[Any]:
    """Return one or several things, or none, as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _logs_to_azureml() -> bool:
    """Tell whether this is a job of AzureML whose environment can send metrics to the workspace."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri is None or _AZUREML_RUN not in os.environ:
        return False
    lacks_plugin = uri.startswith("azureml:") and not entry_points(group="mlflow.tracking_store", name="azureml")
    if lacks_plugin or importlib.util.find_spec("mlflow") is None:
        log.warning("metrics go to the run folder, not to the AzureML workspace: its environment lacks azureml-mlflow")
        return False
    return True


def _make_logger(name: str, folder: RunFolder, container: LightningContainer) -> Logger:
    model = type(container).__name__
    if name == "wandb":
        from pytorch_lightning.loggers import WandbLogger

        return WandbLogger(name=folder.path.name, save_dir=folder.path, project=model)
    if name == "mlflow":
        from pytorch_lightning.loggers import MLFlowLogger

        uri = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{folder.path / 'mlflow.db'}")
        job = os.environ.get(_AZUREML_RUN) if "MLFLOW_TRACKING_URI" in os.environ else None  # it is a run there already
        return MLFlowLogger(experiment_name=model, run_name=folder.path.name, tracking_uri=uri, run_id=job)
    from pytorch_lightning.loggers import TensorBoardLogger

    return TensorBoardLogger(folder.path, name="tensorboard", version="")
