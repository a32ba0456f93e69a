"""``--azureml``: from a command line to a job in AzureML, or with ``--dry_run`` to ``job.yml``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from runner.atomic_files import write_text
from runner.azureml.carried import OUTPUTS, carried_words, inside
from runner.azureml.job import Place, command_job, mounted, sweep_job
from runner.azureml.sweep_part import sweep_part
from runner.azureml.workspace import checked_job, find_workspace, submit
from runner.command_line import OPTIONS, Override, Request
from runner.container import LightningContainer
from runner.errors import UsageError, did_you_mean
from runner.log_setup import console_logging
from runner.param_values import to_text
from runner.params.kinds import is_path_parameter
from runner.preparation import Plan, prepare, prepare_container
from runner.shown import printable
from runner.sweep.request import single_run, wanted_sweep, whole_number
from runner.sweep.sweep_file import seconds_from_text

JOB_FILE = "job.yml"
_NAME = re.compile(r"[\w.:@/-]+", re.ASCII)
_NUMBER = re.compile(r"[+-]?\.?\d")
_FIRST_LINE = "# Written by --azureml --dry_run."
_REFUSED = (
    "resume", "output_to", "enqueue", "devices_per_trial", "stall_timeout", "max_failures", "fail_fast",
    "retry_failed", "new", "extend", "launcher", "saliency_part",
)  # fmt: skip


def run_in_azureml(request: Request, base: Plan) -> list[str]:
    """Do what a command line with options of AzureML asks for, and return the lines to print.

    The working directory is what is uploaded. With ``--dry_run`` the job is written to ``job.yml`` in it, and nothing
    is sent.

    Args:
        request: The command line.
        base: Container, configuration files and fixed values.

    Raises:
        UsageError: something is wrong and nothing was sent.
        RunFailedError: Azure did not take the job.
    """
    code = Path.cwd()
    with console_logging(request.log_level, quiet=request.quiet):
        text = _job_text(request, base, code)
        if request.azureml_workspace is not None or not request.dry_run:
            workspace = find_workspace(request.azureml_workspace, code)
        job = checked_job(text, code)
        if not request.dry_run:
            return submit(job, workspace)
    _write_job(code / JOB_FILE, text)
    return [text, f"{JOB_FILE} is written; to submit it: az ml job create --file {JOB_FILE}, or leave --dry_run out."]


def _job_text(request: Request, base: Plan, code: Path) -> str:
    """Return the YAML of the job."""
    place = _place(request)
    _check_upload(code)
    prepared = prepare_container(base)
    words = carried_words(request, prepared, code, mounted(prepared.container))
    here = _with_mounts(base, prepared.container)
    if not request.sweep:
        prepare(here)
        return job_yaml(command_job(prepared.container, words, place))
    wanted, alone = wanted_sweep(request, here), single_run(here).fixed
    workers = whole_number("workers", request.workers, least=1) if request.workers else None
    part = sweep_part(wanted, workers=workers, trial_timeout=_seconds(request.trial_timeout))
    of_file = {name: text for name, text in wanted.plan.fixed.items() if alone.get(name) != text}
    request = replace(
        request, overrides=(*request.overrides, *(Override(name, text, name) for name, text in of_file.items()))
    )
    prepared = prepare_container(replace(base, overrides=request.overrides))
    _check_varied(part["search_space"], prepared.container, code)
    words = carried_words(request, prepared, code, mounted(prepared.container))
    return job_yaml(sweep_job(prepared.container, words, place, part))


def _check_varied(space: Mapping[str, Any], container: LightningContainer, code: Path) -> None:
    """Refuse what is the same in all trials of a sweep job, and make paths relative to the code."""
    for name, values in space.items():
        if name in ("azure_dataset_id", "extra_azure_dataset_ids", "num_nodes", *mounted(container)):
            raise UsageError(f"--azureml: {name} cannot vary: the trials of a sweep job share their data and machines.")
        if is_path_parameter(container.param[name]):
            values["values"] = [inside(Path(each), code, name) for each in values["values"]]


def _with_mounts(base: Plan, container: LightningContainer) -> Plan:
    """Return the plan as it can be checked here: where no copy of a data set is here too, without its folder."""
    folders = {
        "local_dataset": [container.local_dataset or Path()],
        "extra_local_dataset_paths": container.extra_local_dataset_paths,
    }
    names = tuple(mounted(container))
    absent = [name for name in names if not all(path.is_dir() for path in folders[name])]
    empty = [Override(name, to_text(container.param[name], container.param[name].default), name) for name in absent]
    others = [each for each in base.overrides if each.name not in absent]
    return replace(base, overrides=[*others, *empty], mounted=names)


def _place(request: Request) -> Place:
    """Return where the job is to run, once no option is there that it cannot have."""
    for name, option in OPTIONS.items():
        is_of_sweeps = option.doc.startswith("Sweeps: ") and name != "dry_run"
        if getattr(request, name, None) and (name in _REFUSED or (is_of_sweeps and not request.sweep)):
            why = "has no place beside --azureml" if name in _REFUSED else "is for sweeps: add --sweep"
            raise UsageError(f"--{name} {why}.")
    if not request.azureml:
        raise UsageError("Options that begin with --azureml_ are for jobs in AzureML: add --azureml.")
    for override in request.overrides:
        if override.name.startswith("azureml_"):
            known = [name for name in OPTIONS if name.startswith("azureml")]
            hint = did_you_mean(override.name, known, prefix="--")
            raise UsageError(f"There is no option --{override.flag}.{hint}")
    if request.azureml_compute is None:
        raise UsageError("--azureml needs --azureml_compute=NAME: a compute cluster of the workspace.")
    if request.azureml_environment is None:
        raise UsageError(
            "--azureml needs --azureml_environment=NAME, NAME:VERSION or NAME@LABEL: an environment of the workspace "
            "in which Lightcase and azureml-mlflow are installed."
        )
    for name in ("azureml_compute", "azureml_environment", "azureml_experiment"):
        text = getattr(request, name)
        if text is not None and not _NAME.fullmatch(text):
            raise UsageError(f"--{name}={printable(text)} is no name: letters, digits and -_.:@/ are allowed.")
    return Place(request.azureml_compute, request.azureml_environment, request.azureml_experiment)


def _check_upload(code: Path) -> None:
    """Refuse a folder whose runs or history would be uploaded; Azure reads one of the two ignore files, here only."""
    there = [name for name in (OUTPUTS, ".git") if any((code / name).glob("[!.]*"))]
    file = next((code / name for name in (".amlignore", ".gitignore") if (code / name).is_file()), code / ".amlignore")
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    if missing := [f"{name}/" for name in there if not _is_ignored(name, lines)]:
        raise UsageError(
            f"--azureml: {' and '.join(missing)} would be uploaded with the code: add the "
            f"{'line' if len(missing) == 1 else 'lines'} {' and '.join(missing)} at the end of {file}."
        )


def _is_ignored(name: str, lines: Iterable[str]) -> bool:
    """Tell whether a folder is left out as a whole, by the rules of gitignore: the last line about it counts.

    Blanks before a pattern belong to it. A line that takes back something in the folder is about it too: to Azure,
    other than to git, such files are not left out.
    """
    found = False
    for line in lines:
        takes_back = line.startswith("!")
        pattern = line.removeprefix("!").rstrip().removeprefix("**/").removeprefix("/")
        first, _, rest = pattern.partition("/")
        if fnmatchcase(name, first) and (takes_back or not rest.strip("/*")):
            found = not takes_back
    return found


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else seconds_from_text(text)
    except ValueError as error:
        raise UsageError(f"--trial_timeout: {error}.") from None


def job_yaml(job: Mapping[str, Any]) -> str:
    """Return a job as ``az ml job create`` and azure-ai-ml read it."""
    text = yaml.dump(dict(job), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=116)
    return f"{_FIRST_LINE}\n{text}"


class _Dumper(yaml.SafeDumper):
    """Puts quotes around texts such as ``1e-3``, which YAML 1.1 and 1.2 read differently."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if _NUMBER.match(text) else None)


_Dumper.add_representer(str, _represent_text)


def _write_job(file: Path, text: str) -> None:
    """Write the job, but not over a file of the user's."""
    try:
        if file.exists() and not file.read_text(encoding="utf-8", errors="replace").startswith(_FIRST_LINE):
            raise UsageError(f"--azureml: there is a {file.name} in {file.parent} that is yours; rename it.")
        write_text(file, text)
    except OSError as error:
        raise UsageError(f"--azureml: {file} cannot be written: {error.strerror}.") from error
