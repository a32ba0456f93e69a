"""The first process of a run tells those that somebody else has started which run folder they share."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from torch.distributed import DistError, TCPStore  # type: ignore[attr-defined]

from runner.errors import RunFailedError, UsageError
from runner.places import Place

log = logging.getLogger(__name__)

WAIT_SECONDS = 900.0
"""How long machines may differ in when they start."""

NOTICE_SECONDS = 5.0
"""After so long the first process says whom it waits for."""

CLOSING_SECONDS = 0.5
"""How long the first process may take to close the port when all have left it."""

LOOK_SECONDS = 0.05

TURN_SECONDS = 5.0
"""How long one try to reach the first process lasts."""


class Rendezvous:
    """Where the processes of a run meet: ``MASTER_ADDR`` and ``MASTER_PORT``, or what Slurm says of its job."""

    def __init__(self, place: Place, num_nodes: int, values: Mapping[str, str]) -> None:
        """Look for the place to meet.

        Args:
            place: Of this process.
            num_nodes: How many machines there are.
            values: What must be the same in all processes.

        Raises:
            UsageError: nobody says where to meet.
        """
        _check_place(place, num_nodes)
        is_slurm = place.is_started_outside and "SLURM_PROCID" in os.environ and SLURMEnvironment.detect()
        self._host, port = _slurm_address() if is_slurm else _given_address(num_nodes)
        self._port = _checked_port(port)
        self._hint = ", which srun starts" if is_slurm else ""
        self._others = (place.world_size if place.world_size is not None else num_nodes) - 1
        turn = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        self._values = dict(values)
        names = [f"lightcase/{turn}/{name}" for name in ("folder", "seen", "closed", "left", "differs")]
        self._folder, self._seen, self._closed, self._left, self._differs = names
        # torchrun keeps a store there itself, in a process of its own
        self._is_kept_outside = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"

    def send(self, folder: Path) -> None:
        """Tell all others the run folder, and wait until they know it.

        Raises:
            RunFailedError: they do not come, or are told to do something else.
        """
        try:
            store = self._store(is_first=not self._is_kept_outside)
        except (DistError, RuntimeError) as error:
            raise RunFailedError(f"MASTER_PORT={self._port} cannot be used: {error}") from error
        store.set(self._folder, json.dumps({"folder": str(folder), "values": self._values}))
        end, notice = time.monotonic() + WAIT_SECONDS, time.monotonic() + NOTICE_SECONDS
        while (missing := self._others - store.add(self._seen, 0)) > 0:
            if time.monotonic() > end:
                raise RunFailedError(f"{missing} of {self._others} other processes did not come to {self._address}.")
            if time.monotonic() > notice:
                log.info(
                    "waiting at %s for %d of %d other processes%s", self._address, missing, self._others, self._hint
                )
                notice = end
            if store.check([self._differs]):
                raise RunFailedError(store.get(self._differs).decode())
            time.sleep(LOOK_SECONDS)
        store.set(self._closed, "")  # this port is needed by the training: all leave it before any goes on
        end = time.monotonic() + TURN_SECONDS
        while store.add(self._left, 0) < self._others and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)

    def receive(self) -> Path:
        """Return the run folder, as soon as the first process tells it.

        Raises:
            RunFailedError: it does not, or is told to do something else, or the folder is not on this machine.
        """
        end = time.monotonic() + WAIT_SECONDS
        self._wait_for_port(end)
        while True:  # in short turns, for calls of the library cannot be interrupted
            try:
                store = self._store(is_first=False)
                while not store.check([self._folder]):
                    time.sleep(LOOK_SECONDS)
                told = json.loads(store.get(self._folder).decode())
                self._compare(told["values"], store)
                store.add(self._seen, 1)
                while not store.check([self._closed]):
                    time.sleep(LOOK_SECONDS)
                store.add(self._left, 1)
                break
            except (DistError, RuntimeError) as error:
                if time.monotonic() > end:
                    raise RunFailedError(f"The first process does not answer at {self._address}: {error}") from error
                time.sleep(0.5)
        del store
        time.sleep(CLOSING_SECONDS)
        folder = Path(told["folder"])
        if not folder.is_dir():
            raise RunFailedError(
                f"{folder}, the run folder of the first process, is not there on this machine: --output_to must lie "
                "on a file system that all machines share."
            )
        return folder

    def _compare(self, theirs: Mapping[str, str], store: TCPStore) -> None:
        """Refuse to take part in another run than the first process leads, and tell it."""
        names = sorted(name for name in {*theirs, *self._values} if theirs.get(name) != self._values.get(name))
        if not names:
            return
        each = (f"{name} is {theirs.get(name)} there, {self._values.get(name)} here" for name in names)
        text = f"The processes of a run must have the same command: {'; '.join(each)} ({socket.gethostname()})."
        store.set(self._differs, text)
        time.sleep(CLOSING_SECONDS)
        raise RunFailedError(text)

    def _wait_for_port(self, end: float) -> None:
        """Wait until somebody listens there; torch would fill the terminal meanwhile."""
        notice = time.monotonic() + NOTICE_SECONDS
        while True:
            try:
                socket.create_connection((self._host, self._port), timeout=TURN_SECONDS).close()
            except socket.gaierror as error:
                raise RunFailedError(f"MASTER_ADDR={self._host}: no such host ({error.strerror}).") from None
            except OSError as error:
                if time.monotonic() > end:
                    raise RunFailedError(f"The first process does not answer at {self._address}: {error}") from error
                if time.monotonic() > notice:
                    log.warning("waiting for the first process, with NODE_RANK=0, at %s", self._address)
                    notice = end
                time.sleep(0.5)
            else:
                return

    @property
    def _address(self) -> str:
        return f"{self._host}:{self._port}"

    def _store(self, *, is_first: bool) -> TCPStore:
        wait = timedelta(seconds=TURN_SECONDS)
        return TCPStore(self._host, self._port, is_master=is_first, timeout=wait, wait_for_workers=False)


def _check_place(place: Place, num_nodes: int) -> None:
    if place.is_started_outside:
        return
    if place.local_rank:
        raise UsageError("LOCAL_RANK is set without RANK and WORLD_SIZE: whoever starts the processes sets them all.")
    if place.node_rank >= num_nodes:
        raise UsageError(f"NODE_RANK={place.node_rank}: with num_nodes={num_nodes} it is 0 to {num_nodes - 1}.")


def _slurm_address() -> tuple[str, str]:
    if os.environ.get("SLURM_JOB_NUM_NODES") == "1":  # names of nodes need not be those of hosts
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")  # for the training as well
    slurm = SLURMEnvironment()
    return slurm.main_address, str(slurm.main_port)


def _given_address(num_nodes: int) -> tuple[str, str]:
    host, port = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "")
    if not host or not port:
        raise UsageError(
            f"num_nodes={num_nodes}: set MASTER_ADDR and MASTER_PORT to the address of the first machine and a free "
            "port of it, and NODE_RANK to 0, 1, ... on the machines; or let torchrun or Slurm's srun do that."
        )
    return host, port


def _checked_port(port: str) -> int:
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise UsageError(f"MASTER_PORT={port}: a port is a number from 1 to 65535.")
    return int(port)
