"""What one sees while a sweep runs."""

from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.live import Live

from runner.atomic_files import write_json
from runner.sweep.live import LiveTable, counts
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
    assert "1/6 done, 1 running" in shown
    assert "best score 0.25 (trial 0)" in shown
    assert counts(state) == "1/6 done, 1 running"
