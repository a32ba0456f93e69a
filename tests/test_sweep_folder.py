"""The folder of a sweep: its records, who may change them, and what is left of those that were killed."""

import json
import re
from pathlib import Path

import pytest

from runner.errors import RunFailedError, UsageError
from runner.folder_lock import FolderLock
from runner.sweep.sweep_folder import Control, SweepFolder, sweeps_in
from runner.sweep.trials import Trial
from tests.test_atomic_files import watch_the_disk


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return SweepFolder.create(tmp_path / "deep" / "outputs", "Mine", {"a": 1}, Control(priority=3))


def test_sweeps_are_numbered_as_they_come(folder: SweepFolder) -> None:
    """Those of one second have names of their own; nothing half made is seen as a sweep."""
    outputs = folder.path.parents[1]
    second = SweepFolder.create(outputs, "Mine", {"a": 2}, Control())
    (outputs / "sweeps" / ".half.1.tmp").mkdir()
    (outputs / "sweeps" / ".half.1.tmp" / "plan.json").touch()
    (outputs / "sweeps" / "other").mkdir()
    assert [folder.sequence, second.sequence] == [1, 2]
    assert {each.name for each in sweeps_in(outputs)} == {folder.name, second.name}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d{6}Z_Mine", folder.name)
    assert second.name == f"{folder.name}-2" or second.name > folder.name
    assert sorted(each.name for each in folder.path.iterdir()) == ["control.json", "plan.json", "points", "results"]
    assert folder.read_plans() == [{"a": 1, "sequence": 1}]
    assert sweeps_in(outputs / "nowhere") == []


def test_only_a_sweep_can_be_opened(folder: SweepFolder) -> None:
    """A link to one is one; other folders are not."""
    link = folder.path.parent / "link"
    link.symlink_to(folder.path)
    assert SweepFolder.open(link).path == folder.path
    with pytest.raises(UsageError, match="is no sweep folder"):
        SweepFolder.open(folder.path.parent)
    (folder.path / "plan.json").write_text("{}")
    assert SweepFolder.open(folder.path).sequence == 0


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """Is said in one line."""
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"Cannot write a sweep folder below .*/file/sweeps: Not a directory\."):
        SweepFolder.create(tmp_path / "file", "Mine", {}, Control())


def test_the_files_are_called_as_they_always_were(folder: SweepFolder) -> None:
    """The names by which old sweeps and scripts know them; a trial's own are no part of its run."""
    names = [folder.control, folder.points, folder.results, folder.table, folder.summary, folder.report]
    assert [each.name for each in names] == [
        "control.json",
        "points",
        "results",
        "sweep.csv",
        "sweep.json",
        "report.html",
    ]
    assert {each.parent for each in names} == {folder.path}
    assert folder.point(12) == folder.path / "points" / "000012"
    assert folder.attempts(12) == folder.point(12) / "attempts.json"
    assert folder.console(12) == folder.point(12) / "console.log"
    folder.ask_to_stop(12)
    assert [each.name for each in folder.point(12).iterdir()] == ["stop.json"]
    assert set(folder.files_of_trial) == {"attempts.json", "console.log", "stop.json"}


def test_what_a_kill_left_is_removed(folder: SweepFolder) -> None:
    """Records that are half written, and nothing in the trials, which others may be writing."""
    folder.point(0).mkdir()
    for path in (folder.path, folder.results, folder.point(0)):
        (path / ".a.json.1.tmp").touch()
    folder.clean()
    assert [each.parent for each in folder.path.rglob(".*.tmp")] == [folder.point(0)]


def test_extensions_have_numbers(folder: SweepFolder) -> None:
    """Of two at once one is refused, and changes nothing."""
    assert not folder.has_plan(2)
    folder.add_plan({"b": 1}, 2)
    with pytest.raises(RunFailedError, match="was extended by someone else"):
        folder.add_plan({"b": 2}, 2)
    assert folder.has_plan(2)
    assert folder.read_plans()[1:] == [{"b": 1}]


def test_wishes_of_the_user(folder: SweepFolder) -> None:
    """Changes keep the rest; what is no wish of this form pauses."""
    assert folder.read_control() == Control(priority=3)
    assert folder.change_control(paused="by you") == folder.read_control() == Control(3, "by you")
    assert not folder.read_control().is_open
    assert not Control(cancelled=True).is_open
    assert Control().is_open
    for text in ("[]", "{}", '{"priority": "high", "paused": "", "cancelled": false}', "\udcff"):
        folder.control.write_text(text, errors="surrogateescape")
        assert folder.read_control() == Control(paused="control.json is damaged")


def test_parameters_of_a_trial_are_for_good(folder: SweepFolder) -> None:
    """Who begins it again changes nothing, unless they are damaged."""
    assert folder.started() == set()
    assert folder.read_point(7) is None
    folder.begin(7, 3, {"x": "1"}, (1, 2))
    folder.begin(7, 3, {"x": "2"}, ())
    wanted = {"number": 7, "setting": 3, "params": {"x": "1"}, "known": [1, 2]}
    assert folder.read_point(7) == wanted
    (folder.point(7) / "point.json").write_text("{}")
    assert folder.read_point(7) is None
    folder.begin(7, 3, {"x": "2"}, ())
    assert folder.read_point(7) == wanted | {"params": {"x": "2"}, "known": []}
    (folder.points / "notes").mkdir()
    assert folder.started() == {7}
    assert not folder.is_running(7)
    with FolderLock(folder.point(7)).held():
        assert folder.is_running(7)


def test_results_are_sealed_once(folder: SweepFolder) -> None:
    """They are numbered in the order of their end; a folder holds other names, and even two states of one trial."""
    assert folder.seal(Trial(4, 2, "failed", {}), "c") == "failed"
    assert folder.seal(Trial(1, 0, "completed", {})) == "completed"
    assert folder.seal(Trial(4, 2, "completed", {})) == "failed"
    for name in ("000009.running.json", "12.failed.json", "000009.failed.json.old", "000004.cancelled.json"):
        (folder.results / name).touch()
    assert folder.sealed() == {4: "failed", 1: "completed"}
    found = [folder.read_result(number, state) for number, state in folder.sealed().items()]
    assert sorted((each["number"], each["order"], each["code"]) for each in found) == [(1, 1, ""), (4, 0, "c")]


def test_records_reach_the_disk(folder: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders are fsynced after a sweep has got its name, and after a result was taken away."""
    folder.seal(Trial(4, 2, "failed", {}))
    steps = watch_the_disk(monkeypatch)
    folder.reopen(4, "failed")
    assert steps == ["folder results"]
    SweepFolder.create(folder.path.parents[1], "Mine", {}, Control())
    assert steps[-1] == "folder sweeps"


def test_a_retry_takes_the_result_away(folder: SweepFolder) -> None:
    """With the count of attempts and the wish to stop; not if the trial has another state meanwhile."""
    folder.begin(4, 2, {}, [])
    folder.seal(Trial(4, 2, "failed", {}))
    folder.ask_to_stop(4, "too slow")
    folder.attempts(4).write_text("{}")
    assert folder.reopen(4, "cancelled") is False
    assert folder.sealed() == {4: "failed"}
    assert folder.reopen(4, "failed") is True
    assert folder.sealed() == {}
    assert folder.stop_asked(4) is None
    assert [each.name for each in folder.point(4).iterdir()] == ["point.json"]
    assert folder.reopen(4, "failed") is False


def test_why_a_trial_is_to_stop(folder: SweepFolder) -> None:
    """An empty reason: it was cancelled, which also holds where the wish cannot be read."""
    assert folder.stop_asked(0) is None
    folder.ask_to_stop(0, "it hangs")
    assert folder.stop_asked(0) == "it hangs"
    folder.ask_to_stop(0)
    assert folder.stop_asked(0) == ""
    (folder.point(0) / "stop.json").write_text("{")
    assert folder.stop_asked(0) == ""
    assert json.loads(folder.control.read_text())["priority"] == 3
