"""What ``--help`` and ``--print_config`` print, and config.yaml: all derive from the declared parameters."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import param

from runner.command_line import COMMANDS, OPTIONS
from runner.container import LightningContainer
from runner.container_values import ContainerValues
from runner.environment import HIDDEN, is_secret
from runner.param_values import describe, settable_parameters, to_text, to_yaml
from runner.params import GROUPS

WIDTH = 100


def program_help(program: str) -> str:
    """Return the help of the program without a container."""
    lines = [
        f"Usage: {program} --model=NAME [--name=value ...]",
        "",
        "Train, test and explain the container NAME. Without --model: the container HelloLesion, where there is one.",
        f"Every parameter of a container is an option; {program} --model=NAME --help lists them.",
        "",
        "Commands:",
        *(help_entry(f"  {name}", doc) for name, doc in COMMANDS.items()),
        "",
        "Options:",
        *_options(),
        "",
        "Exit codes: 0 done, 1 the run failed, 2 wrong usage, 130 stopped by Ctrl-C, 143 by SIGTERM.",
    ]
    return "\n".join(lines)


def container_help(values: ContainerValues, program: str) -> str:
    """Return the help of one container: its own parameters first, then the groups every container has."""
    cls = type(values.container)
    lines = [f"Usage: {program} --model={cls.__name__} [--name=value ...]", ""]
    lines += textwrap.wrap(f"{cls.__name__}: {_summary(cls)}", WIDTH)
    lines += [f"Defined in {_place(cls)}.", ""]
    for title, names in parameter_groups(cls):
        lines.append(f"{title}:")
        for name in names:
            lines += _parameter_lines(values, name)
        lines.append("")
    lines += ["Options of the program:", *_options()]
    return "\n".join(lines)


def config_text(values: ContainerValues, model: str, *, docs: bool) -> str:
    """Return all values as YAML that ``--config`` reads.

    Args:
        values: The container and where its values came from.
        model: What ``--model`` was, or whatever finds the container again.
        docs: Explain every parameter (for ``--print_config``) instead of saying where its value came from.
    """
    cls = type(values.container)
    lines = [f"# {cls.__name__}: {_one_line(_summary(cls))}", f"model: {_quoted(model)}"]
    for title, names in parameter_groups(cls):
        lines += ["", f"# --- {title} ---"]
        for name in names:
            parameter = cls.param[name]
            value = getattr(values.container, name)
            hidden = bool(value) and is_secret(name, value)
            line = _hidden_line(values, name) if hidden else _yaml_line(parameter, name, value)
            if docs:
                lines += [f"# {text}" for text in _explanation(parameter)]
                lines.append(line)
            else:
                lines.append(f"{line}  # {_one_line(values.origin(name))}{_said_default(values, name)}")
    return "\n".join(lines) + "\n"


def parameter_groups(cls: type[LightningContainer]) -> Iterator[tuple[str, list[str]]]:
    """Yield title and parameter names of each group: the container's own first, nothing twice."""
    known = settable_parameters(cls)
    framework = LightningContainer.param
    own = [name for name in known if name not in framework]
    if own:
        yield f"Parameters of {cls.__name__}", own
    for group in GROUPS:
        title = group.__name__.removesuffix("Params")
        yield f"{title} parameters", [name for name in known if name in group.param]


def _parameter_lines(values: ContainerValues, name: str) -> Iterable[str]:
    parameter = type(values.container).param[name]
    default = _default_text(parameter, getattr(values.container, name))
    kind = describe(parameter)
    yield f"  --{name}  ({kind}; default: {default})"
    if parameter.doc:
        doc = " ".join(parameter.doc.split())
        yield from textwrap.wrap(doc, WIDTH, initial_indent="      ", subsequent_indent="      ")


def _yaml_line(parameter: param.Parameter[Any], name: str, value: Any) -> str:
    """Return ``name: value``, as a comment where code set a value that no text can stand for."""
    try:
        return f"{name}: {to_yaml(parameter, value)}"
    except ValueError as error:
        return f"# {name}: {_one_line(str(error))}"


def _hidden_line(values: ContainerValues, name: str) -> str:
    """Return ``name: "***"``, as a comment where the container's code sets the value and will do so again."""
    return f'{"# " * values.is_set_by_code(name)}{name}: "{HIDDEN}"'


def _said_default(values: ContainerValues, name: str) -> str:
    """Return what the value would be if nobody had set it, behind who did; nothing where nobody did."""
    if values.origin(name) == "default":
        return ""
    cls = type(values.container)
    parameter = (LightningContainer if name in LightningContainer.param else cls).param[name]
    hidden = is_secret(name, parameter.default)
    try:
        return "" if hidden else f", default {_one_line(to_yaml(cls.param[name], parameter.default))}"
    except ValueError:
        return ""


def _default_text(parameter: param.Parameter[Any], value: Any) -> str:
    try:
        return to_text(parameter, value) or "empty"
    except ValueError:
        return _one_line(repr(value))


def _explanation(parameter: param.Parameter[Any]) -> list[str]:
    doc = " ".join((parameter.doc or "").split())
    return textwrap.wrap(f"{doc} [{describe(parameter)}]".strip(), WIDTH - 2)


def _options() -> Iterator[str]:
    for name, option in OPTIONS.items():
        yield help_entry(f"  --{name}{'=' + option.value if option.value else ''}", option.doc)


def help_entry(head: str, doc: str) -> str:
    """Return *head* with *doc* beside it, or below where it is long."""
    indent = " " * 36
    if len(head) > 35:
        return f"{head}\n{textwrap.fill(doc, WIDTH, initial_indent=indent, subsequent_indent=indent)}"
    return textwrap.fill(doc, WIDTH, initial_indent=f"{head:<35} ", subsequent_indent=indent)


def _summary(cls: type[LightningContainer]) -> str:
    own = inspect.cleandoc(cls.__dict__.get("__doc__") or "no docstring")
    return " ".join(own.partition("\n\n")[0].split())


def _place(cls: type[LightningContainer]) -> str:
    file = Path(inspect.getsourcefile(cls) or "?")
    shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    return f"{shown}:{inspect.getsourcelines(cls)[1]}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _quoted(text: str) -> str:
    return to_yaml(param.String(), text)
