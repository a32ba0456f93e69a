"""``runs verify``: runs and sweeps, whole and damaged."""

from pathlib import Path

import pytest

from runner.cli import main
from runner.run_folder import RunFolder
from runner.run_seal import seal_run
from runner.sweep.sweep_folder import Control, SweepFolder
from tests.test_sweep_history import make_plan
from tests.test_sweep_queue_state import end


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that ended, one that was killed, and a sweep with one trial."""
    monkeypatch.chdir(tmp_path)
    outputs = tmp_path / "outputs"
    for name in ("Ended", "Killed"):
        folder = RunFolder.create(outputs, name)
        folder.config.write_text("a: 1\n")
        folder.status.write_text("{}")
        if name == "Ended":
            seal_run(folder)
        folder.unlock()
    sweep = SweepFolder.create(outputs, "Swept", make_plan().to_json(), Control())
    end(sweep, 0)
    point = RunFolder(sweep.point(0))
    point.config.write_text("a: 1\n")
    point.status.write_text("{}")
    seal_run(point)
    return outputs


def verify(capsys: pytest.CaptureFixture[str], *names: str) -> tuple[int, str]:
    code = main(["runs", "verify", *names])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_all_is_well(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without names all runs and sweeps are looked at."""
    code, text = verify(capsys)
    assert code == 0
    assert [line.split("_")[1] for line in text.splitlines()] == [
        "Ended: all 2 files are whole",
        "Killed: no digests yet, it was killed and can be resumed; 0 checkpoints are whole",
        "Swept: plan, results and 1 run: all whole",
    ]


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("plan.json", "damaged: plan.json"),
        ("results/000000.completed.json", "damaged: the result of trial 0"),
        ("points/000000/point.json", "damaged: the parameters of trial 0"),
        ("points/000000/config.yaml", "000000: damaged: config.yaml"),
    ],
)
def test_damage_in_a_sweep(outputs: Path, file: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each kind of record has a digest."""
    [sweep] = (outputs / "sweeps").glob("2*")
    path = sweep / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    code, text = verify(capsys, sweep.name)
    assert code == 1
    assert words in text


def test_damage_in_a_run(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Told with the name of the file."""
    [run] = outputs.glob("*_Ended")
    (run / "config.yaml").write_text("a: 2\n")
    (run / "status.json").write_text("{ }")
    code, text = verify(capsys, str(run))
    assert code == 1
    assert "damaged: config.yaml" in text
    assert "damaged: status.json" in text


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["runs", "--verify"], "no option --verify"),
        (["runs", "verfy"], "Did you mean verify?"),
        (["runs", "verify", "nosuch"], "There is no run"),
    ],
)
def test_mistakes(outputs: Path, argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and one line."""
    assert main(argv) == 2
    assert words in capsys.readouterr().err


def test_no_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to say."""
    monkeypatch.chdir(tmp_path)
    assert main(["runs", "verify"]) == 2
