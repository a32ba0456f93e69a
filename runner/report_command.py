"""``report``: make the report of a run or a sweep anew, from its folder alone."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from runner.atomic_files import write_text
from runner.browser.finding import find_run_or_sweep, is_sweep
from runner.errors import RunFailedError
from runner.run_folder import RunFolder


def report_command(name: str, outputs: Path, *, opens: bool = False) -> Path:
    """Write report.html of a run or a sweep and return where it is.

    Args:
        name: A folder, or the name of one below *outputs*.
        outputs: Where runs lie.
        opens: Show it in the browser.

    Raises:
        UsageError: there is no such run or sweep.
        RunFailedError: the folder cannot be written, or the sweep's plan is damaged.
    """
    path = find_run_or_sweep(outputs, name)
    try:
        page = _report_sweep(path) if is_sweep(path) else _report_run(path)
    except OSError as error:
        raise RunFailedError(f"The report of {path} cannot be written: {error.strerror or error}.") from error
    if opens:
        webbrowser.open(page.as_uri())
    return page


def _report_run(path: Path) -> Path:
    from runner.reports.page import rebuild_report

    folder = RunFolder(path)
    rebuild_report(folder)
    return folder.report


def _report_sweep(path: Path) -> Path:
    from runner.sweep.command import view_of
    from runner.sweep.queue_state import SweepState
    from runner.sweep.report import sweep_report
    from runner.sweep.sweep_folder import SweepFolder

    state = SweepState(SweepFolder.open(path))
    state.refresh(at_once=True)
    write_text(state.folder.report, sweep_report(view_of(state)))
    return state.folder.report
