"""status.json: what the run is doing, readable at any moment."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runner import status_file
from runner.run_folder import RunFolder
from runner.status_file import StatusFile
from tests.faults.programs import wait_for


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    folder = RunFolder.create(tmp_path, "Mine")
    yield folder
    folder.unlock()


def read(folder: RunFolder) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(folder.status.read_text())
    return value


def test_the_file_is_there_from_the_start(folder: RunFolder) -> None:
    """Making it writes who runs what, where and since when."""
    StatusFile(folder, "Mine")
    status = read(folder)
    expected = {"model": "Mine", "state": "running", "phase": "start", "phases": {}, "epochs_finished": 0}
    expected |= {"attempts": 1, "exit_reason": None, "pid": os.getpid(), "host": socket.gethostname()}
    assert {name: status[name] for name in expected} == expected
    started = datetime.fromisoformat(status["started"])
    assert started.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - started) < timedelta(minutes=1)
    assert status["heartbeat"] >= status["started"]
    assert started.microsecond == 0
    assert 0 <= status["uptime_seconds"] < 60


def test_every_change_is_written_at_once(folder: RunFolder) -> None:
    """update sets values, keeps the others, and the file has them when it returns."""
    status = StatusFile(folder, "Mine")
    status.update(phase="train", epochs_finished=3)
    assert (read(folder)["phase"], read(folder)["epochs_finished"], read(folder)["state"]) == ("train", 3, "running")


def test_phases_are_recorded_in_their_order(folder: RunFolder) -> None:
    """A phase is completed with its time, or skipped with the reason."""
    status = StatusFile(folder, "Mine")
    status.phase_completed("train", 1.23456, None)
    status.phase_completed("test", 0.0, "no data")
    assert read(folder)["phases"] == {
        "train": {"state": "completed", "seconds": 1.235},
        "test": {"state": "skipped", "seconds": 0.0, "reason": "no data"},
    }
    assert list(read(folder)["phases"]) == ["train", "test"]
    assert status.phases == read(folder)["phases"]


def test_what_phases_returns_is_a_copy(folder: RunFolder) -> None:
    """Changing it changes nothing in the record."""
    status = StatusFile(folder, "Mine")
    status.phases["train"] = {}
    assert status.phases == {}


def test_a_second_attempt_knows_of_the_first(folder: RunFolder) -> None:
    """Phases, epochs and the start are kept, attempts are counted, and how the first one ended is forgotten."""
    first = StatusFile(folder, "Mine")
    first.phase_completed("train", 1.0, None)
    began = "2026-01-02T03:04:05+00:00"
    first.update(
        state="interrupted", exit_reason="stopped by signal 15", phase="test", epochs_finished=5, started=began
    )
    second = StatusFile(folder, "Mine")
    status = read(folder)
    assert (status["state"], status["phase"], status["exit_reason"]) == ("running", "start", None)
    assert (status["attempts"], status["epochs_finished"], status["started"]) == (2, 5, began)
    assert list(second.phases) == ["train"]


def test_phases_can_be_opened_again(folder: RunFolder) -> None:
    """Where there is more to do than when a phase was completed, it is forgotten, and only it."""
    status = StatusFile(folder, "Mine")
    status.phase_completed("train", 1.0, None)
    status.phase_completed("saliency", 1.0, None)
    status.reopen("saliency", "inference")
    assert list(status.phases) == list(read(folder)["phases"]) == ["train"]


def test_the_heart_beats_while_the_block_runs(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is written again and again without any change, and no longer afterwards."""
    monkeypatch.setattr(status_file, "HEARTBEAT_SECONDS", 0.01)
    status = StatusFile(folder, "Mine")
    with status.heartbeat():
        for _ in range(3):
            wait_for_another(folder)
        assert any(each.name == "heartbeat" for each in threading.enumerate())
    last = folder.status.stat().st_ino
    time.sleep(0.05)
    assert folder.status.stat().st_ino == last
    assert not any(each.name == "heartbeat" for each in threading.enumerate())


def wait_for_another(folder: RunFolder) -> None:
    """Wait until the file was replaced."""
    first = folder.status.stat().st_mtime_ns
    wait_for(lambda: folder.status.stat().st_mtime_ns != first)


def test_the_heart_stops_after_an_exception(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block's exception comes through at once, without waiting for the next beat."""
    monkeypatch.setattr(status_file, "HEARTBEAT_SECONDS", 1000.0)
    status = StatusFile(folder, "Mine")
    started = time.monotonic()
    with pytest.raises(ZeroDivisionError), status.heartbeat():
        raise ZeroDivisionError
    assert time.monotonic() - started < status_file.HEARTBEAT_SECONDS / 2


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_it_can_be_read_while_the_heart_beats(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads sees a whole file, with values that never go back, though two threads write."""
    monkeypatch.setattr(status_file, "HEARTBEAT_SECONDS", 0.0001)
    status = StatusFile(folder, "Mine")
    with status.heartbeat():
        for epoch in range(300):
            status.update(epochs_finished=epoch)
            assert read(folder)["epochs_finished"] == epoch
    assert [path.name for path in folder.path.glob("*.tmp")] == []
