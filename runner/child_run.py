"""A run on several devices for a caller in Python: in processes of its own, as often as wanted from one notebook."""

from __future__ import annotations

import importlib.util
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import cloudpickle  # for our own bytes: a request and its answer, in a private folder

from runner.atomic_files import atomic_file
from runner.environment import redact
from runner.errors import RunFailedError, RunInterrupted, UsageError
from runner.experiment import RunResult, execute
from runner.log_setup import console_logging
from runner.places import find_place
from runner.preparation import Plan
from runner.process_state import return_to_launch_folder

_RESULT = "result"

SHOW_SECONDS = 5.0
"""How long the rest of what the process has printed may take; what it has started may still hold the pipe."""


@dataclass(frozen=True)
class _Request:
    """What the caller asks for, and what of its process is needed to understand it."""

    plan: bytes
    """Pickled on its own, as it needs *path*."""
    log_level: str
    quiet: bool
    path: list[str]
    """The caller's ``sys.path``."""
    main_file: str | None
    """The caller's script; None in a notebook."""


def run_in_child(plan: Plan, *, log_level: str, quiet: bool) -> RunResult:
    """Run *plan* in a process of its own, which starts those for the other devices, and show what they print.

    Ctrl-C goes to the run, which ends in good order; when this process ends, the run ends as well.

    Args:
        plan: What to run. A class that this process has made travels with what it needs.
        log_level: Least level to print.
        quiet: Print warnings and errors only.

    Raises:
        KeyboardInterrupt: the run was stopped.
        Exception: what the run raised.
    """
    main_file = getattr(sys.modules["__main__"], "__file__", None)
    request = _Request(_pickled(plan), log_level, quiet, list(sys.path), main_file)
    with tempfile.TemporaryDirectory(prefix="lightcase-") as folder:
        file = Path(folder) / "request"
        file.write_bytes(pickle.dumps(request))  # our own bytes
        _wait_for(_start(file))
        try:
            outcome = pickle.loads((file.parent / _RESULT).read_bytes())  # noqa: S301 - our own bytes
        except FileNotFoundError:
            raise RunFailedError("The process of the run was ended before it could say how the run went.") from None
    if isinstance(outcome, RunResult):
        return outcome
    raise outcome


def _pickled(plan: Plan) -> bytes:
    module = sys.modules.get(plan.model.__module__) if isinstance(plan.model, type) else None
    if module is not None and not _can_be_imported(module.__name__):  # it was loaded from a file
        cloudpickle.register_pickle_by_value(module)
    try:
        content: bytes = cloudpickle.dumps(plan)
    except Exception as error:
        raise UsageError(
            f"run() on several devices sends the container to the processes of the run, and that cannot be: {error}. "
            "Give the name of a container in a file instead."
        ) from error
    return content


def _can_be_imported(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return name == "__main__"


def _start(file: Path) -> subprocess.Popen[bytes]:
    home = str(Path(__file__).parents[1])
    search = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "runner.child_run", str(file)],  # -P: not one in the working directory
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": search},
        start_new_session=True,  # Ctrl-C comes from here, once
    )  # fmt: skip


def _wait_for(process: subprocess.Popen[bytes]) -> None:
    """Show what the process prints until it ends; pass Ctrl-C on."""
    assert process.stdout is not None
    assert process.stderr is not None
    shown = [
        threading.Thread(target=_show, args=(stream, name), daemon=True)
        for stream, name in ((process.stdout, "stdout"), (process.stderr, "stderr"))
    ]
    for each in shown:
        each.start()
    while process.poll() is None:
        try:
            process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
    for each in shown:
        each.join(SHOW_SECONDS)
    if process.stdin is not None:
        process.stdin.close()


def _show(stream: IO[bytes], name: str) -> None:
    """Print to what is stdout or stderr now: a notebook has its own."""
    for line in stream:
        text, target = line.decode(errors="replace"), getattr(sys, name)
        with suppress(Exception):  # nobody reads any more, for one; the run goes on
            encoding = getattr(target, "encoding", None) or "utf-8"
            print(text.encode(encoding, "backslashreplace").decode(encoding), end="", file=target, flush=True)


def main() -> int:
    """Run the request in the file that the command line names; as another process of the run, take part in it."""
    return_to_launch_folder()
    file = Path(sys.argv[1])
    request: _Request = pickle.loads(file.read_bytes())  # noqa: S301 - our own bytes
    sys.path[:] = [*request.path, *(each for each in sys.path if each not in request.path)]  # as in the caller
    main_module: Any = sys.modules["__main__"]
    main_module.__file__ = request.main_file  # where classes of the caller's script say that they are from
    is_first = find_place().is_first
    if is_first:
        threading.Thread(target=_end_with_caller, name="caller", daemon=True).start()
    outcome: RunResult | BaseException
    with console_logging(request.log_level, quiet=request.quiet or not is_first) as context:
        try:
            outcome = execute(pickle.loads(request.plan), context)  # noqa: S301 - our own bytes
        except RunInterrupted as error:
            outcome = KeyboardInterrupt(str(error))
            code = error.exit_code
        except BaseException as error:
            outcome, code = error, 1
    if is_first:
        _write_result(file.parent / _RESULT, outcome)
    elif isinstance(outcome, BaseException):
        return code
    return 0


def _end_with_caller() -> None:
    """Stop in good order when the caller's process has ended, which closes the pipe."""
    with suppress(OSError):
        while os.read(0, 1):
            pass
    os.kill(os.getpid(), signal.SIGTERM)


def _write_result(file: Path, outcome: RunResult | BaseException) -> None:
    try:
        content = pickle.dumps(outcome)  # our own bytes; some exceptions cannot be made anew from their arguments
        pickle.loads(content)  # noqa: S301 - our own bytes
    except Exception:
        failure = RunFailedError(redact(f"{type(outcome).__name__}: {outcome}"))
        content = pickle.dumps(failure)  # our own bytes
    with suppress(FileNotFoundError), atomic_file(file) as target:
        target.write(content)


if __name__ == "__main__":
    sys.exit(main())
