"""``completion``: what a shell may offer behind what is typed. Containers are read, not imported; nothing is run.

The shell's script calls the program with ``completion --candidates SHELL WORD ...``; the last word is the one that is
being typed. ``shtab`` and ``argcomplete`` need an argparse parser, which cannot know the parameters of the container.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from runner.browser.command import ACTIONS
from runner.browser.finding import LATEST, run_names
from runner.browser.listing import FORMATS
from runner.command_line import COMMAND_OPTIONS, COMMANDS, LOG_LEVELS, OPTIONS, Option
from runner.container_loader import FoundClass, scan_folder
from runner.errors import RunnerError, UsageError, did_you_mean
from runner.sweep.queue_commands import ACTIONS as QUEUE_ACTIONS
from runner.sweep.sweep_folder import sweeps_in

SHELLS = ("bash", "zsh", "fish")
_TEMPLATES = Path(__file__).parent / "templates"
_SAFE = re.compile(r"[\w%+=:,./~-][\w@%+=:,./~-]*")
_OBEYED = "-~=+%"
"""No name of a file that begins so is offered: it would be an option, or another name to the shell."""
_WORDS = {
    "format": FORMATS,
    "log_level": tuple(each.lower() for each in LOG_LEVELS),
    "sweep_direction": ("minimize", "maximize"),
    "sweep_pruner": ("median", "asha", "hyperband"),
    "sweep_sampler": ("grid", "random", "sobol", "tpe", "gp", "cmaes"),
}
"""Values of options that are one of few words."""

Candidates = dict[str, str]
"""Whole words, each with what it means; those that end with ``=`` or ``/`` go on."""


def completion_script(shell: str) -> str:
    """Return the lines that a shell has to read to complete ``lightcase`` and ``python runner.py``.

    Raises:
        UsageError: the shell is not one of those known.
    """
    if shell not in SHELLS:
        raise UsageError(f"There is no completion for {shell!r}; use {', '.join(SHELLS)}.{did_you_mean(shell, SHELLS)}")
    return (_TEMPLATES / f"completion.{shell}.txt").read_text(encoding="utf-8").rstrip()


def candidates(shell: str = "", *words: str) -> list[str]:
    r"""Return what may stand in place of the last of *words*: a line each, for zsh and fish with a tab and a text.

    Words that a shell would have to quote are left out: no name of a file is ever run.
    """
    cut = 0
    if shell == "bash":  # which takes --model=A for three words
        words, cut = _joined(words)
    before, current = list(words[:-1]), words[-1] if words else ""
    if shell != "fish":  # the others hand over what was typed, with its quotes
        before = [_unquoted(each) for each in before]
    try:
        found = _candidates(before, current)
    except (RunnerError, OSError, ValueError, RecursionError):
        return []
    fitting = {each: doc for each, doc in found.items() if each.startswith(current) and _SAFE.fullmatch(each)}
    if shell == "bash":
        return [each[cut:] for each in fitting]
    return [f"{each}\t{' '.join(doc.split())[:80]}" for each, doc in fitting.items()]


def _unquoted(word: str) -> str:
    try:
        return "".join(shlex.split(word))
    except ValueError:
        return word


def _joined(words: Sequence[str]) -> tuple[tuple[str, ...], int]:
    """Join what bash has split at ``=`` and ``:``; return also what of the last word is not its to replace."""
    joined: list[str] = []
    was_mark = False
    for word in words:
        is_mark = bool(word) and set(word) <= set("=:")
        if joined and (is_mark or was_mark):
            joined[-1] += word
        else:
            joined.append(word)
        was_mark = is_mark
    rest = "" if was_mark or not words else words[-1]
    return tuple(joined), len(joined[-1]) - len(rest) if joined else 0


def _candidates(before: Sequence[str], current: str) -> Candidates:
    command = before[0] if before and not before[0].startswith("-") else ""
    name, is_value, _ = current.removeprefix("--").partition("=")
    if current.startswith("--") and is_value:
        values = _values(name.replace("-", "_"), current[len(name) + 3 :], before, command)
        return {f"--{name}={value}": doc for value, doc in values.items()}
    option = _option_before(before, command)
    if option:
        return _values(option, current, before, command)
    found = dict(_options(before, command)) if current.startswith("-") or not command else {}
    if not before:
        found |= {each: doc for each, doc in COMMANDS.items() if each != "trial"}
    return found if current.startswith("-") else found | _arguments(command, before[1:], before)


def _option_before(before: Sequence[str], command: str) -> str:
    """Return the option whose value comes next, as in ``--model NAME``; empty where there is none."""
    last = before[-1] if before else ""
    name = last.removeprefix("--").replace("-", "_")
    known = {**OPTIONS, **COMMAND_OPTIONS.get(command, {})}.get(name)
    takes_value = known is not None and bool(known.value) and not known.may_be_bare
    return name if last.startswith("--") and "=" not in last and takes_value else ""


def _options(before: Sequence[str], command: str) -> Iterator[tuple[str, str]]:
    own = COMMAND_OPTIONS.get(command)
    known: dict[str, Option] = {**own, "output_to": OPTIONS["output_to"]} if own else dict(OPTIONS)
    for name, option in known.items():
        yield f"--{name}{'=' if option.value and not option.may_be_bare else ''}", option.doc
    if not command:
        model, folder = _chosen("model", before), Path(_chosen("containers", before) or "containers")
        for name, (_, doc) in (_parameters(model, folder) if model else {}).items():
            yield f"--{name}=", doc


def _chosen(name: str, before: Sequence[str]) -> str:
    """Return the value that an option has been given."""
    for place, word in enumerate(before):
        head, is_value, value = word.partition("=")
        if head == f"--{name}":
            return value if is_value else "".join(before[place + 1 : place + 2])
    return ""


def _values(name: str, typed: str, before: Sequence[str], command: str) -> Candidates:
    folder, outputs = _folders(before)
    if name in _WORDS:
        return dict.fromkeys(_WORDS[name], "")
    if name == "model":
        return {each.name: each.summary for each in scan_folder(folder).containers} if folder.is_dir() else {}
    if name == "resume":
        return {f"{outputs.name}/{each}": "" for each in _newest(outputs)} | _files(typed)
    if name == "config":
        names = sorted(each.stem for each in Path("configs").glob("*.y*ml")) if Path("configs").is_dir() else []
        return dict.fromkeys(names, "") | _files(typed)
    if {**OPTIONS, **COMMAND_OPTIONS.get(command, {})}.get(name, Option("")).value in ("FILE", "FOLDER"):
        return _files(typed)
    model = _chosen("model", before)
    words, _ = _parameters(model, folder).get(name, ((), "")) if model and not command else ((), "")
    return dict.fromkeys(words, "")


def _arguments(command: str, given: Sequence[str], before: Sequence[str]) -> Candidates:
    """Return what may stand alone behind a command."""
    words = [
        each
        for place, each in enumerate(given, start=1)
        if not each.startswith("-") and not _option_before(before[:place], command)
    ]
    outputs = _folders(before)[1]
    if command == "completion":
        return dict.fromkeys(SHELLS, "")
    if command == "runs":
        if not words:
            return dict.fromkeys([*ACTIONS, "verify"], "")
        is_one = words[0] in ("show", "tag", "note", "export") and len(words) > 1
        return {} if is_one else dict.fromkeys(_newest(outputs), "")
    if command == "queue":
        sweeps = [each.name for each in sweeps_in(outputs)] if len(words) == 1 else []
        return dict.fromkeys(sweeps if words else QUEUE_ACTIONS, "")
    return {}


def _folders(before: Sequence[str]) -> tuple[Path, Path]:
    """Return the folders of the containers and of the runs."""
    chosen = (_chosen("containers", before) or "containers", _chosen("output_to", before) or "outputs")
    return Path(chosen[0]), Path(chosen[1]).expanduser()


def _newest(outputs: Path) -> list[str]:
    names = [each for each in run_names(outputs) if each[0] not in _OBEYED]
    return [*([LATEST] if names else []), *reversed(names[-200:])]


def _files(typed: str) -> Candidates:
    folder = typed[: typed.rfind("/") + 1]
    with suppress(OSError):
        entries = sorted(Path(folder or ".").expanduser().iterdir())
        offered = (each for each in entries if each.name[0] not in "." + _OBEYED)
        return {f"{folder}{each.name}{'/' if each.is_dir() else ''}": "" for each in offered}
    return {}


# --- parameters of containers, without importing any -----------------------------------------------------------------


def _parameters(model: str, folder: Path) -> dict[str, tuple[Sequence[str], str]]:
    """Return the choices and the doc of each parameter of a container."""
    from runner.container import LightningContainer
    from runner.param_values import choice_names, settable_parameters

    file, _, name = model.rpartition(":")
    scan = scan_folder(Path(file).absolute() if file else folder)
    known = {each.name: each for each in (*scan.others, *scan.containers)}
    found: dict[str, tuple[Sequence[str], str]] = {}
    wanted, seen = [name.rpartition(".")[2]], set()
    while wanted:
        cls = known.get(wanted.pop())
        if cls is not None and cls.name not in seen:
            seen.add(cls.name)
            wanted += cls.bases
            found = dict(_declared(cls)) | found
    framework = settable_parameters(LightningContainer)
    return found | {each: (choice_names(parameter), parameter.doc or "") for each, parameter in framework.items()}


def _declared(cls: FoundClass) -> Iterator[tuple[str, tuple[Sequence[str], str]]]:
    """Yield what a class says of its parameters: ``name = param.Integer(..., doc="...")``."""
    for node in ast.walk(ast.parse(cls.file.read_bytes())):
        if isinstance(node, ast.ClassDef) and node.name == cls.name:
            for statement in node.body:
                if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call):
                    names = (each.id for each in statement.targets if isinstance(each, ast.Name))
                    yield from ((name, _described(statement.value)) for name in names if name[0] != "_")


def _described(call: ast.Call) -> tuple[Sequence[str], str]:
    kind = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    said = {each.arg: _literal(each.value) for each in call.keywords}
    objects = said.get("objects") if kind != "Boolean" else ("true", "false")
    words: Iterable[object] = objects if isinstance(objects, list | tuple | dict) else ()
    return [str(each) for each in words], str(said.get("doc") or "")


def _literal(node: ast.expr) -> object:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError):
        return None
