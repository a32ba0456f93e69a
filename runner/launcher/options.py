"""``--launcher`` and ``--slurm_...``: what is asked of Slurm, checked before anything is made."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.command_line import SLURM_PREFIX, Request
from runner.errors import UsageError, did_you_mean

SLURM = "slurm"
LOCAL = "local"
LAUNCHERS = (SLURM, LOCAL)

LEAST_MINUTES = 4
"""A job is asked to stop 90 seconds before its time is over, and Slurm may do that a minute early."""

OURS = {
    "array": "how many jobs there are follows from --workers, or from --saliency_parts",
    "nodes": "that is --num_nodes",
    "ntasks": "that follows from --devices and --num_nodes",
    "ntasks_per_node": "that is --devices",
    "tasks_per_node": "that is --devices",
    "output": "what jobs print goes into the folder of the run",
    "error": "what jobs print goes into the folder of the run",
    "open_mode": "what jobs print is appended",
    "chdir": "jobs work in the folder in which they are submitted",
    "signal": "the run has to know which one it gets",
    "wrap": "the run is what is started",
    "test_only": "that is --dry_run",
    "job_name": "jobs are called like the container",
    "help": "it starts nothing",
    "usage": "it starts nothing",
    "version": "it starts nothing",
    "quiet": "it belongs to the submission",
    "parsable": "it belongs to the submission",
    "wait": "it belongs to the submission",
}
"""Options of ``sbatch`` that we set ourselves, and why."""

_SET = (*OURS, "time", "requeue", "no_requeue")
"""Options that are in the script already: what is a beginning of their names would be one of them to ``sbatch``."""

_WITHOUT_VALUE = frozenset({
    "contiguous", "exclusive", "get_user_env", "hold", "ignore_pbs", "nice", "no_kill", "no_requeue", "overcommit",
    "oversubscribe", "propagate", "reboot", "requeue", "spread_job", "stepmgr", "use_min_nodes", "verbose", "x11",
})  # fmt: skip
"""Options that may stand alone; any other would take the next one for its value."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TIME = re.compile(r"(?:(?P<days>\d{1,4})-)?(?P<first>\d{1,6})(?::(?P<second>\d{1,2}))?(?::(?P<third>\d{1,2}))?")


@dataclass(frozen=True)
class LaunchOptions:
    """How jobs are to be submitted."""

    launcher: str
    minutes: int
    """How long a job may take."""
    sbatch: Mapping[str, str]
    """Other options of ``sbatch``, with underscores; empty text for one without a value."""

    @property
    def recorded(self) -> dict[str, str]:
        """All options, to be given again when the run goes on."""
        return {"time": str(self.minutes), **self.sbatch} if self.launcher == SLURM else {}


def launch_options(request: Request, earlier: Mapping[str, str]) -> LaunchOptions:
    """Return what the command line asks for.

    Args:
        request: The command line.
        earlier: Options that the run was submitted with before, as its folder says, which is not to be trusted;
            those of the command line win.

    Raises:
        UsageError: there is no such launcher, a program or package is missing, or an option is none.
    """
    launcher = request.launcher or ""
    if launcher not in LAUNCHERS:
        raise UsageError(f"--launcher={launcher}: use {' or '.join(LAUNCHERS)}.{did_you_mean(launcher, LAUNCHERS)}")
    if importlib.util.find_spec("submitit") is None:
        raise UsageError(f"--launcher={launcher} needs the package submitit: pip install 'lightcase[slurm]'.")
    if launcher == LOCAL:
        return LaunchOptions(launcher, 60 * 24 * 365, {})
    if shutil.which("sbatch") is None and not request.dry_run:
        raise UsageError("--launcher=slurm: there is no program sbatch here; submit from a machine of the cluster.")
    given = {name: _checked(name, value) for name, value in request.slurm}
    try:
        options = {name: _checked(name, value or None) for name, value in earlier.items()} | given
    except UsageError as error:
        raise UsageError(f"The jobs.json of the folder does not hold what was submitted: {error}") from None
    if "time" not in options:
        raise UsageError("--launcher=slurm: say how long a job may take: --slurm_time=60 (minutes), or 1-12:00:00.")
    return LaunchOptions(launcher, minutes_from_text(options.pop("time")), options)


def _checked(name: str, value: str | None) -> str:
    flag = f"--{SLURM_PREFIX}{name}"
    if name in OURS:
        raise UsageError(f"{flag} cannot be set: {OURS[name]}.")
    if not _NAME.fullmatch(name):
        raise UsageError(f"{flag} is no option of sbatch.")
    if whole := next((each for each in _SET if each.startswith(name) and each != name), None):
        raise UsageError(f"{flag} is a short form of --{SLURM_PREFIX}{whole} to sbatch; write names out.")
    if value == "" or (value is None and name not in _WITHOUT_VALUE):
        raise UsageError(f"{flag} needs a value: {flag}=VALUE.")
    if value is not None and not value.isprintable():
        raise UsageError(f"{flag}: control characters have no place in it.")
    return value or ""


def minutes_from_text(text: str) -> int:
    """Read a time as ``sbatch`` does, such as ``60``, ``60:00``, ``1:00:00``, ``1-12`` or ``1-12:30``.

    Returns:
        Minutes; Slurm knows nothing finer, and rounds up.

    Raises:
        UsageError: it is none, or too short for a run to stop in good order.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"--slurm_time={text}: use minutes, hours:minutes:seconds or days-hours:minutes.")
    parts = [int(part) for part in match.group("first", "second", "third") if part is not None]
    if match["days"] is not None or len(parts) == 3:
        hours, minutes, seconds = [*parts, 0, 0][:3]
    else:
        hours, (minutes, seconds) = 0, [*parts, 0][:2]
    total = (int(match["days"] or 0) * 24 + hours) * 60 + minutes + (seconds > 0)
    if total < LEAST_MINUTES:
        raise UsageError(f"--slurm_time={text}: give {LEAST_MINUTES} minutes or more; a job is told to stop before.")
    return total


def check_folder(folder: Path) -> None:
    """Refuse a folder whose name means something else to Slurm.

    Raises:
        UsageError: it has such a name.
    """
    text = str(folder)
    if "%" in text or "\\" in text or not text.isprintable():
        raise UsageError(f"--launcher=slurm: {text!r} cannot hold runs: no %, backslash or control character, please.")
