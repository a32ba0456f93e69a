"""Samplers: where their points lie, that they come again, and that Optuna on its own would choose the same."""

import importlib.util
import json
import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState
from scipy.stats.qmc import Sobol

from runner.errors import UsageError
from runner.sweep.optuna_samplers import (
    CmaesSampler,
    TpeSampler,
    _frozen_trials,
    quiet_optuna,
    seed_number,
    study_direction,
)
from runner.sweep.samplers import Sampler, Setting, create_sampler, unit_of, value_at
from runner.sweep.space import Condition, Dimension, SearchSpace
from runner.sweep.trials import Objective

REPOSITORY = Path(__file__).parents[1]
MINIMIZE = (Objective("val_loss", "minimize"),)
TWO = (Objective("val_loss", "minimize"), Objective("val_acc", "maximize"))
SPACE = SearchSpace(
    (
        Dimension("rate", low=1e-4, high=1e-1, log=True),
        Dimension("optimizer", values=("adam", "sgd")),
        Dimension("momentum", low=0.0, high=0.9, condition=Condition("optimizer", ("sgd",))),
        Dimension("nesterov", values=("True", "False"), condition=Condition("optimizer", ("sgd",))),
        Dimension("width", low=2, high=64, log=True, is_int=True),
        Dimension("dropout", low=0.0, high=0.3, step=0.1),
        Dimension("depth", low=1, high=9, step=2, is_int=True),
    )
)
NUMBERS = SearchSpace((Dimension("a", low=-1.0, high=2.0), Dimension("b", low=1e-5, high=1.0, log=True)))
LEARNING = ("tpe", "gp", "cmaes")
ALL = ("random", "sobol", *LEARNING)


def loss(params: dict[str, str]) -> float:
    """Return what the settings are to make small: 0 with Adam, a rate of 0.003 and a width of 16."""
    bad = 0.3 + float(params["momentum"]) if params["optimizer"] == "sgd" else 0.0
    return bad + (math.log10(float(params["rate"])) + 2.5) ** 2 + (math.log2(int(params["width"])) - 4) ** 2 / 8


def settings(sampler: Sampler, count: int, history: tuple[Setting, ...] = ()) -> list[Setting]:
    """Return that many completed settings, one after the other."""
    found = list(history)
    for number in range(len(found), count):
        params = sampler.suggest(number, found)
        found.append(Setting(number, params, "completed", (loss(params),)))
    return found


def suggestions(hash_seed: int) -> dict[str, list[dict[str, str]]]:
    """Return the next points of each sampler in another process."""
    code = "import json; from tests.test_sweep_samplers import next_points; print(json.dumps(next_points()))"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": str(hash_seed)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    assert not result.stderr
    points: dict[str, list[dict[str, str]]] = json.loads(result.stdout)
    return points


def next_points() -> dict[str, list[dict[str, str]]]:
    """Return what each sampler suggests after the same 24 settings, of which some were pruned, failed, or still run."""
    states = ["completed", "completed", "completed", "pruned", "completed", "failed", "completed", "completed"]
    drawn = settings(create_sampler("random", SPACE, (), 5), 24)
    history = [
        Setting(each.number, each.params, state, each.values if state == "completed" else None, {3: each.values[0]})
        for each, state in zip(drawn, states * 3, strict=True)
        if each.values
    ]
    history[-2:] = [Setting(each.number, each.params, "running") for each in history[-2:]]
    return {name: [create_sampler(name, SPACE, MINIMIZE, 1).suggest(n, history) for n in (24, 25)] for name in ALL}


# --- where points lie -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_points_lie_in_the_space(name: str) -> None:
    """Ranges, steps and lists are kept, and what depends on a condition exists only where it holds."""
    for setting in settings(create_sampler(name, SPACE, MINIMIZE, 0), 14 if name == "gp" else 60):
        params = setting.params
        with_sgd = {"momentum", "nesterov"} if params["optimizer"] == "sgd" else set()
        assert params.keys() == {"rate", "optimizer", "width", "dropout", "depth"} | with_sgd
        assert 1e-4 <= float(params["rate"]) <= 1e-1
        assert 2 <= int(params["width"]) <= 64
        assert 0 <= float(params.get("momentum", 0)) <= 0.9
        assert params.get("nesterov", "True") in ("True", "False")
        assert params["dropout"] in ("0.0", "0.1", "0.2", "0.3")
        assert params["depth"] in "13579"


def test_values_have_equal_shares() -> None:
    """Random values of lists, steps and whole numbers are equally frequent, with the ends; on a log scale, ratios."""
    space = SearchSpace(
        (
            Dimension("choice", values=("a", "b", "c", "d")),
            Dimension("step", low=0.0, high=0.75, step=0.25),
            Dimension("whole", low=-1, high=2, is_int=True),
            Dimension("log", low=1.0, high=16.0, log=True),
        )
    )
    points = [create_sampler("random", space, (), 0).suggest(number, ()) for number in range(4000)]
    for name in ("choice", "step", "whole"):
        counts = Counter(point[name] for point in points)
        assert len(counts) == 4
        assert min(counts.values()) > 900
    octaves = Counter(int(math.log2(float(point["log"]))) for point in points)
    assert min(octaves[octave] for octave in range(4)) > 900


def test_whole_numbers_on_a_log_scale() -> None:
    """Each stands for what is rounded to it, so that 1 to 3 is as frequent as 4 to 10."""
    dimension = Dimension("width", low=1, high=10, log=True, is_int=True)
    found = [int(value_at(dimension, (index + 0.5) / 1000)) for index in range(1000)]
    assert found == sorted(found)
    assert set(found) == set(range(1, 11))
    assert found.count(1) / 1000 == pytest.approx(math.log(1.5 / 0.5) / math.log(10.5 / 0.5), abs=0.002)


@pytest.mark.parametrize("dimension", SPACE.dimensions, ids=lambda dimension: dimension.name)
@given(unit=st.floats(0, 1))
def test_places_in_the_unit_cube(dimension: Dimension, unit: float) -> None:
    """Every place has a value, the ends too, and the value has a place that has the same value."""
    text = value_at(dimension, unit)
    place = unit_of(dimension, text)
    assert place is not None
    if dimension.num_values is None:
        assert float(value_at(dimension, place)) == pytest.approx(float(text))
    else:
        assert value_at(dimension, place) == text


def test_ends_of_ranges() -> None:
    """The ends of the unit interval are the ends of the range, to the last digit."""
    for low, high, log in ((1e-4, 1e-1, True), (0.1, 0.7, False), (-1e308, 1e308, False), (3.0, 3.0, True)):
        dimension = Dimension("x", low=low, high=high, log=log)
        assert [float(value_at(dimension, unit)) for unit in (0, 1)] == [low, high]


def test_places_of_values_that_do_not_exist() -> None:
    """A value from outside has no place."""
    rate, _, _, nesterov, width, dropout, _ = SPACE.dimensions
    cases = [(rate, "1.0"), (nesterov, "maybe"), (width, "1"), (width, "2.5"), (dropout, "0.15")]
    assert [unit_of(dimension, text) for dimension, text in cases] == [None] * 5
    constant = Dimension("x", low=3.0, high=3.0)
    assert [unit_of(constant, text) for text in ("3.0", "4.0")] == [0.5, None]


# --- those that do not learn ------------------------------------------------------------------------------------------


def test_grid() -> None:
    """The grid has the points of the space, and no others."""
    space = SearchSpace((Dimension("a", values=("x", "y")), Dimension("b", low=0, high=2, is_int=True)))
    grid = create_sampler("grid", space, (), 0)
    assert (grid.is_adaptive, grid.num_points) == (False, 6)
    assert [grid.suggest(number, ()) for number in range(6)] == [space.point(number) for number in range(6)]
    with pytest.raises(IndexError):
        grid.suggest(6, ())


def test_sobol_is_scipys() -> None:
    """Over the unit cube, the sequence is scipy's own, whatever the order in which its points are asked for."""
    space = SearchSpace(tuple(Dimension(name, low=0.0, high=1.0) for name in "abc"))
    sampler = create_sampler("sobol", space, (), 7)
    expected = Sobol(3, seed=np.random.default_rng(7)).random(32)
    for number in (0, 1, 31, 17, 2):
        assert [float(value) for value in sampler.suggest(number, ()).values()] == expected[number].tolist()


@pytest.mark.parametrize("name", ["random", "sobol"])
def test_points_far_away(name: str) -> None:
    """The millionth point comes at once, and other seeds have others."""
    points = {json.dumps(create_sampler(name, SPACE, (), seed).suggest(10**6, ())) for seed in range(20)}
    assert len(points) == 20


@pytest.mark.parametrize("name", ["random", "sobol"])
def test_no_point_of_a_finite_space_comes_twice(name: str) -> None:
    """All points come once, those of a log scale and of a condition too, whoever asks first for the last."""
    space = SearchSpace(
        (
            Dimension("a", low=1, high=40, is_int=True, log=True),
            Dimension("b", values=("u", "v")),
            Dimension("c", values=("1", "2", "3"), condition=Condition("b", ("v",))),
        )
    )
    assert space.num_points == 160
    sampler = create_sampler(name, space, (), 3)
    assert sampler.num_points == 160
    points = [sampler.suggest(number, ()) for number in range(160)]
    assert {tuple(sorted(point.items())) for point in points} == {
        tuple(sorted(space.point(index).items())) for index in range(160)
    }
    assert create_sampler(name, space, (), 3).suggest(159, ()) == points[159]
    with pytest.raises(IndexError):
        sampler.suggest(160, ())


@pytest.mark.parametrize("name", ["grid", "random", "sobol"])
def test_nothing_varies(name: str) -> None:
    """A space without dimensions has the empty point."""
    assert create_sampler(name, SearchSpace(()), (), 0).suggest(0, ()) == {}


# --- those that learn -------------------------------------------------------------------------------------------------


def test_same_points_in_other_processes() -> None:
    """Seed and history decide, not the process, its hashes, or what it suggested before."""
    here = next_points()
    assert suggestions(1) == here
    assert all(first != second for first, second in here.values())


@pytest.mark.parametrize("name", ["tpe", "cmaes"])
def test_going_on_with_a_new_sampler(name: str) -> None:
    """A sampler that is made again after every setting chooses the same points, and none twice."""
    at_once = settings(create_sampler(name, SPACE, MINIMIZE, 3), 30)
    again: list[Setting] = []
    for number in range(30):
        again = settings(create_sampler(name, SPACE, MINIMIZE, 3), number + 1, tuple(again))
    assert again == at_once
    assert len({json.dumps(each.params) for each in again}) == 30


@pytest.mark.parametrize("name", LEARNING)
def test_parallel_workers(name: str) -> None:
    """With three that always run, no point comes twice; in which order those are named does not matter."""
    sampler = create_sampler(name, NUMBERS, MINIMIZE, 2)
    history: list[Setting] = []
    for number in range(16):
        history.append(Setting(number, sampler.suggest(number, history), "running"))
        if number >= 3:
            oldest = history[number - 3]
            history[number - 3] = Setting(oldest.number, oldest.params, "completed", (float(oldest.params["a"]) ** 2,))
    assert len({json.dumps(each.params) for each in history}) == 16
    last = sampler.suggest(16, history)
    ended, running = history[:13], history[13:]
    assert sampler.suggest(16, [*ended, *reversed(running), Setting(16, last, "running")]) == last


@pytest.mark.parametrize("name", ["tpe", "cmaes"])
def test_small_spaces(name: str) -> None:
    """As long as there are points left, none comes twice; then they do."""
    space = SearchSpace((Dimension("a", low=0, high=3, is_int=True), Dimension("b", values=("x", "y", "z"))))
    sampler = create_sampler(name, space, MINIMIZE, 0)
    history: list[Setting] = []
    for number in range(15):
        params = sampler.suggest(number, history)
        history.append(Setting(number, params, "completed", (float(params["a"]),)))
    assert len({json.dumps(each.params) for each in history[:12]}) == 12
    assert len({json.dumps(each.params) for each in history}) == 12


@pytest.mark.parametrize("name", ["tpe", "gp"])
def test_optuna_alone_chooses_the_same(name: str) -> None:
    """A study that Optuna runs without interruption, with a seed for each trial, has the same trials."""
    samplers = {"tpe": optuna.samplers.TPESampler, "gp": optuna.samplers.GPSampler}
    space = SearchSpace((Dimension("a", low=0.0, high=1.0), *SPACE.dimensions[:2], SPACE.dimensions[4]))
    sampler = create_sampler(name, space, MINIMIZE, 11)
    history: list[Setting] = []
    with quiet_optuna():
        study = optuna.create_study()
        for number in range(14 if name == "gp" else 40):
            study.sampler = samplers[name](seed=seed_number((11, number)))
            trial = study.ask()
            params = {
                "a": repr(trial.suggest_float("a", 0, 1)),
                "rate": repr(trial.suggest_float("rate", 1e-4, 1e-1, log=True)),
                "optimizer": trial.suggest_categorical("optimizer", ["adam", "sgd"]),
                "width": str(trial.suggest_int("width", 2, 64, log=True)),
            }
            assert sampler.suggest(number, history) == params
            value = float(params["a"]) + loss(params | {"momentum": "0"})
            if number % 7 == 5:
                trial.report(value, 2)
                study.tell(trial, state=TrialState.PRUNED)
                history.append(Setting(number, params, "pruned", None, {0: 9.0, 2: value}))
            elif number % 7 == 6:
                study.tell(trial, state=TrialState.FAIL)
                history.append(Setting(number, params, "failed"))
            else:
                study.tell(trial, value)
                history.append(Setting(number, params, "completed", (value,)))


def test_cmaes_learns_what_optunas_does() -> None:
    """From the trials of Optuna's own sampler come the same mean, step size and covariances."""
    own = optuna.samplers.CmaEsSampler(seed=1)
    with quiet_optuna():
        study = optuna.create_study(sampler=own)
        ranges: dict[str, optuna.distributions.BaseDistribution] = {
            "a": optuna.distributions.FloatDistribution(-1, 2),
            "b": optuna.distributions.FloatDistribution(1e-5, 1, log=True),
        }
        for _ in range(1 + 5 * 6):  # the first is random; two dimensions have generations of 6
            trial = study.ask(ranges)
            study.tell(trial, (trial.params["a"] - 1.5) ** 2 + (math.log10(trial.params["b"]) + 4) ** 2)
        study.tell(study.ask(ranges), 0.0)
    theirs = own._restore_optimizer(study.trials)
    history = [
        Setting(each.number, {name: repr(value) for name, value in each.params.items()}, "completed", (each.value,))
        for each in study.trials[1:-1]
        if each.value is not None
    ]
    sampler = create_sampler("cmaes", NUMBERS, MINIMIZE, 0)
    assert isinstance(sampler, CmaesSampler)
    ours = sampler.optimizer(history)
    assert theirs is not None
    assert ours.generation == theirs.generation == 5
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-9)
    np.testing.assert_allclose(ours._sigma, theirs._sigma, rtol=1e-9)
    np.testing.assert_allclose(ours._C, theirs._C, rtol=1e-9)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("name", LEARNING)
def test_learning_helps(name: str, direction: str) -> None:
    """With 40 settings, samplers that learn come nearer to the optimum than random points do, in both directions."""
    sign = 1 if direction == "minimize" else -1
    best: dict[str, list[float]] = {name: [], "random": []}
    for each, found in best.items():
        for seed in range(1 if name == "gp" else 3):
            sampler = create_sampler(each, NUMBERS, (Objective("m", direction),), seed)
            history: list[Setting] = []
            for number in range(22 if name == "gp" else 60):
                params = sampler.suggest(number, history)
                value = (float(params["a"]) - 1.5) ** 2 + (math.log10(float(params["b"])) + 4) ** 2
                history.append(Setting(number, params, "completed", (sign * value,)))
                found.append(value)
    assert min(best[name]) < min(best["random"])
    assert np.mean(best[name][-20:]) < np.mean(best["random"]) / 2


@pytest.mark.parametrize("name", ["tpe", "gp"])
def test_several_objectives(name: str) -> None:
    """Both directions are told to the study; pruned settings are left out there."""
    sampler = create_sampler(name, NUMBERS, TWO, 0)
    history: list[Setting] = []
    for number in range(12 if name == "gp" else 40):
        params = sampler.suggest(number, history)
        a = float(params["a"])
        history.append(Setting(number, params, "completed", (a**2, -((a - 1) ** 2))))
    history.append(Setting(99, history[0].params, "pruned", None, {0: 1.0}))
    assert sampler.suggest(99 + 1, history).keys() == {"a", "b"}
    if name == "tpe":
        assert sum(-0.2 <= float(each.params["a"]) <= 1.2 for each in history[-21:]) > 13


@pytest.mark.parametrize("name", LEARNING)
def test_odd_histories(name: str) -> None:
    """Values that are missing or not finite, points from elsewhere and equal results do no harm."""
    drawn = [create_sampler("random", NUMBERS, (), 0).suggest(number, ()) for number in range(14)]
    history = [
        Setting(100, {"a": "7.0", "b": "0.1"}, "completed", (0.0,)),
        Setting(101, {"other": "1"}, "completed", (0.0,)),
        Setting(102, drawn[0], "completed", None),
        Setting(103, drawn[1], "completed", (math.nan,)),
        Setting(104, drawn[2], "pruned"),
        Setting(105, drawn[3], "pruned", None, {1: math.nan}),
        *(Setting(number, params, "completed", (1.0,)) for number, params in enumerate(drawn)),
    ]
    params = create_sampler(name, NUMBERS, MINIMIZE, 0).suggest(20, history)
    assert -1 <= float(params["a"]) <= 2


def test_an_optimum_at_the_end_of_a_range() -> None:
    """What CMA-ES draws outside of its ranges is drawn again: most points near an end are not the end itself."""
    history: list[Setting] = []
    sampler = create_sampler("cmaes", NUMBERS, MINIMIZE, 0)
    for number in range(60):
        params = sampler.suggest(number, history)
        history.append(Setting(number, params, "completed", (2 - float(params["a"]),)))
    found = [float(each.params["a"]) for each in history]
    assert np.mean(found[-40:]) > 1
    assert sum(each == 2 for each in found) < 3


@pytest.mark.parametrize("name", LEARNING)
def test_results_are_waited_for(name: str) -> None:
    """A sweep may not choose settings ahead, nor list them."""
    sampler = create_sampler(name, NUMBERS, MINIMIZE, 0)
    assert sampler.is_adaptive
    assert sampler.num_points is None


def test_tpe_keeps_away_from_what_runs() -> None:
    """A worker does not choose what another one tries: settings that run count, as bad ones."""
    history = []
    for number in range(30):
        params = create_sampler("random", NUMBERS, (), 0).suggest(number, ())
        value = (float(params["a"]) - 1.5) ** 2 + (math.log10(float(params["b"])) + 4) ** 2
        history.append(Setting(number, params, "completed", (value,)))
    sampler = create_sampler("tpe", NUMBERS, MINIMIZE, 0)
    alone = {name: float(value) for name, value in sampler.suggest(40, history).items()}
    near = [{name: repr(value * (1 + part / 100)) for name, value in alone.items()} for part in (-2, -1, 1, 2)]
    running = [Setting(30 + place, params, "running") for place, params in enumerate(near)]
    beside = sampler.suggest(40, [*history, *running])
    assert all(abs(float(beside[name]) / value - 1) > 0.02 for name, value in alone.items())


@pytest.mark.parametrize(
    ("space", "objectives", "together"), [(SPACE, MINIMIZE, True), (NUMBERS, MINIMIZE, False), (SPACE, TWO, False)]
)
def test_tpe_draws_together_what_exists_together(
    space: SearchSpace, objectives: tuple[Objective, ...], together: bool
) -> None:
    """Where there are conditions, which Optuna can with one objective."""
    history = [Setting(each.number, each.params, "completed", (1.0,) * len(objectives))
               for each in settings(create_sampler("random", SPACE, (), 0), 15)]  # fmt: skip
    sampler = TpeSampler(space, objectives, 0)
    with quiet_optuna():
        study = optuna.create_study(directions=[study_direction(each.direction) for each in objectives])
        study.add_trials(_frozen_trials(space, history, len(objectives)))
        found = sampler._sampler(0).infer_relative_search_space(study, study.trials[0])
    assert bool(found) == together


@pytest.mark.parametrize("level", [optuna.logging.DEBUG, optuna.logging.ERROR])
def test_optunas_log_is_given_back(level: int) -> None:
    """It is quiet while we ask, and then as it was."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(level)
    try:
        with quiet_optuna():
            assert optuna.logging.get_verbosity() == optuna.logging.CRITICAL
        assert optuna.logging.get_verbosity() == level
    finally:
        optuna.logging.set_verbosity(before)


def test_cmaes_where_all_is_equal() -> None:
    """Hundreds of settings with the same value at the same place do not break the covariances."""
    history = [Setting(number, {"a": "0.5", "b": "0.01"}, "completed", (1.0,)) for number in range(600)]
    params = create_sampler("cmaes", NUMBERS, MINIMIZE, 0).suggest(600, history)
    assert float(params["a"]) == pytest.approx(0.5, abs=0.2)


def test_pruned_settings_teach_cmaes() -> None:
    """They rank behind completed ones, the longer they lasted the better."""
    sampler = CmaesSampler(NUMBERS, MINIMIZE, 0)
    params = {"a": "0.0", "b": "0.1"}
    outcomes = [
        Setting(0, params, "completed", (5.0,)),
        Setting(1, params, "pruned", None, {0: 0.0, 4: 1.0}),
        Setting(2, params, "pruned", None, {4: 2.0}),
        Setting(6, params, "pruned", None, {4: math.nan}),
        Setting(3, params, "pruned", None, {1: 0.5}),
        Setting(4, params, "pruned"),
    ]
    ranks = [sampler._rank(each) for each in outcomes]
    assert ranks == sorted(set(ranks), key=lambda rank: rank or ())
    assert [sampler._rank(Setting(5, params, state)) for state in ("failed", "running", "completed")] == [None] * 3


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "space", "objectives", "seed", "message"),
    [
        (
            "tpee",
            SPACE,
            MINIMIZE,
            0,
            "No sampler is called tpee; allowed: grid, random, sobol, tpe, gp, cmaes. Did you",
        ),
        ("random", SPACE, (), -1, "must be 0 or more, not -1"),
        ("grid", SPACE, (), 0, "rate, momentum has none"),
        ("tpe", SPACE, (), 0, "tpe learns from results: say with --sweep_metric"),
        ("cmaes", SPACE, TWO, 0, "takes one objective"),
        ("cmaes", SearchSpace((SPACE.dimensions[1],)), MINIMIZE, 0, "needs a range of numbers"),
        (
            "cmaes",
            SearchSpace((Dimension("one", low=3, high=3, is_int=True),)),
            MINIMIZE,
            0,
            "needs a range of numbers",
        ),
    ],
)
def test_mistakes(name: str, space: SearchSpace, objectives: tuple[Objective, ...], seed: int, message: str) -> None:
    """What cannot work is refused before anything starts."""
    with pytest.raises(UsageError, match=message):
        create_sampler(name, space, objectives, seed)


@pytest.mark.parametrize(("name", "package"), [("tpe", "optuna"), ("gp", "optuna"), ("cmaes", "cmaes")])
def test_missing_package(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is missing is named with the command that installs it."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda each, *args: None if each == package else find(each, *args))
    with pytest.raises(UsageError) as caught:
        create_sampler(name, NUMBERS, MINIMIZE, 0)
    assert str(caught.value) == f"The sampler {name} needs the package {package}: pip install 'lightcase[optuna]'"


def test_light() -> None:
    """A grid needs neither numpy, Optuna nor torch."""
    code = (
        "import sys; from runner.sweep.samplers import create_sampler; from runner.sweep.space import SearchSpace;"
        "import runner.sweep.pruners; create_sampler('grid', SearchSpace(()), (), 0).suggest(0, ());"
        "assert not {'torch', 'optuna', 'scipy', 'cmaes'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)


@pytest.mark.parametrize("name", ["random", "sobol"])
def test_points_that_are_never_drawn_come_from_the_grid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its order, each of them, the first and the last too."""
    monkeypatch.setattr("runner.sweep.samplers.MAX_DRAWS", 0)
    space = SearchSpace((Dimension("a", values=("u", "v", "w")),))
    sampler = create_sampler(name, space, (), 3)
    assert [sampler.suggest(number, ())["a"] for number in range(3)] == ["u", "v", "w"]
