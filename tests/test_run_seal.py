"""digests.json: every file of a run that ended is known by its bytes."""

import os
from pathlib import Path

import pytest

from runner.checkpoint_files import write_checkpoint_file
from runner.errors import RunFailedError
from runner.run_folder import RunFolder
from runner.run_seal import check_run, recorded_digests, seal_run, unseal_run
from runner.sealed_files import write_sealed
from tests.test_checkpoint_files import in_pieces, write


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A sealed run."""
    folder = RunFolder.create(tmp_path, "Model")
    folder.config.write_text("a: 1\n")
    folder.status.write_text("{}")
    (folder.saliency / "maps").mkdir(parents=True)
    (folder.saliency / "maps" / "000000.npz").write_bytes(b"map")
    (folder.path / "console.log").write_text("begin")
    (folder.wandb / "run").mkdir(parents=True)
    (folder.wandb / "run" / "debug.log").write_text("begin")
    write(folder.last_checkpoint)
    (folder.path / "link").symlink_to("/etc/passwd")
    seal_run(folder, ["console.log"])
    return folder


NAMES = ["config.yaml", "status.json", "saliency/maps/000000.npz", "checkpoints/last.ckpt", "digests.json"]


@pytest.mark.parametrize("name", NAMES)
def test_a_flipped_bit_is_found(folder: RunFolder, name: str) -> None:
    """In each file; then the run cannot go on."""
    findings = check_run(folder)
    assert (findings.is_sealed, findings.is_whole, findings.num_files) == (True, True, 4)
    path = folder.path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    assert check_run(folder).damaged == (name,)
    assert not check_run(folder).is_whole
    with pytest.raises(RunFailedError, match=name):
        unseal_run(folder)
    assert folder.digests.is_file()


def test_what_others_write_does_not_count(folder: RunFolder) -> None:
    """The console of a trial, what Weights & Biases writes, locks, links out of the folder, files that came later."""
    (folder.wandb / "run" / "debug.log").write_text("more")
    (folder.path / "console.log").write_text("more")
    (folder.path / "notes.txt").write_text("mine")
    assert check_run(folder).is_whole
    unseal_run(folder)
    assert not check_run(folder).is_sealed
    unseal_run(folder)


def test_missing_files(folder: RunFolder, caplog: pytest.LogCaptureFixture) -> None:
    """Some can be done without; the checkpoint to go on from cannot."""
    (folder.saliency / "maps" / "000000.npz").unlink()
    assert check_run(folder).missing == ("saliency/maps/000000.npz",)
    assert not check_run(folder).is_whole
    unseal_run(folder)
    assert "no longer in" in caplog.text
    seal_run(folder)
    folder.last_checkpoint.unlink()
    with pytest.raises(RunFailedError, match=r"checkpoints/last\.ckpt"):
        unseal_run(folder)


def test_without_digests_checkpoints_have_their_own(folder: RunFolder) -> None:
    """After a kill."""
    folder.digests.unlink()
    write_checkpoint_file(folder.best_checkpoint, in_pieces(b"no zip", 9))
    findings = check_run(folder)
    assert (findings.is_sealed, findings.num_files, findings.damaged) == (False, 2, ())
    content = bytearray(folder.last_checkpoint.read_bytes())
    content[700] ^= 1
    folder.last_checkpoint.write_bytes(content)
    assert check_run(folder).damaged == ("checkpoints/last.ckpt",)


def test_sealed_again(folder: RunFolder) -> None:
    """The digests are those of the last end."""
    folder.config.write_text("a: 2\n")
    seal_run(folder)
    assert check_run(folder).is_whole
    assert check_run(folder).num_files == 5


@pytest.mark.parametrize(
    "files",
    [
        [1],
        5,
        None,
        {"a": 5},
        {"a": "x" * 64},
        {"x" * 5000: "0" * 64},
        {"x" * 300: "0" * 64},
        {"\ud800": "0" * 64},
        {"a\0b/c": "0" * 64},
        {"../../etc/hostname": "0" * 64},
        {"/etc/hostname": "0" * 64},
        {"": "0" * 64},
    ],
)
def test_names_and_digests_that_no_run_writes(folder: RunFolder, files: object) -> None:
    """The file is damaged, and nothing outside of the folder is looked at."""
    folder.digests.unlink()
    write_sealed(folder.digests, {"files": files})
    assert check_run(folder).damaged == ("digests.json",)
    assert recorded_digests(folder) is None


def test_a_name_that_is_no_text(folder: RunFolder) -> None:
    """Its digest is kept as those of others are."""
    name = os.fsdecode(b"bad\xff.txt")
    (folder.path / name).write_bytes(b"x")
    seal_run(folder)
    assert check_run(folder).is_whole
    assert name in (recorded_digests(folder) or {})
