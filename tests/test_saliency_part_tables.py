"""What parts say of their maps, put together without reading the maps again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.saliency.map_files import StoredImage
from runner.saliency.part import Part
from runner.saliency.part_tables import put_together, write_part_tables
from runner.saliency.storage import SaliencyFolder, SavedMaps
from runner.saliency.summary import Summary
from tests.saliency_samples import make_explanation


def of_two_maps(index: int, **values: Any) -> Any:
    maps = np.random.default_rng(index).uniform(-1, 1, (2, 8, 8)).astype(np.float32)
    fields = {"maps": maps, "targets": np.array([0, 1]), "flags": np.array(["ok", "ok" if index % 3 else "constant"])}
    return make_explanation(index, **(fields | {"strength": np.array([0.1 / (index + 1), 0.3], np.float32)} | values))


def make_parts(path: Path, indices: list[int], of: int, shard_size: int, **values: Any) -> SaliencyFolder:
    """Write images as so many processes do, each with its tables; return the whole."""
    for number in reversed(range(of)):
        part = SaliencyFolder(path, shard_size, part=Part(number, of))
        part.open({})
        for index in indices:
            if part.owns(index):
                part.write(of_two_maps(index, **values))
        part.seal()
        write_part_tables(part)
    return SaliencyFolder(path, shard_size)


@settings(max_examples=25, deadline=None)
@given(st.sets(st.integers(0, 40) | st.integers(0, 10**9), max_size=12), st.integers(2, 5), st.integers(1, 7))
def test_they_are_what_one_process_writes(
    tmp_path_factory: pytest.TempPathFactory, indices: set[int], of: int, shard_size: int
) -> None:
    """Table and metrics to the last bit, with several maps for each image and gaps between the images."""
    folder = make_parts(tmp_path_factory.mktemp("parts"), sorted(indices), of, shard_size)
    saved, expected = SavedMaps(folder.path), Summary()
    summary = put_together(folder, len(saved))
    assert summary is not None
    table = folder.index.read_bytes()
    folder.write_index(expected.watch(saved))
    assert table == folder.index.read_bytes()
    assert summary.metrics() == expected.metrics()
    assert sorted(summary.strengths) == sorted(expected.strengths)


def test_no_map_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither to check the files, nor for table and summary; a file that has changed since is checked."""
    folder = make_parts(tmp_path, list(range(9)), 3, 2)
    read: list[Path] = []
    contents = StoredImage.contents

    def noted(image: StoredImage) -> dict[str, bytes]:
        read.append(image.file)
        return contents(image)

    monkeypatch.setattr(StoredImage, "contents", noted)
    assert set(folder.open({})) == set(range(9))
    assert put_together(folder, 9) is not None
    assert read == []
    changed = folder.map_file(4)
    changed.write_bytes(changed.read_bytes()[:-9] + b"x" * 9)
    assert set(folder.open({})) == {0, 1, 2, 3, 6, 7, 8}
    assert not changed.exists()


def test_what_does_not_fit_is_not_used(tmp_path: Path) -> None:
    """Parts that are missing or damaged, maps that they know nothing of, images of different sizes."""
    folder = make_parts(tmp_path / "a", list(range(6)), 2, 1)
    assert put_together(folder, 7) is None
    summary = folder.of_part(Part(1, 2)).summary
    content = summary.read_bytes()
    for damaged in (content[:-50], b"", None):
        summary.unlink() if damaged is None else summary.write_bytes(damaged)
        assert put_together(folder, 6) is None
    assert not folder.index.exists()
    make_parts(tmp_path / "b", [0, 2, 4], 2, 1)
    other = make_parts(tmp_path / "b", [1, 3, 5], 2, 1, maps=np.ones((2, 4, 4), np.float32).cumsum(2))
    assert put_together(other, 6) is None


def test_settings_that_change_make_them_void(tmp_path: Path) -> None:
    """As the maps themselves."""
    folder = make_parts(tmp_path, list(range(6)), 2, 1)
    SaliencyFolder(tmp_path, part=Part(0, 2)).open({"seed": 2})
    assert put_together(folder, 0) is None
    assert [file.name for file in folder.parts.rglob("*") if file.is_file()] == []
