"""``TrainerParams`` mirror Lightning's Trainer; the parameters of all groups explain and limit themselves."""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, get_args

import param
import pytest
from lightning_fabric.plugins.precision.precision import (
    _PRECISION_INPUT_INT,
    _PRECISION_INPUT_STR,
    _PRECISION_INPUT_STR_ALIAS,
)
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Trainer

from runner import LightningContainer
from runner.params import GROUPS, TrainerParams
from runner.params.trainer import LOGGERS, NOT_TRAINER_ARGUMENTS, PRECISIONS

THEIRS = {name: each for name, each in inspect.signature(Trainer).parameters.items() if name != "self"}
OURS = {name: TrainerParams.param[name] for name in TrainerParams.param if name != "name"}

OWNED_BY_THE_RUNNER = {
    "max_epochs": "is num_epochs, InnerEye's name",
    "logger": "the parameter of this name lists loggers beside metrics.csv, by name",
    "callbacks": "objects; containers return theirs from get_callbacks",
    "plugins": "objects; the runner's own writes checkpoints safely",
    "default_root_dir": "is the run folder",
}
NONE_MEANS = {
    "precision": "32-true",
    "log_every_n_steps": 50,
    "enable_checkpointing": True,
    "enable_progress_bar": True,
    "enable_model_summary": True,
}
"""Where the Trainer's signature says None, and what it makes of it."""

OTHER_DEFAULTS = {"num_sanity_val_steps": 0}
"""Where we differ on purpose: InnerEye does not validate before training either."""

NUMBERS_WITHOUT_BOUNDS: set[tuple[str, str]] = {
    ("OptimizerParams", "adam_betas"),  # a pair; validate checks it
}


new_container: Callable[[], LightningContainer] = LightningContainer  # param types no constructor


def bare_trainer(**arguments: Any) -> Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(**(arguments | quiet))


def every_parameter() -> Iterator[tuple[str, str]]:
    for group in GROUPS:
        own = [name for name in group.param if name != "name"]
        yield from ((group.__name__, name) for name in own)


def parameter(group: str, name: str) -> param.Parameter[Any]:
    (cls,) = [each for each in GROUPS if each.__name__ == group]
    return cls.param[name]


@pytest.mark.parametrize("name", sorted(THEIRS))
def test_every_argument_of_the_trainer_can_be_set(name: str) -> None:
    """It is a parameter of the same name or owned by the runner; an argument that is new to Lightning fails here."""
    assert name in OURS or name in OWNED_BY_THE_RUNNER
    assert (name in OURS and name not in NOT_TRAINER_ARGUMENTS) != (name in OWNED_BY_THE_RUNNER)


def test_what_the_runner_owns_exists() -> None:
    """The list of what the runner owns names arguments of the Trainer only."""
    assert set(OWNED_BY_THE_RUNNER) <= set(THEIRS)


def test_what_is_passed_on_is_an_argument_of_the_trainer() -> None:
    """Every parameter is passed on under a name that the Trainer knows, or is the runner's own."""
    assert set(NOT_TRAINER_ARGUMENTS) <= set(OURS)
    assert set(OURS) - set(NOT_TRAINER_ARGUMENTS) <= set(THEIRS)
    assert set(new_container().trainer_arguments()) <= set(THEIRS)


@pytest.mark.parametrize("name", sorted(set(OURS) - set(NOT_TRAINER_ARGUMENTS)))
def test_defaults_are_those_of_the_trainer(name: str) -> None:
    """A default is the Trainer's, or what the Trainer makes of None, or one of the few that differ on purpose."""
    ours, theirs = OURS[name].default, THEIRS[name].default
    if name in OTHER_DEFAULTS:
        assert ours == OTHER_DEFAULTS[name] != theirs
    elif name in NONE_MEANS:
        assert theirs is None
        assert (ours, type(ours)) == (NONE_MEANS[name], type(NONE_MEANS[name]))
    else:
        assert (ours, type(ours)) == (theirs, type(theirs))


@pytest.mark.parametrize(
    "name", sorted(set(NONE_MEANS) - {"enable_checkpointing", "enable_progress_bar", "enable_model_summary"})
)
def test_none_means_what_we_write_down(name: str) -> None:
    """A Trainer without arguments has the value that our default gives it."""
    ours = bare_trainer(**{name: NONE_MEANS[name]})
    assert getattr(ours, name) == getattr(bare_trainer(), name) == NONE_MEANS[name]


def test_the_trainer_takes_all_values() -> None:
    """The defaults make a Trainer, with the number of epochs under Lightning's name."""
    container = new_container()
    container.num_epochs = 7
    trainer = bare_trainer(**container.trainer_arguments())
    assert (trainer.max_epochs, trainer.num_sanity_val_steps) == (7, 0)


def test_what_is_none_is_left_to_the_trainer() -> None:
    """None is not passed on, so that Lightning's own default holds; False and 0 are."""
    container = new_container()
    container.check_val_every_n_epoch = None
    container.limit_val_batches = 0
    container.deterministic = False
    arguments = container.trainer_arguments()
    assert arguments["limit_val_batches"] == 0
    assert arguments["deterministic"] is False
    assert "min_epochs" not in arguments


@pytest.mark.parametrize(
    "values", [{"devices": 1}, {"precision": "bf16-mixed"}, {"precision": 64}, {"overfit_batches": 2}]
)
@pytest.mark.parametrize("more", [{}, {"accelerator": "cpu", "max_time": "00:01:00:00", "gradient_clip_val": 0.5}])
def test_values_arrive(values: dict[str, Any], more: dict[str, Any]) -> None:
    """Values that are set are passed on as they are, and the Trainer takes them."""
    container = new_container()
    for name, value in (values | more).items():
        setattr(container, name, value)
    arguments = container.trainer_arguments()
    assert {name: arguments[name] for name in (values | more)} == values | more
    bare_trainer(**({"accelerator": "cpu"} | arguments))


@pytest.mark.parametrize(
    "precision", [each for each in PRECISIONS if each in ("32-true", "64-true", "bf16-mixed", 64, "32")]
)
def test_precisions_are_those_of_the_trainer(precision: str | int) -> None:
    """What can be computed on a CPU is accepted there."""
    bare_trainer(accelerator="cpu", precision=precision)


def test_all_precisions_of_the_trainer_can_be_set() -> None:
    """Our list has every precision that Lightning has."""
    theirs: set[Any] = set()
    for literal in (_PRECISION_INPUT_INT, _PRECISION_INPUT_STR, _PRECISION_INPUT_STR_ALIAS):
        theirs |= set(get_args(literal))
    assert set(PRECISIONS) == theirs


def test_all_profilers_of_the_trainer_can_be_set() -> None:
    """Our list has every profiler that Lightning knows by name."""
    with pytest.raises(MisconfigurationException) as caught:
        bare_trainer(profiler="nothing")
    theirs = re.findall(r"'(\w+)'", str(caught.value).partition("one of ")[2])
    ours: Any = OURS["profiler"]
    assert theirs
    assert set(theirs) <= set(ours.objects)


@pytest.mark.parametrize("name", LOGGERS)
def test_loggers_have_a_class_in_lightning(name: str) -> None:
    """Every logger that can be named exists."""
    from pytorch_lightning import loggers

    assert any(each.lower() == f"{name}logger" for each in dir(loggers))


@pytest.mark.parametrize(("group", "name"), list(every_parameter()))
def test_every_parameter_explains_itself(group: str, name: str) -> None:
    """A doc of one or more sentences, and limits for every number."""
    each = parameter(group, name)
    assert each.doc
    assert each.doc[0].isupper() or each.doc.split()[0].rstrip(":,") in every_name_and_choice()
    assert each.doc.endswith(".")
    if isinstance(each, param.Number | param.NumericTuple) and not isinstance(each, param.Boolean):
        has_bounds = getattr(each, "bounds", None) not in (None, (None, None))
        assert has_bounds != ((group, name) in NUMBERS_WITHOUT_BOUNDS)


def every_name_and_choice() -> set[str]:
    """Words that a doc may begin with although they are in lower case."""
    words: set[str] = set()
    for group, name in every_parameter():
        words |= {name, *map(str, getattr(parameter(group, name), "objects", ()))}
    return words


def test_no_name_is_declared_twice() -> None:
    """Groups do not share names, else the later one would be hidden."""
    names = [name for _, name in every_parameter()]
    assert sorted(names) == sorted(set(names))
    assert set(names) == {name for name in LightningContainer.param if name != "name"}
