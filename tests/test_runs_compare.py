"""``runs compare``: what differs and nothing else, on the terminal and on the page."""

import json
import os
import shutil
import struct
import subprocess
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from runner.browser.code_diff import code_diff
from runner.browser.compare_page import compare_page
from runner.browser.comparison import compare
from runner.cli import main
from runner.run_folder import RunFolder
from runner.saliency.explanation import Explanation, scaled_maps
from runner.saliency.storage import SaliencyFolder
from tests.run_samples import make_run

EVIL = "<script>alert(1)</script>\"'\x1b[2J"


def png(shade: int) -> bytes:
    """A picture of one pixel."""
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes([0, shade]))),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


def add_maps(path: Path, images: dict[int, bytes], shade: int) -> None:
    for folder in ("maps", "overlays"):
        (path / "saliency" / folder).mkdir(parents=True)
    for number, image in images.items():
        (path / "saliency" / "overlays" / f"{number:06d}.png").write_bytes(png(shade))
        with zipfile.ZipFile(path / "saliency" / "maps" / f"{number:06d}.npz", "w") as archive:
            archive.writestr("image.npy", image)
    lines = "".join(f"{number},1,0,0.75,{EVIL.replace(chr(34), '')}\n" for number in images)
    (path / "saliency" / "index.csv").write_text("index,label,predicted,score,strength\n" + lines)


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs of one model and one of another, with curves and maps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    outputs = tmp_path / "outputs"
    common = {"python": "CPython 3.11", "packages": {"torch": "2.10", "numpy": "2.1"}, "torch": {"cuda": None}}
    first = make_run(
        outputs, "Alpha", l_rate=0.1, metrics={"test_acc": 0.9, "same": 1}, environment=common, sealed=False
    )
    other = {**common, "packages": {"torch": "2.11", "numpy": "2.1"}, "git": {"branch": EVIL}}
    second = make_run(
        outputs, "Beta", l_rate=0.2, tag=EVIL, metrics={"test_acc": 0.7, "same": 1}, environment=other, sealed=False
    )
    for number, path in enumerate((first, second)):
        rows = "".join(f"{epoch},{10 * epoch + 9},{1 / (1 + epoch + number)},\n" for epoch in range(4))
        RunFolder(path).metrics.write_text(f"epoch,step,val_loss,{EVIL.replace(chr(34), '')}\n{rows}x,y,z,\n")
        add_maps(path, {0: b"same", 1: b"other%d" % number, 7 + number: b"alone"}, shade=90 * number)
    return outputs


def test_the_terminal(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each difference with who set it, the better metric marked; what is equal is not there."""
    assert main(["runs", "compare", "Alpha", "Beta"]) == 0
    text = capsys.readouterr().out
    assert text.replace("\n", "").isprintable()
    rows = [line.split() for line in text.splitlines()]
    assert ["l_rate", "0.1", "(command", "line)", "0.2", "(command", "line)"] in rows
    assert ["test_acc", "0.9", "*", "0.7"] in rows
    assert ["torch", "2.10", "2.11"] in rows
    assert not [row for row in rows if row[:1] in (["numpy"], ["same"], ["num_epochs"], ["python"])]
    assert "code A → B: the same: no git, no saved changes" in text
    assert text.splitlines()[-1] == "with curves and maps: outputs/compare.html"


def test_the_page(outputs: Path) -> None:
    """Nothing is asked for from outside, nothing hostile is more than text; maps only of the same images."""
    comparison = compare(sorted(outputs.glob("2*")), outputs)
    page = compare_page(comparison)
    assert "<script" not in page
    assert "default-src &#39;none&#39;" in page
    assert "unsafe-inline" not in page
    assert "http" not in page.replace('http-equiv="Content', "")
    assert "\x1b" not in page
    assert page.count("data:image/png;base64,") == 2
    assert "1 maps with the same index are of different images" in page
    assert page.count('class="line r0"') == 1
    assert page.count('class="line r1"') == 1


def test_images_that_share_a_file(tmp_path: Path) -> None:
    """With --saliency_shard_size images are told apart, and found again, all the same."""
    outputs = tmp_path / "outputs"
    for number, shard_size in enumerate((1, 2, 64)):
        folder = RunFolder(make_run(outputs, f"Model{number}", sealed=False))
        maps = SaliencyFolder(folder.saliency, shard_size)
        maps.open({})
        explanations = []
        for index in range(3):
            image = np.full((1, 8, 8), 0.1 * index + (0.5 if index == number == 2 else 0), np.float32)
            found = scaled_maps(np.linspace(0, 1 + number, 64).reshape(1, 8, 8))
            values = {"index": index, "image": image, "targets": np.array([0]), "scores": np.array([0.8], np.float32)}
            explanations.append(Explanation(**values, **found._asdict()))  # type: ignore[arg-type]
            maps.write(explanations[-1])
        maps.seal()
        maps.write_index(explanations)
        for index in range(3):
            (folder.saliency / "overlays" / f"{index:06d}.png").write_bytes(png(100))
    page = compare_page(compare(sorted(outputs.glob("2*")), outputs))
    assert page.count("data:image/png;base64,") == 2 * 3
    assert "1 maps with the same index are of different images" in page
    assert page.count("strength 3") == 2


def test_where_the_page_goes(outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Over an earlier page, never over anything else, and nowhere where there is no folder."""
    for _ in range(2):
        assert main(["runs", "compare", "Alpha", "Beta"]) == 0
    (tmp_path / "mine.html").write_text("precious")
    assert main(["runs", "compare", "Alpha", "Beta", "--html=mine.html"]) == 2
    assert main(["runs", "compare", "Alpha", "Beta", "--html=nowhere/page.html"]) == 2
    assert main(["runs", "compare", "Alpha", "latest", "--html", "own.html"]) == 0
    assert main(["runs", "compare", "Alpha", "Alpha"]) == 2
    assert main(["runs", "compare", "Alpha"]) == 2
    assert (tmp_path / "mine.html").read_text() == "precious"
    assert (tmp_path / "own.html").is_file()
    assert "named twice" in capsys.readouterr().err


def git(folder: Path, *words: str) -> str:
    names = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(["git", *names, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git here")
def test_the_code(tmp_path: Path) -> None:
    """Two commits with uncommitted changes are compared as the files were; without the repository, the changes are."""
    repository = tmp_path / "code"
    repository.mkdir()
    git(repository, "init", "-q")
    runs = []
    for number in range(2):
        (repository / "model.py").write_text(f"import torch\nrate = {number}\nsame = 1\n")
        git(repository, "add", ".")
        git(repository, "commit", "-qm", "change")
        (repository / "model.py").write_text(f"import torch\nrate = {number}\nsame = 1\nlayers = {number + 5}\n")
        commit = git(repository, "rev-parse", "HEAD").strip()
        environment = {"git": {"commit": commit, "dirty": True}}
        runs.append(
            RunFolder(make_run(tmp_path / "outputs", "Run", environment=environment, diff=git(repository, "diff")))
        )
    before = sorted(repository.rglob("*"))
    found = code_diff(runs[0], runs[1], repository)
    changed = [line for line in found.lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert changed == ["-rate = 0", "+rate = 1", "-layers = 5", "+layers = 6"]
    assert sorted(repository.rglob("*")) == before
    fallback = code_diff(runs[0], runs[1], tmp_path)
    assert "not both here" in fallback.summary
    assert "+layers = 6" in [line[1:] for line in fallback.lines]
    assert code_diff(runs[0], runs[0], repository).lines == ()


@pytest.mark.parametrize("content", [b"", b"\xff\0\n", b"epoch\n", b"epoch,step,a\n1,2,nan\n", b'"' * 200_000])
def test_damaged_curves(outputs: Path, content: bytes) -> None:
    """There is no curve; the rest is there."""
    paths = sorted(outputs.glob("2*"))
    RunFolder(paths[0]).metrics.write_bytes(content)
    (paths[0] / "saliency" / "index.csv").write_bytes(content)
    (paths[0] / "environment.json").write_text(json.dumps({"a": {"b": {"c": 1}}, "git": [1], "packages": "x"}))
    assert "Saliency maps" in compare_page(compare(paths, outputs))


@pytest.mark.parametrize("kind", ["pipe", "device", "huge"])
def test_pipes_devices_and_huge_files_are_not_read(outputs: Path, tmp_path: Path, kind: str) -> None:
    """Of a run that somebody else made, in the place of any file."""
    folder = RunFolder(sorted(outputs.glob("2*"))[1])
    target = Path("/dev/zero") if kind == "device" else tmp_path / kind
    if kind == "pipe":
        os.mkfifo(target)
    elif kind == "huge":
        with target.open("wb") as file:
            file.truncate(3 * 10**9)
    names = ("index.csv", "maps/000000.npz", "overlays/000000.png")
    own = (folder.diff, folder.metrics, folder.environment, folder.results, folder.labels, folder.path / ".lock")
    for path in (*own, *(folder.saliency / name for name in names)):
        path.unlink(missing_ok=True)
        path.symlink_to(target)
    found = compare(sorted(outputs.glob("2*"))[:2], tmp_path)
    assert "not compared: uncommitted.diff of a run cannot be read: " in found.code[0][1].summary
    assert "</html>" in compare_page(found)
