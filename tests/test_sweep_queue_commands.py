"""``queue``: what it refuses, and what cancelling, resuming and retrying leave behind."""

from pathlib import Path

import pytest

from runner.cli import main
from runner.errors import UsageError
from runner.folder_lock import FolderLock
from runner.sweep.history import History
from runner.sweep.plan import SweepPlan
from runner.sweep.queue_commands import queue_command
from runner.sweep.sweep_folder import Control, SweepFolder
from tests.test_sweep_history import make_plan
from tests.test_sweep_queue_state import end


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    """A sweep of six trials."""
    return SweepFolder.create(tmp_path, "Sweeping", make_plan().to_json(), Control())


def queue(folder: SweepFolder, action: str, trial: str = "") -> str:
    return queue_command([action, folder.name + trial], folder.path.parents[1])


def test_a_trial_that_ends_while_it_is_cancelled(folder: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker was quicker: it keeps its only result."""
    take = FolderLock.take

    def take_later(lock: FolderLock) -> bool:
        monkeypatch.setattr(FolderLock, "take", take)
        end(folder, 0)
        return take(lock)

    folder.begin(0, 0, {"x": "1"}, [])
    monkeypatch.setattr(FolderLock, "take", take_later)
    with pytest.raises(UsageError, match="has come to its end: completed"):
        queue(folder, "cancel", "/0")
    assert [path.name for path in folder.results.iterdir()] == ["000000.completed.json"]


def test_a_waiting_trial_is_cancelled_and_retried(folder: SweepFolder) -> None:
    """Cancelled it has a result; a retry takes that away."""
    assert "cancelled" in queue(folder, "cancel", "/3")
    assert folder.sealed() == {3: "cancelled"}
    assert queue(folder, "retry", "/3").endswith("open again.")
    assert folder.sealed() == {}
    assert folder.stop_asked(3) is None


def test_cancelling_a_sweep_can_be_taken_back(folder: SweepFolder) -> None:
    """It stops what runs without ending it, so that resume goes on with all of it."""
    end(folder, 0)
    queue(folder, "cancel")
    assert folder.read_control().cancelled
    queue(folder, "resume")
    assert folder.read_control() == Control()
    assert folder.sealed() == {0: "completed"}


def test_what_has_come_to_its_end_cannot_be_cancelled(folder: SweepFolder) -> None:
    """Nor does it look cancelled in the table."""
    for number in range(6):
        end(folder, number)
    with pytest.raises(UsageError, match="there is nothing to cancel"):
        queue(folder, "cancel")
    with pytest.raises(UsageError, match="there is nothing to resume"):
        queue(folder, "resume")
    folder.change_control(cancelled=True)
    assert "done" in queue_command([], folder.path.parents[1])


def test_failed_and_damaged_trials_are_retried(folder: SweepFolder) -> None:
    """A damaged result is as good as a failure; what was paused for it is opened."""
    for number, state in enumerate(["completed", "failed", "given_up", "completed"]):
        end(folder, number, state)
    (folder.results / "000003.completed.json").write_text("{}")
    history = History(folder, SweepPlan.of(folder))
    history.refresh()
    assert history.failed() == [1, 2, 3]
    assert history.states() == {0: "completed", 1: "failed", 2: "given_up", 3: "failed"}
    folder.change_control(paused="3 trials failed")
    assert "3 failed trials" in queue(folder, "retry")
    assert folder.sealed() == {0: "completed"}
    assert folder.read_control().is_open
    with pytest.raises(UsageError, match="is completed; only failed"):
        queue(folder, "retry", "/0")
    (folder.results / "000000.completed.json").write_text("{}")
    folder.change_control(paused="by queue pause")
    assert "queue resume" in queue(folder, "retry", "/0")
    assert folder.sealed() == {}


def test_two_retries_at_once(folder: SweepFolder) -> None:
    """A result that came between looking and retrying is kept."""
    for number in range(2):
        end(folder, number, "failed")
    seen = folder.sealed()
    assert folder.reopen(1, "failed")
    end(folder, 1)
    assert not folder.reopen(1, seen[1])
    assert folder.sealed() == {0: "failed", 1: "completed"}


def test_a_folder_that_cannot_be_written(
    folder: SweepFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says so."""
    monkeypatch.chdir(folder.path.parents[2])
    folder.control.unlink()
    folder.control.mkdir()
    (folder.control / "file").touch()
    assert main(["queue", "pause", folder.name, f"--output_to={folder.path.parents[1]}"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: The queue cannot be changed")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["resume", "{name}/0"], "for a whole sweep"),
        (["cancel", "{name}/6"], "numbered from 0 to 5"),
        (["retry", "{name}/1"], "nothing to retry"),
        (["priority", "{name}"], "queue priority NAME NUMBER"),
        (["priority", "{name}", "high"], "'high' is not an int"),
        (["stop", "{name}"], "queue has no 'stop'"),
        (["cancel", "nosuch"], "no sweep 'nosuch'"),
    ],
)
def test_mistakes(folder: SweepFolder, arguments: list[str], words: str) -> None:
    """One line says what is wrong; nothing is changed."""
    before = folder.control.read_text()
    with pytest.raises(UsageError, match=words):
        queue_command([each.format(name=folder.name) for each in arguments], folder.path.parents[1])
    assert folder.control.read_text() == before
