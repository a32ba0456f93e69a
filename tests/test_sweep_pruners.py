"""Pruners: the decisions of Optuna's own loop, and what users may write."""

import importlib.util
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import optuna
import pytest
from numpy.random import default_rng

from runner.errors import UsageError
from runner.sweep.optuna_samplers import quiet_optuna, study_direction
from runner.sweep.pruners import PrunerSpec, pruner_spec, should_prune
from runner.sweep.trials import Trial

EPOCHS = 30
ASHA = pruner_spec("asha", {"min_resource": "1", "reduction_factor": "2"})


def curve(number: int, *, with_nan: bool) -> list[float]:
    """Return the metric of a trial after each epoch; some get better than others, some end in NaN."""
    random = default_rng([1, number])
    end, noise = random.random(), 0.1 * random.standard_normal(EPOCHS)
    values = [float(end + math.exp(-epoch / 5) + noise[epoch]) for epoch in range(EPOCHS)]
    if with_nan and number % 9 == 4:
        values[random.integers(EPOCHS) :] = [math.nan] * EPOCHS
    return values[:EPOCHS]


def trial(number: int, values: Mapping[int, float], state: str = "completed") -> Trial:
    """Return a trial as the pruners see it."""
    return Trial(number, number, state, {}, intermediate=values)


CASES = [
    ("median", {}, 0),
    ("median", {"n_startup_trials": "2", "n_warmup_steps": "4", "interval_steps": "3", "n_min_trials": "3"}, 0),
    ("asha", {"min_resource": "1"}, 1),
    ("asha", {"min_resource": "2", "reduction_factor": "3", "min_early_stopping_rate": "1"}, 1),
    ("asha", {"min_resource": "1", "reduction_factor": "2", "bootstrap_count": "3"}, 1),
    ("hyperband", {"max_resource": "30"}, 1),
    ("hyperband", {"max_resource": "27", "min_resource": "2", "reduction_factor": "2", "bootstrap_count": "1"}, 1),
]
OPTUNAS: dict[str, Callable[..., optuna.pruners.BasePruner]] = {
    "median": optuna.pruners.MedianPruner,
    "asha": optuna.pruners.SuccessiveHalvingPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
}


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize(("name", "options", "first_step"), CASES)
def test_decisions_are_optunas(
    name: str, options: dict[str, str], first_step: int, workers: int, direction: str
) -> None:
    """A loop of Optuna, with trials one after the other or side by side, stops the same trials after the same epochs.

    Its ASHA and Hyperband are told epochs counted from 1, so that a resource is a number of epochs.
    """
    spec = pruner_spec(name, options)
    decisions = set()
    with quiet_optuna():
        pruner = OPTUNAS[name](**{option: int(text) for option, text in options.items()})
        study = optuna.create_study(direction=study_direction(direction), pruner=pruner, study_name="5")
        running: list[optuna.Trial] = []
        known: dict[int, Trial] = {}
        while len(known) < 60 or running:
            while len(running) < workers and len(known) < 60:
                running.append(study.ask())
                known[running[-1].number] = trial(running[-1].number, {}, "running")
            for each in list(running):
                record = known[each.number]
                epoch = len(record.intermediate)
                value = curve(each.number, with_nan=name != "median")[epoch] * (1 if direction == "minimize" else -1)
                record = replace(record, intermediate={**record.intermediate, epoch: value})
                others = [other for other in known.values() if other.number != each.number]
                each.report(value, epoch + first_step)
                stop = each.should_prune()
                assert should_prune(spec, direction, each.number, record.intermediate, others, 5) == stop
                decisions.add(stop)
                if stop or epoch == EPOCHS - 1:
                    running.remove(each)
                    state = optuna.trial.TrialState.PRUNED if stop else optuna.trial.TrialState.COMPLETE
                    study.tell(each, None if stop else 0.0, state=state)
                    record = replace(record, state="pruned" if stop else "completed")
                known[each.number] = record
    assert decisions == {True, False}


# --- single decisions -------------------------------------------------------------------------------------------------


def test_resources_are_epochs() -> None:
    """With min_resource 1 and factor 2, trials are compared after 1, 2, 4, 8 epochs, and nowhere else."""
    others = [trial(number, dict.fromkeys(range(16), 0.0)) for number in range(5)]
    stops = []
    for epoch in range(16):  # the best until then
        so_far = dict.fromkeys(range(epoch), -1.0) | {epoch: 1.0}
        if should_prune(ASHA, "minimize", 9, so_far, others, 0):
            stops.append(epoch + 1)
    assert stops == [1, 2, 4, 8, 16]


def test_warm_up_of_the_median_rule() -> None:
    """The first n_warmup_steps epochs stop nothing."""
    spec = pruner_spec("median", {"n_warmup_steps": "3", "n_startup_trials": "1"})
    others = [trial(0, dict.fromkeys(range(9), 0.0))]
    stops = [should_prune(spec, "minimize", 1, dict.fromkeys(range(count), 1.0), others, 0) for count in range(1, 7)]
    assert stops == [False, False, False, True, True, True]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("median", {"n_startup_trials": "1"}),
        ("asha", {"min_resource": "1"}),
        ("hyperband", {"max_resource": "3", "reduction_factor": "4"}),
    ],
)
def test_nan(name: str, options: dict[str, str]) -> None:
    """A newest value of NaN stops a trial wherever the pruner looks at it, however good it was before."""
    spec = pruner_spec(name, options)
    others = [trial(0, {0: 1.0, 1: 1.0, 3: 1.0}), trial(1, {0: math.nan, 3: math.nan})]
    for own in ({0: math.nan}, {0: 0.0, 1: 0.0, 2: 0.0, 3: math.nan}):
        assert should_prune(spec, "minimize", 5, own, others, 0)
    assert not should_prune(spec, "minimize", 5, {0: 0.5}, others, 0)


def test_nan_before_the_pruner_looks() -> None:
    """In the warm-up, and without other trials, NaN stops nothing."""
    spec = pruner_spec("median", {"n_warmup_steps": "2"})
    others = [trial(number, {0: 1.0, 1: 1.0}) for number in range(6)]
    assert not should_prune(spec, "minimize", 9, {0: 1.0, 1: math.nan}, others, 0)
    assert not should_prune(pruner_spec("median", {}), "minimize", 9, {0: math.nan}, others[:3], 0)
    late = pruner_spec("asha", {"min_resource": "4"})
    assert not should_prune(late, "minimize", 9, {0: math.nan, 1: math.nan}, others, 0)


@pytest.mark.parametrize("name", ["asha", "hyperband"])
def test_auto(name: str) -> None:
    """Without a completed trial nothing is stopped; then it is as with the number that follows from its epochs."""
    spec = pruner_spec(name, {})
    running = [trial(number, dict.fromkeys(range(8), 0.0), "running") for number in range(6)]
    own = {0: 1.0}
    assert not should_prune(spec, "minimize", 10, own, running, 0)
    explicit = pruner_spec(name, {"asha": {"min_resource": "1"}, "hyperband": {"max_resource": "8"}}[name])
    others = [*running, trial(6, dict.fromkeys(range(8), 0.0))]
    stops = [should_prune(spec, "minimize", number, own, others, 0) for number in range(10, 30)]
    assert stops == [should_prune(explicit, "minimize", number, own, others, 0) for number in range(10, 30)]
    assert any(stops)


def test_long_trials_have_a_longer_first_rung() -> None:
    """ASHA's own min_resource is a hundredth of the longest completed trial."""
    others = [trial(number, dict.fromkeys(range(300), 0.0)) for number in range(3)]
    stops = [should_prune(pruner_spec("asha", {}), "minimize", 9, {epoch: 1.0}, others, 0) for epoch in range(4)]
    assert stops == [False, False, True, True]


def test_nothing_measured_yet() -> None:
    """Without a value there is nothing to compare, and trials without values are no rivals."""
    assert not should_prune(ASHA, "minimize", 1, {}, [trial(0, {0: 0.0})], 0)
    assert not should_prune(ASHA, "minimize", 1, {0: 1.0}, [trial(0, {}), trial(2, {}, "failed")], 0)
    median = pruner_spec("median", {"n_startup_trials": "0"})
    assert not should_prune(median, "minimize", 1, {0: 1.0}, [trial(0, {}), trial(2, {5: 0.0})], 0)


def test_max_resource_below_the_first_rung() -> None:
    """Where all completed trials were shorter than Hyperband's min_resource, nothing is stopped."""
    spec = pruner_spec("hyperband", {"min_resource": "20"})
    assert not should_prune(spec, "minimize", 1, {0: 1.0}, [trial(0, {0: 0.0})], 0)


# --- what users write -------------------------------------------------------------------------------------------------


def test_json() -> None:
    """What is written is read as the same."""
    spec = pruner_spec("hyperband", {"max_resource": "auto", "reduction_factor": "4"})
    assert spec == PrunerSpec("hyperband", {"max_resource": "auto", "reduction_factor": 4})
    assert PrunerSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("hyperbnd", {}, "No pruner is called hyperbnd; allowed: median, asha, hyperband. Did you mean hyperband?"),
        ("median", {"n_warmup_step": "1"}, "has no option n_warmup_step; .* Did you mean n_warmup_steps"),
        ("median", {"min_resource": "1"}, "The pruner median has no option min_resource; allowed: n_startup_trials"),
        ("median", {"interval_steps": "0"}, "takes as interval_steps a whole number from 1, not 0"),
        ("median", {"n_startup_trials": "auto"}, "takes as n_startup_trials a whole number from 0, not auto"),
        ("asha", {"min_resource": "1.5"}, "takes as min_resource a whole number from 1 or auto, not 1.5"),
        ("asha", {"reduction_factor": "1"}, "takes as reduction_factor a whole number from 2, not 1"),
        ("asha", {"bootstrap_count": "1"}, "needs a number as min_resource for a bootstrap_count above 0"),
        ("hyperband", {"bootstrap_count": "2"}, "needs a number as max_resource"),
        ("hyperband", {"min_resource": "9", "max_resource": "3"}, "min_resource 9 above the max_resource 3"),
        ("hyperband", {"min_resource": "auto"}, "takes as min_resource a whole number from 1, not auto"),
    ],
)
def test_mistakes(name: str, options: dict[str, str], message: str) -> None:
    """Names and values are checked before anything starts."""
    with pytest.raises(UsageError, match=message):
        pruner_spec(name, options)


def test_equal_resources() -> None:
    """Hyperband with a single bracket is allowed: all trials may take all epochs."""
    assert pruner_spec("hyperband", {"min_resource": "3", "max_resource": "3"}).number("max_resource") == 3


def test_every_default_is_optunas() -> None:
    """An option that is not given has Optuna's value."""
    for name, pruner in OPTUNAS.items():
        defaults = {option: each.default for option, each in inspect.signature(pruner).parameters.items()}
        assert {option: PrunerSpec(name).option(option) for option in defaults} == defaults


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Optuna, a pruner is refused with the command that installs it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda *args: None)
    with pytest.raises(
        UsageError, match=r"The pruner asha needs the package optuna: pip install 'lightcase\[optuna\]'"
    ):
        pruner_spec("asha", {})
