"""The state of the process that a run changes and gives back: working directory, environment, torch's switches."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runner.places import find_place
from runner.run_folder import RUN_FOLDER_VARIABLE

LAUNCH_FOLDER_VARIABLE = "LIGHTCASE_LAUNCH_FOLDER"
"""Environment variable that tells the other processes of a run where the first one was started."""

_VARIABLES = (
    RUN_FOLDER_VARIABLE,
    LAUNCH_FOLDER_VARIABLE,
    "PYTHONPATH",
    "PL_GLOBAL_SEED",
    "PL_SEED_WORKERS",
    "CUBLAS_WORKSPACE_CONFIG",
    "MASTER_ADDR",
    "MASTER_PORT",
    "NODE_RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
)


def return_to_launch_folder() -> None:
    """In a process that the first one of a run has started in the run folder, go where that was started."""
    if find_place().joined is not None:
        os.chdir(os.environ[LAUNCH_FOLDER_VARIABLE])


@contextmanager
def run_environment(folder: Path) -> Iterator[None]:
    """Prepare this process, and those it starts, for a run in *folder*; undo it all afterwards.

    The script's own path is made absolute and the framework's folder put on PYTHONPATH, since Lightning starts the
    other processes of a run with the same command from the run folder.
    """
    launch_folder, script = Path.cwd(), sys.argv[0] if sys.argv else ""
    before = {name: os.environ.get(name) for name in _VARIABLES}
    was_deterministic = _torch_switches()
    os.environ.setdefault(LAUNCH_FOLDER_VARIABLE, str(launch_folder))
    os.environ[RUN_FOLDER_VARIABLE] = str(folder)
    home = str(Path(__file__).parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [home, before["PYTHONPATH"]]))
    if script and Path(script).is_file():
        sys.argv[0] = str(Path(script).absolute())
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(launch_folder)
        if script:
            sys.argv[0] = script
        restore_variables(before)
        _set_torch_switches(was_deterministic)


@contextmanager
def distributed_variables_restored() -> Iterator[None]:
    """Leave a process group after training, so that what follows runs on one device."""
    names = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")
    before = {name: os.environ.get(name) for name in names}
    yield
    import torch.distributed

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    restore_variables(before)


def restore_variables(before: dict[str, str | None]) -> None:
    """Set environment variables to what they were; None means that there was none."""
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _torch_switches() -> tuple[bool, bool]:
    """Return whether torch uses deterministic algorithms only, and whether it just warns; False before it is loaded."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False, False
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _set_torch_switches(switches: tuple[bool, bool]) -> None:
    """Undo ``Trainer(deterministic=...)``, which switches the whole process."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.use_deterministic_algorithms(switches[0], warn_only=switches[1])
