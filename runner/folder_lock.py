"""Who works in a folder: a lock that the kernel frees when its owner ends, however that happens."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import threading
import time
import uuid
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runner.atomic_files import write_text
from runner.foreign_files import open_file
from runner.slurm_jobs import own_job, owner_lives
from runner.stop_signals import say

LOCK_NAME = ".lock"
LEASE_NAME = ".lease"

LEASE_SECONDS = 60.0
"""A lease that did not change for so long, by the observer's own monotonic clock, has no owner any more."""

RENEW_SECONDS = 10.0

_LEASE_BYTES = 100

NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ncpfs", "ceph", "glusterfs"})
"""Where ``flock`` may hold on one machine only, or not at all."""


_held: weakref.WeakSet[FolderLock] = weakref.WeakSet()


def _forget_all() -> None:
    for each in list(_held):
        each._forget()


os.register_at_fork(after_in_child=_forget_all)  # data loader workers must not keep what their parent has


class FolderLock:
    """The right to work in a folder, for one process at a time.

    On a local disk it is ``flock``: no clock, process number or time stamp says whether the owner lives. Network file
    systems get a lease besides: a file with a counter that the owner renews. Who waits judges it by its own monotonic
    clock; but where the owner is part of a Slurm job, Slurm knows better whether it lives.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None
        self._lease: _Lease | None = None

    @property
    def is_held(self) -> bool:
        """Whether this object has the lock."""
        return self._descriptor is not None

    def take(self) -> bool:
        """Take the lock; return whether that was possible. It waits for those who only look, and for unknown leases.

        Raises:
            OSError: the folder is not there or cannot be written.
        """
        descriptor = os.open(self._folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._descriptor = descriptor
        _held.add(self)
        if not _flock(descriptor):
            self._forget()
            return False
        if is_on_network(self._folder):
            self._lease = _Lease(self._folder / LEASE_NAME)
            if not self._lease.take():
                self._lease = None
                self._forget()
                return False
        return True

    def wait(self) -> None:
        """Take the lock; wait while another process has it, which should be short.

        Raises:
            OSError: the folder is not there or cannot be written.
        """
        pause = 0.001
        while not self.take():
            time.sleep(pause)
            pause = min(2 * pause, 0.1)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have the lock while the block runs; see :meth:`wait`."""
        self.wait()
        try:
            yield
        finally:
            self.give_back()

    def give_back(self) -> None:
        """Let others have the lock."""
        if self._lease is not None:
            self._lease.give_back()
            self._lease = None
        self._forget()

    def _forget(self) -> None:
        """Close the handle; in a forked child this leaves the lock with the parent."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None


def _flock(descriptor: int) -> bool:
    """Take the lock; who only looks, see :func:`is_locked`, is waited for, also when that process is stalled."""
    for pause in (0.001, 0.003, 0.007, 0.015, 0.03, 0.06, *[0.1] * 100):
        if _try_flock(descriptor, fcntl.LOCK_EX):
            return True
        if pause == 0.1 and not _try_flock(descriptor, fcntl.LOCK_SH):
            return False  # it has an owner
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        time.sleep(pause)
    return False


def _try_flock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(folder: Path) -> bool:
    """Tell whether a process works in *folder*, without getting in its way; False if there is no such folder.

    On network file systems a process is taken to live until its lease was seen unchanged for long enough.
    """
    if _is_leased(folder / LEASE_NAME):
        return True
    try:
        file = open_file(folder / LOCK_NAME)
    except OSError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def at_work(folders: Iterable[Path]) -> list[Path]:
    """Return those of *folders* that processes work in, without getting in their way.

    Where leases tell, an owner that is not known to live is watched for as long as it may take until it renews its own.
    """
    leases = {folder: _read(folder / LEASE_NAME) for folder in folders}
    while locked := [folder for folder in leases if is_locked(folder)]:
        now = {folder: _read(folder / LEASE_NAME) for folder in locked}
        if all(not now[folder] or now[folder] != leases[folder] for folder in locked):
            return locked
        time.sleep(RENEW_SECONDS / 2)
    return []


_seen: dict[Path, tuple[str, float]] = {}
"""Leases that :func:`is_locked` looked at, with what they said and since when."""


def _is_leased(lease: Path) -> bool:
    text = _read(lease)
    if not text:
        _seen.pop(lease, None)
        return False
    lives = _owner_lives(text)
    if lives is not None:
        return lives
    before, since = _seen.get(lease, ("", 0.0))
    if text != before:
        _seen[lease] = (text, time.monotonic())
        return True
    return time.monotonic() - since <= LEASE_SECONDS


def _owner_lives(text: str) -> bool | None:
    """Return what Slurm says of the owner of a lease; None where it says nothing."""
    words = text.split()
    return owner_lives(words[2]) if len(words) == 3 else None


class _Lease:
    """A file that its owner renews with a counter.

    It is made with ``link``, which fails where there is one, and a dead one is renamed before it is replaced, so that
    of two that want it at once one gets it. An owner that could not renew for long, and finds that another has taken
    over, stops as if somebody had asked for it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = uuid.uuid4().hex
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def take(self) -> bool:
        """Take the lease if nobody has it, or if its owner does not renew it while we watch."""
        if not self._make() and not (self._is_dead() and self._make()):
            return False
        self._thread.start()
        return True

    def give_back(self) -> None:
        self._stop.set()
        self._thread.join()  # or it might be written once more
        if self._is_ours():
            self._path.unlink(missing_ok=True)

    def _make(self) -> bool:
        temporary = self._path.with_name(f"{self._path.name}.{self._token}.tmp")
        write_text(temporary, self._text(0))
        try:
            os.link(temporary, self._path)
        except FileExistsError:
            return False
        finally:
            temporary.unlink()
        return True

    def _is_dead(self) -> bool:
        """Watch the lease, unless Slurm knows its owner; if nobody renews it, put it aside."""
        seen, since = _read(self._path), time.monotonic()
        lives = _owner_lives(seen)
        if lives:
            return False
        while lives is None and time.monotonic() - since <= LEASE_SECONDS:
            time.sleep(RENEW_SECONDS / 2)
            if _read(self._path) != seen:
                return False
        aside = self._path.with_name(f"{self._path.name}.{self._token}.old")
        try:
            self._path.rename(aside)
        except FileNotFoundError:  # another one was as patient
            return False
        is_dead = _read(aside) == seen
        if not is_dead:  # it was renewed, or taken by another, at this very moment
            with suppress(FileExistsError):
                os.link(aside, self._path)
        aside.unlink()
        return is_dead

    def _renew(self) -> None:
        counter, renewed = 0, time.monotonic()
        while not self._stop.wait(RENEW_SECONDS):
            counter += 1
            try:
                if not self._is_ours():
                    break
                write_text(self._path, self._text(counter))
                renewed = time.monotonic()
            except OSError:
                if time.monotonic() - renewed > LEASE_SECONDS:
                    break
        else:
            return
        say(f"{self._path}: another process has taken over, since this one could not renew its lease")
        os.kill(os.getpid(), signal.SIGTERM)

    def _text(self, counter: int) -> str:
        return f"{self._token} {counter} {own_job()}".rstrip() + "\n"

    def _is_ours(self) -> bool:
        return _read(self._path).startswith(self._token)


def _read(path: Path) -> str:
    if not path.is_file():
        return ""
    try:
        with open_file(path) as file:
            return file.read(_LEASE_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def is_on_network(folder: Path) -> bool:
    """Tell whether *folder* lies on a file system where ``flock`` is not to be trusted alone."""
    try:
        mounts = os.fsdecode(Path("/proc/self/mountinfo").read_bytes())
    except OSError:
        return False  # not Linux: laptops
    kind = file_system(os.path.realpath(folder), mounts)
    return kind in NETWORK_FILE_SYSTEMS or kind.startswith("fuse.")


def file_system(path: str, mounts: str) -> str:
    """Return the type of the file system that *path*, without links, lies on; empty if that is not said.

    Args:
        path: Absolute.
        mounts: As in ``/proc/PID/mountinfo``, where blanks and backslashes in names are octal numbers.
    """
    best, kind = "", ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), before.split(" ")[4])
        if (path + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best):
            best, kind = point, after.split(" ")[0]
    return kind
