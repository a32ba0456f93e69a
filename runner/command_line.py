"""argv to a frozen ``Request``. Text only: nothing is looked up, imported or converted here."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runner.errors import UsageError, did_you_mean

TRUE_WORDS = frozenset({"true", "t", "on", "yes", "y", "1"})
FALSE_WORDS = frozenset({"false", "f", "off", "no", "n", "0"})
COMMANDS = {
    "list": "Show the containers there are: name, place, first line of the docstring.",
    "new": "NAME: write a commented container file and a test for it.",
    "doctor": "Check versions, devices, write access and known breakages, with the cure for each.",
    "work": "Run what lies in the queue, until it is empty.",
    "queue": "Show the queue; queue pause|resume|cancel|retry NAME[/TRIAL], queue priority NAME NUMBER change it.",
    "runs": "Show the runs there are; runs show|compare|tag|note|rm|export|verify RUN ...; runs --help says more.",
    "report": "RUN: make report.html of a run or a sweep anew; --open shows it.",
    "completion": "bash, zsh or fish: print the lines that let the shell complete what you type.",
    "trial": "FOLDER NUMBER: run one trial of a sweep; the supervisor calls this.",
}
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_NUM_ARGUMENTS = {
    "new": (1, 1),
    "trial": (2, 2),
    "queue": (0, 3),
    "runs": (0, 10_000),
    "report": (1, 1),
    "completion": (1, 1),
}
_NEGATIVE_NUMBER = re.compile(r"-(\d|\.\d|inf|nan)")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Option:
    """An option of the program itself, as opposed to a parameter of a container."""

    doc: str
    value: str = ""
    """How help names the value; empty for a switch."""
    repeatable: bool = False
    may_be_bare: bool = False
    """Whether it may stand without its value."""


OPTIONS = {
    "model": Option("Container to run: Name, pkg.module.Name or path/file.py:Name.", "NAME"),
    "containers": Option("Folder to look for containers in (default ./containers).", "FOLDER"),
    "model_configs_namespace": Option("Package to look for containers in, before the folder.", "pkg.sub"),
    "config": Option("YAML file with values, or its bare name in configs/; may be repeated, later wins.", "FILE", True),
    "resume": Option("Go on with the run in this folder: finish only what is missing.", "FOLDER"),
    "saliency_part": Option(
        "With --resume: make only the saliency maps of this part of the data, such as 3/16, and stop. Parts may run at "
        "the same time; a last --resume alone puts them together.",
        "NUMBER/COUNT",
    ),
    "output_to": Option("Make the run folder here instead of ./outputs.", "FOLDER"),
    "sweep": Option(
        "Run many trials: NAME=VALUES such as l_rate=1e-4,1e-3 or log(1e-4,1e-1), a YAML file, or alone for the "
        "container's own search space; may be repeated.",
        "NAME=VALUES",
        repeatable=True,
        may_be_bare=True,
    ),
    "sweep_sampler": Option("Sweeps: grid, random, sobol, tpe, gp or cmaes.", "NAME"),
    "sweep_num_trials": Option("Sweeps: how many settings to try; a grid has all.", "NUMBER"),
    "sweep_metric": Option("Sweeps: metric to optimise, or several: val_loss,val_acc.", "NAME"),
    "sweep_direction": Option("Sweeps: minimize or maximize, one for each metric.", "WORD"),
    "sweep_pruner": Option("Sweeps: stop bad trials early by median, asha or hyperband.", "NAME"),
    "sweep_seed": Option("Sweeps: seed of the sampler (default 0).", "NUMBER"),
    "sweep_time": Option("Sweeps: stop after this time, such as 90min or 2h; trials stay open.", "TIME"),
    "max_failures": Option("Sweeps: pause after this many failed trials.", "NUMBER"),
    "different_seeds": Option("Sweeps: run each setting with this many seeds, from random_seed on.", "NUMBER"),
    "workers": Option("Sweeps: trials at a time (default: one per GPU, else one per core).", "NUMBER"),
    "devices_per_trial": Option("Sweeps: devices that each trial trains on (default 1).", "NUMBER"),
    "trial_timeout": Option("Sweeps: fail a trial that takes longer, such as 30min.", "TIME"),
    "stall_timeout": Option("Sweeps: fail a trial that finishes no epoch and no phase for so long.", "TIME"),
    "fail_fast": Option("Sweeps: stop at the first trial that fails."),
    "retry_failed": Option("Sweeps: run the trials again that failed."),
    "new": Option("Sweeps: start another one, even if there is one with the same settings."),
    "extend": Option("Sweeps: add to the newest sweep of the container, or to the one in --resume."),
    "enqueue": Option("Put the run or the sweep into the queue for the command work, and stop."),
    "dry_run": Option("Print what a sweep would run, or what a launcher would submit, and stop."),
    "launcher": Option(
        "slurm: submit the run, or the workers of a sweep, as Slurm jobs; --slurm_time=60 --slurm_partition=gpu and "
        "any other option of sbatch say how. local: try that out in the background of this machine.",
        "NAME",
    ),
    "saliency_parts": Option("With --launcher=slurm: explain the data in so many jobs, and merge the maps.", "NUMBER"),
    "azureml": Option("Run it as a job in AzureML; with --dry_run only write job.yml."),
    "azureml_workspace": Option(
        "AzureML: SUBSCRIPTION/RESOURCE_GROUP/NAME, or a config.json (default: the one here or above).", "NAME"
    ),
    "azureml_compute": Option("AzureML: compute cluster of the workspace.", "NAME"),
    "azureml_environment": Option("AzureML: environment of the workspace, NAME, NAME:VERSION or NAME@LABEL.", "NAME"),
    "azureml_experiment": Option("AzureML: experiment that lists the job (default: the container's name).", "NAME"),
    "print_config": Option("Print every value of the container as commented YAML, and stop."),
    "list": Option("The same as the command list."),
    "quiet": Option("Print only warnings, errors and the last lines."),
    "log_level": Option("Least level to print: debug, info, warning, error or critical (default info).", "LEVEL"),
    "json": Option("Let the last line of stdout be a JSON object with the outcome."),
    "open": Option("With the command report: show the page in the browser."),
    "version": Option("Print the version, and stop."),
    "help": Option("Show this; with --model=NAME also every parameter of that container."),
}

COMMAND_OPTIONS = {
    "runs": {
        "where": Option("Only runs that match, such as \"l_rate < 0.01 and 'draft' not in tags\".", "CONDITION"),
        "sort": Option("Sort by a column; -NAME for the largest first (default: the newest last).", "NAME"),
        "last": Option("Only so many, those made last (default: a table has 20, other formats all).", "NUMBER"),
        "columns": Option("What to show: fields, metrics and parameters; name,state,test_acc,l_rate.", "NAMES"),
        "format": Option("table, csv, json or md.", "WORD"),
        "html": Option("runs compare: where the page goes (default compare.html beside the runs).", "FILE"),
        "remove": Option("runs tag: take the tags away."),
        "yes": Option("runs rm: do not ask."),
    }
}
"""Options that only one command has; elsewhere a container may have a parameter of the same name."""

SLURM_PREFIX = "slurm_"
"""What options begin with that are meant for ``sbatch``."""


@dataclass(frozen=True)
class Override:
    """One ``--name=value`` meant for the container; ``value`` is None for a bare ``--name``."""

    name: str
    value: str | None
    flag: str
    """The name as it was typed, for messages."""


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    command: str = "run"
    arguments: tuple[str, ...] = ()
    model: str | None = None
    containers: str | None = None
    model_configs_namespace: str | None = None
    config: tuple[str, ...] = ()
    resume: str | None = None
    saliency_part: str | None = None
    output_to: str | None = None
    sweep: tuple[str, ...] = ()
    """Files and ``NAME=VALUES``; empty texts for ``--sweep`` alone."""
    sweep_sampler: str | None = None
    sweep_num_trials: str | None = None
    sweep_metric: str | None = None
    sweep_direction: str | None = None
    sweep_pruner: str | None = None
    sweep_seed: str | None = None
    sweep_time: str | None = None
    max_failures: str | None = None
    different_seeds: str | None = None
    workers: str | None = None
    devices_per_trial: str | None = None
    trial_timeout: str | None = None
    stall_timeout: str | None = None
    fail_fast: bool = False
    retry_failed: bool = False
    new: bool = False
    extend: bool = False
    enqueue: bool = False
    dry_run: bool = False
    launcher: str | None = None
    saliency_parts: str | None = None
    slurm: tuple[tuple[str, str | None], ...] = ()
    """Options of ``sbatch`` without their prefix, as they were typed; None for a bare one."""
    azureml: bool = False
    azureml_workspace: str | None = None
    azureml_compute: str | None = None
    azureml_environment: str | None = None
    azureml_experiment: str | None = None
    print_config: bool = False
    list: bool = False
    quiet: bool = False
    log_level: str = "INFO"
    json: bool = False
    open: bool = False
    version: bool = False
    help: bool = False
    overrides: tuple[Override, ...] = field(default=())


def program_name() -> str:
    """Return how this program was called, for hints that can be typed."""
    names = {"__main__.py": "python -m runner", "lightcase": "lightcase"}
    return names.get(Path(sys.argv[0]).name if sys.argv else "", "python runner.py")


def truth_value(text: str) -> bool:
    """Read on/off, true/false, t/f, yes/no, y/n or 1/0 in any case.

    Raises:
        ValueError: the text is none of these.
    """
    word = text.strip().lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise ValueError(f"{text!r} is no truth value; use true/false, t/f, yes/no, y/n, on/off or 1/0")


def parse_command_line(argv: Sequence[str]) -> Request:
    """Split *argv* (without the program's name) into the program's options and the container's.

    Raises:
        UsageError: an option lacks its value, is given twice, or an argument has no place.
    """
    command, positional, options = _split(argv)
    _check_own_options(command, options)
    values: dict[str, Any] = {}
    overrides: dict[str, Override] = {}
    for option in options:
        if option.name in OPTIONS:
            _add_option(values, option)
        elif option.name.removeprefix("no_") in OPTIONS:
            _add_option(values, replace(option, name=option.name.removeprefix("no_"), value=_negated(option)))
        elif option.name in overrides:
            raise UsageError(f"--{option.flag} is given twice.")
        else:
            overrides[option.name] = option
    if "log_level" in values:
        values["log_level"] = _log_level(values["log_level"])
    of_slurm = [each for name, each in overrides.items() if name.startswith(SLURM_PREFIX)]
    return Request(
        command=command,
        arguments=positional,
        overrides=tuple(each for each in overrides.values() if each not in of_slurm),
        slurm=tuple((each.name.removeprefix(SLURM_PREFIX), each.value) for each in of_slurm),
        **values,
    )


def _split(argv: Sequence[str]) -> tuple[str, tuple[str, ...], list[Override]]:
    """Tell commands, their arguments and options apart; an option's value may be the next word."""
    words = list(argv)
    command = words.pop(0) if words and not words[0].startswith("-") else "run"
    if command not in (*COMMANDS, "run"):
        raise UsageError(
            f"There is no command {command!r}; commands are {', '.join(COMMANDS)}."
            f"{did_you_mean(command, COMMANDS)} To run a container: --model={command}."
        )
    if command == "completion" and words[:1] == ["--candidates"]:
        return command, tuple(words), []  # of another command line, read elsewhere
    positional: list[str] = []
    options: list[Override] = []
    while words:
        if not words[0].startswith("-"):
            positional.append(words.pop(0))
        else:
            has_all = len(positional) >= _NUM_ARGUMENTS.get(command, (0, 0))[0]
            options.append(_take_option(words, may_take_next=has_all and not _is_switch(command, words[0])))
    _check_positional(command, positional)
    return command, tuple(positional), options


def _take_option(words: list[str], *, may_take_next: bool) -> Override:
    """Remove an option, and its value where that is the next word, from the front of *words*."""
    word = "--help" if words[0] == "-h" else words[0]
    flag, separator, text = word[2:].partition("=")
    if not word.startswith("--") or not _NAME.fullmatch(flag):
        raise UsageError(f"Cannot read {word!r}; options look like --name=value.")
    del words[0]
    value = text if separator else None
    if value is None and may_take_next and words and _looks_like_a_value(words[0]):
        value = words.pop(0)
    return Override(flag.replace("-", "_"), value, flag)


def _is_switch(command: str, word: str) -> bool:
    """Tell whether *word* is an option of a command that never has a value."""
    known = COMMAND_OPTIONS.get(command, {}).get(word.removeprefix("--").replace("-", "_"))
    return known is not None and not known.value


def _check_own_options(command: str, options: Sequence[Override]) -> None:
    """Check the options of a command that has its own."""
    own = COMMAND_OPTIONS.get(command)
    for option in options if own is not None else ():
        known = (own or {}).get(option.name)
        if known is None and option.name.removeprefix("no_") not in OPTIONS:
            hint = did_you_mean(option.name, [*(own or {}), *OPTIONS], prefix="--")
            raise UsageError(f"{command} has no option --{option.flag}.{hint}")
        if known is not None and known.value and not option.value:
            raise UsageError(f"--{option.flag} needs a value: --{option.flag}={known.value}.")


def _looks_like_a_value(word: str) -> bool:
    return not word.startswith("-") or _NEGATIVE_NUMBER.match(word) is not None


def _check_positional(command: str, positional: Sequence[str]) -> None:
    least, most = _NUM_ARGUMENTS.get(command, (0, 0))
    if len(positional) > most:
        extra = positional[most]
        hint = f"the command {extra} comes first" if command == "run" and extra in COMMANDS else ""
        container = f" To run a container: --model={extra}." if command == "run" and not hint else ""
        raise UsageError(f"Unexpected argument {extra!r}; {hint or 'options look like --name=value'}.{container}")
    if len(positional) < least:
        needs = {
            "new": "the name of the container to write: new MyContainer",
            "trial": "a sweep and a number",
            "report": "a run or a sweep: report outputs/latest",
            "completion": "the name of a shell: bash, zsh or fish",
        }
        raise UsageError(f"{command} needs {needs[command]}.")


def _add_option(values: dict[str, Any], option: Override) -> None:
    known = OPTIONS[option.name]
    if option.name in values and not known.repeatable:
        raise UsageError(f"--{option.flag} is given twice.")
    if not known.value:
        try:
            values[option.name] = True if option.value is None else truth_value(option.value)
        except ValueError as error:
            raise UsageError(f"--{option.flag}: {error}.") from None
    elif not option.value and not (known.may_be_bare and option.value is None):
        raise UsageError(f"--{option.flag} needs a value: --{option.flag}={known.value}.")
    elif known.repeatable:
        values[option.name] = (*values.get(option.name, ()), option.value or "")
    else:
        values[option.name] = option.value


def _negated(option: Override) -> str:
    name = option.name.removeprefix("no_")
    if OPTIONS[name].value or option.value is not None:
        raise UsageError(f"Cannot read --{option.flag}; did you mean --{name}?")
    return "false"


def _log_level(text: str) -> str:
    if text.upper() not in LOG_LEVELS:
        raise UsageError(f"--log_level={text}: use one of {', '.join(LOG_LEVELS)}.{did_you_mean(text, LOG_LEVELS)}")
    return text.upper()
