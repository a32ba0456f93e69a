"""The folder of one run. The only module that spells the names of files in it."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runner.atomic_files import sync_folder, write_json
from runner.errors import RunFailedError, UsageError
from runner.folder_lock import FolderLock, at_work
from runner.foreign_files import read_bytes

RUN_FOLDER_VARIABLE = "LIGHTCASE_RUN_FOLDER"
"""Environment variable through which the processes of one run find its folder."""


class RunFolder:
    """A run folder that exists. Every file in it is a property; nothing else joins paths."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock = FolderLock(self.path)

    @classmethod
    def create(cls, root: Path, container_name: str) -> RunFolder:
        """Make a folder below *root* that no other run has, and let ``latest`` point to it.

        Raises:
            UsageError: *root* cannot be made or written.
        """
        name = f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}_{container_name}"
        try:
            root.mkdir(parents=True, exist_ok=True)
            folder = cls(_make_unique(root, name))
            folder.checkpoints.mkdir()
            sync_folder(root)
        except (OSError, ValueError) as error:  # ValueError: NUL in the name
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"Cannot write a run folder below {root}: {reason}.") from error
        folder.lock()
        point_latest(root, folder.path)
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open the folder of an earlier run, to go on with it.

        Raises:
            UsageError: there is no run folder at *path*, or another process is working in it.
        """
        folder = cls(path.resolve())
        if not folder.can_resume:
            raise UsageError(f"{path} is no run folder: it has no {folder.config.name} and {folder.status.name}.")
        folder.lock()
        folder.clean()
        return folder

    @property
    def can_resume(self) -> bool:
        """Whether a run has begun in the folder, so that there is something to go on with."""
        return self.config.is_file() and self.status.is_file()

    def clean(self) -> None:
        """Remove what a process left that was killed while it wrote."""
        for rest in self.path.rglob(".*.tmp"):
            rest.unlink(missing_ok=True)

    def try_lock(self) -> bool:
        """Take the folder as :meth:`lock` does; return False if another process has it, or makes a part of the maps."""
        if self._lock.take():
            if not self.saliency_parts_at_work:
                return True
            self._lock.give_back()
        return False

    def lock(self) -> None:
        """Take the folder for this process until it ends; the kernel frees it, however that happens.

        Raises:
            UsageError: another process has it, or makes a part of the maps.
        """
        if not self.try_lock():
            if parts := self.saliency_parts_at_work:
                raise UsageError(f"{self.path} is in use: saliency maps are being made, part {', '.join(parts)}.")
            raise self.in_use()

    def in_use(self) -> UsageError:
        """Return what to say when another process has the folder."""
        status = self.read_status()
        return UsageError(f"{self.path} is in use by process {status.get('pid')} on {status.get('host')}.")

    def unlock(self) -> None:
        """Give the folder back."""
        self._lock.give_back()

    @property
    def config(self) -> Path:
        """Every value and where it was set; valid as ``--config``."""
        return self.path / "config.yaml"

    @property
    def status(self) -> Path:
        """Phase, state, process, heartbeat and reason of the end."""
        return self.path / "status.json"

    @property
    def environment(self) -> Path:
        """Command line, versions, device, git state."""
        return self.path / "environment.json"

    @property
    def diff(self) -> Path:
        """Uncommitted changes of the repository the container is in."""
        return self.path / "uncommitted.diff"

    @property
    def untracked(self) -> Path:
        """Names of files that git does not know, one a line."""
        return self.path / "untracked.txt"

    @property
    def metrics(self) -> Path:
        """One row per epoch or step that logged something."""
        return self.path / "metrics.csv"

    @property
    def results(self) -> Path:
        """Final metrics of each phase."""
        return self.path / "results.json"

    @property
    def predictions(self) -> Path:
        """What was predicted for each item of the test, where the model gives that."""
        return self.path / "predictions.csv"

    @property
    def evaluation(self) -> Path:
        """Measures of these predictions, with confidence intervals and curves."""
        return self.path / "evaluation.json"

    @property
    def log(self) -> Path:
        """Everything that was logged, with time, rank and phase."""
        return self.path / "run.log"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def best_checkpoint(self) -> Path:
        """Checkpoint of the best epoch, where a metric says which that is."""
        return self.checkpoints / "best.ckpt"

    @property
    def last_checkpoint(self) -> Path:
        """Checkpoint of the last finished epoch."""
        return self.checkpoints / "last.ckpt"

    @property
    def previous_checkpoint(self) -> Path:
        """The last.ckpt before, while training goes on: what is left if the last one turns out to be damaged."""
        return self.checkpoints / "previous.ckpt"

    @property
    def interrupted_checkpoint(self) -> Path:
        """Checkpoint of the middle of an epoch, written when the run was asked to stop."""
        return self.checkpoints / "interrupted.ckpt"

    @property
    def saliency(self) -> Path:
        """Folder of the saliency maps."""
        return self.path / "saliency"

    @property
    def saliency_parts(self) -> Path:
        """Folder with a folder for each process that makes a part of the saliency maps: its lock, its log."""
        return self.saliency / "parts"

    @property
    def saliency_parts_at_work(self) -> list[str]:
        """The parts of the saliency maps that are being made at this moment, such as ``03-of-16``."""
        return sorted(each.name for each in at_work(self.saliency_parts.glob("*-of-*")))

    @property
    def contact_sheet(self) -> Path:
        """Picture of many saliency maps at once."""
        return self.saliency / "contact_sheet.png"

    @property
    def wandb(self) -> Path:
        """Folder of Weights & Biases, which goes on writing there: its service at once, ``wandb sync`` much later."""
        return self.path / "wandb"

    @property
    def jobs(self) -> Path:
        """Folder of the jobs that were submitted to run it: what they print, and what submitit keeps."""
        return self.path / "launcher"

    @property
    def digests(self) -> Path:
        """The sha256 of all files but those in :attr:`wandb` and :attr:`jobs`, once the run has come to an end."""
        return self.path / "digests.json"

    @property
    def report(self) -> Path:
        """The run on one page."""
        return self.path / "report.html"

    @property
    def own_report(self) -> Path:
        """Where a report.html is kept that the container's create_report wrote."""
        return self.path / "report_of_container.html"

    @property
    def labels(self) -> Path:
        """Tags and a note that the user gave the run; not the run's own, so that it may change after its end."""
        return self.path / "labels.json"

    @property
    def profiler(self) -> Path:
        """Folder of the profiler's files."""
        return self.path / "profiler"

    def read_status(self) -> dict[str, Any]:
        """Return what status.json holds, or nothing when it is not there."""
        return _read_json(self.status)

    def read_results(self) -> dict[str, Any]:
        """Return what results.json holds, or nothing when it is not there."""
        return _read_json(self.results)

    def read_classes(self) -> list[str]:
        """Return the names of the classes, where the test has said them."""
        names = _read_json(self.evaluation).get("classes")
        return [str(name) for name in names] if isinstance(names, list) else []

    def read_labels(self) -> dict[str, Any]:
        """Return what labels.json holds, or nothing when it is not there."""
        return _read_json(self.labels)

    def add_results(self, phase: str, result: dict[str, Any]) -> None:
        """Put the result of one phase into results.json."""
        write_json(self.results, self.read_results() | {phase: result})


def _make_unique(root: Path, name: str) -> Path:
    for number in range(1, 10_000):
        path = root / (name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError):
            path.mkdir()
            return path
    raise RunFailedError(f"More than 9999 runs called {name} in {root}.")


def point_latest(root: Path, target: Path) -> None:
    """Let the link ``latest`` in *root* point to a run folder beside it."""
    temporary = root / f".latest.{os.getpid()}.tmp"
    with suppress(OSError):  # a convenience: file systems without symbolic links do without it
        temporary.symlink_to(target.name)
        temporary.replace(root / "latest")


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(read_bytes(path))
    except ValueError:  # not even text
        raise RunFailedError(f"{path} is damaged: it is no JSON.") from None
    return value if isinstance(value, dict) else {}
