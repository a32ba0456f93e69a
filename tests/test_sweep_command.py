"""What the command line asks for: mistakes end in one line before anything is made; the same command means the same."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.cli import main
from runner.sweep.plan import SweepPlan
from runner.sweep.sweep_folder import SweepFolder, sweeps_in
from runner.sweep.trials import Trial
from tests.sweep_samples import CONTAINERS

GRID = ("--sweep", "x=0.1,0.2", "--sweep", "kind=a,b")
Sweep = Callable[..., int]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """A function that runs the program on the guinea pig, in a new folder, and returns the exit code."""
    monkeypatch.chdir(tmp_path)

    def call(*argv: str, model: str = "Sweeping") -> int:
        return main([f"--model={model}", f"--containers={CONTAINERS}", *argv])

    return call


def sweeps() -> list[SweepFolder]:
    return sorted(sweeps_in(Path("outputs").absolute()), key=lambda each: each.sequence)


def seal(folder: SweepFolder, numbers: range, state: str = "completed") -> None:
    """Write results as if the trials had been run."""
    plan = SweepPlan.of(folder)
    for number in numbers:
        params = plan.params(number)
        folder.begin(number, number, params, [])
        folder.seal(Trial(number, number, state, params, {"score": 1.0}, reason="so" if state == "failed" else ""))


MISTAKES = {
    "an unknown parameter": (("--sweep", "xx=1,2"), "has no parameter 'xx'"),
    "a value out of bounds": (("--sweep", "width=0..3"), "must be at least 1"),
    "a value that does not exist": (("--sweep", "kind=a,d"), "not one of a, b, c"),
    "the same value twice": (("--sweep", "x=0.1,1e-1"), "mean the same value"),
    "the same parameter twice": (("--sweep", "x=1,2", "--sweep", "x=3"), "given twice"),
    "fixed and varied": (("--sweep", "x=1,2", "--x=3"), "--sweep varies it"),
    "no values": (("--sweep", "x="), "values are needed"),
    "low above high": (("--sweep", "x=uniform(2,1)", "--sweep_num_trials=3"), "x"),
    "no number of trials": (("--sweep", "x=uniform(0,1)"), "--sweep_num_trials"),
    "more trials than points": (
        ("--sweep", "kind=a,b,c", "--sweep_sampler=random", "--sweep_num_trials=4"),
        "there are only 3 points",
    ),
    "a quote in quotes": (("--sweep", 'kind=a,"q\\"q"'), "quotes"),
    "a sampler that is not there": ((*GRID, "--sweep_sampler=tpee"), "Did you mean tpe?"),
    "a pruner without a metric": ((*GRID, "--sweep_pruner=median"), "--sweep_metric"),
    "no such pruner": ((*GRID, "--sweep_pruner=medain", "--sweep_metric=score"), "Did you mean median?"),
    "no file": (("--sweep=nosuch",), "there is no configuration file 'nosuch'"),
    "no workers": ((*GRID, "--workers=0"), "--workers=0: use an int >= 1"),
    "no time": ((*GRID, "--trial_timeout=soon"), "--trial_timeout"),
    "one seed": ((*GRID, "--different_seeds=1"), "--different_seeds=1: use an int >= 2"),
    "seeds twice": (("--sweep", "random_seed=0,1", "--different_seeds=2"), "random_seed varies already"),
    "an option for sweeps": (("--workers=2",), "--workers is for sweeps: add --sweep"),
    "a fixed value": ((*GRID, "--num_epochs=0"), "num_epochs"),
    "values that contradict each other": (
        ("--sweep", "number_of_cross_validation_splits=0,2", "--sweep", "cross_validation_split_index=0,1"),
        "point",
    ),
    "nothing to extend": ((*GRID, "--extend"), "there is no sweep of Sweeping to add to"),
    "no sweep to resume": ((*GRID, "--resume=nosuch"), "nosuch"),
}


@pytest.mark.parametrize(("argv", "words"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_end_in_one_line(
    sweep: Sweep, argv: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one line that says what is wrong, and nothing was made."""
    assert sweep(*argv) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert not Path("outputs").exists()


def test_a_container_without_a_space(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    """``--sweep`` alone needs one."""
    assert sweep("--sweep", model="WithoutSpace") == 2
    assert "get_parameter_search_space()" in capsys.readouterr().err


def test_a_dry_run_makes_nothing(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints the first points."""
    assert sweep("--sweep", "random_seed=0..999999", "--sweep", "x=0.1,0.2", "--dry_run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2000000 trials of Sweeping: 2000000 settings"
    assert lines[1].split() == ["0", "random_seed=0", "x=0.1"]
    assert lines[-1].split() == ["...", "1999980", "more"]
    assert not Path("outputs").exists()


def test_the_space_of_the_container(sweep: Sweep) -> None:
    """``--sweep`` alone takes it; an axis of the command line replaces its own."""
    assert sweep("--sweep", "--enqueue") == 0
    assert sweep("--sweep", "--sweep", "x=1,2,3", "--enqueue") == 0
    first, second = (SweepPlan.of(each) for each in sweeps())
    assert [first.params(number) for number in range(first.total)] == [
        {"x": x, "kind": kind} for x in ("0.1", "0.2") for kind in ("a", "b")
    ]
    assert second.total == 6


def test_the_same_command_joins(sweep: Sweep) -> None:
    """Only the newest sweep with the same values is joined; another value or --new makes another."""
    for argv in (GRID, GRID, (*GRID, "--num_epochs=3"), (*GRID, "--sweep_seed=1", "--sweep_metric=score")):
        assert sweep(*argv, "--enqueue") == 0
    assert len(sweeps()) == 3
    assert sweep(*GRID, "--enqueue", "--new") == 0
    assert len(sweeps()) == 4
    assert [each.sequence for each in sweeps()] == [1, 2, 3, 4]


def test_other_code_makes_another_sweep(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    """A container that was changed does not join what its old code ran, unless it is told to."""
    shutil.copytree(CONTAINERS, "containers")
    argv = ("--model=Sweeping", *GRID, "--enqueue")
    assert main([*argv]) == main([*argv]) == 0
    [folder] = sweeps()
    with Path("containers/sweeping_parts.py").open("a") as file:
        file.write("# changed\n")
    assert main([*argv, f"--resume={folder.path}"]) == 2
    assert "the code of the container has changed" in capsys.readouterr().err
    assert main([f"--resume={folder.path}", "--enqueue"]) == 0
    assert len(sweeps()) == 1
    assert main([*argv]) == 0
    assert len(sweeps()) == 2


def test_configuration_files_are_frozen(sweep: Sweep) -> None:
    """What a file says later changes nothing in a sweep that was made."""
    Path("base.yaml").write_text("num_epochs: 7\nkind: c\n")
    assert sweep("--config=base.yaml", "--sweep", "x=1,2", "--enqueue") == 0
    Path("base.yaml").write_text("num_epochs: 9\n")
    assert dict(SweepPlan.of(sweeps()[0]).fixed) == {"num_epochs": "7", "kind": "c"}
    assert sweep("--config=base.yaml", "--sweep", "x=1,2", "--enqueue") == 0
    assert len(sweeps()) == 2


def test_more_values_need_extend(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    """Old points keep their numbers; what was added comes after them; the longer command then joins."""
    assert sweep(*GRID, "--enqueue") == 0
    [folder] = sweeps()
    before = [SweepPlan.of(folder).params(number) for number in range(4)]
    more = ("--sweep", "x=0.1,0.15,0.2", "--sweep", "kind=a,b,c")
    assert sweep(*more, f"--resume={folder.path}", "--enqueue") == 2
    assert "--extend" in capsys.readouterr().err
    assert sweep(*more, f"--resume={folder.path}", "--extend", "--enqueue") == 0
    plan = SweepPlan.of(folder)
    points = [plan.params(number) for number in range(plan.total)]
    assert points[:4] == before
    assert len({json.dumps(point, sort_keys=True) for point in points}) == len(points) == 9
    assert sweep(*more, "--enqueue") == 0
    assert main([f"--resume={folder.path}", "--enqueue"]) == 0
    assert len(sweeps()) == 1
    fewer = ("--sweep", "x=0.1", "--sweep", "kind=a,b,c")
    assert sweep(*fewer, f"--resume={folder.path}", "--extend", "--enqueue") == 2
    assert "Values can only be added" in capsys.readouterr().err
    assert sweep(*more, f"--resume={folder.path}", "--num_epochs=9", "--enqueue") == 2
    assert "num_epochs was not set, now 9" in capsys.readouterr().err


def test_more_trials_of_a_sampler(sweep: Sweep) -> None:
    """A random sweep keeps its points when it gets more."""
    argv = ("--sweep", "x=uniform(0,1)", "--enqueue")
    assert sweep(*argv, "--sweep_num_trials=3") == 0
    [folder] = sweeps()
    before = [SweepPlan.of(folder).params(number) for number in range(3)]
    assert sweep(*argv, "--sweep_num_trials=5", "--extend") == 0
    plan = SweepPlan.of(folder)
    assert len(sweeps()) == 1
    assert plan.total == 5
    assert [plan.params(number) for number in range(3)] == before


def test_a_finished_sweep_only_prints(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is started when all is done; the exit code tells failures."""
    assert sweep(*GRID, "--enqueue") == 0
    [folder] = sweeps()
    seal(folder, range(4))
    assert sweep(*GRID) == 0
    assert "4 trials: 4 completed" in capsys.readouterr().out
    seal(folder, range(4))
    folder.reopen(2, "completed")
    seal(folder, range(2, 3), "failed")
    assert sweep(*GRID) == 1
    assert "--retry_failed" in capsys.readouterr().err


def test_damaged_records_are_told(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    """A flipped byte in a plan is found; other sweeps can still be made and listed."""
    assert sweep(*GRID, "--enqueue") == 0
    [folder] = sweeps()
    path = folder.path / "plan.json"
    path.write_text(path.read_text().replace('"0.1"', '"0.3"'))
    assert sweep(f"--resume={folder.path}") == 1
    assert "plan.json is damaged" in capsys.readouterr().err
    assert sweep(*GRID, "--enqueue") == 0
    capsys.readouterr()
    assert main(["queue"]) == 0
    assert "damaged" in capsys.readouterr().out


def test_another_metric_ranks_anew(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is run again for it, also where the first metric was misspelt; a pruner would need it from the start."""
    assert sweep(*GRID, "--enqueue", "--sweep_metric=scroe") == 0
    [folder] = sweeps()
    plan = SweepPlan.of(folder)
    for number in range(4):
        folder.begin(number, number, plan.params(number), [])
        metrics = {"score": float(number), "loss": -float(number)}
        folder.seal(Trial(number, number, "failed", plan.params(number), metrics, reason="not measured"))
    assert sweep(*GRID, "--sweep_metric=scroe") == 1
    assert "failed trials: 4" in capsys.readouterr().err
    assert sweep(*GRID, "--sweep_metric=scores") == 2
    said = capsys.readouterr().err
    assert "has measured scores. Did you mean score? There are: loss, score." in said
    assert SweepPlan.of(folder).objectives[0].metric == "scroe"
    assert sweep(*GRID, "--sweep_metric=score") == 0
    captured = capsys.readouterr().out
    assert "ranked by score from now on" in captured
    assert "4 trials: 4 completed" in captured
    assert main(["queue"]) == 0
    assert re.search(r" 4/4 +0 +0 +0 ", capsys.readouterr().out)
    assert sweep(f"--resume={folder.path}", "--sweep_metric=loss") == 0
    assert "going on with" in (said := capsys.readouterr().out)
    assert "4 completed of 4 trials" in said
    assert [each.path for each in sweeps()] == [folder.path]
    best = json.loads(folder.summary.read_text())["best_trials"]
    assert best == [3]
    assert sweep(*GRID, "--sweep_metric=score", "--sweep_pruner=median", "--enqueue") == 0
    assert len(sweeps()) == 2


def test_a_dry_run_of_an_extension(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    """Shows which points would be new, or refuses what would be refused, and changes nothing."""
    assert sweep(*GRID, "--enqueue") == 0
    [folder] = sweeps()
    more = ("--sweep", "x=0.1,0.2,0.3", "--sweep", "kind=a,b", "--extend", "--dry_run")
    capsys.readouterr()
    assert sweep(*more) == 0
    title, *points = capsys.readouterr().out.splitlines()
    assert title == f"{folder.name} has 4 trials and would get 2 more"
    assert points == ["     4  x=0.3 kind=a", "     5  x=0.3 kind=b"]
    assert sweep(*more, "--num_epochs=9") == 2
    assert "num_epochs was not set, now 9" in capsys.readouterr().err
    assert sweep(*GRID, "--extend", "--dry_run") == 0
    assert "would get no more" in capsys.readouterr().out
    assert SweepPlan.of(folder).total == 4
    assert len(sweeps()) == 1


def test_the_command_before_an_extension_still_joins(sweep: Sweep) -> None:
    """It meant this sweep when it was made."""
    more = ("--sweep", "x=0.1,0.2,0.3", "--sweep", "kind=a,b", "--enqueue")
    assert sweep(*GRID, "--enqueue") == 0
    assert sweep(*more, "--extend") == 0
    assert sweep(*GRID, "--enqueue") == 0
    assert sweep(*more) == 0
    assert len(sweeps()) == 1
    assert sweep("--sweep", "x=0.1", "--sweep", "kind=a,b", "--enqueue") == 0
    assert len(sweeps()) == 2


def test_a_resumed_sweep_stays_what_it_is(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    """More trials can be asked for by name; what would make it another sweep is refused, not ignored."""
    assert sweep("--sweep", "x=uniform(0,1)", "--sweep_num_trials=3", "--enqueue") == 0
    [folder] = sweeps()
    resume = f"--resume={folder.path}"
    assert main([resume, "--sweep_num_trials=5", "--enqueue"]) == 2
    assert "add --extend" in capsys.readouterr().err
    assert main([resume, "--sweep_num_trials=5", "--extend", "--enqueue"]) == 0
    assert SweepPlan.of(folder).total == 5
    for argv in (["--sweep_sampler=sobol"], ["--different_seeds=2"], ["--num_epochs=9"], ["--model=Other"]):
        assert main([resume, *argv, "--enqueue"]) == 2
        assert "as it was made, without --" in capsys.readouterr().err
    assert sweep(*GRID, "--resume=nosuch") == 2
    assert "there is no such folder" in capsys.readouterr().err


def test_folds_that_nobody_asks_for(sweep: Sweep, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A container whose code never looks at the fold would give the same data to each."""
    argv = ("--sweep", "--number_of_cross_validation_splits=3", "--enqueue")
    assert sweep(*argv, model="WithoutSpace") == 0
    assert "nothing in the code of WithoutSpace mentions cross_validation_split_index" in capsys.readouterr().err
    assert main(["--model=HelloRegression", f"--containers={CONTAINERS.parents[1] / 'containers'}", *argv]) == 0
    assert "cross validation" not in capsys.readouterr().err


def test_a_cancelled_sweep_is_not_joined(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    """The same command says how to open it, unless failed trials are to be run again."""
    assert sweep(*GRID, "--enqueue") == 0
    [folder] = sweeps()
    folder.change_control(cancelled=True)
    for argv in (GRID, (*GRID, "--enqueue"), (f"--resume={folder.path}",)):
        assert sweep(*argv) == 2
        assert f"queue resume {folder.name}; or start another with --new" in capsys.readouterr().err
    assert sweep(*GRID, "--retry_failed", "--enqueue") == 0
    assert folder.read_control().is_open


def test_a_damaged_result_is_no_success(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code tells, and the trial can be retried."""
    assert sweep(*GRID, "--enqueue") == 0
    [folder] = sweeps()
    seal(folder, range(4))
    (folder.results / "000001.completed.json").write_text("{}")
    assert sweep(*GRID) == 1
    assert "--retry_failed" in capsys.readouterr().err
    assert sweep(*GRID, "--retry_failed", "--enqueue") == 0
    assert sorted(folder.sealed()) == [0, 2, 3]


def test_seeds_and_folds_never_meet(sweep: Sweep) -> None:
    """A fold trains with its seed plus its number, so that seeds lie as far apart as there are folds."""
    assert sweep("--sweep", "--number_of_cross_validation_splits=3", "--different_seeds=2", "--enqueue",
                 model="WithoutSpace") == 0  # fmt: skip
    [plan] = [SweepPlan.of(each) for each in sweeps()]
    effective = [int(each["random_seed"]) + int(each["cross_validation_split_index"]) for each in plan.repeats]
    assert effective == [42, 43, 44, 45, 46, 47]


def test_single_runs_can_be_queued(sweep: Sweep) -> None:
    """As often as one likes."""
    for _ in range(2):
        assert sweep("--x=3", "--enqueue") == 0
    assert [SweepPlan.of(each).total for each in sweeps()] == [1, 1]
    assert dict(SweepPlan.of(sweeps()[0]).fixed) == {"x": "3"}


def test_the_outcome_as_json(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    """The last line names the folder of the sweep, where sweep.json has the rest."""
    assert sweep(*GRID, "--enqueue", "--json") == 0
    outcome = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert outcome["sweep"] == str(sweeps()[0].path)
    assert (outcome["state"], outcome["exit_code"]) == ("completed", 0)
