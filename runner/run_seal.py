"""digests.json: the sha256 of every file of a run that has come to an end, however it ended."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.checkpoint_files import check_checkpoint_file
from runner.errors import CheckpointError, RunFailedError
from runner.folder_lock import LEASE_NAME, LOCK_NAME
from runner.run_folder import RunFolder
from runner.sealed_files import read_sealed, write_sealed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Findings:
    """What a comparison of a run folder with its digests has found."""

    is_sealed: bool
    """Whether there are digests; there are none while a run goes on, and after it was killed."""
    num_files: int
    """Files that were compared."""
    damaged: tuple[str, ...] = ()
    """Files with other bytes than the run left."""
    missing: tuple[str, ...] = ()
    """Files that are not there any more."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is damaged or missing."""
        return not self.damaged and not self.missing


def seal_run(folder: RunFolder, leave_out: Collection[str] = ()) -> None:
    """Write down what is in the folder, at the end of an attempt, when nobody writes there any more.

    Args:
        folder: The run.
        leave_out: Names of files that others write to.

    Raises:
        OSError: the disk is full, and so on; there are no digests then.
    """
    files = {name: file_digest(path) for name, path in files_of_run(folder.path) if name not in leave_out}
    folder.digests.unlink(missing_ok=True)
    write_sealed(folder.digests, {"files": files})


def unseal_run(folder: RunFolder) -> None:
    """Take the digests away, before a run goes on; nothing that the run needs may be damaged.

    Raises:
        RunFailedError: files are damaged, or the checkpoint to go on from is missing.
    """
    findings = check_run(folder)
    if not findings.is_sealed:
        return
    lost = [*findings.damaged, *(name for name in findings.missing if folder.path / name == folder.last_checkpoint)]
    if lost:
        raise RunFailedError(
            f"{folder.path}: damaged, changed by hand or missing since the run wrote them: {', '.join(lost)}. "
            "Put them back from a copy, or start another run."
        )
    if findings.missing:
        log.warning("no longer in %s: %s", folder.path, ", ".join(findings.missing))
    folder.digests.unlink()


def check_run(folder: RunFolder) -> Findings:
    """Compare every file of a run with its digest; where there are none, checkpoints with those they hold."""
    if not folder.digests.is_file():
        paths = sorted(folder.checkpoints.glob("*.ckpt"))
        damaged = [each for each in paths if not _is_whole_checkpoint(each)]
        return Findings(False, len(paths), tuple(each.relative_to(folder.path).as_posix() for each in damaged))
    try:
        recorded: dict[str, Any] = read_sealed(folder.digests)["files"]
    except (RunFailedError, KeyError):
        return Findings(True, 0, damaged=(folder.digests.name,))
    there = {name for name in recorded if (folder.path / name).is_file()}
    damaged_names = sorted(name for name in there if file_digest(folder.path / name) != recorded[name])
    return Findings(True, len(recorded), tuple(damaged_names), tuple(sorted(recorded.keys() - there)))


def file_digest(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_whole_checkpoint(path: Path) -> bool:
    try:
        check_checkpoint_file(path)
    except CheckpointError:
        return False
    return True


def files_of_run(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of a run below *root* by name, without following links."""
    folder = RunFolder(root)
    for parent, _, names in sorted(os.walk(root)):
        for each in sorted(names):
            path = Path(parent, each)
            is_own = each not in (LOCK_NAME, LEASE_NAME) and path not in (folder.digests, folder.labels)
            if is_own and path.is_file() and not path.is_symlink():
                yield path.relative_to(root).as_posix(), path
