"""How the processes of a run that somebody else has started meet, and what they say where that fails."""

import itertools
import os
import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner import rendezvous
from runner.errors import RunFailedError, UsageError
from runner.places import Place
from runner.rendezvous import Rendezvous
from tests.faults.programs import wait_for

FIRST, SECOND = Place(0, 0, 0, 2), Place(1, 0, 1, 2)
SECONDS = 120


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """A port to meet at: below those that the system gives away by itself, and another one in each process."""
    for name in ("SLURM_PROCID", "TORCHELASTIC_USE_AGENT_STORE", "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    found = next(each for each in range(12_000 + os.getpid() % 10_000, 32_000) if _is_free(each))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(found))
    return found


def _is_free(number: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", number)) != 0


def meet(first: Callable[[], Any], second: Callable[[], Any]) -> tuple[Future[Any], Future[Any]]:
    """Call both at a time; return what came of them."""
    with ThreadPoolExecutor(2) as pool:
        both = pool.submit(first), pool.submit(second)
        for each in both:
            each.exception(SECONDS)
    return both


def test_the_second_learns_the_folder(port: int, tmp_path: Path) -> None:
    """And nobody has the port any more when both go on."""
    sent, received = meet(
        lambda: Rendezvous(FIRST, 1, {"l_rate": "1"}).send(tmp_path), Rendezvous(SECOND, 1, {"l_rate": "1"}).receive
    )
    assert sent.result() is None
    assert received.result() == tmp_path
    wait_for(lambda: _is_free(port))  # for the training


def test_other_values(port: int, tmp_path: Path) -> None:
    """Both say what differs."""
    sent, received = meet(
        lambda: Rendezvous(FIRST, 1, {"l_rate": "1"}).send(tmp_path), Rendezvous(SECOND, 1, {"l_rate": "2"}).receive
    )
    for each in (sent, received):
        with pytest.raises(RunFailedError, match="must have the same command: l_rate is 1 there, 2 here"):
            each.result()


def test_a_folder_that_is_not_shared(port: int, tmp_path: Path) -> None:
    """The second says what is needed."""
    _, received = meet(lambda: Rendezvous(FIRST, 1, {}).send(tmp_path / "x"), Rendezvous(SECOND, 1, {}).receive)
    with pytest.raises(RunFailedError, match="--output_to must lie on a file system that all machines share"):
        received.result()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock of its own: a look at it takes a second, and the second look is when to say that one waits."""
    clock = itertools.count()
    monkeypatch.setattr(rendezvous, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None))
    monkeypatch.setattr(rendezvous, "WAIT_SECONDS", 6)
    monkeypatch.setattr(rendezvous, "NOTICE_SECONDS", 1)


def test_nobody_comes(port: int, tmp_path: Path, hurried: None, caplog: pytest.LogCaptureFixture) -> None:
    """Each says where it has waited, first that it waits, then that it waits no more."""
    caplog.set_level("INFO")
    with pytest.raises(RunFailedError, match=f"1 of 1 other processes did not come to 127.0.0.1:{port}"):
        Rendezvous(FIRST, 1, {}).send(tmp_path)
    assert f"waiting at 127.0.0.1:{port} for 1 of 1 other processes" in caplog.text


def test_nobody_answers(port: int, hurried: None, caplog: pytest.LogCaptureFixture) -> None:
    """As above."""
    with pytest.raises(RunFailedError, match=f"The first process does not answer at 127.0.0.1:{port}"):
        Rendezvous(SECOND, 1, {}).receive()
    assert f"waiting for the first process, with NODE_RANK=0, at 127.0.0.1:{port}" in caplog.text


def test_a_port_that_somebody_has(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first says so."""
    with closing(socket.create_server(("", 0))) as server:
        monkeypatch.setenv("MASTER_PORT", str(server.getsockname()[1]))
        with pytest.raises(RunFailedError, match=r"MASTER_PORT=\d+ cannot be used"):
            Rendezvous(FIRST, 1, {}).send(tmp_path)


def test_no_such_host(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is told at once."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", unknown)
    monkeypatch.setenv("MASTER_ADDR", "nosuch")
    with pytest.raises(RunFailedError, match=r"MASTER_ADDR=nosuch: no such host \(Name or service not known\)"):
        Rendezvous(SECOND, 1, {}).receive()


@pytest.mark.parametrize(
    ("variables", "place", "message"),
    [
        ({"MASTER_PORT": ""}, FIRST, "num_nodes=2: set MASTER_ADDR and MASTER_PORT"),
        ({"MASTER_ADDR": ""}, FIRST, "num_nodes=2: set MASTER_ADDR and MASTER_PORT"),
        ({"MASTER_PORT": "65536"}, FIRST, "MASTER_PORT=65536: a port is a number from 1 to 65535"),
        ({"MASTER_PORT": "\u0661"}, FIRST, "a port is a number"),
        ({}, Place(local_rank=1), "LOCAL_RANK is set without RANK and WORLD_SIZE"),
        ({}, Place(node_rank=2), "NODE_RANK=2: with num_nodes=2 it is 0 to 1"),
    ],
)
def test_places_that_cannot_be(
    variables: dict[str, str], place: Place, message: str, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before anybody waits."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=message):
        Rendezvous(place, 2, {})
