"""``report``: pages of runs and sweeps made anew, from the command line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runner.cli import main
from runner.run_folder import RunFolder
from runner.run_seal import check_run
from tests.faults.programs import REPOSITORY, run, run_folder, tiny
from tests.report_samples import make_run
from tests.test_runs_verify import outputs  # noqa: F401 - a fixture


def test_rebuilds_the_page_of_a_copied_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "there" / "run", num_images=2)
    shutil.copytree("there", "elsewhere")
    assert main(["report", "elsewhere/run"]) == 0
    assert capsys.readouterr().out == "elsewhere/run/report.html\n"
    text = Path("elsewhere/run/report.html").read_text()
    assert "--resume=elsewhere/run" in text
    assert str(tmp_path) not in text


def test_of_a_sweep_is_the_page_of_the_sweep(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    [sweep] = (outputs / "sweeps").glob("*_Swept")
    assert main(["report", sweep.name]) == 0
    assert "All trials" in (sweep / "report.html").read_text()


def test_opens_the_browser_if_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    folder = make_run(tmp_path / "run", num_images=0)
    assert main(["report", str(folder.path)]) == 0
    assert opened == []
    assert main(["report", str(folder.path), "--open"]) == 0
    assert opened == [folder.report.as_uri()]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "report needs a run or a sweep"),
        (["nowhere"], "There is no run 'nowhere'"),
        (["one", "two"], "Unexpected argument 'two'"),
    ],
)
def test_says_what_is_wrong(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_nothing_else_opens_the_browser(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model=HelloLesion", "--open"]) == 2
    assert "--open is for the command report." in capsys.readouterr().err


def test_a_page_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    folder = make_run(tmp_path / "run", num_images=0)
    monkeypatch.setattr("runner.reports.page.write_text", full)
    assert main(["report", str(folder.path)]) == 1
    assert "No space left on device" in capsys.readouterr().err


def test_loads_no_torch(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", num_images=1)
    code = (
        f"import sys; from runner.cli import main; code = main(['report', {str(folder.path)!r}]);"
        "sys.exit(77 if 'torch' in sys.modules else code)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


class TestRuns:
    """Every run ends in a page, whichever way it ends."""

    def test_a_completed_run(self, tmp_path: Path) -> None:
        run(tmp_path, *tiny("--saliency_limit=4"))
        folder = RunFolder(run_folder(tmp_path))
        text = folder.report.read_text()
        for words in ("completed", "l_rate", "test_acc", "4 explained", "peak memory", "of the model"):
            assert words in text, words
        assert check_run(folder).is_whole
        assert '"peak_memory"' in folder.status.read_text()

    def test_a_failed_run(self, tmp_path: Path) -> None:
        output = run(tmp_path, *tiny("--fault=step raises"), code=1)
        folder = RunFolder(run_folder(tmp_path))
        text = folder.report.read_text()
        assert "It failed in phase train." in text
        assert "the step is &lt;b&gt;wrong&lt;/b&gt;" in text
        assert "in training_step" in text
        assert "the step is <b>wrong</b>" in output
        assert check_run(folder).is_whole
