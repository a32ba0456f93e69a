"""The last words of a run."""

from pathlib import Path
from typing import Any

from runner.outcome import add_progress, result_lines
from runner.run_folder import RunFolder


def made(path: Path, **phases: dict[str, float | None]) -> RunFolder:
    path.mkdir()
    folder = RunFolder(path)
    for name, metrics in phases.items():
        folder.add_results(name, {"metrics": metrics})
    return folder


def test_the_metrics_of_the_test_are_what_counts(tmp_path: Path) -> None:
    """What could not be measured is left out; the run folder comes last."""
    folder = made(
        tmp_path / "run", train={"loss": 1.0}, test={"test_acc": 0.5, "odd": None}, saliency={"num_images": 3.0}
    )
    assert result_lines("Mine", folder) == ["Mine  test_acc 0.5", str(folder.path)]


def test_without_a_test_it_is_what_there_is(tmp_path: Path) -> None:
    """The maps, else the training, else nothing."""
    both = made(tmp_path / "both", train={"loss": 1.0}, saliency={"num_images": 3.0})
    assert result_lines("Mine", both)[0] == "Mine  num_images 3"
    assert result_lines("Mine", made(tmp_path / "one", train={"loss": 1.0}))[0] == "Mine  loss 1"
    assert result_lines("Mine", made(tmp_path / "none"))[0] == "Mine"


def test_files_to_look_at_are_named(tmp_path: Path) -> None:
    """Where they are there."""
    folder = made(tmp_path / "run")
    folder.saliency.mkdir()
    folder.contact_sheet.touch()
    folder.report.touch()
    named = [f"saliency maps: {folder.contact_sheet}", f"report: {folder.report}", str(folder.path)]
    assert result_lines("Mine", folder)[1:] == named


def test_progress_of_a_run_that_failed(tmp_path: Path) -> None:
    """Phases and metrics are read from the folder, unless the run came to its end."""
    folder = made(tmp_path / "run", train={"loss": 1.0})
    folder.status.write_text('{"phases": {"train": {"state": "completed"}}}')
    outcome: dict[str, Any] = {"folder": folder.path, "phases": {}, "metrics": {}}
    add_progress(outcome)
    assert (outcome["phases"], outcome["metrics"]) == ({"train": "completed"}, {"loss": 1.0})
    ended: dict[str, Any] = {"folder": folder.path, "phases": {"test": "completed"}, "metrics": {}}
    add_progress(ended)
    assert (ended["phases"], ended["metrics"]) == ({"test": "completed"}, {})
    nothing: dict[str, Any] = {"folder": None, "phases": {}, "metrics": {}}
    add_progress(nothing)
    assert nothing == {"folder": None, "phases": {}, "metrics": {}}
