"""``runs rm``: a run is there as a whole, or it is gone."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from runner.atomic_files import sync_folder
from runner.browser.finding import LATEST, is_trial, name_of, run_names
from runner.errors import RunFailedError, UsageError
from runner.run_folder import RunFolder, point_latest

_ASIDE = ".removed"


def remove(paths: Sequence[Path], is_wanted: Callable[[str], bool]) -> list[str]:
    """Remove runs for good, if *is_wanted* answers the question with yes; return what to say.

    A folder is renamed before it is emptied, so that no half of a run can be seen. The next call finishes what a kill
    has broken off.

    Raises:
        UsageError: a run is running, or is a trial of a sweep; none is removed then.
        RunFailedError: a folder cannot be removed.
    """
    paths = list(dict.fromkeys(paths))
    for path in paths:
        if is_trial(path):
            raise UsageError(f"{name_of(path)} is a trial, without which its sweep is not whole. Nothing is removed.")
    with ExitStack() as locks:
        for path in paths:
            _lock(path, locks)
        size = sum(_size(path) for path in paths)
        what = paths[0].name if len(paths) == 1 else f"{len(paths)} runs ({', '.join(each.name for each in paths)})"
        if not is_wanted(f"Remove {what}, {size / 1e6:.1f} MB, for good?"):
            return ["nothing is removed"]
        for path in paths:
            _remove(path)
    return [f"removed {path.name}" for path in paths]


def ask(question: str) -> bool:
    """Ask for yes or no on the terminal.

    Raises:
        UsageError: nobody is there to answer.
    """
    if not sys.stdin or not sys.stdin.isatty():
        raise UsageError(f"{question} Nobody is there to answer; add --yes.")
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _lock(path: Path, locks: ExitStack) -> None:
    """Keep others from resuming the run meanwhile."""
    folder = RunFolder(path)
    try:
        is_ours = folder.try_lock()
    except OSError as error:
        raise RunFailedError(f"{path} cannot be removed: {error.strerror or error}.") from error
    if not is_ours:
        raise UsageError(f"{path.name} is running; stop it first. Nothing is removed.")
    locks.callback(folder.unlock)


def _remove(path: Path) -> None:
    root = path.parent
    was_latest = (root / LATEST).is_symlink() and (root / LATEST).resolve() == path
    try:
        path.rename(root / f".{path.name}.{os.urandom(4).hex()}{_ASIDE}")
        sync_folder(root)
    except OSError as error:
        raise RunFailedError(f"{path} cannot be removed: {error.strerror or error}.") from error
    if was_latest:
        names = run_names(root)
        with suppress(OSError):
            (root / LATEST).unlink()
        if names:
            point_latest(root, root / names[-1])
    for rest in root.glob(f".*{_ASIDE}"):
        shutil.rmtree(rest, ignore_errors=True)


def _size(path: Path) -> int:
    """Return the bytes on disk; a file with two names counts once."""
    found = {}
    for parent, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                info = os.lstat(Path(parent, name))
                found[info.st_ino] = info.st_size
    return sum(found.values())
