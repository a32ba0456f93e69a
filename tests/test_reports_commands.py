"""The commands that stand in a report do what they say."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from runner.cli import main
from runner.reports.commands import commands
from runner.reports.record import RunRecord
from runner.run_folder import RunFolder
from tests.faults.programs import run, run_folder, tiny


def offered(folder: RunFolder) -> dict[str, list[str]]:
    """Return the arguments of each command that is one of this program, by what it is for."""
    texts = {each.what: each.text for each in commands(RunRecord(folder))}
    return {what: shlex.split(text)[2:] for what, text in texts.items() if text.startswith("python runner.py ")}


def runs(folder: Path) -> list[Path]:
    return list((folder / "outputs").glob("2*"))


def num_maps(folder: RunFolder) -> int:
    return len(list((folder.saliency / "maps").glob("*.npz")))


def test_they_do_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run that explained one image: run it again, go on, explain all, check the maps, check the files."""
    monkeypatch.setattr("runner.reports.commands.program_name", lambda: "python runner.py")
    monkeypatch.setattr("runner.run_record.program_name", lambda: "python runner.py")
    run(tmp_path, *tiny("--num_epochs=1", "--saliency_limit=1", "--l_rate=0.0123"))
    first = RunFolder(run_folder(tmp_path))
    monkeypatch.chdir(tmp_path)
    found = offered(first)
    run(tmp_path, *found.pop("run it again with the same values"))
    [again] = [RunFolder(path) for path in runs(tmp_path) if path != first.path]
    assert "l_rate: 0.0123" in again.config.read_text()
    assert num_maps(first) == num_maps(again) == 1
    run(tmp_path, *found.pop("as it was started the last time"))
    assert len(runs(tmp_path)) == 3
    run(tmp_path, *found.pop("go on with what is missing"))
    run(tmp_path, *found.pop("explain all images, not only 1"))
    assert num_maps(first) > 1
    assert not [what for what in offered(first) if what.startswith("explain all images")]
    run(tmp_path, *found.pop("check the maps against a random model"))
    assert "randomization_correlation" in first.read_results()["saliency"]["metrics"]
    checks = " ".join(found.pop("check its files, and make this page anew"))
    first.report.unlink()
    for command in reversed(checks.split(" && python runner.py ")):
        assert main(shlex.split(command)) == 0
    assert first.report.is_file()
    assert not found
    assert len(runs(tmp_path)) == 3
