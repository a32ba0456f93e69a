"""What is read from the folder of a sweep: results in order, trials on their way, settings for samplers."""

from pathlib import Path

import pytest

from runner.folder_lock import FolderLock
from runner.sweep.dimensions import Dimension
from runner.sweep.history import History
from runner.sweep.objective_values import epoch_values
from runner.sweep.plan import SweepPlan
from runner.sweep.queue_commands import find_sweep
from runner.sweep.space import SearchSpace
from runner.sweep.sweep_folder import Control, SweepFolder
from runner.sweep.trials import Objective, Trial


def make_plan(**values: object) -> SweepPlan:
    settings: dict[str, object] = {
        "model": "Sweeping", "container_name": "Sweeping", "containers": "/nowhere", "namespace": None, "code": "c",
        "fixed": {}, "spaces": (SearchSpace((Dimension("x", values=("1", "2", "3")),)),), "sampler": "grid", "seed": 0,
        "num_trials": None, "repeats": ({"random_seed": "0"}, {"random_seed": "1"}),
        "objectives": (Objective("score", "maximize"),), "pruner": None,
    }  # fmt: skip
    return SweepPlan(**(settings | values))  # type: ignore[arg-type]


@pytest.fixture
def history(tmp_path: Path) -> History:
    """An empty sweep of 3 settings with 2 seeds each."""
    plan = make_plan()
    folder = SweepFolder.create(tmp_path, "Sweeping", plan.to_json(), Control())
    assert SweepPlan.of(folder) == plan
    return History(folder, plan)


def end(history: History, number: int, value: float | None, state: str = "completed") -> None:
    params = history.plan.params(number)
    history.folder.begin(number, number // 2, params, [])
    values = None if value is None else (value,)
    history.folder.seal(Trial(number, number // 2, state, params, {"score": value or 0.0}, values), code="c")
    history.refresh()


def test_results_come_in_the_order_of_their_end(history: History) -> None:
    """Whatever their numbers are; a second result for a trial is not taken."""
    for number in (3, 0, 5):
        end(history, number, float(number))
    end(history, 0, 9.0)
    assert [trial.number for trial in history.results()] == [3, 0, 5]
    assert [trial.values for trial in history.results()] == [(3.0,), (0.0,), (5.0,)]
    assert history.other_code() == []


def test_settings_have_the_mean_of_their_repeats(history: History) -> None:
    """A setting counts as running until all its seeds are there; failed seeds do not spoil the mean of the others."""
    end(history, 0, 1.0)
    assert [(each.number, each.state, each.values) for each in history.settings()] == [(0, "running", None)]
    end(history, 1, 2.0)
    end(history, 2, 5.0)
    end(history, 3, None, "failed")
    end(history, 4, None, "failed")
    end(history, 5, None, "given_up")
    assert [(each.number, each.state, each.values, dict(each.params)) for each in history.settings()] == [
        (0, "completed", (1.5,), {"x": "1"}),
        (1, "completed", (5.0,), {"x": "2"}),
        (2, "failed", None, {"x": "3"}),
    ]


def test_running_and_open_trials(history: History) -> None:
    """A trial runs while its lock is held; its metrics are read as far as they are written."""
    history.folder.begin(0, 0, history.plan.params(0), [])
    history.folder.begin(1, 0, history.plan.params(1), [])
    (history.folder.point(0) / "metrics.csv").write_text("epoch,step,score\n0,1,0.5\n0,2,0.6\n1,3,0.7\n2,4,0.")
    (history.folder.point(0) / "status.json").write_text('{"epochs_finished": 2, "attempts": 1}')
    lock = FolderLock(history.folder.point(0))
    assert lock.take()
    history.refresh()
    running, waiting = history.unfinished()
    assert (running.state, waiting.state) == ("running", "open")
    assert running.epoch == 2
    assert dict(running.intermediate) == {0: 0.6, 1: 0.7}
    lock.give_back()


def test_a_damaged_result_is_a_failed_trial(history: History) -> None:
    """It says so, and the others are as good as before."""
    end(history, 0, 1.0)
    end(history, 1, 2.0)
    path = history.folder.results / "000000.completed.json"
    path.write_text(path.read_text().replace("1.0", "7.0", 1))
    fresh = History(history.folder, history.plan)
    fresh.refresh()
    damaged, whole = sorted(fresh.results(), key=lambda trial: trial.number)
    assert (damaged.state, whole.state) == ("failed", "completed")
    assert "damaged" in damaged.reason


def test_retried_trials_are_read_again(history: History) -> None:
    """After reopen the result is gone, and a new one counts."""
    end(history, 0, None, "failed")
    assert history.results()[0].state == "failed"
    assert history.folder.reopen(0, "failed")
    assert not history.folder.reopen(0, "failed")
    history.refresh()
    assert history.results() == []
    end(history, 0, 4.0)
    assert history.results()[0].values == (4.0,)


def test_names_of_sweeps(tmp_path: Path, history: History) -> None:
    """A path, the name, or a part of it that only one has."""
    other = SweepFolder.create(tmp_path, "Other", make_plan().to_json(), Control(priority=2))
    assert find_sweep(tmp_path, "Other").path == other.path
    assert find_sweep(tmp_path, other.name).path == other.path
    assert find_sweep(tmp_path, str(history.folder.path)).path == history.folder.path
    assert other.read_control().priority == 2
    assert (history.folder.sequence, other.sequence) == (1, 2)
    for name in ("nosuch", "2"):
        with pytest.raises(Exception, match="sweep"):
            find_sweep(tmp_path, name)


def test_no_metrics_file(tmp_path: Path) -> None:
    """Nothing is known."""
    assert epoch_values(tmp_path / "metrics.csv", "score") == {}


def test_damaged_parameters_are_written_anew(history: History) -> None:
    """A point whose file is damaged is as good as one that a kill left without; a whole one is never changed."""
    folder = history.folder
    folder.begin(0, 0, {"x": "1"}, [])
    folder.begin(0, 0, {"x": "2"}, [])
    point = folder.read_point(0)
    assert point is not None
    assert point["params"] == {"x": "1"}
    (folder.point(0) / "point.json").write_text("{}")
    assert folder.read_point(0) is None
    folder.begin(0, 0, {"x": "2"}, [])
    point = folder.read_point(0)
    assert point is not None
    assert point["params"] == {"x": "2"}
