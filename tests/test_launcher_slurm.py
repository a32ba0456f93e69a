"""Runs and sweeps in a real Slurm on this machine: its scheduler, its signals, its requeues."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from runner import folder_lock, slurm_jobs
from runner.folder_lock import FolderLock, is_locked
from runner.run_folder import RunFolder
from tests.brake import braked, release
from tests.slurm_cluster import Cluster, cluster, missing_programs
from tests.sweep_samples import CONTAINERS, REPOSITORY, attempts, only_sweep, results, wait_until

pytestmark = pytest.mark.skipif(bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}")

TINY = ("--model=Tiny", f"--containers={CONTAINERS}", "--launcher=slurm", "--slurm_time=10")
SLOW = ("--num_epochs=12", "--step_seconds=2", "--saliency_limit=1")
"""Much more than a minute of training, if the brake is on."""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Slurm of this process; another pytest-xdist worker has another, with other ports."""
    with cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


def submit(slurm: Cluster, folder: Path, *argv: str) -> tuple[str, RunFolder]:
    """Submit a run of Tiny, or a sweep; return the number of the job and the folder."""
    said = slurm.program(folder, *TINY, *argv)
    found = re.search(r"jobs? (\d+)", said)
    assert found is not None, said
    return found[1], RunFolder(folder / said.splitlines()[-1])


def status(folder: RunFolder) -> dict[str, Any]:
    return folder.read_status()


def wait_for_state(folder: RunFolder, state: str) -> None:
    wait_until(lambda: status(folder).get("state") == state)


def wait_for_epochs(folder: RunFolder, number: int) -> None:
    wait_until(lambda: status(folder).get("state") == "running" and status(folder)["epochs_finished"] >= number)


def epochs(folder: RunFolder) -> list[str]:
    """Return the epochs that have a row of validation metrics, in order."""
    with folder.metrics.open(encoding="utf-8") as file:
        return [row["epoch"] for row in csv.DictReader(file) if row["val_loss"]]


def kill_9(job: str) -> None:
    """Kill all that a job's step has started at once: Slurm's own KILL misses those whose parents it has hit before."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                variables, name = (path / "environ").read_bytes().split(b"\0"), (path / "comm").read_text()
                if f"SLURM_JOB_ID={job}".encode() in variables and name.startswith("python"):
                    os.kill(int(path.name), number)


def test_a_run(slurm: Cluster, tmp_path: Path) -> None:
    """The command returns at once; the job does all phases in the folder that was made, and the folder says who did."""
    job, run = submit(slurm, tmp_path, "--slurm_comment=a b", "--slurm_cpus_per_task=1", "--num_epochs=2")
    assert status(run)["state"] in ("queued", "running")
    wait_for_state(run, "completed")
    wait_until(lambda: slurm.state(job) in ("", "COMPLETED"))
    assert list(status(run)["phases"]) == ["train", "test", "inference", "saliency"]
    assert status(run)["attempts"] == 1
    variables = json.loads(run.environment.read_text())["variables"]
    assert variables["SLURM_JOB_ID"] == job
    assert "SLURM_NTASKS" not in variables
    assert "test_loss" in (run.jobs / f"{job}_0_log.out").read_text()
    shown = slurm.program(tmp_path, "runs", "show", "latest")
    options = "--slurm_time=10 '--slurm_comment=a b' --slurm_cpus_per_task=1"
    assert re.search(rf"^slurm       job {job}, .* UTC  {options}$", shown, re.MULTILINE)
    assert "num_epochs" in shown
    assert "command line" in shown
    assert "are whole" in slurm.program(tmp_path, "runs", "verify", "latest")


def test_a_job_with_a_task_for_each_device(slurm: Cluster, tmp_path: Path) -> None:
    """All tasks are one run: they train together, each makes its maps, and the first one says what comes out."""
    _, folder = submit(slurm, tmp_path, "--devices=2", "--accelerator=cpu", "--strategy=ddp", "--num_items=23")
    wait_until(lambda: status(folder).get("state") in ("completed", "failed"), seconds=300)
    assert status(folder)["state"] == "completed", folder.log.read_text()
    log = folder.log.read_text(encoding="utf-8")
    assert re.search(r"rank1 .*part 2/2", log)
    assert len(list((folder.saliency / "maps").glob("*.npz"))) == 23
    assert len(list(folder.path.parent.glob("2*"))) == 1


def test_maps_in_parts(slurm: Cluster, tmp_path: Path) -> None:
    """Two jobs of an array make them, and one that waits for these puts them together."""
    trained = slurm.program(tmp_path, *TINY[:2], "--num_items=23", "--num_epochs=1").splitlines()[-1]
    source = ("--train=False", f"--src_checkpoint={trained}", "--saliency_parts=2", "--num_items=23")
    _, folder = submit(slurm, tmp_path, *source)
    wait_until(lambda: status(folder).get("state") in ("completed", "failed"), seconds=300)
    assert status(folder)["state"] == "completed", folder.log.read_text()
    expected, found = (RunFolder(tmp_path / trained).read_results(), folder.read_results())
    assert found["saliency"]["metrics"] == expected["saliency"]["metrics"]
    maps = "saliency/maps/000022.npz"
    assert (folder.path / maps).read_bytes() == (tmp_path / trained / maps).read_bytes()
    assert "the maps of" not in folder.log.read_text(encoding="utf-8")


def test_a_sweep_of_8_trials_whose_worker_is_killed(slurm: Cluster, tmp_path: Path) -> None:
    """Two jobs of one array share the trials; when one is killed with -9, the other does its trial as well."""
    axes = ["--sweep", "l_rate=1e-3,2e-3,3e-3,4e-3", "--different_seeds=2", "--sweep_metric=val_loss"]
    argv = [*axes, "--workers=2", "--num_epochs=2", "--step_seconds=600", braked(tmp_path), "--saliency_limit=1"]
    job, folder = submit(slurm, tmp_path, *argv)
    sweep = only_sweep(tmp_path)
    assert sweep.path == folder.path
    held = [RunFolder(sweep.point(number)) for number in (0, 1)]
    wait_until(lambda: all(status(each).get("epochs_finished") == 1 for each in held), 300)
    assert re.search(rf"{job}: 2 RUNNING$", slurm.program(tmp_path, "queue"), re.MULTILINE)
    owner = json.loads(held[1].environment.read_text())["variables"]
    kill_9(owner["SLURM_JOB_ID"])  # one task of an array has the number of the array
    wait_until(lambda: slurm.state(f"{job}_{owner['SLURM_ARRAY_TASK_ID']}") in ("", "FAILED"))
    release(tmp_path)
    wait_until(lambda: slurm.state(job) in ("", "FAILED\nCOMPLETED", "COMPLETED\nFAILED", "FAILED", "COMPLETED"))
    found = results(sweep)
    assert [body["state"] for body in found.values()] == ["completed"] * 8
    assert [attempts(sweep, number) for number in found] == [1, 2, 1, 1, 1, 1, 1, 1]
    assert sweep.report.is_file()


def test_the_end_of_the_time(slurm: Cluster, tmp_path: Path) -> None:
    """Slurm's own signal stops the run after its step; the job is requeued and goes on in the same folder."""
    job, run = submit(slurm, tmp_path, "--num_epochs=500", "--step_seconds=0.1")
    wait_for_epochs(run, 1)
    slurm("scontrol", "update", f"JobId={job}", "TimeLimit=2")  # looked at twice a minute
    wait_until(lambda: slurm.state(job) == "PENDING", 180)
    assert status(run)["state"] == "queued"
    assert re.search(r"_Tiny +queued +\d+ +PENDING$", slurm.program(tmp_path, "queue"), re.MULTILINE)
    assert " queued " in slurm.program(tmp_path, "runs")
    assert "are whole" in slurm.program(tmp_path, "runs", "verify", "latest")
    slurm("scontrol", "update", f"JobId={job}", "TimeLimit=10")
    finished = status(run)["epochs_finished"]
    slurm.start_again(job)
    wait_for_epochs(run, finished + 2)
    assert status(run)["attempts"] == 2
    slurm.program(tmp_path, "queue", "cancel", run.path.name)
    wait_for_state(run, "interrupted")
    assert epochs(run) == [str(number) for number in range(status(run)["epochs_finished"])]
    assert "going on from checkpoints/" in run.log.read_text()


def test_kill_9_and_a_node_that_goes_down(slurm: Cluster, tmp_path: Path) -> None:
    """What was killed says so and goes on with the same options; what loses its node waits for it to come back."""
    job, run = submit(slurm, tmp_path, "--slurm_comment=mine", *SLOW, braked(tmp_path))
    wait_for_epochs(run, 1)
    assert "is in use by process" in slurm.program(tmp_path, *TINY[2:], f"--resume={run.path}", code=2)
    assert "queue cancel" in slurm.program(tmp_path, "runs", "rm", "latest", "--yes", code=2)
    kill_9(job)
    wait_until(lambda: slurm.state(job) in ("", "FAILED"))
    assert " killed " in slurm.program(tmp_path, "runs")
    again = slurm.program(tmp_path, f"--resume={run.path}", "--launcher=slurm")
    second = re.findall(r"job (\d+)", again)[0]
    assert slurm_jobs.read_launches(run.jobs)[-1].options == {"time": "10", "comment": "mine"}
    finished = status(run)["epochs_finished"]
    wait_for_epochs(run, finished + 1)
    slurm.node_fails(second)
    release(tmp_path)
    slurm.start_again(second)
    wait_for_state(run, "completed")
    assert status(run)["attempts"] == 3
    assert epochs(run) == [str(number) for number in range(12)]


def test_cancel(slurm: Cluster, tmp_path: Path) -> None:
    """A run stops in good order, one that waits is forgotten, a sweep stops with all its jobs."""
    job, run = submit(slurm, tmp_path, "--num_epochs=500", "--step_seconds=0.2")
    waiting_job, waiting = submit(slurm, tmp_path, "--slurm_begin=now+1hour")
    gone_job, gone = submit(slurm, tmp_path, "--slurm_hold")
    slurm("scancel", gone_job)
    sweep_job, sweep = submit(slurm, tmp_path, "--sweep", "l_rate=1e-3,2e-3", "--workers=2",
                              "--num_epochs=100", "--step_seconds=1")  # fmt: skip
    wait_for_epochs(run, 1)
    table = slurm.program(tmp_path, "queue")
    assert re.search(rf"{run.path.name} +running  {job} +RUNNING", table)
    assert re.search(rf"{waiting.path.name} +queued +{waiting_job} +PENDING", table)
    assert f" {gone_job} " not in table
    said = [slurm.program(tmp_path, "queue", "cancel", str(each.path)) for each in (run, waiting, sweep)]
    assert f"job {job} cancelled" in said[0]
    assert f"Cancelled in Slurm: {sweep_job}_" in said[2]
    wait_until(lambda: all(slurm.state(each) in ("", "CANCELLED", "CANCELLED\nCANCELLED")
                           for each in (job, waiting_job, sweep_job)))  # fmt: skip
    wait_for_state(run, "interrupted")
    assert status(run)["exit_reason"] == "stopped by SIGTERM"
    assert status(waiting)["exit_reason"] == "cancelled while it was waiting"
    states = json.loads(slurm.program(tmp_path, "runs", "--format=json"))
    assert {each["name"]: each["state"] for each in states}[gone.path.name] == "killed"
    assert slurm.program(tmp_path, "queue").splitlines()[1].split()[1] == "cancelled"


def test_slurm_knows_whether_the_owner_of_a_lease_lives(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On network file systems a job that runs keeps its lease however old that is; one that is gone does not."""
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    monkeypatch.setattr(folder_lock, "is_on_network", lambda folder: True)
    monkeypatch.setattr(slurm_jobs, "ASK_SECONDS", 0.0)
    slurm_jobs._own_cluster.cache_clear()  # another test may have asked where there was no Slurm
    script = tmp_path / "script.sh"
    code = "import os; from runner.slurm_jobs import own_job; open(os.sys.argv[1], 'w').write(own_job())"
    script.write_text(f'#!/bin/bash\npython -c "{code}" {tmp_path}/owner.$SLURM_RESTART_COUNT.txt\nsleep 300\n')
    home = f"--export=ALL,PYTHONPATH={REPOSITORY}"
    job = slurm("sbatch", "--parsable", "--requeue", home, f"--output={tmp_path}/out.txt", str(script))
    wait_until(lambda: (tmp_path / "owner..txt").is_file() and (tmp_path / "owner..txt").read_text())
    owner = (tmp_path / "owner..txt").read_text()
    assert owner == f"lightcase/{job}.0"
    lease = tmp_path / ".lease"
    lease.write_text(f"token 7 {owner}\n")
    monkeypatch.setattr(folder_lock, "LEASE_SECONDS", 0.0)
    assert is_locked(tmp_path)
    time.sleep(0.05)
    assert is_locked(tmp_path)
    assert not FolderLock(tmp_path).take()
    monkeypatch.setattr(folder_lock, "LEASE_SECONDS", 3600.0)
    slurm("scontrol", "requeue", job)
    assert not is_locked(tmp_path)
    slurm.start_again(job)
    wait_until(lambda: (tmp_path / "owner.1.txt").is_file() and (tmp_path / "owner.1.txt").read_text())
    assert not is_locked(tmp_path)  # the job has started again, without what it was doing
    lease.write_text(f"token 7 {(tmp_path / 'owner.1.txt').read_text()}\n")
    assert is_locked(tmp_path)
    slurm("scancel", job)
    wait_until(lambda: slurm.state(job) in ("", "CANCELLED"))
    began = time.monotonic()
    lock = FolderLock(tmp_path)
    assert lock.take()
    assert time.monotonic() - began < 60  # of the hour
    lock.give_back()


def test_what_slurm_refuses(slurm: Cluster, tmp_path: Path) -> None:
    """Slurm's own word on an option comes before anything is made."""
    for option, words in {
        "--slurm_partition=nowhere": "invalid partition specified: nowhere",
        "--slurm_partiton=short": "Did you mean --slurm_partition?",
        "--slurm_gres=gpu:3": "Invalid generic resource",
    }.items():
        assert words in slurm.program(tmp_path, *TINY, option, code=2)
    assert "nowhere" in slurm.program(
        tmp_path, *TINY, "--slurm_partition=nowhere", "--sweep", "l_rate=1e-3", "--workers=2", code=2
    )
    assert not (tmp_path / "outputs").exists()


def test_slurm_that_does_not_answer(tmp_path: Path) -> None:
    """Nothing is made; the queue of somebody who never used Slurm does not speak of it."""
    lines = ["ClusterName=none", "SlurmctldHost=localhost", "SlurmctldPort=1", "AuthType=auth/none", "NodeName=a"]
    (tmp_path / "slurm.conf").write_text("\n".join([*lines, "MessageTimeout=1", "PartitionName=b Nodes=a\n"]))
    silent = Cluster(tmp_path / "slurm.conf")
    assert "Slurm refuses the job" in silent.program(tmp_path, *TINY, code=2)
    assert not (tmp_path / "outputs").exists()
    assert silent.program(tmp_path, "queue") == "The queue is empty.\n"
