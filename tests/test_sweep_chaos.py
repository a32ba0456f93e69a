"""Whatever is killed, whenever, whatever the clock says: every point once, and the same bits."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runner.sweep.sweep_folder import SweepFolder
from tests.faults.programs import FAKE_CLOCK
from tests.sweep_samples import ENVIRONMENT, command, fingerprints, only_sweep, run, run_command, start, sweeping


def test_random_kills_change_nothing(tmp_path: Path) -> None:
    """Supervisors and workers are killed at random for a while, under clocks that are years apart."""
    argv = [sys.executable, "-m", "tests.sweep_chaos", "--points=24", "--epochs=4", "--seconds=10", "--seed=1"]
    if FAKE_CLOCK:
        argv = ["env", f"LD_PRELOAD={FAKE_CLOCK}", "FAKETIME=+0", "FAKETIME_NO_CACHE=1", *argv]
    found = json.loads(run_command(tmp_path, argv).splitlines()[-1])
    assert found["states"] == {"completed": 24}
    assert found["same bits"]
    assert found["kills"]["supervisor"] >= 2
    assert found["kills"]["worker"] >= 2


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root to mount a small disk")
def test_a_full_disk_pauses_the_sweep(tmp_path: Path) -> None:
    """Nothing is lost and nothing half written; with room again the sweep goes on to the same bits."""
    argv = sweeping("--sweep", "random_seed=1..6", "--num_epochs=3")
    run(tmp_path, [*argv, "--output_to=calm"])
    [calm] = [SweepFolder(path) for path in (tmp_path / "calm" / "sweeps").glob("2*")]
    disk = tmp_path / "disk"
    disk.mkdir()
    script = (
        f"mount -t tmpfs -o size=220k none {disk};"
        f" {' '.join(map(_quoted, command(*argv, f'--output_to={disk}')))} --workers=1;"
        f" echo first $?; mount -o remount,size=50M {disk};"
        f" name=$(basename $(ls -d {disk}/sweeps/2*));"
        f" {' '.join(command('queue', 'resume', '$name', f'--output_to={disk}'))};"
        f" {' '.join(command(f'--resume={disk}/sweeps/$name'))}; echo second $?; cp -r {disk} {tmp_path}/copy"
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    output = done.stdout + done.stderr
    assert "first 1" in output, output
    assert "the disk is full" in output, output
    assert "second 0" in output, output
    [sweep] = [SweepFolder(path) for path in (tmp_path / "copy" / "sweeps").glob("2*")]
    assert dict(sweep.sealed()) == dict.fromkeys(range(6), "completed")
    assert fingerprints(sweep) == fingerprints(calm)


def _quoted(text: str) -> str:
    return f"'{text}'"


def test_eight_supervisors_at_once(tmp_path: Path) -> None:
    """They find one sweep, share it, and no point is begun twice."""
    argv = sweeping("--sweep", "width=1..16", "--num_epochs=1")
    run(tmp_path, [*argv, "--enqueue"])
    supervisors = [start(tmp_path, [*argv, "--workers=1"]) for _ in range(8)]
    assert [supervisor.wait(300) for supervisor in supervisors] == [0] * 8
    sweep = only_sweep(tmp_path)
    assert dict(sweep.sealed()) == dict.fromkeys(range(16), "completed")
    attempts = [(sweep.point(number) / "attempts.json").read_text() for number in range(16)]
    assert all('"attempts": 1,' in text for text in attempts)
