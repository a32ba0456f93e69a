"""Signs of life: what a process tells the first one, and when it is taken for dead."""

import json
from pathlib import Path

import pytest

from runner import rank_signs
from runner.atomic_files import temporary_name
from runner.rank_signs import RankSign, RankSigns, sign_file
from tests.faults.programs import wait_for


def test_a_process_tells_what_it_does(tmp_path: Path) -> None:
    """Its file is there while it works, says what was said last, and can be removed."""
    sign, signs = RankSign(tmp_path, 3), RankSigns(tmp_path)
    assert signs.read(3) == {}
    with sign.beating():
        wait_for(lambda: signs.read(3))
        sign.say(state="done", phase="train")
        found = signs.read(3)
        assert (found["state"], found["phase"]) == ("done", "train")
    sign.remove()
    assert signs.read(3) == {}


def test_nothing_is_left_of_a_process_that_was_killed(tmp_path: Path) -> None:
    """Whatever it was doing; the file of another one stays."""
    RankSign(tmp_path, 1).say()
    RankSign(tmp_path, 10).say()
    temporary_name(sign_file(tmp_path, 1)).touch()
    RankSigns(tmp_path).forget(1)
    assert list(tmp_path.iterdir()) == [sign_file(tmp_path, 10)]


def test_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only who was heard can fall silent, and only by the clock of who listens."""
    now = [100.0]
    monkeypatch.setattr("runner.rank_signs.time.monotonic", lambda: now[0])
    sign, signs = RankSign(tmp_path, 1), RankSigns(tmp_path)
    now[0] += 1000
    assert not signs.is_silent(1)  # it may be starting
    sign.say()
    assert not signs.is_silent(1)
    now[0] += rank_signs.SILENCE_SECONDS - 1
    assert not signs.is_silent(1)
    sign.say()
    assert not signs.is_silent(1)
    now[0] += rank_signs.SILENCE_SECONDS + 1
    assert signs.is_silent(1)
    sign.say()
    assert not signs.is_silent(1)  # it was only slow


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00" * 50, json.dumps("x")])
def test_damaged_files_say_nothing(content: str, tmp_path: Path) -> None:
    """A file that is being written on another machine is no reason to end a run."""
    sign_file(tmp_path, 1).write_text(content)
    signs = RankSigns(tmp_path)
    assert signs.read(1) == {}
    assert not signs.is_silent(1)


def test_a_full_disk_costs_the_message_only(tmp_path: Path) -> None:
    """Where the file cannot be written, the process goes on."""
    RankSign(tmp_path / "missing", 1).say(state="done")
    assert RankSigns(tmp_path / "missing").read(1) == {}
