"""The lock of a folder: one owner, whatever happens to it."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import pytest

from runner import folder_lock
from runner.atomic_files import write_text
from runner.folder_lock import FolderLock, file_system, is_locked, is_on_network
from tests.faults.programs import wait_for

HOLD = """
import sys, time
from pathlib import Path
from runner.folder_lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
assert lock.take()
{fork}
print("taken", flush=True)
time.sleep(600)
"""
FORK = """
import os
reader, writer = os.pipe()
if os.fork() == 0:
    os.write(writer, b"forked")
    time.sleep(600)
os.read(reader, 6)
"""


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


@pytest.mark.parametrize("kind", [fcntl.LOCK_SH, fcntl.LOCK_EX])
def test_who_is_stalled_while_it_looks_is_waited_for(tmp_path: Path, kind: int) -> None:
    """And an owner is not."""
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, kind)
        timer = threading.Timer(1, fcntl.flock, (file, fcntl.LOCK_UN))
        timer.start()
        lock = FolderLock(tmp_path)
        assert lock.take() == (kind == fcntl.LOCK_SH)
        lock.give_back()
        timer.cancel()
        timer.join()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """Nobody works in it, and it cannot be taken."""
    assert not is_locked(tmp_path / "no")
    with pytest.raises(FileNotFoundError):
        FolderLock(tmp_path / "no").take()


def test_a_lease_on_network_file_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where flock holds on one machine only, a lease that is renewed keeps others out; one that is not, does not."""
    monkeypatch.setattr(folder_lock, "is_on_network", lambda _: True)
    monkeypatch.setattr(folder_lock, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(folder_lock, "_flock", lambda _: True)  # as if another machine asked
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    assert first.take()
    assert not second.take()
    assert not second.is_held
    assert first._lease is not None
    first._lease._stop.set()  # as if the machine was switched off
    first._lease._thread.join()
    monkeypatch.setattr(folder_lock, "LEASE_SECONDS", 1.0)
    started = time.monotonic()
    assert second.take()
    assert time.monotonic() - started >= 0.8
    assert second._lease is not None
    assert (tmp_path / ".lease").read_text().startswith(second._lease._token)
    first.give_back()  # what it has lost already
    assert is_locked(tmp_path)
    second.give_back()
    second.give_back()
    assert [each.name for each in tmp_path.iterdir()] == [".lock"]


def test_the_lock_is_held_while_a_block_runs(tmp_path: Path) -> None:
    """And no longer, also after an exception."""
    with FolderLock(tmp_path).held():
        assert not FolderLock(tmp_path).take()
    assert not is_locked(tmp_path)
    with pytest.raises(ZeroDivisionError), FolderLock(tmp_path).held():
        raise ZeroDivisionError
    assert not is_locked(tmp_path)


def test_an_owner_that_cannot_renew_its_lease_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at the first failure, but when others may take it for dead; then as if SIGTERM had come."""
    sent: list[tuple[int, int]] = []
    said: list[str] = []
    monkeypatch.setattr(os, "kill", lambda *arguments: sent.append(arguments))
    monkeypatch.setattr(folder_lock, "say", said.append)
    monkeypatch.setattr(folder_lock, "is_on_network", lambda _: True)
    monkeypatch.setattr(folder_lock, "RENEW_SECONDS", 0.01)
    now, tried, lock = [0.0], [0], FolderLock(tmp_path)
    broken = threading.Event()
    monkeypatch.setattr(folder_lock, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=time.sleep))

    def write_or_fail(path: Path, text: str) -> None:
        tried[0] += 1
        if broken.is_set():
            raise OSError(errno.EIO, "Input/output error")
        write_text(path, text)

    def some_more() -> None:
        """Wait until it has tried to renew the lease, and has seen how that ended."""
        before = tried[0]
        wait_for(lambda: tried[0] >= before + 3)

    monkeypatch.setattr(folder_lock, "write_text", write_or_fail)
    assert lock.take()
    for _ in range(3):  # together longer than a lease lasts
        broken.set()
        some_more()
        now[0] += 0.8 * folder_lock.LEASE_SECONDS
        some_more()
        broken.clear()
        some_more()
    assert not sent
    broken.set()
    some_more()
    now[0] += 0.9 * folder_lock.LEASE_SECONDS
    some_more()
    assert not sent
    now[0] += 0.2 * folder_lock.LEASE_SECONDS
    wait_for(lambda: sent)
    assert sent == [(os.getpid(), signal.SIGTERM)]
    assert "could not renew its lease" in said[0]
    lock.give_back()


LEASED = """
import os, signal, sys, time
from pathlib import Path
from runner import folder_lock
from runner.atomic_files import write_text
folder_lock.is_on_network, folder_lock._flock = lambda _: True, lambda _: True  # as on different machines
folder_lock.RENEW_SECONDS, folder_lock.LEASE_SECONDS = 0.05, 5.0
folder, lock = Path(sys.argv[1]), folder_lock.FolderLock(Path(sys.argv[1]))
"""


def leased(folder: Path, code: str) -> subprocess.Popen[str]:
    """Run *code* in a process that takes *folder* for one on a network file system."""
    return subprocess.Popen(
        [sys.executable, "-c", LEASED + code, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip


@pytest.mark.parametrize("is_stale", [False, True])
def test_one_of_many_gets_the_lease(tmp_path: Path, is_stale: bool) -> None:
    """They begin at the same moment, also after an owner that has died."""
    code = (
        "print('ready', flush=True)\n"
        "while not (folder.parent / 'go').exists(): time.sleep(0.0001)\n"
        "print(lock.take(), flush=True)\nsys.stdin.read()"
    )
    rounds = []
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        if is_stale:
            (folder / ".lease").write_text("dead 7")
        rounds.append([leased(folder, code) for _ in range(3)])
    for taker in chain.from_iterable(rounds):
        assert _line_of(taker) == "ready"
    (tmp_path / "go").touch()
    for takers in rounds:
        assert sorted(_line_of(taker) for taker in takers) == ["False", "False", "True"]
    for taker in chain.from_iterable(rounds):
        taker.communicate(timeout=60)  # it ends when its input does


def _line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_an_owner_that_slept_stops(tmp_path: Path) -> None:
    """Another one has taken over meanwhile; it keeps the lease, and others see that."""
    stops = (
        "def write_and_stop(path, text):\n    write_text(path, text)\n"
        "    if text.split()[1] == '3': os.kill(os.getpid(), signal.SIGSTOP)\n"
        "folder_lock.write_text = write_and_stop\nprint(lock.take(), flush=True)\ntime.sleep(600)"
    )
    first = leased(tmp_path, stops)
    assert _line_of(first) == "True"
    assert os.WIFSTOPPED(os.waitpid(first.pid, os.WUNTRACED)[1])  # not while it writes: nobody could help that
    code = (
        "print(lock.take(), flush=True)\nfor _ in range(60):\n    time.sleep(0.05)\n"
        "    assert lock._lease._is_ours()\nprint(lock.is_held)"
    )
    second = leased(tmp_path, code)
    assert _line_of(second) == "True"
    os.kill(first.pid, signal.SIGCONT)
    assert is_locked(tmp_path)
    assert first.wait(60) == -signal.SIGTERM
    output, error = second.communicate(timeout=60)
    assert output == "True\n", error


def test_a_dead_lease_is_seen_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After it was seen unchanged for long enough, by whoever looks."""
    now = [100.0]
    monkeypatch.setattr(folder_lock, "time", SimpleNamespace(monotonic=lambda: now[0]))
    (tmp_path / ".lock").touch()
    (tmp_path / ".lease").write_text("dead 7")
    assert is_locked(tmp_path)
    now[0] += folder_lock.LEASE_SECONDS
    assert is_locked(tmp_path)
    now[0] += 1
    assert not is_locked(tmp_path)
    (tmp_path / ".lease").write_text("alive 8")
    assert is_locked(tmp_path)


MOUNTS = os.fsdecode(
    b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
    b"23 22 0:5 / /proc rw - proc proc rw\n"
    b"30 22 0:40 / /data rw,relatime shared:9 - nfs4 server:/data rw,vers=4.2\n"
    b"31 30 8:2 / /data/scratch rw - xfs /dev/sdb1 rw\n"
    b"32 22 0:41 / /my\\040d\xc3\xa9p\\134t rw - cifs //server/share rw\n"
    b"33 22 0:42 /sub /home/me/remote rw master:1 propagate_from:2 - fuse.sshfs me@there: rw\n"
    b"34 22 8:3 / /over rw - ext4 /dev/sdc1 rw\n"
    b"35 34 0:43 / /over rw - ceph 10.0.0.1:/ rw\n"
    b"36 22 0:44 / /torn\xff rw - nfs server:/old rw\n"
)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"), ("/home/me", "ext4"), ("/data", "nfs4"), ("/data/run", "nfs4"), ("/database", "ext4"),
        ("/data/scratch/run", "xfs"), ("/my dép\\t/run", "cifs"), ("/home/me/remote/run", "fuse.sshfs"),
        ("/over/run", "ceph"), ("/torn\udcff/run", "nfs"),
    ],
)  # fmt: skip
def test_the_file_system_is_that_of_the_nearest_mount(path: str, kind: str) -> None:
    """The last one there, of those above a path; names may have any characters."""
    assert file_system(path, MOUNTS) == kind


def test_file_systems_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temporary folder is on a local disk; where nothing can be known, locks are taken at their word."""
    assert not is_on_network(tmp_path)
    for kind in ("nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs"):
        monkeypatch.setattr(folder_lock, "file_system", lambda *_, kind=kind: kind)
        assert is_on_network(tmp_path)
    monkeypatch.setattr(folder_lock, "file_system", lambda *_: "tmpfs")
    assert not is_on_network(tmp_path)


@pytest.mark.parametrize("name", [".lock", ".lease"])
def test_a_pipe_is_no_lock(tmp_path: Path, name: str) -> None:
    """Nor is it waited for."""
    os.mkfifo(tmp_path / name)
    assert not is_locked(tmp_path)


def test_a_huge_lease_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / ".lease").open("wb") as file:
        file.truncate(3 * 10**9)
    assert is_locked(tmp_path)


def test_who_is_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that hold the lock; a lease that nobody renews is watched until it counts as dead."""
    monkeypatch.setattr(folder_lock, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(folder_lock, "LEASE_SECONDS", 0.4)
    folders = [tmp_path / name for name in ("free", "held", "dead", "none")]
    for folder in folders[:3]:
        folder.mkdir()
    (tmp_path / "dead" / ".lock").touch()
    (tmp_path / "dead" / ".lease").write_text("dead 7")
    started = time.monotonic()
    assert folder_lock.at_work(folders) == []
    assert time.monotonic() - started >= 0.4
    with FolderLock(tmp_path / "held").held():
        assert folder_lock.at_work(folders) == [tmp_path / "held"]
    monkeypatch.setattr(folder_lock, "is_on_network", lambda _: True)
    monkeypatch.setattr(folder_lock, "LEASE_SECONDS", 60.0)
    (tmp_path / "dead" / ".lease").unlink()
    with FolderLock(tmp_path / "held").held():
        assert folder_lock.at_work(folders) == [tmp_path / "held"]
