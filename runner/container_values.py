"""Who wins: class default < container ``__init__`` < model variant < configuration files < command line."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.command_line import OPTIONS, SLURM_PREFIX, Override
from runner.config_files import ConfigValue
from runner.container import LightningContainer, MisspeltParameterError
from runner.environment import HIDDEN, is_secret
from runner.errors import ParameterError, RunnerError, UsageError, UserCodeError, nearest
from runner.param_values import (
    accepts_bare_flag,
    check,
    describe,
    from_node,
    from_text,
    has_text_form,
    settable_parameters,
)
from runner.params.kinds import is_path_parameter
from runner.plain_text import clipped

OTHER_NAMES = {
    "max_epochs": "num_epochs",
    "epochs": "num_epochs",
    "lr": "l_rate",
    "learning_rate": "l_rate",
    "seed": "random_seed",
    "gpus": "devices",
    "max_num_gpus": "devices",
    "use_mixed_precision": "precision",
    "local_weights_path": "src_checkpoint",
    "checkpoint": "src_checkpoint",
    "ckpt_path": "src_checkpoint",
    "resume_training": "resume",
    "crossval_count": "number_of_cross_validation_splits",
    "crossval_index": "cross_validation_split_index",
    "early_stopping": "early_stopping_patience",
}
"""What other frameworks call our parameters, so that the error for an unknown name can point to the right one."""


@dataclass
class ContainerValues:
    """A container with all its values set, and where each value came from."""

    container: LightningContainer
    origins: dict[str, str] = field(default_factory=dict)

    def origin(self, name: str) -> str:
        """Say who set the parameter *name*: ``default``, ``container``, a place in a file, or ``command line``."""
        return self.origins.get(name, "default")

    def is_set_by_code(self, name: str) -> bool:
        """Tell whether the container's own code gives the parameter its value, as it will the next time."""
        origin = self.origin(name)
        return origin in ("default", "container") or origin.startswith("model_variant=")


def build_container(
    cls: type[LightningContainer],
    config: Sequence[ConfigValue] = (),
    overrides: Sequence[Override] = (),
    arguments: Mapping[str, Any] | None = None,
) -> ContainerValues:
    """Make the container and set its values, the strongest last; everything is checked.

    Args:
        cls: The container's class.
        config: Values from configuration files, later ones win.
        overrides: Values from the command line, as text.
        arguments: Values from Python, of the parameter's type or as text.

    Raises:
        UsageError: a name is unknown, or a value is not allowed.
        UserCodeError: the container's own code raised.
    """
    refuse_collisions(cls)
    given = {each.name for each in overrides} | {each.name for each in config if not is_hidden(each)}
    given |= (arguments or {}).keys()
    for value in config:
        if is_hidden(value) and value.name not in given and value.name in settable_parameters(cls):
            raise _not_written(value.name)
    settings = [_from_config(cls, value) for value in config if not (is_hidden(value) and value.name in given)]
    settings += [_from_override(cls, override) for override in overrides]
    settings += [_from_argument(cls, name, value) for name, value in (arguments or {}).items()]
    values = ContainerValues(_construct(cls))
    _note_changes(values, _defaults(cls), "container")
    variant = next((each for each in reversed(settings) if each.name == "model_variant"), None)
    if variant is not None and variant.value:
        _apply_variant(values, str(variant.value))
    for setting in settings:
        _set(values, setting)
    _make_paths_absolute(values.container)
    _validate(values.container)
    return values


@dataclass(frozen=True)
class _Setting:
    name: str
    value: Any
    origin: str
    place: str
    """How messages begin: the flag as typed, or file:line and name."""


def refuse_collisions(cls: type[LightningContainer]) -> None:
    """Refuse a container that has a parameter of the same name as an option of the program.

    Raises:
        ParameterError: there is one; both are named.
    """
    for name in cls.param:
        if name.startswith(SLURM_PREFIX):
            raise ParameterError(
                f"{cls.__name__}.{name} begins as the options for Slurm do. Give the parameter another name."
            )
        if name in OPTIONS:
            raise ParameterError(
                f"{cls.__name__}.{name} has the name of the program's own option --{name} ({OPTIONS[name].doc}) "
                "Give the parameter another name."
            )


def unknown_name(cls: type[LightningContainer], name: str) -> str:
    """Return the sentence that says that *name* is no parameter, with the nearest that are."""
    known = settable_parameters(cls)
    bare = name.removeprefix("pl_")
    other = OTHER_NAMES.get(bare, bare)
    candidates = [other] if other in known or other in OPTIONS else nearest(name, [*known, *OPTIONS])
    hint = f" Did you mean {' or '.join('--' + each for each in candidates)}?" if candidates else ""
    if name in cls.param and name != "name":
        hint = " It is there but cannot be set from outside: constant, private, or without a textual form."
    return f"{cls.__name__} has no parameter {name!r}.{hint}"


def _from_override(cls: type[LightningContainer], override: Override) -> _Setting:
    known = settable_parameters(cls)
    name, flag = override.name, f"--{override.flag}"
    positive = name.removeprefix("no_")
    if name not in known and positive != name and positive in known and accepts_bare_flag(known[positive]):
        if override.value is not None:
            raise ParameterError(f"{flag} takes no value; use --{positive}={override.value}.")
        return _Setting(positive, False, "command line", flag)
    if name not in known:
        raise ParameterError(unknown_name(cls, name))
    parameter = known[name]
    if override.value is None:
        if not accepts_bare_flag(parameter):
            raise ParameterError(f"{flag} needs a value: {flag}={describe(parameter)}.")
        return _Setting(name, True, "command line", flag)
    try:
        value = from_text(parameter, override.value)
    except ValueError as error:
        raise ParameterError(f"{flag}={clipped(override.value)}: {error}.") from None
    return _Setting(name, value, "command line", f"{flag}={clipped(override.value)}")


def _from_config(cls: type[LightningContainer], value: ConfigValue) -> _Setting:
    known = settable_parameters(cls)
    place = f"{value.file}:{value.line}"
    if value.name in OPTIONS:
        raise ParameterError(f"{place}: {value.name} is an option of the program; give it on the command line.")
    if value.name not in known:
        raise ParameterError(f"{place}: {unknown_name(cls, value.name).replace('--', '')}")
    try:
        converted = from_node(known[value.name], value.node)
    except ValueError as error:
        raise ParameterError(f"{place}: {value.name}: {error}.") from None
    return _Setting(value.name, converted, f"{value.file.name}:{value.line}", f"{place}: {value.name}")


def _from_argument(cls: type[LightningContainer], name: str, value: Any) -> _Setting:
    if name not in cls.param or name == "name":
        raise ParameterError(unknown_name(cls, name).replace("--", ""))
    parameter = cls.param[name]
    if isinstance(value, str) and has_text_form(parameter):
        try:
            check(parameter, value)
        except ValueError:
            try:
                value = from_text(parameter, value)
            except ValueError as error:
                raise ParameterError(f"{name}={value!r}: {error}.") from None
    return _Setting(name, value, "argument of run()", f"{name}={value!r}")


def _construct(cls: type[LightningContainer]) -> LightningContainer:
    launch_folder = Path.cwd()
    try:
        return cls()
    except MisspeltParameterError as error:
        frame = traceback.extract_tb(error.__traceback__)[-3]  # the assignment; __setattr__ and its helper follow
        raise ParameterError(f"{frame.filename}:{frame.lineno}: {error}") from None
    except RunnerError:
        raise
    except Exception as error:
        raise UserCodeError(f"{cls.__name__}() failed: containers are made without arguments.") from error
    finally:
        os.chdir(launch_folder)  # whatever the container did: relative paths mean the folder the user is in


def _defaults(cls: type[LightningContainer]) -> dict[str, Any]:
    """Return the default of every parameter: the framework's own where it has one, else that of the class."""
    framework = LightningContainer.param
    return {name: (framework[name] if name in framework else cls.param[name]).default for name in cls.param}


def _note_changes(values: ContainerValues, before: Mapping[str, Any], origin: str) -> None:
    for name in names_of(type(values.container)):
        if not same_value(getattr(values.container, name), before[name]):
            values.origins[name] = origin


def names_of(cls: type[LightningContainer]) -> Iterable[str]:
    """Return the names of all parameters whose values a run records."""
    return settable_parameters(cls)


def same_value(one: Any, other: Any) -> bool:
    """Tell whether two values are equal and of one type; arrays and the like are the same only as objects."""
    try:
        return type(one) is type(other) and bool(one == other)
    except (ValueError, TypeError):  # arrays and the like
        return one is other


def _apply_variant(values: ContainerValues, variant: str) -> None:
    container = values.container
    before = {name: getattr(container, name) for name in names_of(type(container))}
    try:
        container.set_model_variant(variant)
    except ValueError as error:
        raise ParameterError(f"model_variant={variant}: {error}") from None
    _note_changes(values, before, f"model_variant={variant}")


def _set(values: ContainerValues, setting: _Setting) -> None:
    parameter = type(values.container).param[setting.name]
    try:
        if not (is_path_parameter(parameter) and isinstance(setting.value, str)):
            check(parameter, setting.value)
        setattr(values.container, setting.name, setting.value)
    except (ValueError, TypeError) as error:
        raise ParameterError(f"{setting.place}: {str(error).rstrip('.')}.") from None
    values.origins[setting.name] = setting.origin


def refuse_hidden(container: LightningContainer) -> None:
    """Refuse what stands for a secret in a record, copied to the command line: the secret itself must be given."""
    for name in names_of(type(container)):
        if getattr(container, name) == HIDDEN and is_secret(name):
            raise _not_written(name)


def is_hidden(value: ConfigValue) -> bool:
    """Tell whether this stands for a secret in a config.yaml."""
    return str(value.node) == HIDDEN


def lacks_secret(value: ConfigValue) -> bool:
    """Tell whether this, or a part of it as of an address, stands for a secret in a config.yaml."""
    return HIDDEN in str(value.node)


def _not_written(name: str) -> ParameterError:
    return ParameterError(f"{name}: secrets are not written down; give it again: --{name}=...")


def _make_paths_absolute(container: LightningContainer) -> None:
    """Resolve relative paths against the launch folder, before the working directory changes."""
    for name in names_of(type(container)):
        value = getattr(container, name)
        if isinstance(value, Path):
            path = value.expanduser().absolute()
            setattr(container, name, path.resolve() if ".." in path.parts else path)
        elif isinstance(value, list) and any(isinstance(item, Path) for item in value):
            setattr(container, name, [each.absolute() if isinstance(each, Path) else each for each in value])


def _validate(container: LightningContainer) -> None:
    try:
        container.validate()
    except UsageError:
        raise
    except ValueError as error:
        raise ParameterError(str(error)) from error
    except Exception as error:
        raise UserCodeError(f"{type(container).__name__}.validate() failed.") from error
