"""What goes wrong between a launcher and Slurm, with programs in Slurm's place that say what a test wants."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner import slurm_jobs
from runner.cli import main
from runner.errors import UsageError
from runner.launcher import job as job_module
from runner.launcher import submission
from runner.launcher.job import RunJob
from runner.queued_run import CANCELLED, mark_queued, refuse_queued
from runner.run_folder import RunFolder
from runner.slurm_jobs import Launch, add_launch, jobs_of, numbers_in_slurm
from runner.sweep.queue_commands import queue_command
from tests.sweep_samples import CONTAINERS

SLURM = (f"--containers={CONTAINERS}", "--launcher=slurm")
TINY = ("--model=Tiny", *SLURM, "--slurm_time=60")

_PROGRAM = """#!/bin/sh
echo "$0 $@" >> {root}/called
env > {root}/$(basename $0).env
[ -f {root}/$(basename $0).first ] && . {root}/$(basename $0).first
if [ -f {root}/$(basename $0).fails ]; then cat {root}/$(basename $0).fails >&2; exit 1; fi
cat {root}/$(basename $0).says 2>/dev/null
exit 0
"""


@dataclass
class Fake:
    """Slurm's commands: what they say, whether they fail, how they were called."""

    root: Path

    def says(self, program: str, text: str) -> None:
        (self.root / f"{program}.says").write_text(text)

    def does(self, program: str, line: str) -> None:
        """Let it run a line of a shell script first."""
        (self.root / f"{program}.first").write_text(line + "\n")

    def fails(self, program: str, text: str = "no\n") -> None:
        (self.root / f"{program}.fails").write_text(text)

    def has(self, folder: Path, number: int, state: str = "PENDING") -> None:
        """Let there be one job, which prints into a run folder."""
        self.says("squeue", f"{number}|{number}|{state}|0|{folder}/launcher/{number}_0_log.out\n")

    def called(self, program: str) -> list[str]:
        lines = (self.root / "called").read_text().splitlines() if (self.root / "called").exists() else []
        return [line.partition(" ")[2] for line in lines if line.startswith(f"{self.root}/bin/{program} ")]

    def variables(self, program: str) -> str:
        return (self.root / f"{program}.env").read_text()


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """A Slurm that takes every job as number 7 and has done with it at once; its user works in an empty folder."""
    fake = Fake(tmp_path / "slurm")
    (fake.root / "bin").mkdir(parents=True)
    for name in ("sbatch", "squeue", "scancel", "scontrol"):
        program = fake.root / "bin" / name
        program.write_text(_PROGRAM.format(root=fake.root))
        program.chmod(0o755)
    fake.says("sbatch", "Submitted batch job 7\n")
    monkeypatch.setenv("PATH", f"{fake.root}/bin:{Path(sys.executable).parent}:/usr/bin:/bin")
    monkeypatch.setattr(slurm_jobs, "_silence", slurm_jobs._Silence())
    (tmp_path / "user").mkdir()
    monkeypatch.chdir(tmp_path / "user")
    return fake


def only_run() -> RunFolder:
    [path] = Path("outputs").glob("2*")
    return RunFolder(path)


def submitted(*argv: str) -> RunFolder:
    assert main([*TINY, *argv]) == 0
    return only_run()


def refused(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 2) -> str:
    capsys.readouterr()
    assert main(argv) == code
    return capsys.readouterr().err


# --- submitting -----------------------------------------------------------------------------------------------------


def test_the_environment_does_not_change_the_script(slurm: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of sbatch that would override an option of ours are left out; what else a user has set stays."""
    for name, value in {"SBATCH_TIMELIMIT": "1", "SBATCH_ARRAY_INX": "0-9", "SBATCH_PARTITION": "x",
                        "SBATCH_ACCOUNT": "mine", "SQUEUE_STATES": "FAILED"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    run = submitted("--slurm_partition=gpu")
    assert "SBATCH_ACCOUNT=mine" in slurm.variables("sbatch")
    for name in ("SBATCH_TIMELIMIT", "SBATCH_ARRAY_INX", "SBATCH_PARTITION"):
        assert name not in slurm.variables("sbatch")
    jobs_of(run.jobs)
    assert "SQUEUE_" not in slurm.variables("squeue")
    script = (run.jobs / "7_submission.sh").read_text()
    assert "#SBATCH --job-name=Tiny_2" in script
    assert " --export=ALL " in script
    assert (run.jobs / "7_submitted.pkl").is_file()


@pytest.mark.parametrize("name", ["x\ntouch pwned #", "array", "arra", "Wrap", "a b"])
def test_options_that_a_folder_says(slurm: Fake, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """They are checked like typed ones before anything is submitted."""
    run = submitted()
    add_launch(run.jobs, Launch("slurm", "8", 1, {"time": "60", name: "x"}))
    count = len(slurm.called("sbatch"))
    assert "jobs.json of the folder" in refused(capsys, *SLURM, f"--resume={run.path}")
    assert len(slurm.called("sbatch")) == count


def test_a_submission_that_fails(
    slurm: Fake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence, and the run says that it waits no more; what Slurm took already is cancelled."""

    def full(folder: Path, launch: Launch) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(submission, "add_launch", full)
    assert "No space left" in refused(capsys, *TINY, code=1)
    assert only_run().read_status()["state"] == "interrupted"
    assert slurm.called("scancel") == ["--quiet 7"]

    def interrupt(folder: Path, launch: Launch) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(submission, "add_launch", interrupt)
    assert "Traceback" not in refused(capsys, *SLURM, f"--resume={only_run().path}", "--slurm_time=60", code=130)
    assert only_run().read_status()["exit_reason"] == "interrupted while it was submitted"
    assert not slurm_jobs.read_launches(only_run().jobs)


def test_sbatch_hangs(slurm: Fake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets a time limit, and leaves no run that waits."""
    monkeypatch.setattr(submission, "_COMMAND_SECONDS", 5)  # the trial before must answer in time
    slurm.does("sbatch", '[ "$1" = --test-only ] || exec sleep 100')
    assert "did not answer" in refused(capsys, *TINY, code=1)
    assert only_run().read_status()["state"] == "interrupted"


def test_parts_without_the_job_that_merges(slurm: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """The array is cancelled where Slurm refuses what comes after it."""
    Path("weights.ckpt").touch()
    slurm.does("sbatch", '[ "$1" != --test-only ] && grep -q afterany "$1" && exit 1')
    refused(capsys, *TINY, "--train=False", "--src_checkpoint=weights.ckpt", "--saliency_parts=2", code=1)
    assert slurm.called("scancel") == ["--quiet 7"]
    assert only_run().read_status()["state"] == "interrupted"


# --- going on -------------------------------------------------------------------------------------------------------


def test_going_on_while_a_job_waits(
    slurm: Fake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a launcher or without one it is refused, as it is where Slurm does not say; the job itself may."""
    run = submitted()
    again = (*SLURM, f"--resume={run.path}")
    slurm.has(run.path, 7)
    assert "worked on already, by job 7" in refused(capsys, *again)
    assert "queue cancel" in refused(capsys, again[0], again[2])
    assert run.read_status()["state"] == "queued"
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    refuse_queued(run.path)
    monkeypatch.delenv("SLURM_JOB_ID")
    slurm.has(Path("/somewhere/else"), 7)
    refuse_queued(run.path)
    slurm.fails("squeue")
    assert "does not say" in refused(capsys, *again)
    assert run.read_status()["state"] == "queued"
    assert run.try_lock()
    run.unlock()


def test_numbers_of_others(slurm: Fake, tmp_path: Path) -> None:
    """A job with a number that was used again is not the run's; a number that can be none is left out."""
    for text in ("7", "0", "99999999999", "2147483648", "x", "-3", "8"):
        add_launch(tmp_path / "launcher", Launch("slurm", text))
    assert numbers_in_slurm(tmp_path / "launcher") == [7, 8]
    slurm.has(tmp_path, 8)
    assert [job.number for job in jobs_of(tmp_path / "launcher") or ()] == [8]
    slurm.has(tmp_path / "another", 8)
    assert jobs_of(tmp_path / "launcher") == []
    (tmp_path / "launcher" / "jobs.json").write_text('[{"launcher": "slurm", "job": "1", "count": Infinity}]')
    assert numbers_in_slurm(tmp_path / "launcher") == []


# --- the queue ------------------------------------------------------------------------------------------------------


def test_a_queue_below_a_link(slurm: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """The printed hint works where outputs is a link, or elsewhere."""
    Path("disk").mkdir()
    Path("outputs").symlink_to("disk")
    run = submitted()
    assert f"queue cancel outputs/{run.path.name} stops it" in capsys.readouterr().out
    slurm.has(run.path.resolve(), 7)
    assert run.path.name in queue_command([], Path("outputs").absolute())
    slurm.has(run.path, 7)
    assert "job 7 cancelled" in queue_command(["cancel", f"outputs/{run.path.name}"], Path("nowhere").absolute())
    assert run.read_status()["exit_reason"] == CANCELLED
    with pytest.raises(SystemExit):
        RunJob(run.path, [], run.path)()  # requeued at that very moment


def test_a_queue_that_cannot_know(
    slurm: Fake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Slurm is silent the queue says so, and what the folders say; it is asked once."""
    monkeypatch.setattr(slurm_jobs, "ASK_SECONDS", 600.0)  # it is silent for as long as this test takes
    outputs = Path("outputs").absolute()
    assert queue_command([], outputs) == "The queue is empty."
    run = submitted()
    slurm.fails("squeue", "Unable to contact slurm controller\n")
    count = len(slurm.called("squeue"))
    table = queue_command([], outputs)
    assert "queued  7    Slurm does not answer" in table
    assert table.endswith("not known.")
    assert "nothing is cancelled" in refused(capsys, "queue", "cancel", run.path.name, code=1)
    with pytest.raises(UsageError, match=r"no sweep 'nosuch'.*Slurm does not answer"):
        queue_command(["cancel", "nosuch"], outputs)
    assert len(slurm.called("squeue")) == count + 1


def test_a_run_and_a_sweep_of_one_second(slurm: Fake) -> None:
    """A name that fits both is refused with both paths; each path is clear."""
    run = submitted()
    assert main([*TINY, "--sweep", "l_rate=1,2", "--workers=1"]) == 0
    [sweep] = Path("outputs/sweeps").glob("2*")
    sweep = sweep.rename(sweep.with_name(run.path.name))
    slurm.has(run.path, 7)
    outputs = Path("outputs").absolute()
    with pytest.raises(UsageError, match=r"is a run and a sweep: write .*outputs/2.* or .*outputs/sweeps/2"):
        queue_command(["cancel", run.path.name], outputs)
    assert "running trials stop" in queue_command(["cancel", str(sweep)], outputs)
    assert slurm.called("scancel") == []
    assert "job 7 cancelled" in queue_command(["cancel", str(run.path)], outputs)


# --- inside of a job ------------------------------------------------------------------------------------------------


def sleeping(run: RunFolder, *, may_requeue: bool = True) -> RunJob:
    """Return a job whose program waits to be stopped."""
    job = RunJob(run.path, [], run.path, may_requeue=may_requeue)
    job._child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    return job


@pytest.fixture
def waiting(slurm: Fake, tmp_path: Path) -> RunFolder:
    """A run that says that it waits."""
    run = RunFolder.create(tmp_path / "user" / "outputs", "Mine")
    run.config.write_text("model: Mine\n")
    mark_queued(run)
    run.unlock()
    return run


def test_a_cancel_while_a_job_stops(slurm: Fake, waiting: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Slurm is about to end is not requeued; what it has still running is, also where it does not answer."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    slurm.has(waiting.path, 7, "COMPLETING")
    with pytest.raises(SystemExit, match="can go on with --resume"):
        sleeping(waiting).checkpoint()
    assert waiting.read_status()["exit_reason"] == "its job was cancelled"
    slurm.has(waiting.path, 7, "RUNNING")
    sleeping(waiting).checkpoint()
    assert waiting.read_status()["state"] == "queued"
    slurm.fails("squeue")
    sleeping(waiting).checkpoint()


def test_no_requeue(slurm: Fake, waiting: RunFolder) -> None:
    """The end of the time is the end, without a try."""
    with pytest.raises(SystemExit, match="its time is over"):
        sleeping(waiting, may_requeue=False).checkpoint()
    assert "its time is over" in waiting.read_status()["exit_reason"]


@pytest.mark.parametrize("recovers", [True, False])
def test_a_requeue_that_fails(slurm: Fake, waiting: RunFolder, monkeypatch: pytest.MonkeyPatch, recovers: bool) -> None:
    """It is tried again; a run that stays where it is says so."""
    monkeypatch.setattr(job_module, "_REQUEUE_PAUSES", (0.0, 0.0))
    if not recovers:
        slurm.fails("scontrol")
    error = subprocess.CalledProcessError(1, ["scontrol", "requeue", "7"])

    def interrupted(job: RunJob) -> int:
        raise error

    monkeypatch.setattr(RunJob, "_run", interrupted)
    with pytest.raises(SystemExit) as ended:
        RunJob(waiting.path, [], waiting.path)()
    assert slurm.called("scontrol") == ["requeue 7"] * (1 if recovers else 2)
    assert (ended.value.code == 0) == recovers
    status = json.loads(waiting.status.read_text())
    assert status["state"] == ("queued" if recovers else "interrupted")
    assert recovers or "its time is over" in status["exit_reason"]


def test_a_job_waits_for_who_submitted_it(waiting: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is locked until the job is written down; a job that starts at once waits for that."""
    monkeypatch.setattr(job_module, "_SUBMITTER_SECONDS", 0.2)
    submitter = RunFolder(waiting.path)
    submitter.lock()
    began = os.times().elapsed
    RunJob(waiting.path, [], waiting.path)._wait_for_submitter()
    assert os.times().elapsed - began >= 0.15
    submitter.unlock()
    monkeypatch.setattr(job_module, "_SUBMITTER_SECONDS", 600.0)
    RunJob(waiting.path, [], waiting.path)._wait_for_submitter()
    assert os.times().elapsed - began < 60
