"""A: killed, signalled, rebooted. Rows as in docs/trust.md."""

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from runner import experiment, stop_signals
from runner.folder_lock import is_locked
from runner.log_setup import RunContext
from runner.status_file import StatusFile
from tests.faults.programs import (
    fingerprint,
    let_go_on,
    run,
    run_folder,
    start,
    status,
    tiny,
    wait_for,
    waiting_run,
)

EPOCHS = "--num_epochs=10"
SLOW = (EPOCHS, "--step_seconds=0.03", "--image_seconds=0.002")
SLOW_TEST = (EPOCHS, "--image_seconds=0.05", "--saliency_method=none")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a run comes to that nobody touches."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run(folder, *tiny(EPOCHS))
    return fingerprint(run_folder(folder))


def die_in(fatal: str, seconds: float) -> None:
    """Kill the program so long after it has begun a phase: by its own clock, since the test may be late."""
    enter = experiment._enter

    def enter_and_die(context: RunContext, status: StatusFile, phase: str) -> None:
        enter(context, status, phase)
        if phase == fatal:
            timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
            timer.daemon = True
            timer.start()

    experiment._enter = enter_and_die


@pytest.mark.parametrize("phase", ["train", "test", "saliency"])
def test_a1_kill_9(phase: str, tmp_path: Path, undisturbed: dict[str, str]) -> None:
    """Killed again and again at random moments of a phase, a run ends in the same bits."""
    choose = random.Random(phase)
    argv = tiny(*(SLOW_TEST if phase == "test" else SLOW))
    kills = 0
    while kills < 20:
        program = start(tmp_path, *argv, first=partial(die_in, phase, choose.uniform(0, 0.12)))
        if program.wait() == 0:
            break
        assert program.exit_code == -signal.SIGKILL, program.output
        kills += 1
        folder = run_folder(tmp_path)
        assert not is_locked(folder)
        argv = (f"--resume={folder}",)
    assert kills >= 10
    run(tmp_path, *argv)
    assert status(folder)["state"] == "completed"
    found = fingerprint(folder)
    if phase == "test":  # without saliency it takes less time
        without = ("saliency", "0000", "results")
        assert found.items() >= {k: v for k, v in undisturbed.items() if not k.startswith(without)}.items()
        results = json.loads(found["results"])
        assert results.items() <= json.loads(undisturbed["results"]).items()
    else:
        assert found == undisturbed
    assert not list(folder.rglob(".*.tmp"))


def be_patient() -> None:
    """Let nothing end the program by force, however slow the machine is."""
    stop_signals.GRACE_SECONDS, stop_signals.LAST_SECONDS, stop_signals.HURRY_SECONDS = 600, 600.0, 600.0


@pytest.mark.parametrize(
    ("row", "numbers", "code"),
    [
        ("A4 SIGTERM in training", [signal.SIGTERM], 143),
        ("A7 Ctrl-C", [signal.SIGINT], 130),
        ("A8 Ctrl-C twice", [signal.SIGINT, signal.SIGINT], 130),
        ("A9 SIGTERM, then SIGINT", [signal.SIGTERM, signal.SIGINT], 130),
        ("A10 SIGHUP", [signal.SIGHUP], 129),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_signals(
    row: str, numbers: list[signal.Signals], code: int, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    """A run that is asked to stop ends after its step, at once when asked twice, and goes on to the same bits."""
    program = start(tmp_path, *tiny(EPOCHS, "--fault=waits", "--at=5"), first=be_patient)
    folder = waiting_run(tmp_path)
    for number in numbers:
        program.send(number)
        wait_for(lambda: "once more stops now" in program.output)
    if len(numbers) == 1:
        let_go_on(folder)
    assert program.wait() == code, row
    assert status(folder)["state"] == "interrupted"
    assert status(folder)["exit_reason"] == f"stopped by {signal.Signals(code - 128).name}"
    assert f"--resume={folder.relative_to(tmp_path)}" in program.output
    let_go_on(folder)
    run(tmp_path, f"--resume={folder}")
    assert fingerprint(folder) == undisturbed


@pytest.mark.parametrize("fault", ["A6 slow preparation", "A6 saliency"])
def test_a6_signals_outside_of_training(fault: str, tmp_path: Path) -> None:
    """There is a handler for the whole life of the run."""
    if fault == "A6 saliency":
        program = start(tmp_path, *tiny("--fault=saliency waits", "--at=2"), first=be_patient)
        folder = waiting_run(tmp_path)
    else:
        program = start(tmp_path, *tiny("--fault=slow preparation"), first=be_patient)
        folder = wait_for(lambda: run_folder(tmp_path))
        wait_for((folder / "preparing").is_file)
    program.send(signal.SIGTERM)
    assert program.wait() == 143
    assert status(folder)["exit_reason"] == "stopped by SIGTERM"  # not by force
    assert status(folder)["state"] == "interrupted"


def hurry() -> None:
    """Shorten what the program waits for; that it is short enough as it is, the test says itself."""
    assert stop_signals.GRACE_SECONDS < stop_signals.LAST_SECONDS
    assert stop_signals.LAST_SECONDS + stop_signals.WORDS_SECONDS < 30
    stop_signals.GRACE_SECONDS, stop_signals.LAST_SECONDS = 2, 4.0


@pytest.mark.parametrize(
    ("row", "argv", "numbers", "first", "most"),
    [
        ("A5 hanging batch", ["--fault=loader hangs"], [signal.SIGTERM], hurry, 26),
        ("A5 hanging worker", ["--fault=loader hangs", "--num_workers=1"], [signal.SIGTERM], hurry, 26),
        ("A8 stubborn code, twice", ["--fault=stubborn"], [signal.SIGINT, signal.SIGINT], None, 26),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_hangs_is_ended(
    row: str,
    argv: list[str],
    numbers: list[signal.Signals],
    first: Callable[[], None] | None,
    most: float,
    tmp_path: Path,
) -> None:
    """In time, sooner after two signals; no process is left; the run can be resumed."""
    program = start(tmp_path, *tiny(*argv, "--at=3"), first=first)
    folder = wait_for(lambda: run_folder(tmp_path))
    wait_for((folder / "hangs").is_file)
    started = time.monotonic()
    os.kill(program.pid, numbers[0])
    for number in numbers[1:]:
        wait_for(lambda: "once more stops now" in program.output)
        os.kill(program.pid, number)
    assert program.wait() == 128 + numbers[0], row
    assert time.monotonic() - started < most
    assert status(folder)["state"] == "interrupted"
    wait_for(lambda: not program.alive)


def test_a11_a_killed_parent_of_a_hanging_worker(tmp_path: Path) -> None:
    """The lock is free at once, though the worker lives on."""
    program = start(tmp_path, *tiny("--fault=loader hangs", "--num_workers=1", "--at=3"))
    folder = wait_for(lambda: run_folder(tmp_path))
    wait_for((folder / "hangs").is_file)
    os.kill(program.pid, signal.SIGKILL)
    assert program.wait() == -signal.SIGKILL
    assert not is_locked(folder)
    assert program.alive
    program.send(signal.SIGKILL)


@pytest.mark.parametrize(
    ("row", "fault", "words"),
    [
        ("A13 out of memory", "out of memory", "OutOfMemoryError"),
        ("A15 exception in on_exception", "step raises", "the step is"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_errors_of_user_code(row: str, fault: str, words: str, tmp_path: Path) -> None:
    """The first error is the one that is reported, with its traceback and exit code 1."""
    output = run(tmp_path, *tiny(f"--fault={fault}"), code=1)
    found = status(run_folder(tmp_path))
    assert found["state"] == "failed", row
    assert words in found["exit_reason"]
    assert "faulty_parts.py" in output


EXIT_FAULTS = [
    "", "setup raises", "no model", "no data", "wrong data", "report raises", "validation raises", "test raises",
    "nan loss", "nan gradient", "item raises", "wrong shape", "bad label", "empty train", "empty val", "empty test",
    "no full batch train", "no full batch test", "checkpoints unwritable", "checkpoints removed",
]  # fmt: skip


OUR_BUSINESS = {
    each for each in EXIT_FAULTS if not each.endswith("raises") and each not in ("wrong shape", "bad label")
}
"""Faults whose message is ours: no traceback."""


@pytest.mark.parametrize("fault", EXIT_FAULTS)
def test_a16_exit_code(fault: str, tmp_path: Path) -> None:
    """0 exactly when every phase that was asked for is completed."""
    program = start(tmp_path, *tiny(f"--fault={fault}", "--at=2"))
    code = program.wait()
    found = status(run_folder(tmp_path))
    assert (code == 0) == (found["state"] == "completed"), program.output
    assert (code == 0) == (fault == ""), program.output
    assert "Traceback" not in program.output or fault not in OUR_BUSINESS, program.output
    if code == 0:
        assert {each["state"] for name, each in found["phases"].items() if name != "inference"} == {"completed"}
