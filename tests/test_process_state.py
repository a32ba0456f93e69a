"""What a run changes in its process, and gives back."""

import os
import sys
from pathlib import Path

import pytest
import torch

from runner.places import PHASE_VARIABLE
from runner.process_state import (
    LAUNCH_FOLDER_VARIABLE,
    distributed_variables_restored,
    restore_variables,
    return_to_launch_folder,
    run_environment,
)
from runner.run_folder import RUN_FOLDER_VARIABLE

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory before the run; no variables of another run."""
    for name in (RUN_FOLDER_VARIABLE, LAUNCH_FOLDER_VARIABLE, PHASE_VARIABLE, "LOCAL_RANK", "NODE_RANK", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "launch").mkdir()
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "launch")
    return tmp_path / "launch"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The run folder."""
    return tmp_path / "run"


def test_inside_a_run(folder: Path, launch: Path) -> None:
    """The working directory is the run folder; variables tell other processes of the run where things are."""
    with run_environment(folder):
        assert Path.cwd() == folder
        assert os.environ[RUN_FOLDER_VARIABLE] == str(folder)
        assert os.environ[LAUNCH_FOLDER_VARIABLE] == str(launch)
        assert os.environ["PYTHONPATH"] == str(REPOSITORY)


def test_what_was_on_the_python_path_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The framework comes first, then what the user had."""
    monkeypatch.setenv("PYTHONPATH", "/mine")
    with run_environment(folder):
        assert os.environ["PYTHONPATH"].split(os.pathsep) == [str(REPOSITORY), "/mine"]
    assert os.environ["PYTHONPATH"] == "/mine"


def test_the_script_is_found_from_the_run_folder(folder: Path, launch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative sys.argv[0] that is a file becomes absolute during the run; one that is no file stays."""
    (launch / "start.py").touch()
    monkeypatch.setattr(sys, "argv", ["start.py", "--x=1"])
    with run_environment(folder):
        assert sys.argv == [str(launch / "start.py"), "--x=1"]
    assert sys.argv == ["start.py", "--x=1"]
    monkeypatch.setattr(sys, "argv", ["-c", "--x=1"])
    with run_environment(folder):
        assert sys.argv == ["-c", "--x=1"]


def test_there_may_be_no_arguments(folder: Path, launch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python embedded in another program may have an empty sys.argv."""
    monkeypatch.setattr(sys, "argv", [])
    with run_environment(folder):
        pass
    assert sys.argv == []
    assert Path.cwd() == launch


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_everything_is_given_back_after_an_exception(
    folder: Path, launch: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """Working directory, script, variables and torch's switch are as before, whatever the run did to them."""
    (launch / "start.py").touch()
    monkeypatch.setattr(sys, "argv", ["start.py"])
    monkeypatch.setenv("MASTER_ADDR", "before")
    environment = dict(os.environ)
    with pytest.raises(error), run_environment(folder):
        change_everything_and_raise(error)
    assert Path.cwd() == launch
    assert sys.argv == ["start.py"]
    assert dict(os.environ) == environment
    assert not torch.are_deterministic_algorithms_enabled()


def change_everything_and_raise(error: type[BaseException]) -> None:
    os.chdir("/")
    os.environ.update(PL_GLOBAL_SEED="1", MASTER_ADDR="x", MASTER_PORT="2", LOCAL_RANK="0", WORLD_SIZE="2")
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.use_deterministic_algorithms(True)
    raise error


def test_variables_that_are_the_users_own_stay_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what the framework or Lightning set is undone; user code may change its environment."""
    monkeypatch.setenv("MY_CACHE", "before")
    with run_environment(folder):
        os.environ["MY_CACHE"] = "after"
    assert os.environ["MY_CACHE"] == "after"


def test_started_processes_return_to_where_the_first_was(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was started in the run folder reads the command line where it was typed."""
    for name, value in {
        RUN_FOLDER_VARIABLE: folder, LAUNCH_FOLDER_VARIABLE: tmp_path, PHASE_VARIABLE: "train", "LOCAL_RANK": 1
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    return_to_launch_folder()
    assert Path.cwd() == tmp_path


def test_the_first_process_stays_where_it_is(launch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """return_to_launch_folder is for the other processes only."""
    monkeypatch.setenv(LAUNCH_FOLDER_VARIABLE, "/")
    return_to_launch_folder()
    assert Path.cwd() == launch


def test_another_process_keeps_the_first_ones_launch_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run inside a run does not forget where the outer one began."""
    monkeypatch.setenv(LAUNCH_FOLDER_VARIABLE, "/")
    with run_environment(folder):
        assert os.environ[LAUNCH_FOLDER_VARIABLE] == "/"


def test_ranks_are_forgotten_after_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows training runs on one device."""
    monkeypatch.setenv("MASTER_PORT", "1")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with distributed_variables_restored():
        os.environ.update(MASTER_PORT="2", WORLD_SIZE="2")
    assert os.environ["MASTER_PORT"] == "1"
    assert "WORLD_SIZE" not in os.environ


def test_none_means_that_there_was_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables are set or removed, as they were."""
    monkeypatch.setenv("A_VARIABLE", "x")
    restore_variables({"A_VARIABLE": None, "NEVER_SET": None})
    assert "A_VARIABLE" not in os.environ
    restore_variables({"A_VARIABLE": "y"})
    assert os.environ["A_VARIABLE"] == "y"
