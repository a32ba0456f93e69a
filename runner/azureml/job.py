"""A run as a job of AzureML: its YAML, as ``az ml job create`` and azure-ai-ml read it.

See https://learn.microsoft.com/azure/machine-learning/reference-yaml-job-command.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.azureml.carried import command_text, refuse_placeholder
from runner.container import LightningContainer
from runner.environment import redact_urls
from runner.errors import UsageError
from runner.shown import printable
from runner.version import __version__

SHARED_MEMORY = "16g"
"""Most of the memory that loaders hand batches over in; Azure's 2 GB end them with SIGBUS. Only what is used counts."""

_SCHEMA = "https://azuremlschemas.azureedge.net/latest/{}Job.schema.json"
_URI = re.compile(r"(?:azureml|https?|wasbs?|abfss?|adl)://\S+", re.IGNORECASE)
_ASSET = re.compile(r"(?:azureml:)?(\w[\w.-]*[:@]\w[\w.-]*)", re.ASCII)
_FOLDER = re.compile(r"/*(?!\.\.?(?:/|$))[\w. -]+(?:/+(?!\.\.?(?:/|$))[\w. -]+)*/*")
_ENVIRONMENT = re.compile(r"(?:azureml:)?(?!file:)(\w[\w.-]*)([:@]\w[\w.-]*)?", re.ASCII)
_OTHER_ENVIRONMENT = re.compile(
    r"azureml:/(?:/registries|subscriptions)/[\w./-]+/environments/[\w.-]+/(?:versions|labels)/[\w.-]+", re.ASCII
)


@dataclass(frozen=True)
class Place:
    """Where a job runs, and under which name it is listed."""

    compute: str
    environment: str
    experiment: str | None


def command_job(container: LightningContainer, words: Sequence[str], place: Place) -> dict[str, Any]:
    """Return the job of a single run.

    Args:
        container: With all its values.
        words: Program and arguments, from :func:`~runner.azureml.carried.carried_words`.
        place: Where it runs.

    Raises:
        UsageError: a value has no form that AzureML takes.
    """
    return {
        "$schema": _SCHEMA.format("command"),
        "type": "command",
        **_names(container, place),
        **_trial(container, command_text(words, _placeholders(container)), place),
        **_folders(container),
    }


def sweep_job(
    container: LightningContainer, words: Sequence[str], place: Place, sweep: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the job of a sweep: the same, with what :func:`~runner.azureml.sweep_part.sweep_part` says.

    Raises:
        UsageError: a value has no form that AzureML takes.
    """
    varied = {name: f"${{{{search_space.{name}}}}}" for name in sweep["search_space"]}
    return {
        "$schema": _SCHEMA.format("sweep"),
        "type": "sweep",
        **_names(container, place),
        **_folders(container),
        "trial": _trial(container, command_text(words, _placeholders(container) | varied), place),
        **sweep,
    }


def mounted(container: LightningContainer) -> dict[str, str]:
    """Return the parameters that get the paths of mounted data sets, with what AzureML replaces by these."""
    found = {}
    if container.azure_dataset_id:
        found["local_dataset"] = "${{inputs.dataset}}"
    if container.extra_azure_dataset_ids:
        numbers = range(1, len(container.extra_azure_dataset_ids) + 1)
        found["extra_local_dataset_paths"] = ",".join(f"${{{{inputs.extra_dataset_{each}}}}}" for each in numbers)
    return found


def _placeholders(container: LightningContainer) -> dict[str, str]:
    return mounted(container) | ({"output_to": "${{outputs.runs}}"} if container.num_nodes > 1 else {})


def _folders(container: LightningContainer) -> dict[str, Any]:
    """Return the data sets that are mounted, and on several machines a folder for the run, which they must share."""
    folders = {"inputs": _inputs(container)}
    if container.num_nodes > 1:
        folders["outputs"] = {"runs": {"type": "uri_folder", "mode": "rw_mount"}}
    return {name: folder for name, folder in folders.items() if folder}


def _names(container: LightningContainer, place: Place) -> dict[str, Any]:
    name = type(container).__name__
    tags = {"container": name, "lightcase": __version__}
    if container.tag:
        refuse_placeholder(container.tag)
        tags["tag"] = container.tag
    return {
        "experiment_name": place.experiment or name,
        "display_name": name,
        "tags": tags,
        "compute": f"azureml:{place.compute.removeprefix('azureml:')}",
    }


def _trial(container: LightningContainer, command: str, place: Place) -> dict[str, Any]:
    """Return what is run, and on how many machines."""
    trial: dict[str, Any] = {"code": ".", "command": command, "environment": _environment(place.environment)}
    if container.num_nodes > 1:
        trial["distribution"] = {"type": "pytorch", "process_count_per_instance": _num_processes(container.devices)}
    trial["resources"] = {"instance_count": container.num_nodes, "shm_size": SHARED_MEMORY}
    return trial


def _num_processes(devices: Any) -> int:
    """Return how many processes AzureML starts on each of several machines; on one, Lightning starts them."""
    number = len(devices) if isinstance(devices, list) else devices
    if not isinstance(number, int) or number < 1:
        raise UsageError(
            f"--azureml: devices={devices}: say how many devices each machine has, as in --devices=4; AzureML starts "
            "a process for each."
        )
    return number


def _environment(text: str) -> str:
    if _OTHER_ENVIRONMENT.fullmatch(text):
        return text
    named = _ENVIRONMENT.fullmatch(text)
    if named is None:
        raise UsageError(
            f"--azureml_environment={printable(text)}: use NAME, NAME:VERSION, NAME@LABEL or "
            "azureml://registries/REGISTRY/environments/NAME/versions/VERSION."
        )
    return f"azureml:{named[1]}{named[2] or '@latest'}"


def _inputs(container: LightningContainer) -> dict[str, Any]:
    """Return the data sets that are mounted."""
    ids = {"dataset": container.azure_dataset_id} if container.azure_dataset_id else {}
    ids |= {f"extra_dataset_{number}": each for number, each in enumerate(container.extra_azure_dataset_ids, 1)}
    return {name: {"type": "uri_folder", "path": _data_path(text), "mode": "ro_mount"} for name, text in ids.items()}


def _data_path(text: str) -> str:
    """Return where a data set lies: a URI as it is, a data asset, or a folder in the workspace's blob storage."""
    if redact_urls(text) != text:
        raise UsageError(
            "azure_dataset_id holds a secret, and everybody in the workspace can read a job: make it a data asset."
        )
    asset = _ASSET.fullmatch(text)
    if _URI.fullmatch(text):
        refuse_placeholder(text)
        return text
    if asset:
        return f"azureml:{asset[1]}"
    if _FOLDER.fullmatch(text):
        return f"azureml://datastores/workspaceblobstore/paths/{text.strip('/')}"
    raise UsageError(
        f"azure_dataset_id={printable(text)}: use a folder in the workspace's blob storage such as lesions/2024, a "
        "data asset such as lesions:3 or lesions@latest, or a URI such as azureml://datastores/NAME/paths/FOLDER."
    )
