"""``runs export``: the zip file says nothing of this machine, holds where it is unpacked, and is never half there."""

import getpass
import gzip
import json
import os
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.browser.packed_files import CannotUnpackError, pieces_of
from runner.browser.private_words import PrivateWords
from runner.cli import main
from runner.folder_lock import FolderLock
from runner.run_folder import RunFolder
from runner.run_seal import seal_run
from tests.faults.programs import run, run_folder, tiny
from tests.run_samples import make_run

WORDS = PrivateWords(
    "2026_Run",
    frozenset({"lovelace"}),
    frozenset({"node7", "node7.lab.org"}),
    frozenset({"ab"}),
    frozenset({"/data/Klinik Nord", "/data/Klinik Nord/patients"}),
)


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
        ("<td>/data/Klinik Nord/patients/p1.png</td>", "<td><path>/p1.png</td>"),
        ("read /data/Klinik Nord/patients, and", "read <path>/patients, and"),
        ("/data/Klinik Nord/others/p2.png", "<path>/p2.png"),
        ("/data/Klinik Nord/patients2/p3.png", "<path>/p3.png"),
        ("PATH=/usr/bin:/srv/x/bin", "PATH=<path>/bin:<path>/bin"),
        ("file:/srv/x/y a:/srv/x/y !/srv/x/y", "file:<path>/y a:<path>/y !<path>/y"),
        ("-I/srv/x/y", "-I<path>/y"),
        ("+/srv/x/y", "+<path>/y"),
        ("on NODE7 as ab, 0.5 ab", "on host as ab, 0.5 ab"),
        ("/srv/x/ab", "<path>/user"),
        ("/data/Klinik Nord/v/lib/site-packages/torch/nn/a.py", "<site-packages>/torch/nn/a.py"),
        # what stays as it is
        ('<path d="M0 1"/><text class="x">/a</text>', '<path d="M0 1"/><text class="x">/a</text>'),
        ("<br/>a/b/c</b></p> x+/a/b s3://a/b/c", "<br/>a/b/c</b></p> x+/a/b s3://a/b/c"),
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
    st.sampled_from([" ", "=", "(", '"', ",", "\n", ":", ">", "!", " -I", "[-"]),
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
    assert (
        "left out, since it holds a path or a name of this machine, or cannot be looked into: odd.bin"
        in capsys.readouterr().out
    )
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


def unpacked(tmp_path: Path) -> Path:
    with zipfile.ZipFile("run.zip") as archive:
        archive.extractall(tmp_path / "elsewhere")
    [path] = (tmp_path / "elsewhere").iterdir()
    assert main(["runs", "verify", str(path)]) == 0
    return path


def test_files_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Texts of any name are rewritten; what cannot be is left out where it holds a word, also packed or in UTF-32."""
    monkeypatch.chdir(tmp_path)
    secret = "/srv/Klinik Nord/patients"
    path = make_run(tmp_path / "outputs", local_dataset=secret, sealed=False)
    (path / "page.html").write_text(f"<td>{secret}/p1.png</td><br/><p>a/b</p>")
    for name in ("table.tsv", "VARS.TXT", "noname"):
        (path / name).write_text(f"a\t{secret}/p1.png\tPATH=/usr/bin:/srv/x/bin\n")
    np.savez_compressed(path / "files.npz", files=np.array([f"{secret}/p1.png"]))
    np.savez_compressed(path / "numbers.npz", numbers=np.arange(9))
    (path / "table.gz").write_bytes(gzip.compress(secret.encode()))
    (path / "broken.gz").write_bytes(gzip.compress(b"nothing at all")[:-9])
    (path / "numbers.gz").write_bytes(gzip.compress(b"1 2 3"))
    (path / os.fsdecode(b"bad\xff.txt")).write_text("x")
    seal_run(RunFolder(path))
    assert main(["runs", "export", "latest", "run.zip"]) == 0
    left_out = capsys.readouterr().out.splitlines()[:-1]
    assert [line.rpartition(" ")[2] for line in left_out] == ["broken.gz", "files.npz", "table.gz"]
    found = unpacked(tmp_path)
    assert {"bad\ufffd.txt", "numbers.npz", "numbers.gz"} <= {each.name for each in found.iterdir()}
    assert (found / "noname").read_text() == (found / "VARS.TXT").read_text() == (found / "table.tsv").read_text()
    assert (found / "table.tsv").read_text() == "a\t<path>/p1.png\tPATH=<path>/bin:<path>/bin\n"
    assert (found / "page.html").read_text() == "<td>&lt;path&gt;/p1.png</td><br/><p>a/b</p>"
    assert not any(b"Klinik" in each.read_bytes() for each in found.rglob("*") if each.is_file())


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_would_fill_the_memory_is_not_looked_into(tmp_path: Path, method: int) -> None:
    """A small file that says that it is smaller still, packed in a way of which zipfile can only unpack all at once."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive, archive.open("zeros", "w") as entry:
        for _ in range(100):
            entry.write(bytes(2**20))
    with zipfile.ZipFile(path, "a") as archive:
        archive.getinfo("zeros").file_size = 1000
        archive.comment = b"the table of contents is written anew"
    tracemalloc.start()
    try:
        with pytest.raises(CannotUnpackError):
            list(pieces_of(path))
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    finally:
        tracemalloc.stop()


def test_maps_of_many_images_are_not_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their numbers say nothing of this machine, however many they are."""
    monkeypatch.chdir(tmp_path)
    path = make_run(tmp_path / "outputs", sealed=False)
    (path / "saliency" / "maps").mkdir(parents=True)
    for name in ("000000-000063.npz", "000064.npz", "others.npz"):
        np.savez_compressed(path / "saliency" / "maps" / name, maps=np.zeros(10))
    seal_run(RunFolder(path))
    monkeypatch.setattr("runner.browser.packed_files._MOST", 10)
    assert main(["runs", "export", "latest", "run.zip"]) == 0
    [left_out, _] = capsys.readouterr().out.splitlines()
    assert left_out.endswith(": saliency/maps/others.npz")


@pytest.mark.parametrize(
    "user", ["0", "train", "best", "ab", "true", "loss", "l_rate", "1e5", "Model", "results", "label"]
)
def test_a_user_who_is_called_like_something_else(
    user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No number, phase, parameter or file is changed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(getpass, "getuser", lambda: user)
    path = make_run(
        tmp_path / "outputs", metrics={"loss": 0.6211, "ok": 100000.0}, local_dataset=f"/srv/x/{user}", sealed=False
    )
    RunFolder(path).predictions.write_text("index,label\n0,1\n")
    (path / "checkpoints" / "best.ckpt").write_bytes(b"\0best\0")
    (path / "results.json").write_text('{"train": {"metrics": {"val/loss": 0.25, "n": 1e5, "on": true}}}')
    seal_run(RunFolder(path))
    assert main(["runs", "export", "latest", "run.zip"]) == 0
    assert "left out" not in capsys.readouterr().out
    found = unpacked(tmp_path)
    assert found.name == path.name
    for name in ("results.json", "predictions.csv", "status.json"):
        assert (found / name).read_text() == (path / name).read_text()
    assert (found / "checkpoints" / "best.ckpt").is_file()
    before, after = ((each / "config.yaml").read_text() for each in (path, found))
    assert after == before.replace(f"/srv/x/{user}", "<path>/user")


def test_names_that_become_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both files are there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(getpass, "getuser", lambda: "hopper")
    path = make_run(tmp_path / "outputs", environment={"host": "node7"}, sealed=False)
    for name in ("a hopper/node7.txt", "a user/host.txt"):
        (path / name).parent.mkdir()
        (path / name).write_text(name[2:3])
    seal_run(RunFolder(path))
    assert main(["runs", "export", "latest", "run.zip"]) == 0
    found = unpacked(tmp_path) / "a user"
    assert sorted(each.read_text() for each in found.iterdir()) == ["h", "u"]
