"""``runs verify``: every file of runs and sweeps against its digest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from runner.browser.finding import find_run_or_sweep, is_sweep, run_names
from runner.errors import RunFailedError, UsageError
from runner.folder_lock import is_locked
from runner.number_text import counted
from runner.run_folder import RunFolder
from runner.run_seal import check_run
from runner.sweep.sweep_folder import SweepFolder, sweeps_in


def verify(words: Sequence[str], outputs: Path) -> tuple[list[str], bool]:
    """Check the runs and sweeps that *words* name, or all.

    Returns:
        Lines to print, and whether all is well.

    Raises:
        UsageError: there is no such run or sweep, or none at all.
    """
    paths = [find_run_or_sweep(outputs, word) for word in words] or _all(outputs)
    if not paths:
        raise UsageError(f"There are no runs below {outputs}.")
    lines, is_whole = [], True
    for path in paths:
        text, is_good = _verify_sweep(SweepFolder(path)) if is_sweep(path) else _verify(RunFolder(path))
        lines += text
        is_whole = is_whole and is_good
    return lines, is_whole


def _all(outputs: Path) -> list[Path]:
    sweeps = sorted(each.path for each in sweeps_in(outputs)) if outputs.is_dir() else []
    return [*(outputs / name for name in run_names(outputs)), *sweeps]


def _verify(folder: RunFolder) -> tuple[list[str], bool]:
    """Compare a run with its digests and say what was found."""
    findings = check_run(folder)
    name = folder.path.name
    lines = [f"{name}: damaged: {each}" for each in findings.damaged]
    lines += [f"{name}: missing: {each}" for each in findings.missing]
    if lines:
        return lines, False
    if findings.is_sealed:
        return [f"{name}: all {findings.num_files} files are whole"], True
    why = "it is running" if is_locked(folder.path) else "it was killed and can be resumed"
    return [f"{name}: no digests yet, {why}; {findings.num_files} checkpoints are whole"], True


def _verify_sweep(sweep: SweepFolder) -> tuple[list[str], bool]:
    """Check plan and results of a sweep, and the runs of its trials."""
    lines, num_whole, damaged = [], 0, []
    try:
        sweep.read_plans()
    except RunFailedError:
        damaged.append("plan.json")
    for number, state in sorted(sweep.sealed().items()):
        try:
            sweep.read_result(number, state)
        except RunFailedError:
            damaged.append(f"the result of trial {number}")
    for number in sorted(sweep.started()):
        if sweep.read_point(number) is None:
            damaged.append(f"the parameters of trial {number}")
        folder = RunFolder(sweep.point(number))
        if folder.can_resume:
            text, is_good = _verify(folder)
            num_whole += is_good
            lines += [] if is_good else [f"{sweep.name}/{line}" for line in text]
    lines += [f"{sweep.name}: damaged: {each}" for each in damaged]
    return lines or [f"{sweep.name}: plan, results and {counted(num_whole, 'run')}: all whole"], not lines
