"""Several processes that make the maps of one run, a part each."""

import json
import shutil
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.cli import main
from runner.errors import UsageError
from runner.folder_lock import FolderLock
from runner.phases.explaining import explain, explain_part, finish_explaining
from runner.saliency.part import Part
from runner.saliency.storage import SaliencyFolder
from tests.faults.programs import Program, let_go_on, run, run_folder, start, status, tiny, wait_for
from tests.saliency_samples import ConvModel, Images, Sample, make_run

RISE = ("--saliency_method=rise", "--saliency_shard_size=3", "--saliency_overlays=5")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has come to its end without maps."""
    folder = tmp_path_factory.mktemp("trained")
    run(folder, *tiny("--num_epochs=1", "--saliency_method=none", "--num_items=40"))
    return run_folder(folder)


@pytest.fixture(scope="module")
def by_one(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The maps, table and pictures that one process makes of it."""
    folder = copy_of(trained, tmp_path_factory.mktemp("by_one"))
    run(folder.parent, f"--resume={folder}", *RISE)
    return files_of(folder)


def copy_of(trained: Path, folder: Path) -> Path:
    return Path(shutil.copytree(trained, folder / "run"))


def files_of(folder: Path) -> dict[str, bytes]:
    """Return what is the same however many processes made it."""
    root = folder / "saliency"
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if path.name not in (".lock", "part.log")}


def part(folder: Path, text: str, *argv: str) -> Program:
    return start(folder.parent, f"--resume={folder}", f"--saliency_part={text}", *argv)


# --- which images -----------------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 70), st.integers(0, 10**9))
def test_each_image_belongs_to_one_part(of: int, shard_size: int, index: int) -> None:
    """And so do all those that share its file."""
    owners = [number for number in range(of) if Part(number, of).owns(index, shard_size)]
    assert len(owners) == 1
    first = index - index % shard_size
    assert all(Part(owners[0], of).owns(each, shard_size) for each in (first, first + shard_size - 1))


@given(st.integers(1, 10**6 - 1), st.data())
def test_a_part_is_read_as_it_is_written(of: int, data: st.DataObject) -> None:
    """From 1 for people, from 0 inside."""
    made = Part(data.draw(st.integers(0, of - 1)), of)
    assert Part.parse(str(made)) == made
    assert made.is_whole == (of == 1)


def test_names_of_parts_sort_by_number() -> None:
    """So that a list of folders is in order."""
    assert [Part(number, 16).name for number in (0, 8, 15)] == ["01-of-16", "09-of-16", "16-of-16"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0/4", "the parts are 1/4 to 4/4"), ("5/4", "the parts are 1/4 to 4/4"), ("0/0", "at least one part"),
        ("x", "such as 3/16"), ("3", "such as 3/16"), ("-1/4", "such as 3/16"), ("1/4/4", "such as 3/16"),
        ("1/9999999", "such as 3/16"), ("", "such as 3/16"), ("1/ 4", "such as 3/16"),
    ],
)  # fmt: skip
def test_what_is_no_part(text: str, words: str) -> None:
    """The message says what there is."""
    with pytest.raises(UsageError, match=words):
        Part.parse(text)


# --- with a run at hand, as the processes of a training have it -------------------------------------------------------


@pytest.mark.parametrize("shard_size", [1, 2, 4])
def test_parts_come_to_the_same(shard_size: int, tmp_path: Path) -> None:
    """Files, metrics and all, in whatever order the parts are made; each loads its own images only."""
    container = Sample(saliency_method="rise", saliency_shard_size=shard_size)
    whole, data = make_run(tmp_path / "whole", container, model=ConvModel(num_classes=2)), Images()
    parts = make_run(tmp_path / "parts", container, data, model=ConvModel(num_classes=2))
    expected = explain(whole)
    for number in (1, 2, 0):
        assert explain_part(parts, Part(number, 3)) == []
    assert sorted(data.loaded) == list(range(6))
    assert finish_explaining(parts, num_parts=3) == expected
    assert files_of(parts.folder.path) == files_of(whole.folder.path)


def test_a_part_beyond_the_last_file_has_nothing_to_do(tmp_path: Path) -> None:
    """Six images in files of four are two files, so that a third part is empty."""
    made = make_run(tmp_path, Sample(saliency_shard_size=4))
    assert explain_part(made, Part(2, 3)) == []
    assert list(SaliencyFolder(made.folder.saliency).maps.iterdir()) == []


class Corrupt(Images):
    """Images 1 and 4 cannot be read."""

    def __getitem__(self, index: int) -> tuple[object, ...]:  # type: ignore[override]
        if index in (1, 4):
            raise OSError(f"corrupt {index}")
        return super().__getitem__(index)


def test_failures_of_parts_are_put_together(tmp_path: Path) -> None:
    """In one table, as one process would have written it; those of other divisions are forgotten."""
    whole, parts = make_run(tmp_path / "whole", Sample(), Corrupt()), make_run(tmp_path / "parts", Sample(), Corrupt())
    expected = explain(whole)
    explain_part(parts, Part(0, 2))
    found = [explain_part(parts, Part(number, 3)) for number in range(3)]
    assert [[each.index for each in failures] for failures in found] == [[], [1, 4], []]
    result = finish_explaining(parts, num_parts=3)
    assert result.metrics == expected.metrics
    assert result.failed is not None
    assert "2 images could not be explained: 1, 4" in result.failed
    assert files_of(parts.folder.path) == files_of(whole.folder.path)


def test_the_least_agreement_of_all_parts_counts(tmp_path: Path) -> None:
    """Also of parts that were made in several attempts."""
    folder = SaliencyFolder(tmp_path, part=Part(1, 2))
    folder.open({})
    for agreement in (0.98, 0.95, 0.99):
        folder.write_agreement(agreement)
    other = SaliencyFolder(tmp_path, part=Part(2, 3))
    other.open({})
    other.write_agreement(0.97)
    whole = SaliencyFolder(tmp_path)
    assert whole.merge(2) == 0.95
    whole.forget_parts()
    assert whole.merge(2) is None


def test_only_the_first_part_removes_maps_of_other_settings(tmp_path: Path) -> None:
    """What it has made by the time the others come stays."""
    container = Sample(saliency_seed=1)
    made = make_run(tmp_path, container)
    explain(made)
    container.saliency_seed = 2
    explain_part(made, Part(0, 2))
    names = [f"{index:06d}.npz" for index in (0, 2, 4)]
    assert sorted(file.name for file in (tmp_path / "saliency" / "maps").iterdir()) == names
    explain_part(made, Part(1, 2))
    assert len(list((tmp_path / "saliency" / "maps").iterdir())) == 6


# --- as programs ------------------------------------------------------------------------------------------------------


def test_parts_at_the_same_time(trained: Path, by_one: dict[str, bytes], tmp_path: Path) -> None:
    """Four programs, one of them killed and started again, then a last one: what one program would have made."""
    folder = copy_of(trained, tmp_path)
    before = (folder / "status.json").read_bytes(), (folder / "run.log").read_bytes()
    waits = ("--fault=saliency waits", "--at=2")
    programs = [part(folder, f"{number}/4", *RISE, *waits) for number in (1, 2, 3, 4)]
    begun = {"000000", "000003", "000006", "000009"}
    wait_for(lambda: {path.name[:6] for path in (folder / "saliency" / "maps").iterdir()} >= begun)
    programs[2].send(signal.SIGKILL)
    assert programs[2].wait() == -signal.SIGKILL
    let_go_on(folder)
    programs[2] = part(folder, "3/4")
    assert [program.wait() for program in programs] == [0, 0, 0, 0], [program.output for program in programs]
    assert ((folder / "status.json").read_bytes(), (folder / "run.log").read_bytes()) == before
    assert not (folder / "digests.json").exists()
    output = run(tmp_path, f"--resume={folder}", "--fault=")
    assert "saliency 40/40" in output
    assert files_of(folder) == by_one
    assert "part 3/4" in (folder / "saliency" / "parts" / "3-of-4" / "part.log").read_text()
    assert main(["runs", "verify", str(folder)]) == 0


def test_who_must_wait(trained: Path, tmp_path: Path) -> None:
    """The same part, a plain resume, other values, while a part is made; a part, while a plain run goes on."""
    folder = copy_of(trained, tmp_path)
    first = part(folder, "1/2", *RISE, "--fault=saliency waits", "--at=2")
    wait_for((folder / "waits").is_file)
    again = run(tmp_path, f"--resume={folder}", "--saliency_part=1/2", code=2)
    assert f"{folder}: another process makes part 1/2 of the saliency maps." in again
    plain = run(tmp_path, f"--resume={folder}", code=2)
    assert f"{folder} is in use: saliency maps are being made, part 1-of-2." in plain
    other = run(tmp_path, f"--resume={folder}", "--saliency_part=2/2", "--saliency_seed=7", code=2)
    assert "saliency_seed: other values than those of the parts that are being made: 1-of-2." in other
    first.send(signal.SIGTERM)
    assert first.wait() == 143
    assert "Go on with: " in first.output
    assert "--saliency_part=1/2" in first.output
    (folder / "waits").unlink()
    resumed = start(tmp_path, f"--resume={folder}")
    wait_for((folder / "waits").is_file)
    late = run(tmp_path, f"--resume={folder}", "--saliency_part=2/2", code=2)
    assert f"is in use by process {resumed.pid} on" in late
    resumed.send(signal.SIGKILL)
    resumed.wait()


def test_a_part_of_what_is_not_trained(trained: Path, tmp_path: Path) -> None:
    """Or would be trained on, or is no run at all, or has no maps: said before anything is done."""
    folder = copy_of(trained, tmp_path)
    says = [
        (["--saliency_part=1/2"], "saliency_method is none"),
        (["--saliency_part=1/2", "--num_epochs=9", *RISE], "num_epochs: this would train on"),
        (["--saliency_part=9/2"], "the parts are 1/2 to 2/2"),
    ]
    for argv, words in says:
        assert words in run(tmp_path, f"--resume={folder}", *argv, code=2)
    assert "is no run folder" in run(tmp_path, f"--resume={tmp_path}", "--saliency_part=1/2", code=2)
    assert "needs --resume" in run(tmp_path, "--model=Tiny", "--saliency_part=1/2", code=2)
    for option in ("--sweep", "--enqueue"):
        assert "is for one run" in run(tmp_path, f"--resume={folder}", "--saliency_part=1/2", option, code=2)
    changed = status(folder)
    changed["phases"].pop("train")
    (folder / "digests.json").unlink()
    (folder / "status.json").write_text(json.dumps(changed))
    assert "is not trained yet" in run(tmp_path, f"--resume={folder}", "--saliency_part=1/2", *RISE, code=2)


def test_a_part_with_an_image_that_fails(trained: Path, tmp_path: Path) -> None:
    """The part says so at its end; the last run tries the image again, and has the last word."""
    folder = copy_of(trained, tmp_path)
    output = run(
        tmp_path, f"--resume={folder}", "--saliency_part=2/2", *RISE, "--fault=test item raises", "--at=3", code=1
    )
    assert "1 image could not be explained: 3. Image 3: OSError: cannot read scan_3.png" in output
    assert f"{folder}/saliency/parts/2-of-2/failures.csv" in output
    run(tmp_path, f"--resume={folder}", "--fault=")
    assert not list(folder.rglob("failures.csv"))


def test_the_lock_of_a_part_is_that_of_its_folder(trained: Path, tmp_path: Path) -> None:
    """A folder that is left over from a part that was killed keeps nobody out."""
    folder = copy_of(trained, tmp_path)
    place = folder / "saliency" / "parts" / "1-of-2"
    place.mkdir(parents=True)
    lock = FolderLock(place)
    assert lock.take()
    assert main([f"--resume={folder}"]) == 2
    lock.give_back()
    assert main([f"--resume={folder}"]) == 0
