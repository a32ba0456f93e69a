"""Sealed records: written once, whole, and found out when they are not what was written."""

import re
from contextlib import suppress
from pathlib import Path

import pytest

from runner.errors import RunFailedError
from runner.sealed_files import digest, read_sealed, write_sealed


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """The body comes back; a second writer changes nothing."""
    path = tmp_path / "plan.json"
    assert write_sealed(path, {"a": 1})
    before = path.read_bytes()
    assert not write_sealed(path, {"a": 2})
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
    write_sealed(path, {"value": float("nan"), "text": "ü\n\x00"})
    assert read_sealed(path) == {"value": None, "text": "ü\n\x00"}


def test_the_order_of_keys_does_not_count() -> None:
    """Two bodies that are equal have one digest."""
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": "1"})
