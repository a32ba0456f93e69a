"""The run folder: its name, that it belongs to one run, and its lock."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runner.errors import UsageError
from runner.run_folder import RunFolder


def test_the_name_is_time_and_container(tmp_path: Path) -> None:
    """A run folder is called UTC time, underscore, container; latest points to it."""
    folder = RunFolder.create(tmp_path, "Mine")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d{6}Z_Mine", folder.path.name)
    assert (tmp_path / "latest").resolve() == folder.path.resolve()
    folder.unlock()


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path: Path) -> None:
    """Twenty folders made at once by four processes are twenty folders."""
    code = (
        "import sys; from pathlib import Path; from runner.run_folder import RunFolder\n"
        "for _ in range(5): RunFolder.create(Path(sys.argv[1]), 'Mine')\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert len([path for path in tmp_path.iterdir() if path.name != "latest"]) == 20


def test_a_place_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    """A file where the folder should be is said in one line."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="Cannot write a run folder below"):
        RunFolder.create(tmp_path / "file" / "outputs", "Mine")


def test_a_folder_is_in_use_until_its_process_dies(tmp_path: Path) -> None:
    """A second process is refused with the first one's pid; after kill -9 the folder is free at once."""
    code = (
        "import os, sys, time; from pathlib import Path\n"
        "from runner.run_folder import RunFolder; from runner.status_file import StatusFile\n"
        "folder = RunFolder.create(Path(sys.argv[1]), 'Mine'); StatusFile(folder, 'Mine')\n"
        "folder.config.write_text('')\n"
        "if os.fork() == 0: time.sleep(60)\n"
        "print(folder.path, flush=True); time.sleep(60)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    path = Path(owner.stdout.readline().strip())
    try:
        with pytest.raises(UsageError, match=f"in use by process {owner.pid} on "):
            RunFolder.open(path)
    finally:
        owner.kill()
        owner.wait()
    time.sleep(1)
    RunFolder.open(path).unlock()
    subprocess.run(["pkill", "-f", str(tmp_path)], check=False)


def test_only_a_run_folder_can_be_opened(tmp_path: Path) -> None:
    """A folder without config.yaml and status.json is no run folder."""
    with pytest.raises(UsageError, match="is no run folder"):
        RunFolder.open(tmp_path)


def test_results_of_phases_are_kept_together(tmp_path: Path) -> None:
    """Each phase has its entry in results.json; a second writing replaces only its own."""
    folder = RunFolder.create(tmp_path, "Mine")
    folder.add_results("train", {"metrics": {"a": 1.0}})
    folder.add_results("test", {"metrics": {"b": 2.0}})
    folder.add_results("train", {"metrics": {"a": 3.0}})
    assert folder.read_results() == {"train": {"metrics": {"a": 3.0}}, "test": {"metrics": {"b": 2.0}}}
    folder.unlock()


def test_the_lock_is_closed_in_programs_that_are_started(tmp_path: Path) -> None:
    """A program started by the run does not inherit the lock."""
    folder = RunFolder.create(tmp_path, "Mine")
    code = (
        "from pathlib import Path\n"
        "print([str(each.readlink()) for each in Path('/proc/self/fd').iterdir() if each.is_symlink()])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, close_fds=False)
    assert "/dev/null" in done.stdout or "pipe" in done.stdout
    assert ".lock" not in done.stdout
    folder.unlock()
