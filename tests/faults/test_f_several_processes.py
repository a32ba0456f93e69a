"""F: several processes that train one model, one of which is hit. Rows as in docs/trust.md."""

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from tests.brake import braked, release
from tests.faults import programs, warm_children
from tests.faults.programs import Program, fingerprint, run_folder, status, tiny, wait_for
from tests.faults.test_b_disks import disk, fill, needs_root

__all__ = ["disk"]

TWO = ("--accelerator=cpu", "--devices=2", "--strategy=ddp", "--num_epochs=12", "--saliency_method=none")


start = partial(programs.start, first=warm_children.prepare)
run = partial(programs.run, first=warm_children.prepare)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What two processes come to that nobody touches."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run(folder, *tiny(*TWO))
    return fingerprint(run_folder(folder))


def training(folder: Path) -> tuple[Program, Path, list[int]]:
    """Start a run, wait until it has trained an epoch and brakes; return it, its folder and its processes by rank."""
    program = start(folder, *tiny(*TWO, "--step_seconds=1", braked(folder)))
    found = wait_for(lambda: run_folder(folder))
    wait_for(lambda: status(found)["epochs_finished"] >= 1)
    return program, found, ranks(program)


def ranks(program: Program) -> list[int]:
    """Return the processes by rank."""
    return [program.pid, *(pid for pid in program.alive if pid != program.pid)]


@pytest.mark.parametrize("hit", [[0], [1], [0, 1]], ids=["F3 rank 0", "F3 rank 1", "F3 all"])
def test_f3_a_signal_to_any_stops_all(hit: list[int], tmp_path: Path, undisturbed: dict[str, str]) -> None:
    """In the same step, with one checkpoint; the run goes on to the same bits."""
    program, folder, processes = training(tmp_path)
    assert len(processes) == 2
    for rank in hit:
        os.kill(processes[rank], signal.SIGTERM)
    assert program.wait() == 143, program.output
    wait_for(lambda: not program.alive)
    assert (status(folder)["state"], status(folder)["exit_reason"]) == ("interrupted", "stopped by SIGTERM")
    assert "Traceback" not in program.output
    release(tmp_path)
    run(tmp_path, f"--resume={folder}")
    assert fingerprint(folder) == undisturbed


@pytest.mark.parametrize("hit", [0, 1], ids=["F4 rank 0", "F4 rank 1"])
def test_f4_kill_9_of_one_ends_all(hit: int, tmp_path: Path, undisturbed: dict[str, str]) -> None:
    """Within a minute; the first process, where it lives, says who it was."""
    program, folder, processes = training(tmp_path)
    os.kill(processes[hit], signal.SIGKILL)
    if hit == 0:
        assert program.wait() == -signal.SIGKILL
        wait_for(lambda: not program.alive)
        assert status(folder)["state"] == "running"  # nobody is left who could say otherwise
    else:
        assert program.wait(60) == 1, program.output
        wait_for(lambda: not program.alive)
        assert "The process with rank 1, of 2, was killed by SIGKILL" in status(folder)["exit_reason"]
        assert f"--resume={folder.relative_to(tmp_path)}" in program.output
        assert "Traceback" not in program.output
    release(tmp_path)
    run(tmp_path, f"--resume={folder}")
    assert fingerprint(folder) == undisturbed


@pytest.mark.parametrize(
    ("fault", "rank"),
    [
        ("step raises", 0),
        ("step raises", 1),
        ("validation raises", 1),
        ("nan loss", 1),
        ("setup raises", 1),
        ("ends early", 1),
    ],
    ids=["F5 rank 0", "F5 rank 1", "F5 validation", "F5 loss", "F5 before training", "F5 no exception"],
)
def test_f5_an_exception_in_one_ends_all(fault: str, rank: int, tmp_path: Path) -> None:
    """What one process has to say is in status.json and the last on the terminal, not that others lost it."""
    program = start(tmp_path, *tiny(*TWO, f"--fault={fault}", f"--fault_rank={rank}"))
    assert program.wait() == 1, program.output
    wait_for(lambda: not program.alive)
    folder = run_folder(tmp_path)
    said = {"step raises": "ValueError: the step is <b>wrong</b>", "validation raises": "ValueError: validation",
            "nan loss": "The loss is not finite", "setup raises": "ValueError: no such",
            "ends early": "it ended with exit code 0"}[fault]  # fmt: skip
    assert said in status(folder)["exit_reason"]
    is_plain = fault in ("nan loss", "ends early")
    assert said in (program.output if is_plain else program.output[program.output.rindex("Traceback") :])
    assert "gloo" not in program.output
    assert said in (folder / "run.log").read_text() or fault == "ends early"
    assert said.partition("<")[0] in (folder / "report.html").read_text()
    assert f"--resume={folder.relative_to(tmp_path)}" in program.output
    assert not list(folder.glob(".*.tmp"))


def test_f5_an_exception_after_the_training(tmp_path: Path) -> None:
    """In a process that nothing depends on any more: it is told, and the run is complete."""
    output = run(tmp_path, *tiny(*TWO, "--fault=fit end raises", "--fault_rank=1"))
    assert "afterwards: The process with rank 1, of 2, failed: ValueError: fit end" in output
    assert status(run_folder(tmp_path))["state"] == "completed"


@needs_root
def test_f6_the_first_cannot_save(disk: Path) -> None:
    """A full disk under the one that writes ends all."""
    program = start(disk, *tiny(*TWO, "--step_seconds=1", braked(disk)))
    folder = wait_for(lambda: run_folder(disk))
    wait_for(lambda: status(folder)["epochs_finished"] >= 1)
    fill(disk)
    assert program.wait() == 1
    wait_for(lambda: not program.alive)
    (disk / "ballast").unlink()
    release(disk)
    run(disk, f"--resume={folder}")


@pytest.fixture
def port() -> Iterator[int]:
    """A port that somebody else has."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


def test_f7_a_port_in_use_and_proxies(port: int, tmp_path: Path) -> None:
    """A free port is taken on this machine; one that the user has chosen and that is in use is told."""
    proxy = "http://127.0.0.1:9"
    programs.run(tmp_path, *tiny(*TWO, "--max_steps=1"), http_proxy=proxy, https_proxy=proxy, all_proxy=proxy)
    shutil.rmtree(tmp_path / "outputs")
    output = run(tmp_path, *tiny(*TWO, "--max_steps=1"), code=1, MASTER_PORT=str(port))
    assert f"MASTER_PORT={port}" in output
    assert "cannot be used" in output
