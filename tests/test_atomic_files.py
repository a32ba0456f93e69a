"""Files appear whole or not at all."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runner.atomic_files import atomic_file, is_disk_full, link_or_copy, write_json, write_text


def watch_the_disk(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets what is fsynced (the text of files, the names of folders), renamed and linked."""
    steps: list[str] = []
    fsync, replace, link = os.fsync, os.replace, os.link

    def watched_fsync(descriptor: int) -> None:
        place = Path(f"/proc/self/fd/{descriptor}")
        steps.append(f"folder {place.readlink().name}" if place.is_dir() else place.read_text())
        fsync(descriptor)

    def watched_replace(source: Any, target: Any) -> None:
        steps.append(f"rename {Path(target).name}")
        replace(source, target)

    def watched_link(source: Any, target: Any) -> None:
        link(source, target)
        steps.append("link")

    for name, function in (("fsync", watched_fsync), ("replace", watched_replace), ("link", watched_link)):
        monkeypatch.setattr(os, name, function)
    return steps


def open_files(folder: Path) -> list[str]:
    """Return what this process has open in a folder, or is that folder; what else it opens and closes is not asked."""
    found = [os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()]
    return [each for each in found if Path(each).is_relative_to(folder.resolve())]


def test_bytes_reach_the_disk_before_the_name_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut at any moment leaves the old file or the new one: fsync, rename, fsync of the folder."""
    folder = tmp_path / "run"
    folder.mkdir()
    steps = watch_the_disk(monkeypatch)
    write_text(folder / "a.txt", "new")
    assert steps == ["new", "rename a.txt", "folder run"]
    steps.clear()
    link_or_copy(folder / "a.txt", folder / "b.txt")
    assert steps == ["link", "rename b.txt", "folder run"]
    assert not open_files(tmp_path)


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
    """Paths, odd characters, lone surrogates and what JSON has no number for do not hinder a record."""
    infinite = float("inf")
    write_json(
        tmp_path / "a.json", {"path": tmp_path, "é": ["\udcff", (1.5, {"x": [-infinite]}), infinite, float("nan")]}
    )
    text = (tmp_path / "a.json").read_text()
    assert text.startswith(f'{{\n  "path": "{tmp_path}",\n  "é": [\n    "\\udcff",\n    [\n      1.5,\n')
    assert "".join(text.split()).endswith('[1.5,{"x":[null]}],null,null]}')
    assert text.endswith("]\n}\n")


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
    link_or_copy(source, target)  # where rename does nothing, since both are one file already
    assert sorted(each.name for each in tmp_path.iterdir()) == ["best", "last"]


def test_a_copy_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On file systems that cannot, the second name gets bytes of its own."""

    def fail(*_: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", fail)
    write_text(tmp_path / "last", "one")
    link_or_copy(tmp_path / "last", tmp_path / "best")
    assert (tmp_path / "best").read_text() == "one"
    assert (tmp_path / "best").stat().st_ino != (tmp_path / "last").stat().st_ino
    assert sorted(each.name for each in tmp_path.iterdir()) == ["best", "last"]


def raised(
    error: BaseException, cause: BaseException | None = None, context: BaseException | None = None
) -> BaseException:
    error.__cause__, error.__context__ = cause, context
    return error


def test_a_full_disk_is_recognised_behind_other_exceptions() -> None:
    """Also a quota, also where a library wrapped it; other errors, none, and circles are not taken for one."""
    for number in (errno.ENOSPC, errno.EDQUOT):
        full = OSError(number, "full")
        assert is_disk_full(full)
        assert is_disk_full(raised(ValueError(), cause=raised(TypeError(), context=full)))
        assert is_disk_full(raised(ValueError(), cause=full, context=TypeError()))
    assert not is_disk_full(None)
    assert not is_disk_full(raised(OSError(errno.EIO, "broken"), cause=ValueError(errno.ENOSPC)))
    circle = ValueError()
    assert not is_disk_full(raised(circle, context=raised(TypeError(), context=circle)))
