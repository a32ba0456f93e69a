"""What several processes share after the training comes out as one process makes it."""

import csv
import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.faults import programs, warm_children
from tests.faults.programs import Program, fingerprint, run_folder, status, tiny, wait_for

TWO = ("--accelerator=cpu", "--devices=2", "--strategy=ddp", "--train=False")

run = partial(programs.run, first=partial(warm_children.prepare, 2))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of one process, with a number of items that two cannot share evenly."""
    folder = tmp_path_factory.mktemp("alone")
    run(folder, *tiny("--num_items=23", "--num_epochs=6", model="Telling"))
    return run_folder(folder)


def two(alone: Path, *argv: str) -> tuple[str, ...]:
    """Return the arguments that test and explain the same weights in two processes."""
    return tiny(*TWO, "--num_items=23", f"--src_checkpoint={alone}", *argv, model="Telling")


def predictions(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open() as file:
        return list(csv.DictReader(file))


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


def test_shared_test_and_maps(alone: Path, tmp_path: Path) -> None:
    """Each item once: the means, the predictions in their order, and every bit of the maps."""
    output = run(tmp_path, *two(alone, "--test_on_all_devices=True", "--json"))
    folder = run_folder(tmp_path)
    [said] = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert (said["state"], said["folder"]) == ("completed", str(folder))
    assert "one device tests" not in output
    expected, found = (results(each)["test"] for each in (alone, folder))
    assert found["num_items"] == 23
    assert found["metrics"] == pytest.approx(expected["metrics"], rel=1e-5)
    assert found["metrics"]["test_acc"] == pytest.approx(found["metrics"]["accuracy"], rel=1e-6)
    one, other = predictions(alone), predictions(folder)
    assert [row["label"] for row in one] == [row["label"] for row in other]
    name = "score_1"
    assert [float(row[name]) for row in other] == pytest.approx([float(row[name]) for row in one], rel=1e-4)
    assert maps(folder) == maps(alone)
    assert results(folder)["saliency"]["metrics"] == results(alone)["saliency"]["metrics"]
    assert not list(folder.rglob(".rank*"))


def maps(folder: Path) -> dict[str, str]:
    found = {name: digest for name, digest in fingerprint(folder).items() if name.startswith(("saliency", "0"))}
    assert len(found) > 20
    return found


def explaining(alone: Path, folder: Path) -> tuple[Program, Path, int]:
    """Start a run and wait until its second process makes maps; return it, its folder and that process."""
    program = programs.start(folder, *two(alone, "--image_seconds=0.5"), first=warm_children.prepare)
    found = wait_for(lambda: run_folder(folder))
    wait_for(lambda: status(found)["phase"] == "saliency")
    wait_for((found / "saliency" / "maps" / "000001.npz").is_file)
    [other] = [pid for pid in program.alive if pid != program.pid]
    return program, found, other


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_one_of_two_is_hit_while_maps_are_made(number: signal.Signals, alone: Path, tmp_path: Path) -> None:
    """The run ends soon, says why, and goes on to the same bits."""
    program, folder, other = explaining(alone, tmp_path)
    os.kill(other, number)
    is_kill = number == signal.SIGKILL
    assert program.wait() == (1 if is_kill else 143), program.output
    wait_for(lambda: not program.alive)
    assert status(folder)["state"] == ("failed" if is_kill else "interrupted")
    reason = "The process with rank 1, of 2, was killed by SIGKILL" if is_kill else "stopped by SIGTERM"
    assert reason in status(folder)["exit_reason"]
    assert "Traceback" not in program.output
    if is_kill:
        run(tmp_path, f"--resume={folder}", "--image_seconds=0", "--devices=1", "--strategy=auto")
        assert maps(folder) == maps(alone)


def test_a_test_that_cannot_be_shared(alone: Path, tmp_path: Path) -> None:
    """Fewer items than processes."""
    argv = (*TWO, "--num_items=1", f"--src_checkpoint={alone}", "--test_on_all_devices=True", "--saliency_method=none")
    output = run(tmp_path, *tiny(*argv, model="Telling"), code=1)
    assert "test_on_all_devices: 1 items among 2 processes cannot be shared; test on one device." in output


def test_metrics_of_steps_are_means_as_well(alone: Path, tmp_path: Path) -> None:
    """Processes have different numbers of batches, so that nothing can be exchanged in each."""
    run(tmp_path, *two(alone, "--test_on_all_devices=True", "--saliency_method=none", "--fault=logs steps"))
    assert results(run_folder(tmp_path))["test"]["metrics"]["label"] == pytest.approx(11 / 23, rel=1e-5)


def test_metrics_that_not_all_have_logged(alone: Path, tmp_path: Path) -> None:
    """Told instead of adding up different things."""
    argv = two(alone, "--test_on_all_devices=True", "--saliency_method=none", "--fault=logs rarely")
    output = run(tmp_path, *argv, code=1)
    assert "test_on_all_devices: rare was logged for some batches only, and not in all processes" in output
    assert "Traceback" not in output


def test_more_epochs_on_two_devices(tmp_path: Path) -> None:
    """What the first process has checked is not checked again by others, when it has trained."""
    argv = ("--accelerator=cpu", "--devices=2", "--strategy=ddp", "--num_epochs=1", "--num_items=8")
    run(tmp_path, *tiny(*argv))
    folder = run_folder(tmp_path)
    run(tmp_path, f"--resume={folder}", "--num_epochs=2")
    assert (status(folder)["state"], status(folder)["epochs_finished"]) == ("completed", 2)
    assert len(list((folder / "saliency" / "maps").glob("*.npz"))) == 8


def test_a_late_part_with_other_settings(tmp_path: Path) -> None:
    """The maps of a run that was complete are not any more, until all are made anew."""
    run(tmp_path, *tiny("--num_items=6", "--num_epochs=1"))
    folder = run_folder(tmp_path)
    output = run(tmp_path, f"--resume={folder}", "--saliency_part=1/2", "--saliency_num_masks=8")
    assert "part 1/2 is done" in output
    assert status(folder)["state"] == "interrupted"
    run(tmp_path, f"--resume={folder}")
    assert status(folder)["state"] == "completed"
    assert len(list((folder / "saliency" / "maps").glob("*.npz"))) == 6
    with (folder / "saliency" / "index.csv").open() as file:
        assert {row["num_masks"] for row in csv.DictReader(file)} == {"8"}
