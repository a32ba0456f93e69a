"""The lock of a folder: one owner, whatever happens to it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runner import folder_lock
from runner.folder_lock import FolderLock, is_locked, is_on_network

HOLD = """
import sys, time
from pathlib import Path
from runner.folder_lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
assert lock.take()
{fork}
print("taken", flush=True)
time.sleep(60)
"""
FORK = "import os\nif os.fork() == 0:\n    time.sleep(60)"


def hold(folder: Path, *, fork: bool = False) -> subprocess.Popen[str]:
    """Start a process that has the lock, with or without a child."""
    code = HOLD.format(fork=FORK if fork else "")
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "taken\n"
    return process


def test_only_one_has_it(tmp_path: Path) -> None:
    """A second taker is refused until the first gives it back."""
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    assert not is_locked(tmp_path)
    assert first.take()
    assert first.is_held
    assert is_locked(tmp_path)
    assert not second.take()
    assert not second.is_held
    first.give_back()
    assert not is_locked(tmp_path)
    assert second.take()
    second.give_back()


@pytest.mark.parametrize("fork", [False, True])
def test_the_kernel_frees_it_at_once(tmp_path: Path, fork: bool) -> None:
    """After kill -9 of the owner the lock is free, also while a child that it forked lives on."""
    process = hold(tmp_path, fork=fork)
    lock = FolderLock(tmp_path)
    assert is_locked(tmp_path)
    assert not lock.take()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not is_locked(tmp_path)
    assert lock.take()
    lock.give_back()
    os.killpg(process.pid, signal.SIGKILL) if fork else None


def test_waiting_ends_when_it_is_free(tmp_path: Path) -> None:
    """wait() has the lock soon after the owner is gone."""
    process = hold(tmp_path)
    started = time.monotonic()
    subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {process.pid}"])
    lock = FolderLock(tmp_path)
    lock.wait()
    assert lock.is_held
    assert time.monotonic() - started >= 0.4
    lock.give_back()
    process.wait()


def test_looking_does_not_take_it(tmp_path: Path) -> None:
    """While somebody looks all the time, taking works."""
    code = "import sys\nfrom pathlib import Path\nfrom runner.folder_lock import is_locked\nprint(1, flush=True)\n"
    code += "while True: is_locked(Path(sys.argv[1]))"
    (tmp_path / ".lock").touch()
    looker = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert looker.stdout is not None
    looker.stdout.readline()
    try:
        for _ in range(100):
            lock = FolderLock(tmp_path)
            assert lock.take()
            lock.give_back()
    finally:
        looker.kill()
        looker.wait()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """Nobody works in it, and it cannot be taken."""
    assert not is_locked(tmp_path / "no")
    with pytest.raises(FileNotFoundError):
        FolderLock(tmp_path / "no").take()


def test_a_lease_on_network_file_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where flock holds on one machine only, a lease that is renewed keeps others out; one that is not, does not."""
    monkeypatch.setattr(folder_lock, "is_on_network", lambda _: True)
    monkeypatch.setattr(folder_lock, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(folder_lock, "LEASE_SECONDS", 0.4)
    monkeypatch.setattr(folder_lock, "_flock", lambda _: True)  # as if another machine asked
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    assert first.take()
    assert not second.take()
    assert first._lease is not None
    first._lease._stop.set()  # as if the machine was switched off
    time.sleep(0.1)
    started = time.monotonic()
    assert second.take()
    assert time.monotonic() - started >= 0.3
    second.give_back()
    assert not (tmp_path / ".lease").exists()


def test_file_systems_are_told_apart(tmp_path: Path) -> None:
    """A temporary folder is on a local disk."""
    assert not is_on_network(tmp_path)
