"""The thread that writes: in order, no faster than the disk, and without losing an error."""

import itertools
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner.phases.explaining import explain
from runner.saliency.storage import SaliencyFolder, SavedMaps
from runner.saliency.writer import CAPACITY, BackgroundWriter
from tests.saliency_samples import Images, Sample, make_explanation, make_run

SECONDS = 120.0
"""No wait is this long but where something is stuck."""


def test_calls_are_made_in_order_before_the_block_ends() -> None:
    """All calls are made, one after the other, in one thread that is not the caller's."""
    made: list[tuple[int, int]] = []
    with BackgroundWriter() as writer:
        for number in range(100):
            writer.put(lambda number: made.append((number, threading.get_ident())), number)
    assert [number for number, _ in made] == list(range(100))
    assert {thread for _, thread in made} != {threading.get_ident()}
    assert len({thread for _, thread in made}) == 1


def test_the_caller_goes_on_while_a_call_is_made() -> None:
    """A call that waits for its caller is made: the two overlap."""
    caller_went_on = threading.Event()
    seen: list[bool] = []
    with BackgroundWriter() as writer:
        writer.put(lambda: seen.append(caller_went_on.wait(SECONDS)))
        caller_went_on.set()
    assert seen == [True]


def test_the_caller_waits_for_a_slow_disk() -> None:
    """Behind one call that takes long, so many may wait as the queue holds, and no more."""
    disk, num_put, waiting = threading.Event(), [0], threading.Event()

    def put_many() -> None:
        with BackgroundWriter() as writer:
            for _ in range(CAPACITY + 10):
                writer.put(disk.wait, SECONDS)
                num_put[0] += 1
                if num_put[0] == CAPACITY + 1:
                    waiting.set()

    caller = threading.Thread(target=put_many)
    caller.start()
    assert waiting.wait(SECONDS)
    caller.join(0.2)
    assert caller.is_alive()
    assert num_put[0] <= CAPACITY + 1
    disk.set()
    caller.join(SECONDS)
    assert num_put[0] == CAPACITY + 10


def fail(_: None) -> None:
    raise OSError("the disk is full")


def put_all(calls: Iterable[tuple[Callable[..., object], Any]], error: BaseException | None = None) -> None:
    """Put calls of one argument each, then raise *error*."""
    with BackgroundWriter() as writer:
        for function, argument in calls:
            writer.put(function, argument)
        if error is not None:
            raise error


def test_an_error_is_raised_at_the_next_put() -> None:
    """The caller learns of it before it computes much more; what was put before is done, what came after is not."""
    made: list[int] = []
    later = iter(range(1000))
    calls: list[Any] = [(made.append, -1), (fail, None)]
    with pytest.raises(OSError, match="the disk is full"):
        put_all(itertools.chain(calls, ((made.append, number) for number in later)))
    assert next(later) < 1000 - 1
    assert made == [-1]


def test_an_error_of_the_last_call_is_raised_at_the_end() -> None:
    """Closing waits for the last call and raises what it raised."""
    with pytest.raises(OSError, match="the disk is full"):
        put_all([(fail, None)])


@pytest.mark.parametrize("kind", [ZeroDivisionError, KeyboardInterrupt])
def test_what_was_put_is_written_when_the_caller_fails(kind: type[BaseException]) -> None:
    """An exception of the caller, Ctrl-C among them, comes through after the calls that wait were made."""
    made: list[int] = []
    with pytest.raises(kind):
        put_all([(time.sleep, 0.1), *((made.append, number) for number in range(CAPACITY))], kind())
    assert made == list(range(CAPACITY))


def test_two_errors_at_once_are_both_told(caplog: pytest.LogCaptureFixture) -> None:
    """The caller's own exception wins, and the log has the other."""
    with pytest.raises(ZeroDivisionError):
        put_all([(fail, None)], ZeroDivisionError())
    assert "writing failed too: OSError: the disk is full" in caplog.text


@contextmanager
def small_files() -> Iterator[None]:
    """No file may grow beyond 10 kB, as on a disk that is full; not while pytest writes, whose output may be a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("shard_size", [1, 4])
def test_a_write_that_the_system_refuses_ends_the_work(tmp_path: Path, shard_size: int) -> None:
    """The error of the system reaches the caller; what was written before is whole, nothing else is there."""
    folder = SaliencyFolder(tmp_path, shard_size)
    folder.open({})
    large = make_explanation(1, image=np.random.default_rng(0).random((3, 64, 64), dtype=np.float32))
    with small_files(), pytest.raises(OSError, match="File too large"):
        put_all((folder.write, explanation) for explanation in (make_explanation(0), large, make_explanation(2)))
    assert [each.index for each in SavedMaps(tmp_path)] == [0]
    assert SaliencyFolder(tmp_path, shard_size).open({}) == {0}
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_full_disk_ends_the_phase(tmp_path: Path) -> None:
    """What the disk refuses is no failure of an image: the phase ends with the error of the system."""
    run = make_run(tmp_path, Sample(saliency_window_size=16, saliency_stride=16), Images(size=64))
    with small_files(), pytest.raises(OSError, match="File too large"):
        explain(run)
    assert not (tmp_path / "saliency" / "failures.csv").exists()
    assert list((tmp_path / "saliency" / "maps").iterdir()) == []
