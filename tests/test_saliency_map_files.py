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
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (26,)}",
        b"(" * 300,
        b"-" * 8000 + b"1",
    ],
)
def test_heads_that_numpy_stumbles_over(tmp_path: Path, head: bytes) -> None:
    """Are damage like any other, whatever numpy raises."""
    with pytest.raises(DAMAGED):
        with_head(tmp_path, head, 100).entries()


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("V0", (2, 999_999, 999_999)),  # to copy which takes days
        ("V0", (9_999_999_999,)),  # 37 GiB as float32
        ("<U0", (9_999_999_999,)),
        ("(0,)<f4", (9_999_999_999,)),
        ("<c8", (0,)),
        ("<M8[s]", (0,)),
    ],
)
def test_only_kinds_of_numbers_that_are_written_are_read(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    """Nothing is copied of elements without bytes, as many as a head may claim."""
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}".encode()
    with pytest.raises(ValueError, match="is not read"):
        with_head(tmp_path, head, 0).entries()


def test_an_array_is_as_long_as_its_head_says(tmp_path: Path) -> None:
    """Not shorter, and not longer either."""
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (5, 5)}"
    assert with_head(tmp_path, head, 100).entries()["maps"].shape == (5, 5)
    for size in (99, 101):
        with pytest.raises(ValueError, match="as long as"):
            with_head(tmp_path, head, size).entries()


def test_maps_of_text_are_not_taken_for_numbers(tmp_path: Path) -> None:
    """A hundred million of them would take minutes."""
    path = tmp_path / "000000.npz"
    np.savez(path, index=0, label=0, num_masks=0, maps=np.array([["1"]]))
    with pytest.raises(TypeError, match="same_kind"):
        StoredImage(path).explanation()


def with_head(folder: Path, head: bytes, size: int) -> StoredImage:
    """Write an npz of one npy file: any head, then so many bytes."""
    path = folder / "000000.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("maps.npy", b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head + bytes(size))
    return StoredImage(path)


def stored_npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, maps=np.arange(3, dtype=np.int16))
    return file.getvalue()
