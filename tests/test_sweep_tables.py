"""A sweep's results in tables: means over repetitions, the terminal, sweep.csv and sweep.json."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from rich.cells import cell_len

from runner.number_text import format_seconds
from runner.shown import MAX_CELL, format_ranges, format_spread, number_of, printable
from runner.sweep.tables import (
    Spread,
    SweepView,
    aggregate,
    best_settings,
    describe_states,
    mean_trials,
    metric_names,
    repeated_parameters,
    result_table,
    state_counts,
    sweep_csv,
    sweep_json,
)
from runner.sweep.trials import CANCELLED, COMPLETED, FAILED, GIVEN_UP, PRUNED, RUNNING, Objective, Trial

ACCURACY = Objective("val_acc", "maximize")
LOSS = Objective("val_loss", "minimize")

HOSTILE = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\x1b]0;x\x07\0\r\n\u202e", "A" * 10_000, "a,b\rc",
    '=HYPERLINK("x")', "+1+1", "@x", "\t=1", "-x", "]]></svg><style>*{}</style>", "{{7*7}}", "漢字" * 40, "\ud800", "",
)  # fmt: skip


def trial(number: int, value: float | None = None, /, **params: str) -> Trial:
    return of_setting(number, number, value, params)


def of_setting(number: int, setting: int, value: float | None, params: dict[str, str]) -> Trial:
    values, state = (None, FAILED) if value is None else ((value,), COMPLETED)
    metrics = {} if value is None else {"val_acc": value, "test_acc": value - 0.01}
    return Trial(
        number, setting, state, params, metrics, values, seconds=1.5, attempts=1,
        reason="" if values else "it broke",
    )  # fmt: skip


def view(*trials: Trial, objectives: Sequence[Objective] = (ACCURACY,), num_trials: int | None = None) -> SweepView:
    varied = list(dict.fromkeys(name for each in trials for name in each.params))
    return SweepView("2026-11-21T001402Z_Hello", "Hello", trials, objectives, num_trials, ["a note"], varied)


def repeated() -> SweepView:
    values = {0: (0.8, 0.9), 1: (0.95, 0.91), 2: (None, None)}
    trials = [
        of_setting(2 * setting + seed, setting, value, {"l_rate": f"1e-{setting}", "random_seed": str(seed)})
        for setting, pair in values.items()
        for seed, value in enumerate(pair)
    ]
    return view(*trials)


def hostile() -> SweepView:
    trials = []
    for number in range(20):
        params = {name: HOSTILE[(number + place) % len(HOSTILE)] for place, name in enumerate(HOSTILE)}
        if number % 4:
            metrics = {name: float(number + place) for place, name in enumerate(HOSTILE)}
            trials.append(Trial(number, number, COMPLETED, params, metrics, (float(number),)))
        else:
            trials.append(Trial(number, number, FAILED, params, reason=HOSTILE[number % len(HOSTILE)]))
    objective = Objective(HOSTILE[0], "minimize")
    return SweepView(HOSTILE[0], HOSTILE[1], trials, [objective], 20, list(HOSTILE), list(HOSTILE))


def rows_of(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


class TestAggregate:
    def test_means_and_deviations_are_those_of_the_completed_trials_of_a_setting(self) -> None:
        best, other, failed = aggregate(repeated())
        assert best.setting == 1
        assert best.params == {"l_rate": "1e-1"}
        assert best.numbers == (2, 3)
        assert best.metrics["val_acc"].mean == pytest.approx(0.93)
        assert best.metrics["val_acc"].deviation == pytest.approx(math.sqrt(0.0008))
        assert (other.completed, other.failed, failed.completed, failed.failed) == (2, 0, 0, 2)
        assert failed.metrics == {}

    def test_settings_come_best_first_for_both_directions_and_without_a_finite_mean_last(self) -> None:
        trials = [trial(number, value) for number, value in enumerate((0.5, None, 0.7, math.nan, 0.6))]
        assert [each.setting for each in aggregate(view(*trials))] == [2, 4, 0, 1, 3]
        less = view(*trials, objectives=[replace(ACCURACY, direction="minimize")])
        assert [each.setting for each in aggregate(less)] == [0, 4, 2, 1, 3]

    def test_without_objectives_completed_settings_come_in_their_order(self) -> None:
        assert [each.setting for each in aggregate(view(trial(0), trial(2, 0.1), trial(1, 0.2), objectives=()))] == [
            1, 2, 0,
        ]  # fmt: skip

    def test_what_the_sweep_went_by_counts_as_the_objective(self) -> None:
        best_epoch = replace(trial(0, 0.9), metrics={"val_acc": 0.4})
        assert aggregate(view(best_epoch))[0].metrics["val_acc"].mean == 0.9

    @pytest.mark.parametrize(
        ("values", "mean", "deviation"),
        [
            ((2.0,), 2.0, math.nan),
            ((1.0, 3.0), 2.0, math.sqrt(2)),
            ((1.0, math.nan), math.nan, math.nan),
            ((1.0, math.inf), math.inf, math.nan),
            ((math.inf, -math.inf), math.nan, math.nan),
            ((1e308, 1e308), 1e308, 0.0),
        ],
    )
    def test_a_spread_of_any_numbers(self, values: tuple[float, ...], mean: float, deviation: float) -> None:
        spread = Spread.of(values)
        assert (spread.mean, spread.deviation) == pytest.approx((mean, deviation), nan_ok=True)

    def test_a_parameter_that_exists_for_some_values_only_is_not_repeated(self) -> None:
        sweep = view(trial(0, 0.1, optimizer="sgd", momentum="0.9"), trial(1, 0.2, optimizer="adam"))
        assert repeated_parameters(sweep) == set()
        assert aggregate(sweep)[0].params == {"optimizer": "adam"}

    def test_the_front_of_several_objectives_is_of_means(self) -> None:
        pairs = [(0.9, 1.0), (0.9, 3.0), (0.8, 1.9), (0.8, 1.9), (0.7, 9.0), (0.7, 9.0)]
        trials = [
            Trial(number, number // 2, COMPLETED, {"seed": str(number % 2)}, {}, pair)
            for number, pair in enumerate(pairs)
        ]
        sweep = view(*trials, objectives=[ACCURACY, LOSS])
        assert [each.setting for each in best_settings(sweep)] == [0, 1]
        assert [each.values for each in mean_trials(sweep)] == [(0.9, 2.0), (0.8, 1.9), (0.7, 9.0)]


class TestResultTable:
    def test_of_a_sweep_with_seeds(self) -> None:
        assert result_table(repeated()).splitlines() == [
            "best by val_acc (more is better)",
            "rank  trials  n  l_rate       val_acc      test_acc",
            "   1  2-3     2    1e-1  0.93 ± 0.028  0.92 ± 0.028",
            "   2  0-1     2    1e-0  0.85 ± 0.071  0.84 ± 0.071",
            "6 trials: 4 completed, 2 failed",
        ]

    def test_conditional_parameters_leave_a_gap(self) -> None:
        lines = result_table(view(trial(0, 0.5, opt="sgd", momentum="0.9"), trial(1, 0.25, opt="adam"))).splitlines()
        assert lines[1].split() == ["rank", "trial", "opt", "momentum", "val_acc", "test_acc"]
        assert lines[3].split() == ["2", "1", "adam", "-", "0.25", "0.24"]

    def test_several_objectives_show_the_front_without_ranks(self) -> None:
        trials = [
            Trial(number, number, COMPLETED, {}, {}, pair) for number, pair in enumerate([(1, 1), (2, 2), (1, 3)])
        ]
        lines = result_table(view(*trials, objectives=[ACCURACY, LOSS])).splitlines()
        assert lines[0] == "Pareto front of val_acc (more is better), val_loss (less is better)"
        assert [line.split()[0] for line in lines[1:-1]] == ["trial", "1", "0"]

    def test_counts_what_is_left_out(self) -> None:
        lines = result_table(view(*(trial(number, number / 100) for number in range(30))), limit=5).splitlines()
        assert len(lines) == 9
        assert lines[-2] == "… 25 more"

    def test_without_a_completed_trial(self) -> None:
        assert result_table(view(trial(0))) == "no trial has completed\n1 trial: 1 failed"
        assert result_table(view()) == "no trial has completed\n0 trials: none has started"

    @pytest.mark.parametrize("width", [40, 80, 110])
    def test_hostile_names_stay_in_their_columns(self, width: int) -> None:
        text = result_table(hostile(), width=width)
        assert all(line.isprintable() for line in text.split("\n"))
        rows = text.split("\n")[1:-1]
        assert all(cell_len(row) <= max(width, 60) for row in rows)

    def test_metrics_go_before_parameters_when_it_is_narrow(self) -> None:
        params = {f"parameter_{number}": "0.123456789" for number in range(6)}
        text = result_table(view(trial(0, 0.5, **params)), width=80)
        assert "not shown: test_acc" in text
        assert "val_acc" in text.splitlines()[1]

    def test_a_thousand_columns_are_no_trouble(self) -> None:
        wide = {f"p{number}": str(number) for number in range(1000)}
        assert max(map(len, result_table(view(trial(0, 0.5, **wide)), width=100).splitlines())) <= 100


class TestStates:
    def test_counts_every_state_and_what_is_to_come(self) -> None:
        states = (COMPLETED, PRUNED, FAILED, GIVEN_UP, CANCELLED, RUNNING, RUNNING)
        sweep = view(*(replace(trial(n, 0.5), state=state) for n, state in enumerate(states)), num_trials=10)
        assert state_counts(sweep) == {
            "completed": 1, "pruned": 1, "failed": 1, "given_up": 1, "cancelled": 1, "running": 2, "open": 3,
        }  # fmt: skip
        assert describe_states(sweep) == (
            "10 trials: 1 completed, 1 pruned, 1 failed, 1 given up, 1 cancelled, 2 running, 3 to come"
        )

    def test_metrics_of_the_objectives_then_of_the_test_come_first(self) -> None:
        done = replace(trial(0, 0.5), metrics={"train_loss": 1.0, "val_loss": 1.0, "test_f1": 1.0, "val_acc": 0.5})
        assert metric_names(view(done)) == ["val_acc", "test_f1", "val_loss", "train_loss"]


class TestCsv:
    def test_has_a_row_per_trial_and_is_empty_where_nothing_exists(self) -> None:
        sweep = view(trial(0, 0.5, opt="sgd", momentum="-0.9"), trial(1, opt="adam"))
        assert rows_of(sweep_csv(sweep)) == [
            ["number", "setting", "state", "opt", "momentum", "val_acc", "test_acc", "seconds", "attempts", "reason"],
            ["0", "0", "completed", "sgd", "-0.9", "0.5", "0.49", "1.500", "1", ""],
            ["1", "1", "failed", "adam", "", "", "", "1.500", "1", "it broke"],
        ]

    def test_nothing_begins_a_formula_and_numbers_stay_numbers(self) -> None:
        cells = ("=1+1", "+x", "-x", "@x", "\tx", "\rx", "\nx", "\0x", "-0.5", "+1e3", "-inf", "1-2", "'x", 'a"b,c\r\n')
        sweep = view(*(trial(number, -0.5, p=cell) for number, cell in enumerate(cells)))
        read = [row[3] for row in rows_of(sweep_csv(sweep))[1:]]
        shown = [cell.replace("\r", r"\r").replace("\0", r"\x00") for cell in cells]
        assert read == [f"'{cell}" for cell in shown[:8]] + shown[8:]

    def test_hostile_names_are_read_again(self) -> None:
        sweep = hostile()
        header, *rows = rows_of(sweep_csv(sweep))
        assert len(rows) == 20
        assert len(set(header)) == len(header) == 6 + 2 * len(HOSTILE)
        assert {len(row) for row in rows} == {len(header)}
        assert not any(cell[:1] in tuple("=+@\t\r\n\0") for row in [header, *rows] for cell in row if cell)

    def test_columns_of_the_same_name_are_told_apart(self) -> None:
        clash = Trial(0, 0, COMPLETED, {"state": "x", "loss": "mse"}, {"loss": 0.5, "seconds": 3.0}, None)
        header, row = rows_of(sweep_csv(view(clash, objectives=())))
        found = dict(zip(header, row, strict=True))
        assert found["parameter:state"] == "x"
        assert found["loss"] == "mse"
        assert found["metric:loss"] == "0.5"
        assert found["metric:seconds"] == "3.0"

    def test_nan_and_infinity_are_told_apart_from_nothing(self) -> None:
        odd = Trial(0, 0, COMPLETED, {}, {"a": math.nan, "b": math.inf}, None)
        assert rows_of(sweep_csv(view(odd, objectives=())))[1][3:5] == ["nan", "inf"]

    def test_a_long_text_is_cut_so_that_spreadsheets_take_it(self) -> None:
        long = replace(trial(0), reason="x" * 10_000_000)
        assert len(rows_of(sweep_csv(view(long)))[1][-1]) == MAX_CELL


class TestJson:
    def test_has_the_best_and_the_settings(self) -> None:
        body = sweep_json(repeated())
        assert body["best_trials"] == [2]
        assert body["best_settings"] == [1]
        assert body["objectives"] == [{"metric": "val_acc", "direction": "maximize"}]
        assert body["settings"][0]["metrics"]["val_acc"]["n"] == 2
        assert [Trial.from_json(each) for each in body["trials"]] == list(repeated().trials)

    @pytest.mark.parametrize("objectives", [(), (ACCURACY,)])
    def test_is_strict_json_whatever_was_measured(self, objectives: Sequence[Objective]) -> None:
        odd = Trial(0, 0, COMPLETED, {}, {"val_acc": math.nan, "b": -math.inf}, None, {0: math.nan})
        body = json.loads(json.dumps(sweep_json(view(odd, objectives=objectives)), allow_nan=False))
        assert body["settings"][0]["metrics"]["b"] == {"mean": "-inf", "sd": None, "n": 1}
        assert body["best_trials"] == []

    def test_hostile_names_are_kept_as_they_are(self) -> None:
        assert json.loads(json.dumps(sweep_json(hostile())))["parameters"] == list(HOSTILE)


class TestShown:
    @pytest.mark.parametrize(
        ("text", "limit", "shown"),
        [
            ("l_rate", 10, "l_rate"),
            ("l_rate", 4, "l_r…"),
            ("\x1b[31mred", 20, "\\x1b[31mred"),
            ("a\r\nb\0", 20, "a\\r\\nb\\x00"),
            ("\ud800\u202e", 20, "\\ud800\\u202e"),
            ("漢字漢字", 5, "漢字…"),
            ("", 5, ""),
        ],
    )
    def test_text(self, text: str, limit: int, shown: str) -> None:
        assert printable(text, limit) == shown

    def test_a_text_of_megabytes_takes_no_time(self) -> None:
        assert len(printable("\x1b" * 50_000_000, 80)) == 80

    def test_numbers(self) -> None:
        assert format_spread(0.91234, 0.0041) == "0.9123 ± 0.0041"
        assert format_spread(3e-5, math.nan) == "3e-5"
        assert [format_seconds(each) for each in (4.1, 59.99, 200, 7500)] == [
            "4.1 s", "1 min 00 s", "3 min 20 s", "2 h 05 min",
        ]  # fmt: skip
        assert format_ranges((0, 1, 2, 5, 7, 8)) == "0-2, 5, 7-8"
        assert [number_of(each) for each in ("1e-3", "inf", "nan", "1e400", "x", "", None)] == [0.001, *[None] * 6]
