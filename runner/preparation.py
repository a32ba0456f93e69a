"""Everything that is checked before a run folder is made: the container, its values, files, contradictions."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from runner.command_line import Override
from runner.config_files import ConfigValue, read_config
from runner.container import LightningContainer
from runner.container_loader import find_container
from runner.container_values import ContainerValues, build_container, is_hidden, lacks_secret, refuse_hidden, same_value
from runner.environment import is_secret
from runner.errors import ParameterError, UsageError
from runner.param_values import settable_parameters
from runner.params import OptimizerParams
from runner.places import find_place
from runner.run_folder import RunFolder

CONFIGS_FOLDER = Path("configs")
TRUST = "trust_checkpoint"
"""The parameter that no record can set for a run that goes on."""


@dataclass(frozen=True)
class Plan:
    """What is to be run, before anything is looked up."""

    model: str | type[LightningContainer] | None = None
    containers: Path = Path("containers")
    namespace: str | None = None
    config: Sequence[str] = ()
    overrides: Sequence[Override] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    resume: Path | None = None
    output_to: Path | None = None
    command_line: Sequence[str] = ()
    mounted: Collection[str] = ()
    """Parameters whose folders are there only where the run will be."""
    trial: Trial | None = None
    """Set for a trial of a sweep, whose folder is there already."""


class Trial(Protocol):
    """What a run must know of the sweep that it is a trial of."""

    folder: RunFolder
    """Its run folder, which the caller has locked."""

    other_files: Collection[str]
    """Names of the files in it that are the sweep's."""

    should_prune: Callable[[int], bool] | None
    """Tells whether the trial is to end before an epoch, counted from 0; None in a sweep without a pruner."""


@dataclass(frozen=True)
class Prepared:
    """A container that is ready to run."""

    values: ContainerValues
    model: str
    """What ``--model`` must be to find the container again."""
    changed: frozenset[str] = frozenset()
    """Parameters that a resumed run was given another value for than it had."""

    @property
    def container(self) -> LightningContainer:
        """The container with all its values."""
        return self.values.container

    @property
    def name(self) -> str:
        """The name of the container's class."""
        return type(self.container).__name__

    @property
    def plain_values(self) -> dict[str, str]:
        """The values that are the same in all processes of a run; paths may differ from machine to machine."""
        container = self.container
        values = {name: getattr(container, name) for name in settable_parameters(type(container))}
        plain = {name: repr(value) for name, value in values.items() if not is_secret(name, value)}
        return {name: text for name, text in plain.items() if "Path(" not in text and " object at " not in text}

    @property
    def num_nodes(self) -> int:
        """How many machines the run needs."""
        theirs = self.container.get_trainer_arguments() or {}
        return int(theirs.get("num_nodes", self.container.num_nodes))


def prepare(plan: Plan) -> Prepared:
    """Find the container, set its values, and check everything that can be checked without running anything.

    Raises:
        UsageError: the container or a value is wrong.
        UserCodeError: the container's own code raised.
    """
    prepared = prepare_container(plan)
    refuse_hidden(prepared.container)
    _check_checkpoint(prepared.container, resuming=plan.resume is not None)
    _check_files(prepared.container, plan.mounted)
    _check_loggers(prepared.container)
    if plan.resume is None or not find_place().is_first:  # the first process has checked the rest
        return prepared
    if plan.output_to is not None:
        raise UsageError("--output_to has no place beside --resume: the run goes on in its folder.")
    _check_epochs(plan, prepared)
    return replace(prepared, changed=_check_changes(plan, prepared))


def prepare_container(plan: Plan) -> Prepared:
    """Find the container and set its values, without looking at what they point to.

    Raises:
        UsageError: the container or a value is wrong.
        UserCodeError: the container's own code raised.
    """
    config = _recorded_values(plan) if plan.resume is not None else []
    if plan.model is None:
        _refuse_code_beside(config, plan)
    config += [value for file in plan.config for value in read_config(file, CONFIGS_FOLDER)]
    model = _model_of(plan, [value for value in config if value.name == "model"])
    cls = model if isinstance(model, type) else find_container(model, plan.containers.absolute(), plan.namespace)
    rest = [value for value in config if value.name != "model"]
    return Prepared(build_container(cls, rest, plan.overrides, plan.arguments), _address(model, cls, plan))


def _recorded_config(folder: Path) -> Path:
    recorded = RunFolder(folder).config
    if not recorded.is_file():
        raise UsageError(f"--resume: {folder} is no run folder: it has no {recorded.name}.")
    return recorded


def _recorded_values(plan: Plan) -> list[ConfigValue]:
    """Return the values of a run that goes on.

    That checkpoints may run code is for whoever goes on with it to say: the record may be somebody else's.
    """
    assert plan.resume is not None
    values = read_config(str(_recorded_config(plan.resume)), CONFIGS_FOLDER)
    return [value for value in values if value.name != TRUST or plan.trial is not None]


def _refuse_code_beside(recorded: Sequence[ConfigValue], plan: Plan) -> None:
    """Refuse a record that names its container otherwise than :func:`_address` does, or in the run folder itself."""
    for value in recorded:
        if value.name == "model":
            assert plan.resume is not None
            model = str(value.node)
            if not is_code_elsewhere(model, plan.containers, plan.resume):
                raise UsageError(
                    f"--resume: {value.file}:{value.line} names the container {model}, which no run has written "
                    "there; its code is not run. Say which container it is: --model=NAME."
                )


def is_code_elsewhere(model: str, containers: Path, folder: Path) -> bool:
    """Tell whether a record in *folder* names its container as a run does, and its code is not in the folder itself.

    Folders of others are data: none may bring along the code that going on with it runs.
    """
    file, separator, _ = model.rpartition(":")
    if not separator:
        return model.isidentifier() and not containers.resolve().is_relative_to(folder.resolve())
    # only what is resolved already leads nowhere else: /tmp/../proc/self/cwd is wherever the user is
    is_whole = not file.startswith(("//", "/proc/", "/dev/")) and "\0" not in file and os.path.realpath(file) == file
    return is_whole and not Path(file).is_relative_to(folder.resolve())


def _check_changes(plan: Plan, prepared: Prepared) -> frozenset[str]:
    """Return the parameters that have other values than the run had; refuse what cannot change on the way."""
    assert plan.resume is not None
    recorded = _recorded_values(plan)
    known = [value for value in recorded if value.name != "model" and not is_hidden(value)]
    before = build_container(type(prepared.container), known)
    names = set(settable_parameters(type(prepared.container))) - {TRUST}
    compared = names - {value.name for value in recorded if lacks_secret(value)}
    changed = {
        name for name in compared if not same_value(getattr(prepared.container, name), getattr(before.container, name))
    }
    for name in sorted(changed):
        if name in prepared.container.fixed_on_resume:
            raise ParameterError(
                f"{name}: the run in {plan.resume} has {getattr(before.container, name)} and cannot change it on the "
                "way; start a new run."
            )
        if name in OptimizerParams.param or name == "random_seed":
            raise ParameterError(
                f"{name}: the run in {plan.resume} has {getattr(before.container, name)} and cannot change it on the "
                "way; start a new run from its weights with --src_checkpoint and --load_weights_only."
            )
    for name in names - changed:
        value = getattr(prepared.container, name)
        if isinstance(value, str) and "***@" in value:
            raise ParameterError(f"{name}: the record of the run does not keep passwords; give --{name} again.")
    return frozenset(changed)


def _model_of(plan: Plan, in_config: Sequence[ConfigValue]) -> str | type[LightningContainer]:
    recorded = str(in_config[0].node) if in_config else None
    if plan.resume is not None and recorded is not None and plan.model is not None:
        asked = plan.model if isinstance(plan.model, str) else plan.model.__name__
        if _class_name(asked) != _class_name(recorded):
            raise UsageError(
                f"--resume: {plan.resume} is a run of {_class_name(recorded)}, not of {_class_name(asked)}. "
                "Leave --model out, or start a new run."
            )
    if plan.model is not None:
        _check_same_model(plan, in_config)
        return plan.model
    if not in_config:
        raise UsageError("Say which container to run: --model=NAME.")
    return str(in_config[-1].node)


def _check_same_model(plan: Plan, in_config: Sequence[ConfigValue]) -> None:
    asked = plan.model if isinstance(plan.model, str) else getattr(plan.model, "__name__", "")
    for value in in_config:
        if _class_name(str(value.node)) != _class_name(asked):
            raise UsageError(f"{value.file}:{value.line}: is for {value.node}, but --model={asked} was given.")


def _class_name(model: str) -> str:
    return model.rpartition(":")[2].rpartition(".")[2]


def _address(model: str | type[LightningContainer], cls: type[LightningContainer], plan: Plan) -> str:
    """Return what ``--model`` must be to find the container again from the same working directory."""
    is_default_folder = plan.containers.absolute() == Path("containers").absolute()
    if isinstance(model, str) and model.isidentifier() and plan.namespace is None and is_default_folder:
        return model
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return f"{Path(file).resolve()}:{cls.__name__}" if file else cls.__name__


def _check_checkpoint(container: LightningContainer, *, resuming: bool) -> None:
    source = container.src_checkpoint
    if source is not None and not source.exists():
        raise ParameterError(f"src_checkpoint: there is no file or run folder {source}.")
    if source is not None:
        container.src_checkpoint = _with_weights(source.resolve())  # outputs/latest is about to point to this run
    if container.train:
        _check_start(container)
        return
    chooses = type(container).get_checkpoint_to_test is not LightningContainer.get_checkpoint_to_test
    if source is None and not resuming and not chooses:
        raise ParameterError(
            "train=False leaves no weights to test: say which with --src_checkpoint=<file or run folder>."
        )


def _with_weights(source: Path) -> Path:
    """Return *source*, or where the weights are that a run without training has used."""
    if source.is_file():
        return source
    folder = RunFolder(source)
    if folder.best_checkpoint.is_file() or folder.last_checkpoint.is_file():
        return source
    used = Path(str(folder.read_results().get("test", {}).get("weights", "")))
    if used.is_absolute() and used.is_file():
        return used
    raise ParameterError(f"src_checkpoint: {source} holds neither checkpoints/best.ckpt nor checkpoints/last.ckpt.")


def _check_start(container: LightningContainer) -> None:
    if container.src_checkpoint is not None and not container.load_weights_only:
        raise ParameterError(
            f"src_checkpoint={container.src_checkpoint} together with training: add --load_weights_only to start from "
            "its weights, or --train=False to test them; to go on with a run: --resume=<run folder>."
        )


def _check_files(container: LightningContainer, mounted: Collection[str]) -> None:
    if container.needs_local_dataset and container.local_dataset is None and "local_dataset" not in mounted:
        raise ParameterError(f"{type(container).__name__} needs --local_dataset=FOLDER: where the data are.")
    folders = {"local_dataset": [container.local_dataset], "extra_local_dataset_paths": None}
    folders["extra_local_dataset_paths"] = list(container.extra_local_dataset_paths)
    folders["regression_test_folder"] = [container.regression_test_folder]
    expected = container.regression_test_folder
    if expected is not None and expected.is_dir() and not any(path.is_file() for path in expected.rglob("*")):
        raise ParameterError(f"regression_test_folder: {expected} is empty, so there is nothing to compare with.")
    for name, paths in folders.items():
        for path in paths or ():
            if path is not None and not path.exists():
                raise ParameterError(f"{name}: there is no {path}.")


def _check_loggers(container: LightningContainer) -> None:
    for name in container.logger or ():
        if importlib.util.find_spec(name) is None:
            raise ParameterError(f"logger={name} needs a package: pip install 'lightcase[{name}]'.")


def _check_epochs(plan: Plan, prepared: Prepared) -> None:
    """Refuse a new number of epochs that leaves nothing to train, where Lightning would silently do nothing."""
    assert plan.resume is not None
    finished = RunFolder(plan.resume).read_status().get("epochs_finished", 0)
    origin = prepared.values.origin("num_epochs")
    given_anew = not origin.startswith(RunFolder(plan.resume).config.name) and origin not in ("default", "container")
    if prepared.container.train and given_anew and prepared.container.num_epochs <= finished:
        raise ParameterError(
            f"num_epochs={prepared.container.num_epochs} is not above the {finished} epochs that {plan.resume} has "
            "finished; give a higher number to train on."
        )
