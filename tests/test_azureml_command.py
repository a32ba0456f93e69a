"""``--azureml`` as users type it, and the command of job.yml as AzureML runs it: bare folder, mounted data, MLflow."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from runner.azureml.command import _is_ignored
from runner.cli import main
from runner.run_folder import RunFolder
from tests.free_ports import free_port
from tests.mlflow_samples import mlflow_server

REPOSITORY = Path(__file__).parents[1]
PLACE = ("--azureml", "--azureml_compute=gpu", "--azureml_environment=lightcase")
needs_azure = pytest.mark.skipif(importlib.util.find_spec("azure") is None, reason="azure-ai-ml is not installed")
needs_mlflow = pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed")


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A project with the container of InnerEye's page, which names data in Azure and a path that is not here."""
    folder = tmp_path / "code"
    (folder / "containers").mkdir(parents=True)
    shutil.copy(REPOSITORY / "tests" / "containers" / "inner_eye_page.py", folder / "containers")
    shutil.copy(REPOSITORY / "runner.py", folder / "train.py")  # as runner.py it would hide the package
    (folder / "quick.yaml").write_text("num_epochs: 2\n")
    return folder


@pytest.fixture
def typed(code: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The program of the project, in this process: call it with arguments."""
    monkeypatch.chdir(code)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setattr(sys, "path", [*sys.path])

    def call(*argv: str) -> int:
        return main(argv)

    return call


def run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command with Lightcase installed."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"} | variables
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


# --- here -------------------------------------------------------------------------------------------------------------


@needs_azure
def test_a_dry_run_writes_the_job(code: Path, typed: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """And shows it; a second one writes it anew."""
    for _ in range(2):
        assert typed("--model=MyContainer", *PLACE, "--dry_run", "--num_epochs=1") == 0
        said = capsys.readouterr()
    assert said.err == ""
    job = (code / "job.yml").read_text()
    assert said.out.startswith(job)
    assert "job.yml is written; to submit it: az ml job create --file job.yml" in said.out
    assert yaml.safe_load(job)["command"] == (
        "python train.py --model=MyContainer --num_epochs=1 '--local_dataset=${{inputs.dataset}}'"
    )
    assert {each.name for each in code.iterdir()} == {"containers", "job.yml", "quick.yaml", "train.py"}


@needs_azure
def test_the_example_of_the_docs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its command gives its job."""
    shutil.copytree(REPOSITORY / "containers", tmp_path / "containers")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["runner.py"])
    text = (REPOSITORY / "docs" / "azureml.md").read_text()
    example, job = (re.findall(f"```{kind}\n(.*?)```", text, re.DOTALL)[0] for kind in ("sh", "yaml"))
    assert typed(*example.split()[2:], "--dry_run") == 0
    assert capsys.readouterr().out.startswith(job)


@needs_azure
def test_a_file_of_the_user_is_left_alone(
    code: Path, typed: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Though it is called job.yml."""
    (code / "job.yml").write_text("type: command\n")
    assert typed("--model=MyContainer", *PLACE, "--dry_run") == 2
    assert "there is a job.yml in" in capsys.readouterr().err
    assert (code / "job.yml").read_text() == "type: command\n"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (PLACE[:2], "--azureml needs --azureml_environment=NAME"),
        (PLACE[::2], "--azureml needs --azureml_compute=NAME"),
        ((*PLACE[:1], "--azureml_compute=a b", PLACE[2]), "--azureml_compute=a b is no name"),
        ((*PLACE, "--resume=outputs/latest"), "--resume has no place beside --azureml"),
        ((*PLACE, "--output_to=there"), "--output_to has no place beside --azureml"),
        ((*PLACE, "--workers=2"), "--workers is for sweeps: add --sweep"),
        ((*PLACE, "--num_epoch=2"), "Did you mean --num_epochs"),
        ((*PLACE, "--train=False"), "train=False leaves no weights to test"),
        ((*PLACE, "--azureml_workspace=mine"), "--azureml_workspace: there is no file mine"),
        ((*PLACE, "--sweep", "num_nodes=1,2", "--sweep_metric=a"), "num_nodes cannot vary: the trials of a sweep job"),
        ((*PLACE, "--sweep", "azure_dataset_id=a,b", "--sweep_metric=a"), "azure_dataset_id cannot vary"),
        ((*PLACE, "--sweep", "src_checkpoint=/a,b", "--sweep_metric=a"), "src_checkpoint: /a is not in"),
        ((*PLACE[::2], "--azureml_computer=gpu"), "no option --azureml_computer. Did you mean --azureml_compute"),
        ((*PLACE, "--sweep", "l_rate=1,2", "--sweep_metric=a${{b}}"), "holds ${{, which AzureML replaces"),
        (PLACE[1:2], "Options that begin with --azureml_ are for jobs in AzureML: add --azureml"),
    ],
)
def test_mistakes_are_told_at_once(
    code: Path,
    typed: Callable[..., int],
    argv: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In one sentence, without any package of Azure's."""
    monkeypatch.setitem(sys.modules, "azure.ai.ml", None)
    model = () if "--resume=outputs/latest" in argv else ("--model=MyContainer",)
    assert typed(*model, *argv) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (code / "job.yml").exists()


def test_runs_would_be_uploaded(
    code: Path, typed: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Azure's packages know .amlignore and .gitignore, the first of them that is there."""
    monkeypatch.setitem(sys.modules, "azure.ai.ml", None)
    (code / "outputs" / "run").mkdir(parents=True)
    (code / ".git" / "objects").mkdir(parents=True)
    (code / ".gitignore").write_text("*.pyc\n")
    assert typed("--model=MyContainer", *PLACE, "--dry_run") == 2
    said = capsys.readouterr().err
    assert "outputs/ and .git/ would be uploaded with the code: add the lines outputs/ and .git/ at the end of " in said
    assert said.endswith(f"{code}/.gitignore.\n")
    (code / ".amlignore").write_text(".git\n")
    assert typed("--model=MyContainer", *PLACE, "--dry_run") == 2
    assert f"add the line outputs/ at the end of {code}/.amlignore." in capsys.readouterr().err
    (code / ".amlignore").write_text(".git\n/outputs/*\n")
    assert typed("--model=MyContainer", *PLACE, "--dry_run") == 2
    assert "--azureml needs packages: pip install 'lightcase[azureml]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lines", "is_ignored"),
    [
        ("outputs/\n!outputs/", False),
        ("!outputs/\noutputs/", True),
        (" outputs/", False),
        ("outputs/  ", True),
        ("#outputs/", False),
        ("/outputs/**", True),
        ("**/outputs/", True),
        ("*\n!*.py\n!runner/", True),
        ("*\n!*/", False),
        ("outputs/*\n!outputs/keep", False),
        ("outputs/*.ckpt", False),
        ("outputs/run", False),
        ("out*", True),
        ("", False),
    ],
)
def test_ignored_folders(lines: str, is_ignored: bool) -> None:
    """As gitignore and Azure read the lines."""
    assert _is_ignored("outputs", lines.splitlines()) == is_ignored


def test_other_commands_load_no_package_of_azure(code: Path) -> None:
    """Neither help nor a run, nor what is wrong with a job."""
    (code / "numbers.txt").write_text("1 2 3 4")
    lines = (
        "import sys; from runner.cli import main",
        "codes = [main(['--help']), main(['--model=MyContainer', '--local_dataset=.', '--num_epochs=1'])]",
        "codes += [main(['--model=MyContainer', '--azureml'])]",
        'sys.exit(f\'{codes} {sorted({"azure", "marshmallow", "runner.azureml.workspace"} & set(sys.modules))}\')',
    )
    done = run([sys.executable, "-c", "\n".join(lines)], code)
    assert done.stderr.endswith("[0, 0, 2] ['runner.azureml.workspace']\n"), done.stderr


# --- there ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The MLflow server of a workspace."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


def filled(command: str, values: dict[str, str]) -> str:
    """Return what AzureML gives to bash."""
    return re.sub(r"\$\{\{(.*?)\}\}", lambda match: values[match[1]], command)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """What is mounted; the blank is a malice."""
    folder = tmp_path / "mounted data"
    folder.mkdir()
    (folder / "numbers.txt").write_text(" ".join(str(number / 16) for number in range(48)))
    return folder


@needs_azure
@needs_mlflow
def test_the_command_of_the_job(code: Path, typed: Callable[..., int], data: Path, workspace: str) -> None:
    """The rules of InnerEye's page: data in local_dataset, all files below outputs/, metrics in the workspace."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(workspace)
    experiment = client.create_experiment("MyContainer")
    job = client.create_run(experiment).info.run_id
    argv = ["--dry_run", "--config=quick.yaml", "--tag=a 'b' $c"]
    assert typed("--model=MyContainer", *PLACE, *argv) == 0
    command = filled(yaml.safe_load((code / "job.yml").read_text())["command"], {"inputs.dataset": str(data)})
    made = shutil.copytree(code, code.parent / "job", ignore=shutil.ignore_patterns("__pycache__"))
    done = run(["bash", "-c", command], made, AZUREML_RUN_ID=job, MLFLOW_TRACKING_URI=workspace)
    assert done.returncode == 0, done.stderr
    assert {each.name for each in made.iterdir()} == {"containers", "job.yml", "quick.yaml", "train.py", "outputs"}
    [folder] = [RunFolder(each) for each in (made / "outputs").iterdir() if not each.is_symlink()]
    assert folder.read_status()["state"] == "completed"
    assert (folder.path / "layers.txt").is_file()  # the model wrote it to its working directory
    config = yaml.safe_load(folder.config.read_text())
    assert (config["local_dataset"], config["num_epochs"], config["tag"]) == (str(data), 2, "a 'b' $c")
    assert json.loads(folder.environment.read_text())["variables"]["AZUREML_RUN_ID"] == job

    assert [each.info.run_id for each in client.search_runs([experiment])] == [job]  # joined, not another one
    theirs = client.get_run(job).data.metrics
    assert theirs["test_loss"] == pytest.approx(folder.read_results()["test"]["metrics"]["test_loss"])
    assert "report.html" in {each.path for each in client.list_artifacts(job)}
    assert not list(folder.path.glob("mlflow.db"))


@needs_azure
@needs_mlflow
def test_the_command_on_two_machines(code: Path, typed: Callable[..., int], data: Path, workspace: str) -> None:
    """One process on each, with working directories of their own: one run, in the folder that both have mounted."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(workspace)
    experiment = client.create_experiment("two machines")
    variables = {
        "AZUREML_RUN_ID": client.create_run(experiment).info.run_id, "MLFLOW_TRACKING_URI": workspace,
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "LOCAL_RANK": "0",
    }  # fmt: skip
    argv = ["--config=quick.yaml", "--num_nodes=2", "--devices=1", "--accelerator=cpu", "--dry_run"]
    assert typed("--model=MyContainer", *PLACE, *argv) == 0
    job = yaml.safe_load((code / "job.yml").read_text())
    assert job["distribution"] == {"type": "pytorch", "process_count_per_instance": 1}
    shared = code.parent / "runs"
    command = filled(job["command"], {"inputs.dataset": str(data), "outputs.runs": str(shared)})

    def on_machine(number: str) -> subprocess.CompletedProcess[str]:
        folder = shutil.copytree(code, code.parent / f"machine{number}")
        return run(["bash", "-c", command], folder, **variables, NODE_RANK=number, RANK=number)

    with ThreadPoolExecutor() as machines:
        for done in machines.map(on_machine, "01"):
            assert done.returncode == 0, done.stderr
    [folder] = [RunFolder(each) for each in shared.iterdir() if not each.is_symlink()]
    assert folder.read_status()["state"] == "completed"
    assert "test_loss" in folder.read_results()["test"]["metrics"]
    assert [each.info.run_id for each in client.search_runs([experiment])] == [variables["AZUREML_RUN_ID"]]


@needs_azure
def test_a_trial_of_a_sweep_job(
    code: Path,
    typed: Callable[..., int],
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The values of the trial, of the sweep's file and of the command line; an environment without MLflow's plugin."""
    sweep = {"parameters": {"l_rate": ["1e-3", "1e-2"], "tag": ["a b", "$c"]}, "overrides": {"num_epochs": 3}}
    (code / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    argv = ["--sweep=sweep.yaml", "--sweep_metric=test_loss", "--random_seed=7"]
    assert typed("--model=MyContainer", *PLACE, "--dry_run", *argv) == 0
    job: dict[str, Any] = yaml.safe_load((code / "job.yml").read_text())
    assert job["search_space"]["tag"]["values"] == ["a b", "$c"]

    values = {"inputs.dataset": str(data), "search_space.l_rate": "1e-2", "search_space.tag": "$c"}
    words = run(["bash", "-c", f"printf '%s\\0' {filled(job['trial']['command'], values)}"], code).stdout.split("\0")
    monkeypatch.setenv("AZUREML_RUN_ID", "trial_1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "azureml://westeurope.api.azureml.ms/mlflow")
    assert words[:2] == ["python", "train.py"]
    assert typed(*words[2:-1]) == 0
    assert "metrics go to the run folder, not to the AzureML workspace" in capsys.readouterr().err
    [config] = (code / "outputs").glob("2*/config.yaml")
    assert typed(*words[2:-1], "--logger=") == 0
    assert "AzureML" not in capsys.readouterr().err  # no logger is asked for, so that nothing is missing
    found = yaml.safe_load(config.read_text())
    assert [found[name] for name in ("num_epochs", "random_seed", "tag")] == [3, 7, "$c"]
    assert float(found["l_rate"]) == 1e-2
