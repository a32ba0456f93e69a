"""argv to exit code: knows the commands, prints errors, imports nothing heavy before a request is known to be good."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from runner.atomic_files import finite
from runner.command_line import OPTIONS, Request, parse_command_line, program_name
from runner.environment import redact_urls
from runner.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    RunFailedError,
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
    from runner.process_state import return_to_launch_folder

    return_to_launch_folder()
    outcome: dict[str, Any] = {"state": "failed", "model": None, "folder": None, "metrics": {}, "phases": {}}
    wants_json = "--json" in argv
    try:
        request = parse_command_line(argv)
        wants_json = request.json
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
    command = _COMMANDS.get("list" if request.list else request.command)
    has_container = command is None and (request.model is not None or bool(request.config))
    if request.help and command is not _runs and not has_container:
        from runner.help_text import program_help

        print(program_help(program_name()))
        return EXIT_DONE
    if (request.slurm and request.launcher != "slurm") or (request.launcher and command is not None):
        raise UsageError("--launcher and --slurm_... are for runs and sweeps: --launcher=slurm --slurm_time=60.")
    if command is not None:
        return command(request)
    if request.help or request.print_config:
        return _show_container(request)
    is_sweep = bool(request.sweep or request.enqueue or _resumes_sweep(request))
    if not is_sweep:
        _refuse_other_options(request)
    if request.launcher is not None:
        return _launch(request, argv, outcome, is_sweep=is_sweep)
    return (_sweep if is_sweep else _run)(request, argv, outcome)


def _launch(request: Request, argv: Sequence[str], outcome: dict[str, Any], *, is_sweep: bool) -> int:
    from runner.launcher.command import launch
    from runner.preparation import Plan

    if request.model is None and not request.config and request.resume is None:
        request = _with_default_model(request)
    plan = Plan(**_plan_fields(request), command_line=[sys.argv[0], *argv])
    kind = "sweep" if is_sweep else "folder"
    outcome.update({"model": request.model, kind: None})
    return launch(request, plan, is_sweep=is_sweep, on_folder=lambda folder: outcome.update({kind: folder}))


def _run(request: Request, argv: Sequence[str], outcome: dict[str, Any]) -> int:
    from runner.experiment import execute
    from runner.log_setup import console_logging
    from runner.outcome import result_lines
    from runner.preparation import Plan
    from runner.process_state import joined_run_folder

    if request.model is None and not request.config and request.resume is None:
        request = _with_default_model(request)
    outcome["model"] = request.model
    quiet = request.quiet or joined_run_folder() is not None
    with console_logging(request.log_level, quiet=quiet) as context:
        plan = Plan(**_plan_fields(request), command_line=[sys.argv[0], *argv])
        result = execute(plan, context, on_folder=lambda folder: outcome.update(folder=folder))
    outcome.update(
        state=result.state, model=result.model, folder=result.folder, metrics=result.metrics, phases=result.phases
    )
    if joined_run_folder() is None:
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
    if (request.dry_run or request.saliency_parts) and not request.launcher:
        name = "dry_run" if request.dry_run else "saliency_parts"
        raise UsageError(f"--{name} is for sweeps and launchers: add --sweep or --launcher=slurm.")


def _sweep(request: Request, argv: Sequence[str], outcome: dict[str, Any]) -> int:
    from runner.preparation import Plan
    from runner.sweep.command import sweep

    if request.model is None and not request.config and request.resume is None:
        request = _with_default_model(request)
    fields = _plan_fields(request) | {"resume": None, "output_to": None}
    plan = Plan(**fields, command_line=[sys.argv[0], *argv])
    outcome.update(model=request.model, sweep=None)
    return sweep(request, plan, on_folder=lambda folder: outcome.update(sweep=folder))


def _work(request: Request) -> int:
    from runner.sweep.command import work

    return work(request)


def _queue(request: Request) -> int:
    from runner.sweep.queue_commands import queue_command

    try:
        print(queue_command(request.arguments, _outputs(request)))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RunFailedError(f"The queue cannot be changed: {error}.") from error
    return EXIT_DONE


def _runs(request: Request) -> int:
    from runner.browser.command import runs_command, runs_help

    if request.help:
        print(runs_help(program_name()))
        return EXIT_DONE
    lines, is_good = runs_command(request, _outputs(request))
    print("\n".join(lines))
    return EXIT_DONE if is_good else EXIT_FAILED


def _report(request: Request) -> int:
    from runner.report_command import report_command
    from runner.run_record import shown
    from runner.shown import printable

    page = report_command(request.arguments[0], _outputs(request), opens=request.open)
    print(printable(str(shown(page)), 5000))
    return EXIT_DONE


def _completion(request: Request) -> int:
    from runner.completion import candidates, completion_script

    if request.arguments[0] != "--candidates":
        print(completion_script(request.arguments[0]))
    elif lines := candidates(*request.arguments[1:]):
        print("\n".join(lines))
    return EXIT_DONE


def _trial(request: Request) -> int:
    from runner.sweep.command import trial

    return trial(*request.arguments)


def _outputs(request: Request) -> Path:
    return Path(request.output_to or "outputs").expanduser().absolute()


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


def _list(request: Request) -> int:
    from runner.container_loader import scan_folder, shown_path

    folder = Path(request.containers or "containers").absolute()
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder} to look for containers in; name another with --containers.")
    scan = scan_folder(folder)
    rows = [(found.name, f"{shown_path(found.file)}:{found.line}", found.summary) for found in scan.containers]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    for name, place, summary in sorted(rows):
        print(f"{name:<{widths[0]}}  {place:<{widths[1]}}  {summary}".rstrip())
    for file, reason in scan.unreadable.items():
        print(f"warning: could not read {shown_path(file)}: {reason}", file=sys.stderr)
    if not rows:
        print(f"There are no containers below {folder}; {program_name()} new MyContainer writes one.", file=sys.stderr)
    return EXIT_DONE


def _new(request: Request) -> int:
    from runner.container_loader import shown_path
    from runner.scaffold import new_container

    name = request.arguments[0]
    for path in new_container(name, Path(request.containers or "containers"), Path("tests")):
        print(f"wrote {shown_path(path)}")
    print(f"Run it: {program_name()} --model={name}")
    return EXIT_DONE


def _doctor(request: Request) -> int:
    del request
    from runner.doctor import doctor

    return doctor(sys.stdout)


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


_COMMANDS: dict[str, Callable[[Request], int]] = {
    "list": _list,
    "new": _new,
    "doctor": _doctor,
    "queue": _queue,
    "work": _work,
    "runs": _runs,
    "report": _report,
    "completion": _completion,
    "trial": _trial,
}
