"""Ports for servers that a test starts a little later."""

import random
import socket
from contextlib import suppress
from pathlib import Path

_AUTOMATIC = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """Return a port that nobody has, and that the system gives to nobody until somebody asks for it by number."""
    end = int(_AUTOMATIC.read_text().split()[0]) if _AUTOMATIC.is_file() else 32768
    while True:
        port = random.SystemRandom().randrange(end - 7000, end)  # above those of Slurm's jobs, 15000 to 24999
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
