"""Checkpoint files: any flipped bit is found, other people's files are read as ever."""

import hashlib
import io
import random
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from runner.checkpoint_files import check_checkpoint_file, write_checkpoint_file
from runner.errors import CheckpointError

CONTENT = {"state_dict": {"weight": torch.arange(300.0).reshape(20, 15)}, "epoch": 3}
LARGE = {"state_dict": {"weight": torch.arange(300_000.0)}}


def write(path: Path) -> bytes:
    write_checkpoint_file(path, lambda file: torch.save(CONTENT, file))  # type: ignore[arg-type]
    return path.read_bytes()


def test_torch_reads_it(tmp_path: Path) -> None:
    """The digest is the comment of a zip file: every reader passes over it."""
    path = tmp_path / "deep" / "down" / "a.ckpt"
    write(path)
    check_checkpoint_file(path)
    for is_mapped in (False, True):
        found = torch.load(path, weights_only=True, mmap=is_mapped)
        assert torch.equal(found["state_dict"]["weight"], CONTENT["state_dict"]["weight"])  # type: ignore[index]
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """In the weights, the names, the directory, the digest itself; also a torn end."""
    path = tmp_path / "a.ckpt"
    whole, choose = write(path), random.Random(0)
    places = {*range(100), *range(len(whole) - 300, len(whole)), *choose.sample(range(len(whole)), 200)}
    silent = []
    for place in sorted(places):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << choose.randrange(8)
        path.write_bytes(damaged)
        try:
            check_checkpoint_file(path)
            torch.load(path, weights_only=True)
            silent.append(place - len(whole))
        except Exception:
            continue
    assert silent == []


def test_other_files(tmp_path: Path) -> None:
    """Zip files without our digest are compared with their checksums; what is no zip file is torch's business."""
    path = tmp_path / "a.ckpt"
    torch.save(CONTENT, path)
    check_checkpoint_file(path)
    damaged = bytearray(path.read_bytes())
    place = damaged.index(torch.arange(300.0).numpy().tobytes()[400:420])
    damaged[place] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(CheckpointError, match="is damaged: the checksum of"):
        check_checkpoint_file(path)
    path.write_bytes(b"no zip")
    check_checkpoint_file(path)


def test_the_form_stays_as_it_is(tmp_path: Path) -> None:
    """Checkpoints that lie on people's disks: sha256 of all before the length of the comment; also of large ones."""
    path = tmp_path / "a.ckpt"
    write_checkpoint_file(path, lambda file: torch.save(LARGE, file))  # type: ignore[arg-type]
    check_checkpoint_file(path)
    with zipfile.ZipFile(path) as archive:
        comment = archive.comment
    begin = path.read_bytes()[: -len(comment) - 2]
    assert comment == b"lightcase sha256=" + hashlib.sha256(begin).hexdigest().encode()


def test_a_torn_checkpoint_of_others(tmp_path: Path) -> None:
    """Of torch.save alone, without our digest; and a file of no bytes at all."""
    path = tmp_path / "a.ckpt"
    torch.save(CONTENT, path)
    whole = path.read_bytes()
    for length in (0, 10, 1000, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="was not written to its end"):
            check_checkpoint_file(path)


def in_pieces(content: bytes, size: int) -> Callable[[io.RawIOBase], None]:
    def save(file: io.RawIOBase) -> None:
        for start in range(0, len(content), size):
            piece = content[start : start + size]
            assert file.write(piece) == len(piece)

    return save


@given(st.binary(max_size=200), st.integers(1, 70))
def test_all_is_written_in_whatever_pieces_it_comes(content: bytes, size: int) -> None:
    """What is no zip file as it is."""
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
        archive.writestr("a", content)
    zipped = buffer.getvalue()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        write_checkpoint_file(path, in_pieces(content, size))
        assert path.read_bytes() == content
        write_checkpoint_file(path, in_pieces(zipped, size))
        assert path.read_bytes()[: len(zipped) - 2] == zipped[:-2]
        check_checkpoint_file(path)
        assert zipfile.ZipFile(path).read("a") == content
        assert zipfile.ZipFile(path).comment.startswith(b"lightcase sha256=")


def test_a_failing_write_leaves_the_old_file(tmp_path: Path) -> None:
    """And nothing beside it."""
    path = tmp_path / "a.ckpt"
    before = write(path)

    def fail(file: io.RawIOBase) -> None:
        file.write(b"x" * 1000)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_checkpoint_file(path, fail)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["a.ckpt"]
