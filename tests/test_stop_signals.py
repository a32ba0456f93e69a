"""Signals that stop a run: real ones, in a process of their own."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.errors import EXIT_INTERRUPTED, EXIT_TERMINATED, RunInterrupted
from runner.stop_signals import StopSignals
from tests.faults.programs import wait_for

BEGIN = """
import os, signal, sys, time
from runner import stop_signals
from runner.errors import RunInterrupted
from runner.stop_signals import StopSignals

def kill(number):
    os.kill(os.getpid(), number)

def outcome(work):
    stop = StopSignals()
    try:
        with stop.installed():
            stop.interruptible(work, stop)
    except RunInterrupted as error:
        print("interrupted", error.signal_number, error.exit_code, stop.requested)
    else:
        print("not interrupted", stop.requested)
"""


def run(code: str) -> tuple[list[str], str]:
    """Run *code* after BEGIN in a process of its own; return the lines it printed and what it said to stderr."""
    argv = [sys.executable, "-c", BEGIN + code]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


def is_alive(process: int) -> bool:
    """Tell whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_stops_at_once(name: str) -> None:
    """Where nobody defers, the signal interrupts what is going on, and the exit code is the shell's for it."""
    number = int(getattr(signal, name))
    code = f"""
def work(stop):
    kill({number})
    print("never reached")
outcome(work)
"""
    assert run(code) == ([f"interrupted {number} {128 + number} {number}"], "")


def test_a_signal_interrupts_a_wait() -> None:
    """A sleep, as a stand-in for slow user code, does not delay the end."""
    code = """
import threading
def work(stop):
    threading.Timer(0.1, kill, [signal.SIGTERM]).start()
    time.sleep(50)
outcome(work)
"""
    assert run(code)[0] == ["interrupted 15 143 15"]


def test_a_deferred_signal_waits_for_the_end_of_the_step() -> None:
    """After defer the step goes on; stop_if_requested then raises. Stderr says so at once."""
    code = """
def work(stop):
    stop.defer()
    stop.stop_if_requested()
    kill(signal.SIGINT)
    print("the step goes on", stop.requested)
    stop.stop_if_requested()
outcome(work)
"""
    lines, said = run(code)
    assert lines == ["the step goes on 2", "interrupted 2 130 2"]
    assert said == "\nSIGINT: stopping after this step; once more stops now\n"


@pytest.mark.parametrize("second", ["SIGINT", "SIGTERM"])
def test_a_second_signal_stops_now(second: str) -> None:
    """Whoever asks twice is not kept waiting; the second signal gives the exit code."""
    number = int(getattr(signal, second))
    code = f"""
def work(stop):
    stop.defer()
    kill(signal.SIGINT)
    kill({number})
    print("never reached")
outcome(work)
"""
    assert run(code)[0] == [f"interrupted {number} {128 + number} {number}"]


def test_a_step_that_does_not_end_is_stopped() -> None:
    """After the grace period the run stops with the signal that came first."""
    code = """
stop_signals.GRACE_SECONDS = 1
def work(stop):
    stop.defer()
    kill(signal.SIGINT)
    time.sleep(50)
outcome(work)
"""
    started = time.monotonic()
    lines, said = run(code)
    assert lines == ["interrupted 2 130 2"]
    assert "the step did not end within 1 s: stopping now" in said
    assert time.monotonic() - started < 40


def test_a_step_that_ends_in_time_is_not_stopped_later() -> None:
    """The grace period ends with the deferring, and with the run."""
    code = """
stop_signals.GRACE_SECONDS = 1
def work(stop):
    with stop.deferring_ends():
        stop.defer()
        kill(signal.SIGTERM)
    time.sleep(1.5)
    print("still here")
outcome(work)
print(signal.alarm(0))
def leaves(stop):
    stop.defer()
    kill(signal.SIGTERM)
outcome(leaves)
print(signal.alarm(0))
"""
    assert run(code)[0] == ["still here", "not interrupted 15", "0", "not interrupted 15", "0"]


def test_signals_raise_at_once_again_after_deferring() -> None:
    """What follows training has no steps to wait for; an exception ends the deferring as well."""
    code = """
def work(stop):
    try:
        with stop.deferring_ends():
            stop.defer()
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    kill(signal.SIGTERM)
    print("never reached")
outcome(work)
"""
    assert run(code)[0] == ["interrupted 15 143 15"]


STUCK = """
import pathlib, threading
stop_signals.LAST_SECONDS, stop_signals.HURRY_SECONDS = {last}, {hurry}
caught = threading.Event()
def send():
    for number in {numbers}:
        time.sleep(0.2)
        kill(number)
        caught.wait()  # two that wait for one thread come in no order
        caught.clear()
def stuck(stop):
    child = os.fork()
    if child == 0:
        time.sleep(100)
        os._exit(0)
    pathlib.Path("child").write_text(str(child))
    end = time.monotonic() + 50
    sender = threading.Thread(target=send, daemon=True)
    while time.monotonic() < end:
        try:
            if sender.ident is None:
                sender.start()
            time.sleep(1)
        except BaseException:
            caught.set()
stop = StopSignals()
with stop.installed(lambda state, reason: pathlib.Path("reason").write_text(reason)):
    stop.interruptible(stuck, stop)
"""


@pytest.mark.parametrize(("last", "hurry", "numbers"), [(1, 90, [15]), (90, 0.5, [2, 15])])
def test_code_that_does_not_stop_is_ended(last: float, hurry: float, numbers: list[int], tmp_path: Path) -> None:
    """Whatever it catches, after one signal in time, after two sooner; its children too; the first signal counts."""
    code = BEGIN + STUCK.format(last=last, hurry=hurry, numbers=numbers)
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert time.monotonic() - started < 45
    assert done.returncode == 128 + numbers[0]
    assert "by force" in (tmp_path / "reason").read_text()
    assert "in stuck" in done.stderr  # where it was
    child = int((tmp_path / "child").read_text())
    wait_for(lambda: not is_alive(child))  # a kill takes effect when the system has time for it


def test_signals_of_children_are_their_own() -> None:
    """A data loader's worker that is terminated does not end the run."""
    code = """
stop_signals.LAST_SECONDS = 0.5
def work(stop):
    child = os.fork()
    if child == 0:
        kill(signal.SIGTERM)
        os._exit(1)
    os.waitpid(child, 0)
    time.sleep(1.5)
outcome(work)
"""
    assert run(code)[0] == ["not interrupted None"]


def test_what_was_forked_does_not_keep_the_block_from_ending() -> None:
    """As the data loader's workers, which live on while an exception is written down."""
    code = """
children = []
def work(stop):
    children.append(os.fork())
    if children == [0]:
        time.sleep(50)
        os._exit(0)
started = time.monotonic()
outcome(work)
print(time.monotonic() - started < 40)
os.kill(children[0], signal.SIGKILL)
"""
    assert run(code)[0] == ["not interrupted None", "True"]


def test_handlers_are_given_back() -> None:
    """Before, during and after are told apart, also when the run was interrupted; Ctrl-C is Python's again."""
    code = """
numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts jobs in the background without it
before = [signal.getsignal(number) for number in numbers]
outcome(lambda stop: print(before != [signal.getsignal(number) for number in numbers]))
outcome(lambda stop: kill(signal.SIGTERM))
print(before == [signal.getsignal(number) for number in numbers])
try:
    kill(signal.SIGINT)
except KeyboardInterrupt:
    print("KeyboardInterrupt")
"""
    assert run(code)[0] == ["True", "not interrupted None", "interrupted 15 143 15", "True", "KeyboardInterrupt"]


def test_what_nohup_started_outlives_its_terminal() -> None:
    """The end of an SSH connection sends SIGHUP, which nohup has the program ignore; other signals stop it."""
    code = """
def work(stop):
    kill(signal.SIGHUP)
    print("goes on")
    kill(signal.SIGTERM)
outcome(work)
"""
    program = ["nohup", sys.executable, "-c", BEGIN + code]
    done = subprocess.run(program, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["goes on", "interrupted 15 143 15"]


def test_user_code_cannot_swallow_the_stop_by_accident() -> None:
    """The interruption is no Exception, so ``except Exception`` lets it through."""
    code = """
def work(stop):
    try:
        kill(signal.SIGTERM)
    except Exception:
        print("swallowed")
outcome(work)
"""
    assert run(code)[0] == ["interrupted 15 143 15"]


def in_a_thread(work: Callable[[], Any]) -> list[Any]:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results


def test_another_thread_leaves_the_handlers_alone() -> None:
    """Only the main thread can handle signals; elsewhere, as in some notebooks, a run works without."""

    def work() -> Any:
        with StopSignals().installed():
            return signal.getsignal(signal.SIGTERM)

    assert in_a_thread(work) == [signal.getsignal(signal.SIGTERM)]


def test_a_swallowed_interruption_comes_again() -> None:
    """Raised inside of a __del__ it is lost, or in code that catches everything."""
    code = """
stop_signals.AGAIN_SECONDS = 1
class Slow:
    def __del__(self):
        kill(signal.SIGTERM)
def work(stop):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])  # not before it is said, however slow that is
    Slow()
    print("swallowed")
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    time.sleep(50)
outcome(work)
"""
    lines, said = run(code)
    assert lines == ["swallowed", "interrupted 15 143 15"]
    assert "Exception ignored" in said


def test_what_follows_the_interruptible_part_comes_to_its_end() -> None:
    """However many signals come where the end is written down, from the first instruction after the interruption."""
    code = """
stop = StopSignals()
def work():
    kill(signal.SIGTERM)
with stop.installed():
    try:
        stop.interruptible(work)
    except RunInterrupted as error:
        kill(signal.SIGINT)
        kill(signal.SIGTERM)
        print("written", error.signal_number, stop.requested)
print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
"""
    assert run(code)[0] == ["written 15 15", "True"]


def test_blocks_in_blocks() -> None:
    """What ends in good order inside of something that can be interrupted still ends in good order."""
    code = """
outer, inner = StopSignals(), StopSignals()
def work():
    with inner.installed():
        try:
            inner.interruptible(kill, signal.SIGINT)
        except RunInterrupted:
            kill(signal.SIGTERM)
            print("written")
    kill(signal.SIGHUP)
    print("never reached")
with outer.installed():
    try:
        outer.interruptible(work)
    except RunInterrupted as error:
        print("interrupted", error.signal_number)
"""
    assert run(code)[0] == ["written", "interrupted 1"]


def test_a_signal_before_the_interruptible_part_is_not_lost() -> None:
    """It interrupts as soon as something can be interrupted."""
    code = """
stop = StopSignals()
with stop.installed():
    kill(signal.SIGTERM)
    try:
        stop.interruptible(print, "never reached")
    except RunInterrupted as error:
        print("interrupted", error.signal_number)
"""
    assert run(code)[0] == ["interrupted 15"]


def test_nothing_is_requested_at_first() -> None:
    """Without a signal stop_if_requested does nothing."""
    stop = StopSignals()
    stop.stop_if_requested()
    assert stop.requested is None


def test_exit_codes_are_those_of_shells() -> None:
    """128 plus the signal's number."""
    assert RunInterrupted(signal.SIGINT).exit_code == EXIT_INTERRUPTED
    assert RunInterrupted(signal.SIGTERM).exit_code == EXIT_TERMINATED
    assert str(RunInterrupted(15)) == "stopped by SIGTERM"


def test_a_closed_stderr_does_not_keep_a_run_from_stopping() -> None:
    """Where nobody can be told, the signal still counts."""
    code = """
def work(stop):
    os.close(2)
    stop.defer()
    kill(signal.SIGTERM)
    stop.stop_if_requested()
outcome(work)
"""
    assert run(code)[0] == ["interrupted 15 143 15"]
