"""The results of a sweep as tables: on the terminal, in sweep.csv and in sweep.json."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.cells import cell_len

from runner.number_text import counted
from runner.shown import brief, csv_line, cut, format_ranges, format_spread, number_of, printable
from runner.sweep import trials
from runner.sweep.trials import Objective, Trial, best_trials

FAILURES = (trials.FAILED, trials.GIVEN_UP)

COLUMNS = ("number", "setting", "state")
LAST_COLUMNS = ("seconds", "attempts", "reason")
"""What surrounds the parameters and metrics in sweep.csv."""


_WIDEST, _NARROW, _NARROWEST = 24, 14, 8


@dataclass(frozen=True)
class SweepView:
    """What tables, pictures and the report show of a sweep."""

    name: str
    """Of its folder."""
    container: str
    trials: Sequence[Trial]
    """Those that have ended and those that are running."""
    objectives: Sequence[Objective]
    num_trials: int | None
    """All that there will be; None where that is open."""
    notes: Sequence[str]
    varied: Sequence[str]
    """Every parameter that has not the same value in all trials, in the order of the columns."""
    log_scaled: Collection[str] = ()
    """Those whose values are drawn on a logarithmic scale."""


@dataclass(frozen=True)
class Spread:
    """The mean of a metric over the completed trials of a setting that have it, and how far they lie apart."""

    mean: float
    deviation: float
    """Standard deviation of the sample (n - 1); NaN for one trial."""
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value; NaN among them makes it NaN."""
        mean = sum(value / len(values) for value in values)
        if len(values) < 2 or not math.isfinite(mean):
            return cls(mean, math.nan, len(values))
        return cls(mean, math.hypot(*(value - mean for value in values)) / math.sqrt(len(values) - 1), len(values))

    def to_json(self) -> dict[str, float | str | None]:
        """Return it for sweep.json, which has no NaN: it is text, and no deviation is null."""
        mean = self.mean if math.isfinite(self.mean) else str(self.mean)
        return {"mean": mean, "sd": self.deviation if math.isfinite(self.deviation) else None, "n": self.count}

    def __str__(self) -> str:
        return format_spread(self.mean, self.deviation)


@dataclass(frozen=True)
class SettingSummary:
    """Trials that differ only in what is repeated: the seed, or the fold."""

    setting: int
    params: Mapping[str, str]
    """Without the repeated ones."""
    numbers: tuple[int, ...]
    """Of its trials."""
    completed: int
    failed: int
    """Failed or given up."""
    metrics: Mapping[str, Spread]
    """Over the completed trials."""


def metrics_of(trial: Trial, objectives: Sequence[Objective]) -> dict[str, float]:
    """Return the metrics of a trial, objectives first: with the value that the sweep went by."""
    values = {each.metric: value for each, value in zip(objectives, trial.values or (), strict=False)}
    return values | {name: value for name, value in trial.metrics.items() if name not in values}


def by_number(view: SweepView) -> list[Trial]:
    """Return the trials in the order of their numbers."""
    return sorted(view.trials, key=lambda each: each.number)


def metric_names(view: SweepView) -> list[str]:
    """Return the names of all metrics: objectives, then those of the test, of the validation, and the others."""
    names = dict.fromkeys(each.metric for each in view.objectives)
    found = dict.fromkeys(name for trial in view.trials for name in trial.metrics)
    return list(names | dict.fromkeys(sorted(found, key=lambda name: (not name.startswith("test"), "val" not in name))))


def state_counts(view: SweepView) -> dict[str, int]:
    """Return how many trials are in each state that one is in; ``open`` are those that are still to come."""
    counts = Counter(trial.state for trial in view.trials)
    counts[trials.OPEN] += max((view.num_trials or 0) - len(view.trials), 0)
    return {state: counts[state] for state in dict.fromkeys((*trials.SEALED, trials.RUNNING, *counts)) if counts[state]}


def describe_states(view: SweepView) -> str:
    """Write ``40 trials: 35 completed, 3 pruned, 2 failed``."""
    number = max(view.num_trials or 0, len(view.trials))
    texts = [f"{count} {state_label(state)}" for state, count in state_counts(view).items()]
    return f"{counted(number, 'trial')}: {', '.join(texts) or 'none has started'}"


def state_label(state: str) -> str:
    """Return what people call a state."""
    return "to come" if state == trials.OPEN else printable(state.replace("_", " "), 20)


def repeated_parameters(view: SweepView) -> set[str]:
    """Return the names of parameters that differ within a setting: the seed, or the fold."""
    first: dict[int, Trial] = {}
    pairs = ((first.setdefault(trial.setting, trial).params, trial.params) for trial in view.trials)
    return {name for one, other in pairs for name in {*one, *other} if one.get(name) != other.get(name)}


def aggregate(view: SweepView) -> list[SettingSummary]:
    """Return the settings, best mean of the first objective first; those without a finite one come last."""
    groups: dict[int, list[Trial]] = {}
    for trial in view.trials:
        groups.setdefault(trial.setting, []).append(trial)
    repeated = repeated_parameters(view)
    found = (_summary(view, group, repeated) for group in groups.values())
    return sorted(found, key=lambda each: (_order(each, view.objectives[:1]), each.setting))


def mean_trials(view: SweepView) -> list[Trial]:
    """Return one completed trial per setting that has any, in the order of :func:`aggregate`, with the means."""
    completed = {trial.setting: trial for trial in view.trials if trial.state == trials.COMPLETED}
    return [_mean_trial(view, each, completed[each.setting]) for each in aggregate(view) if each.completed]


def best_settings(view: SweepView) -> list[SettingSummary]:
    """Return the setting with the best mean, or the Pareto front of the means; none for a sweep without objectives."""
    if not view.objectives:
        return []
    best = [trial.setting for trial in best_trials(mean_trials(view), view.objectives)]
    return sorted((each for each in aggregate(view) if each.setting in best), key=lambda each: best.index(each.setting))


def result_table(view: SweepView, limit: int = 10, width: int = 110) -> str:
    """Return the table of the best settings as plain text: the terminal's last word on a sweep.

    Args:
        view: The sweep.
        limit: Most rows.
        width: Most columns of text.
    """
    settings = best_settings(view) if len(view.objectives) > 1 else aggregate(view)
    settings = [each for each in settings if each.completed]
    lines = [_headline(view)] if settings else ["no trial has completed"]
    if settings:
        columns, left_out = _fitting(_columns(view, settings[:limit]), width)
        lines += ["  ".join(cells).rstrip() for cells in zip(*(each.lines() for each in columns), strict=True)]
        lines += [f"… {len(settings) - limit} more"] if len(settings) > limit else []
        lines += [cut(f"not shown: {', '.join(left_out)}", width)] if left_out else []
    return "\n".join([*lines, describe_states(view)])


def sweep_csv(view: SweepView) -> str:
    r"""Return sweep.csv: one row per trial.

    Cells that are no numbers and begin with ``=``, ``+``, ``-``, ``@``, a tab, a line break or NUL get an apostrophe in
    front, so that no spreadsheet takes them for formulas. A parameter or metric that has the name of another column is
    called ``parameter:NAME`` or ``metric:NAME``. Empty means that there is none; a measured NaN is ``nan``.
    """
    names = metric_names(view)
    titles = [*COLUMNS, *LAST_COLUMNS]
    params, metrics = _free("parameter", view.varied, titles), _free("metric", names, titles)
    lines = [csv_line([*COLUMNS, *params, *metrics, *LAST_COLUMNS])]
    for trial in by_number(view):
        measured = metrics_of(trial, view.objectives)
        values = [repr(measured[name]) if name in measured else "" for name in names]
        chosen = [trial.params.get(name, "") for name in view.varied]
        ends = [f"{trial.seconds:.3f}", str(trial.attempts), trial.reason]
        lines.append(csv_line([str(trial.number), str(trial.setting), trial.state, *chosen, *values, *ends]))
    return "".join(lines)


def sweep_json(view: SweepView) -> dict[str, Any]:
    """Return sweep.json: the trials, the settings, and which are best; NaN and infinity are text."""
    return {
        "name": view.name,
        "container": view.container,
        "num_trials": view.num_trials,
        "objectives": [{"metric": each.metric, "direction": each.direction} for each in view.objectives],
        "parameters": list(view.varied),
        "states": state_counts(view),
        "best_trials": [trial.number for trial in best_trials(view.trials, view.objectives)] if view.objectives else [],
        "best_settings": [each.setting for each in best_settings(view)],
        "settings": [_setting_json(each) for each in aggregate(view)],
        "trials": [trial.to_json() for trial in by_number(view)],
        "notes": list(view.notes),
    }


def _summary(view: SweepView, group: Sequence[Trial], repeated: set[str]) -> SettingSummary:
    values: dict[str, list[float]] = {}
    for trial in group:
        if trial.state == trials.COMPLETED:
            for name, value in metrics_of(trial, view.objectives).items():
                values.setdefault(name, []).append(value)
    return SettingSummary(
        setting=group[0].setting,
        params={name: value for name, value in group[0].params.items() if name not in repeated},
        numbers=tuple(sorted(trial.number for trial in group)),
        completed=sum(trial.state == trials.COMPLETED for trial in group),
        failed=sum(trial.state in FAILURES for trial in group),
        metrics={name: Spread.of(each) for name, each in values.items()},
    )


def _order(summary: SettingSummary, objectives: Sequence[Objective]) -> float:
    for each in objectives:
        spread = summary.metrics.get(each.metric)
        return each.sign * spread.mean if spread and math.isfinite(spread.mean) else math.inf
    return 0.0 if summary.completed else math.inf


def _mean_trial(view: SweepView, summary: SettingSummary, trial: Trial) -> Trial:
    means = {name: spread.mean for name, spread in summary.metrics.items()}
    values = tuple(means.get(each.metric, math.nan) for each in view.objectives)
    return replace(trial, number=summary.numbers[0], params=summary.params, metrics=means, values=values)


@dataclass
class _Column:
    title: str
    cells: list[str]
    kind: str = "main"
    """``main``, ``parameter``, or ``extra`` for a metric that is no objective."""

    @property
    def is_number(self) -> bool:
        return all(
            cell in ("-", "nan", "inf", "-inf") or number_of(cell.split(" ")[0]) is not None for cell in self.cells
        )

    def __post_init__(self) -> None:
        self.name = self.title

    def width(self) -> int:
        return max(map(cell_len, (self.title, *self.cells)))

    def cut(self, limit: int) -> None:
        self.title, self.cells = cut(self.title, limit), [cut(cell, limit) for cell in self.cells]

    def lines(self) -> list[str]:
        width = self.width()
        padded = [(" " * (width - cell_len(cell)), cell) for cell in (self.title, *self.cells)]
        return [pad + cell if self.is_number else cell + pad for pad, cell in padded]


def _headline(view: SweepView) -> str:
    better = [f"{printable(e.metric, 40)} ({'less' if e.sign > 0 else 'more'} is better)" for e in view.objectives]
    if not better:
        return "completed trials"
    return f"best by {better[0]}" if len(better) == 1 else f"Pareto front of {', '.join(better)}"


def _columns(view: SweepView, settings: Sequence[SettingSummary]) -> list[_Column]:
    repeated = repeated_parameters(view)
    columns = []
    if len(view.objectives) == 1:
        columns.append(_Column("rank", [str(place + 1) for place in range(len(settings))]))
    columns.append(_Column("trials" if repeated else "trial", [format_ranges(each.numbers) for each in settings]))
    if repeated:
        columns.append(_Column("n", [str(each.completed) for each in settings]))
    for name in view.varied:
        if name not in repeated:
            cells = [brief(each.params.get(name, "-"), _WIDEST) for each in settings]
            columns.append(_Column(printable(name, _WIDEST), cells, "parameter"))
    main = max(len(view.objectives), 1)
    for place, name in enumerate(metric_names(view)[: main + 3]):
        cells = [str(each.metrics.get(name, "-")) for each in settings]
        columns.append(_Column(printable(name, _WIDEST), cells, "extra" if place >= main else "main"))
    return columns


def _fitting(columns: list[_Column], width: int) -> tuple[list[_Column], list[str]]:
    """Return the columns that there is room for, and the names of the others.

    Parameters are cut first, then metrics that are no objective left out, then parameters are cut more and left out.
    """
    columns = list(columns)
    left_out: list[str] = []
    while sum(each.width() + 2 for each in columns) - 2 > width:
        extra = [each for each in columns if each.kind == "extra"]
        params = [each for each in columns if each.kind == "parameter"]
        widest = max(params, key=_Column.width, default=None)
        if widest and widest.width() > (_NARROW if extra else _NARROWEST):
            widest.cut(widest.width() - 1)
        elif extra or params:
            dropped = (extra or params)[-1]
            columns.remove(dropped)
            left_out.insert(0, dropped.name)
        else:
            break
    return columns, left_out


def _free(kind: str, names: Iterable[str], taken: list[str]) -> list[str]:
    free = []
    for name in names:
        while name in taken:
            name = f"{kind}:{name}"  # noqa: PLW2901 - until nobody else has it
        taken.append(name)
        free.append(name)
    return free


def _setting_json(summary: SettingSummary) -> dict[str, Any]:
    return {
        "setting": summary.setting,
        "params": dict(summary.params),
        "trials": list(summary.numbers),
        "completed": summary.completed,
        "failed": summary.failed,
        "metrics": {name: each.to_json() for name, each in summary.metrics.items()},
    }
