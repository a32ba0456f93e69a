"""How the machine is divided among trials, and what a worker process is like."""

import json
import os
import signal
from functools import partial
from pathlib import Path

import pytest

from runner.sweep import workers
from runner.sweep.workers import make_slots, visible_gpus
from tests.faults import programs, warm_children
from tests.sweep_samples import only_sweep, results


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight cores, four GPUs."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(workers, "visible_gpus", lambda: ["0", "1", "2", "3"])


@pytest.mark.parametrize(
    ("count", "per_trial", "devices", "threads"),
    [
        (None, 1, [("0",), ("1",), ("2",), ("3",)], 2),
        (None, 2, [("0", "1"), ("2", "3")], 2),
        (2, 1, [("0",), ("1",)], 4),
        (6, 1, [("0",), ("1",), ("2",), ("3",), ("0",), ("1",)], 1),
        (None, 8, [("0", "1", "2", "3")], 1),
    ],
)
def test_gpus_are_dealt_out(count: int | None, per_trial: int, devices: list[tuple[str, ...]], threads: int) -> None:
    """One trial per GPU, or per group; more workers than GPUs share them; cores are divided."""
    slots = make_slots(count, per_trial)
    assert [slot.devices for slot in slots] == devices
    assert {slot.threads for slot in slots} == {threads}
    assert [slot.number for slot in slots] == list(range(len(devices)))


def test_without_gpus_there_is_a_slot_per_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one thread each; the user's own number of threads wins."""
    monkeypatch.setattr(workers, "visible_gpus", list)
    assert [(slot.devices, slot.threads) for slot in make_slots(None, 1)] == [((), 1)] * 8
    assert [slot.threads for slot in make_slots(2, 1)] == [4, 4]
    assert len(make_slots(None, 2)) == 4
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert [slot.threads for slot in make_slots(2, 1)] == [3, 3]


def test_gpus_that_are_hidden_do_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """CUDA_VISIBLE_DEVICES says which there are, where there are any."""
    monkeypatch.undo()
    monkeypatch.setattr(workers, "GPU_FOLDER", tmp_path / "gpus")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert list(visible_gpus()) == []
    for name in ("a", "b", "c"):
        (tmp_path / "gpus" / name).mkdir(parents=True)
    assert list(visible_gpus()) == ["1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert list(visible_gpus()) == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert list(visible_gpus()) == ["0", "1", "2"]


def test_a_process_that_is_gone_takes_signals() -> None:
    """Sending one to it is no error."""

    class Gone:
        pid = 2**22 + 1
        sentinel = -1

        def exit_code(self) -> int | None:
            return 0

        def close(self) -> None:
            """Nothing to do."""

    workers.send(Gone(), signal.SIGTERM)
    workers.send(Gone(), signal.SIGKILL)


TELLS = """
import json, multiprocessing, os, time
from pathlib import Path
from runner import LightningContainer

READ_BY = os.getpid()

class Tells(LightningContainer):
    def create_model(self):
        import torch
        from torch.utils.data import DataLoader
        devices = os.environ["CUDA_VISIBLE_DEVICES"]
        (Path({seen!r}) / devices).touch()
        end = time.monotonic() + 250
        while len(list(Path({seen!r}).iterdir())) < 2 and time.monotonic() < end:  # until the other has come as far
            time.sleep(0.01)
        Path("told.json").write_text(json.dumps(dict(
            devices=devices, seen=sorted(os.listdir({seen!r})), threads=torch.get_num_threads(),
            variable=os.environ["OMP_NUM_THREADS"], process=os.getpid(), parent=os.getppid(), read_by=READ_BY,
            is_daemon=multiprocessing.current_process().daemon, has_cuda_of_parent=torch.cuda._is_in_bad_fork(),
            loaded=[int(each) for each in DataLoader(range(4), num_workers=2)],
        )))
        raise ValueError("told")
"""


def with_gpus(folder: Path) -> None:
    """Let a program under test find a driver of NVIDIA's."""
    workers.GPU_FOLDER = folder
    warm_children.prepare(2)


@pytest.mark.parametrize(("per_trial", "devices"), [(1, ["3", "GPU-5e"]), (2, ["3,GPU-5e", "7,8"])])
def test_what_a_trial_finds(tmp_path: Path, per_trial: int, devices: list[str]) -> None:
    """Side by side each sees its own GPUs, has its share of threads, and may load data with processes of its own.

    A trial on one device is forked from a server that has neither read the container's code nor touched a GPU.
    """
    for name in ("containers", "seen", "driver"):
        (tmp_path / name).mkdir()
    (tmp_path / "containers" / "tells.py").write_text(TELLS.format(seen=str(tmp_path / "seen")))
    argv = ["--model=Tells", "--sweep", "l_rate=0.1,0.2", "--workers=2", f"--devices_per_trial={per_trial}"]
    program = programs.start(
        tmp_path, *argv, "--accelerator=cpu", first=partial(with_gpus, tmp_path / "driver"),
        CUDA_VISIBLE_DEVICES="3,GPU-5e,7,8", OMP_NUM_THREADS="3",
    )  # fmt: skip
    assert program.wait(300) == 1
    sweep = only_sweep(tmp_path)
    assert [body["reason"] for body in results(sweep).values()] == ["ValueError: told"] * 2
    told = [json.loads((sweep.point(number) / "told.json").read_text()) for number in range(2)]
    assert sorted(each["devices"] for each in told) == devices
    for each in told:
        assert each["seen"] == devices
        assert each["variable"] == "3"
        assert each["threads"] == 3 or per_trial > 1  # fresh ones read the variable when they import torch
        assert each["read_by"] == each["process"]
        assert not each["is_daemon"]
        assert not each["has_cuda_of_parent"]
        assert each["loaded"] == [0, 1, 2, 3]
    assert told[0]["process"] != told[1]["process"]
    assert told[0]["parent"] == told[1]["parent"]
    assert (told[0]["parent"] == program.pid) == (per_trial > 1)  # the others are forked from the server
