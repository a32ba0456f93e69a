"""The folder of a sweep. The only module that spells the names of files in it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runner.atomic_files import sync_folder, write_json
from runner.errors import RunFailedError, UsageError
from runner.folder_lock import FolderLock, is_locked
from runner.sealed_files import read_sealed, write_sealed
from runner.sweep.trials import SEALED, Trial

SWEEPS = "sweeps"
"""Folder below the outputs folder in which all sweeps lie."""

_RESULT = re.compile(r"(\d{6,})\.([a-z_]+)\.json")
_STOP = "stop.json"
_NUMBER = re.compile(r"\d{6,}")


@dataclass(frozen=True)
class Control:
    """What a user may change of a sweep while it lies in the queue or runs."""

    priority: int = 0
    """Sweeps with a higher one go first."""
    paused: str = ""
    """Why no trial is to be started; empty when they are."""
    cancelled: bool = False
    """Whether no trial is to be started ever."""

    @property
    def is_open(self) -> bool:
        """Whether trials are to be started."""
        return not self.paused and not self.cancelled


class SweepFolder:
    """A sweep folder that exists. Every file in it is found through this class; nothing else joins paths.

    It has no state of its own: a trial has come to its end when its sealed result is there, and somebody works on it
    while its lock is held.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock = FolderLock(self.path)

    @classmethod
    def create(cls, outputs: Path, container_name: str, plan: dict[str, Any], control: Control) -> SweepFolder:
        """Make a folder below *outputs*/sweeps with a sealed plan; it appears whole or not at all.

        Args:
            outputs: The outputs folder.
            container_name: For the name of the folder.
            plan: Body of plan.json; ``sequence`` is added, by which the queue knows which sweep came first.
            control: What to start with.

        Raises:
            UsageError: *outputs* cannot be written.
        """
        root = outputs / SWEEPS
        name = f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}_{container_name}"
        try:
            root.mkdir(parents=True, exist_ok=True)
            with FolderLock(root).held():
                sequence = 1 + max((each.sequence for each in sweeps_in(outputs)), default=0)
                hidden = cls(root / f".{name}.{os.getpid()}.tmp")
                hidden.path.mkdir()
                for folder in (hidden.points, hidden.results):
                    folder.mkdir()
                write_sealed(hidden.path / "plan.json", plan | {"sequence": sequence})
                write_json(hidden.control, asdict(control))
                path = _free_name(root, name)
                hidden.path.rename(path)
                sync_folder(root)
        except OSError as error:
            raise UsageError(f"Cannot write a sweep folder below {root}: {error.strerror or error}.") from error
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> SweepFolder:
        """Open the folder of an earlier sweep.

        Raises:
            UsageError: there is no sweep at *path*.
        """
        folder = cls(path.resolve())
        if not (folder.path / "plan.json").is_file():
            raise UsageError(f"{path} is no sweep folder: it has no plan.json.")
        return folder

    @property
    def name(self) -> str:
        """The name of the folder, by which the queue's commands know the sweep."""
        return self.path.name

    @property
    def sequence(self) -> int:
        """Which sweep of the queue this is, counted from 1; 0 where the plan is damaged."""
        try:
            return int(self.read_plans()[0]["sequence"])
        except RunFailedError:
            return 0

    @property
    def control(self) -> Path:
        """Priority, and whether the sweep is paused."""
        return self.path / "control.json"

    @property
    def points(self) -> Path:
        """Folder of the trials' run folders."""
        return self.path / "points"

    @property
    def results(self) -> Path:
        """Folder of the sealed results; the state is in the name, so that one listing tells all."""
        return self.path / "results"

    @property
    def table(self) -> Path:
        """One row per trial."""
        return self.path / "sweep.csv"

    @property
    def summary(self) -> Path:
        """The same with the best trials and the mean of each setting."""
        return self.path / "sweep.json"

    @property
    def report(self) -> Path:
        """Tables and pictures in one page."""
        return self.path / "report.html"

    @property
    def jobs(self) -> Path:
        """Folder of the jobs that were submitted to work on it."""
        return self.path / "launcher"

    @property
    def files_of_trial(self) -> Collection[str]:
        """Names of the files in a trial's run folder that are not the run's own and change after it."""
        return (self.attempts(0).name, self.console(0).name, _STOP)

    def point(self, number: int) -> Path:
        """Return the run folder of a trial, which may not be there yet."""
        return self.points / f"{number:06d}"

    def clean(self) -> None:
        """Remove what a process left that was killed while it wrote a record."""
        with self.locked():
            for folder in (self.path, self.results):
                for rest in folder.glob(".*.tmp"):
                    rest.unlink(missing_ok=True)

    def locked(self) -> AbstractContextManager[None]:
        """Keep others from choosing and sealing trials while the block runs."""
        return self._lock.held()

    # --- the plan and its extensions -------------------------------------------------------------------------------

    def read_plans(self) -> list[dict[str, Any]]:
        """Return the bodies of plan.json and of what ``--extend`` added, in order.

        Raises:
            RunFailedError: one of them is damaged.
        """
        plans: list[dict[str, Any]] = []
        path = self.path / "plan.json"
        while not plans or path.is_file():
            plans.append(read_sealed(path))
            path = self.path / f"plan-{len(plans) + 1}.json"
        return plans

    def add_plan(self, body: dict[str, Any], number: int) -> None:
        """Write what ``--extend`` adds.

        Raises:
            RunFailedError: somebody else extended the sweep meanwhile.
        """
        if not write_sealed(self.path / f"plan-{number}.json", body):
            raise RunFailedError(f"{self.path}: it was extended by someone else at the same time; try again.")

    def has_plan(self, number: int) -> bool:
        """Tell whether the sweep was extended so often that there are *number* plans."""
        return (self.path / f"plan-{number}.json").is_file()

    def read_control(self) -> Control:
        """Return what the user wants of the sweep; paused where that cannot be read."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            values = json.loads(self.control.read_text(encoding="utf-8"))
            return Control(int(values["priority"]), str(values["paused"]), bool(values["cancelled"]))
        return Control(paused=f"{self.control.name} is damaged")

    def change_control(self, **changes: Any) -> Control:
        """Change what the user wants of the sweep, and return it.

        Args:
            **changes: Fields of :class:`Control` with their new values.
        """
        with self.locked():
            control = replace(self.read_control(), **changes)
            write_json(self.control, asdict(control))
        return control

    # --- trials -----------------------------------------------------------------------------------------------------

    def sealed(self) -> dict[int, str]:
        """Return the state of every trial that came to its end, by its number."""
        found: dict[int, str] = {}
        for entry in os.scandir(self.results):
            match = _RESULT.fullmatch(entry.name)
            if match and match[2] in SEALED:
                number = int(match[1])
                found[number] = min(match[2], found.get(number, match[2]), key=SEALED.index)  # there is only one
        return found

    def started(self) -> set[int]:
        """Return the numbers of the trials that have a folder."""
        return {int(entry.name) for entry in os.scandir(self.points) if _NUMBER.fullmatch(entry.name)}

    def is_running(self, number: int) -> bool:
        """Tell whether a worker has the trial."""
        return is_locked(self.point(number))

    def begin(self, number: int, setting: int, params: dict[str, str], known: Sequence[int]) -> None:
        """Make the folder of a trial and write down its parameters, for good.

        Args:
            number: The trial.
            setting: Which setting it is one of.
            params: What varies.
            known: Settings whose values the sampler knew when it chose these parameters.
        """
        folder = self.point(number)
        folder.mkdir(exist_ok=True)
        if self.read_point(number) is None:
            (folder / "point.json").unlink(missing_ok=True)
            body = {"number": number, "setting": setting, "params": params, "known": list(known)}
            write_sealed(folder / "point.json", body)

    def read_point(self, number: int) -> dict[str, Any] | None:
        """Return number, setting, parameters and what the sampler knew.

        None if they are not there, because a kill came before they were written, or because the file is damaged.
        """
        try:
            return read_sealed(self.point(number) / "point.json")
        except (OSError, RunFailedError):
            return None

    def seal(self, trial: Trial, code: str = "") -> str:
        """Write the result of a trial, which the caller has the lock of, unless it has one, and return its state.

        Args:
            trial: With all that is to be kept.
            code: Digest of the container's code that it ran; empty if it did not come so far.
        """
        with self.locked():
            sealed = self.sealed()
            if trial.number in sealed:
                return sealed[trial.number]
            body = trial.to_json() | {"order": len(sealed), "code": code}
            write_sealed(self._result(trial.number, trial.state), body)
        return trial.state

    def read_result(self, number: int, state: str) -> dict[str, Any]:
        """Return the body of a result, as :meth:`Trial.from_json` reads it, and ``order``."""
        return read_sealed(self._result(number, state))

    def reopen(self, number: int, state: str) -> bool:
        """Take the result of a trial away, so that it is run again; return whether that result was still there.

        Args:
            number: The trial.
            state: What :meth:`sealed` said of it. Somebody else may have retried it since, even with success.
        """
        with self.locked():
            if self.sealed().get(number) != state:
                return False
            for file in (self.point(number) / _STOP, self.attempts(number)):
                file.unlink(missing_ok=True)
            self._result(number, state).unlink()
            sync_folder(self.results)
        return True

    def ask_to_stop(self, number: int, reason: str = "") -> None:
        """Ask the worker of a trial, if there is one, to stop it for good.

        Args:
            number: The trial.
            reason: Why it is to count as failed; empty: it was cancelled.
        """
        self.point(number).mkdir(exist_ok=True)
        write_json(self.point(number) / _STOP, {"reason": reason})

    def stop_asked(self, number: int) -> str | None:
        """Return the reason why somebody asked to stop the trial, empty if it was cancelled; None if nobody did."""
        path = self.point(number) / _STOP
        if not path.is_file():
            return None
        with suppress(ValueError):
            return str(json.loads(path.read_text(encoding="utf-8"))["reason"])
        return ""

    def attempts(self, number: int) -> Path:
        """Return the file that counts the attempts at a trial."""
        return self.point(number) / "attempts.json"

    def console(self, number: int) -> Path:
        """Return the file with what a trial printed."""
        return self.point(number) / "console.log"

    def _result(self, number: int, state: str) -> Path:
        return self.results / f"{number:06d}.{state}.json"


def sweeps_in(outputs: Path) -> list[SweepFolder]:
    """Return the sweeps below *outputs*, unsorted."""
    root = outputs / SWEEPS
    if not root.is_dir():
        return []
    found = [SweepFolder(Path(entry.path)) for entry in os.scandir(root) if not entry.name.startswith(".")]
    return [each for each in found if (each.path / "plan.json").is_file()]


def _free_name(root: Path, name: str) -> Path:
    for number in range(1, 10_000):
        path = root / (name if number == 1 else f"{name}-{number}")
        if not path.exists():
            return path
    raise RunFailedError(f"More than 9999 sweeps called {name} in {root}.")
