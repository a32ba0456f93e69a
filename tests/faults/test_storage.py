"""A2, B9: kill -9, a full disk and an I/O error at the system calls with which runs and sweeps are written.

Each fault is injected by strace into a forked process that runs :mod:`tests.faults.storage_program`. The suite tries
every seventh call; ``python -m tests.faults.test_storage`` tries all of them.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults import storage_program

CALLS = ("openat", "write", "fsync", "rename", "link", "symlink", "mkdir", "unlink")
FAULTS = {"KILL": "signal=KILL", "ENOSPC": "error=ENOSPC", "EIO": "error=EIO"}
pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")


def run(root: Path, inject: str = "", log: Path | None = None) -> int:
    """Run the program in a forked process under strace and return its exit code, minus the signal's number."""
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(ready[1], b"r")
            os.read(go[0], 1)
            storage_program.main(root)
            code = 0
        except BaseException:  # what a fault leads to; the test looks at what is on the disk
            (root.parent / "traceback").write_text(traceback.format_exc())
        os._exit(code)
    os.read(ready[0], 1)
    if inject or log:
        argv = ["strace", "-f", "-q", "-e", f"trace={','.join(CALLS)}", "-o", str(log or "/dev/null"), "-p", str(child)]
        tracer = subprocess.Popen([*argv, *(["-e", f"inject={inject}"] if inject else [])], stderr=subprocess.DEVNULL)
        while "TracerPid:\t0" in Path(f"/proc/{child}/status").read_text():
            assert tracer.poll() is None
    os.write(go[1], b"g")
    status = os.waitpid(child, 0)[1]
    if inject or log:
        tracer.wait()
    for each in (*ready, *go):
        os.close(each)
    return os.waitstatus_to_exitcode(status)


@pytest.fixture(scope="module")
def shm() -> Iterator[Path]:
    """A folder in memory: a fault is injected, not waited for."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder)


@dataclass(frozen=True)
class Calm:
    """A run that nobody disturbs: how often it makes each call, and what it comes to."""

    calls: Counter[str]
    contents: dict[str, object]


def calm_run(root: Path) -> Calm:
    """Run the program undisturbed."""
    root.mkdir()
    log = root.with_name("log")
    assert run(root, log=log) == 0
    calls = Counter(match[1] for line in log.read_text().splitlines() if (match := re.match(r"\d+ +(\w+)\(", line)))
    return Calm(calls, storage_program.contents(root))


@pytest.fixture(scope="module")
def calm(shm: Path) -> Calm:
    """The undisturbed run."""
    return calm_run(shm / "calm")


def attempt(root: Path, call: str, fault: str, number: int, expected: dict[str, object]) -> str:
    """Inject one fault, then go on without; return what went wrong, if anything did."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    code = run(root, f"{call}:{FAULTS[fault]}:when={number}")
    place = f"{call} {number} {fault}"
    if code == 0 and storage_program.contents(root) != expected:
        return f"{place}: it seemed to go well and is incomplete"
    if fault == "KILL" and code not in (0, -signal.SIGKILL):
        return f"{place}: exit code {code}"
    try:
        storage_program.main(root)
        found = storage_program.contents(root)
    except Exception:
        return f"{place}: cannot go on\n{traceback.format_exc()}"
    return "" if found == expected else f"{place}: other contents: {_different(found, expected)}"


def _different(found: dict[str, object], expected: dict[str, object]) -> list[str]:
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


def failures(folder: Path, calm: Calm, call: str, fault: str, step: int) -> tuple[list[str], int]:
    """Try every *step*-th call; return what went wrong, and how many were tried."""
    step = min(step, calm.calls[call])
    numbers = range(1 + calm.calls[call] % step, calm.calls[call] + 1, step)
    found = [attempt(folder / "root", call, fault, number, calm.contents) for number in numbers]
    return [each for each in found if each], len(numbers)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("call", CALLS)
def test_faults_at_system_calls(call: str, fault: str, shm: Path, calm: Calm) -> None:
    """Whatever fails, whenever: it is told, and the same command comes to the same bits."""
    folder = shm / f"{call}-{fault}"
    folder.mkdir()
    found, count = failures(folder, calm, call, fault, 7)
    assert count >= 1
    assert not found, "\n".join(found)


def test_the_storage_layer_needs_no_torch() -> None:
    """It is loaded in a moment, and tested without."""
    code = "import sys, tests.faults.storage_program; print('torch' in sys.modules, 'pytorch_lightning' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["False", "False"], done.stderr


def test_data_is_on_the_disk_before_its_name_is(shm: Path) -> None:
    """A14: every rename and link of a file that was written comes after an fsync of it."""
    folder = shm / "order"
    (folder / "root").mkdir(parents=True)
    log = folder / "log"
    assert run(folder / "root", log=log) == 0
    is_synced, names = False, 0
    for line in log.read_text().splitlines():
        if " fsync(" in line:
            is_synced = True
        elif re.search(r' (rename|link)\("[^"]*\.tmp", ', line) and "latest" not in line:
            assert is_synced or "checkpoints" in line, line
            names += 1
            is_synced = False
    assert names > 30


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        total, undisturbed = 0, calm_run(Path(name, "calm"))
        for each_call in CALLS:
            for each_fault in FAULTS:
                place = Path(name, f"{each_call}-{each_fault}")
                place.mkdir()
                wrong, tried = failures(place, undisturbed, each_call, each_fault, 1)
                total += tried
                print(
                    each_call, each_fault, tried, "tried,", len(wrong), "wrong", *wrong, sep="\n"[: bool(wrong)] or " "
                )
        print(total, "faults")
