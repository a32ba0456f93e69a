"""J: hostile content. Rows as in docs/trust.md."""

import json
import pickle
import re
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from runner.cli import main
from tests.faults.programs import CONTAINERS, REPOSITORY, let_go_on, run, run_folder, start, tiny, wait_for, waiting_run


class Payload:
    """Leaves a marker when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return (exec, (f"open({str(self.marker)!r}, 'w')",))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody touched."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder, *tiny("--num_epochs=2", "--saliency_method=none"))
    return run_folder(folder)


@pytest.mark.parametrize("variable", ["", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"])
@pytest.mark.parametrize("form", ["zip", "pickle"])
def test_j1_j2_a_checkpoint_with_code(form: str, variable: str, whole: Path, tmp_path: Path) -> None:
    """It is not run, by whatever door."""
    marker, path = tmp_path / "marker", tmp_path / "x.ckpt"
    content = torch.load(whole / "checkpoints" / "last.ckpt", weights_only=True) | {"extra": Payload(marker)}
    if form == "zip":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    variables = {variable: "1"} if variable else {}
    output = run(tmp_path, *tiny("--train=False", f"--src_checkpoint={path}"), code=2, **variables)  # type: ignore[arg-type]
    assert "Traceback" not in output
    assert not marker.exists()


def test_j3_no_class_is_taken_from_a_file(whole: Path, tmp_path: Path) -> None:
    """A checkpoint that names another class to build is read for its weights only."""
    path = tmp_path / "x.ckpt"
    content = torch.load(whole / "checkpoints" / "last.ckpt", weights_only=True)
    content["hyper_parameters"] = {"_instantiator": "os.system", "_target_": "os.system", "command": "touch marker"}
    torch.save(content, path)
    run(tmp_path, *tiny("--train=False", f"--src_checkpoint={path}", "--saliency_method=none"))
    assert not list(tmp_path.rglob("marker"))


def copied(whole: Path, folder: Path, name: str, value: str) -> Path:
    """Return a copy of a run in which one value of the record is another."""
    copy = folder / "outputs" / "stranger"
    shutil.copytree(whole, copy)
    (copy / "digests.json").unlink()
    text, count = re.subn(rf"(?m)^{name}: .*$", f"{name}: {value}", (copy / "config.yaml").read_text())
    assert count == 1
    (copy / "config.yaml").write_text(text)
    return copy


@pytest.mark.parametrize(
    "model",
    [
        "outputs/stranger/evil.py:Tiny", "{folder}/outputs/stranger/evil.py:Tiny", "outputs.stranger.evil.Tiny",
        "/proc/self/cwd/outputs/stranger/evil.py:Tiny", "{folder}/outputs/x/../stranger/evil.py:Tiny", "evil.py",
        "{folder}/link/evil.py:Tiny", "evil.py:", "/tmp/../proc/self/cwd/outputs/stranger/evil.py:Tiny",
        "/dev/fd/../cwd/outputs/stranger/evil.py:Tiny", "/{folder}/outputs/stranger/evil.py:Tiny",
    ],
)  # fmt: skip
def test_j3_j6_a_run_folder_brings_no_code(
    model: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever goes on with somebody else's run says which container that is."""
    copy = copied(whole, tmp_path, "model", json.dumps(model.format(folder=tmp_path)))
    (copy / "evil.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w')\n" + (CONTAINERS / "faulty.py").read_text())
    (tmp_path / "link").symlink_to(copy)
    (tmp_path / "outputs" / "x").mkdir()
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert main([f"--resume={copy}"]) == 2
    assert sys.path == before
    error = capsys.readouterr().err
    assert "names the container" in error
    assert "--model=NAME" in error
    assert not (tmp_path / "marker").exists()


def test_j3_j6_a_run_folder_brings_no_containers_folder(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even to somebody who has gone into it."""
    copy = copied(whole, tmp_path, "model", "Evil")
    (copy / "containers").mkdir()
    (copy / "containers" / "evil.py").write_text(
        f"open({str(tmp_path / 'marker')!r}, 'w')\nfrom runner import LightningContainer\n"
        "class Evil(LightningContainer): pass\n"
    )
    monkeypatch.chdir(copy)
    assert main(["--resume=."]) == 2
    assert "names the container Evil, which no run" in capsys.readouterr().err
    assert not (tmp_path / "marker").exists()


def test_j6_the_container_of_a_stranger_run_can_be_said(whole: Path, tmp_path: Path) -> None:
    """Then the run goes on, with that."""
    copy = copied(whole, tmp_path, "model", '"evil.py:Tiny"')
    run(tmp_path, *tiny(f"--resume={copy}"))


@pytest.mark.parametrize("is_trusted", [False, True])
def test_j6_a_run_folder_does_not_vouch_for_itself(is_trusted: bool, whole: Path, tmp_path: Path) -> None:
    """That its checkpoints may run code says who goes on with it, not its record."""
    copy, marker = copied(whole, tmp_path, "trust_checkpoint", "true"), tmp_path / "marker"
    state = json.loads((copy / "status.json").read_text())
    (copy / "status.json").write_text(json.dumps(state | {"phases": {}, "state": "failed"}))
    content = torch.load(copy / "checkpoints" / "last.ckpt", weights_only=True) | {"extra": Payload(marker)}
    for name in ("last.ckpt", "best.ckpt", "previous.ckpt"):
        (copy / "checkpoints" / name).unlink(missing_ok=True)
        torch.save(content, copy / "checkpoints" / name)
    program = start(tmp_path, f"--resume={copy}", "--num_epochs=3", *(["--trust_checkpoint"] if is_trusted else []))
    assert (program.wait() == 0) == is_trusted, program.output
    assert marker.exists() == is_trusted
    assert is_trusted or "--trust_checkpoint" in program.output


def test_j5_links_in_the_outputs(tmp_path: Path) -> None:
    """A planted link is replaced, what it points to stays as it is."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    program = start(tmp_path, *tiny("--fault=waits", "--at=4"))
    folder = waiting_run(tmp_path)
    for name in ("checkpoints/last.ckpt", "checkpoints/best.ckpt"):
        (folder / name).unlink()
        (folder / name).symlink_to(victim)
    let_go_on(folder)
    assert program.wait() == 0, program.output
    assert victim.read_text() == "precious"


def test_j10_what_a_terminal_would_obey(tmp_path: Path) -> None:
    """Is shown as escapes, on the console and in the log."""
    output = run(tmp_path, *tiny("--fault=setup raises"), code=1)
    folder = run_folder(tmp_path)
    assert "\x1b" not in (folder / "run.log").read_text()
    assert r"\x1b]0;title\x07" in (folder / "run.log").read_text()
    assert "\x1b" not in "".join(line for line in output.splitlines() if line.startswith("error:"))


def test_j11_secrets(tmp_path: Path) -> None:
    """Neither those of the command line nor those of the environment are in any file of a run."""
    secret = "canary" + "7" * 8
    run(tmp_path, *tiny("--num_epochs=1", f"--token={secret}"), API_KEY=secret, AWS_ACCESS_KEY_ID=secret,
        DATABASE_URL=f"postgres://me:{secret}@host/db")  # fmt: skip
    found = [
        path for path in run_folder(tmp_path).rglob("*") if path.is_file() and secret.encode() in path.read_bytes()
    ]
    assert found == []


KEYED = """
import param
from runner import LightningContainer

class Keyed(LightningContainer):
    server = param.Dict(default={})
    logins = param.List(default=[])
    any = param.Parameter(default=None)
    cls_token = param.String(default="cls")
    own_token = param.String(default="")
    fixed_on_resume = ("server",)
    def __init__(self):
        super().__init__()
        self.own_token = "canary of its own"
    def setup(self): raise ValueError("no server")
"""


def test_j11_secrets_in_a_dict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are not written down, however deep and in whatever form; who goes on with the run gives them again."""
    (tmp_path / "containers").mkdir()
    (tmp_path / "containers" / "keyed.py").write_text(KEYED)
    monkeypatch.chdir(tmp_path)
    for text in ("{password: canary77}", "{'a': [{'hf_token': 'canary77'}]}", '{"b": {"c": {"api_key": "canary77"}}}'):
        assert main(["--model=Keyed", f"--server={text}"]) == 1
    folders = list((tmp_path / "outputs").glob("2*"))
    assert len(folders) == 3
    assert [
        each for each in (tmp_path / "outputs").rglob("*") if each.is_file() and b"canary" in each.read_bytes()
    ] == []
    capsys.readouterr()
    assert main([f"--resume={folders[0]}"]) == 2
    assert "server: secrets are not written down; give it again: --server=..." in capsys.readouterr().err
    assert main([f"--resume={folders[0]}", "--server={password: canary77}"]) == 1
    assert "ValueError: no server" in capsys.readouterr().err


@pytest.mark.parametrize("argument", ["--logins=[{password: canary77}]", "--any={password: canary77}"])
def test_j11_what_stands_for_a_secret_is_no_value(
    argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In whatever type of parameter; what the container sets itself is neither written down nor asked for."""
    (tmp_path / "containers").mkdir()
    (tmp_path / "containers" / "keyed.py").write_text(KEYED)
    monkeypatch.chdir(tmp_path)
    assert main(["--model=Keyed", argument]) == 1
    [folder] = (tmp_path / "outputs").glob("2*")
    config = (folder / "config.yaml").read_text()
    assert "canary" not in config
    assert '# own_token: "***"  # container' in config
    name = argument[2:].partition("=")[0]
    capsys.readouterr()
    assert main([f"--resume={folder}"]) == 2
    assert f"{name}: secrets are not written down; give it again: --{name}=..." in capsys.readouterr().err
    assert main([f"--resume={folder}", argument]) == 1
    assert "ValueError: no server" in capsys.readouterr().err


def opened(process: int) -> set[str]:
    """Return what the descriptors of a process lead to."""
    found = set()
    with suppress(OSError):  # it has ended meanwhile
        for link in list(Path(f"/proc/{process}/fd").iterdir()):
            with suppress(OSError):  # closed meanwhile
                found.add(str(link.readlink()))
    return found


def test_j13_nothing_listens(tmp_path: Path) -> None:
    """No port is opened, neither by a run nor by a worker that loads its data."""
    program = start(tmp_path, *tiny("--fault=waits", "--at=1", "--num_workers=1"))
    waiting_run(tmp_path)
    sockets = {
        each for process in wait_for(lambda: len(program.alive) > 1 and program.alive) for each in opened(process)
    }
    listening = [
        line.split()[9] for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
        if line.split()[3] == "0A"
    ]  # fmt: skip
    program.send(9)
    program.wait()
    assert not {f"socket:[{inode}]" for inode in listening} & sockets


def test_j14_modes_of_files(whole: Path) -> None:
    """Nothing can be written by everybody."""
    assert [path for path in whole.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o002] == []


FORBIDDEN = {
    "pickle of our own": r"\bpickle\.(load|dump)|import (joblib|cloudpickle|dill)",
    "torch.load without weights_only": r"torch\.load\((?![^)]*weights_only=)",
    "Lightning's own loading": r"load_from_checkpoint\(",
    "unsafe yaml": r"yaml\.(load|full_load|unsafe_load|FullLoader|UnsafeLoader|Loader)\b",
    "numpy with pickle": r"allow_pickle=True",
    "text as code": r"(?<![\w.])(eval|exec)\(|os\.system|shell=True",
}


@pytest.mark.parametrize("row", FORBIDDEN)
def test_j18_the_source(row: str) -> None:
    """Has nothing that runs what it reads."""
    pattern = re.compile(FORBIDDEN[row])
    found = [
        f"{path.name}: {match[0]}" for path in (REPOSITORY / "runner").rglob("*.py")
        for line in path.read_text().splitlines() if "our own bytes" not in line for match in pattern.finditer(line)
    ]  # fmt: skip
    assert found == []


def test_j19_names_that_are_no_unicode(tmp_path: Path) -> None:
    """A folder with such a name is a folder like others."""
    folder = tmp_path / "scan_\udcff"
    folder.mkdir()
    run(tmp_path, *tiny("--num_epochs=1", f"--output_to={folder}"))
    assert main(["runs", "verify", f"--output_to={folder}"]) == 0
