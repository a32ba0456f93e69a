"""B: disks, files, permissions. Rows as in docs/trust.md."""

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from runner.cli import main
from tests.faults.programs import (
    fingerprint,
    let_go_on,
    run,
    run_folder,
    start,
    status,
    tiny,
    wait_for,
    waiting_run,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody touched."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run(folder, *tiny())
    return run_folder(folder)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own; ``mount -o remount`` changes it."""
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2M", "none", path], check=True)
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", disk], check=True)


def fill(disk: Path) -> None:
    """Leave no byte."""
    with (disk / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


@needs_root
@pytest.mark.parametrize(
    ("row", "argv", "num_maps"),
    [("B1 checkpoints", ["--fault=waits", "--at=4"], 0), ("B3 saliency", ["--fault=saliency waits", "--at=3"], 16)],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_full_disk(row: str, argv: list[str], num_maps: int, disk: Path, undisturbed: Path) -> None:
    """The run says so and fails; what was whole stays whole; with room again it goes on to the same bits."""
    program = start(disk, *tiny(*argv))
    folder = waiting_run(disk)
    wait_for(lambda: len(list((folder / "saliency" / "maps").glob("*.npz"))) == num_maps)
    fill(disk)
    let_go_on(folder)
    assert program.wait() == 1, row
    (disk / "ballast").unlink()
    code = main(["runs", "verify", str(folder)])
    assert code == 0
    assert (
        "No space left on device" in program.output_file.read_text() or "No space" in (folder / "run.log").read_text()
    )
    run(disk, f"--resume={folder}")
    assert fingerprint(folder) == fingerprint(undisturbed)


@needs_root
def test_b2_a_full_tmpdir(disk: Path, tmp_path: Path) -> None:
    """Nothing of a run goes there."""
    fill(disk)
    run(tmp_path, *tiny(), TMPDIR=str(disk))


def limit(which: int, value: int) -> None:
    resource.setrlimit(which, (value, value))


def test_b5_files_that_may_not_grow(tmp_path: Path, undisturbed: Path) -> None:
    """As a full disk: the checkpoint before stays."""
    run(tmp_path, *tiny(), first=partial(limit, resource.RLIMIT_FSIZE, 9000), code=1)
    folder = run_folder(tmp_path)
    assert "File too large" in status(folder)["exit_reason"]
    run(tmp_path, f"--resume={folder}")
    assert fingerprint(folder) == fingerprint(undisturbed)


@needs_root
def test_b6_outputs_that_cannot_be_written(disk: Path) -> None:
    """Told before anything else happens."""
    remount(disk, "ro")
    output = disk.parent
    (output / "outputs").symlink_to(disk)
    text = run(output, *tiny(), code=2)
    assert "Cannot write a run folder below" in text
    assert "Traceback" not in text


@needs_root
def test_b7_a_disk_that_turns_read_only(disk: Path) -> None:
    """Found at the next save, never taken for success."""
    program = start(disk.parent, *tiny("--fault=waits", "--at=4", f"--output_to={disk / 'outputs'}"))
    folder = waiting_run(disk)
    (folder / "checkpoints").rename(folder / "moved")
    (folder / "checkpoints").symlink_to("/proc")  # where not even root can write
    let_go_on(folder)
    assert program.wait() == 1
    assert status(folder)["state"] == "failed"


def test_b8_checkpoints_removed_before_the_test(tmp_path: Path) -> None:
    """The test does not take other weights instead."""
    output = run(tmp_path, *tiny("--fault=checkpoints removed"), code=2)
    assert "best.ckpt is missing" in output


@needs_root
def test_b10_no_inodes_left(disk: Path) -> None:
    """Fails and says why."""
    remount(disk, "nr_inodes=25")
    program = start(disk.parent, *tiny(f"--output_to={disk / 'outputs'}"))
    assert program.wait() == 1
    assert "No space left on device" in program.output


def test_b10_no_file_descriptors_left(tmp_path: Path) -> None:
    """Fails and says why."""
    program = start(tmp_path, *tiny(), first=partial(limit, resource.RLIMIT_NOFILE, 14))
    assert program.wait() in (1, 2)
    assert "Too many open files" in program.output


def test_b12_the_folder_is_removed(tmp_path: Path) -> None:
    """The run fails and does not make half a folder anew."""
    program = start(tmp_path, *tiny("--fault=folder removed", "--at=2"))
    assert program.wait() == 1
    assert not [path for path in (tmp_path / "outputs").glob("2*") if any(path.iterdir())]


@pytest.mark.parametrize("name", ["a" * 300, "b/" + "c" * 300, "a\0b"], ids=["long", "below", "NUL"])
def test_b13_names_that_cannot_be(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 2."""
    monkeypatch.chdir(tmp_path)
    assert main([*tiny(f"--output_to={name}")]) == 2


def test_b14_bit_rot(tmp_path: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A flipped bit in any file of a run is found and the file named; such a run is not gone on with."""
    folder = tmp_path / "copy"
    shutil.copytree(undisturbed, folder)
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and path.name != ".lock"]
    assert len(files) > 35
    for path in files:
        content = path.read_bytes()
        if not content:
            continue
        damaged = bytearray(content)
        damaged[len(content) * 2 // 3] ^= 2
        path.write_bytes(damaged)
        assert main(["runs", "verify", str(folder)]) == 1
        assert path.relative_to(folder).as_posix() in capsys.readouterr().out
        path.write_bytes(content)
    assert main(["runs", "verify", str(folder)]) == 0
    (folder / "metrics.csv").write_text("epoch,step\n")
    assert main([f"--resume={folder}"]) == 1
    assert "metrics.csv" in capsys.readouterr().err
