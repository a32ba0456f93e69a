"""Time and memory of a phase."""

import subprocess
import sys
import time
from types import ModuleType, SimpleNamespace

import pytest

from runner.usage import Usage


def test_memory_is_the_most_that_was_held() -> None:
    """In bytes: a hundred megabytes more, which are freed again, stay in it."""
    code = (
        "from runner.usage import Usage; usage = Usage(); before = usage.memory()['peak_memory'];"
        "held = bytearray(b'1') * 150_000_000; del held; print(usage.memory()['peak_memory'] - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 120_000_000 < int(done.stdout) < 200_000_000


def test_time_goes_by() -> None:
    usage = Usage()
    time.sleep(0.02)
    assert 0.02 <= usage.seconds() < 60


def test_a_gpu_is_measured_where_it_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """The most of any GPU since the phase began; CUDA is not started for that."""
    peaks = {0: 100, 1: 700}
    cuda = SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: True,
        device_count=lambda: 2,
        reset_peak_memory_stats=lambda device: peaks.update({device: 5}),
        max_memory_allocated=peaks.get,
    )
    torch = ModuleType("torch")
    torch.cuda = cuda  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    usage = Usage()
    peaks[1] = 900
    assert usage.memory()["peak_gpu_memory"] == 900
    cuda.is_initialized = lambda: False
    assert "peak_gpu_memory" not in Usage().memory()
