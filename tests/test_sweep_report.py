"""The report of a sweep: one page of its own, its pictures, and the importance of parameters."""

from __future__ import annotations

import math
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from runner.axes import MAX_TEXTS, Axis, Scale, number_axis, parameter_axis
from runner.svg import spaced
from runner.sweep import pictures
from runner.sweep.importance import importance
from runner.sweep.report import MOST_ROWS, sweep_report
from runner.sweep.tables import SweepView
from runner.sweep.trials import COMPLETED, FAILED, PRUNED, RUNNING, Objective, Trial

HOSTILE = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\x1b]0;x\x07\0\r\n\u202e", "A" * 10_000,
    "]]></svg></style></title><style>*{display:none}</style>", "{{7*7}}{% raw %}", "' onload='x", "漢字" * 40, "\ud800",
    "javascript:alert(1)", '=HYPERLINK("x")', "&lt;b&gt;", "",
)  # fmt: skip

METRIC = Objective("val_acc", "maximize")
VOID = {"meta", "br", "img", "link", "hr", "input"}


class Page(HTMLParser):
    """What stands in a page, and whether it is well formed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.classes: dict[str, int] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        for name in (dict(attrs).get("class") or "").split():
            self.classes[name] = self.classes.get(name, 0) + 1
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


def sweep(number: int = 40, seeds: int = 1, objectives: Sequence[Objective] = (METRIC,)) -> SweepView:
    """A sweep with a numeric, a whole, a text and a conditional parameter; some trials are pruned, some fail."""
    chance = random.Random(0)
    trials: list[Trial] = []
    for setting in range(number):
        params = {"l_rate": f"{10 ** chance.uniform(-5, -1):.4g}", "layers": str(chance.randint(2, 8))}
        params["optimizer"] = chance.choice(["sgd", "adam", "adamw"])
        if params["optimizer"] == "sgd":
            params["momentum"] = f"{chance.random():.3f}"
        for seed in range(seeds):
            own = params | ({"random_seed": str(seed)} if seeds > 1 else {})
            value = 0.9 - 0.05 * (math.log10(float(params["l_rate"])) + 3) ** 2 + chance.gauss(0, 0.01)
            trials.append(finished(len(trials), setting, own, value, len(objectives)))
    varied = ["l_rate", "layers", "optimizer", "momentum", *(["random_seed"] if seeds > 1 else [])]
    return SweepView("2026-11-21T001402Z_Hello", "Hello", trials, objectives, len(trials), ["a note"], varied)


def finished(number: int, setting: int, params: dict[str, str], value: float, num_objectives: int) -> Trial:
    if number % 13 == 7:
        return Trial(number, setting, PRUNED, params, seconds=1.0, attempts=1)
    if number % 17 == 12:
        return Trial(number, setting, FAILED, params, seconds=1.0, attempts=3, reason="CUDA out of memory")
    values = (value, *[1 - value] * (num_objectives - 1))
    metrics = {"val_acc": value, "val_loss": 1 - value, "test_acc": value - 0.01}
    return Trial(number, setting, COMPLETED, params, metrics, values or None, seconds=65.0, attempts=1)


def hostile() -> SweepView:
    trials = []
    for number in range(24):
        params = {name: HOSTILE[(number + place) % len(HOSTILE)] for place, name in enumerate(HOSTILE)}
        metrics = {name: float(number + place) for place, name in enumerate(HOSTILE)}
        if number % 3:
            trials.append(Trial(number, number, COMPLETED, params, metrics, (float(number),)))
        else:
            trials.append(Trial(number, number, HOSTILE[0] if number else FAILED, params, reason=HOSTILE[number // 3]))
    return SweepView(
        HOSTILE[0], HOSTILE[1], trials, [Objective(HOSTILE[0], "minimize")], 24, list(HOSTILE), list(HOSTILE)
    )


class TestPage:
    def test_says_what_was_swept_and_which_was_best(self) -> None:
        page = Page(sweep_report(sweep(), datetime(2026, 11, 21, 1, 2, 3, tzinfo=UTC)))
        assert "Started 2026-11-21 00:14:02 UTC." in page.text
        assert "Page written 2026-11-21 01:02:03 UTC." in page.text
        assert "40 trials" in re.sub(" +", " ", page.text)
        assert "Best trial" in page.text
        assert "a note" in page.text
        assert "CUDA out of memory" in page.text
        assert ("href", "points/000012/") in page.attributes

    def test_asks_for_nothing_outside_and_runs_no_script(self) -> None:
        text = sweep_report(sweep())
        page = Page(text)
        policy = next(value for name, value in page.attributes if name == "content" and "default-src" in value)
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "script" not in page.tags
        assert not re.search(r"https?:|url\(|@import|src=", text)

    def test_hostile_names_are_only_text(self) -> None:
        text = sweep_report(hostile())
        page = Page(text)
        assert not {"script", "img", "iframe"} & set(page.tags)
        assert page.tags.count("style") == 1
        assert not [name for name, _ in page.attributes if name.startswith("on")]
        links = [value for name, value in page.attributes if name in ("href", "src")]
        assert all(re.fullmatch(r"points/\d{6}/", link) for link in links)
        assert "A" * 2001 not in text
        assert all(character.isprintable() or character == "\n" for character in text)
        assert "alert(1)" in page.text
        assert "49" not in {word.strip() for word in page.texts}

    def test_every_picture_has_a_text_for_those_who_do_not_see_it(self) -> None:
        page = Page(sweep_report(sweep()))
        labels = [value for name, value in page.attributes if name == "aria-label"]
        assert page.tags.count("svg") == 7
        assert "val_acc against l_rate" in labels
        assert "val_acc of each trial" in labels

    def test_repeated_settings_are_shown_by_their_means(self) -> None:
        page = Page(sweep_report(sweep(8, seeds=4)))
        assert "Repeated within each setting: random_seed" in page.text
        assert "Best setting" in page.text
        assert re.search(r"0\.\d+ ± 0\.\d+", page.text)
        assert "One line per setting, means over its trials." in page.text
        assert "random_seed" not in next(
            value for name, value in page.attributes if name == "aria-label" and value.startswith("Parallel")
        )

    def test_several_objectives_show_the_front(self) -> None:
        two = sweep(objectives=[METRIC, Objective("val_loss", "maximize")])
        page = Page(sweep_report(two))
        assert re.search(r"Pareto front: \d+ settings that no other beats", page.text)
        assert "No other setting is better in both" in page.text
        three = replace(two, trials=[replace(t, values=(*t.values, 1.0) if t.values else None) for t in two.trials])
        assert "No other setting" not in sweep_report(replace(three, objectives=[*two.objectives, METRIC]))

    @pytest.mark.parametrize("number", [0, 1, 2, 9])
    def test_of_few_trials(self, number: int) -> None:
        whole = sweep()
        text = sweep_report(replace(whole, trials=whole.trials[:number]))
        assert ("<svg" in text) == (number > 0)
        assert f"{40 - number}</b> to come" in text
        Page(text)

    def test_without_a_completed_trial(self) -> None:
        failed = sweep().trials[12]
        page = Page(sweep_report(replace(sweep(), trials=[failed, replace(failed, number=13, state=RUNNING)])))
        assert "no trial has completed with a finite metric" in page.text
        assert "svg" not in page.tags

    def test_without_objectives_nothing_is_best(self) -> None:
        page = Page(sweep_report(replace(sweep(objectives=()), objectives=())))
        assert "Best" not in page.text
        assert "best" not in page.classes
        assert page.tags.count("svg") == 7

    @pytest.mark.parametrize("value", [math.nan, math.inf, 1.0, 1e308, -1e308, 5e-324, 0.0])
    def test_odd_metrics(self, value: float) -> None:
        whole = sweep()
        for every in (1, 2):
            trials = [
                replace(t, metrics={"val_acc": value}, values=(value,)) if t.values and t.number % every == 0 else t
                for t in whole.trials
            ]
            text = sweep_report(replace(whole, trials=trials))
            Page(text)
            assert not re.search(
                r'="[^"]*\b(nan|inf)\b[^"]*"/?>', "".join(re.findall("<(?:circle|path|line)[^>]*>", text))
            )

    def test_of_2000_trials_is_complete_where_it_counts_and_says_what_it_leaves_out(self) -> None:
        text = sweep_report(sweep(2000))
        page = Page(text)
        assert len(text) < 1_500_000
        assert f"{2000 - MOST_ROWS} more rows are in sweep.csv." in page.text
        assert re.search(r"100\d of 17\d\d are drawn, evenly spread, the best among them\.", page.text)

    def test_of_many_parameters_and_metrics(self) -> None:
        params = {f"parameter_{number}": str(number) for number in range(40)}
        metrics = {f"metric_{number}": float(number) for number in range(40)}
        trials = [Trial(n, n, COMPLETED, params | {"parameter_0": str(n)}, metrics, (float(n),)) for n in range(9)]
        page = Page(sweep_report(SweepView("x", "X", trials, [METRIC], None, [], list(params))))
        assert "28 more parameters are not drawn." in page.text
        assert "25 more metrics are in sweep.csv." in page.text

    def test_failures_of_the_same_reason_stand_together(self) -> None:
        failed = [
            Trial(n, n, FAILED, {}, reason="x" * 300 if n == 2 else "Traceback\n  line\nKeyError: 3") for n in range(4)
        ]
        page = Page(sweep_report(replace(sweep(), trials=failed)))
        assert "trials 0-1, 3" in page.text
        assert "KeyError: 3" in page.text
        assert page.tags.count("details") == 2

    def test_one_parameter_alone_has_no_importance(self) -> None:
        assert "two or more parameters" in Page(sweep_report(replace(sweep(), varied=["l_rate"]))).text
        assert "two or more parameters" not in Page(sweep_report(sweep())).text

    def test_neither_torch_nor_optuna_is_loaded(self) -> None:
        code = (
            "import sys, runner.sweep.report as r, runner.sweep.tables as t;"
            "r.sweep_report(t.SweepView('n', 'c', [], [], 0, [], []));"
            "sys.exit(bool({'torch', 'pytorch_lightning', 'sklearn', 'optuna'} & set(sys.modules)))"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestPictures:
    def test_failed_and_pruned_trials_stand_below_the_history(self) -> None:
        picture = pictures.history(sweep())
        assert picture
        classes = Page(picture.svg).classes
        assert classes["lost"] == 2
        assert classes["pruned"] == 3
        assert ">failed<" in picture.svg

    def test_the_best_is_drawn_last_and_once(self) -> None:
        picture = pictures.parallel_coordinates(sweep(), ["l_rate", "layers"])
        assert picture
        kinds = re.findall(r'<path class="(\w+) line"', picture.svg)
        assert kinds[-1] == "best"
        assert kinds.count("best") == 1
        assert kinds[0] == "c0"

    def test_texts_of_thirty_values_do_not_overlap(self) -> None:
        trials = [Trial(n, n, COMPLETED, {"p": f"name {n:02d} {'x' * n}"}, {}, (float(n),)) for n in range(30)]
        view = SweepView("x", "X", trials, [METRIC], None, [], ["p"])
        for picture in (pictures.parallel_coordinates(view, ["p"]), *pictures.metric_by_parameter(view, ["p"])):
            assert picture
            places: dict[float, list[float]] = {}
            for x, y in re.findall(r'<text class="tick[^>]* x="([\d.]+)" y="([\d.]+)"', picture.svg):
                places.setdefault(float(x), []).append(float(y))
            heights = max((sorted(each) for each in places.values()), key=len)
            assert len(heights) == 30
            assert min(b - a for a, b in pairwise(heights)) >= 11.5

    def test_means_are_marked_where_values_repeat(self) -> None:
        by_name = {each.title: Page(each.svg).classes.get("mean", 0) for each in pictures.metric_by_parameter(
            sweep(), ["l_rate", "layers", "optimizer"]
        )}  # fmt: skip
        assert by_name == {"l_rate": 0, "layers": 7, "optimizer": 3}

    def test_labels_that_would_touch_are_left_out(self) -> None:
        ticks = [(0.0, "a"), (0.1, "b"), (0.5, "c")]
        assert spaced(ticks, lambda _: 20, 100) == [(0.0, "a"), (0.5, "c")]


class TestAxes:
    @pytest.mark.parametrize(
        ("numbers", "labels"),
        [
            ((0.0, 1.0), ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
            ((1e-5, 0.1), ["1e-5", "0.0001", "0.001", "0.01", "0.1"]),
            ((0.953, 0.958), ["0.953", "0.954", "0.955", "0.956", "0.957", "0.958"]),
            ((7.0, 7.0), ["7"]),
            ((-3.0, 100.0), ["0", "20", "40", "60", "80", "100"]),
            ((1e-300, 1e300), ["1e-300", "1e-180", "1e-60", "1e60", "1e180", "1e300"]),
        ],
    )
    def test_ticks_are_round(self, numbers: tuple[float, float], labels: list[str]) -> None:
        ticks = Scale.of(numbers).ticks()
        assert [label for _, label in ticks] == labels
        assert all(0 <= place <= 1 for place, _ in ticks)

    @pytest.mark.parametrize(
        "numbers",
        [(-1.7e308, 1.7e308), (1.0, 1.0 + 2e-16), (5e-324, 1e-323), (0.0, 5e-324), (1e16, 1e16 + 2), (5e-324, 1.0)],
    )
    def test_any_two_numbers_have_places(self, numbers: tuple[float, float]) -> None:
        scale = Scale.of(numbers)
        assert 0 <= scale.fraction(numbers[0]) <= scale.fraction(numbers[1]) <= 1
        assert 1 <= len(scale.ticks()) <= 12

    def test_numbers_have_a_scale_with_the_few_texts_and_the_missing_below(self) -> None:
        axis = parameter_axis("clip", ["0.5", None, "None", "10", "3"])
        assert axis.scale
        assert axis.place(None) < axis.place("None") < axis.place("0.5") < axis.place("3") < axis.place("10") == 1
        assert [label for _, label in axis.ticks] == ["not set", "None", "0.5", "3", "10"]

    def test_one_number_among_texts_is_a_text(self) -> None:
        axis = parameter_axis("depth", ["18", "auto", "nan", "18"])
        assert axis.scale is None
        assert [label for _, label in axis.ticks] == ["18", "auto", "nan"]

    def test_rare_texts_share_a_place(self) -> None:
        values = [f"v{number}" for number in range(100)] + ["v50"]
        axis = parameter_axis("p", values)
        assert len(axis.ticks) == MAX_TEXTS
        assert axis.ticks[-1][1] == "71 others"
        assert axis.place("v99") == axis.ticks[-1][0]
        assert axis.place("v50") != axis.place("v99")

    def test_long_names_are_told_apart_by_what_differs(self) -> None:
        axis = parameter_axis("encoder", ["timm/resnet18.in1k", "timm/resnet50.in1k"])
        assert [label for _, label in axis.ticks] == ["…resnet18…", "…resnet50…"]

    def test_a_value_that_the_axis_was_not_made_for_has_no_place(self) -> None:
        with pytest.raises(ValueError, match="no place"):
            parameter_axis("p", ["a", "b"]).place("c")
        with pytest.raises(ValueError, match="no place"):
            Axis("p").place(1.0)
        assert number_axis("p", [1.0, 2.0]).place(2.0) == 1


class TestImportance:
    def test_finds_what_matters(self) -> None:
        chance = random.Random(1)
        rows = [(chance.random(), chance.choice("abc"), chance.random()) for _ in range(60)]
        values = [x + (0.5 if kind == "b" else 0) for x, kind, _ in rows]
        names = ("x", "kind", "noise")
        columns = {name: [str(row[place]) for row in rows] for place, name in enumerate(names)}
        shares = importance(columns, values)
        assert shares
        assert list(shares)[-1] == "noise"
        assert shares["noise"] < 0.05
        assert min(shares["x"], shares["kind"]) > 0.1
        assert sum(shares.values()) == pytest.approx(1)
        assert importance(columns, values) == shares

    def test_a_parameter_that_does_not_always_exist(self) -> None:
        column = [None if number % 2 else "0.9" for number in range(20)]
        assert importance({"momentum": column}, [float(number % 2) for number in range(20)]) == {"momentum": 1.0}

    def test_cannot_be_told(self) -> None:
        assert importance({"x": ["1"] * 7}, [float(number) for number in range(7)]) is None
        assert importance({"x": [str(number) for number in range(9)]}, [1.0] * 9) is None
        assert importance({"x": ["1"] * 9}, [float(number) for number in range(9)]) is None
        assert importance({}, [float(number) for number in range(9)]) is None
