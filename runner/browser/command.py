"""``runs ...``: which action is meant, and whether its words and options are right. Loads what that action needs."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.browser.finding import find_run, find_run_to_remove
from runner.browser.labels import note, tag
from runner.browser.listing import FORMATS, Selection, list_runs
from runner.browser.records import FIELDS
from runner.browser.removal import ask, remove
from runner.browser.verify import verify
from runner.command_line import COMMAND_OPTIONS, Request, truth_value
from runner.errors import RunFailedError, UsageError, did_you_mean
from runner.plain_text import escaped


@dataclass(frozen=True)
class Surroundings:
    """What the command works with besides the command line."""

    outputs: Path
    """The outputs folder; it may not be there."""
    width: int
    """Columns of the terminal."""


@dataclass(frozen=True)
class _Action:
    usage: str
    doc: str
    least: int
    most: int
    options: tuple[str, ...]
    run: Callable[[Sequence[str], Mapping[str, str], Surroundings], list[str]]


def runs_command(request: Request, outputs: Path) -> tuple[list[str], bool]:
    """Do what ``runs ...`` asks for.

    Args:
        request: The command line.
        outputs: The outputs folder; it may not be there.

    Returns:
        Lines to print, and whether all is well.

    Raises:
        UsageError: there is no such action, option or run.
        RunFailedError: a file cannot be written.
    """
    options = _options(request)
    is_terminal = sys.stdout.isatty() or "COLUMNS" in os.environ
    around = Surroundings(outputs, shutil.get_terminal_size().columns if is_terminal else 10_000)
    name, *words = request.arguments or ("",)
    if name == "verify":
        _refuse(options, (), "verify")
        lines, is_whole = verify(words, around.outputs)
        return [_line(each) for each in lines], is_whole
    if not name:
        _refuse(options, _LISTING, "")
        return list_runs(around.outputs, _selection(request, options), around.width).split("\n"), True
    if name not in ACTIONS:
        hint = did_you_mean(name, [*ACTIONS, "verify"])
        raise UsageError(f"runs has no {name!r}; it has {', '.join([*ACTIONS, 'verify'])}.{hint}")
    action = ACTIONS[name]
    if not action.least <= len(words) <= action.most:
        raise UsageError(f"Write: runs {name} {action.usage}.")
    _refuse(options, action.options, name)
    return [_line(each) for each in action.run(words, options, around)], True


def _line(text: str) -> str:
    """Return a line without anything that a terminal would obey, such as a name of a file may hold."""
    return escaped(text).replace("\n", r"\n")


def runs_help(program: str) -> str:
    """Return the help of the command."""
    from runner.help_text import help_entry

    actions = {f"runs {name} {action.usage}": action.doc for name, action in ACTIONS.items()}
    actions["runs verify [RUN ...]"] = "Compare every file of runs and sweeps, or of all, with its digest."
    options = {f"--{name}{'=' + each.value if each.value else ''}": each.doc
               for name, each in COMMAND_OPTIONS["runs"].items()}  # fmt: skip
    options |= {
        "--sweep[=NAME]": "The trials of a sweep, or of all, instead of runs of their own.",
        "--output_to=FOLDER": "Where the runs are (default ./outputs).",
    }
    return "\n".join(
        [
            f"Usage: {program} runs [--where=CONDITION] [--sort=NAME] ...",
            "",
            "Show the runs there are, the newest last. RUN is a name, a part of it that only one run has,",
            "a path, latest, or SWEEP/NUMBER for a trial.",
            "",
            *(help_entry(f"  {head}", doc) for head, doc in actions.items()),
            "",
            "Options:",
            *(help_entry(f"  {head}", doc) for head, doc in options.items()),
            "",
            f"In conditions and columns: {', '.join(FIELDS)},",
            "every metric (test_acc, `val/loss`, train.loss of one phase) and every parameter. Conditions have",
            "< <= > >= == != in, not, and, or, parentheses, lists, 1e-3, 'text', true, false, none.",
            "A value that a run does not have matches nothing.",
        ]
    )


def _options(request: Request) -> dict[str, str]:
    """Return the command's own options; a switch that is on has the value ``on``."""
    found = {}
    for option in request.overrides:
        known = COMMAND_OPTIONS["runs"][option.name]
        if known.value:
            found[option.name] = option.value or ""
            continue
        try:
            is_on = option.value is None or truth_value(option.value)
        except ValueError as error:
            raise UsageError(f"--{option.flag}: {error}.") from None
        if is_on:
            found[option.name] = "on"
    return found


def _refuse(options: Mapping[str, str], known: Sequence[str], action: str) -> None:
    for name in options:
        if name not in known:
            homes = ["runs", *(f"runs {each}" for each in ACTIONS if name in ACTIONS[each].options)]
            home = homes[-1] if name not in _LISTING else "runs"
            raise UsageError(f"--{name} is for {home}, not for {f'runs {action}'.rstrip()}.")


def _selection(request: Request, options: Mapping[str, str]) -> Selection:
    form = options.get("format", "table")
    if form not in FORMATS:
        raise UsageError(f"--format={form}: use one of {', '.join(FORMATS)}.{did_you_mean(form, FORMATS)}")
    last = options.get("last")
    if last is not None and not (last.isdecimal() and 0 < len(last) < 10 and int(last)):
        raise UsageError(f"--last={last}: write a whole number from 1 on.")
    columns = tuple(filter(None, (each.strip() for each in options.get("columns", "").split(","))))
    return Selection(
        where=options.get("where", ""),
        sort=options.get("sort", ""),
        last=None if last is None else int(last),
        columns=columns,
        format=form,
        sweeps=tuple(each for each in request.sweep if each) if request.sweep else None,
    )


def _show(words: Sequence[str], options: Mapping[str, str], around: Surroundings) -> list[str]:
    del options
    from runner.browser.show import show

    return show(find_run(around.outputs, words[0]))


def _tag(words: Sequence[str], options: Mapping[str, str], around: Surroundings) -> list[str]:
    return [tag(find_run(around.outputs, words[0]), words[1:], remove="remove" in options)]


def _note(words: Sequence[str], options: Mapping[str, str], around: Surroundings) -> list[str]:
    del options
    return [note(find_run(around.outputs, words[0]), words[1])]


def _compare(words: Sequence[str], options: Mapping[str, str], around: Surroundings) -> list[str]:
    from runner.atomic_files import write_text
    from runner.browser.compare_page import check_page, compare_page
    from runner.browser.comparison import compare, comparison_lines
    from runner.run_record import shown

    page = Path(options.get("html", around.outputs / "compare.html")).expanduser().absolute()
    check_page(page)
    comparison = compare([find_run(around.outputs, word) for word in words], Path.cwd())
    text = compare_page(comparison)
    try:
        write_text(page, text)
    except OSError as error:
        raise RunFailedError(f"{page} cannot be written: {error.strerror or error}.") from error
    return [*comparison_lines(comparison, around.width), "", f"with curves and maps: {shown(page)}"]


def _export(words: Sequence[str], options: Mapping[str, str], around: Surroundings) -> list[str]:
    del options
    from runner.browser.export import export

    return export(find_run(around.outputs, words[0]), Path(words[1]))


def _remove(words: Sequence[str], options: Mapping[str, str], around: Surroundings) -> list[str]:
    paths = [find_run_to_remove(around.outputs, word) for word in words]
    return remove(paths, (lambda _: True) if "yes" in options else ask)


_LISTING = ("where", "sort", "last", "columns", "format")
_MANY = 10_000
MOST_COMPARED = 8
"""Runs: as many colours can be told apart."""

ACTIONS = {
    "show": _Action("RUN", "Say what is known of a run.", 1, 1, (), _show),
    "compare": _Action(
        "RUN RUN ... [--html=FILE]",
        "Show only what differs: parameters and who set them, metrics, environment, packages, code; and write a page "
        "with the curves over one another and the maps of the same images side by side.",
        2,
        MOST_COMPARED,
        ("html",),
        _compare,
    ),
    "tag": _Action("RUN WORD ... [--remove]", "Give a run tags, or take them away.", 2, _MANY, ("remove",), _tag),
    "note": _Action('RUN "TEXT"', "Give a run a note in place of the one it has.", 2, 2, (), _note),
    "export": _Action(
        "RUN FILE.zip",
        "Write a run to a zip file, with digests, and without paths and names of users and machines.",
        2,
        2,
        (),
        _export,
    ),
    "rm": _Action("RUN ... [--yes]", "Remove runs for good; it asks.", 1, _MANY, ("yes",), _remove),
}
