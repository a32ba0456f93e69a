"""How the machine is divided among trials, and what a worker process is like."""

import os
import signal
from pathlib import Path

import pytest

from runner.sweep import workers
from runner.sweep.workers import make_slots, visible_gpus


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
