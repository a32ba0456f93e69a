"""I: command line, parameters, YAML, discovery. Rows as in docs/trust.md; each ends before anything is made."""

from pathlib import Path

import pytest

from runner.cli import main
from tests.faults.programs import CONTAINERS, run, tiny

TINY = ["--model=Tiny", f"--containers={CONTAINERS}"]
MISTAKES = {
    "I1 unknown flag": ([*TINY, "--num_item=7"], "Did you mean --num_items?"),
    "I2 wrong type": ([*TINY, "--num_items=abc"], "num_items"),
    "I2 a fraction": ([*TINY, "--num_items=3.7"], "num_items"),
    "I2 empty": ([*TINY, "--num_items="], "num_items"),
    "I3 no truth value": ([*TINY, "--deterministic=maybe"], "deterministic"),
    "I4 out of bounds": ([*TINY, "--num_items=-1"], "num_items"),
    "I4 other digits": ([*TINY, "--num_items=\u0661\u0662"], "num_items"),
    "I7 the same flag twice": ([*TINY, "--at=1", "--at=2"], "--at is given twice"),
    "I8 an abbreviation": ([*TINY, "--num_it=3"], "num_it"),
    "I15 unknown model": (["--model=Tinny", TINY[1]], "Did you mean Tiny?"),
    "I15 wrong case": (["--model=tiny", TINY[1]], "Tiny"),
    "I15 empty": (["--model=", TINY[1]], "--model needs a value"),
    "I16 a path": (["--model=../x", TINY[1]], "../x"),
    "I16 a file": (["--model=/etc/passwd", TINY[1]], "/etc/passwd"),
    "I16 a command": (["--model=a;b", TINY[1]], "a;b"),
    "I16 a module": (["--model=os.path", TINY[1]], "'os'"),
    "I16 no container": (["--model=collections.OrderedDict", TINY[1]], "OrderedDict"),
    "an escape sequence": ([*TINY, "--num_items=\x1b[31m7"], r"\x1b[31m7"),
}


@pytest.mark.parametrize("row", MISTAKES)
def test_mistakes(
    row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one line with what is wrong, no folder."""
    argv, words = MISTAKES[row]
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert words in line
    assert not (tmp_path / "outputs").exists()


YAML = {
    "I10 a date": "at: 2026-01-01",
    "I10 a number to the base of 60": "num_items: 1:30",
    "I11 a key twice": "at: 1\nat: 2",
    "I12 an object": "at: !!python/object/apply:os.system [touch marker]",
    "I12 a name": "token: !!python/name:os.system",
    "I13 aliases": "a: &a [1]\nb: *a",
    "I13 a bomb": "a: &a [x,x]\n"
    + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)},*{chr(97 + n)}]\n" for n in range(20)),
    "I13 depth": "at: " + "[" * 3000 + "]" * 3000,
    "I13 size": "at: 1\n# " + "x" * 5_000_000,
    "I14 a list": "- at",
    "I14 two documents": "at: 1\n---\nat: 2",
    "I14 tabs": "at:\n\t- 1",
    "I14 NUL": "at: 1\0",
    "I14 latin-1": "token: \udce4",
}


@pytest.mark.parametrize("row", YAML)
def test_yaml(row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused with file and line where there is one; no code runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_bytes(YAML[row].encode("utf-8", "surrogateescape"))
    assert main([*TINY, "--config=c.yaml"]) == 2
    error = capsys.readouterr().err
    assert "c.yaml" in error
    assert "Traceback" not in error
    assert not (tmp_path / "marker").exists()
    assert not (tmp_path / "outputs").exists()


MODULES = {
    "I17 fails to import": ("import nosuch\n", 1, "nosuch"),
    "I17 a syntax error": ("def\n", 1, "SyntaxError"),
    "I18 exits": ("import sys\nsys.exit(0)\n", 1, "SystemExit"),
    "I18 is interrupted": ("raise KeyboardInterrupt\n", 130, ""),
}
CLASS = "\nfrom runner import LightningContainer\n\n\nclass Odd(LightningContainer):\n    pass\n"


@pytest.mark.parametrize("row", MODULES)
def test_modules_that_misbehave(row: str, tmp_path: Path) -> None:
    """Never exit code 0; what is wrong with it is shown."""
    head, code, words = MODULES[row]
    (tmp_path / "containers").mkdir()
    (tmp_path / "containers" / "odd.py").write_text(head + CLASS)
    assert words in run(tmp_path, "--model=Odd", code=code)
    run(tmp_path, *tiny("--help"))


@pytest.mark.parametrize("fault", ["no model", "wrong data"])
def test_i20_half_written_containers(fault: str, tmp_path: Path) -> None:
    """The method is named, with what it returned."""
    output = run(tmp_path, *tiny(f"--fault={fault}"), code=1)
    assert {"no model": "create_model() returned a NoneType", "wrong data": "get_data_module() returned a list"}[
        fault
    ] in output
    assert "Traceback" not in output


@pytest.mark.parametrize("variables", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"TERM": "dumb"}], ids=str)
def test_i22_odd_terminals(variables: dict[str, str], tmp_path: Path) -> None:
    """A run goes on whatever the terminal can show."""
    run(tmp_path, *tiny("--num_epochs=1", "--saliency_method=none"), **variables)  # type: ignore[arg-type]
