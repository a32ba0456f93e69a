"""What the program says of a run at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runner.number_text import format_metrics
from runner.run_folder import RunFolder
from runner.run_record import shown


def result_lines(model: str, folder: RunFolder) -> list[str]:
    """Return the metrics of the test, else of the other phases, and where to look; the run folder is the last line."""
    phases = {name: outcome.get("metrics", {}) for name, outcome in folder.read_results().items()}
    trained, explained = phases.pop("train", {}), phases.pop("saliency", {})
    tested = {name: value for metrics in phases.values() for name, value in metrics.items() if value is not None}
    lines = [f"{model}  {format_metrics(tested or explained or trained)}".rstrip()]
    if folder.contact_sheet.is_file():
        lines.append(f"saliency maps: {shown(folder.contact_sheet)}")
    if folder.report.is_file():
        lines.append(f"report: {shown(folder.report)}")
    return [*lines, str(shown(folder.path))]


def add_progress(outcome: dict[str, Any]) -> None:
    """Add to the object for ``--json`` what a run that did not come to its end has done so far."""
    if outcome["folder"] is None or outcome["phases"]:
        return
    folder = RunFolder(Path(outcome["folder"]))
    outcome["phases"] = {name: each["state"] for name, each in folder.read_status().get("phases", {}).items()}
    for result in folder.read_results().values():
        outcome["metrics"] |= result.get("metrics", {})
