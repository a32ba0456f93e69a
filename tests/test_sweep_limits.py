"""What ends trials and sweeps early: limits, a pause, and the kill of what does not stop."""

import os
import signal
from pathlib import Path

from runner.sweep import supervisor
from runner.sweep.sweep_folder import SweepFolder
from tests.faults import programs, warm_children
from tests.sweep_samples import begun_sweep, only_sweep, results, run, start, sweeping, wait_until

ENDLESS = ("--num_epochs=100000", "--pause=0.1")
"""Hours of training, which can be stopped after each step."""


def states(sweep: SweepFolder) -> dict[int, str]:
    return dict(sorted(sweep.sealed().items()))


def test_the_time_of_a_sweep(tmp_path: Path) -> None:
    """Trials that would take hours stop and stay open; it says how to go on, and names no report that is not there."""
    (tmp_path / "limited.yaml").write_text("parameters: {x: [1, 2, 3]}\nlimits: {time: 2s}\n")
    program = start(tmp_path, sweeping("--sweep=limited.yaml", *ENDLESS))
    assert program.wait(300) == 1
    sweep = only_sweep(tmp_path)
    assert states(sweep) == {}
    assert not any(sweep.is_running(number) for number in sweep.started())
    assert "the time that the sweep was given is over" in program.output
    assert f"Go on with: python runner.py --resume=outputs/sweeps/{sweep.name}" in program.output
    assert "report.html" not in program.output
    assert f"{sweep.name}  queued" in run(tmp_path, ["queue"])


def test_the_failures_of_a_sweep(tmp_path: Path) -> None:
    """Those of a limit pause it, whatever their reasons; after a retry they are counted anew."""
    argv = sweeping("--sweep", 'mode=raise,"",exit,nan,close', "--sweep_metric=score", "--workers=1")
    error = run(tmp_path, [*argv, "--max_failures=2"], code=1)
    sweep = only_sweep(tmp_path)
    assert states(sweep) == {0: "failed", 1: "completed", 2: "failed"}
    assert "is paused: 2 trials failed" in error
    assert "paused, 2 trials failed" in run(tmp_path, ["queue"])
    run(tmp_path, ["queue", "resume", sweep.name])
    run(tmp_path, [f"--resume={sweep.path}", "--max_failures=2"], code=1)
    assert states(sweep) == {0: "failed", 1: "completed", 2: "failed", 3: "failed", 4: "completed"}


WAITS = """
import time
from pathlib import Path
from runner import LightningContainer
class Waits(LightningContainer):
    def create_model(self):
        end = time.monotonic() + 250
        while not Path({go!r}).exists() and time.monotonic() < end:
            time.sleep(0.01)
        raise ValueError("it has waited")
"""


def test_a_pause_lets_trials_end(tmp_path: Path) -> None:
    """The one that runs comes to its own end, and no other is begun, until the sweep is resumed."""
    (tmp_path / "containers").mkdir()
    (tmp_path / "containers" / "waits.py").write_text(WAITS.format(go=str(tmp_path / "go")))
    program = start(tmp_path, ["--model=Waits", "--sweep", "l_rate=0.1,0.2", "--workers=1"])
    sweep = begun_sweep(tmp_path)
    wait_until(lambda: sweep.is_running(0))
    assert run(tmp_path, ["queue"]).splitlines()[1].split()[1:7] == ["running", "0", "0/2", "1", "1", "0"]
    run(tmp_path, ["queue", "pause", sweep.name])
    (tmp_path / "go").touch()
    assert program.wait(300) == 1
    assert "is paused: by queue pause" in program.output
    assert sweep.started() == {0}
    assert results(sweep)[0]["reason"] == "ValueError: it has waited"
    run(tmp_path, ["queue", "resume", sweep.name])
    run(tmp_path, ["work"], code=1)
    assert states(sweep) == {0: "failed", 1: "failed"}


def impatient() -> None:
    """Let a program under test kill soon what it has asked to stop."""
    supervisor.STOP_SECONDS = 1.0
    warm_children.prepare(2)


STUBBORN = """
import signal, time
from runner import LightningContainer
class Stubborn(LightningContainer):
    def create_model(self):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
        time.sleep(1000)
"""


def test_what_does_not_stop_is_killed(tmp_path: Path) -> None:
    """Also where it hears no signal; it fails with the reason for which it was to stop."""
    (tmp_path / "containers").mkdir()
    (tmp_path / "containers" / "stubborn.py").write_text(STUBBORN)
    argv = ["--model=Stubborn", "--sweep", "l_rate=0.1", "--trial_timeout=3s"]
    assert programs.start(tmp_path, *argv, first=impatient).wait(300) == 1
    assert results(only_sweep(tmp_path))[0]["reason"] == "took longer than 3 s"


def test_threads_that_are_left_behind_are_killed(tmp_path: Path) -> None:
    """The result counts, and nobody waits for them."""
    program = programs.start(tmp_path, *sweeping("--sweep", "mode=thread"), first=impatient)
    assert program.wait(300) == 0
    assert states(only_sweep(tmp_path)) == {0: "completed"}


def test_trials_of_a_dead_supervisor_are_watched(tmp_path: Path) -> None:
    """Another supervisor adopts them, and its limits hold for that."""
    argv = sweeping("--sweep", "x=1", *ENDLESS)
    first = start(tmp_path, argv)
    sweep = begun_sweep(tmp_path)
    wait_until((sweep.point(0) / "status.json").is_file)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert sweep.is_running(0)
    run(tmp_path, [*argv, "--trial_timeout=2s"], code=1)
    assert results(sweep)[0]["reason"] == "took longer than 2 s"
