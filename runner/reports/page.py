"""report.html of a run: made, written, and shown in notebooks."""

from __future__ import annotations

import html
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

from runner.atomic_files import write_text
from runner.html_page import html_page
from runner.reports import details
from runner.reports.charts import NUM_COLORS
from runner.reports.commands import commands
from runner.reports.curves import curves
from runner.reports.gallery import gallery
from runner.reports.head import cards, head
from runner.reports.record import RunRecord
from runner.reports.scores import NUM_SHADES, scores, why_skipped
from runner.run_folder import RunFolder
from runner.run_seal import digests_of, finish_wandb, recorded_digests, seal_run

log = logging.getLogger(__name__)

_MARK = b'<meta name="generator" content="Lightcase">'

TEMPLATE, STYLES = "run_report.html", ("report.css", "run_report.css")
"""What jinja2 makes the page of."""

NOTEBOOK_HEIGHT = 640
"""Of the frame in a notebook, in pixels."""


def report_and_seal(folder: RunFolder, leave_out: Collection[str] = ()) -> None:
    """Write report.html and digests.json at the end of an attempt, when nobody else writes into the folder any more.

    What cannot be written is a warning: it must not hide how the run ended.

    Args:
        folder: The run.
        leave_out: Names of files that others write to, which have no digests.
    """
    finish_wandb(folder)
    try:
        _keep_foreign(folder)
        digests = digests_of(folder, leave_out)
        write_report(folder, digests)
        seal_run(folder, known=digests)
    except OSError as error:
        log.warning("the run has no %s, with which flipped bits are found: %s", folder.digests.name, error)


def remove_report(folder: RunFolder) -> None:
    """Remove the page of an earlier attempt, which is not true any more when the run goes on."""
    _keep_foreign(folder)
    folder.report.unlink(missing_ok=True)


def _keep_foreign(folder: RunFolder) -> None:
    """Give a report.html another name that is the container's own, from its ``create_report``."""
    if not folder.report.is_file():
        return
    with folder.report.open("rb") as file:
        is_ours = _MARK in file.read(1000)
    if not is_ours:
        folder.report.replace(folder.own_report)
        log.warning("the container's %s is kept as %s", folder.report.name, folder.own_report.name)


def write_report(folder: RunFolder, digests: Mapping[str, str]) -> None:
    """Write report.html; what keeps it from being made is a warning.

    Args:
        folder: The run.
        digests: The sha256 of its files by name.
    """
    try:
        write_text(folder.report, report_page(folder, digests))
    except Exception as error:  # whatever is in the folder
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        log.warning("no %s: %s", folder.report.name, reason)


def rebuild_report(folder: RunFolder) -> None:
    """Write report.html of a run that is there, and its digest where the run has digests.

    Raises:
        OSError: the disk is full, and so on.
    """
    recorded = recorded_digests(folder)
    digests = digests_of(folder) if recorded is None else recorded
    digests.pop(folder.report.name, None)
    write_text(folder.report, report_page(folder, digests))
    if recorded is not None:
        seal_run(folder, known=digests)


def report_page(folder: RunFolder, digests: Mapping[str, str]) -> str:
    """Return the page of a run. What a damaged file keeps from being shown is said on the page.

    Args:
        folder: The run.
        digests: The sha256 of its files by name.
    """
    record = RunRecord(folder)
    return _page(record, {"files": details.files(record, digests)}, is_whole=True)


def notebook_html(folder: RunFolder) -> str:
    """Return metrics, curves and gallery as a frame of its own for a notebook, whose styles it leaves alone."""
    page = html.escape(_page(RunRecord(folder), {}, is_whole=False), quote=True)
    return (
        f'<iframe srcdoc="{page}" sandbox="allow-scripts" title="The run" width="100%" height="{NOTEBOOK_HEIGHT}" '
        'style="border: 0"></iframe>'
    )


def _page(record: RunRecord, values: Mapping[str, Any], *, is_whole: bool) -> str:
    def part(name: str, make: Callable[[RunRecord], Any]) -> Any:
        return record.part(name, lambda: make(record))

    parts = {"head": head(record), "cards": part("the cards", cards) or [], "curves": part("the curves", curves)}
    parts["gallery"] = part("the saliency maps", gallery)
    if is_whole:
        parts["scores"] = part("the test", scores)
        parts["no_maps"] = why_skipped(record, "saliency")
        parts["parameters"] = details.parameters(record)
        parts["phases"] = part("times", details.phases) or []
        parts["commands"] = part("the commands", commands) or []
        parts["log"] = details.log(record)
    return html_page(
        TEMPLATE,
        styles=STYLES,
        scripts=["run_report.js"],
        num_colors=NUM_COLORS,
        num_shades=NUM_SHADES,
        is_whole=is_whole,
        **parts,
        **values,
    )
