"""The plan of a sweep: which trial is what, which commands mean the same sweep, and what was added."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.cli import main
from runner.errors import UsageError
from runner.sealed_files import write_sealed
from runner.sweep.dimensions import Dimension
from runner.sweep.plan import SweepPlan, differences
from runner.sweep.pruners import PrunerSpec
from runner.sweep.space import SearchSpace
from runner.sweep.sweep_folder import Control, SweepFolder
from runner.sweep.trials import Objective
from tests.test_sweep_history import make_plan

MORE = SearchSpace((Dimension("x", values=("8", "9")),))
LOSS = (Objective("val_loss", "minimize"),)


def space(**values: str) -> SearchSpace:
    return SearchSpace(tuple(Dimension(name, values=tuple(text)) for name, text in values.items()))


def test_trials_are_settings_times_repeats() -> None:
    """All seeds of a setting come one after the other; what was added comes behind the first space."""
    plan = make_plan(spaces=(space(x="12", kind="a"), MORE))
    assert (plan.num_settings, plan.total, plan.varied) == (4, 8, ["x", "kind", "random_seed"])
    trials = [plan.params(number) for number in range(plan.total)]
    assert [each["x"] for each in trials] == ["1", "1", "2", "2", "8", "8", "9", "9"]
    assert [each["random_seed"] for each in trials] == ["0", "1"] * 4
    assert trials[0] == {"x": "1", "kind": "a", "random_seed": "0"}
    with pytest.raises(IndexError):
        plan.params(8)


def test_samplers_have_as_many_settings_as_were_asked_for() -> None:
    """The same numbers give the same values, again for each seed; only those that look at results learn."""
    rates = SearchSpace((Dimension("rate", low=0.0, high=1.0),))
    plan = make_plan(sampler="random", spaces=(rates,), num_trials=5)
    assert (plan.num_settings, plan.total, plan.is_adaptive, plan.learns) == (5, 10, False, False)
    trials = [plan.params(number) for number in range(10)]
    assert all(trials[number]["rate"] == trials[number + 1]["rate"] for number in range(0, 10, 2))
    assert len({each["rate"] for each in trials}) == 5
    assert [each["random_seed"] for each in trials[:2]] == ["0", "1"]
    learning = replace(plan, sampler="tpe")
    assert learning.is_adaptive is True
    assert learning.learns


def test_a_trial_is_a_run_with_the_values_of_both() -> None:
    """Those that vary win over those that are fixed."""
    plan = make_plan(fixed={"num_epochs": "3", "x": "7"}, namespace="a.b", containers="/there")
    run = plan.run_plan({"x": "1"}, ["--model=Sweeping"])
    assert {each.name: each.value for each in run.overrides} == {"num_epochs": "3", "x": "1"}
    assert [each.flag for each in run.overrides] == ["num_epochs", "x"]
    assert (run.model, run.containers, run.namespace) == ("Sweeping", Path("/there"), "a.b")
    assert run.command_line == ["--model=Sweeping"]


def test_a_plan_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through its record, with all that was added; only the version that wrote it is no part of it."""
    plan = make_plan(pruner=PrunerSpec("median"), fixed={"a": "1"}, namespace="n")
    assert SweepPlan.from_json(plan.to_json()) == plan
    folder = SweepFolder.create(tmp_path, "Sweeping", plan.to_json(), Control())
    longer = replace(plan, spaces=(*plan.spaces, MORE), num_trials=9, objectives=LOSS)
    folder.add_plan(longer.addition([MORE]), 2)
    assert SweepPlan.each_of(folder) == [plan, longer]
    assert SweepPlan.of(folder) == longer
    longest = replace(longer, num_trials=12)
    folder.add_plan(longest.addition(), 3)
    assert SweepPlan.of(folder) == longest
    identity = plan.identity()
    monkeypatch.setattr("runner.sweep.plan.__version__", "99.1")
    assert plan.to_json()["version"] == "99.1"
    assert plan.identity() == identity


@pytest.mark.parametrize(
    "values",
    [
        {"model": "outputs/stranger/evil.py:Evil"}, {"model": "{folder}/evil.py:Evil"}, {"model": "evil.Evil"},
        {"model": "/tmp/../proc/self/cwd/evil.py:Evil"}, {"model": "Evil", "containers": "{folder}/containers"},
        {"model": "Evil", "namespace": "outputs.stranger"},
    ],
)  # fmt: skip
def test_a_sweep_folder_brings_no_code(
    values: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A plan that names a container in the sweep's own folder is left alone, and the reason is said."""
    monkeypatch.chdir(tmp_path)
    folder = SweepFolder.create(tmp_path / "outputs", "Evil", make_plan().to_json(), Control())
    plan = make_plan(**{name: text.format(folder=folder.path) for name, text in values.items()})
    (folder.path / "plan.json").unlink()
    write_sealed(folder.path / "plan.json", plan.to_json() | {"sequence": 1})
    (folder.path / "evil.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w')\n")
    assert main([f"--resume={folder.path}"]) == 1
    assert "which no sweep has written there; its code is not run" in capfd.readouterr().err
    assert not (tmp_path / "marker").exists()
    assert not list(folder.path.rglob("console.log"))


def test_plans_of_another_form_are_refused() -> None:
    """With the version that made them; the form of this one is 1."""
    body = make_plan().to_json()
    assert body["schema"] == 1
    with pytest.raises(UsageError, match=r"made by Lightcase 99\.1, whose plans"):
        SweepPlan.from_json(body | {"schema": 2, "version": "99.1"})


OTHER: dict[str, Any] = {
    "model": "Other", "container_name": "Other", "containers": "/other", "namespace": "n", "code": "d",
    "fixed": {"a": "1"}, "spaces": (MORE,), "sampler": "random", "seed": 1, "num_trials": 4, "repeats": ({},),
    "objectives": LOSS, "pruner": PrunerSpec("median"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER)
def test_what_makes_another_sweep(name: str) -> None:
    """Each field; what was added may differ, and by what is ranked, where nothing else depends on it."""
    one = make_plan()
    other = replace(one, **{name: OTHER[name]})
    assert other.identity() != one.identity()
    is_other = name not in {"spaces", "num_trials", "objectives"}
    assert bool(differences(one, other)) is is_other
    assert bool(differences(other, one)) is is_other


def test_differences_are_told() -> None:
    """Values by their names, the code without its digest."""
    one = make_plan(fixed={"a": "1", "b": "2", "c": "3"})
    other = replace(one, fixed={"a": "1", "b": "4", "d": "5"}, seed=7, code="d")
    assert differences(one, one) == []
    assert differences(one, other) == [
        "the code of the container has changed",
        "b was 2, now 4",
        "c was 3, now not set",
        "d was not set, now 5",
        "seed was 0, now 7",
    ]


@pytest.mark.parametrize("learning", [{"sampler": "tpe"}, {"pruner": PrunerSpec("median")}])
def test_the_objective_counts_where_results_decide(learning: dict[str, Any]) -> None:
    """What is sampled or pruned by one metric is another sweep by another."""
    one = make_plan(num_trials=3, **learning)
    assert differences(one, replace(one, objectives=LOSS))[0].startswith("objectives was ")
