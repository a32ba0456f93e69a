"""Python processes that a program under test starts: forked before it begins, with torch, instead of importing it anew.

They are children of the program like those that it would start itself, have the arguments, environment, folder and file
descriptors that it gives them, and know nothing of what it has done in the meantime.
"""

from __future__ import annotations

import _posixsubprocess
import atexit
import fcntl
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from itertools import dropwhile
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.reduction import recvfds, sendfds
from pathlib import Path
from typing import Any, NamedTuple

_FREE = 200
"""File descriptors from here on are free for those that are still to be put into their places."""

_PLAIN_FLAGS = ("-u", "-I", "-E", "-s", "-B")
_SERVER = "from multiprocessing.forkserver import main"


class _Waiting(NamedTuple):
    """A child that waits for its orders."""

    pid: int
    orders: Connection
    descriptors: socket.socket


_waiting: list[_Waiting] = []
_fork_exec: Callable[..., int] = _posixsubprocess.fork_exec


def prepare(count: int = 1) -> None:
    """Let the first *count* times that this process starts the program, or multiprocessing's server, be warm.

    For ``first`` of :func:`tests.faults.programs.start`. Everything else is started as ever. A trial of several
    processes that is started so has one such child itself.
    """
    _waiting.extend(_fork() for _ in range(count))
    for module, name in ((_posixsubprocess, "fork_exec"), (subprocess, "_fork_exec")):
        setattr(module, name, _start)


def _fork() -> _Waiting:
    orders, descriptors = socket.socketpair(), socket.socketpair()
    pid = os.fork()
    if pid == 0:
        for each in (
            orders[0],
            descriptors[0],
            *(end for other in _waiting for end in (other.orders, other.descriptors)),
        ):
            each.close()
        _waiting.clear()
        _wait(Connection(orders[1].detach()), descriptors[1])
    orders[1].close()
    descriptors[1].close()
    return _Waiting(pid, Connection(orders[0].detach()), descriptors[0])


def _start(arguments: Sequence[Any], executables: Any, close_fds: bool, keep: Sequence[int], *rest: Any) -> int:
    """Do as ``_posixsubprocess.fork_exec`` does, with a child that waits, if it is for one."""
    words = [os.fsdecode(each) for each in arguments]
    program = list(dropwhile(_PLAIN_FLAGS.__contains__, words[1:]))
    if not _waiting or words[0] != sys.executable or not _is_heavy(program):
        return _fork_exec(arguments, executables, close_fds, keep, *rest)
    folder, variables, stdin, _, _, stdout, _, stderr, _, told, _, is_leader = rest[:12]
    places = {place: end for place, end in enumerate((stdin, stdout, stderr)) if end != -1}
    places |= {each: each for each in keep if each != told}
    variables = [each.partition(b"=")[::2] for each in variables] if variables is not None else os.environb.items()
    child = _waiting.pop()
    child.orders.send((program, folder or str(Path.cwd()), dict(variables), bool(is_leader), list(places)))
    if places:
        sendfds(child.descriptors, list(places.values()))
    child.orders.close()
    child.descriptors.close()
    return child.pid


def _is_heavy(words: list[str]) -> bool:
    return words[:2] == ["-m", "runner"] or words[0].endswith("runner.py") or (words[0] == "-c" and _SERVER in words[1])


def _wait(orders: Connection, descriptors: socket.socket) -> None:
    """Wait for orders, follow them and end this process."""
    code = 1
    try:
        _close_all_but(orders.fileno(), descriptors.fileno())
        resource_tracker._resource_tracker._fd = None  # type: ignore[attr-defined]
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program
        code = _follow(orders, descriptors)
    except EOFError:  # the program has ended and needed none
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _close_all_but(*kept: int) -> None:
    last = 2
    for each in (*sorted(kept), os.sysconf("SC_OPEN_MAX")):
        os.closerange(last + 1, each)
        last = each


def _follow(orders: Connection, descriptors: socket.socket) -> int:
    words, folder, variables, is_leader, places = orders.recv()
    received = recvfds(descriptors, len(places)) if places else []
    orders.close()
    descriptors.close()
    found = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, _FREE) for each in received]
    os.closerange(3, _FREE)
    for end, place in zip(found, places, strict=True):
        os.dup2(end, place)
        os.close(end)
    if is_leader:
        os.setsid()
    os.chdir(folder)
    os.environb.clear()
    os.environb.update(variables)
    time.tzset()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return _as_python(words)


def _as_python(words: list[str]) -> int:
    """Do what ``python WORDS`` does, to its end; return the exit code."""
    code = 0
    try:
        if words[0] == "-c":
            sys.argv = ["-c", *words[2:]]
            exec(words[1], {"__name__": "__main__"})
        elif words[0] == "-m":
            prepare()
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    return code
