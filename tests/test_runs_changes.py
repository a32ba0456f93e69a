"""``runs tag``, ``note`` and ``rm``: what they change, and what they leave alone."""

import io
import json
import shutil
import sys
from pathlib import Path

import pytest

from runner.browser.removal import remove
from runner.cli import main
from runner.folder_lock import FolderLock
from runner.run_folder import RunFolder
from runner.run_seal import check_run
from runner.sweep.sweep_folder import Control, SweepFolder
from tests.run_samples import make_run
from tests.test_sweep_history import make_plan


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three runs; ``latest`` points to the last."""
    monkeypatch.chdir(tmp_path)
    for name in ("Alpha", "Beta", "Gamma"):
        make_run(tmp_path / "outputs", name)
    return tmp_path / "outputs"


def call(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(["runs", *words]) == code
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_tags_and_notes(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are kept, found and shown, and the run is as whole as before."""
    assert call(capsys, "tag", "Alpha", "good", "baseline", "good").endswith("_Alpha: good, baseline\n")
    assert call(capsys, "note", "Alpha", "the first <b>").endswith("the first <b>\n")
    assert call(capsys, "tag", "Alpha", "--remove", "good").endswith("_Alpha: baseline\n")
    path = next(outputs.glob("*_Alpha"))
    assert json.loads((path / "labels.json").read_text()) == {"tags": ["baseline"], "note": "the first <b>"}
    assert "baseline" in call(capsys, "--where='baseline' in tags and note != ''", "--columns=model,tags,note")
    assert "note        the first <b>" in call(capsys, "show", "Alpha")
    assert "all 5 files are whole" in call(capsys, "verify", "Alpha")
    assert check_run(RunFolder(path)).is_whole
    assert call(capsys, "note", "Alpha", "").endswith("no note\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tag", "Alpha"], "Write: runs tag RUN WORD"),
        (["tag", "Alpha", "a,b"], "is no tag"),
        (["tag", "Alpha", "x" * 61], "is no tag"),
        (["tag", "Alpha", "\x1b[2J"], "is no tag"),
        (["tag", "Alpha", "none", "--remove"], "has no tag 'none'"),
        (["tag", "Alpha", "a", "--remove=perhaps"], "no truth value"),
        (["note", "Alpha", "x" * 5001], "at most 5000"),
        (["rm", "Alpha"], "Nobody is there to answer; add --yes."),
        (["rm", "Nowhere", "Alpha", "--yes"], "There is no run 'Nowhere'"),
    ],
)
def test_mistakes(outputs: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, one message, and nothing has changed."""
    assert message in call(capsys, *words, code=2)
    assert len(list(outputs.glob("2*"))) == 3
    assert not list(outputs.glob("*/labels.json"))


def test_removing(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folders are gone, ``latest`` points to what is the newest now."""
    assert "removed" in call(capsys, "rm", "--yes", "Gamma")
    assert (outputs / "latest").resolve().name.endswith("_Beta")
    call(capsys, "rm", "Alpha", "latest", "--yes")
    assert [each.name for each in outputs.iterdir()] == []


def test_what_is_asked(outputs: Path) -> None:
    """Names and size are said; without a yes all stays."""
    questions: list[str] = []
    paths = sorted(outputs.glob("2*"))[:2]

    def no(question: str) -> bool:
        questions.append(question)
        return False

    assert remove(paths, no) == ["nothing is removed"]
    assert "Remove 2 runs (" in questions[0]
    assert "Beta" in questions[0]
    assert all(path.is_dir() for path in paths)


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "left"), [("y\n", 2), ("Yes\n", 2), ("n\n", 3), ("\n", 3), ("", 3)])
def test_the_answer(
    outputs: Path, typed: str, left: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a yes is a yes."""
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    assert "Alpha, 0.0 MB, for good? [y/N]" in call(capsys, "rm", "Alpha")
    assert len(list(outputs.glob("2*"))) == left


def test_running_runs_and_trials_stay(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of them among others, and nothing at all is removed."""
    sweep = SweepFolder.create(outputs, "Swept", make_plan().to_json(), Control())
    make_run(outputs, "Trial").rename(sweep.point(3))
    assert "is a trial" in call(capsys, "rm", "Alpha", f"{sweep.name}/3", "--yes", code=2)
    lock = FolderLock(next(outputs.glob("*_Beta")))
    assert lock.take()
    assert "is running" in call(capsys, "rm", "Alpha", "Beta", "--yes", code=2)
    lock.give_back()
    assert len(list(outputs.glob("2*"))) == 3
    call(capsys, "rm", "Alpha", "Beta", "--yes")
    assert len(list(outputs.glob("2*"))) == 1


def test_a_kill_in_the_middle(
    outputs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run cannot be seen any more, and the next call removes what is left of it."""
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *args, **options: None)
        call(capsys, "rm", "Alpha", "--yes")
    assert len(list(outputs.glob(".*.removed"))) == 1
    assert "Alpha" not in call(capsys)
    call(capsys, "rm", "Beta", "--yes")
    assert not list(outputs.glob(".*.removed"))


def test_nothing_of_others_is_removed(outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Folders with names like those set aside, runs behind a link, folders with runs in them."""
    elsewhere = tmp_path / "elsewhere"
    victim, outer = make_run(elsewhere, "Victim"), make_run(elsewhere, "Outer")
    for name in (".precious.removed", ".precious.0123abcd.removed"):
        (elsewhere / name).mkdir()
    (outputs / "linked").symlink_to(victim)
    assert "is a link to" in call(capsys, "rm", "--yes", "linked", code=2)
    inner = make_run(outer / "outputs", "Inner")
    lock = FolderLock(inner)
    assert lock.take()
    assert "another run in it" in call(capsys, "rm", "--yes", str(outer), code=2)
    lock.give_back()
    for name in ("config.yaml", "status.json"):
        shutil.copy(inner / name, outputs)
    assert "outputs folder lies in it" in call(capsys, "rm", "--yes", str(outputs), code=2)
    call(capsys, "rm", "--yes", str(victim))
    assert not victim.exists()
    assert inner.is_dir()
    assert {".precious.removed", ".precious.0123abcd.removed"} < {each.name for each in elsewhere.iterdir()}
    assert len(list(outputs.glob("2*"))) == 3


def test_names_of_folders_that_a_terminal_would_obey(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are printed as escapes, in one line."""
    path = next(outputs.glob("*_Alpha")).rename(outputs / "zz\x1b]0;pwn\x07\nAlpha: all is well")
    for words in (("tag", path.name, "a"), ("export", path.name, "x.zip"), ("verify", path.name), ("show", path.name)):
        assert call(capsys, *words).replace("\n", "").isprintable()
    path.with_name("zz\nBeta").mkdir()
    for each in ("config.yaml", "status.json"):
        shutil.copy(path / each, path.with_name("zz\nBeta"))
    assert call(capsys, "show", "zz", code=2).count("\n") == 1
    assert main(["report", path.name]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    assert call(capsys, "rm", path.name, "--yes").count("\n") == 1
