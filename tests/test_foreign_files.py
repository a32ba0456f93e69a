"""Files that somebody else made are read without waiting, and up to a size."""

import csv
import io
import os
from pathlib import Path

import pytest

from runner.foreign_files import open_file, read_bytes, read_text, rows_of
from tests.test_atomic_files import open_files


def test_up_to_a_size(tmp_path: Path) -> None:
    """A file of that many bytes is read whole, one of a byte more not at all."""
    path = tmp_path / "file"
    path.write_bytes(b"abc\xff")
    assert read_bytes(path, 4) == b"abc\xff"
    assert read_text(path, 4) == "abc\ufffd"
    with pytest.raises(OSError, match="larger than the 0 MB that are read of it"):
        read_bytes(path, 3)
    path.write_bytes(b"")
    assert read_bytes(path, 0) == b""


def test_what_says_less_than_it_gives(tmp_path: Path) -> None:
    """Files of the kernel have no size beforehand."""
    assert read_text(Path("/proc/self/status")).startswith("Name:")
    with pytest.raises(OSError, match="larger"):
        read_bytes(Path("/proc/self/status"), 20)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    """No descriptor is left behind for others."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match="no regular file"):
            open_file(path)
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path / "missing")
    assert not open_files(tmp_path)
    assert not open_files(Path("/dev/zero"))


def test_a_row_that_csv_refuses_is_passed_over() -> None:
    """Also where it is the first or the last."""
    long = "x" * 200_000
    rows = csv.reader(io.StringIO(f"{long}\na,b\n{long},1\nc,d\n{long}"))
    assert list(rows_of(rows)) == [["a", "b"], ["c", "d"]]
