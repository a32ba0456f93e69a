"""report.html in a browser: nothing is asked for, nothing goes wrong, and the controls of the gallery act."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.reports.page import notebook_html, rebuild_report
from tests.report_samples import HOSTILE, make_run

MILLISECONDS = 120_000
"""No wait is this long but where something is stuck."""

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="there is no chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags, timeout=MILLISECONDS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("plain") / "run", num_images=24)
    rebuild_report(folder)
    return folder.report


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("hostile") / "<b>run", num_images=6, classes=HOSTILE)
    rebuild_report(folder)
    return folder.report


class Opened:
    """A page with what it asked for and complained about."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.page = browser.new_page(**({"viewport": {"width": 1280, "height": 900}} | options))
        self.page.set_default_timeout(MILLISECONDS)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def shown(self) -> list[int]:
        """The images that one sees, in their order."""
        script = "tiles => tiles.filter(each => each.offsetParent).map(each => Number(each.dataset.index))"
        found: list[int] = self.page.locator(".tile").evaluate_all(script)
        return found

    def values(self, name: str) -> list[float]:
        script = f"tiles => tiles.filter(each => each.offsetParent).map(each => Number(each.dataset.{name}))"
        found: list[float] = self.page.locator(".tile").evaluate_all(script)
        return found


@pytest.fixture
def opened(browser: Any, report: Path) -> Iterator[Opened]:
    opened = Opened(browser, report)
    yield opened
    opened.page.close()
    assert not opened.complaints


def test_asks_for_the_file_alone(opened: Opened, report: Path) -> None:
    assert [url for url in opened.requests if not url.startswith("data:")] == [report.as_uri()]
    assert opened.page.locator("img").evaluate_all("all => all.every(each => each.naturalWidth > 0)")


def test_the_filter_shows_what_it_says(opened: Opened) -> None:
    assert opened.shown() == list(range(24))
    for fact in ("wrong", "right", "on", "off", "weak"):
        opened.page.select_option("#fact", fact)
        found = opened.shown()
        assert 0 < len(found) < 24
        assert opened.page.text_content("#shown") == f"{len(found)} of 24 shown"
        facts = opened.page.locator(".tile:visible").evaluate_all("all => all.map(each => each.dataset.facts)")
        assert all(fact in each.split() for each in facts)
    opened.page.select_option("#fact", "wrong")
    assert opened.shown() == [0, 6, 12, 18]
    opened.page.select_option("#group", "lesion")
    assert opened.shown() == []
    opened.page.select_option("#fact", "")
    assert opened.shown() == list(range(1, 24, 2))


@pytest.mark.parametrize(("order", "sign"), [("loss", -1), ("confidence", 1), ("score", -1), ("strength", 1)])
def test_sorting_sorts(opened: Opened, order: str, sign: int) -> None:
    opened.page.select_option("#order", f"{order} {'up' if sign > 0 else 'down'}")
    values = [sign * value for value in opened.values(order)]
    assert len(values) == 24
    assert values == sorted(values)
    opened.page.select_option("#order", "index up")
    assert opened.shown() == list(range(24))


def test_the_slider_fades_the_maps(opened: Opened) -> None:
    script = "getComputedStyle(document.querySelector('.overlay')).opacity"
    assert opened.page.evaluate(script) == "1"
    opened.page.fill("#opacity", "25")
    assert opened.page.evaluate(script) == "0.25"


def test_the_outline_can_be_taken_away(opened: Opened) -> None:
    outlines = opened.page.locator(".stack svg")
    assert outlines.first.is_visible()
    opened.page.uncheck("#outline")
    assert not outlines.first.is_visible()


@pytest.mark.parametrize("name", ["report", "hostile"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(browser: Any, request: pytest.FixtureRequest, name: str, width: int) -> None:
    opened = Opened(browser, request.getfixturevalue(name), viewport={"width": width, "height": 844})
    opened.page.locator("summary").evaluate_all("all => all.forEach(each => each.parentElement.open = true)")
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.page.evaluate("document.title").startswith("Hello")  # no hostile script has run
    assert not opened.complaints
    opened.page.close()


def test_hostile_names_can_be_filtered_by(browser: Any, hostile: Path) -> None:
    opened = Opened(browser, hostile)
    groups = opened.page.locator("#group option").evaluate_all("all => all.map(each => each.value)")
    assert len(groups) == 3
    for group in groups[1:]:
        opened.page.select_option("#group", group)
        assert len(opened.shown()) == 3
    assert not opened.complaints
    opened.page.close()


def test_colours_follow_the_system(browser: Any, report: Path) -> None:
    found = {}
    for scheme in ("light", "dark"):
        opened = Opened(browser, report, color_scheme=scheme)
        found[scheme] = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
        opened.page.close()
    assert found == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 28)"}


def test_without_scripts_all_images_are_there(browser: Any, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_default_timeout(MILLISECONDS)
    page.goto(report.as_uri())
    assert page.locator(".tile:visible").count() == 24
    assert not page.locator("#controls").is_visible()
    context.close()


def test_it_prints(browser: Any, report: Path, tmp_path: Path) -> None:
    opened = Opened(browser, report)
    opened.page.pdf(path=tmp_path / "report.pdf", format="A4", print_background=True)
    assert (tmp_path / "report.pdf").stat().st_size > 50_000
    opened.page.emulate_media(media="print")
    assert not opened.page.locator("#controls").is_visible()
    opened.page.close()


def test_the_frame_of_a_notebook_acts(browser: Any, report: Path, tmp_path: Path) -> None:
    from runner.run_folder import RunFolder

    file = tmp_path / "notebook.html"
    file.write_text(f"<!DOCTYPE html><meta charset=utf-8>{notebook_html(RunFolder(report.parent))}")
    opened = Opened(browser, file)
    frame = opened.page.frame_locator("iframe")
    frame.locator("#fact").select_option("wrong")
    assert frame.locator(".tile:visible").count() == 4
    assert not opened.complaints
    opened.page.close()
