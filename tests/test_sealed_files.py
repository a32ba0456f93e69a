"""Sealed records: written once, whole, and found out when they are not what was written."""

import errno
import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from runner.errors import RunFailedError
from runner.sealed_files import digest, read_sealed, write_sealed
from tests.test_atomic_files import watch_the_disk


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """The body comes back; a second writer changes nothing."""
    path = tmp_path / "plan.json"
    assert write_sealed(path, {"a": 1})
    before = path.read_bytes()
    assert write_sealed(path, {"a": 2}) is False
    assert path.read_bytes() == before
    assert read_sealed(path) == {"a": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["plan.json"]


def test_every_changed_byte_is_found(tmp_path: Path) -> None:
    """No byte of the body can change, and no tail be lost, without an error."""
    path = tmp_path / "plan.json"
    write_sealed(path, {"l_rate": "1e-3", "n": 7})
    whole = path.read_bytes()
    for place in range(len(whole)):
        changed = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        path.write_bytes(changed)
        with suppress(RunFailedError):  # a blank between the values may change
            assert read_sealed(path) == {"l_rate": "1e-3", "n": 7}
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(RunFailedError, match=re.escape(str(path))):
            read_sealed(path)


def test_odd_values(tmp_path: Path) -> None:
    """NaN becomes null, lone surrogates are kept as escapes that still match the digest."""
    path = tmp_path / "odd.json"
    write_sealed(path, {"value": float("nan"), "text": "ü\n\x00\udcff"})
    assert read_sealed(path) == {"value": None, "text": "ü\n\x00\udcff"}


def test_the_order_of_keys_does_not_count() -> None:
    """Two bodies that are equal have one digest."""
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": "1"})


BODY = {"ü": [1, 2.5, None], "a": {"c": "\udcff", "b": True}}
CANONICAL = '{"a":{"b":true,"c":"\\udcff"},"ü":[1,2.5,null]}'.encode()


def test_the_form_stays_as_it_is(tmp_path: Path) -> None:
    """Sealed files that lie on people's disks: sha256 of the body without blanks, in UTF-8, keys sorted."""
    path = tmp_path / "old.json"
    expected = hashlib.sha256(CANONICAL).hexdigest()
    path.write_bytes(b'{"sha256": "%s", "body": %s}' % (expected.encode(), CANONICAL))
    assert read_sealed(path) == BODY
    path.unlink()
    write_sealed(path, BODY)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[1:4] == [' "body": {', '  "ü": [', "   1,"]
    assert lines[-2] == f' "sha256": "{expected}"'


def test_bytes_reach_the_disk_before_the_name_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut leaves all of the record or none."""
    path = tmp_path / "run" / "plan.json"
    path.parent.mkdir()
    steps = watch_the_disk(monkeypatch)
    write_sealed(path, {"a": 1})
    assert steps == [path.read_text(), "link", "folder run"]


def test_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On file systems that have none it is renamed, unless it is there; any other error is one."""
    number = errno.EPERM

    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", fail)
    path = tmp_path / "plan.json"
    assert write_sealed(path, {"a": 1})
    assert not write_sealed(path, {"a": 2})
    assert read_sealed(path) == {"a": 1}
    number = errno.EIO
    with pytest.raises(OSError, match="Input/output error"):
        write_sealed(tmp_path / "other.json", {"a": 1})
    assert [each.name for each in tmp_path.iterdir()] == ["plan.json"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"body": 1, "sha256": 1}', '{"body": {}}', '{"body": [], "sha256": "x"}']
)
def test_other_json_is_damage(tmp_path: Path, text: str) -> None:
    """Whatever its form."""
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(RunFailedError, match="is damaged"):
        read_sealed(path)


def test_a_body_that_is_no_object_is_damage(tmp_path: Path) -> None:
    """Though its digest is right."""
    path = tmp_path / "plan.json"
    path.write_text(f'{{"body": [], "sha256": "{digest([])}"}}')
    with pytest.raises(RunFailedError, match="is damaged"):
        read_sealed(path)
