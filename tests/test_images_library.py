"""Reading all images of a data set, in memory and through the cache."""

from __future__ import annotations

import csv
import logging
import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runner.errors import ParameterError, RunFailedError
from runner.images import ImageCache, ImageForm, ImageLibrary, LabelledImage, report_unreadable

FORM = ImageForm(32)


@pytest.fixture
def images(tmp_path: Path) -> list[LabelledImage]:
    """Eight pictures, of which number 5 is empty."""
    random = np.random.default_rng(0)
    found = []
    for number in range(8):
        path = tmp_path / f"{number}.png"
        Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
        found.append(LabelledImage(path, path.name, number % 2, path.name))
    (tmp_path / "5.png").write_bytes(b"")
    return found


def values(library: ImageLibrary, numbers: Sequence[int] = (0, 1, 7)) -> list[bytes]:
    return [library[number].tobytes() for number in numbers]


def test_cache_gives_the_same_bits(images: list[LabelledImage], tmp_path: Path) -> None:
    """As memory does, at the first time and at the second; and the unreadable one is found every time."""
    plain = ImageLibrary(images, FORM, None)
    assert plain.load() == {5: "is empty, 0 bytes"}
    for _ in range(2):
        cached = ImageLibrary(images, FORM, tmp_path / "cache")
        assert cached.load() == {5: "is empty, 0 bytes"}
        assert values(cached) == values(plain)


def test_cache_is_used(
    images: list[LabelledImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At the second time nothing is decoded, and the log says so."""
    ImageLibrary(images[:5], FORM, tmp_path / "cache").load()
    monkeypatch.setattr("runner.images.library.read_image", None)
    with caplog.at_level(logging.INFO):
        ImageLibrary(images[:5], FORM, tmp_path / "cache").load()
    assert "5 images read" in caplog.text
    assert "5 of them from image_cache" in caplog.text


def test_cache_knows_content_and_settings(images: list[LabelledImage], tmp_path: Path) -> None:
    """Another form, or another content under the same name, is another image."""
    first = ImageLibrary(images[:1], FORM, tmp_path / "cache")
    first.load()
    small = ImageLibrary(images[:1], ImageForm(16), tmp_path / "cache")
    small.load()
    assert small[0].shape == (16, 16, 3)
    images[0].path.write_bytes(images[1].path.read_bytes())
    changed = ImageLibrary(images[:1], FORM, tmp_path / "cache")
    changed.load()
    assert values(changed, [0]) != values(first, [0])


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_damaged_cache_is_made_again(
    images: list[LabelledImage], tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A flipped bit, a short file and an empty one are found when they are read, in the middle of a run too."""
    library = ImageLibrary(images[:1], FORM, tmp_path / "cache")
    library.load()
    expected = values(library, [0])
    (file,) = (path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    content = file.read_bytes()
    flipped = bytes([content[0] ^ 1]) + content[1:]
    file.write_bytes({"flip": flipped, "cut": content[:-1], "empty": b""}[damage])
    assert values(library, [0]) == expected
    assert file.read_bytes() == content
    assert "is damaged and is made again" in caplog.text


def test_cache_does_not_mix_up_contents(images: list[LabelledImage], tmp_path: Path) -> None:
    """An entry with another's bytes is none; and a lost one is not made again of a file that has changed."""
    library = ImageLibrary(images[:2], FORM, tmp_path / "cache")
    library.load()
    expected = values(library, [0])
    first, second = (path for path in sorted((tmp_path / "cache").rglob("*")) if path.is_file())
    first.write_bytes(second.read_bytes())
    assert values(library, [0]) == expected
    for path in (first, second):
        path.unlink()
    images[0].path.write_bytes(images[2].path.read_bytes())
    with pytest.raises(RunFailedError, match=r"0\.png has changed since the run began"):
        library[0]
    assert not first.exists()
    assert not second.exists()


def test_pipes_do_not_hang(tmp_path: Path) -> None:
    """What is no file is not opened, with the cache as without."""
    os.mkfifo(tmp_path / "pipe.png")
    image = LabelledImage(tmp_path / "pipe.png", "pipe", 0, "pipe")
    for folder in (None, tmp_path / "cache"):
        assert ImageLibrary([image], FORM, folder).load() == {0: "is no file"}


def test_sixteen_bits_in_the_cache(tmp_path: Path) -> None:
    """Stay sixteen."""
    grey = np.arange(1024, dtype=np.uint16).reshape(32, 32) * 64
    Image.fromarray(grey).save(tmp_path / "grey.png")
    image = LabelledImage(tmp_path / "grey.png", "grey", 0, "grey")
    for _ in range(2):
        library = ImageLibrary([image], ImageForm(32, 1), tmp_path / "cache")
        library.load()
        assert np.array_equal(library[0][..., 0], grey)


def _fill(folder: Path, images: list[LabelledImage]) -> None:
    ImageLibrary(images, FORM, folder).load()


def test_many_writers(images: list[LabelledImage], tmp_path: Path) -> None:
    """Four processes that fill one cache at once leave whole files and nothing else."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_fill, args=(tmp_path / "cache", images)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
        assert process.exitcode == 0
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(files) == 7
    cache = ImageCache(tmp_path / "cache", FORM)
    assert all(cache.read(path.parent.name + path.name) is not None for path in files)


def test_cache_that_cannot_be_written(
    images: list[LabelledImage], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file in its place: one warning, and the images are decoded every time."""
    (tmp_path / "cache").touch()
    library = ImageLibrary(images[:3], FORM, tmp_path / "cache")
    plain = ImageLibrary(images[:3], FORM, None)
    assert library.load() == plain.load() == {}
    assert values(library, range(3)) == values(plain, range(3))
    assert caplog.text.count("cannot be written") == 1


def test_too_many_for_the_memory(images: list[LabelledImage]) -> None:
    """Is found before anything is read, and says what helps."""
    with pytest.raises(ParameterError, match=r"need 5\.6 GB of memory.*--image_cache=FOLDER"):
        ImageLibrary(images * 30, ImageForm(2896), None)


def test_report(images: list[LabelledImage], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Unreadable images are in a file, and in one warning with the first names."""
    hostile = [*images, LabelledImage(tmp_path / "x", "\x1b[31m,evil\n", 0, "x")]
    reasons = dict.fromkeys((1, 2, 3, 4, 5, 8), "is empty")
    report_unreadable(hostile, reasons, tmp_path, may_leave_out=True)
    (warning,) = caplog.messages
    assert warning.startswith("6 of 9 images cannot be read: '1.png' is empty; '2.png' is empty")
    assert warning.endswith("; .... They are left out, and listed in unreadable_images.csv")
    with (tmp_path / "unreadable_images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["1.png", "2.png", "3.png", "4.png", "5.png", "\\x1b[31m,evil\n"]


def test_report_that_ends_the_run(images: list[LabelledImage], tmp_path: Path) -> None:
    """When asked, or when there is nothing else; the file is there all the same."""
    with pytest.raises(RunFailedError, match=r"1 of 8 images cannot be read: '5\.png' is empty"):
        report_unreadable(images, {5: "is empty"}, tmp_path, may_leave_out=False)
    assert (tmp_path / "unreadable_images.csv").is_file()
    with pytest.raises(RunFailedError, match="8 of 8"):
        report_unreadable(images, dict.fromkeys(range(8), "is empty"), tmp_path, may_leave_out=True)
    (tmp_path / "unreadable_images.csv").unlink()
    report_unreadable(images, {}, tmp_path, may_leave_out=False)
    assert not (tmp_path / "unreadable_images.csv").exists()
