"""digests.json: the sha256 of every file of a run that has come to an end, however it ended."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.checkpoint_files import check_checkpoint_file
from runner.errors import CheckpointError, RunFailedError
from runner.folder_lock import LEASE_NAME, LOCK_NAME
from runner.foreign_files import open_file
from runner.run_folder import RunFolder
from runner.sealed_files import read_sealed, write_sealed

log = logging.getLogger(__name__)

_DIGEST = re.compile("[0-9a-f]{64}")


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


def digests_of(folder: RunFolder, leave_out: Collection[str] = ()) -> dict[str, str]:
    """Return the sha256 of every file of a run but digests.json and report.html, by name.

    Args:
        folder: The run.
        leave_out: Names of files that others write to.
    """
    names = (folder.report.name, *leave_out)
    return {name: file_digest(path) for name, path in files_of_run(folder.path) if name not in names}


def recorded_digests(folder: RunFolder) -> dict[str, str] | None:
    """Return what digests.json says; None where there is none, or it is damaged."""
    try:
        return _recorded(folder)
    except (OSError, RunFailedError):
        return None


def seal_run(folder: RunFolder, leave_out: Collection[str] = (), known: Mapping[str, str] | None = None) -> None:
    """Write down what is in the folder, at the end of an attempt, when nobody writes there any more.

    Args:
        folder: The run.
        leave_out: Names of files that others write to.
        known: What :func:`digests_of` returned a moment ago, so that only report.html is left to read.

    Raises:
        OSError: the disk is full, and so on; there are no digests then.
    """
    files = dict(digests_of(folder, leave_out) if known is None else known)
    if folder.report.is_file():
        files[folder.report.name] = file_digest(folder.report)
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
    damaged = [name for name in findings.damaged if folder.path / name != folder.report]  # which is made anew
    lost = [*damaged, *(name for name in findings.missing if folder.path / name == folder.last_checkpoint)]
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
    if not os.path.lexists(folder.digests):
        paths = sorted(folder.checkpoints.glob("*.ckpt"))
        damaged = [each for each in paths if not _is_whole_checkpoint(each)]
        return Findings(False, len(paths), tuple(each.relative_to(folder.path).as_posix() for each in damaged))
    try:
        recorded = _recorded(folder)
    except (OSError, RunFailedError):
        return Findings(True, 0, damaged=(folder.digests.name,))
    there = {name for name in recorded if _is_file(folder.path / name)}
    damaged_names = sorted(name for name in there if file_digest(folder.path / name) != recorded[name])
    return Findings(True, len(recorded), tuple(damaged_names), tuple(sorted(recorded.keys() - there)))


def _recorded(folder: RunFolder) -> dict[str, str]:
    """Return what digests.json says.

    Raises:
        RunFailedError: it is damaged, or names something else than files of the run.
        OSError: it cannot be read.
    """
    files = read_sealed(folder.digests).get("files")
    if not isinstance(files, dict) or not all(_is_name(name) and _is_digest(each) for name, each in files.items()):
        raise RunFailedError(f"{folder.digests} is damaged: it does not hold names of files with their digests.")
    return files


def _is_name(name: str) -> bool:
    """Tell whether *name* can be that of a file below the run folder."""
    try:
        is_possible = b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:  # half a character, which no file name gives
        return False
    return is_possible and all(part not in ("", ".", "..") for part in name.split("/"))


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # too long a name
        return False


def file_digest(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def finish_wandb(folder: RunFolder) -> None:
    """End the run of Weights & Biases that writes into the folder, if there is one, as failed while an exception flies.

    By itself it would end with the process, and take in what another run of the process logs.
    """
    wandb: Any = sys.modules.get("wandb")
    if wandb is None or wandb.run is None or not Path(wandb.run.dir).is_relative_to(folder.path):
        return
    try:
        wandb.run.finish(exit_code=0 if sys.exception() is None else 1)
    except Exception as error:  # whatever its server makes of it
        log.warning("Weights & Biases: the run could not be ended: %s", error)


def _is_whole_checkpoint(path: Path) -> bool:
    try:
        open_file(path).close()  # a pipe would be waited for
        check_checkpoint_file(path)
    except (CheckpointError, OSError):
        return False
    return True


def files_of_run(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of a run below *root* by name, without following links."""
    folder = RunFolder(root)
    for parent, _, names in sorted(os.walk(root)):
        if any(map(Path(parent).is_relative_to, (folder.wandb, folder.jobs))):
            continue
        for each in sorted(names):
            path = Path(parent, each)
            is_own = each not in (LOCK_NAME, LEASE_NAME) and path not in (folder.digests, folder.labels)
            if is_own and path.is_file() and not path.is_symlink():
                yield path.relative_to(root).as_posix(), path
