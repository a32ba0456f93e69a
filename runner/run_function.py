"""``run()``: the program as a Python function, for notebooks and scripts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runner.container import LightningContainer
from runner.errors import RunInterrupted
from runner.experiment import RunResult, execute
from runner.log_setup import console_logging
from runner.places import find_place
from runner.preparation import Plan, prepare


def run(
    model: str | type[LightningContainer] | None = None,
    *,
    containers: str | Path = "containers",
    config: str | Path | Sequence[str | Path] = (),
    resume: str | Path | None = None,
    output_to: str | Path | None = None,
    quiet: bool = False,
    log_level: str = "INFO",
    **values: Any,
) -> RunResult:
    """Run a container from Python: the same as ``python runner.py --model=... --name=value``.

    ``sys.argv`` is not read; working directory, environment, signal handlers and logging are as before afterwards.
    A run on several devices is made in processes of its own, so that it can be called again and again.

    Args:
        model: Name of a container, or its class.
        containers: Folder to look for the name in.
        config: Configuration file or files.
        resume: Run folder to go on with.
        output_to: Folder for the run folder, instead of ``outputs``.
        quiet: Print warnings and errors only.
        log_level: Least level to print.
        **values: Values of the container's parameters.

    Raises:
        UsageError: something about the arguments is wrong; nothing was started.
        RunFailedError: the run could not do what was asked. Exceptions of user code come through as they are.
        KeyboardInterrupt: Ctrl-C stopped the run, which can be resumed.
    """
    files = [config] if isinstance(config, str | Path) else config
    plan = Plan(
        model=model,
        containers=Path(containers),
        config=[str(file) for file in files],
        arguments=values,
        resume=Path(resume) if resume is not None else None,
        output_to=Path(output_to) if output_to is not None else None,
    )
    with console_logging(log_level.upper(), quiet=quiet) as context:
        if not _needs_processes(plan):
            try:
                return execute(plan, context)
            except RunInterrupted as error:
                raise KeyboardInterrupt from error
    from runner.child_run import run_in_child

    return run_in_child(plan, log_level=log_level.upper(), quiet=quiet)


def _needs_processes(plan: Plan) -> bool:
    """Tell whether this process would have to start others, which begin as it did: with the caller's script."""
    if find_place().is_started_outside:
        return False
    container = prepare(plan).container
    from runner.trainer import processes_per_machine

    return processes_per_machine(container) > 1
