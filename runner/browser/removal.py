"""``runs rm``: a run is there as a whole, or it is gone."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from runner.atomic_files import sync_folder
from runner.browser.finding import LATEST, is_trial, name_of, run_names
from runner.errors import RunFailedError, UsageError
from runner.run_folder import RunFolder, point_latest
from runner.shown import printable
from runner.slurm_jobs import is_submitted

_ASIDE = ".removed"
_REST = re.compile(r"\.\d{4}-\d\d-\d\dT\d{6}Z_.+\.[0-9a-f]{8}\.removed", re.DOTALL)
"""What a call that was killed has left of a run; a folder that only ends alike is somebody else's."""


def remove(paths: Sequence[Path], is_wanted: Callable[[str], bool]) -> list[str]:
    """Remove runs for good, if *is_wanted* answers the question with yes; return what to say.

    A folder is renamed before it is emptied, so that no half of a run can be seen. The next call finishes what a kill
    has broken off.

    Raises:
        UsageError: a run is running or has a job in Slurm, is a trial, or has other runs in it; none is removed.
        RunFailedError: a folder cannot be removed.
    """
    paths = list(dict.fromkeys(paths))
    for path in paths:
        if is_trial(path):
            raise UsageError(f"{name_of(path)} is a trial, without which its sweep is not whole. Nothing is removed.")
        if inner := _run_below(path):
            raise UsageError(f"{path} has another run in it, {printable(str(inner))}. Nothing is removed.")
        if is_submitted(RunFolder(path).jobs):
            raise UsageError(f"{name_of(path)} has a job in Slurm: queue cancel {path.name} first. Nothing is removed.")
    with ExitStack() as locks:
        for path in paths:
            _lock(path, locks)
        size = sum(_size(path) for path in paths)
        names = ", ".join(printable(each.name) for each in paths)
        what = names if len(paths) == 1 else f"{len(paths)} runs ({names})"
        if not is_wanted(f"Remove {what}, {size / 1e6:.1f} MB, for good?"):
            return ["nothing is removed"]
        for path in paths:
            _remove(path)
    return [f"removed {printable(path.name)}" for path in paths]


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
        raise UsageError(f"{printable(path.name)} is running; stop it first. Nothing is removed.")
    locks.callback(folder.unlock)


def _run_below(path: Path) -> Path | None:
    folder = RunFolder(path)
    marks = {folder.config.name, folder.status.name}
    found = (Path(parent) for parent, _, names in os.walk(path) if marks <= set(names))
    return next((each for each in found if each != path), None)


def _remove(path: Path) -> None:
    root = path.parent
    aside = root / f".{path.name}.{os.urandom(4).hex()}{_ASIDE}"
    was_latest = (root / LATEST).is_symlink() and (root / LATEST).resolve() == path
    try:
        path.rename(aside)
        sync_folder(root)
    except OSError as error:
        raise RunFailedError(f"{path} cannot be removed: {error.strerror or error}.") from error
    if was_latest:
        names = run_names(root)
        with suppress(OSError):
            (root / LATEST).unlink()
        if names:
            point_latest(root, root / names[-1])
    for rest in (aside, *(each for each in root.iterdir() if _REST.fullmatch(each.name))):
        shutil.rmtree(rest, ignore_errors=True)  # which follows no link


def _size(path: Path) -> int:
    """Return the bytes on disk; a file with two names counts once."""
    found = {}
    for parent, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                info = os.lstat(Path(parent, name))
                found[info.st_ino] = info.st_size
    return sum(found.values())
