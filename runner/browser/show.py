"""``runs show``: one run on the terminal."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runner.browser.finding import name_of
from runner.browser.records import KILLED, RunRecord, config_values, live_state, read_environment, read_record
from runner.errors import UsageError
from runner.number_text import format_seconds
from runner.run_folder import RunFolder
from runner.run_record import resume_command, shown
from runner.shown import brief, format_number, printable
from runner.slurm_jobs import read_launches

_PACKAGES = ("torch", "pytorch-lightning", "xaitk-saliency", "numpy")
_INDENT = 12


def show(path: Path) -> list[str]:
    """Return what is known of a run, as lines.

    Raises:
        UsageError: the run has gone meanwhile.
    """
    record = read_record(path, name_of(path))
    if record is None:
        raise UsageError(f"There is no run in {path} any more.")
    folder = RunFolder(path)
    environment = read_environment(folder)
    blocks = [
        list(_head(record)),
        [_entry(phase, _measured(values)) for phase, values in record.metrics.items()],
        list(_settings(folder)),
        list(_origin(environment)),
        list(_files(folder)),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block).splitlines()


def _head(record: RunRecord) -> Iterator[str]:
    state = live_state(record)
    yield f"{printable(record.name)}  {printable(state, 40)}"
    yield _entry("model", printable(record.model))
    times = [f"{record.date} UTC" if record.date else "", format_seconds(record.seconds) if record.seconds else ""]
    times.append(f"{record.epochs} epochs" if record.epochs else "")
    yield _entry("made", ", ".join(filter(None, times)) or "-")
    if state not in ("completed", "running"):
        yield _entry("phase", printable(record.phase))
        if record.reason:
            yield _entry("reason", printable(record.reason, 500))
        if state in (KILLED, "failed", "interrupted"):
            yield _entry("go on", resume_command(RunFolder(record.path)))
    for launch in read_launches(RunFolder(record.path).jobs)[-1:]:
        options = shlex.join(f"--slurm_{name}={value}".rstrip("=") for name, value in launch.options.items())
        yield _entry(
            launch.launcher,
            printable(f"job {launch.job}, {launch.submitted[:19].replace('T', ' ')} UTC  {options}", 1000),
        )
    if record.tags:
        yield _entry("tags", printable(", ".join(record.tags), 500))
    if record.note:
        yield _entry("note", printable(record.note, 2000))


def _measured(values: dict[str, float] | Any) -> str:
    return "  ".join(f"{printable(name, 60)} {format_number(value)}" for name, value in values.items())


def _settings(folder: RunFolder) -> Iterator[str]:
    """Yield the parameters that are not at their defaults, with who set them."""
    changed = [each for each in config_values(folder) if each[2] != "default"]
    widths = [max((len(name) for name, _, _ in changed), default=0), 0]
    texts = [brief(value if isinstance(value, str) else json.dumps(value), 60) for _, value, _ in changed]
    widths[1] = max(map(len, texts), default=0)
    for (name, _, origin), text in zip(changed, texts, strict=True):
        yield f"{name:<{widths[0]}}  {text:<{widths[1]}}  {printable(origin, 60)}"


def _origin(environment: dict[str, Any]) -> Iterator[str]:
    command = environment.get("command_line")
    if isinstance(command, list) and command:
        yield _entry("command", printable(" ".join(map(str, command)), 1000))
    packages = environment.get("packages")
    packages = packages if isinstance(packages, dict) else {}
    versions = [f"{name} {packages[name]}" for name in _PACKAGES if name in packages]
    python = [str(environment[name]) for name in ("python", "platform") if name in environment]
    if python or versions:
        yield _entry("with", printable(", ".join([*python, *versions]), 500))
    git = environment.get("git")
    if isinstance(git, dict) and git.get("commit"):
        changes = ", uncommitted changes in uncommitted.diff" if git.get("dirty") else ""
        yield _entry("git", printable(f"{git['commit']} {git.get('branch') or ''}".rstrip() + changes, 300))


def _files(folder: RunFolder) -> Iterator[str]:
    yield _entry("folder", printable(str(shown(folder.path)), 1000))
    if folder.contact_sheet.is_file():
        yield _entry("maps", printable(str(shown(folder.contact_sheet)), 1000))


def _entry(head: str, text: str) -> str:
    return f"{printable(head, 40):<{_INDENT - 2}}  {text}"
