"""The commands that need no container: each takes the request, prints what it finds, and returns the exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from runner.command_line import Request, program_name
from runner.errors import EXIT_DONE, EXIT_FAILED, RunFailedError, UsageError


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


COMMANDS: dict[str, Callable[[Request], int]] = {
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
