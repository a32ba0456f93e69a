"""Progress of the saliency phase: what the lines say, and the bar on a terminal."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from runner.phases.explaining import explain
from runner.saliency import progress
from runner.saliency.data import ListedItems, StreamedItems
from runner.saliency.progress import ProgressBar, ProgressLines, explaining_progress
from tests.saliency_samples import Images, Sample, make_run


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    caplog.set_level("INFO")
    return made


def lines_of(caplog: pytest.LogCaptureFixture, logger: str = progress.__name__) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == logger]


def listed(number: int, done: int = 0) -> ListedItems:
    loader = DataLoader(Images(number))
    return ListedItems(loader, range(done), print, first=0, max_items=None, max_batches=1.0)


def test_lines_say_speed_and_time_left(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """A line every few seconds, with images and masks per second and the time of those left; one at the end."""
    with ProgressLines("RISE") as shown:
        shown.expect(listed(10, done=4))
        for _ in range(6):
            clock.now += 2
            shown.count(50)
    assert lines_of(caplog) == [
        "saliency 7/10  RISE  0.5 images/s  25 masks/s  6.0 s left",
        "saliency 10/10  RISE  0.5 images/s  25 masks/s  0.0 s left",
        "saliency 10/10  RISE  0.5 images/s  25 masks/s  12.0 s",
    ]


def test_failed_images_are_counted_and_save_no_time(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """An image that failed is not one to come; a method without masks has no masks per second."""
    with ProgressLines("Grad-CAM") as shown:
        shown.expect(listed(10))
        clock.now += 3
        shown.count_failed()
        clock.now += 3
        shown.count(0)
    assert lines_of(caplog) == [
        "saliency 2/10  Grad-CAM  1 failed  0.2 images/s  24.0 s left",
        "saliency 2/10  Grad-CAM  1 failed  0.2 images/s  6.0 s",
    ]


def test_a_stream_has_no_end_to_wait_for(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Where the number of images is not known, neither is the time left, whatever other loaders know."""
    with ProgressLines("RISE") as shown:
        for items in (listed(3), StreamedItems([], (), first=3, max_items=None, max_batches=1.0)):
            shown.expect(items)
        clock.now += 10
        shown.count(10)
    assert lines_of(caplog) == [
        "saliency 1  RISE  0.1 images/s  1 masks/s",
        "saliency 1  RISE  0.1 images/s  1 masks/s  10.0 s",
    ]


def test_nothing_is_said_at_the_end_of_a_phase_that_broke_off(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """An exception ends the lines, and takes the bar away."""
    bar = ProgressBar("RISE")
    for shown in (ProgressLines("RISE"), bar):
        with pytest.raises(ZeroDivisionError), shown:
            raise ZeroDivisionError
    assert lines_of(caplog) == []
    assert not bar._bar.live.is_started


def test_the_bar_moves_and_leaves_the_terminal_to_the_last_line(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """It shows count, speed and time left; the lines meanwhile go to run.log only."""
    bar = ProgressBar("RISE")
    with bar:
        shown = bar._bar.live.is_started
        bar.expect(listed(10, done=4))
        clock.now += 6
        bar.count(50)
        (task,) = bar._bar.tasks
        assert (task.completed, task.total) == (5, 10)
        assert task.fields["speed"] == "0.2 images/s  8 masks/s  30.0 s left"
        clock.now += 1
        bar.count_failed()
        assert task.completed == 6
    assert (shown, bar._bar.live.is_started) == (True, False)
    assert lines_of(caplog, "runner.traceback") == ["saliency 5/10  RISE  0.2 images/s  8 masks/s  30.0 s left"]
    assert lines_of(caplog) == ["saliency 6/10  RISE  1 failed  0.1 images/s  7 masks/s  7.0 s"]


@pytest.mark.parametrize(
    ("is_terminal", "bar", "kind"),
    [(True, True, ProgressBar), (True, False, ProgressLines), (False, True, ProgressLines)],
)
def test_a_bar_is_for_terminals(monkeypatch: pytest.MonkeyPatch, is_terminal: bool, bar: bool, kind: type) -> None:
    """Files and pipes get lines, and so does who wants no bar."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    assert type(explaining_progress("RISE", bar=bar)) is kind


def test_the_phase_shows_its_progress(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line of a quick phase says the images, those done before among them, the masks and the time it took."""
    caplog.set_level("INFO", logger=progress.__name__)
    values: dict[str, Any] = {"saliency_method": "rise", "saliency_num_masks": 40}
    explain(make_run(tmp_path, Sample(**values)))
    (tmp_path / "saliency" / "maps" / "000001.npz").unlink()
    explain(make_run(tmp_path, Sample(**values)))
    first, second = lines_of(caplog)
    for line in (first, second):
        found = re.fullmatch(r"saliency 6/6  RISE 40 masks  ([\d.]+) images/s  (\d+) masks/s  [\d.]+ s", line)
        assert found is not None
        assert float(found[2]) == pytest.approx(40 * float(found[1]), abs=3)
