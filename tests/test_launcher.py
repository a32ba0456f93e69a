"""Jobs as far as they go without Slurm: options, scripts, submitit's local executor, what happens inside of a job."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.cli import main
from runner.command_line import Override
from runner.errors import RunFailedError, UsageError
from runner.launcher import command
from runner.launcher import job as job_module
from runner.launcher.job import RunJob
from runner.launcher.options import LEAST_MINUTES, minutes_from_text
from runner.preparation import Plan
from runner.queued_run import mark_queued
from runner.run_folder import RunFolder
from runner.run_seal import check_run, seal_run
from runner.slurm_jobs import Launch, add_launch, owner_lives, read_launches
from tests.brake import braked, release
from tests.sweep_samples import CONTAINERS, REPOSITORY, only_sweep, results, wait_until

TINY = ("--model=Tiny", f"--containers={CONTAINERS}")
SLURM = (*TINY, "--launcher=slurm", "--slurm_time=1:30:00")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, on a machine without Slurm."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    return tmp_path


def script(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main([*argv, "--dry_run"]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(argv) == 2
    return capsys.readouterr().err


# --- the script -----------------------------------------------------------------------------------------------------


def test_the_script_of_a_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every option of sbatch is in it as it was typed; nothing is made, and torch is not needed."""
    said = script(capsys, *SLURM, "--slurm_partition=gpu", "--slurm_gres=gpu:a100:2", "--slurm_cpus_per_task=4",
                  "--slurm_comment=it's mine", "--slurm_exclusive")  # fmt: skip
    for line in ("--time=90", "--partition=gpu", "--gres=gpu:a100:2", "--cpus-per-task=4", "--exclusive", "--requeue",
                 "--signal=USR2@90", "--nodes=1", "--ntasks-per-node=1"):  # fmt: skip
        assert f"#SBATCH {line}\n" in said
    assert """#SBATCH --comment='it'"'"'s mine'\n""" in said
    assert "wckey" not in said
    assert "--array" not in said
    [command] = [line for line in said.splitlines() if line.startswith("srun ")]
    assert "--cpus-per-task=4" in command
    assert list(here.iterdir()) == []
    code = "import sys; from runner.cli import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    argv = [sys.executable, "-c", code, *SLURM, "--dry_run"]
    subprocess.run(argv, check=True, capture_output=True, env=os.environ | {"PYTHONPATH": str(REPOSITORY)})


def test_the_script_of_several_processes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One task for each device of each node."""
    said = script(capsys, *SLURM, "--devices=4", "--num_nodes=2", "--slurm_no_requeue")
    assert "#SBATCH --nodes=2\n" in said
    assert "#SBATCH --ntasks-per-node=4\n" in said
    assert "#SBATCH --requeue" not in said
    assert "say how many devices" in refused(capsys, *SLURM, "--num_nodes=2", "--dry_run")


def test_the_script_of_a_sweep(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One array of workers, not a job per trial."""
    said = script(capsys, *SLURM, "--sweep", "l_rate=1e-3,1e-2", "--different_seeds=50", "--workers=8")
    assert said.startswith("100 trials of Tiny")
    assert said.count("#!/bin/bash") == 1
    assert "#SBATCH --array=0-7%8\n" in said


def test_the_scripts_of_saliency_in_parts(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An array of the parts, then one job that merges, however they have ended."""
    (here / "weights.ckpt").touch()
    argv = (*SLURM, "--train=False", "--src_checkpoint=weights.ckpt", "--saliency_parts=16")
    parts, merging = script(capsys, *argv).split("# and when these have ended:")
    assert "#SBATCH --array=0-15%16\n" in parts
    assert "--dependency" not in parts
    assert "#SBATCH --dependency=afterany:JOB\n" in merging
    assert "--array" not in merging
    assert "each train a model" in refused(capsys, *SLURM, "--saliency_parts=16", "--dry_run")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--launcher=slrum"], "use slurm or local. Did you mean slurm?"),
        (["--launcher=slurm", "--slurm_time=60"], "no program sbatch"),
        (["--launcher=slurm", "--dry_run"], "--slurm_time=60 (minutes)"),
        (["--launcher=slurm", "--dry_run", "--slurm_time=1"], "give 4 minutes or more"),
        (["--launcher=slurm", "--dry_run", "--slurm_time=soon"], "use minutes, hours:minutes:seconds"),
        (["--launcher=slurm", "--dry_run", "--slurm_time=60", "--slurm_output=x"], "cannot be set"),
        (["--launcher=slurm", "--dry_run", "--slurm_time=60", "--slurm_comment=a\nb"], "control characters"),
        (["--launcher=slurm", "--dry_run", "--slurm_time=60", "--token=abc"], "holds no secrets"),
        (["--launcher=slurm", "--dry_run", "--slurm_time=60", "--l_rate=-1"], "l_rate"),
        (["--launcher=slurm", "--dry_run", "--slurm_time=60", "--sweep", "l_rate=1,2"], "--workers=4"),
        (["--launcher=slurm", "--dry_run", "--slurm_time=60", "--output_to=50%"], "no %"),
        (["--launcher=local", "--saliency_parts=2"], "needs --launcher=slurm"),
        (["--slurm_time=60"], "--launcher=slurm"),
        (["--launcher=slrum", "--slurm_time=10"], "Did you mean slurm?"),
        (["--dry_run"], "add --sweep, --launcher=slurm or --azureml"),
        (["--saliency_parts=2"], "add --launcher=slurm"),
        *(
            (["--launcher=slurm", "--dry_run", "--slurm_time=60", option], words)
            for option, words in {
                "--slurm_arra=1-3": "short form of --slurm_array",
                "--slurm_tim=5": "short form of --slurm_time",
                "--slurm_comment=": "needs a value",
                "--slurm_comment": "needs a value",
                "--slurm_help": "cannot be set",
                "--slurm_version": "cannot be set",
                "--slurm_job_name=x": "cannot be set",
            }.items()
        ),
    ],
)
def test_refused(here: Path, capsys: pytest.CaptureFixture[str], argv: list[str], words: str) -> None:
    """One message, exit code 2, nothing made."""
    assert words in refused(capsys, *TINY, *argv)
    assert list(here.iterdir()) == []


def test_without_submitit(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It says which extra to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'lightcase[slurm]'" in refused(capsys, *SLURM)


@given(days=st.integers(0, 30), hours=st.integers(0, 23), minutes=st.integers(4, 59), seconds=st.integers(0, 59))
def test_times(days: int, hours: int, minutes: int, seconds: int) -> None:
    """All forms of sbatch's own page; seconds round up."""
    whole = (days * 24 + hours) * 60 + minutes
    assert minutes_from_text(str(minutes)) == minutes
    assert minutes_from_text(f"{minutes}:{seconds:02}") == minutes + (seconds > 0)
    assert minutes_from_text(f"{days * 24 + hours}:{minutes:02}:{seconds:02}") == whole + (seconds > 0)
    assert minutes_from_text(f"{days}-{hours}:{minutes:02}") == whole
    assert minutes_from_text(f"{days}-{hours}:{minutes:02}:{seconds:02}") == whole + (seconds > 0)
    if days:
        assert minutes_from_text(f"{days}-{hours}") == (days * 24 + hours) * 60


@given(st.text(max_size=20))
def test_other_times(text: str) -> None:
    """What is no time is refused, never misread."""
    try:
        assert minutes_from_text(text) >= LEAST_MINUTES
    except UsageError:
        return


# --- in the background ----------------------------------------------------------------------------------------------


def launch(folder: Path, *argv: str) -> str:
    """Run the program with its output in a file: what runs in the background keeps it open."""
    variables = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    with (folder / "said.txt").open("w") as file:
        subprocess.run([sys.executable, str(REPOSITORY / "runner.py"), *argv], cwd=folder, env=variables, check=True,
                       stdout=file, stderr=file, timeout=120)  # fmt: skip
    return (folder / "said.txt").read_text()


def test_a_run_in_the_background_that_is_preempted(tmp_path: Path) -> None:
    """The signal that Slurm sends stops the run after its step; submitit starts the job again, and it goes on."""
    argv = ("--num_epochs=12", "--step_seconds=2", braked(tmp_path), "--saliency_limit=1", "--trust_checkpoint")
    said = launch(tmp_path, *TINY, "--launcher=local", *argv)
    run = RunFolder(tmp_path / said.splitlines()[-1])
    assert re.search(rf"kill \d+ stops it. What it prints: outputs/{run.path.name}/launcher$", said, re.MULTILINE)
    assert list((tmp_path / "outputs").glob("2*")) == [run.path]
    wait_until(lambda: run.read_status().get("epochs_finished", 0) >= 1)
    [task] = [path for path in Path("/proc").glob("[0-9]*") if _is_task(path, run.jobs)]
    os.kill(int(task.name), signal.SIGUSR2)
    wait_until(lambda: run.read_status().get("attempts") == 2)
    release(tmp_path)
    wait_until(run.digests.is_file)  # the last that is written
    assert run.read_status()["state"] == "completed"
    assert run.read_status()["epochs_finished"] == 12
    assert "going on from checkpoints/" in run.log.read_text()
    assert check_run(run).is_whole
    commands = [line for each in run.jobs.glob("*.out") for line in each.read_text().splitlines() if line[:2] == "+ "]
    assert len(commands) == 2
    assert all(each.count("--trust_checkpoint") == 1 for each in commands)  # what no record says


def test_what_a_record_cannot_say_is_said_once(tmp_path: Path) -> None:
    """A resumed run that is submitted again trusts checkpoints at each start, not only at the first."""
    overrides = [Override("trust_checkpoint", "True", "trust_checkpoint"), Override("num_epochs", "3", "num_epochs")]
    assert command._changes(Plan(resume=tmp_path, overrides=overrides)) == ["--num_epochs=3"]


def _is_task(process: Path, jobs: Path) -> bool:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"submitit.core._submit" in words and os.fsencode(jobs) in words


def test_a_sweep_in_the_background(tmp_path: Path) -> None:
    """Two workers that know nothing of each other drain the folder."""
    argv = ("--sweep", "l_rate=1e-3,2e-3,3e-3,4e-3", "--workers=2", "--num_epochs=1", "--saliency_limit=1")
    launch(tmp_path, *TINY, "--launcher=local", *argv)
    sweep = only_sweep(tmp_path)
    wait_until(lambda: len(sweep.sealed()) == 4 and sweep.report.is_file())
    assert [body["state"] for body in results(sweep).values()] == ["completed"] * 4
    assert [each.launcher for each in read_launches(sweep.jobs)] == ["local"]


# --- inside of a job ------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run that was stopped, with its digests."""
    folder = RunFolder.create(tmp_path, "Mine")
    folder.config.write_text("model: Mine\n")
    folder.status.write_text(json.dumps({"state": "interrupted", "epochs_finished": 1, "phases": {}}))
    seal_run(folder)
    folder.unlock()
    return folder


def stopped(job: RunJob, code: str = "import time; time.sleep(60)") -> RunJob:
    """Return the job that *job* becomes when it is stopped while its program runs."""
    job._child = subprocess.Popen([sys.executable, "-c", code])
    again = job.checkpoint().function
    assert isinstance(again, RunJob)
    return again


def test_a_run_that_gets_no_further_is_not_requeued_for_ever(run: RunFolder) -> None:
    """Three stops in a row without any progress end it; an epoch between them starts the count anew."""
    job = RunJob(run.path, [], run.path, only_once=["--num_epochs=9"])
    for _ in range(3):
        job = stopped(job)
        assert run.read_status()["state"] == "queued"
        assert check_run(run).is_whole
    assert not job.only_once
    mark_queued(run)
    run.status.write_text(json.dumps(run.read_status() | {"epochs_finished": 2}))
    for _ in range(3):
        job = stopped(job)
    with pytest.raises(RunFailedError, match="3 times in a row"):
        stopped(job)
    assert run.read_status()["state"] == "interrupted"
    assert "without getting any further" in run.read_status()["exit_reason"]


def test_a_program_that_ends_as_it_is_stopped(run: RunFolder) -> None:
    """Its own exit code ends the job, without another start."""
    code = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(%d)); print(flush=True); time.sleep(60)"
    for number in (0, 1):
        job = RunJob(run.path, [], run.path)
        job._child = subprocess.Popen([sys.executable, "-c", code % number], stdout=subprocess.PIPE)
        assert job._child.stdout is not None
        job._child.stdout.readline()
        with pytest.raises(SystemExit) as ended:
            job.checkpoint()
        assert ended.value.code == number


def test_a_program_that_does_not_stop(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed before Slurm does that, and the job goes on later."""
    monkeypatch.setattr(job_module, "STOP_SECONDS", 0.05)
    job = RunJob(run.path, [], run.path)
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    job._child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert job._child.stdout is not None
    job._child.stdout.readline()
    assert isinstance(job.checkpoint().function, RunJob)
    assert job._child.wait(60) == -signal.SIGKILL
    assert run.read_status()["state"] == "queued"


def test_a_job_that_is_stopped_before_its_program_starts(run: RunFolder) -> None:
    """It is the same job again."""
    job = RunJob(run.path, [], run.path, only_once=["--num_epochs=9"])
    assert job.checkpoint().function == job
    assert run.read_status()["state"] == "interrupted"


def test_records_that_cannot_be_read(tmp_path: Path) -> None:
    """A damaged record of jobs is none; a lease may say anything."""
    add_launch(tmp_path, Launch("slurm", "7", 2, {"time": "5"}, "2026-11-21T10:00:00+00:00"))
    assert read_launches(tmp_path)[0].options == {"time": "5"}
    for text in ("", "[", "{}", '[{"launcher": 3}]', "[[]]", "null"):
        (tmp_path / "jobs.json").write_text(text)
        assert read_launches(tmp_path) == []
    assert [owner_lives(text) for text in ("", "7.0", "a/7", "a/7.0\n", "../../x/1.1")] == [None] * 5
