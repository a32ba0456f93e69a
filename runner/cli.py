"""argv to exit code: knows the commands, prints errors, imports nothing heavy before a request is known to be good."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from runner.atomic_files import finite
from runner.command_line import OPTIONS, Request, parse_command_line, program_name
from runner.commands import COMMANDS
from runner.environment import redact_urls
from runner.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    RunInterrupted,
    RunnerError,
    UsageError,
    UserCodeError,
    print_traceback,
)
from runner.plain_text import escaped
from runner.run_folder import RunFolder
from runner.version import __version__

DEFAULT_CONTAINER = "HelloLesion"


def console_main() -> NoReturn:
    """Run the program with the process's arguments and end the process with the exit code."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115,PTH123 - closed by the caller: say nothing
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115,PTH123
    code = main(sys.argv[1:])
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    with suppress(BrokenPipeError):
        sys.stderr.flush()
    if code == EXIT_DONE:
        sys.exit(code)
    logging.shutdown()
    sys.exit(code)


def main(argv: Sequence[str]) -> int:
    """Run the program and return its exit code: 0 done, 1 failed, 2 usage, 130 Ctrl-C, 143 SIGTERM."""
    from runner.places import find_place
    from runner.process_state import return_to_launch_folder

    outcome: dict[str, Any] = {"state": "failed", "model": None, "folder": None, "metrics": {}, "phases": {}}
    wants_json = "--json" in argv
    try:
        return_to_launch_folder()
        is_first = find_place().is_first  # one of several processes speaks for all
        wants_json = is_first and wants_json
        request = parse_command_line(argv)
        wants_json = is_first and request.json
        code = _dispatch(request, argv, outcome)
        outcome["state"] = "completed" if code == EXIT_DONE else "failed"
    except UserCodeError as error:
        code = error.exit_code
        print_traceback(error.__cause__)
        _print_error(str(error), outcome)
    except RunnerError as error:
        code = error.exit_code
        outcome["state"] = "refused" if code == EXIT_USAGE else "failed"
        _print_error(str(error), outcome)
    except RunInterrupted as error:
        code = error.exit_code
        outcome["state"] = "interrupted"
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
        outcome["state"] = "interrupted"
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads: say nothing more
        code = EXIT_FAILED
    except BaseException as error:  # the boundary of the program: a bug in user code or in ours, with its traceback
        code = EXIT_FAILED
        print_traceback(error)
        _print_error(f"{type(error).__name__}: {error}", outcome)
    if wants_json:
        from runner.outcome import add_progress

        add_progress(outcome)
        print(json.dumps(finite(outcome | {"exit_code": code}), default=str))
    return code


def _dispatch(request: Request, argv: Sequence[str], outcome: dict[str, Any]) -> int:
    if request.version:
        print(__version__)
        return EXIT_DONE
    name = "list" if request.list else request.command
    command = COMMANDS.get(name or "")
    has_container = command is None and (request.model is not None or bool(request.config))
    if request.help and name != "runs" and not has_container:
        from runner.help_text import program_help

        print(program_help(program_name()))
        return EXIT_DONE
    if request.slurm and request.launcher in (None, "local"):
        raise UsageError("--slurm_... says how jobs of Slurm are submitted: add --launcher=slurm.")
    if request.launcher and command is not None:
        raise UsageError("--launcher and --slurm_... are for runs and sweeps: --launcher=slurm --slurm_time=60.")
    if command is not None:
        return command(request)
    return _work_with_container(request, argv, outcome)


def _work_with_container(request: Request, argv: Sequence[str], outcome: dict[str, Any]) -> int:
    if request.help or request.print_config:
        return _show_container(request)
    if request.model is None and not request.config and request.resume is None:
        request = _with_default_model(request)
    if any(getattr(request, name) for name in OPTIONS if name.startswith("azureml")):
        return _azureml(request)
    if request.saliency_part is not None:
        from runner.saliency_part import saliency_part

        return saliency_part(request, _plan_fields(request) | {"command_line": [sys.argv[0], *argv]}, outcome)
    is_sweep = bool(request.sweep or request.enqueue or _resumes_sweep(request))
    if not is_sweep:
        _refuse_other_options(request)
    if request.launcher is not None:
        return _launch(request, argv, outcome, is_sweep=is_sweep)
    return (_sweep if is_sweep else _run)(request, argv, outcome)


def _launch(request: Request, argv: Sequence[str], outcome: dict[str, Any], *, is_sweep: bool) -> int:
    from runner.launcher.command import launch
    from runner.preparation import Plan

    plan = Plan(**_plan_fields(request), command_line=[sys.argv[0], *argv])
    kind = "sweep" if is_sweep else "folder"
    outcome.update({"model": request.model, kind: None})
    return launch(request, plan, is_sweep=is_sweep, on_folder=lambda folder: outcome.update({kind: folder}))


def _run(request: Request, argv: Sequence[str], outcome: dict[str, Any]) -> int:
    from runner.experiment import execute
    from runner.log_setup import console_logging
    from runner.outcome import result_lines
    from runner.places import find_place
    from runner.preparation import Plan

    outcome["model"] = request.model
    place = find_place()
    quiet = request.quiet or not place.is_first
    with console_logging(request.log_level, quiet=quiet) as context:
        plan = Plan(**_plan_fields(request), command_line=[sys.argv[0], *argv])
        result = execute(plan, context, on_folder=lambda folder: outcome.update(folder=folder))
    outcome.update(
        state=result.state, model=result.model, folder=result.folder, metrics=result.metrics, phases=result.phases
    )
    if place.is_first:
        print("\n".join(result_lines(result.model, RunFolder(result.folder))))
    return EXIT_DONE


def _resumes_sweep(request: Request) -> bool:
    return request.resume is not None and (Path(request.resume) / "plan.json").is_file()


def _refuse_other_options(request: Request) -> None:
    """Refuse options that would silently do nothing for a single run."""
    for name, option in OPTIONS.items():
        if option.doc.startswith("Sweeps: ") and getattr(request, name):
            raise UsageError(f"--{name} is for sweeps: add --sweep.")
    if request.open:
        raise UsageError("--open is for the command report.")
    if request.dry_run and not request.launcher:
        raise UsageError("--dry_run is for sweeps and jobs: add --sweep, --launcher=slurm or --azureml.")
    if request.saliency_parts and not request.launcher:
        raise UsageError("--saliency_parts needs jobs: add --launcher=slurm.")


def _sweep(request: Request, argv: Sequence[str], outcome: dict[str, Any]) -> int:
    from runner.preparation import Plan
    from runner.sweep.command import sweep

    fields = _plan_fields(request) | {"resume": None, "output_to": None}
    plan = Plan(**fields, command_line=[sys.argv[0], *argv])
    outcome.update(model=request.model, sweep=None)
    return sweep(request, plan, on_folder=lambda folder: outcome.update(sweep=folder))


def _azureml(request: Request) -> int:
    from runner.azureml.command import run_in_azureml
    from runner.preparation import Plan

    print("\n".join(run_in_azureml(request, Plan(**_plan_fields(request)))))
    return EXIT_DONE


def _plan_fields(request: Request) -> dict[str, Any]:
    return {
        "model": request.model,
        "containers": Path(request.containers or "containers"),
        "namespace": request.model_configs_namespace,
        "config": request.config,
        "overrides": request.overrides,
        "resume": Path(request.resume) if request.resume is not None else None,
        "output_to": Path(request.output_to) if request.output_to is not None else None,
    }


def _with_default_model(request: Request) -> Request:
    """Choose the container that runs when none is named, or show what there is.

    Raises:
        UsageError: the containers folder has no such container.
    """
    from runner.container_loader import scan_folder

    folder = Path(request.containers or "containers")
    names = [found.name for found in scan_folder(folder).containers] if folder.is_dir() else []
    if DEFAULT_CONTAINER in names:
        if not request.quiet:
            print(f"No --model given: running {DEFAULT_CONTAINER} ({program_name()} list shows all, --help the rest).")
        return replace(request, model=DEFAULT_CONTAINER)
    there = f" There are: {', '.join(sorted(names))}." if names else f" There are none below {folder.absolute()}."
    raise UsageError(f"Say which container to run: --model=NAME.{there}")


def _show_container(request: Request) -> int:
    from runner.help_text import config_text, container_help
    from runner.preparation import Plan, prepare_container

    if request.model is None and not request.config:
        request = _with_default_model(request)
    prepared = prepare_container(Plan(**_plan_fields(request)))
    if request.help:
        print(container_help(prepared.values, program_name()))
    else:
        print(config_text(prepared.values, prepared.model, docs=True), end="")
    return EXIT_DONE


def _print_error(message: str, outcome: dict[str, Any]) -> None:
    message = escaped(redact_urls(message))
    outcome["error"] = message
    with suppress(BrokenPipeError):
        sys.stdout.flush()
        print(f"error: {message}", file=sys.stderr)
        if outcome.get("folder"):
            from runner.run_record import resume_command, shown

            folder = RunFolder(outcome["folder"])
            print(f"The run is in {shown(folder.path)}; everything is in {folder.log.name}.", file=sys.stderr)
            print(f"Go on with: {resume_command(folder)}", file=sys.stderr)
