"""What one sees while a sweep runs: a table on a terminal, a line per event elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from runner.number_text import format_seconds
from runner.run_folder import RunFolder
from runner.shown import brief, format_number, printable
from runner.sweep.objective_values import epoch_values, read_json
from runner.sweep.queue_state import SweepState
from runner.sweep.trials import COMPLETED, PRUNED, Trial, best_trials

log = logging.getLogger(__name__)

MAX_ROWS = 16
"""Running trials that the table shows."""


class Lines:
    """A line per event, with the name of the sweep where there are several."""

    def __init__(self) -> None:
        self._has_several = False

    def event(self, state: SweepState, text: str) -> None:
        """Log the event with how far the sweep has come."""
        name = f"{state.folder.name}  " if self._has_several else ""
        log.info("%s%s  %s", name, counts(state), printable(text, 300))

    def update(self, states: Sequence[SweepState]) -> None:
        """Show nothing: the next event will."""
        self._has_several = self._has_several or len(states) > 1


class LiveTable:
    """The running trials of all sweeps in one table, below the lines of what has happened."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._since: dict[tuple[str, int], tuple[float, int]] = {}
        """When each trial was first seen, and the epochs that it had finished then."""

    def event(self, state: SweepState, text: str) -> None:
        """Print the event above the table."""
        del state
        self._live.console.print(Text(printable(text, 300)), highlight=False)

    def update(self, states: Sequence[SweepState]) -> None:
        """Draw the table anew."""
        self._live.update(Group(*(self._table(state) for state in states if state.own or len(states) == 1)))

    def _table(self, state: SweepState) -> Group:
        objective = state.plan.objectives[0].metric if state.plan.objectives else ""
        varied = state.plan.varied
        table = Table(title=state.folder.name, title_justify="left", expand=False)
        for name in ("trial", *varied, "epoch", objective or "phase", "left"):
            table.add_column(printable(name, 24), no_wrap=True, overflow="ellipsis")
        for number in sorted(state.own)[:MAX_ROWS]:
            table.add_row(*map(Text, self._row(state, number, varied, objective)))
        if len(state.own) > MAX_ROWS:
            table.add_row(Text(f"and {len(state.own) - MAX_ROWS} more"))
        caption = "  ·  ".join(filter(None, [counts(state), best_so_far(state), state.control.paused]))
        return Group(table, Text(printable(caption, 200), style="dim"))  # a caption of the table is as narrow as that

    def _row(self, state: SweepState, number: int, varied: Sequence[str], objective: str) -> list[str]:
        folder = RunFolder(state.folder.point(number))
        status = read_json(folder.status)
        params = (state.folder.read_point(number) or {"params": {}})["params"]
        finished = int(status.get("epochs_finished", 0))
        total = _num_epochs(state, params)
        values = epoch_values(folder.metrics, objective) if objective else {}
        shown = format_number(values[max(values)]) if values else str(status.get("phase", "starting"))
        return [
            str(number),
            *(brief(params.get(name, "")) for name in varied),
            f"{finished}/{total}" if total else str(finished),
            shown,
            self._time_left(state, number, finished, total),
        ]

    def _time_left(self, state: SweepState, number: int, finished: int, total: int | None) -> str:
        now = time.monotonic()
        since, before = self._since.setdefault((state.folder.name, number), (now, finished))
        if not total or finished <= before:
            return ""
        return format_seconds((now - since) / (finished - before) * (total - finished))


def _num_epochs(state: SweepState, params: dict[str, str]) -> int | None:
    text = params.get("num_epochs", state.plan.fixed.get("num_epochs", ""))
    return int(text) if text.isdecimal() else None


def counts(state: SweepState) -> str:
    """Return how many trials are in which state, such as ``5/15 done, 2 running, 1 failed``."""
    found = Counter(state.history.states().values())
    parts = [f"{found[COMPLETED] + found[PRUNED]}/{state.plan.total} done"]
    if state.own:
        parts.append(f"{len(state.own)} running")
    parts += [f"{count} {name.replace('_', ' ')}" for name, count in sorted(found.items()) if name != "completed"]
    return ", ".join(parts)


def best_so_far(state: SweepState) -> str:
    """Return the best value and whose it is; empty while there is none."""
    if not state.plan.objectives:
        return ""
    best: list[Trial] = best_trials(state.history.results(), state.plan.objectives)
    if not best or best[0].values is None:
        return ""
    metric, value = state.plan.objectives[0].metric, best[0].values[0]
    return f"best {metric} {format_number(value)} (trial {best[0].number})"


@contextmanager
def display(*, quiet: bool) -> Iterator[Lines | LiveTable]:
    """Yield what suits the place where the output goes."""
    if quiet or sys.stdout is None or not sys.stdout.isatty():
        yield Lines()
        return
    with Live(transient=True, refresh_per_second=4) as live:
        yield LiveTable(live)
