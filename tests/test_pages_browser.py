"""compare.html and the report of a sweep in a browser: they ask for nothing, and nothing goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.axes import Axis
from runner.browser.compare_page import compare_page
from runner.browser.comparison import compare
from runner.svg import LETTER, Frame, svg
from runner.sweep.report import sweep_report
from tests.test_reports_browser import Opened, browser, pytestmark  # noqa: F401 - a fixture, and what it needs
from tests.test_runs_compare import outputs  # noqa: F401 - a fixture
from tests.test_sweep_report import hostile, sweep


@pytest.fixture
def compared(outputs: Path) -> Path:  # noqa: F811
    """The comparison of two runs with hostile names, and of a third."""
    page = outputs / "compare.html"
    page.write_text(compare_page(compare(sorted(outputs.glob("2*")), outputs)))
    return page


@pytest.fixture(params=[sweep, hostile], ids=["sweep", "hostile"])
def swept(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    page = tmp_path / "report.html"
    page.write_text(sweep_report(request.param()))
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_comparison(browser: Any, compared: Path, width: int, scheme: str) -> None:  # noqa: F811
    """Nothing is wider than the screen, all pictures are there, and the colours are those of the system."""
    looked_at(browser, compared, width, scheme)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_sweep(browser: Any, swept: Path, width: int, scheme: str) -> None:  # noqa: F811
    """The same of the report of a sweep, also with names that nobody should give."""
    looked_at(browser, swept, width, scheme)


def looked_at(browser: Any, page: Path, width: int, scheme: str) -> None:  # noqa: F811
    opened = Opened(browser, page, viewport={"width": width, "height": 844}, color_scheme=scheme)
    opened.page.locator("summary").evaluate_all("all => all.forEach(each => each.parentElement.open = true)")
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.page.locator("img").evaluate_all("all => all.every(each => each.naturalWidth > 0 && each.alt)")
    assert opened.page.locator("svg text").count() > 10
    back = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert back == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 28)"}[scheme]
    assert [url for url in opened.requests if not url.startswith("data:")] == [page.as_uri()]
    assert not opened.complaints
    opened.page.close()


@pytest.mark.parametrize("label", ["3", "0.003", "1e-05, the last"])
def test_labels_at_the_end_of_an_axis_are_whole(browser: Any, tmp_path: Path, label: str) -> None:  # noqa: F811
    """The last one is moved to the left where the edge of the picture would cut it."""
    axis = Axis("x", labels=((0.0, "0"), (1.0, label)))
    frame = Frame(340, 215, axis, axis, "", "")
    (tmp_path / "page.html").write_text(f"<!DOCTYPE html>{svg(frame.width, frame.height, 'x', frame.drawn())}")
    opened = Opened(browser, tmp_path / "page.html")
    boxes = "all => all.map(each => each.getBBox()).map(each => [each.x, each.x + each.width])"
    opened.page.add_style_tag(content=f"text {{ font: {LETTER / 0.6:.3g}px monospace }}")
    for left, right in opened.page.locator("text").evaluate_all(boxes):
        assert left >= 0
        assert right <= frame.width
    opened.page.close()
