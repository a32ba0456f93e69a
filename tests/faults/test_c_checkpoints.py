"""C: checkpoints, chosen and loaded. Rows as in docs/trust.md."""

import os
import shutil
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from runner.cli import main
from tests.faults.programs import fingerprint, let_go_on, run, run_folder, start, tiny, waiting_run


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody touched."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run(folder, *tiny("--num_epochs=6"))
    return run_folder(folder)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, killed in the fourth epoch."""
    folder = tmp_path_factory.mktemp("killed")
    program = start(folder, *tiny("--num_epochs=6", "--fault=waits", "--at=10"))
    found = waiting_run(folder)
    program.send(signal.SIGKILL)
    assert program.wait() == -signal.SIGKILL
    let_go_on(found)
    return found


@pytest.fixture
def copy(killed: Path, tmp_path: Path) -> Path:
    """A copy of the killed run, elsewhere."""
    folder = tmp_path / "elsewhere" / "run"
    shutil.copytree(killed, folder)
    return folder


def halve(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()  # not through the hard link to the best one
    path.write_bytes(content[: len(content) // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    content[largest.header_offset + 200] ^= 1
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize(("row", "damage"), [("C1 torn", halve), ("C1 flipped bit", flip)], ids=lambda v: str(v)[:15])
def test_c1_the_newest_is_damaged(row: str, damage: Callable[[Path], None], copy: Path, undisturbed: Path) -> None:
    """The one before is taken, which is said; the result has the same bits."""
    damage(copy / "checkpoints" / "last.ckpt")
    output = run(copy.parent, f"--resume={copy}")
    assert "last.ckpt is damaged" in output or "last.ckpt is damaged" in (copy / "run.log").read_text(), row
    assert fingerprint(copy) == fingerprint(undisturbed)


def test_c2_all_are_damaged(copy: Path) -> None:
    """Training does not begin anew behind the user's back."""
    for path in (copy / "checkpoints").glob("*.ckpt"):
        halve(path)
    output = run(copy.parent, f"--resume={copy}", code=2)
    assert "All checkpoints" in output
    assert "are damaged" in output


@pytest.mark.parametrize("kind", ["empty", "text", "folder", "missing", "other zip", "a tensor"])
def test_c3_what_is_no_checkpoint(kind: str, tmp_path: Path) -> None:
    """One line with the path; nothing is tested."""
    path = tmp_path / "x.ckpt"
    match kind:
        case "empty":
            path.touch()
        case "text":
            path.write_text("weights")
        case "folder":
            path.mkdir()
        case "other zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("a", "b")
        case "a tensor":
            torch.save(torch.zeros(3), path)
    output = run(tmp_path, *tiny("--train=False", f"--src_checkpoint={path}"), code=2)
    assert "Traceback" not in output
    assert str(path) in output


def test_c4_a_test_without_weights(tmp_path: Path) -> None:
    """Never with random ones."""
    assert "--src_checkpoint" in run(tmp_path, *tiny("--train=False"), code=2)
    assert not (tmp_path / "outputs").exists()


def test_c5_a_misspelt_monitor(tmp_path: Path) -> None:
    """Found after the first epoch, with the right name."""
    output = run(tmp_path, *tiny("--monitor=val_los"), code=1)
    assert "Did you mean val_loss" in output
    assert "epoch 2" not in output


def test_c6_times_of_files_decide_nothing(copy: Path, undisturbed: Path) -> None:
    """Whatever the clock said when they were written."""
    for place, path in enumerate(sorted((copy / "checkpoints").glob("*.ckpt"))):
        os.utime(path, (2_000_000_000 - place * 10**6,) * 2)
    run(copy.parent, f"--resume={copy}")
    assert fingerprint(copy) == fingerprint(undisturbed)


def test_c7_last_is_last(undisturbed: Path, tmp_path: Path) -> None:
    """Also where the monitor only gets worse."""
    run(tmp_path, *tiny("--monitor=train_loss", "--monitor_mode=max"))
    checkpoints = run_folder(tmp_path) / "checkpoints"
    epochs = {path.name: torch.load(path, weights_only=True)["epoch"] for path in checkpoints.glob("*.ckpt")}
    assert epochs["last.ckpt"] == 3
    assert epochs["best.ckpt"] < 3


def test_c8_two_generations(killed: Path) -> None:
    """While training goes on there is always a whole checkpoint besides the newest."""
    names = {path.name for path in (killed / "checkpoints").glob("*.ckpt")}
    assert {"last.ckpt", "previous.ckpt"} <= names


def test_c9_a_checkpoint_of_another_model(tmp_path: Path) -> None:
    """One line says what does not fit."""
    run(tmp_path, *tiny("--num_epochs=1", "--saliency_method=none", "--output_to=other"))
    path = next((tmp_path / "other").glob("2*/checkpoints/last.ckpt"))
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"]["layers.1.weight"] = torch.zeros(3, 5)
    torch.save(checkpoint, path)
    output = run(tmp_path, *tiny("--train=False", f"--src_checkpoint={path}"), code=2)
    assert "does not fit Bright" in output
    assert "Traceback" not in output


def test_c10_other_parameters(copy: Path) -> None:
    """What would make it another run is refused."""
    assert "l_rate" in run(copy.parent, f"--resume={copy}", "--l_rate=1", code=2)


def test_c11_a_run_that_is_complete(undisturbed: Path, tmp_path: Path) -> None:
    """Nothing is done again."""
    copy = tmp_path / "copy"
    shutil.copytree(undisturbed, copy)
    before = fingerprint(copy)
    run(tmp_path, f"--resume={copy}")
    assert fingerprint(copy) == before
    assert main(["runs", "verify", str(copy)]) == 0


def test_c13_a_run_that_was_moved(copy: Path, undisturbed: Path) -> None:
    """Everything in it is relative."""
    run(copy.parent, f"--resume={copy}")
    assert fingerprint(copy) == fingerprint(undisturbed)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_c14_weights_that_are_no_numbers(value: str, undisturbed: Path, tmp_path: Path) -> None:
    """Neither saved nor tested."""
    path = tmp_path / "x.ckpt"
    checkpoint = torch.load(undisturbed / "checkpoints" / "last.ckpt", weights_only=True)
    checkpoint["state_dict"]["layers.4.bias"][0] = float(value)
    torch.save(checkpoint, path)
    output = run(tmp_path, *tiny("--train=False", f"--src_checkpoint={path}"), code=2)
    assert "layers.4.bias are not finite" in output
