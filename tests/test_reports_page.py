"""report.html of a run: what stands in it, whatever the run folder holds."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runner.axes import count_axis
from runner.experiment import RunResult
from runner.reports.charts import MOST_POINTS, Series, line_chart
from runner.reports.chosen_maps import MOST_IMAGES
from runner.reports.curves import curves
from runner.reports.head import cards
from runner.reports.log_records import LogRecord, read_log, users_part
from runner.reports.page import (
    rebuild_report,
    remove_report,
    report_and_seal,
    report_page,
)
from runner.reports.record import RunRecord
from runner.run_folder import RunFolder
from runner.run_seal import check_run, digests_of, unseal_run
from runner.saliency.explanation import Explanation, scaled_maps
from runner.saliency.storage import SaliencyFolder
from tests.report_samples import HOSTILE, LOG, TRACEBACK, make_maps, make_run, regression, write
from tests.test_sweep_report import Page


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with everything that there is to show."""
    return make_run(tmp_path_factory.mktemp("whole") / "2026-11-21T144343Z_Hello")


@pytest.fixture(scope="module")
def text(folder: RunFolder) -> str:
    return report_page(folder, digests_of(folder))


def page_of(folder: RunFolder) -> Page:
    return Page(report_page(folder, {}))


def change(path: Path, **values: object) -> None:
    write(path, json.loads(path.read_text()) | values)


class TestPage:
    def test_has_all_ten_sections(self, text: str) -> None:
        page = Page(text)
        for words in (
            "Hello", "2026-11-21T144343Z_Hello", "completed", "CPU", "torch 2.13.0", "9a906db4a9",
            "+ uncommitted changes (diff saved)", "accuracy 0.93 95 % interval 0.88 to 0.97", "parameters 4,334",
            "best epoch 3 of 5, by val_loss", "deletion 0.1 random order 0.4; lower is better",
            "Confusion matrix", "ECE 0.047", "predictions.csv", "12 explained",
            "correlation of the maps with one another",
            "num_epochs 8 100 command line", "train 7.5 s", "20 steps/s", "500 MB", "2 GB", "skipped: nothing to infer",
            "2 times train: something is odd", "--resume=", "--config=",
            "checkpoints/last.ckpt 5 kB",
        ):  # fmt: skip
            assert words in page.text.replace("\u00a0", " "), words
        assert "noise of a library" not in " ".join(page.text.split("The last lines")[0:1])

    def test_asks_for_nothing_outside(self, text: str) -> None:
        page = Page(text)
        policy = next(value for name, value in page.attributes if name == "content" and "default-src" in value)
        assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
        assert "unsafe" not in policy
        links = [value for name, value in page.attributes if name in ("href", "src")]
        assert all(re.match(r"(#|\./|data:image/webp;base64,)", link) for link in links)
        assert not re.search(r"https?:|url\(|@import|innerHTML", text)
        assert not [name for name, _ in page.attributes if name.startswith("on") or name == "style"]

    def test_every_picture_has_a_text(self, text: str) -> None:
        assert len(re.findall(r"<img class=\"photo[^>]*alt=\"image \d+, predicted", text)) == 12
        assert all('aria-label="' in each or 'aria-hidden="true"' in each for each in re.findall(r"<svg[^>]*>", text))

    def test_parameters_that_the_user_set_come_first(self, text: str) -> None:
        section = text[text.index('id="parameters"') : text.index("all parameters")]
        assert section.index("num_epochs") < section.index("saliency_method")
        assert "limit_test_batches" not in section

    def test_loads_no_torch(self, folder: RunFolder) -> None:
        code = (
            "import sys; from pathlib import Path; from runner.reports.page import *;"
            f"folder = RunFolder(Path({str(folder.path)!r})); report_page(folder, {{}}); notebook_html(folder);"
            "print([each for each in ('torch', 'pytorch_lightning', 'xaitk_saliency') if each in sys.modules])"
        )
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert found.stdout.strip() == "[]"

    def test_a_regression_has_two_pictures_of_each_output(self, tmp_path: Path) -> None:
        folder = make_run(tmp_path / "run", num_images=0)
        write(folder.evaluation, regression())
        page = page_of(folder)
        assert "age: predicted and true" in page.text
        assert "age: predicted minus true" in page.text
        assert "mae 0.8 95 % interval 0.7 to 0.9, n = 500" in page.text.replace("\u00a0", " ")
        assert "r2 0.8" in page.text

    def test_many_classes_have_no_matrix(self, tmp_path: Path) -> None:
        page = page_of(make_run(tmp_path / "run", num_images=0, classes=[f"kind {n}" for n in range(40)]))
        assert "What is confused most" in page.text
        assert "Confusion matrix" not in page.text

    def test_without_an_evaluation_it_says_how_to_get_one(self, tmp_path: Path) -> None:
        folder = make_run(tmp_path / "run", num_images=0)
        folder.evaluation.unlink()
        folder.predictions.unlink()
        page = page_of(folder)
        assert "The model's test gives no scores" in page.text
        assert "test_acc 0.93 n = 100" in page.text.replace("\u00a0", " ")

    @pytest.mark.parametrize(
        ("state", "words"),
        [
            ("failed", ("It failed in phase train.", "the step is <b>wrong</b>", "in training_step")),
            ("interrupted", ("It was stopped in phase train.", "--resume=")),
            ("running", ("It was killed in phase train.", "--resume=")),
        ],
    )
    def test_a_run_that_did_not_end_says_how_to_go_on(self, tmp_path: Path, state: str, words: tuple[str, ...]) -> None:
        folder = make_run(tmp_path / "run", num_images=0, state=state)
        change(folder.status, phase="train", exit_reason="ValueError: the step is <b>wrong</b>")
        folder.log.write_text(LOG + TRACEBACK)
        page = page_of(folder)
        assert all(word in page.text for word in words)
        assert ("Traceback" in page.text) == (state == "failed")

    def test_a_run_that_goes_on_is_not_dead(self, tmp_path: Path) -> None:
        folder = make_run(tmp_path / "run", num_images=0, state="running")
        folder.lock()
        try:
            assert RunRecord(folder).state == "running"
            assert "It was" not in page_of(folder).text
        finally:
            folder.unlock()

    def test_an_empty_folder_has_a_page(self, tmp_path: Path) -> None:
        assert "There was no test." in page_of(RunFolder(tmp_path)).text

    def test_hostile_names_are_only_text(self, tmp_path: Path) -> None:
        folder = make_run(tmp_path / "run", classes=HOSTILE)
        rows = folder.metrics.read_text().splitlines()
        names = ",".join('"' + name.replace('"', '""') + '"' for name in HOSTILE if "\0" not in name)
        folder.metrics.write_text("\n".join([f"{rows[0]},{names}", *(f"{row}{',1' * 9}" for row in rows[1:])]))
        reason = "\n".join(HOSTILE)
        change(
            folder.status, model=HOSTILE[0], state="failed", phase=HOSTILE[1], exit_reason=reason, attempts=HOSTILE[2]
        )
        change(
            folder.environment, python=HOSTILE[3], gpus=list(HOSTILE), git={"commit": HOSTILE[4], "branch": HOSTILE[5]}
        )
        change(
            folder.results, saliency={"metrics": {}, "method": HOSTILE[0], "split": HOSTILE[1], "weights": HOSTILE[4]}
        )
        folder.log.write_text(LOG + "".join(f"2026-11-21T14:43:44Z WARNING  rank0 a  b: {name}\n" for name in HOSTILE))
        (folder.path / "<img src=x>.txt").write_text("")
        text = report_page(folder, digests_of(folder))
        page = Page(text)
        assert page.tags.count("script") == page.tags.count("style") == 1
        assert not [name for name, _ in page.attributes if name.startswith("on")]
        links = [value for name, value in page.attributes if name in ("href", "src")]
        assert all(re.match(r"(#|\./|data:image/webp;base64,)", link) for link in links)
        assert "A" * 2001 not in re.sub('data:[^"]*', "", text)
        assert all(character.isprintable() or character in "\n\u00a0" for character in text)
        assert "document.title" in page.text
        assert len(text) < 600_000

    @pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe\0", b'{"a": NaN}', b"[" * 100_000, b"x" * 5000])
    def test_damaged_files_take_only_their_part_away(self, tmp_path: Path, content: bytes) -> None:
        """Each file in turn, then all together."""
        folder = make_run(tmp_path / "run", num_images=2)
        paths = [each for each in folder.path.rglob("*") if each.is_file() and each.suffix != ".ckpt"]
        for path in paths:
            before = path.read_bytes()
            path.write_bytes(content)
            assert "</html>" in report_page(folder, {}), path
            path.write_bytes(before)
        for path in paths:
            path.write_bytes(content)
        assert "</html>" in report_page(folder, {})

    def test_odd_values_take_only_their_part_away(self, tmp_path: Path) -> None:
        folder = make_run(tmp_path / "run", num_images=2)
        whole = json.loads(folder.evaluation.read_text())
        for odd in (None, 3, "x", [], {}, [None], [[1]], {"a": 1}, -1, 1e400):
            for name in whole:
                folder.evaluation.write_text(json.dumps(whole | {name: odd}))
                assert "Saliency maps" in report_page(folder, {}), (name, odd)
            for file in (folder.status, folder.results, folder.environment):
                before = file.read_text()
                write(file, dict.fromkeys(json.loads(before), odd))
                assert "Saliency maps" in report_page(folder, {}), (file.name, odd)
                file.write_text(before)

    def test_pipes_devices_and_huge_files_are_not_read(self, tmp_path: Path) -> None:
        """In the place of each file in turn, then of all; a page needs no more time and memory for it."""
        folder = make_run(tmp_path / "run", num_images=2, state="running")
        (folder.path / ".lock").touch()
        (folder.saliency / "failures.csv").touch()
        paths = [each for each in folder.path.rglob("*") if each.is_file()]
        os.mkfifo(tmp_path / "pipe")
        with (tmp_path / "huge").open("wb") as file:
            file.truncate(3 * 10**9)
        for target in (tmp_path / "pipe", Path("/dev/zero"), tmp_path / "huge"):
            for path in paths:
                put_aside(path)
                path.symlink_to(target)
                text = report_page(folder, {})
                assert "</html>" in text, (path, target)
                if path == folder.metrics:
                    said = "larger than the 134 MB" if target.name == "huge" else "no regular file"
                    assert f"metrics.csv cannot be read: {said}" in text
            for path in paths:
                path.unlink()
                path.with_name(path.name + "~").rename(path)

    @pytest.mark.parametrize(("name", "value"), [("confusion", [[math.nan, None], [1, 2]]), ("classes", 5)])
    def test_an_odd_number_in_the_evaluation_leaves_the_other_pictures(
        self, tmp_path: Path, name: str, value: object
    ) -> None:
        folder = make_run(tmp_path / "run", num_images=0)
        change(folder.evaluation, **{name: value})
        page = page_of(folder)
        assert "Confusion matrix" not in page.text
        assert "ECE 0.047" in page.text
        assert "test_acc 0.93" in page.text.replace("\u00a0", " ")

    def test_odd_rows_and_a_huge_best_epoch_leave_the_curves(self, tmp_path: Path) -> None:
        folder = make_run(tmp_path / "run", num_images=0)
        folder.metrics.write_text(folder.metrics.read_text() + f"5,150,{'9' * 200_000},1,1\n6,160,0.25,1,1\n")
        train = json.loads(folder.results.read_text())["train"]
        change(folder.results, train=train | {"best": {"epoch": 10**400, "monitor": "val_loss"}})
        text = report_page(folder, {})
        assert "train_loss ends at 0.25" in text
        assert "cannot be" not in text

    def test_many_parameters_are_cut(self, tmp_path: Path) -> None:
        folder = make_run(tmp_path / "run", num_images=0)
        folder.config.write_text("".join(f"p{n}: {n}  # command line, default 0\n" for n in range(30_000)))
        text = report_page(folder, {})
        assert len(text) < 600_000
        assert "29,000 more are in config.yaml." in text


def put_aside(path: Path) -> None:
    path.rename(path.with_name(path.name + "~"))


class TestSizeAndChoice:
    def test_64_maps_of_noise_need_less_than_a_megabyte(self, tmp_path: Path) -> None:
        """What is shown of 200 images, with 10 percent wrong, which compress badly."""
        folder = make_run(tmp_path / "run", num_images=0)
        make_maps(SaliencyFolder(folder.saliency, shard_size=50), 200)
        text = report_page(folder, {})
        assert len(text.encode()) < 1_000_000
        assert text.count('class="tile') == MOST_IMAGES
        assert "64 of 200 images are shown: 20 wrong ones, the surest first; 8 off target" in Page(text).text

    def test_a_phase_that_was_broken_off_shows_the_maps_that_are_there(self, tmp_path: Path) -> None:
        folder = make_run(tmp_path / "run", num_images=0)
        make_maps(SaliencyFolder(folder.saliency), 5)
        (folder.saliency / "index.csv").unlink()
        (folder.saliency / "maps" / "000003.npz").write_bytes(b"torn")
        text = report_page(folder, {})
        assert text.count('class="tile') == 4
        assert "5 explained" in Page(text).text

    def test_nothing_outside_of_the_folder_is_opened(self, tmp_path: Path) -> None:
        folder = make_run(tmp_path / "run", num_images=2)
        index = folder.saliency / "index.csv"
        (folder.saliency / "maps" / "000001.npz").rename(tmp_path / "000001.npz")
        index.write_text(index.read_text().replace("maps/000001.npz", "../../000001.npz"))
        text = report_page(folder, {})
        assert text.count('class="tile') == 1
        assert "1 map cannot be shown: image 1." in Page(text).text

    @pytest.mark.parametrize("indexed", [True, False])
    def test_small_files_that_claim_to_hold_much_are_one_sentence(self, tmp_path: Path, indexed: bool) -> None:
        """Of a folder that somebody else made: 50 GB, a picture too large to be drawn, too many targets."""
        folder = make_run(tmp_path / "run", num_images=0)
        make_maps(SaliencyFolder(folder.saliency), 5)
        maps = folder.saliency / "maps"
        with zipfile.ZipFile(maps / "000001.npz", "a") as archive, archive.open("more.npy", "w") as entry:
            entry.write(bytes(1000))
        with zipfile.ZipFile(maps / "000001.npz", "a") as archive:
            archive.getinfo("more.npy").file_size = 50 * 10**9
            archive.comment = b"the table of contents is written anew"
        with np.load(maps / "000002.npz") as arrays:
            np.savez_compressed(maps / "000002.npz", **{**arrays, "maps": np.zeros((1, 6000, 6001), np.float16)})
        with np.load(maps / "000003.npz") as arrays:
            np.savez_compressed(maps / "000003.npz", **{**arrays, "targets": np.ones(20_000, int)})
        if not indexed:
            (folder.saliency / "index.csv").unlink()
        text = report_page(folder, {})
        assert text.count('class="tile') == 2
        said = "3 maps cannot be shown: image 1, 2, 3. Missing, damaged, or too large: more than 36 million pixels, "
        assert (f"{said}10,000 targets or 537 MB in one image." in Page(text).text) == indexed

    @pytest.mark.parametrize("indexed", [True, False])
    def test_odd_maps_take_only_themselves_away(self, tmp_path: Path, indexed: bool) -> None:
        """Maps of text, without targets, without pixels, fewer than targets; also those that are not drawn."""
        folder = make_run(tmp_path / "run", num_images=0)
        make_maps(SaliencyFolder(folder.saliency), 8)
        odd: list[dict[str, object]] = [
            {"maps": np.array([["a"]])},
            {"targets": np.array(0)},
            {"maps": np.zeros((1, 0, 9))},
            {"maps": np.zeros((1, 0, 9)), "flags": np.array(["constant"])},
            {"maps": np.zeros((0, 9, 9))},
            {"maps": np.zeros((0, 9, 9)), "flags": np.array(["constant"])},
        ]
        for number, values in enumerate(odd):
            path = folder.saliency / "maps" / f"{number:06d}.npz"
            with np.load(path) as arrays:
                np.savez_compressed(path, **{**arrays, **values})
        if not indexed:
            (folder.saliency / "index.csv").unlink()
        assert report_page(folder, {}).count('class="tile') == 2

    def test_a_head_that_no_parser_takes_leaves_the_other_maps(self, tmp_path: Path) -> None:
        """Where there is no table that says what is in the files."""
        folder = make_run(tmp_path / "run", num_images=0)
        make_maps(SaliencyFolder(folder.saliency), 3)
        (folder.saliency / "index.csv").unlink()
        head = b"-" * 8000 + b"1"
        with zipfile.ZipFile(folder.saliency / "maps" / "000001.npz", "w") as archive:
            archive.writestr("maps.npy", b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head)
        assert report_page(folder, {}).count('class="tile') == 2


class TestTiles:
    def explained(self, tmp_path: Path, **values: object) -> Page:
        """The page of a run with one map."""
        folder = make_run(tmp_path / "run", num_images=0)
        image = np.random.default_rng(0).random((1, 20, 30), dtype=np.float32)
        found = scaled_maps(np.linspace(0, 0.4, 600).reshape(1, 20, 30))
        plain = {"index": 7, "image": image, "targets": np.array([0]), "scores": np.array([0.8], np.float32)}
        explanation = Explanation(**(plain | found._asdict() | {"label": 0} | values))  # type: ignore[arg-type]
        maps = SaliencyFolder(folder.saliency)
        maps.open({})
        maps.write(explanation)
        maps.write_index([explanation])
        return page_of(folder)

    def test_a_single_score_is_that_of_class_1(self, tmp_path: Path) -> None:
        page = self.explained(tmp_path)
        assert dict(page.attributes)["data-loss"] == str(-math.log(1 - np.float32(0.8)))
        assert "taken for lesion" in page.text

    def test_of_a_volume_it_is_the_slice_with_the_peak(self, tmp_path: Path) -> None:
        raw = np.zeros((1, 5, 20, 30))
        raw[0, 3, 10, 10] = 1
        image = np.zeros((1, 5, 20, 30), np.float32)
        page = self.explained(tmp_path, image=image, truth=raw[0] > 0, **scaled_maps(raw)._asdict())
        assert "slice 3" in page.text
        assert "on target" in page.text
        assert "M" in next(value for name, value in page.attributes if name == "d" and "Z" in value)

    def test_a_constant_map_is_weak_and_has_no_overlay(self, tmp_path: Path) -> None:
        page = self.explained(tmp_path, **scaled_maps(np.ones((1, 20, 30)))._asdict())
        assert "strength constant" in page.text
        assert dict(page.attributes)["data-facts"] == "wrong weak"
        assert "overlay" not in page.classes
        assert "1 with a constant or not finite map" in page.text

    def test_scores_that_are_no_probabilities_have_no_loss(self, tmp_path: Path) -> None:
        page = self.explained(tmp_path, scores=np.array([3, -4], np.float32))
        assert "data-loss" not in dict(page.attributes)
        assert "highest loss" not in page.text


class TestCharts:
    def test_values_that_are_not_finite_break_the_line(self) -> None:
        chart = line_chart("loss", [Series("a", [(1, 1.0), (2, math.nan), (3, 2.0), (4, math.inf)])], "epoch")
        assert chart is not None
        assert chart.svg.count("<path") >= 2
        assert chart.caption == "2 values are not finite."

    def test_none_where_nothing_is_finite(self) -> None:
        assert line_chart("loss", [Series("a", [(1, math.nan)])], "epoch") is None

    def test_long_lines_are_thinned(self) -> None:
        points = [(float(n), float(n)) for n in range(100_000)]
        chart = line_chart("loss", [Series("a", points)], "step")
        assert chart is not None
        assert chart.svg.count("L") < MOST_POINTS + 20

    @pytest.mark.parametrize(("last", "ticks"), [(1, "1"), (2, "1 2"), (3, "1 2 3"), (300, "100 200 300")])
    def test_epochs_are_whole_numbers(self, last: int, ticks: str) -> None:
        """And lie as far apart as they are, also where there are many."""
        axis = count_axis("epoch", range(1, last + 1))
        assert " ".join(text for _, text in axis.ticks) == ticks
        assert axis.place((last + 1) / 2) == 0.5

    def test_a_line_has_its_name_where_the_title_is_another(self, tmp_path: Path) -> None:
        folder = make_run(tmp_path / "run", num_images=0)
        folder.metrics.write_text("epoch,step,train_loss,lr\n0,1,3,1\n1,2,2,1\n")
        text = report_page(folder, {})
        assert re.findall(r'<h3>(\w+)</h3>\n<div class="legend"><span><i class="s0"></i>(\w+)<', text) == [
            ("loss", "train_loss")
        ]
        assert "<h3>lr</h3>" in text

    def test_logged_steps_are_drawn_over_steps(self, tmp_path: Path) -> None:
        folder = make_run(tmp_path / "run", num_images=0)
        folder.metrics.write_text("epoch,step,loss_step\n0,1,3\n0,2,2\n1,3,1\n")
        assert "loss_step by step: loss_step ends at 1" in report_page(folder, {})


class TestLog:
    def test_records_have_all_their_lines(self, tmp_path: Path) -> None:
        path = tmp_path / "run.log"
        path.write_text("lost beginning\n" + LOG + TRACEBACK)
        records = read_log(path)
        assert [each.level for each in records] == ["INFO", "WARNING", "WARNING", "WARNING", "ERROR"]
        assert [each.is_warning for each in records] == [False, True, True, False, False]
        assert records[-1].traceback.startswith("Traceback")

    def test_noise_of_libraries_is_told_in_one_pass(self) -> None:
        """Whatever it says."""
        text = "site-packages " * 20_000
        record = LogRecord("", "WARNING", "train", "py.warnings", text)
        started = time.process_time()
        assert record.is_warning
        assert replace(record, text=f"{text}: odd").is_of_library
        assert time.process_time() - started < 1

    @pytest.mark.parametrize(
        ("kept", "words"),
        [
            (slice(3, 4), "No warnings but those of libraries in the log below."),
            (slice(0, 1), "There were no warnings."),
        ],
    )
    def test_no_warnings_but_those_of_libraries(self, tmp_path: Path, kept: slice, words: str) -> None:
        folder = make_run(tmp_path / "run", num_images=0)
        lines = LOG.splitlines(keepends=True)
        folder.log.write_text("".join(lines[kept]))
        assert words in page_of(folder).text
        if kept.start:
            folder.log.write_text("".join(lines[kept] + lines[:1] * 50))
            assert "No warnings but those of libraries in run.log." in page_of(folder).text

    def test_a_traceback_begins_at_the_users_code(self) -> None:
        ours = '  File "/x/site-packages/pytorch_lightning/a.py", line 1, in a\n    b()\n'
        users = '  File "/x/model.py", line 3, in b\n    c()\nValueError: 3'
        head = "Traceback (most recent call last):\n"
        assert users_part(head + ours + ours + users) == head + users
        assert users_part(head + ours + "ValueError") == head + ours + "ValueError"


class TestCommands:
    @pytest.mark.parametrize(
        ("images", "items", "is_offered"), [(64, 100, True), (64, 64, False), (12, 100, False), (None, 100, True)]
    )
    def test_all_images_are_offered_where_some_were_left_out(
        self, tmp_path: Path, images: int | None, items: int, is_offered: bool
    ) -> None:
        """Of a limit of 64; where the phase did not end, nobody knows."""
        folder = make_run(tmp_path / "run", num_images=0)
        saliency = {"metrics": {} if images is None else {"num_images": images}, "split": "test"}
        change(folder.results, test={"metrics": {}, "num_items": items}, saliency=saliency)
        assert ("explain all images, not only 64" in page_of(folder).text) == is_offered


class TestFiles:
    def test_a_report_is_part_of_the_seal(self, tmp_path: Path) -> None:
        folder = make_run(tmp_path / "run", num_images=1)
        report_and_seal(folder)
        assert check_run(folder).is_whole
        folder.report.write_text("changed")
        assert check_run(folder).damaged == ("report.html",)
        rebuild_report(folder)
        assert check_run(folder).is_whole
        folder.report.write_text("changed")
        unseal_run(folder)  # what can be made anew does not keep a run from going on

    def test_what_create_report_wrote_is_kept(self, tmp_path: Path) -> None:
        folder = make_run(tmp_path / "run", num_images=0)
        folder.report.write_text("by the container")
        report_and_seal(folder)
        assert folder.own_report.read_text() == "by the container"
        assert "report_of_container.html" in folder.report.read_text()
        report_and_seal(folder)  # once more: what is there is ours
        assert folder.own_report.read_text() == "by the container"
        remove_report(folder)
        assert not folder.report.exists()

    @pytest.mark.parametrize("error", [ValueError("odd"), OSError(28, "No space left on device"), RecursionError()])
    def test_a_report_that_cannot_be_made_is_a_warning(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
    ) -> None:
        def fail(*_: object) -> str:
            raise error

        folder = make_run(tmp_path / "run", num_images=0)
        monkeypatch.setattr("runner.reports.page.html_page", fail)
        report_and_seal(folder)
        assert "no report.html: " in caplog.text
        assert not folder.report.exists()
        assert "config.yaml" in folder.digests.read_text()


def test_measures_have_one_card_each(tmp_path: Path) -> None:
    """They stand in results.json as well, where the metrics of the test are."""
    folder = make_run(tmp_path / "run", num_images=0)
    results = folder.read_results()
    results["test"]["metrics"] |= {"accuracy": 0.93, "auc": 0.97, "ece": 0.02}
    write(folder.results, results)
    titles = [card.name for card in cards(RunRecord(folder))]
    assert "test_loss" in titles
    assert not {"ece", "test_acc"} & set(titles)
    assert len(titles) == len(set(titles))


def test_cards_of_the_maps(tmp_path: Path) -> None:
    """How often the peak lies in the truth, and both curves beside those of a random order."""
    folder = make_run(tmp_path / "run", num_images=0)
    measures = {"peak_in_truth": 0.875, "insertion_auc": 0.6, "random_insertion_auc": 0.2}
    write(folder.results, folder.read_results() | {"saliency": {"metrics": measures}})
    found = {card.name: (card.value, card.note) for card in cards(RunRecord(folder))}
    assert found["saliency on target"] == ("87.5 %", "peak inside the known truth")
    assert found["insertion"] == ("0.6", "random order 0.2; higher is better")
    assert "deletion" not in found
    folder.results.write_text("{}")
    assert not {"saliency on target", "insertion"} & {card.name for card in cards(RunRecord(folder))}


def test_every_metric_has_a_line_and_the_best_epoch_a_mark(tmp_path: Path) -> None:
    """Those of training and validation in one chart, learning rates in the last one."""
    folder = make_run(tmp_path / "run", num_images=0)
    rows = [f"{epoch},{10 * epoch},0.1,0.2,0.3,{10.0**-epoch}" for epoch in range(5)]
    folder.metrics.write_text("\n".join(["epoch,step,l_rate,train_loss,val_loss,dice", *rows]) + "\n")
    found = curves(RunRecord(folder))
    assert [chart.title for chart in found["charts"]] == ["loss", "dice", "l_rate"]
    assert [chart.svg.count('class="mark"') for chart in found["charts"]] == [1, 1, 1]
    assert [len(chart.legend) for chart in found["charts"]] == [2, 1, 1]
    assert found["left_out"] == 0
    assert "The dashed line is the best epoch, 3, by val_loss." in page_of(folder).text


def test_in_a_notebook_it_is_a_frame_of_its_own(folder: RunFolder) -> None:
    frame = Page(RunResult("completed", "Hello", folder.path, {}, {})._repr_html_())
    assert frame.tags == ["iframe"]
    attributes = dict(frame.attributes)
    assert attributes["sandbox"] == "allow-scripts"
    page = Page(attributes["srcdoc"])
    assert "accuracy 0.93" in page.text
    assert page.classes["photo"] == 12
    assert "Parameters" not in page.text


@pytest.mark.parametrize("radius", [1, 3, 12, 40])
def test_an_outline_goes_around_the_truth(radius: int) -> None:
    """Its area is that of the mask, within the pixels of its edge."""
    from runner.reports.thumbnails import _outline

    rows, columns = np.mgrid[:100, :120]
    truth = (rows - 50) ** 2 + (columns - 60) ** 2 <= radius**2
    path = _outline(truth)
    [corners] = [[tuple(map(float, place.split())) for place in line.split("L")] for line in path[1:-1].split("ZM")]
    x, y = np.array(corners).T
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    assert area == pytest.approx(truth.sum(), rel=0.05, abs=3)
    assert x.mean() == pytest.approx(60.5, abs=0.6)
    assert y.mean() == pytest.approx(50.5, abs=0.6)
