"""Which trial comes next, in the eyes of a supervisor: records that are damaged, full disks, sweeps that grow."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from runner.atomic_files import write_json
from runner.sweep.dimensions import Dimension
from runner.sweep.plan import SweepPlan
from runner.sweep.queue_state import EQUAL_FAILURES, Queue, SweepState
from runner.sweep.space import SearchSpace
from runner.sweep.sweep_folder import Control, SweepFolder, sweeps_in
from runner.sweep.trials import Trial
from tests.test_sweep_history import make_plan


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    """A sweep of six trials."""
    return SweepFolder.create(tmp_path, "Sweeping", make_plan().to_json(), Control())


def end(folder: SweepFolder, number: int, state: str = "completed", reason: str = "") -> None:
    params = SweepPlan.of(folder).params(number)
    folder.begin(number, number // 2, params, [])
    folder.seal(Trial(number, number // 2, state, params, reason=reason), code="c")


def _run_out_of_space() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_trial_has_one_result(folder: SweepFolder) -> None:
    """Who comes second is told what the first one wrote."""
    end(folder, 0)
    assert folder.seal(Trial(0, 0, "cancelled", {})) == "completed"
    assert [path.name for path in folder.results.iterdir()] == ["000000.completed.json"]


def test_extensions_are_noticed(folder: SweepFolder) -> None:
    """A supervisor that runs sees the new points at its next look."""
    state = SweepState(folder)
    for number in range(6):
        end(folder, number)
    state.refresh(at_once=True)
    assert not state.has_more()
    added = SearchSpace((Dimension("x", values=("4",)),))
    folder.add_plan(state.plan.addition([added]), 2)
    state.refresh(at_once=True)
    assert state.has_more()
    assert state.next() == 6
    assert folder.read_point(6) is not None


def test_a_damaged_control_file_pauses(folder: SweepFolder) -> None:
    """Nobody knows whether the sweep was cancelled, so nothing is started until somebody says so."""
    folder.change_control(cancelled=True)
    folder.control.write_text("{")
    assert not SweepState(folder).has_more()
    assert "control.json is damaged" in folder.read_control().paused
    assert folder.change_control(paused="").is_open


def test_a_damaged_sweep_is_left_alone(tmp_path: Path, folder: SweepFolder) -> None:
    """The others are served, also when it is damaged or removed while it is served."""
    other = SweepFolder.create(tmp_path, "Other", make_plan().to_json(), Control())
    queue = Queue(lambda: sweeps_in(tmp_path))
    assert len(queue.states()) == 2
    shutil.rmtree(folder.points)
    found = queue.next()
    assert found is not None
    assert found[0].folder.path == other.path
    assert list(queue.unreadable) == [str(folder.path)]


def test_a_full_disk_holds_only_its_sweep(tmp_path: Path, folder: SweepFolder) -> None:
    """What cannot be written is no reason to end; no more trials are started there."""
    other = SweepFolder.create(tmp_path, "Other", make_plan().to_json(), Control())
    queue = Queue(lambda: sweeps_in(tmp_path))
    state = next(each for each in queue.states() if each.folder.path == folder.path)
    with queue.serving(state):
        _run_out_of_space()
    state.refresh(at_once=True)
    assert not state.has_more()
    assert "No space left" in state.control.paused
    assert not queue.unreadable
    found = queue.next()
    assert found is not None
    assert found[0].folder.path == other.path


def test_deaths_before_the_first_attempt_pause(folder: SweepFolder) -> None:
    """A worker that cannot even begin pauses the sweep; one that gets further each time does not."""
    state = SweepState(folder)
    assert state.next() == 0
    for attempt in range(4 * EQUAL_FAILURES):
        state.took(0)
        write_json(folder.attempts(0), {"attempts": attempt})
        assert state.ended(0, has_died=True) is None
    assert state.reason_to_pause() == ""
    for _ in range(2 * EQUAL_FAILURES):
        state.ended(0, has_died=True)
        state.ended(0, has_died=False)
    assert "trial 0 cannot even be started" in state.reason_to_pause()
    state.pause("cannot be started")
    folder.change_control(paused="")
    state.refresh(at_once=True)
    assert state.reason_to_pause() == ""


def test_failures_are_forgotten_when_the_sweep_is_opened(folder: SweepFolder) -> None:
    """After somebody has mended what was wrong, the next failure is the first."""
    state = SweepState(folder)
    for number in range(EQUAL_FAILURES):
        end(folder, number, "failed", "the same")
        state.ended(number, has_died=False)
    assert "the same" in state.reason_to_pause()
    state.pause(state.reason_to_pause())
    folder.change_control(paused="")
    state.refresh(at_once=True)
    assert (state.reason_to_pause(), state.failures) == ("", 0)
