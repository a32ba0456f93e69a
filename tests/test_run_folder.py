"""The run folder: its name, that it belongs to one run, and its lock."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runner.errors import RunFailedError, UsageError
from runner.folder_lock import FolderLock
from runner.run_folder import RunFolder
from tests.test_atomic_files import watch_the_disk


def test_the_name_is_time_and_container(tmp_path: Path) -> None:
    """A run folder is called UTC time, underscore, container; latest points to it."""
    folder = RunFolder.create(tmp_path, "Mine")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d{6}Z_Mine", folder.path.name)
    assert (tmp_path / "latest").resolve() == folder.path.resolve()
    folder.unlock()


def test_a_new_folder_is_there_and_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below folders that were not there, on the disk, and nobody else's until it is given back."""
    steps = watch_the_disk(monkeypatch)
    folder = RunFolder.create(tmp_path / "deep" / "outputs", "Mine")
    assert [each.name for each in folder.path.iterdir() if each.is_dir()] == ["checkpoints"]
    assert "folder outputs" in steps
    assert not FolderLock(folder.path).take()
    folder.unlock()
    assert FolderLock(folder.path).take()


def test_the_files_are_called_as_they_always_were(tmp_path: Path) -> None:
    """The names that the README promises, by which old runs, scripts and other machines know them."""
    folder = RunFolder(tmp_path)
    paths = [value for name in dir(RunFolder) if isinstance(value := getattr(folder, name), Path)]
    assert {path.relative_to(tmp_path).as_posix() for path in paths if path != tmp_path} == {
        *("config.yaml", "status.json", "environment.json", "uncommitted.diff", "untracked.txt", "metrics.csv"),
        *(
            "results.json",
            "run.log",
            "digests.json",
            "profiler",
            "saliency",
            "saliency/contact_sheet.png",
            "saliency/parts",
            "launcher",
            "checkpoints",
            "report.html",
            "report_of_container.html",
            "predictions.csv",
            "evaluation.json",
            "labels.json",
            "wandb",
        ),
        *(f"checkpoints/{name}.ckpt" for name in ("best", "last", "previous", "interrupted")),
    }


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
    with pytest.raises(UsageError, match=r"Cannot write a run folder below .*/file/outputs: Not a directory\."):
        RunFolder.create(tmp_path / "file" / "outputs", "Mine")
    with pytest.raises(UsageError, match=r"Cannot write a run folder below .*: embedded null byte\."):
        RunFolder.create(tmp_path, "a\0b")


def test_a_folder_is_in_use_until_its_process_dies(tmp_path: Path) -> None:
    """A second process is refused with the first one's pid; after kill -9 the folder is free at once."""
    code = (
        "import os, sys, time; from pathlib import Path\n"
        "from runner.run_folder import RunFolder; from runner.status_file import StatusFile\n"
        "folder = RunFolder.create(Path(sys.argv[1]), 'Mine'); StatusFile(folder, 'Mine')\n"
        "folder.config.write_text('')\n"
        "reader, writer = os.pipe()\n"
        "if os.fork() == 0: os.write(writer, b'forked'); time.sleep(600)\n"
        "os.read(reader, 6); print(folder.path, flush=True); time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert owner.stdout is not None
    path = Path(owner.stdout.readline().strip())
    try:
        with pytest.raises(UsageError, match=f"in use by process {owner.pid} on "):
            RunFolder.open(path)
    finally:
        owner.kill()
        owner.wait()
    RunFolder.open(path).unlock()
    os.killpg(owner.pid, signal.SIGKILL)


def test_only_a_run_folder_can_be_opened(tmp_path: Path) -> None:
    """A folder without config.yaml and status.json is no run folder, and stays as it is."""
    for name in (".half.tmp", "config.yaml"):
        (tmp_path / name).touch()
        with pytest.raises(UsageError, match="is no run folder"):
            RunFolder.open(tmp_path)
    assert (tmp_path / ".half.tmp").exists()


def test_what_a_kill_left_is_removed_when_it_is_opened(tmp_path: Path) -> None:
    """Half written files, wherever they are, and nothing else."""
    for name in ("config.yaml", "status.json", ".status.json.ab.tmp", "saliency/maps/.a.tmp", "mine.tmp", ".hidden"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    RunFolder.open(tmp_path).unlock()
    left = {each.relative_to(tmp_path).as_posix() for each in tmp_path.rglob("*") if each.is_file()}
    assert left == {"config.yaml", "status.json", "mine.tmp", ".hidden", ".lock"}


def test_damaged_records(tmp_path: Path) -> None:
    """No JSON is damage, which is said; other JSON than ours says nothing."""
    folder = RunFolder(tmp_path)
    for content in (b'{"a": ', b"\xff"):
        folder.status.write_bytes(content)
        with pytest.raises(RunFailedError, match=r"status\.json is damaged"):
            folder.read_status()
    folder.results.write_text("[1]")
    assert folder.read_results() == {}


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
