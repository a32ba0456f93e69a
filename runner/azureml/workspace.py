"""What azure-ai-ml does: check a job, and hand it to a workspace. The only module that imports Azure's packages."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import RunFailedError, UsageError
from runner.foreign_files import read_bytes
from runner.shown import printable

if TYPE_CHECKING:
    from azure.ai.ml.entities import Job

CONFIG_NAMES = ("config.json", ".azureml/config.json")
"""Where Azure's tools look for the file that its portal offers for download."""

_MOST_LETTERS = 600
"""Of what Azure's packages say; they may go on for pages."""


@dataclass(frozen=True)
class Workspace:
    """The address of a workspace."""

    subscription: str
    resource_group: str
    name: str


def find_workspace(text: str | None, folder: Path) -> Workspace:
    """Return the workspace that ``--azureml_workspace`` names.

    Args:
        text: ``SUBSCRIPTION/RESOURCE_GROUP/NAME``, or the path of a config.json; None to look for that file.
        folder: Where to look, and above.

    Raises:
        UsageError: there is none.
    """
    parts = (text or "").split("/")
    if len(parts) == 3 and all(parts) and not parts[-1].endswith(".json"):
        return Workspace(*parts)
    above = [each / name for each in (folder, *folder.parents) for name in CONFIG_NAMES]
    file = next((place for place in ([Path(text)] if text is not None else above) if place.is_file()), None)
    if file is None:
        where = f"no file {printable(text)}" if text is not None else f"no config.json in {folder} or above"
        raise UsageError(
            f"--azureml_workspace: there is {where}; give SUBSCRIPTION/RESOURCE_GROUP/NAME, or the config.json of the "
            "workspace (Azure's portal has it for download)."
        )
    return _read_config(file)


def _read_config(file: Path) -> Workspace:
    try:
        body = json.loads(read_bytes(file))
        names = [body[key] for key in ("subscription_id", "resource_group", "workspace_name")]
    except (ValueError, TypeError, KeyError):
        names = [None]
    if not all(isinstance(name, str) and name for name in names):
        raise UsageError(
            f"--azureml_workspace: {file} is no config.json of a workspace: it needs subscription_id, resource_group "
            "and workspace_name."
        )
    return Workspace(*names)


def checked_job(text: str, folder: Path) -> Job:
    """Return the job that a YAML text describes, if azure-ai-ml takes it; nothing is sent.

    Args:
        text: The YAML.
        folder: What paths in it are relative to.

    Raises:
        UsageError: azure-ai-ml refuses it, or is not installed.
    """
    try:
        from azure.ai.ml import load_job
        from azure.ai.ml.exceptions import MlException
        from marshmallow.exceptions import ValidationError
    except ImportError as error:
        raise UsageError(f"--azureml needs packages: pip install 'lightcase[azureml]' ({error}).") from None
    try:
        with _quiet():
            return load_job(io.StringIO(text), relative_origin=str(folder / "job.yml"))
    except (MlException, ValidationError) as error:
        raise UsageError(f"--azureml: azure-ai-ml refuses the job: {_said(error)}") from error


def submit(job: Job, workspace: Workspace) -> list[str]:
    """Upload the code and start the job; return its name, and its page in Azure's studio.

    Azure's own rules say who is asking: environment variables, a managed identity, ``az login`` and so on.

    Raises:
        UsageError: azure-identity is not installed.
        RunFailedError: Azure cannot be reached, or does not take the job.
    """
    try:
        from azure.ai.ml import MLClient
        from azure.ai.ml.exceptions import MlException
        from azure.core.exceptions import AzureError, ClientAuthenticationError
        from azure.identity import DefaultAzureCredential
    except ImportError as error:
        raise UsageError(f"--azureml needs packages: pip install 'lightcase[azureml]' ({error}).") from None
    address = (workspace.subscription, workspace.resource_group, workspace.name)
    try:
        with _quiet():
            made = MLClient(DefaultAzureCredential(), *address).jobs.create_or_update(job)
    except ClientAuthenticationError as error:
        raise RunFailedError(
            f"The job was not sent to {printable(workspace.name)}: nobody is logged in to Azure. Type az login, or set "
            "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET."
        ) from error
    except (AzureError, MlException, ValueError) as error:
        name = printable(workspace.name)
        raise RunFailedError(f"The workspace {name} did not take the job: {_said(error)}") from error
    return [str(each) for each in (made.name, made.studio_url) if each]


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out warnings: Azure's packages announce each class that is new, and each way to log in that fails."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _said(error: Exception) -> str:
    return printable(" ".join(str(error).split()), _MOST_LETTERS)
