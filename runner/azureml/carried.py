"""The command line of a job: what the user typed, with paths that hold where the code folder was copied to."""

from __future__ import annotations

import inspect
import os
import shlex
import sys
import sysconfig
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from runner.command_line import Override, Request
from runner.config_files import find_config, read_config
from runner.environment import is_secret, redact_urls
from runner.errors import UsageError
from runner.param_values import settable_parameters, to_text
from runner.params.kinds import is_path_parameter
from runner.preparation import CONFIGS_FOLDER, Prepared
from runner.shown import number_of
from runner.strict_yaml import ListNode, MappingNode, Node

OUTPUTS = "outputs"
"""Folder for run folders. AzureML uploads what a job writes there."""

_PLACEHOLDERS = ("${{", "$[[")
"""What AzureML replaces in a command, wherever it stands."""


def carried_words(request: Request, prepared: Prepared, code: Path, mounted: Collection[str]) -> list[str]:
    """Return the program and its arguments as they are typed in the job.

    Args:
        request: The command line here.
        prepared: Its container.
        code: The folder that is uploaded, and is the working directory of the job.
        mounted: Parameters that get other values there, whatever was typed.

    Raises:
        UsageError: something that is named would not be there, a value is a secret, or AzureML would change it.
    """
    _check_source(type(prepared.container), code)
    words = [*_program(code), *_names(request, prepared, code)]
    words += [f"--config={each}" for each in _config_files(request.config, code)]
    paths = dict(_paths(prepared, code, mounted))
    for override in request.overrides:
        if override.name not in {*paths, *mounted}:
            refuse_secret(override, getattr(prepared.container, override.name, None))
            words.append(f"--{override.flag}" if override.value is None else f"--{override.flag}={override.value}")
    words += [f"--{name}={text}" for name, text in paths.items()]
    for word in words:
        refuse_placeholder(word)
    return words


def command_text(words: Iterable[str], placeholders: Mapping[str, str]) -> str:
    """Return a command for bash, which AzureML runs after it has put values in place of the placeholders.

    Args:
        words: Program and arguments.
        placeholders: Names of parameters, with what AzureML replaces, such as ``${{inputs.dataset}}``.
    """
    filled = (f"'--{name}={text}'" for name, text in placeholders.items())
    return " ".join([*map(shlex.quote, words), *filled])


def refuse_placeholder(text: str) -> None:
    """Refuse what AzureML, or the way to it, would change in a command.

    Raises:
        UsageError: it would.
    """
    for mark in _PLACEHOLDERS:
        if mark in text:
            raise UsageError(f"--azureml: {text!r} holds {mark}, which AzureML replaces in a command.")
    if any(each == "\0" or "\ud800" <= each <= "\udfff" for each in text):
        raise UsageError(f"--azureml: {text!r} is no text: it holds bytes that are not UTF-8.")


def refuse_secret(override: Override, value: Any = None) -> None:
    """Refuse a password or the like, also in a dict, which *value* is where it is known.

    Raises:
        UsageError: it is one.
    """
    if _is_secret(override.name, override.value or "") or (value and is_secret(override.name, value)):
        raise UsageError(
            f"--{override.flag} is a secret, and everybody in the workspace can read the command of a job. Let the "
            "container take it from the environment, or from a key vault."
        )


def _is_secret(name: str, text: str) -> bool:
    return text != "" and (is_secret(name, text) or redact_urls(text) != text)


def inside(path: Path, code: Path, what: str, cure: str = "") -> str:
    """Return *path* relative to the folder that is uploaded.

    Args:
        path: A file or folder here.
        code: The folder that is uploaded.
        what: How the message begins.
        cure: What to do instead of copying it there.

    Raises:
        UsageError: it is not in there, or in what is left out.
    """
    found = Path(os.path.normpath(path.expanduser().absolute()))
    if not found.is_relative_to(code):
        found = found.resolve()  # the working directory may have been entered by a link
    if not found.is_relative_to(code):
        raise UsageError(f"{what}: {path} is not in {code}, the folder that is uploaded; copy it there{cure}.")
    relative = found.relative_to(code)
    if relative.parts[:1] == (OUTPUTS,):
        raise UsageError(f"{what}: {path} is in {OUTPUTS}/, which is not uploaded; copy it to another folder{cure}.")
    return relative.as_posix()


def _program(code: Path) -> list[str]:
    """Return how to call the program: by the script that was called here, where it is uploaded, else the package."""
    script = Path(sys.argv[0]).absolute()
    script = script if script.is_relative_to(code) else script.resolve()
    if script.suffix == ".py" and script.name != "__main__.py" and script.is_relative_to(code):
        return ["python", script.relative_to(code).as_posix()]
    return ["python", "-m", "runner"]


def _check_source(cls: type, code: Path) -> None:
    """Refuse a container that lies neither in the folder that is uploaded nor among installed packages."""
    file = Path(inspect.getfile(cls))
    if not any(file.is_relative_to(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")):
        inside(file, code, f"--azureml: {cls.__name__}")


def _names(request: Request, prepared: Prepared, code: Path) -> Iterator[str]:
    model = request.model or prepared.model  # a configuration file may name it, with a path of this machine
    file, separator, name = model.rpartition(":")
    if separator or name.endswith(".py"):
        yield f"--model={inside(Path(file or name), code, '--model')}{separator}{name if separator else ''}"
    else:
        yield f"--model={model}"
    if request.containers:
        yield f"--containers={inside(Path(request.containers), code, '--containers')}"
    if request.model_configs_namespace:
        yield f"--model_configs_namespace={request.model_configs_namespace}"
    if request.log_level != "INFO":
        yield f"--log_level={request.log_level.lower()}"
    yield from (f"--{name}" for name in ("quiet", "json") if getattr(request, name))


def _config_files(names: Sequence[str], code: Path) -> Iterator[str]:
    for name in names:
        file = find_config(name, Path(), CONFIGS_FOLDER, place="--config")
        values = read_config(name, CONFIGS_FOLDER)
        for each in [file, *(value.file for value in values)]:  # and what it extends
            inside(each.resolve(), code.resolve(), f"--config={name}")
        for value in values:
            _refuse_secret_in(value.name, value.node, f"{value.file}:{value.line}")
        yield inside(file, code, "--config")


def _refuse_secret_in(name: str, node: Node, place: str) -> None:
    """Refuse a secret in a file that is uploaded, at any depth."""
    if isinstance(node, MappingNode):
        for key, item in node.items:
            _refuse_secret_in(key.text, item, place)
    elif isinstance(node, ListNode):
        for item in node.items:
            _refuse_secret_in(name, item, place)
    elif not node.is_null and (node.quoted or number_of(node.text) is None) and _is_secret(name, node.text):
        raise UsageError(
            f"{place}: {name} is a secret, and everybody in the workspace can read the files of a job. Let the "
            "container take it from the environment, or from a key vault."
        )


def _paths(prepared: Prepared, code: Path, mounted: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the parameters that were set to paths, by the command line or a file, with their values in the job."""
    for name, parameter in settable_parameters(type(prepared.container)).items():
        value = getattr(prepared.container, name)
        is_asked = not prepared.values.is_set_by_code(name)
        paths = _as_paths(parameter, value) if is_asked and name not in mounted else []
        if paths:
            cure = ", or say where it lies in Azure with --azure_dataset_id" if name == "local_dataset" else ""
            there = [Path(inside(path, code, name, cure)) for path in paths]
            yield name, to_text(parameter, there if isinstance(value, list) else there[0])


def _as_paths(parameter: Any, value: Any) -> list[Path]:
    if is_path_parameter(parameter):
        return [value] if value is not None else []
    return value if isinstance(value, list) and value and all(isinstance(each, Path) for each in value) else []
