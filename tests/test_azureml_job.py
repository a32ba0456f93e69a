"""The job of a run: what the YAML says, and that azure-ai-ml reads it as it is meant."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner import LightningContainer
from runner.azureml.command import job_yaml
from runner.azureml.job import Place, command_job, mounted
from runner.azureml.workspace import checked_job
from runner.errors import UsageError

needs_azure = pytest.mark.skipif(importlib.util.find_spec("azure") is None, reason="azure-ai-ml is not installed")
PLACE = Place("gpu", "lightcase:3", None)


class Mine(LightningContainer):
    """For a job."""


def container(**values: Any) -> Mine:
    made = Mine()  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(made, name, value)
    return made


def test_the_job_of_a_run() -> None:
    """On one machine Lightning starts the processes, whatever devices there are."""
    assert command_job(container(tag="a try"), ["python", "runner.py", "--tag=a try"], PLACE) == {
        "$schema": "https://azuremlschemas.azureedge.net/latest/commandJob.schema.json",
        "type": "command",
        "experiment_name": "Mine",
        "display_name": "Mine",
        "tags": {"container": "Mine", "lightcase": "0.1.0", "tag": "a try"},
        "compute": "azureml:gpu",
        "code": ".",
        "command": "python runner.py '--tag=a try'",
        "environment": "azureml:lightcase:3",
        "resources": {"instance_count": 1, "shm_size": "16g"},
    }


@pytest.mark.parametrize(("devices", "number"), [(4, 4), ([0, 2], 2), (1, 1)])
def test_several_machines(devices: Any, number: int) -> None:
    """AzureML starts a process for each device of each."""
    job = command_job(container(num_nodes=3, devices=devices), [], PLACE)
    assert job["distribution"] == {"type": "pytorch", "process_count_per_instance": number}
    assert job["resources"]["instance_count"] == 3
    assert job["outputs"] == {"runs": {"type": "uri_folder", "mode": "rw_mount"}}  # they share no other folder
    assert job["command"] == "'--output_to=${{outputs.runs}}'"


@pytest.mark.parametrize("devices", ["auto", -1])
def test_several_machines_need_a_number_of_devices(devices: Any) -> None:
    """Nobody knows here what they have."""
    with pytest.raises(UsageError, match="say how many devices each machine has, as in --devices=4"):
        command_job(container(num_nodes=2, devices=devices), [], PLACE)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("lesions", "azureml://datastores/workspaceblobstore/paths/lesions"),
        ("/lesions/2024 a/", "azureml://datastores/workspaceblobstore/paths/lesions/2024 a"),
        ("lesions:3", "azureml:lesions:3"),
        ("azureml:lesions@latest", "azureml:lesions@latest"),
        ("azureml://datastores/mine/paths/x", "azureml://datastores/mine/paths/x"),
        ("https://me.blob.core.windows.net/c/x", "https://me.blob.core.windows.net/c/x"),
    ],
)
def test_where_data_lie(text: str, path: str) -> None:
    """InnerEye's rule for a plain name: a folder in the blob storage."""
    job = command_job(container(azure_dataset_id=text), [], PLACE)
    assert job["inputs"] == {"dataset": {"type": "uri_folder", "path": path, "mode": "ro_mount"}}
    assert job["command"] == "'--local_dataset=${{inputs.dataset}}'"


def test_further_data() -> None:
    """In their order."""
    mine = container(azure_dataset_id="a", extra_azure_dataset_ids=["b", "c:1"])
    assert list(command_job(mine, [], PLACE)["inputs"]) == ["dataset", "extra_dataset_1", "extra_dataset_2"]
    assert mounted(mine)["extra_local_dataset_paths"] == "${{inputs.extra_dataset_1}},${{inputs.extra_dataset_2}}"


@pytest.mark.parametrize(
    "text", ["a:b:c", "a@b@c", "${{x}}", "a\nb", "C:\\data", "..", "../../etc", "a/../b", "/", "file:///etc", "a:.."]
)
def test_where_no_data_can_lie(text: str) -> None:
    """The message says what can be given."""
    with pytest.raises(UsageError, match="use a folder in the workspace's blob storage such as"):
        command_job(container(azure_dataset_id=text), [], PLACE)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("lightcase", "azureml:lightcase@latest"),
        ("lightcase@stable", "azureml:lightcase@stable"),
        ("azureml:lightcase:1.0", "azureml:lightcase:1.0"),
        ("azureml://registries/r/environments/e/versions/1", "azureml://registries/r/environments/e/versions/1"),
    ],
)
def test_environments(text: str, found: str) -> None:
    """A name alone is its latest version."""
    assert command_job(container(), [], Place("azureml:gpu", text, "other"))["environment"] == found


@pytest.mark.parametrize("text", ["e@", ":", "azureml://x", "azureml:", "file:x.yml", "a:b:c", "/e", "../e"])
def test_no_environments(text: str) -> None:
    """Azure would say so after the upload."""
    with pytest.raises(UsageError, match=r"--azureml_environment=.*: use NAME, NAME:VERSION, NAME@LABEL or azureml:"):
        command_job(container(), [], Place("gpu", text, None))


@pytest.mark.parametrize("text", ["https://a.blob.core.windows.net/c?sv=1&sig=abc", "https://me:abc@example.org/x"])
def test_a_secret_in_the_place_of_data(text: str) -> None:
    """The job shows it."""
    with pytest.raises(UsageError, match="azure_dataset_id holds a secret") as caught:
        command_job(container(azure_dataset_id=text), [], PLACE)
    assert "abc" not in str(caught.value)


# --- azure-ai-ml ------------------------------------------------------------------------------------------------------


@needs_azure
def test_azure_takes_the_job(tmp_path: Path) -> None:
    """With all that it may have."""
    mine = container(azure_dataset_id="a b", extra_azure_dataset_ids=["b:1"], num_nodes=2, devices=4, tag="1e-3")
    found: Any = checked_job(job_yaml(command_job(mine, ["python", "runner.py"], PLACE)), tmp_path)
    assert (found.type, found.experiment_name, found.tags["tag"]) == ("command", "Mine", "1e-3")
    assert found.distribution.process_count_per_instance == 4
    assert (found.resources.instance_count, found.resources.shm_size) == (2, "16g")
    assert found.inputs["dataset"].path == "azureml://datastores/workspaceblobstore/paths/a b"
    assert found.inputs["extra_dataset_1"].mode == "ro_mount"
    assert found.outputs["runs"].mode == "rw_mount"
    assert found.compute == "gpu"
    assert Path(found.base_path, found.component.code) == tmp_path


@needs_azure
@settings(deadline=None, max_examples=40)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20), min_size=1))
def test_azure_reads_the_command_as_it_was_written(words: list[str]) -> None:
    """Through YAML, whatever it holds."""
    job = command_job(container(), ["python", *words], PLACE)
    found: Any = checked_job(job_yaml(job), Path.cwd())
    assert found.command == job["command"]


@needs_azure
@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("distribution", "type"), "pytorh"),
        (("resources", "instance_count"), "two"),
        (("inputs", "dataset", "type"), "uri_foldr"),
        (("code",), "nowhere"),
        (("typo",), 1),
        (("type",), "comand"),
    ],
)
def test_azure_refuses_a_broken_job(tmp_path: Path, path: tuple[str, ...], value: Any) -> None:
    """With one message, not pages of it."""
    job = command_job(container(azure_dataset_id="a", num_nodes=2, devices=2), ["x"], PLACE)
    part = job
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    with pytest.raises(UsageError, match="azure-ai-ml refuses the job: ") as caught:
        checked_job(job_yaml(job), tmp_path)
    assert len(str(caught.value)) < 700
