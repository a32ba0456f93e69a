"""Files of many images: the same bytes in whatever order images come and wherever a process is killed."""

import io
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Set
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.phases.explaining import explain
from runner.saliency import journal
from runner.saliency.map_files import contents_of, image_bytes
from runner.saliency.storage import SaliencyFolder, SavedMaps
from runner.saliency.writer import CAPACITY
from tests.saliency_samples import Images, Sample, make_explanation, make_run

SIZE = 4
SETTINGS = {"saliency_method": "rise"}
IMAGES = [make_explanation(index, measures={"entropy": np.ones(1, np.float32)}) for index in range(10)]


def opened(path: Path, size: int = SIZE) -> tuple[SaliencyFolder, Set[int]]:
    folder = SaliencyFolder(path, shard_size=size)
    return folder, folder.open(SETTINGS)


def maps_in(folder: SaliencyFolder) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.maps.iterdir()}


def finished(path: Path, indices: list[int], size: int = SIZE) -> dict[str, bytes]:
    """Return what an attempt without interruption leaves."""
    folder, done = opened(path, size)
    for index in indices:
        if index not in done:
            folder.write(IMAGES[index])
    folder.seal()
    return maps_in(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return finished(tmp_path_factory.mktemp("whole"), list(range(10)))


def test_a_file_of_many_is_plain_numpy(tmp_path: Path) -> None:
    """numpy alone reads one image of a file; which images share one depends on their index only."""
    assert sorted(finished(tmp_path, [0, 1, 2, 3, 9])) == ["000000-000003.npz", "000008-000011.npz"]
    with np.load(tmp_path / "maps" / "000000-000003.npz", allow_pickle=False) as file:
        assert np.array_equal(file["000002/maps"], IMAGES[2].maps)
        assert file["000002/index"] == 2
        assert file["000003/measures/entropy"] == 1
        first = list(dict.fromkeys(name.partition("/")[0] for name in file.files))
    assert first == ["000000", "000001", "000002", "000003"]


def test_a_file_of_many_is_what_numpy_writes(tmp_path: Path) -> None:
    """The bytes are those of savez_compressed with the entries of all images in order."""
    made = finished(tmp_path / "a", [5, 4])
    together: dict[str, Any] = {f"{index:06d}/{name}": each for index in (4, 5) for name, each in parts(index).items()}
    np.savez_compressed(tmp_path / "theirs.npz", **together)
    assert made == {"000004-000007.npz": (tmp_path / "theirs.npz").read_bytes()}


def parts(index: int) -> dict[str, Any]:
    return {name: np.load(io.BytesIO(content)) for name, content in contents_of(IMAGES[index], "float32").items()}


def test_a_file_appears_when_it_is_full(tmp_path: Path) -> None:
    """Until then its images wait in a journal, and are there for a reader; afterwards the journal is gone."""
    folder, _ = opened(tmp_path)
    for index in (2, 0, 1):
        folder.write(IMAGES[index])
    assert list(maps_in(folder)) == ["000000-000003.part"]
    assert [each.index for each in SavedMaps(tmp_path)] == [0, 1, 2]
    folder.write(IMAGES[3])
    assert list(maps_in(folder)) == ["000000-000003.npz"]
    pairs, _ = opened(tmp_path / "pairs", 2)
    for index in (4, 5):
        pairs.write(IMAGES[index])
    assert list(maps_in(pairs)) == ["000004-000005.npz"]


def test_a_higher_limit_extends_a_file(tmp_path: Path, whole: dict[str, bytes]) -> None:
    """What was sealed with fewer images takes more later, and has the bytes of one attempt."""
    fewer = finished(tmp_path, [0, 1, 4, 5])
    assert [len(content) < len(whole[name]) for name, content in sorted(fewer.items())] == [True, True]
    assert opened(tmp_path)[1] == {0, 1, 4, 5}
    assert finished(tmp_path, list(range(10))) == whole


def test_an_image_made_anew_replaces_the_old_one(tmp_path: Path) -> None:
    """Of two images with one index the later counts."""
    folder, _ = opened(tmp_path)
    for score in (0.25, 0.75):
        folder.write(make_explanation(1, strength=np.array([score], np.float32)))
    folder.seal()
    folder.write(make_explanation(1, strength=np.array([0.5], np.float32)))
    folder.seal()
    assert [each.strength.tolist() for each in SavedMaps(tmp_path)] == [[0.5]]


def test_a_damaged_image_does_not_cost_the_others(
    tmp_path: Path, whole: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """Of a file with a flipped byte in one image only that one is made anew; of one cut short all are."""
    finished(tmp_path, list(range(10)))
    first, second = tmp_path / "maps" / "000000-000003.npz", tmp_path / "maps" / "000004-000007.npz"
    content = bytearray(first.read_bytes())
    content[len(content) * 3 // 8] ^= 0xFF
    first.write_bytes(content)
    second.write_bytes(second.read_bytes()[:-5])
    assert opened(tmp_path)[1] == {0, 2, 3, 8, 9}
    assert SavedMaps(tmp_path).indices.tolist() == [0, 2, 3, 8, 9]
    assert caplog.text.count("is damaged and made anew") == 2
    assert finished(tmp_path, list(range(10))) == whole


@pytest.mark.parametrize("place", [0, 10, 15, 20, 30, 1000])  # 15: a length beyond all memory
def test_a_flipped_byte_in_a_journal_is_noticed(tmp_path: Path, place: int, whole: dict[str, bytes]) -> None:
    """From the damaged record on, images are made anew."""
    folder, _ = opened(tmp_path)
    for index in (0, 1, 2):
        folder.write(IMAGES[index])
    part = folder.maps / "000000-000003.part"
    start = journal.records(part)[1].start - 20
    content = bytearray(part.read_bytes())
    content[start + place] ^= 1
    part.write_bytes(content)
    assert opened(tmp_path)[1] == {0}
    assert finished(tmp_path, list(range(10))) == whole


def test_records_are_read_by_number(tmp_path: Path) -> None:
    """A journal gives back what was put in; an empty record is one too, and a torn tail is cut off."""
    file = tmp_path / "journal"
    for number, content in ((7, b"seven"), (0, b""), (2**40, b"x" * 100_000), (7, b"again")):
        journal.append(file, number, content)
    assert {number: record.read(file) for number, record in journal.records(file).items()} == {
        7: b"again",
        0: b"",
        2**40: b"x" * 100_000,
    }
    assert journal.cut_torn_tail(file) == 0
    with file.open("ab") as end:
        end.write(b"torn")
    assert journal.cut_torn_tail(file) == 4
    assert journal.cut_torn_tail(file) == 0
    journal.append(file, 8, b"")
    assert journal.records(file)[8].read(file) == b""
    file.write_bytes(b"only a torn one, that is longer than a head")
    assert journal.cut_torn_tail(file) == 43
    assert file.read_bytes() == b""
    assert journal.cut_torn_tail(file) == 0


# --- interruptions ----------------------------------------------------------------------------------------------------

STEP = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 9)),
    st.tuples(st.sampled_from(["kill", "seal", "fail"]), st.integers(0, 9)),
    st.tuples(st.just("tear"), st.integers(1, 2000)),
    st.tuples(st.just("undo unlink"), st.integers(0, 9)),
)


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEP, max_size=30), last=st.permutations(range(10)), size=st.sampled_from([1, 3, 4, 64]))
def test_any_history_ends_in_the_same_bytes(steps: list[tuple[str, int]], last: list[int], size: int) -> None:
    """Writes in any order, kills in the middle of a write or between two steps of sealing: the end is the same."""
    with tempfile.TemporaryDirectory() as temporary:
        logging.disable()
        path = Path(temporary)
        wanted = finished(path / "wanted", list(range(10)), size)
        folder, _ = opened(path / "made", size)
        for kind, number in steps:
            folder = after(folder, kind, number, size)
        folder, done = opened(path / "made", size)
        assert {each.index for each in SavedMaps(folder.path)} == done
        for index in last:
            if index not in done:
                folder.write(IMAGES[index])
        folder.seal()
        logging.disable(logging.NOTSET)
        assert maps_in(folder) == wanted
        assert folder.failures == []


def after(folder: SaliencyFolder, kind: str, number: int, size: int) -> SaliencyFolder:
    """Do one step of a history; return the folder of the process that is alive afterwards."""
    if kind == "write":
        folder.write(IMAGES[number])
        return folder
    if kind == "seal":
        folder.seal()
        return folder
    if kind == "fail":
        folder.write_failure(number, ValueError("corrupt"))
        return folder
    journals = sorted(folder.maps.glob("*.part"))
    if kind == "tear" and journals:  # killed while it appended: a part of a record is there
        content = image_bytes(contents_of(IMAGES[number % 10], "float32"))
        journal.append(journals[-1], number % 10, content)
        with journals[-1].open("r+b") as file:
            file.truncate(journals[-1].stat().st_size - min(number, len(content) + 20 - 1))
    if kind == "undo unlink" and journals:  # killed after the file was written, before its journal was removed
        content = journals[-1].read_bytes()
        folder.seal()
        journals[-1].write_bytes(content)
    return opened(folder.path, size)[0]


WRITER = """
import os, sys, threading, time
import numpy as np
from pathlib import Path
from runner.saliency.explanation import Explanation
from runner.saliency.storage import SaliencyFolder
folder = SaliencyFolder(Path(sys.argv[1]), shard_size=int(sys.argv[2]))
done = folder.open({})
print(len(done), flush=True)
for index in range(200):
    if index not in done:
        noise = np.random.default_rng(index).random((4, 64, 64), dtype=np.float32)
        one = np.ones(1, np.float32)
        folder.write(Explanation(
            index=index, image=noise[1:], maps=noise[:1], strength=one, flags=np.array(["ok"]), targets=np.array([0]),
            scores=one))
        if index == int(sys.argv[3]):  # die soon, wherever the next writes are then
            threading.Timer(0.004, os.kill, (os.getpid(), 9)).start()
        if index == int(sys.argv[3]) + 40:
            time.sleep(600)
folder.seal()
"""


def write_until(path: Path, size: int, last: int) -> tuple[int, int]:
    """Have a child write images that is killed soon after image *last*; return how many it found, and its end."""
    command = [sys.executable, "-c", WRITER, str(path), str(size), str(last)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return int(done.stdout), done.returncode


@pytest.mark.parametrize("size", [1, 64])
def test_kill_minus_9_in_the_middle_of_a_file(tmp_path: Path, size: int) -> None:
    """A child process that is killed again and again loses nothing it had finished, and ends in the same bytes."""
    found = 0
    for last in (3, 30, 55, 60, 63, 90, 125, 150):
        if last < found:  # the kill came late
            continue
        assert write_until(tmp_path / "killed", size, last) == (found, -9)
        found = len(SavedMaps(tmp_path / "killed"))
        assert found > last
    for name in ("killed", "whole"):
        assert write_until(tmp_path / name, size, 1000) == (found if name == "killed" else 0, 0)
    killed, undisturbed = (maps_in(SaliencyFolder(tmp_path / name)) for name in ("killed", "whole"))
    assert {name: content for name, content in killed.items() if not name.endswith(".tmp")} == undisturbed
    assert len(undisturbed) == {1: 200, 64: 4}[size]


@pytest.mark.parametrize("size", [1, 64])
def test_a_disk_that_fills_leaves_whole_images(tmp_path: Path, size: int) -> None:
    """On a real file system without room, writing raises, and what is there is whole and taken up again."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "child.py").write_text(WRITER)
    script = f"""
        mount -t tmpfs -o size=5M none disk || exit 77
        {sys.executable} child.py disk {size} 1000 2> first.txt
        cp -r disk left
        mount -o remount,size=50M disk && {sys.executable} child.py disk {size} 1000 > second.txt && cp -r disk whole
    """
    environment = {"PYTHONPATH": str(Path.cwd()), "PATH": os.defpath}
    done = subprocess.run(["unshare", "-Urm", "sh", "-c", script], cwd=tmp_path, check=False, env=environment)
    if not (tmp_path / "first.txt").is_file():
        pytest.skip(f"no file system can be mounted here ({done.returncode})")
    assert "No space left on device" in (tmp_path / "first.txt").read_text()
    left = SavedMaps(tmp_path / "left")
    assert 10 < len(left) < 200
    assert read_all(left) == list(range(len(left)))
    assert int((tmp_path / "second.txt").read_text()) == len(left)
    assert read_all(SavedMaps(tmp_path / "whole")) == list(range(200))


PHASE = """
import os, sys
from pathlib import Path
from runner.phases.explaining import explain
from tests.saliency_samples import Images, Sample, make_run

class Killed(Sample):
    num_batches = 0
    def get_saliency_images(self, batch):
        self.num_batches += 1
        if self.num_batches == 4:
            os.kill(os.getpid(), 9)
        return super().get_saliency_images(batch)

explain(make_run(Path(sys.argv[1]), Killed(saliency_shard_size=8), Images(40)))
"""


def test_kill_minus_9_of_the_whole_phase(tmp_path: Path) -> None:
    """A phase that is killed while its writer works goes on with the first missing image, to the same bytes."""
    command = [sys.executable, "-c", PHASE, str(tmp_path / "killed")]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -9
    num_done = len(SavedMaps(tmp_path / "killed" / "saliency"))
    assert 12 - CAPACITY - 1 <= num_done <= 12
    folders = []
    for name in ("killed", "whole"):
        data = Images(40)
        run = make_run(tmp_path / name, Sample(saliency_shard_size=8), data)
        explain(run)
        assert data.loaded == list(range(num_done if name == "killed" else 0, 40))
        files = [file for file in run.folder.saliency.rglob("*") if file.is_file() and file.suffix != ".tmp"]
        folders.append({file.relative_to(run.folder.path): file.read_bytes() for file in files})
    assert folders[0] == folders[1]


def read_all(saved: SavedMaps) -> list[int]:
    return [each.index for each in saved]


def test_processes_that_read_do_not_disturb_each_other(tmp_path: Path) -> None:
    """A reader that was opened before a fork is read by all processes at once, as by the workers of a data loader."""
    finished(tmp_path, list(range(10)), 64)
    saved = SavedMaps(tmp_path)
    assert saved[3].index == 3
    with get_context("fork").Pool(4) as pool:
        assert pool.map(read_all, [saved] * 40) == [list(range(10))] * 40
