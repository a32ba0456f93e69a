"""D: two writers, locks, names, clocks. Rows as in docs/trust.md."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.cli import main
from tests.brake import braked, release
from tests.faults.programs import FAKE_CLOCK, REPOSITORY, fingerprint, run, run_folder, start, status, tiny, wait_for

QUICK = ("--num_epochs=1", "--saliency_method=none")


def test_d1_sixteen_starts_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sixteen folders, all whole."""
    programs = [start(tmp_path, *tiny(*QUICK)) for _ in range(16)]
    assert [program.wait() for program in programs] == [0] * 16
    folders = [path for path in (tmp_path / "outputs").iterdir() if not path.is_symlink()]
    assert len(folders) == 16
    assert main(["runs", "verify", f"--output_to={tmp_path / 'outputs'}"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 16


def test_d2_d3_a_run_that_lives_is_not_resumed(tmp_path: Path) -> None:
    """The second one ends at once, and names the process of the first."""
    first = start(tmp_path, *tiny("--step_seconds=0.2", "--num_epochs=500"))
    folder = wait_for(lambda: run_folder(tmp_path))
    wait_for(lambda: status(folder)["phase"] == "train")
    output = run(tmp_path, f"--resume={folder}", code=2)
    assert f"is in use by process {first.pid} on" in output
    first.send(2)
    assert first.wait() == 130


def test_d4_d5_the_number_of_a_process_means_nothing(tmp_path: Path) -> None:
    """Another process may have it by now: what counts is the lock, which is free at once after a kill."""
    first = start(tmp_path, *tiny("--step_seconds=5", braked(tmp_path)))
    folder = wait_for(lambda: run_folder(tmp_path))
    wait_for(lambda: status(folder)["epochs_finished"] >= 1)
    first.send(9)
    assert first.wait() == -9
    release(tmp_path)
    changed = status(folder) | {"pid": os.getpid()}
    (folder / "status.json").write_text(json.dumps(changed))
    run(tmp_path, f"--resume={folder}")


@pytest.mark.skipif(not FAKE_CLOCK, reason="needs faketime")
@pytest.mark.parametrize(("shift", "zone"), [("-400d", "UTC"), ("+3d", "Asia/Kathmandu")])
def test_d7_d8_clocks(shift: str, zone: str, tmp_path: Path) -> None:
    """A run that goes on under another clock, before it was begun, comes to the same bits."""
    run(tmp_path, *tiny("--output_to=calm/outputs"))
    program = start(tmp_path, *tiny("--step_seconds=5", braked(tmp_path)))
    folder = wait_for(lambda: run_folder(tmp_path))
    wait_for(lambda: status(folder)["epochs_finished"] >= 1)
    program.send(9)
    assert program.wait() == -9
    release(tmp_path)
    argv = [sys.executable, str(REPOSITORY / "runner.py"), f"--resume={folder}"]
    environment = os.environ | {"TZ": zone, "LD_PRELOAD": str(FAKE_CLOCK), "FAKETIME": shift}
    subprocess.run(argv, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=300)
    assert fingerprint(folder) == fingerprint(run_folder(tmp_path / "calm"))
    assert main(["runs", "verify", str(folder)]) == 0


def test_d10_readers_while_runs_write(tmp_path: Path) -> None:
    """They see what was before or what is after, never a part."""
    programs = [start(tmp_path, *tiny("--step_seconds=0.1")) for _ in range(2)]
    reads = 0
    while any(program.is_running for program in programs):
        for path in (tmp_path / "outputs").glob("2*/*.json"):
            json.loads(path.read_text())
            reads += 1
    assert reads > 100
    assert [program.wait() for program in programs] == [0, 0]


def test_d11_the_same_folder_again(tmp_path: Path) -> None:
    """Nothing is ever written over."""
    for _ in range(2):
        run(tmp_path, *tiny(*QUICK, "--output_to=mine"))
    assert len(list((tmp_path / "mine").glob("2*/config.yaml"))) == 2
