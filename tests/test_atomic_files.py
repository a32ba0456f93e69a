"""Files appear whole or not at all."""

import subprocess
import sys
from pathlib import Path

import pytest

from runner.atomic_files import atomic_file, link_or_copy, write_json, write_text


def test_an_exception_leaves_the_old_file(tmp_path: Path) -> None:
    """What was under the name before stays when writing fails half way, and no temporary file is left."""
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(TypeError), atomic_file(path) as file:
        file.write("no bytes")  # type: ignore[call-overload]
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    """kill -9 in the middle of a write leaves the previous content under the name."""
    path = tmp_path / "a.txt"
    write_text(path, "old")
    code = (
        "import os, sys; from pathlib import Path; from runner.atomic_files import atomic_file\n"
        "with atomic_file(Path(sys.argv[1])) as file:\n"
        "    file.write(b'n' * 10_000_000); file.flush(); os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -9
    assert path.read_text() == "old"


def test_a_full_disk_is_an_error_and_the_old_file_stays(tmp_path: Path) -> None:
    """A write beyond the limit of the file size raises OSError and changes nothing."""
    path = tmp_path / "a.txt"
    write_text(path, "old")
    code = (
        "import resource, signal, sys; from pathlib import Path; from runner.atomic_files import write_text\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_text(Path(sys.argv[1]), 'n' * 100_000)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False, capture_output=True, text=True)
    assert "File too large" in done.stderr
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_takes_whatever_has_a_text(tmp_path: Path) -> None:
    """Paths, odd characters and lone surrogates do not keep a record from being written."""
    write_json(tmp_path / "a.json", {"path": tmp_path, "text": "é\udcff"})
    assert str(tmp_path) in (tmp_path / "a.json").read_text()


def test_a_link_keeps_its_bytes_when_the_source_is_replaced(tmp_path: Path) -> None:
    """The second name shares the bytes, and keeps them when the first name gets new ones."""
    source, target = tmp_path / "last", tmp_path / "best"
    write_text(source, "one")
    link_or_copy(source, target)
    assert source.stat().st_ino == target.stat().st_ino
    write_text(source, "two")
    assert target.read_text() == "one"
    link_or_copy(source, target)
    assert target.read_text() == "two"
