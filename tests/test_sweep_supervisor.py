"""Supervisors and workers for real: what is killed, hangs, fails or is asked to stop."""

import csv
import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest

from runner.sweep.sweep_folder import SweepFolder
from tests.brake import braked, release
from tests.sweep_samples import (
    attempts,
    begun_sweep,
    command,
    fingerprints,
    only_sweep,
    results,
    run,
    run_command,
    start,
    sweeping,
    wait_until,
)


def states(sweep: SweepFolder) -> dict[int, str]:
    return dict(sorted(sweep.sealed().items()))


def running(sweep: SweepFolder) -> list[int]:
    return [number for number in sorted(sweep.started() - sweep.sealed().keys()) if sweep.is_running(number)]


def pid_of(sweep: SweepFolder, number: int) -> int | None:
    """Return the process that works on a trial, once it trains."""
    path = sweep.point(number) / "status.json"
    status = json.loads(path.read_text()) if path.is_file() else {}
    return int(status["pid"]) if status.get("epochs_finished", 0) >= 1 else None


def test_a_grid_is_run_and_joined(tmp_path: Path) -> None:
    """Every point is a run folder; the same command again runs nothing; --new makes another sweep."""
    argv = sweeping("--sweep", "x=0.1,0.2", "--sweep", "kind=a,b", "--num_epochs=1", "--sweep_metric=score")
    text = run(tmp_path, argv)
    assert "4 trials: 4 completed" in text
    sweep = only_sweep(tmp_path)
    assert states(sweep) == dict.fromkeys(range(4), "completed")
    assert [body["params"] for body in results(sweep).values()] == [
        {"x": x, "kind": kind} for x in ("0.1", "0.2") for kind in ("a", "b")
    ]
    for number, body in results(sweep).items():
        assert body["values"] == [pytest.approx((float(body["params"]["x"]) - 0.3) ** 2, rel=1e-5)]
        assert f"x: {body['params']['x']}" in (sweep.point(number) / "config.yaml").read_text()
        assert json.loads((sweep.point(number) / "status.json").read_text())["state"] == "completed"
    rows = list(csv.DictReader(sweep.table.read_text().splitlines()))
    assert [(row["number"], row["state"], row["x"], row["kind"], row["attempts"]) for row in rows] == [
        (str(number), "completed", *body["params"].values(), "1") for number, body in results(sweep).items()
    ]
    for row, body in zip(rows, results(sweep).values(), strict=True):
        assert {"score", "val_loss", "test_loss", "train_loss"} <= body["metrics"].keys()
        assert {name: float(row[name]) for name in body["metrics"]} == body["metrics"]
        assert float(row["seconds"]) > 0
    assert json.loads(sweep.summary.read_text())["best_trials"] == [0]
    assert "<svg" in sweep.report.read_text()
    before = fingerprints(sweep)
    again = run(tmp_path, argv)
    assert "4 completed of 4 trials" in again
    assert fingerprints(only_sweep(tmp_path)) == before
    assert all(attempts(sweep, number) == 1 for number in range(4))
    run(tmp_path, [*argv, "--new", "--dry_run"])
    only_sweep(tmp_path)
    run(tmp_path, [*argv, "--new"])
    assert len(list((tmp_path / "outputs" / "sweeps").glob("2*"))) == 2


def test_failures_are_told_apart(tmp_path: Path) -> None:
    """An error of user code fails the trial, a death goes on, one that only dies is given up, NaN is never a result."""
    argv = sweeping("--sweep", 'mode=raise,die,die once,nan,""', "--sweep_metric=score")
    error = run(tmp_path, argv, code=1)
    assert "--retry_failed" in error
    sweep = only_sweep(tmp_path)
    assert states(sweep) == {0: "failed", 1: "given_up", 2: "completed", 3: "failed", 4: "completed"}
    reasons = {number: body["reason"] for number, body in results(sweep).items()}
    assert reasons[0] == "ZeroDivisionError: as asked"
    assert "3 times" in reasons[1]
    assert reasons[3] == "score is nan"
    assert [attempts(sweep, number) for number in range(5)] == [1, 4, 2, 1, 1]
    assert "ZeroDivisionError" in (sweep.point(0) / "run.log").read_text()
    run(tmp_path, [f"--resume={sweep.path}", "--retry_failed"], code=1)
    assert states(sweep) == {0: "failed", 1: "given_up", 2: "completed", 3: "failed", 4: "completed"}
    assert attempts(sweep, 2) == 2  # what was completed is left alone


def test_deaths_with_progress_do_not_count(tmp_path: Path) -> None:
    """A trial that dies in each of its six epochs once gets to its end, from checkpoint to checkpoint."""
    run(tmp_path, sweeping("--sweep", "mode=die each epoch", "--num_epochs=6"))
    sweep = only_sweep(tmp_path)
    assert states(sweep) == {0: "completed"}
    assert attempts(sweep, 0) == 7


SAYS_HOW = """
import multiprocessing
from runner import LightningContainer
class SaysHow(LightningContainer):
    def create_model(self):
        raise ValueError(multiprocessing.get_start_method())
"""


def test_data_is_loaded_as_in_any_run(tmp_path: Path) -> None:
    """Processes that a trial starts are not those of the warm server, which would import everything again."""
    (tmp_path / "containers").mkdir()
    (tmp_path / "containers" / "says_how.py").write_text(SAYS_HOW)
    run(tmp_path, ["--model=SaysHow", "--sweep", "l_rate=0.1"], code=1)
    usual = multiprocessing.get_all_start_methods()[0]
    assert results(only_sweep(tmp_path))[0]["reason"] == f"ValueError: {usual}"


def test_odd_ways_to_end(tmp_path: Path) -> None:
    """Ending the process is no success, however it is done; what the code closes is its own business."""
    run(tmp_path, sweeping("--sweep", "mode=leave,exit,close"), code=1)
    sweep = only_sweep(tmp_path)
    assert states(sweep) == {0: "given_up", 1: "failed", 2: "completed"}
    assert results(sweep)[1]["reason"] == "SystemExit: 0"


def test_equal_failures_pause_the_sweep(tmp_path: Path) -> None:
    """After five failures for the same reason the rest is not even tried, until somebody opens the sweep again."""
    error = run(tmp_path, sweeping("--sweep", "x=0..9", "--mode=raise", "--workers=1"), code=1)
    sweep = only_sweep(tmp_path)
    assert len(states(sweep)) == 5
    assert "5 trials in a row failed for the same reason: ZeroDivisionError: as asked" in error
    assert "paused" in run(tmp_path, ["queue"])
    run(tmp_path, ["queue", "resume", sweep.name])
    run(tmp_path, ["work"], code=1)
    assert len(states(sweep)) == 10


def test_fail_fast(tmp_path: Path) -> None:
    """The first failure ends everything."""
    run(tmp_path, sweeping("--sweep", 'mode=raise,"",die once', "--fail_fast", "--workers=1"), code=1)
    assert states(only_sweep(tmp_path)) == {0: "failed"}


def test_a_trial_that_hangs_is_stopped(tmp_path: Path) -> None:
    """It fails with the reason, and the others go on; what they need may be much more where the machine is slow."""
    reasons = {"trial_timeout": "took longer than 15 s", "stall_timeout": "got no further for 15 s"}
    programs = {}
    for option in reasons:  # both at once: they only wait
        (tmp_path / option).mkdir()
        programs[option] = start(tmp_path / option, sweeping("--sweep", 'mode=hang,""', f"--{option}=15"))
    for option, reason in reasons.items():
        assert programs[option].wait() == 1, programs[option].output
        sweep = only_sweep(tmp_path / option)
        assert states(sweep) == {0: "failed", 1: "completed"}
        assert reason in results(sweep)[0]["reason"]


def test_ctrl_c_stops_in_good_order(tmp_path: Path) -> None:
    """Trials end after their step with a checkpoint; the same command goes on; it costs them no attempt."""
    argv = sweeping("--sweep", "x=0..1", "--num_epochs=30", "--pause=1", braked(tmp_path))
    first = start(tmp_path, argv)
    sweep = begun_sweep(tmp_path)
    wait_until(lambda: all(pid_of(sweep, number) for number in range(2)))
    first.send(signal.SIGINT)
    assert first.wait() == 130
    assert "Go on with:" in first.output
    assert not states(sweep)
    assert not running(sweep)
    assert all((sweep.point(number) / "checkpoints" / "last.ckpt").is_file() for number in range(2))
    release(tmp_path)
    run(tmp_path, argv)
    assert states(sweep) == {0: "completed", 1: "completed"}
    assert "going on from" in (sweep.point(0) / "run.log").read_text()
    assert all(json.loads(sweep.attempts(number).read_text())["fruitless"] == 1 for number in range(2))


def test_ctrl_c_twice_stops_now(tmp_path: Path) -> None:
    """Even a trial that hangs is gone at once."""
    first = start(tmp_path, sweeping("--sweep", "mode=hang", "--num_epochs=60"))
    sweep = begun_sweep(tmp_path)
    wait_until(lambda: running(sweep) == [0])
    wait_until((sweep.point(0) / "status.json").is_file)
    first.send(signal.SIGINT)
    wait_until(lambda: "once more" in first.output)
    first.send(signal.SIGINT)
    assert first.wait() == 130
    assert not running(sweep)


def test_workers_outlive_their_supervisor(tmp_path: Path) -> None:
    """kill -9 of the supervisor leaves its trials working; another one adopts them and none is run twice."""
    argv = sweeping("--sweep", "x=0..3", "--num_epochs=30", "--pause=1", braked(tmp_path))
    first = start(tmp_path, argv)
    sweep = begun_sweep(tmp_path)
    wait_until(lambda: all(pid_of(sweep, number) for number in range(2)))
    pids = [pid_of(sweep, number) for number in range(2)]
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert running(sweep) == [0, 1]
    second = start(tmp_path, argv)
    wait_until(lambda: running(sweep) == [0, 1, 2, 3])
    release(tmp_path)
    assert second.wait(300) == 0
    assert states(sweep) == dict.fromkeys(range(4), "completed")
    assert [pid_of(sweep, number) for number in range(2)] == pids
    assert all(attempts(sweep, number) == 1 for number in range(4))


def test_a_killed_worker_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """The result has the same bits as that of a sweep that nobody touched."""
    argv = sweeping("--sweep", "x=0..1", "--num_epochs=25", "--pause=1", f"--brake={tmp_path / 'brake'}")
    run(tmp_path, [*argv, "--output_to=undisturbed"])
    [calm] = [SweepFolder(path) for path in (tmp_path / "undisturbed" / "sweeps").glob("2*")]
    braked(tmp_path)
    first = start(tmp_path, argv)
    sweep = begun_sweep(tmp_path)
    pid = wait_until(lambda: pid_of(sweep, 1))
    os.kill(pid, signal.SIGKILL)
    release(tmp_path)
    assert first.wait(300) == 0
    assert attempts(sweep, 1) == 2
    assert fingerprints(sweep) == fingerprints(calm)


def test_a_trial_with_a_secret_goes_on(tmp_path: Path) -> None:
    """It takes the secret from the plan, since its own record does not hold it."""
    secret = "canary" + "7" * 8
    given = [f"--passphrase={secret}", f"--address=s3://me:{secret}@host/x"]
    run(tmp_path, sweeping("--sweep", "x=0,1", "--mode=die each epoch", *given))
    sweep = only_sweep(tmp_path)
    assert states(sweep) == dict.fromkeys(range(2), "completed")
    assert attempts(sweep, 0) == 3
    assert not [path for path in sweep.points.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def test_several_supervisors_share_a_sweep(tmp_path: Path) -> None:
    """Started at once, they run no point twice."""
    argv = sweeping("--sweep", "x=0..9", "--num_epochs=2", "--enqueue")
    run(tmp_path, argv)
    workers = [start(tmp_path, ["work", "--workers=1"]) for _ in range(4)]
    for worker in workers:
        assert worker.wait(300) == 0
    sweep = only_sweep(tmp_path)
    assert states(sweep) == dict.fromkeys(range(10), "completed")
    assert all(attempts(sweep, number) == 1 for number in range(10))


def test_the_queue(tmp_path: Path) -> None:
    """Sweeps and single runs wait; a higher priority goes first; trials and sweeps can be cancelled."""
    run(tmp_path, sweeping("--sweep", "x=0..1", "--num_epochs=1", "--enqueue"))
    run(tmp_path, sweeping("--x=5", "--num_epochs=1", "--enqueue"))
    run(tmp_path, sweeping("--sweep", "x=7..8", "--num_epochs=1", "--enqueue"))
    table = run_command(tmp_path, command("queue"))
    names = [line.split()[0] for line in table.splitlines()[1:]]
    assert [line.split()[1:5] for line in table.splitlines()[1:]] == [
        ["queued", "0", "0/2", "0"], ["queued", "0", "0/1", "0"], ["queued", "0", "0/2", "0"]
    ]  # fmt: skip
    run(tmp_path, ["queue", "cancel", f"{names[0]}/1"])
    run(tmp_path, ["queue", "cancel", names[2]])
    run(tmp_path, ["queue", "priority", names[1], "5"])
    output = run_command(tmp_path, command("work", "--workers=1"))
    lines = [line for line in output.splitlines() if " trial " in line]
    assert "1/1 done" in lines[0]
    table = run(tmp_path, ["queue"])
    assert [line.split()[:4] for line in table.splitlines()[1:]] == [
        [names[1], "done", "5", "1/1"], [names[0], "done", "0", "1/2"], [names[2], "cancelled", "0", "0/2"]
    ]  # fmt: skip
    assert "There is no sweep 'nosuch'" in run(tmp_path, ["queue", "pause", "nosuch"], code=2)
    assert "queue has no 'stop'" in run(tmp_path, ["queue", "stop", names[0]], code=2)


def test_cancelling_a_running_trial(tmp_path: Path) -> None:
    """It stops in good order, whoever started it, and is not begun again."""
    first = start(tmp_path, sweeping("--sweep", "x=0..1", "--num_epochs=30", "--pause=1", braked(tmp_path)))
    sweep = begun_sweep(tmp_path)
    wait_until(lambda: pid_of(sweep, 0))
    run(tmp_path, ["queue", "cancel", f"{sweep.name}/0"])
    wait_until(lambda: 0 in states(sweep))
    release(tmp_path)
    assert first.wait(300) == 0
    assert states(sweep) == {0: "cancelled", 1: "completed"}
    assert json.loads((sweep.point(0) / "status.json").read_text())["state"] == "interrupted"
    run(tmp_path, ["queue", "retry", f"{sweep.name}/0"])
    run(tmp_path, ["work"])
    assert states(sweep) == {0: "completed", 1: "completed"}


def test_cancelling_a_running_sweep(tmp_path: Path) -> None:
    """Its trials stop with a checkpoint and without a result, so that resume goes on with them."""
    argv = sweeping("--sweep", "x=0..1", "--num_epochs=30", "--pause=1", braked(tmp_path))
    first = start(tmp_path, argv)
    sweep = begun_sweep(tmp_path)
    wait_until(lambda: pid_of(sweep, 0))
    run(tmp_path, ["queue", "cancel", sweep.name])
    assert first.wait() == 0
    release(tmp_path)
    assert "since the sweep was cancelled" in first.output
    assert "died" not in first.output
    assert not states(sweep)
    assert "was cancelled" in run(tmp_path, argv, code=2)
    run(tmp_path, ["queue", "resume", sweep.name])
    sweep.attempts(0).write_text('{"attempts": "many", "progress": 3}')  # damaged: it begins to count again
    run(tmp_path, argv)
    assert states(sweep) == {0: "completed", 1: "completed"}
    assert "going on from" in (sweep.point(0) / "run.log").read_text()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root to mount")
def test_results_that_cannot_be_written_pause_the_sweep(tmp_path: Path) -> None:
    """A folder that is read-only is no fault of the trials, which are not tried for ever."""
    run(tmp_path, sweeping("--sweep", "x=0..2", "--num_epochs=1", "--enqueue"))
    sweep = only_sweep(tmp_path)
    script = f'mount --bind {sweep.results} {sweep.results} && mount -o remount,ro,bind {sweep.results} && exec "$@"'
    argv = ["unshare", "-m", "sh", "-c", script, "sh", *command(f"--resume={sweep.path}", "--workers=1")]
    error = run_command(tmp_path, argv, code=1)
    assert "cannot write its records" in error
    assert "is paused" in error
    assert sum(attempts(sweep, number) for number in sweep.started()) <= 2
    run(tmp_path, ["queue", "resume", sweep.name])
    run(tmp_path, [f"--resume={sweep.path}"])
    assert states(sweep) == dict.fromkeys(range(3), "completed")


LEARNING = """
parameters: {x: "uniform(0,1)", kind: [a, b], width: {low: 1, high: 8, int: true, when: {kind: [b]}}}
overrides: {num_epochs: 4}
sampler: tpe
num_trials: 14
metric: score
direction: minimize
pruner: {name: median, n_startup_trials: 3, n_warmup_steps: 1}
"""


def test_learning_and_pruning(tmp_path: Path) -> None:
    """The sampler and the pruner know the results so far, and one worker alone gets the same points again."""
    (tmp_path / "learning.yaml").write_text(LEARNING)
    points = []
    for outputs in ("first", "second"):
        run(tmp_path, sweeping("--sweep=learning.yaml", "--workers=1", f"--output_to={outputs}"))
        [sweep] = [SweepFolder(path) for path in (tmp_path / outputs / "sweeps").glob("2*")]
        points.append([(body["params"], body["state"], body["values"]) for body in results(sweep).values()])
    assert points[0] == points[1]
    found = results(sweep)
    assert len(found) == 14
    assert {("width" in body["params"]) == (body["params"]["kind"] == "b") for body in found.values()} == {True}
    pruned = [number for number, body in found.items() if body["state"] == "pruned"]
    assert pruned
    assert all(2 <= len(found[number]["intermediate"]) < 4 for number in pruned)
    assert all(json.loads((sweep.point(number) / "status.json").read_text())["state"] == "pruned" for number in pruned)
    known = [json.loads((sweep.point(number) / "point.json").read_text())["body"]["known"] for number in (0, 13)]
    assert known[0] == []
    assert sorted(known[1]) == list(range(13))


def test_trials_on_two_devices(tmp_path: Path) -> None:
    """Each is a fresh process that Lightning starts a second one beside."""
    run(tmp_path, sweeping("--sweep", "x=0,1", "--num_epochs=1", "--devices_per_trial=2", "--accelerator=cpu",
                           "--strategy=ddp", "--workers=1"))  # fmt: skip
    sweep = only_sweep(tmp_path)
    assert states(sweep) == {0: "completed", 1: "completed"}
    assert "rank1" in (sweep.point(0) / "run.log").read_text()


def test_cross_validation_and_seeds(tmp_path: Path) -> None:
    """Folds and seeds are run for each setting and summed up with mean and standard deviation."""
    argv = sweeping("--sweep", "--number_of_cross_validation_splits=2", "--num_epochs=1", "--sweep_metric=score",
                    model="WithoutSpace")  # fmt: skip
    assert "2 trials: 2 completed" in run(tmp_path, argv)
    sweep = only_sweep(tmp_path)
    assert [body["params"] for body in results(sweep).values()] == [
        {"cross_validation_split_index": "0"}, {"cross_validation_split_index": "1"}
    ]  # fmt: skip
    run(tmp_path, [*sweeping("--sweep", "x=1,2", "--different_seeds=3", "--num_epochs=1", "--sweep_metric=test_loss"),
                   "--output_to=seeds"])  # fmt: skip
    [seeds] = [SweepFolder(path) for path in (tmp_path / "seeds" / "sweeps").glob("2*")]
    assert [body["params"] for body in results(seeds).values()] == [
        {"x": x, "random_seed": seed} for x in ("1", "2") for seed in ("42", "43", "44")
    ]
    summary = json.loads(seeds.summary.read_text())
    values = [body["values"][0] for body in results(seeds).values()][:3]
    assert str(round(sum(values) / 3, 6))[:6] in json.dumps(summary)
