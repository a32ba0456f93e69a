"""Completion in real shells, and what is offered."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runner.cli import main
from runner.completion import SHELLS, candidates
from runner.run_folder import RunFolder

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a container that cannot even be imported, and two runs, one with a hostile name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "containers").mkdir()
    (tmp_path / "containers" / "mine.py").write_text(
        "import nowhere_to_be_found, param, torch\n"
        "class Base(LightningContainer):\n"
        "    depth = param.Integer(default=1, doc='How deep.')\n"
        "class Mine(Base):\n"
        "    '''A container.'''\n"
        "    shape = param.Selector(objects=['round', 'square'], doc='Its shape.')\n"
    )
    for name in ("Mine", "$(touch hacked)"):
        folder = RunFolder.create(tmp_path / "outputs", name)
        folder.config.write_text("a: 1\n")
        folder.status.write_text("{}")
        folder.unlock()
    return tmp_path


def words(*typed: str, shell: str = "fish") -> list[str]:
    return [each.partition("\t")[0] for each in candidates(shell, *typed)]


def test_what_is_offered(project: Path) -> None:
    """Commands, options, containers, parameters and choices of one that is never imported, runs."""
    assert {"runs", "list", "--model=", "--quiet"} <= set(words(""))
    assert words("--model=M") == ["--model=Mine"]
    assert words("--model", "M") == ["Mine"]
    assert words("--model=Mine", "--sha") == ["--shape="]
    assert words("--model=Mine", "--dep") == ["--depth="]
    assert words("--model=Mine", "--shape=") == ["--shape=round", "--shape=square"]
    assert words("--model=Mine", "--l_rate_warm") == ["--l_rate_warmup=", "--l_rate_warmup_epochs="]
    assert "--optimizer_type=AdamW" in words("--model=Mine", "--optimizer_type=")
    assert words("--model=Mine", "--train=") == ["--train=true", "--train=false"]
    assert words("runs", "sh") == ["show"]
    assert words("runs", "show", "latest", "") == []
    assert words("runs", "--f") == ["--format="]
    assert words("completion", "") == list(SHELLS)
    assert words("queue", "pa") == ["pause"]
    assert words("--config=conta") == ["--config=containers/"]


def test_names_that_a_shell_would_obey_are_not_offered(project: Path) -> None:
    """A run may be called anything."""
    [latest, run] = words("runs", "show", "")
    assert latest == "latest"
    assert run.endswith("_Mine")


def test_names_that_would_be_options_are_not_offered(project: Path) -> None:
    """They would be obeyed by the program, or replaced by the shell."""
    [run] = (project / "outputs").glob("*_Mine")
    for name in ("--yes", "-rf", "~x", "=y", "+z"):
        shutil.copytree(run, project / "outputs" / name)
        (project / name).write_text("")
    assert words("runs", "rm", "") == ["latest", run.name]
    assert not {"--yes", "-rf", "~x", "=y"} & set(words("--config", ""))


def test_folders_with_blanks(project: Path) -> None:
    """What bash and zsh hand over still has its quotes."""
    run = next((project / "outputs").glob("*_Mine")).name
    (project / "outputs").rename(project / "my outputs")
    for shell, typed in (
        ("fish", "my outputs"),
        ("bash", "my\\ outputs"),
        ("zsh", "'my outputs'"),
        ("bash", "'my outputs"),
    ):
        assert (run in words("runs", "show", "--output_to", typed, "2", shell=shell)) is (typed != "'my outputs")


def test_nothing_falls_over(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What makes no sense gives nothing, without a message."""
    (project / "containers" / "broken.py").write_text("def (")
    for typed in (
        ["--model=\0", "--x"],
        ["runs", "show", "\0"],
        ["é", ""],
        ["--", "="],
        [],
        ["--containers=/nowhere", ""],
    ):
        assert main(["completion", "--candidates", "zsh", *typed]) == 0
    assert capsys.readouterr().err == ""


def test_the_script_of_an_unknown_shell(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and the nearest name."""
    assert main(["completion", "fisch"]) == 2
    assert "Did you mean fish?" in capsys.readouterr().err


def test_no_torch(project: Path) -> None:
    """Offering a container's parameters loads nothing heavy."""
    code = (
        "import sys; from runner.completion import candidates\n"
        "assert candidates('fish', '--model=Mine', '--shape=')\n"
        "sys.exit(bool({'torch', 'pytorch_lightning', 'numpy', 'optuna'} & set(sys.modules)))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], check=False, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}
        ).returncode
        == 0
    )


def shell(*command: str, project: Path) -> str:
    path = f"{project / 'bin'}:{os.environ['PATH']}"
    (project / "bin").mkdir(exist_ok=True)
    program = project / "bin" / "lightcase"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(REPOSITORY)!r})\n"
        "from runner.cli import console_main\nconsole_main()\n"
    )
    program.chmod(0o755)
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(REPOSITORY), "HOME": str(project), "TERM": "dumb"}
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment, cwd=project, timeout=300
    )
    return done.stdout + done.stderr


def test_bash(project: Path) -> None:
    """bash takes ``--model=M`` for three words; both ways to call the program; other programs are left alone."""
    (project / "other_runner.py").write_text("open('called', 'w')")
    lines = f"""
source <(lightcase completion bash)
offer() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); "$handler"; echo "${{COMPREPLY[*]}}"; }}
handler=_lightcase; offer lightcase --model = M; offer lightcase runs sh
handler=_lightcase_python; offer {sys.executable} {REPOSITORY / "runner.py"} --model = Mine --shape = r
offer {sys.executable} other_runner.py --m
complete -p lightcase python
"""
    said = shell("bash", "-c", lines, project=project).splitlines()
    assert said[:4] == ["Mine", "show", "round", ""]
    assert "complete -F _lightcase lightcase" in said
    assert not (project / "called").exists()
    assert not (project / "hacked").exists()


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish here")
def test_fish(project: Path) -> None:
    """fish is asked what it would offer."""
    ask = "lightcase completion fish | source; complete --do-complete "
    assert "--model=Mine\tA container." in shell("fish", "-c", ask + "'lightcase --model=M'", project=project)
    program = f"python {REPOSITORY / 'runner.py'}"
    assert "round" in shell("fish", "-c", ask + f"'{program} --model=Mine --shape='", project=project)


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh here")
def test_zsh(project: Path) -> None:
    """zsh completes what is typed on a real terminal."""
    lines = """
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z 'PS1=""; autoload -Uz compinit; compinit -u; eval "$(lightcase completion zsh)"; echo re""ady'
zpty -r z line '*ready*'
zpty -w -n z $'lightcase --model=M\\t--shape=rou\\t'
zpty -r -m z line '*--shape=round*' && print found
zpty -d z
"""
    assert "found" in shell("zsh", "-fc", lines, project=project)
