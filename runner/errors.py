"""The mistakes a user can make, one exception each; the command line prints them without a traceback."""

from __future__ import annotations

import difflib
import signal
import traceback
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class RunnerError(Exception):
    """A mistake that one sentence explains; ``exit_code`` is what the process ends with."""

    exit_code = EXIT_USAGE


class UsageError(RunnerError):
    """The command line, a configuration file or the values of a container are wrong; nothing was started."""


class ContainerNotFoundError(UsageError):
    """No container, or more than one, has the name that was asked for."""


class ParameterError(UsageError):
    """A parameter does not exist or cannot take the value given."""


class ConfigFileError(UsageError):
    """A configuration file is missing, not strict YAML, or names something that does not exist."""


class CheckpointError(UsageError):
    """A checkpoint is missing, damaged, or would have to run code to be read."""


class RunFailedError(RunnerError):
    """The run started and could not do what was asked, for a reason that is no bug in user code."""

    exit_code = EXIT_FAILED


class RankDiedError(RunFailedError):
    """Another process of the run was killed or fell silent, which is nobody's mistake in the code."""


class UserCodeError(RunnerError):
    """User code raised; ``__cause__`` holds its exception, whose traceback is shown."""

    exit_code = EXIT_FAILED


class TrialPrunedError(RunnerError):
    """The pruner of a sweep ended a trial that does not look good."""

    exit_code = EXIT_DONE


class RunInterrupted(BaseException):
    """A signal asked the run to stop. Not an ``Exception``, so that no user code swallows it by accident."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number, as shells report it: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signal_number


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Return up to *count* names out of *known* that look like *name*, the most alike first."""
    by_lower: dict[str, str] = {}
    for candidate in known:
        by_lower.setdefault(candidate.lower(), candidate)
    return [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=count, cutoff=0.6)]


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return `` Did you mean X or Y?`` with a leading blank, or an empty text when nothing is alike."""
    matches = [prefix + match for match in nearest(name, known)]
    return f" Did you mean {' or '.join(matches)}?" if matches else ""


def print_traceback(error: BaseException | None) -> None:
    """Print the traceback from the first line that is neither ours nor Lightning's: what the user has to look at."""
    if error is None:
        return
    here = str(Path(__file__).parent)
    trace = error.__traceback__
    first = trace
    while first is not None and _is_machinery(first.tb_frame.f_code.co_filename, here):
        first = first.tb_next
    with suppress(BrokenPipeError):
        traceback.print_exception(type(error), error, first or trace)


def _is_machinery(file: str, here: str) -> bool:
    packages = ("/importlib/", "/pytorch_lightning/", "/lightning_fabric/", "/torch/")
    return file.startswith((here, "<frozen importlib")) or any(package in file for package in packages)
