"""The npz files of maps, where somebody else packed them: what is read of them stays as small as was asked for."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from runner.saliency import journal
from runner.saliency.map_files import DAMAGED, StoredImage

MEGABYTE = 2**20


def pack(path: Path, method: int = zipfile.ZIP_DEFLATED, megabytes: int = 100) -> None:
    """Write an npz with one entry of zeros."""
    with zipfile.ZipFile(path, "w", method) as archive, archive.open("maps.npy", "w") as entry:
        for _ in range(megabytes):
            entry.write(bytes(MEGABYTE))


def claim(path: Path, size: int) -> None:
    """Let the table of contents say *size* of each entry; no byte of the entries changes."""
    with zipfile.ZipFile(path, "a") as archive:
        for entry in archive.filelist:
            entry.file_size = size
        archive.comment = b"the table of contents is written anew"


def peak_of_reading(stored: StoredImage) -> int:
    """Return how many bytes it takes to be refused."""
    tracemalloc.start()
    try:
        with pytest.raises(DAMAGED):
            stored.contents(MEGABYTE)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_up_to_a_size(tmp_path: Path) -> None:
    """All of its arrays count together; without a limit everything is read."""
    path = tmp_path / "000000.npz"
    np.savez_compressed(path, image=np.zeros(1000), maps=np.zeros(1000))
    size = sum(map(len, StoredImage(path).contents().values()))
    assert size == 2 * (8000 + 128)
    assert StoredImage(path).entries(size).keys() == {"image", "maps"}
    with pytest.raises(ValueError, match="larger than"):
        StoredImage(path).contents(size - 1)


def test_what_unpacks_to_a_thousand_times_its_size_is_not_unpacked(tmp_path: Path) -> None:
    """Neither from a file of its own, nor from a journal."""
    path, waiting = tmp_path / "000000.npz", tmp_path / "000000-000063.part"
    pack(path)
    journal.append(waiting, 0, path.read_bytes())
    assert path.stat().st_size < MEGABYTE
    assert peak_of_reading(StoredImage(path)) < 50 * MEGABYTE  # of 100, whatever other threads take
    assert (
        peak_of_reading(StoredImage(waiting, record=journal.records(waiting)[0])) < 50 * MEGABYTE
    )  # of 100, whatever other threads take


def test_no_more_is_unpacked_than_the_table_says(tmp_path: Path) -> None:
    """A table that lies is found out by the checksum."""
    path = tmp_path / "000000.npz"
    pack(path)
    claim(path, 1000)
    assert peak_of_reading(StoredImage(path)) < 50 * MEGABYTE  # of 100, whatever other threads take


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_only_what_numpy_writes_is_unpacked(tmp_path: Path, method: int) -> None:
    """With the others, no part of an entry can be had without all of it."""
    path = tmp_path / "000000.npz"
    pack(path, method)
    claim(path, 1000)
    assert peak_of_reading(StoredImage(path)) < 50 * MEGABYTE  # of 100, whatever other threads take


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    """By the checksum of the entry."""
    path = tmp_path / "000000.npz"
    path.write_bytes(stored_npz())
    assert StoredImage(path).entries()["maps"].tolist() == [0, 1, 2]
    content = bytearray(stored_npz())
    content[content.index(bytes([1, 0, 2, 0]))] ^= 4
    path.write_bytes(content)
    with pytest.raises((zipfile.BadZipFile, zlib.error)):
        StoredImage(path).contents()


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,",
        b"{'descr: '<f4', 'fortran_order': False, 'shape': (3, 64)< }    (   ",
        b"\n  {}\n {}",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000,)}",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}",
        b"(" * 300,
    ],
)
def test_heads_that_numpy_stumbles_over(tmp_path: Path, head: bytes) -> None:
    """Are damage like any other, whatever numpy raises."""
    path = tmp_path / "000000.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("maps.npy", b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head + bytes(100))
    with pytest.raises(DAMAGED):
        StoredImage(path).entries()


def stored_npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, maps=np.arange(3, dtype=np.int16))
    return file.getvalue()
