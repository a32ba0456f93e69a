"""Sweeps in YAML, from containers and from the command line, and what is missing in them."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.errors import ConfigFileError, UsageError
from runner.sweep.space import Condition, Dimension, SearchSpace
from runner.sweep.sweep_file import (
    KEYS,
    SAMPLERS,
    SweepSpec,
    completed,
    read_sweep_file,
    seconds_from_text,
    spec_from_mapping,
    with_axes,
    with_options,
)
from runner.sweep.trials import Objective

FULL = """
parameters:
  l-rate: log(1e-4, 1e-1)
  optimizer: [adam, sgd]
  momentum:
    low: 0
    high: 0.9
    when: {optimizer: sgd}
overrides:
  num-epochs: 3
  tag: 'a, b'
  devices: [0, 1]
sampler: tpe
num_trials: 30
metric: [val_loss, val_acc]
direction: [minimize, maximize]
pruner: {name: median, n_warmup_steps: 5}
repeats: 3
seed: 7
limits: {time: 2h, max_failures: 5}
"""


def read(folder: Path, text: str) -> SweepSpec:
    file = folder / "sweep.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    return read_sweep_file(str(file), folder)


def values_of(spec: SweepSpec) -> dict[str, str]:
    return {each.name: each.describe() for each in spec.space.dimensions}


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_file_with_everything(tmp_path: Path) -> None:
    assert read(tmp_path, FULL) == SweepSpec(
        space=SearchSpace(
            (
                Dimension("l_rate", low=1e-4, high=0.1, log=True),
                Dimension("optimizer", values=("adam", "sgd")),
                Dimension("momentum", low=0, high=0.9, condition=Condition("optimizer", ("sgd",))),
            )
        ),
        overrides={"num_epochs": "3", "tag": "a, b", "devices": "[0, 1]"},
        sampler="tpe",
        num_trials=30,
        objectives=(Objective("val_loss", "minimize"), Objective("val_acc", "maximize")),
        pruner=("median", {"n_warmup_steps": "5"}),
        repeats=3,
        seed=7,
        time=7200.0,
        max_failures=5,
    )


def test_bare_names_are_looked_up_in_configs_sweeps(tmp_path: Path) -> None:
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "lesion.yaml").write_text("parameters: {a: 0..4}")
    assert values_of(read_sweep_file("lesion", tmp_path)) == {"a": "0..4"}
    with pytest.raises(ConfigFileError, match=r"--sweep=lesoin: there is no .* Did you mean lesion\?"):
        read_sweep_file("lesoin", tmp_path)


def test_the_direction_follows_from_the_name_of_the_metric(tmp_path: Path) -> None:
    spec = read(tmp_path, "metric: [val_loss, val_acc]")
    assert spec.objectives == (Objective("val_loss", "minimize"), Objective("val_acc", "maximize"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1: the file must be a mapping"),
        ("- a", "1: the file must be a mapping"),
        ("a: 1\n\tb: 2", "2: "),
        ("\nparamters: {}", "2: the file has no key paramters; known are parameters, overrides, sampler, "),
        ("parameters: [a]", "1: parameters must be a mapping"),
        ("parameters:\n  a: 1\n  b: []", "3: b: the list is empty"),
        ("parameters:\n  a: 1\n  a: 2", "3: key 'a' is already in line 2"),
        ("parameters:\n  a: 1\n  b: {low: 3, high: 1}", "3: b: the low end 3.0 is larger than the high end 1.0."),
        (
            "parameters:\n  a: 1\n  b:\n    values: [1]\n    when: {a: 2}",
            "3: b depends on a being 2; allowed: 1.",
        ),
        ("parameters:\n  a: 1\n  b: {values: [1], when: {c: 2}}", "3: b depends on c, which does not vary"),
        ("parameters: {a: 1}\noverrides:\n  a: 2", "3: a: it is fixed here, and among the parameters that vary"),
        ("overrides:\n  a:", "2: a: a value is needed"),
        ("overrides: 3", "1: overrides must be a mapping"),
        ("sampler: tpo", "1: sampler: tpo is none of grid, random, sobol, tpe, gp, cmaes. Did you mean tpe?"),
        ("num_trials: 0", "1: num_trials: 0 is no int >= 1."),
        ("num_trials: 1e3", "1: num_trials: 1e3 is no int >= 1."),
        ("seed: -1", "1: seed: -1 is no int >= 0."),
        ("repeats: two", "1: repeats: two is no int >= 1."),
        ("metric: []", "1: metric: the name of a metric is needed."),
        ("metric: [a, a]", "1: metric: a is there twice."),
        ("metric: a\ndirection: min", "2: direction: min is none of minimize, maximize."),
        ("metric: a\ndirection: [minimize, maximize]", "2: direction: each metric needs a direction: 1 and 2."),
        ("direction: minimize", "1: direction: there is no metric that it could be for."),
        ("pruner: {n_warmup_steps: 5}", "1: pruner: name is missing"),
        ("limits: 3", "1: limits must be a mapping"),
        ("limits:\n  tiem: 2h", "2: limits has no key tiem; known are time, max_failures. Did you mean time?"),
        ("limits:\n  time: 2 years", "2: time: '2 years' is no time such as 90min, 2h or 3600 (seconds)."),
        ("limits:\n  max_failures: 0", "2: max_failures: 0 is no int >= 1."),
    ],
)
def test_mistakes_are_reported_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigFileError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'sweep.yaml'}:{message}")


LINES = st.sampled_from(FULL.splitlines())
SNIPPETS = st.text(st.sampled_from("abcx019.,:{}[]()'\"- \n"), max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(LINES, SNIPPETS, st.sampled_from([f"{key}: " for key in KEYS])), max_size=12))
def test_any_file_is_read_or_refused(tmp_path: Path, lines: list[str]) -> None:
    with suppress(UsageError):
        completed(read(tmp_path, "\n".join(lines)))


# --- containers -------------------------------------------------------------------------------------------------------


def test_a_space_in_python() -> None:
    space: dict[str, Any] = {
        "l_rate": "log(1e-4,1e-1)",
        "layers": range(1, 4),
        "size": [(8, 8), None],
        "momentum": {"low": 0, "high": 8, "int": True, "when": {"layers": [2, 3]}},
        "batch_size": 16,
    }
    assert spec_from_mapping(space, "Mine").space == SearchSpace(
        (
            Dimension("l_rate", low=1e-4, high=0.1, log=True),
            Dimension("layers", values=("1", "2", "3")),
            Dimension("size", values=("[8, 8]", "None")),
            Dimension("momentum", low=0, high=8, is_int=True, condition=Condition("layers", ("2", "3"))),
            Dimension("batch_size", values=("16",)),
        )
    )
    assert spec_from_mapping({}, "Mine") == SweepSpec()


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"a": []}, "Mine: a: the list is empty"),
        ({"a": None}, "Mine: a: a list of values is needed"),
        ({"a": object()}, "Mine: a: a value of type object has no text form"),
        ({"a": {"low": 1, "hihg": 2}}, "Mine: the mapping for a has no key hihg"),
        ({"a": [1], "b": {"values": [1], "when": {"a": 2}}}, "Mine: b depends on a being 2"),
        (["a"], "Mine: a mapping of names to values is needed, not a list"),
    ],
)
def test_mistakes_in_python(space: Any, message: str) -> None:
    with pytest.raises(ConfigFileError) as caught:
        spec_from_mapping(space, "Mine")
    assert str(caught.value).startswith(message)


# --- the command line -------------------------------------------------------------------------------------------------


def test_axes_replace_or_add_dimensions(tmp_path: Path) -> None:
    spec = with_axes(read(tmp_path, FULL), {"l_rate": "1e-3,1e-2", "momentum": "0.5,0.9", "tag": "a,b"})
    assert values_of(spec) == {"l_rate": "1e-3,1e-2", "optimizer": "adam,sgd", "momentum": "0.5,0.9", "tag": "a,b"}
    assert spec.space.num_points == 2 * 2 * (1 + 2)  # a condition stays
    assert spec.overrides == {"num_epochs": "3", "devices": "[0, 1]"}
    assert spec.sampler == "tpe"


def test_axes_alone() -> None:
    assert with_axes(None, {"a": "0..4"}) == SweepSpec(space=SearchSpace((Dimension("a", low=0, high=4, is_int=True),)))


def test_a_file_over_the_space_of_a_container(tmp_path: Path) -> None:
    own = spec_from_mapping({"l_rate": "0.1,0.2", "layers": [1, 2]}, "Mine")
    over = read(tmp_path, FULL)
    spec = with_axes(own, {"optimizer": "sgd"}, over=over)
    assert list(values_of(spec).values()) == ["log(0.0001,0.1)", "1,2", "sgd", "uniform(0.0,0.9)"]
    assert (spec.sampler, spec.num_trials, spec.overrides) == (over.sampler, over.num_trials, over.overrides)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"optimizer": "adam"}, "--sweep: momentum depends on optimizer being sgd; allowed: adam."),
        ({"a": "log(0,1)"}, "--sweep a=log(0,1): a log range must begin above 0, not at 0.0."),
    ],
)
def test_axes_that_do_not_fit(tmp_path: Path, axes: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        with_axes(read(tmp_path, FULL), axes)
    assert str(caught.value) == message


def test_options_count_more_than_the_file(tmp_path: Path) -> None:
    options = {
        "sweep_sampler": "gp",
        "sweep_num_trials": "8",
        "sweep_metric": "val_dice, val_loss",
        "sweep_pruner": "asha",
        "sweep_seed": "1",
        "sweep_time": "90min",
        "max_failures": "2",
        "sweep_direction": None,
    }
    spec = with_options(read(tmp_path, FULL), options)
    assert (spec.sampler, spec.num_trials, spec.pruner, spec.seed) == ("gp", 8, ("asha", {}), 1)
    assert (spec.time, spec.max_failures, spec.repeats) == (5400.0, 2, 3)
    assert spec.objectives == (Objective("val_dice", "maximize"), Objective("val_loss", "minimize"))
    changed = with_options(read(tmp_path, FULL), {"sweep_direction": "maximize,maximize"})
    assert [each.direction for each in changed.objectives] == ["maximize", "maximize"]


@pytest.mark.parametrize(
    ("flag", "text", "message"),
    [
        ("sweep_seed", "x", "--sweep_seed=x: seed: x is no int >= 0."),
        ("sweep_time", "soon", "--sweep_time=soon: time: 'soon' is no time"),
        ("sweep_sampler", "tpee", "Did you mean tpe?"),
        ("sweep_metric", "a,,b", "--sweep_metric=a,,b: metric: the name of a metric is needed."),
        ("sweep_direction", "up,down", "--sweep_direction=up,down: direction: up is none of minimize, maximize."),
    ],
)
def test_mistakes_in_options(tmp_path: Path, flag: str, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        with_options(read(tmp_path, FULL), {flag: text})
    assert message in str(caught.value)


# --- what is missing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sampler"),
    [
        ("parameters: {a: 0..4}", "grid"),
        ("parameters: {a: 0..4}\nnum_trials: 3", "random"),
        ("parameters: {a: 'log(1,10)'}\nnum_trials: 3", "random"),
        ("repeats: 3", "grid"),
        *((f"parameters: {{a: 0..4}}\nsampler: {each}\nnum_trials: 3\nmetric: a", each) for each in SAMPLERS[1:]),
    ],
)
def test_the_sampler_follows_from_the_space(tmp_path: Path, text: str, sampler: str) -> None:
    assert completed(read(tmp_path, text)).sampler == sampler


CONTINUOUS = "parameters: {a: 'log(1,10)'}\n"
FINITE = "parameters: {a: 0..4}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            CONTINUOUS + "sampler: grid",
            "FILE:2: a grid needs steps, and a=log(1.0,10.0) has none: add one, as in 0..1:",
        ),
        (
            CONTINUOUS,
            "--sweep: sampler random needs num_trials (--sweep_num_trials=NUMBER), because a=log(1.0,10.0) has",
        ),
        (FINITE + "sampler: grid\nnum_trials: 3", "FILE:3: a grid tries all its 5 points: leave num_trials out"),
        (FINITE + "sampler: sobol", "FILE:2: sampler sobol needs num_trials (--sweep_num_trials=NUMBER)."),
        (FINITE + "sampler: tpe\nnum_trials: 3", "FILE:2: sampler tpe needs a metric (--sweep_metric=NAME)."),
        (FINITE + "pruner: median", "FILE:2: a pruner needs a metric (--sweep_metric=NAME)."),
        ("sampler: random\nnum_trials: 3", "FILE:1: sampler random, but there are no parameters that vary."),
    ],
)
def test_what_the_sampler_or_the_pruner_lacks(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        completed(read(tmp_path, text))
    assert str(caught.value).startswith(message.replace("FILE", str(tmp_path / "sweep.yaml")))


@pytest.mark.parametrize(
    ("text", "seconds"), [("3600", 3600), ("90min", 5400), ("2h", 7200), ("1.5 h", 5400), ("30s", 30), ("1D", 86400)]
)
def test_times(text: str, seconds: float) -> None:
    assert seconds_from_text(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "h", "2 parsecs", "1e3", "inf", "9" * 400, "2h30"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        seconds_from_text(text)
