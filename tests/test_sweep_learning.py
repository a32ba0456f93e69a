"""Samplers and pruners at work in whole sweeps: they are told the results, and do what they do alone."""

import json
from itertools import combinations
from pathlib import Path

import pytest

from runner.sweep.history import History
from runner.sweep.plan import SweepPlan
from runner.sweep.pruners import should_prune
from runner.sweep.trials import Trial
from tests.sweep_samples import attempts, only_sweep, run, sweeping

SPACE = ("--sweep", "x=uniform(0,1)", "--sweep", "width=int(1,64,log)", "--num_epochs=1", "--workers=1")


def history_of(folder: Path) -> History:
    sweep = only_sweep(folder)
    history = History(sweep, SweepPlan.of(sweep))
    history.refresh()
    return history


@pytest.mark.parametrize(("name", "total"), [("gp", 11), ("cmaes", 8)])
def test_each_point_follows_from_the_results_before(tmp_path: Path, name: str, total: int) -> None:
    """It is the one that the sampler itself chooses when it is asked with them, and another one than without."""
    run(tmp_path, sweeping(*SPACE, f"--sweep_sampler={name}", f"--sweep_num_trials={total}", "--sweep_metric=score"))
    history = history_of(tmp_path)
    plan, settings = history.plan, history.settings()
    points = [each.params for each in settings]
    assert [each.number for each in settings] == list(range(total))
    assert points == [plan.params(number, settings[:number]) for number in range(total)]
    assert points[-1] != plan.params(total - 1, [])


def test_several_objectives(tmp_path: Path) -> None:
    """The best are those that no other is better than in both; each has the mean of its seeds."""
    (tmp_path / "two.yaml").write_text(
        "parameters: {x: [0.0, 0.3, 0.6], l_rate: [0.001, 0.1]}\nmetric: [score, test_loss]\n"
        "direction: [minimize, minimize]\nrepeats: 2\noverrides: {num_epochs: 1}\n"
    )
    output = run(tmp_path, sweeping("--sweep=two.yaml"))
    assert "Pareto front of score (less is better), test_loss (less is better)" in output
    history = history_of(tmp_path)
    means = {each.number: each.values for each in history.settings() if each.values is not None}
    assert sorted(means) == list(range(6))
    worse = set()
    for pair in combinations(means, 2):
        for one, other in (pair, pair[::-1]):
            (a, b), (c, d) = means[one], means[other]
            if a <= c and b <= d and (a, b) != (c, d):
                worse.add(other)
    assert 0 < len(worse) < 6
    summary = json.loads(history.folder.summary.read_text())
    assert {number // 2 for number in summary["best_trials"]} == means.keys() - worse


@pytest.mark.parametrize("name", ["asha", "hyperband"])
def test_trials_end_where_the_pruner_says(tmp_path: Path, name: str) -> None:
    """After the epoch at which it says so when it is asked with the results before, and no other."""
    run(tmp_path, sweeping("--sweep", "x=0.3..0.8:0.1", f"--sweep_pruner={name}", "--sweep_metric=score",
                           "--sweep_direction=minimize", "--num_epochs=8", "--workers=1"))  # fmt: skip
    history = history_of(tmp_path)
    trials = history.results()
    assert [trial.number for trial in trials] == list(range(6))
    assert [(trial.state, trial.epoch) for trial in trials] == [
        expected(history.plan, trial, trials[: trial.number]) for trial in trials
    ]
    assert sum(trial.epoch for trial in trials) < 8 * 6
    assert all(attempts(history.folder, trial.number) == 1 for trial in trials)
    if name == "asha":  # each is worse than those before, and compared after the first epoch
        assert [trial.epoch for trial in trials] == [8, 1, 1, 1, 1, 1]


def expected(plan: SweepPlan, trial: Trial, others: list[Trial]) -> tuple[str, int]:
    """Return state and epochs of a trial of 8 epochs by the pruner's own decisions; its score is always the same."""
    assert plan.pruner is not None
    score = (float(trial.params["x"]) - 0.3) ** 2
    for epochs in range(1, 8):
        own = dict.fromkeys(range(epochs), score)
        if should_prune(plan.pruner, "minimize", trial.number, own, others, plan.seed):
            return "pruned", epochs
    return "completed", 8
