"""Two machines: network namespaces with a cable between them where the system allows that, else one and the same."""

import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.brake import braked, release
from tests.faults import warm_children
from tests.faults.programs import Program, fingerprint, run, run_folder, start, status, tiny, wait_for
from tests.free_ports import free_port

ONE_EACH = ("--accelerator=cpu", "--devices=1", "--num_nodes=2", "--strategy=ddp")
PLAIN = ("--num_epochs=12", "--num_items=23")
_NETWORK = 0x40000000  # CLONE_NEWNET


@dataclass(frozen=True)
class Machines:
    """Where programs start, and how they find one another."""

    first: tuple[Callable[[], None] | None, ...]
    """What puts a process on each machine."""
    address: str
    variables: dict[str, str]

    def start(self, folder: Path, node: int, *argv: str, **environment: str) -> Program:
        """Start the program on a machine."""
        variables = {"MASTER_ADDR": self.address, "NODE_RANK": str(node)} | self.variables | environment
        return start(folder, *argv, first=self.first[node], separate=False, **variables)


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    """Two machines with the addresses 10.77.0.1 and 10.77.0.2, or both at 127.0.0.1."""
    names = [f"lightcase{os.getpid()}-{number}" for number in (1, 2)]
    cable = [f"lc{os.getpid() % 10**6}-{number}" for number in (1, 2)]
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", cable[0], "type", "veth", "peer", "name", cable[1])
        for number, name in enumerate(names):
            ip("link", "set", cable[number], "netns", name)
            ip("-n", name, "link", "set", cable[number], "name", "cable")
            ip("-n", name, "addr", "add", f"10.77.0.{number + 1}/24", "dev", "cable")
            for device in ("lo", "cable"):
                ip("-n", name, "link", "set", device, "up")
        entrances = tuple(partial(enter, Path("/run/netns") / name) for name in names)
        yield Machines(entrances, "10.77.0.1", {"GLOO_SOCKET_IFNAME": "cable"})
    except (OSError, subprocess.CalledProcessError):  # no root, no ip, or a container without the right
        yield Machines((None, None), "127.0.0.1", {})
    finally:
        for name in names:
            if (Path("/run/netns") / name).exists():
                ip("netns", "delete", name)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def enter(namespace: Path) -> None:
    """Move this process to a machine."""
    with namespace.open() as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _NETWORK):
            raise OSError(ctypes.get_errno(), "setns")


@pytest.fixture(scope="module")
def one_machine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What two processes on one machine come to."""
    folder = tmp_path_factory.mktemp("one")
    argv = tiny("--accelerator=cpu", "--devices=2", "--strategy=ddp", *PLAIN)
    run(folder, *argv, first=partial(warm_children.prepare, 2))
    return fingerprint(run_folder(folder))


def test_all_phases(machines: Machines, tmp_path: Path, one_machine: dict[str, str]) -> None:
    """One run folder, the same bits as two processes of one machine, and nothing left behind."""
    port = str(free_port())
    programs = [machines.start(tmp_path, node, *tiny(*ONE_EACH, *PLAIN), MASTER_PORT=port) for node in (0, 1)]
    assert [each.wait() for each in programs] == [0, 0], programs[0].output + programs[1].output
    folder = run_folder(tmp_path)
    assert status(folder)["state"] == "completed"
    unknown, slow = "[W", "waiting for the first process, with NODE_RANK=0"  # torch does without names of hosts
    said = [line for line in programs[1].output.splitlines() if slow not in line]
    assert all(line.startswith(unknown) for line in said), programs[1].output
    assert "part 1/2" in programs[0].output
    assert fingerprint(folder) == one_machine
    assert not list(folder.glob(".rank*"))


def test_kill_9_of_a_machine(machines: Machines, tmp_path: Path, one_machine: dict[str, str]) -> None:
    """The other one ends at once in good order, and the run goes on to the same bits."""
    port = str(free_port())
    argv = tiny(*ONE_EACH, *PLAIN, "--step_seconds=1", braked(tmp_path))
    programs = [machines.start(tmp_path, node, *argv, MASTER_PORT=port) for node in (0, 1)]
    folder = wait_for(lambda: run_folder(tmp_path))
    wait_for(lambda: status(folder)["epochs_finished"] >= 1)
    programs[1].send(signal.SIGKILL)
    assert programs[0].wait() == 1, programs[0].output
    release(tmp_path)
    assert status(folder)["state"] == "failed"
    assert "The connection to a process on another machine was lost" in status(folder)["exit_reason"]
    assert "Traceback" not in programs[0].output
    again = [
        machines.start(tmp_path, node, f"--resume={folder}", MASTER_PORT=port)
        for node in (0, 1)
    ]  # fmt: skip
    assert [each.wait() for each in again] == [0, 0], again[0].output + again[1].output
    assert fingerprint(folder) == one_machine


def test_an_exception_on_another_machine(machines: Machines, tmp_path: Path) -> None:
    """Its words reach the first machine, which ends with them."""
    port = str(free_port())
    argv = tiny(*ONE_EACH, *PLAIN, "--fault=step raises", "--fault_rank=1")
    programs = [machines.start(tmp_path, node, *argv, MASTER_PORT=port) for node in (0, 1)]
    assert [each.wait() for each in programs] == [1, 1], programs[0].output + programs[1].output
    assert "ValueError: the step is <b>wrong</b>" in status(run_folder(tmp_path))["exit_reason"]
    assert "The process with rank 1, of 2, on " in status(run_folder(tmp_path))["exit_reason"]


def test_without_an_address(tmp_path: Path) -> None:
    """Refused before anything is made, with what is missing."""
    output = run(tmp_path, *tiny(*ONE_EACH), code=2)
    assert "set MASTER_ADDR and MASTER_PORT" in output
    assert not (tmp_path / "outputs").exists()


def test_torchrun(tmp_path: Path, one_machine: dict[str, str]) -> None:
    """Processes that torchrun starts are one run, too."""
    program = shutil.which("torchrun")
    assert program is not None
    done = subprocess.run(
        [program, "--nproc-per-node=2", "--master-port", str(free_port()), Path(__file__).parents[1] / "runner.py",
         *tiny("--accelerator=cpu", "--devices=2", "--strategy=ddp", *PLAIN)],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert fingerprint(run_folder(tmp_path)) == one_machine


def test_another_command_on_the_other_machine(machines: Machines, tmp_path: Path) -> None:
    """Both say what differs, and nothing is trained."""
    port = str(free_port())
    argv = [tiny(*ONE_EACH, *PLAIN), tiny(*ONE_EACH, *PLAIN, "--l_rate=0.5")]
    programs = [machines.start(tmp_path, node, *argv[node], MASTER_PORT=port) for node in (0, 1)]
    assert [each.wait() for each in programs] == [1, 1], programs[0].output + programs[1].output
    for each in programs:
        assert "The processes of a run must have the same command: l_rate is 0.01 there, 0.5 here" in each.output
        assert "Traceback" not in each.output


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"MASTER_PORT": "abc"}, "MASTER_PORT=abc: a port is a number from 1 to 65535"),
        ({"MASTER_PORT": "99999"}, "MASTER_PORT=99999: a port is a number from 1 to 65535"),
        ({"NODE_RANK": "2"}, "NODE_RANK=2: with num_nodes=2 it is 0 to 1"),
        ({"NODE_RANK": "one"}, "NODE_RANK=one: it must be a whole number"),
        ({"NODE_RANK": "1", "MASTER_ADDR": "no.such.host.invalid"}, "MASTER_ADDR=no.such.host.invalid: no such host"),
    ],
)
def test_a_wrong_place_to_meet(variables: dict[str, str], message: str, tmp_path: Path) -> None:
    """Told in a sentence, before anything is made."""
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"} | variables
    program = start(tmp_path, *tiny(*ONE_EACH), separate=False, **where)
    assert program.wait() in (1, 2)  # without a network the answer of a name server may take long
    assert message in program.output
    assert "Traceback" not in program.output
    assert not (tmp_path / "outputs").exists()
