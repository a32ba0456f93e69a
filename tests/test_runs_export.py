"""``runs export``: the zip file says nothing of this machine, holds where it is unpacked, and is never half there."""

import getpass
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.browser.private_words import PrivateWords
from runner.cli import main
from runner.folder_lock import FolderLock
from runner.run_folder import RunFolder
from runner.run_seal import seal_run
from tests.faults.programs import run, run_folder, tiny
from tests.run_samples import make_run

WORDS = PrivateWords("2026_Run", frozenset({"lovelace"}), frozenset({"node7", "node7.lab.org"}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/lovelace/data/isic", "<path>/isic"),
        ("read /data/eyes/a.png, then", "read <path>/a.png, then"),
        ("/srv/outputs/2026_Run/checkpoints/best.ckpt", "<run>/checkpoints/best.ckpt"),
        ("/opt/venv/lib/python3.11/site-packages/torch/nn.py:12:", "<site-packages>/torch/nn.py:12:"),
        ('local_dataset: "/data/Ada Lovelace/eyes"  # command line', 'local_dataset: "<path>/eyes"  # command line'),
        ('"--local_dataset=/data/my eyes",', '"--local_dataset=<path>/my eyes",'),
        ("--config=/home/x/c.yaml", "--config=<path>/c.yaml"),
        ("~/eyes/a ~ada/b", "<path>/a <path>/b"),
        ("file:///home/x/y.txt", "<path>/y.txt"),
        ("by lovelace on node7.lab.org, lovelaces", "by user on host, lovelaces"),
        # what stays as it is
        ("url(data:image/jpeg;base64,/9j/4AAQ/node7+) x", "url(data:image/jpeg;base64,/9j/4AAQ/node7+) x"),
        ("val/loss 3 images/s, 1/2", "val/loss 3 images/s, 1/2"),
        ("https://pytorch.org/docs/stable", "https://pytorch.org/docs/stable"),
        ("--- /dev/null\n+++ b/model.py", "--- /dev/null\n+++ b/model.py"),
        ("#!/usr/bin/env python", "#!/usr/bin/env python"),
    ],
)
def test_what_is_rewritten(text: str, expected: str) -> None:
    """Paths keep their last part; numbers, names of metrics and addresses stay."""
    assert WORDS.cleaned(text) == expected


@given(
    st.lists(st.from_regex(r"[a-z][a-z0-9_.]{0,8}", fullmatch=True), min_size=2, max_size=6),
    st.sampled_from([" ", "=", "(", '"', ",", "\n"]),
)
def test_no_path_stays(parts: list[str], before: str) -> None:
    """Whatever an absolute path is called, its folders are gone."""
    secret = [f"secret{part}" for part in parts]
    cleaned = WORDS.cleaned(f"x{before}/{'/'.join(secret)} y")
    assert not any(f"{part}/" in cleaned for part in secret)


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that knows much about its machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(getpass, "getuser", lambda: "hopper")
    environment: dict[str, Any] = {
        "command_line": ["/home/lovelace/lab/runner.py", "--local_dataset=/data/a b/c"],
        "host": "node7",
    }
    environment |= {"git": {"remote": "git@github.com:lovelace/secret.git", "commit": "a" * 40}}
    path = make_run(tmp_path / "outputs", local_dataset="/data/eyes", environment=environment, sealed=False)
    folder = RunFolder(path)
    folder.log.write_text(f'{path}/checkpoints/best.ckpt on node7 for hopper\n  File "/home/lovelace/m.py"\n')
    for name, content in (("last.ckpt", b"\0" * 100), ("odd.bin", b"\0/home/lovelace\0"), ("node7.1.txt", b"x")):
        (path / name).write_bytes(content)
    seal_run(folder)
    return tmp_path / "outputs"


def test_what_is_in_it(outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No word of the machine in any file or name; it verifies and shows where it is unpacked, and nothing is lost."""
    assert main(["runs", "tag", "latest", "good"]) == 0
    assert main(["runs", "export", "latest", "run.zip"]) == 0
    assert "left out, since it holds a path or a name of this machine: odd.bin" in capsys.readouterr().out
    with zipfile.ZipFile("run.zip") as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "elsewhere")
    [path] = (tmp_path / "elsewhere").iterdir()
    for file in path.rglob("*"):
        said = file.name.encode() + (file.read_bytes() if file.is_file() else b"")
        for word in (b"lovelace", b"node7", b"hopper", b"/data", b"/home", str(tmp_path).encode()):
            assert word not in said, (file.name, word)
    assert json.loads((path / "environment.json").read_text())["git"] == {"remote": "<remote>", "commit": "a" * 40}
    assert main(["runs", "verify", str(path)]) == 0
    assert main(["runs", "show", str(path)]) == 0
    text = capsys.readouterr().out
    assert "files are whole" in text
    assert "good" in text
    assert "<path>/eyes" in text
    (path / "run.log").write_text("changed")
    assert main(["runs", "verify", str(path)]) == 1


def test_refusals(
    outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is there stays; running and damaged runs are not exported; a full disk leaves nothing."""
    (tmp_path / "there.zip").write_text("precious")
    assert main(["runs", "export", "latest", "there.zip"]) == 2
    assert main(["runs", "export", "latest", "nowhere/run.zip"]) == 2
    [path] = outputs.glob("2*")
    lock = FolderLock(path)
    assert lock.take()
    assert main(["runs", "export", "latest", "run.zip"]) == 2
    lock.give_back()
    with monkeypatch.context() as patch:
        patch.setattr("runner.browser.export.place", full_disk)
        assert main(["runs", "export", "latest", "run.zip"]) == 1
    (path / "last.ckpt").write_bytes(b"\1")
    assert main(["runs", "export", "latest", "run.zip"]) == 1
    said = capsys.readouterr().err
    for words in (
        "there already",
        "no folder",
        "is running",
        "No space",
        "damaged or not whole, and is not exported: last",
    ):
        assert words in said
    assert sorted(each.name for each in tmp_path.iterdir()) == ["outputs", "there.zip"]
    assert (tmp_path / "there.zip").read_text() == "precious"


def full_disk(*_: Path) -> None:
    raise OSError(28, "No space left on device")


def test_a_real_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Made by the program: its checkpoints hold no path, so that nothing is left out."""
    run(tmp_path, *tiny("--num_epochs=1"))
    monkeypatch.chdir(tmp_path)
    assert main(["runs", "export", "latest", "run.zip"]) == 0
    assert "left out" not in capsys.readouterr().out
    with zipfile.ZipFile("run.zip") as archive:
        archive.extractall("elsewhere")
        names = {name.partition("/")[2] for name in archive.namelist()}
    original = run_folder(tmp_path)
    assert names == {each.relative_to(original).as_posix() for each in original.rglob("*") if each.is_file()} - {
        ".lock"
    }
    [unpacked] = Path("elsewhere").iterdir()
    assert main(["runs", "verify", str(unpacked)]) == 0
    assert str(tmp_path) not in "".join(each.read_text() for each in unpacked.glob("*.*") if each.suffix != ".ckpt")
