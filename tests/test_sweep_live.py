"""What one sees while a sweep runs."""

import sys
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.live import Live

from runner.atomic_files import write_json
from runner.sweep import live
from runner.sweep.live import Lines, LiveTable, counts, display
from runner.sweep.queue_state import SweepState
from runner.sweep.sweep_folder import Control, SweepFolder
from runner.sweep.trials import Trial
from tests.test_sweep_history import make_plan


def test_the_table_of_a_terminal(tmp_path: Path) -> None:
    """Per running trial what varies, epoch and metric; below it counts and the best so far."""
    plan = make_plan(fixed={"num_epochs": "8"})
    folder = SweepFolder.create(tmp_path, "Sweeping", plan.to_json(), Control())
    for number in range(2):
        folder.begin(number, 0, plan.params(number), [])
    folder.seal(Trial(0, 0, "completed", plan.params(0), {"score": 0.25}, (0.25,)), "c")
    write_json(folder.point(1) / "status.json", {"epochs_finished": 3, "phase": "train"})
    (folder.point(1) / "metrics.csv").write_text("epoch,step,score\n2,5,0.125\n")
    state = SweepState(folder)
    state.took(1)
    state.refresh(at_once=True)
    console = Console(file=StringIO(), width=120)
    table = LiveTable(Live(console=console))
    console.print(table._table(state))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    [row] = [line for line in shown.splitlines() if "3/8" in line]
    assert "0.125" in row
    assert counts(state) == "1/6 done, 1 running"
    assert "1/6 done, 1 running  ·  best score 0.25 (trial 0)\n" in shown


def test_the_line_below_is_not_broken(tmp_path: Path) -> None:
    """It is as wide as the terminal, however narrow the table is."""
    folder = SweepFolder.create(tmp_path, "Sweeping", make_plan(repeats=({},)).to_json(), Control())
    folder.change_control(paused="trial 1 cannot write its records; see /a/long/path/console.log")
    console = Console(file=StringIO(), width=120)
    console.print(LiveTable(Live(console=console))._table(SweepState(folder)))
    last = console.file.getvalue().splitlines()[-1]  # type: ignore[attr-defined]
    assert last.rstrip() == "0/3 done  ·  trial 1 cannot write its records; see /a/long/path/console.log"


def test_the_time_that_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the pace since the trial was first seen: 2 epochs in 10 s leave 25 s for 5."""
    folder = SweepFolder.create(tmp_path, "Sweeping", make_plan(fixed={"num_epochs": "8"}).to_json(), Control())
    state, table = SweepState(folder), LiveTable(Live(console=Console(file=StringIO())))
    shown = []
    for clock, finished in ((100.0, 1), (105.0, 1), (110.0, 3)):
        monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda clock=clock: clock))
        shown.append(table._time_left(state, 0, finished, 8))
    assert shown == ["", "", "25.0 s"]
    assert table._time_left(state, 0, 3, None) == ""


def test_what_suits_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table on a terminal, unless it is to be quiet; lines elsewhere."""

    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    found = []
    for stream, quiet in ((Terminal(), False), (Terminal(), True), (StringIO(), False)):
        monkeypatch.setattr(sys, "stdout", stream)
        with display(quiet=quiet) as screen:
            found.append(type(screen))
    assert found == [LiveTable, Lines, Lines]
