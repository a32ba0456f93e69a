"""Many small images: few files, little memory, and nothing lost when a process is killed."""

import gc
import logging
import os
import signal
import threading
import tracemalloc
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from runner.phases import explaining
from runner.phases.explaining import explain, explain_part
from runner.saliency.part import Part
from runner.saliency.storage import SavedMaps
from runner.saliency.writer import BackgroundWriter
from tests.faults.programs import REPOSITORY, run, run_folder, start, wait_for
from tests.saliency_samples import Loaders, Sample, make_run

CONTAINERS = REPOSITORY / "tests" / "benchmarks" / "containers"


class Stream(IterableDataset[Any]):
    """Images of one value each, which says which one it is."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.read = 0

    def __iter__(self) -> Iterator[Tensor]:
        for index in range(self.number):
            self.read += 1
            yield torch.full((3, 16, 16), index / self.number)


class Watched(Sample):
    """Notes what Python holds in memory when 100 and 400 images have come."""

    def __init__(self) -> None:
        super().__init__(saliency_window_size=8, saliency_stride=8, saliency_checks=[], saliency_shard_size=100)
        self.num_batches = 0
        self.held: list[int] = []
        self.writers: list[BackgroundWriter] = []

    def get_saliency_images(self, batch: Any) -> Tensor:
        if len(batch) * self.num_batches in (100, 400):
            written = threading.Event()
            self.writers[-1].put(written.set)
            assert written.wait(120)  # what waits to be written is no matter of the number of images, but of time
            gc.collect()
            self.held.append(tracemalloc.get_traced_memory()[0])
        self.num_batches += 1
        return super().get_saliency_images(batch)


def test_a_stream_takes_no_memory_that_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the 100th and the 400th image less than 150 bytes for each, while each has kilobytes in its file."""
    container = Watched()

    def noted() -> BackgroundWriter:
        container.writers.append(BackgroundWriter())
        return container.writers[-1]

    monkeypatch.setattr(explaining, "BackgroundWriter", noted)
    stream = Stream(420)
    made = make_run(tmp_path, container, Loaders(lambda: DataLoader(stream, batch_size=20)))
    logging.disable(logging.CRITICAL)  # pytest keeps every record, and how many lines there are is a matter of time
    tracemalloc.start()
    try:
        explain_part(made, Part(0, 1))
    finally:
        tracemalloc.stop()
        logging.disable(logging.NOTSET)
    early, late = container.held
    assert late - early < 300 * 150
    assert len(SavedMaps(made.folder.saliency)) == 420
    assert len(list((made.folder.saliency / "maps").iterdir())) == 5


def test_parts_of_a_stream(tmp_path: Path) -> None:
    """Each reads all of it, explains its own images, and goes on where it was; together they are the whole."""
    values: dict[str, Any] = {"saliency_checks": [], "saliency_shard_size": 4, "saliency_limit": 21}
    whole = make_run(tmp_path / "whole", Sample(**values), Loaders(lambda: DataLoader(Stream(30), batch_size=5)))
    explain(whole)
    stream = Stream(30)
    parts = make_run(tmp_path / "parts", Sample(**values), Loaders(lambda: DataLoader(stream, batch_size=5)))
    for number in (1, 0):
        explain_part(parts, Part(number, 2))
    assert 2 * 21 <= stream.read <= 2 * 30
    found, expected = SavedMaps(parts.folder.saliency), SavedMaps(whole.folder.saliency)
    assert found.indices.tolist() == expected.indices.tolist() == list(range(21))
    assert all(np.array_equal(one.maps, other.maps) for one, other in zip(found, expected, strict=True))
    for file in (parts.folder.saliency / "maps").iterdir():
        assert file.read_bytes() == (whole.folder.saliency / "maps" / file.name).read_bytes()


def die_at(folder: Path, pattern: str) -> None:
    """Kill the program as soon as a file is there: by itself, since the test may be late."""

    def look() -> None:
        wait_for(lambda: list(folder.glob(pattern)), seconds=600)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=look, daemon=True).start()


def test_two_thousand_images(tmp_path: Path) -> None:
    """Killed on the way, a run goes on; at its end there are four files, a row for each image, and a report."""
    argv = (f"--containers={CONTAINERS}", "--num_images=2000", "--saliency_shard_size=500")
    second = "outputs/2*/saliency/maps/000500-000999.*"  # once it is begun the first file is done with
    program = start(tmp_path, "--model=ManyImages", *argv, first=partial(die_at, tmp_path, second))
    assert program.wait() == -signal.SIGKILL
    folder = run_folder(tmp_path)
    before = (folder / "saliency" / "maps" / "000000-000499.npz").stat().st_mtime_ns
    assert "saliency 2000/2000" in run(tmp_path, f"--resume={folder}")
    files = sorted((folder / "saliency" / "maps").iterdir())
    assert [file.name[:6] for file in files] == ["000000", "000500", "001000", "001500"]
    assert files[0].stat().st_mtime_ns == before
    assert sum(file.stat().st_size for file in files) < 2000 * 5500
    rows = (folder / "saliency" / "index.csv").read_text().splitlines()
    assert len(rows) == 2001
    assert [row.split(",")[0] for row in rows[1::500]] == ["0", "500", "1000", "1500"]
    assert len(list((folder / "saliency" / "overlays").iterdir())) == 20
