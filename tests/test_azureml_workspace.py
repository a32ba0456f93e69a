"""Which workspace a job goes to, and what is said when it cannot."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.azureml.command import job_yaml
from runner.azureml.workspace import Workspace, checked_job, find_workspace, submit
from runner.errors import RunFailedError, UsageError

needs_azure = pytest.mark.skipif(importlib.util.find_spec("azure") is None, reason="azure-ai-ml is not installed")
FILE = {"subscription_id": "s", "resource_group": "g", "workspace_name": "w"}
FOUND = Workspace("s", "g", "w")


@pytest.mark.parametrize("name", ["config.json", ".azureml/config.json"])
def test_the_file_of_the_workspace_is_found_above(tmp_path: Path, name: str) -> None:
    """As Azure's own tools find it."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(json.dumps(FILE))
    assert find_workspace(None, tmp_path / "a" / "b") == FOUND
    assert find_workspace(str(tmp_path / name), Path("/")) == FOUND


def test_the_workspace_in_words(tmp_path: Path) -> None:
    """Subscription, resource group, name."""
    assert find_workspace("s/g/w", tmp_path) == FOUND


@pytest.mark.parametrize("text", ["w", "s/g", "s//w", "a/b/c/d", "a/b/config.json"])
def test_no_workspace(tmp_path: Path, text: str) -> None:
    """Neither words nor a file."""
    with pytest.raises(UsageError, match=r"--azureml_workspace: there is no file .*; give SUBSCRIPTION/RESOURCE_GROUP"):
        find_workspace(text, tmp_path)


def test_no_file_anywhere(tmp_path: Path) -> None:
    """Nor above."""
    with pytest.raises(UsageError, match=r"there is no config.json in .* or above"):
        find_workspace(None, tmp_path)


@pytest.mark.parametrize("body", ["", "[]", "{}", json.dumps(FILE | {"workspace_name": 3}), "\xff"])
def test_a_file_that_is_none(tmp_path: Path, body: str) -> None:
    """It is somebody else's config.json."""
    (tmp_path / "config.json").write_text(body, encoding="latin-1")
    with pytest.raises(UsageError, match=r"is no config.json of a workspace: it needs subscription_id"):
        find_workspace(None, tmp_path)


@needs_azure
def test_names_in_the_file_are_shown_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wrote it."""
    for name in ("HOME", "AZURE_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    job: Any = checked_job(job_yaml({"type": "command", "command": "x", "environment": "azureml:e@latest"}), tmp_path)
    with pytest.raises(RunFailedError) as caught:
        submit(job, replace(FOUND, name="w\n\x1b[31m"))
    assert str(caught.value).isprintable()
    assert r"w\n\x1b[31m" in str(caught.value)


@needs_azure
def test_nobody_is_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Azure's own client tries all its ways; one message."""
    for name in ("HOME", "AZURE_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    job: Any = checked_job(job_yaml({"type": "command", "command": "x", "environment": "azureml:e@latest"}), tmp_path)
    with pytest.raises(RunFailedError, match=r"^The job was not sent to w: nobody is logged in to Azure."):
        submit(job, FOUND)
