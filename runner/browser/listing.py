"""``runs``: choosing, ordering and showing the runs that there are."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.cells import cell_len

from runner.atomic_files import finite
from runner.browser.index import records_in
from runner.browser.records import FIELDS, MISSING, RunRecord
from runner.browser.where import Where
from runner.errors import UsageError, did_you_mean
from runner.metric_modes import mode_of
from runner.number_text import format_seconds
from runner.shown import brief, csv_line, cut, format_number, printable
from runner.sweep.sweep_folder import sweeps_in

FORMATS = ("table", "csv", "json", "md")

MOST_ROWS = 20
"""Of a table for people, unless ``--last`` says otherwise."""

_MOST_METRICS = 4
_MOST_PARAMETERS = 5
_WIDEST = 40
_AGE = "age"


@dataclass(frozen=True)
class Selection:
    """Which runs to show, in which order and how."""

    where: str = ""
    sort: str = ""
    """Name of what to sort by; ``-NAME`` for the largest first."""
    last: int | None = None
    """Only so many, those made last."""
    columns: tuple[str, ...] = ()
    format: str = "table"
    sweeps: tuple[str, ...] | None = None
    """Trials of these sweeps, of all where empty, instead of runs of their own."""


def runs(
    where: str = "", *, output_to: str | Path = "outputs", sweep: str | Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Return what is known of the runs below a folder, those made last at the end: ``pandas.DataFrame(runs())``.

    Each is a flat dict: name, model, state, phase, date (UTC), seconds, epochs, reason, tags, note and folder, then
    metrics and parameters by their names. A metric or parameter whose name another has already is called
    ``metric.NAME`` or ``parameter.NAME``.

    Args:
        where: Only runs that match, such as ``"l_rate < 0.01 and model == 'HelloLesion'"``.
        output_to: The folder with the run folders.
        sweep: Name of a sweep, or several: its trials instead.

    Raises:
        UsageError: the condition cannot be read, or names something that no run has.
    """
    sweeps = None if sweep is None else (sweep,) if isinstance(sweep, str) else tuple(sweep)
    return [each.flat() for each in select(Path(output_to).expanduser().absolute(), Selection(where, sweeps=sweeps))]


def list_runs(outputs: Path, selection: Selection, width: int) -> str:
    """Return what ``runs`` prints.

    Args:
        outputs: The outputs folder.
        selection: Which runs, in which order and how.
        width: Columns of the terminal.

    Raises:
        UsageError: something that no run has is asked for.
    """
    found = select(outputs, selection)
    columns = _checked_columns(selection.columns, found)
    if selection.format == "csv":
        return _csv(found, columns or _all_names(found)).removesuffix("\n")
    if selection.format == "json":
        rows = [{name: _or_none(run.value(name)) for name in columns} if columns else run.flat() for run in found]
        return _printable_json(json.dumps(finite(rows), indent=2, ensure_ascii=False))
    if not found:
        return "No runs match." if selection.where else f"There are no runs below {outputs}."
    shown = found
    if selection.last is None:
        shown = found[:MOST_ROWS] if selection.sort else found[-MOST_ROWS:]
    ranks = dict.fromkeys(columns, 0) or _default_columns(shown, selection)
    chosen = [_column(shown, name, rank) for name, rank in ranks.items()]
    lines = _markdown(chosen) if selection.format == "md" else _table(chosen, width)
    if len(shown) < len(found):
        which = "the first" if selection.sort else "the newest"
        lines += ["", f"{which} {len(shown)} of {len(found)} runs; --last={len(found)} shows all"]
    return "\n".join(lines)


def select(outputs: Path, selection: Selection) -> list[RunRecord]:
    """Return the runs that match, in their order.

    Raises:
        UsageError: the condition cannot be read, or something that no run has is asked for.
    """
    condition = Where(selection.where) if selection.where.strip() else None
    found = _records(outputs, selection.sweeps)
    if condition is not None:
        for name in condition.names:
            if found and not any(run.value(name.name) is not MISSING for run in found):
                hint = did_you_mean(name.name, _all_names(found))
                raise condition.error(f"no run has {printable(name.name, 60)!r}.{hint}", name.start, name.end)
        found = [run for run in found if condition.matches(run.value)]
    if selection.last is not None:
        found = found[-selection.last :]
    return _sorted(found, selection.sort) if selection.sort else found


def _records(outputs: Path, sweeps: Sequence[str] | None) -> list[RunRecord]:
    if sweeps is None:
        return records_in(outputs)
    from runner.sweep.queue_commands import find_sweep

    chosen = [find_sweep(outputs, name) for name in sweeps if name] or sorted(sweeps_in(outputs), key=lambda s: s.name)
    return [run for sweep in chosen for run in records_in(sweep.points, f"{sweep.name}/")]


def _sorted(found: Sequence[RunRecord], sort: str) -> list[RunRecord]:
    name, is_down = sort.removeprefix("-"), sort.startswith("-")
    [name] = _checked_columns([name], found) or [name]
    keys = [(run, run.value(name)) for run in found]
    without = [run for run, value in keys if not _is_number(value) and not (isinstance(value, str) and value)]
    numbers = [(value, run) for run, value in keys if _is_number(value)]
    texts = [(value, run) for run, value in keys if isinstance(value, str) and value]
    ordered = [sorted(each, key=lambda pair: pair[0], reverse=is_down) for each in (numbers, texts)]
    return [*(run for group in ordered for _, run in group), *without]


def _is_number(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and not math.isnan(value))


def _checked_columns(names: Sequence[str], found: Sequence[RunRecord]) -> list[str]:
    for name in names:
        if name != _AGE and name not in FIELDS and not any(run.value(name) is not MISSING for run in found) and found:
            known = [*_all_names(found), _AGE]
            raise UsageError(f"No run has {printable(name, 60)!r}.{did_you_mean(name, known)}")
    return list(names)


def _all_names(found: Iterable[RunRecord]) -> list[str]:
    names = dict.fromkeys(FIELDS)
    metrics: dict[str, None] = {}
    parameters: dict[str, Any] = {}
    for run in found:
        metrics |= dict.fromkeys(run.metric_names())
        parameters |= run.parameters
    for kind, more in (("metric", metrics), ("parameter", parameters)):
        names |= dict.fromkeys(f"{kind}.{name}" if name in names else name for name in more)
    return list(names)


def _default_columns(found: Sequence[RunRecord], selection: Selection) -> dict[str, int]:
    """Choose what was asked about and what tells the runs apart.

    Returns:
        Names, with the order in which they are given up where there is no room.
    """
    in_names = all(run.name.endswith(f"_{run.model}") or "/" in run.name for run in found)
    columns = dict.fromkeys(["name", *([] if in_names else ["model"]), "state", _AGE, "seconds"], 0)
    metrics = dict.fromkeys(
        name for run in found for phase, values in run.metrics.items() if phase != "saliency" for name in values
    )
    ranked = sorted(metrics, key=lambda name: (not name.startswith("test"), "val" not in name, mode_of(name) != "max"))
    columns |= {name: 2 * rank + 1 for rank, name in enumerate(ranked[:_MOST_METRICS])}
    columns |= {name: 2 * rank + 2 for rank, name in enumerate(_varied(found)[:_MOST_PARAMETERS])}
    asked = [each.name for each in Where(selection.where).names] if selection.where.strip() else []
    columns |= dict.fromkeys((*asked, *filter(None, [selection.sort.removeprefix("-")])), 0)
    return columns | {name: rank for name, rank in (("tags", 3), ("note", 99)) if any(run.value(name) for run in found)}


def _varied(found: Sequence[RunRecord]) -> list[str]:
    """Return the parameters that have not one value in all runs that have them."""
    values: dict[str, Any] = {}
    varied: dict[str, None] = {}
    for run in found:
        for name, value in run.parameters.items():
            if values.setdefault(name, value) != value:
                varied[name] = None
    return [name for name in varied if name not in FIELDS]


# --- formats --------------------------------------------------------------------------------------------------------


def _csv(found: Sequence[RunRecord], columns: Sequence[str]) -> str:
    rows = [[_exact(run, name) for name in columns] for run in found]
    return "".join(map(csv_line, [columns, *rows]))


def _exact(run: RunRecord, name: str) -> str:
    value = _age(run) if name == _AGE else run.value(name)
    if value is MISSING or value is None:
        return ""
    return value if isinstance(value, str) else ",".join(value) if name == "tags" else str(value)


def _or_none(value: Any) -> Any:
    return None if value is MISSING else value


def _printable_json(text: str) -> str:
    r"""Return JSON with escapes such as ``\u0085`` in place of what a terminal would obey or no file can hold."""
    return "".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text)


@dataclass(frozen=True)
class _Column:
    title: str
    texts: list[str]
    rank: int
    """The highest one is left out first; never one with 0."""

    @property
    def width(self) -> int:
        return max(map(cell_len, (self.title, *self.texts)))

    def lines(self) -> list[str]:
        is_number = all(text == "-" or text[:1].isdigit() or text[1:2].isdigit() for text in self.texts)
        cells = [self.title, *self.texts]
        pads = [" " * (self.width - cell_len(cell)) for cell in cells]
        return [pad + cell if is_number and self.title != "name" else cell + pad
                for pad, cell in zip(pads, cells, strict=True)]  # fmt: skip


def _column(found: Sequence[RunRecord], name: str, rank: int) -> _Column:
    return _Column("time" if name == "seconds" else printable(name, _WIDEST), [_cell(run, name) for run in found], rank)


def _cell(run: RunRecord, name: str) -> str:
    value = _age(run) if name == _AGE else run.value(name)
    if value is MISSING:
        return "-"
    if name == "seconds":
        return format_seconds(run.seconds) if run.seconds else "-"
    if name in ("name", "folder"):
        return printable(value, 200)
    if name == "tags":
        return printable(", ".join(value), _WIDEST)
    if isinstance(value, float):
        return format_number(value)
    return brief(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), _WIDEST)


def _age(run: RunRecord) -> str:
    try:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(f"{run.date}+00:00")).total_seconds()
    except ValueError:
        return "-"
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _table(columns: Sequence[_Column], width: int) -> list[str]:
    """Return the lines of a table; what there is no room for is left out and named."""
    kept = list(columns)
    while sum(each.width + 2 for each in kept) - 2 > width and any(each.rank for each in kept):
        kept.remove(max(kept, key=lambda each: each.rank))
    lines = ["  ".join(cells).rstrip() for cells in zip(*(each.lines() for each in kept), strict=True)]
    left_out = [each.title for each in columns if each not in kept]
    return lines + ([cut(f"not shown: {', '.join(left_out)}", max(width, 40))] if left_out else [])


def _markdown(columns: Sequence[_Column]) -> list[str]:
    rows = list(zip(*([each.title, *each.texts] for each in columns), strict=True))
    lines = [f"| {' | '.join(map(_escaped_md, row))} |" for row in rows]
    return [lines[0], f"|{'---|' * len(columns)}", *lines[1:]]


def _escaped_md(text: str) -> str:
    return "".join(f"\\{each}" if each in "\\`*[]<>|" else each for each in text)
