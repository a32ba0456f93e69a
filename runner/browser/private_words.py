"""Taking out of the records of a run what says whose machine it ran on: paths, names of users and of machines."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

_PATH = re.compile(r"(?<![\w.~/:%<>+!-])(?:file://)?(/[\w.@+~%=,-]+(?:/[\w.@+~%=,-]+)+/?)")
_QUOTED_PATH = re.compile(r"""(?<=["'])(--?[\w-]+=)?(/[^"'\n\\]+)(?=["'])""")
_PICTURE = re.compile(r"(;base64,[A-Za-z0-9+/=]+)")
_HOME = re.compile(r"/(?:home|Users)/([\w.@+-]+)")
_TILDE = re.compile(r"(?<![\w/])~[\w.@+-]*/([\w.@+~%=,/-]*)")
_COMMON = frozenset({"root", "user", "users", "admin", "home", "test", "runner", "data", "ubuntu", "localhost", "work"})
"""Names of users and machines that say nothing, and stand for other things as well."""


@dataclass(frozen=True)
class PrivateWords:
    """What is to be taken out of one run's files."""

    run: str
    """Name of the run folder: what stands before it in a path goes, what stands behind it stays."""
    users: frozenset[str]
    hosts: frozenset[str]

    @classmethod
    def of(cls, run: str, texts: Iterable[str], hosts: Iterable[str]) -> PrivateWords:
        """Collect the users in the paths of *texts*, and whoever runs this program."""
        users = {name for text in texts for name in _HOME.findall(text)}
        with suppress(OSError, KeyError):  # a user without a name
            users.add(getpass.getuser())
        machines = {name for host in hosts for name in (host, host.partition(".")[0])}
        return cls(run, frozenset(users - _COMMON), frozenset(machines - _COMMON - {""}))

    @cached_property
    def _names(self) -> re.Pattern[str] | None:
        names = sorted((*self.users, *self.hosts), key=len, reverse=True)
        return re.compile(rf"(?<!\w)({'|'.join(map(re.escape, names))})(?!\w)") if names else None

    def cleaned(self, text: str) -> str:
        """Return *text* with ``<run>``, ``<site-packages>`` or ``<path>`` in place of what stands before a file's name.

        Names of users and machines become ``user`` and ``host``. ``/dev/null``, ``#!`` lines and pictures in base 64
        stay.
        """
        parts = _PICTURE.split(text)
        return "".join(part if place % 2 else self._cleaned(part) for place, part in enumerate(parts))

    def _cleaned(self, text: str) -> str:
        text = _QUOTED_PATH.sub(lambda match: (match[1] or "") + self._shortened(match[2]), text)
        text = _PATH.sub(lambda match: self._shortened(match[1]), text)
        text = _TILDE.sub(lambda match: f"<path>/{match[1].rpartition('/')[2]}", text)
        return (
            self._names.sub(lambda match: "user" if match[1] in self.users else "host", text) if self._names else text
        )

    def are_in(self, content: bytes) -> bool:
        """Tell whether bytes that cannot be rewritten hold a private word, a home folder or the place of the run."""
        found = (word.encode() for word in (*self.users, *self.hosts, f"/{self.run}/") if len(word) > 3)
        return _IN_BYTES.search(content) is not None or any(word in content for word in found)

    def _shortened(self, path: str) -> str:
        if path.startswith("/dev/") or path == "/":
            return path
        for folder, stands_for in ((f"/{self.run}", "<run>"), ("/site-packages", "<site-packages>")):
            before, found, rest = path.partition(folder)
            if found and before and (not rest or rest[0] == "/"):
                return stands_for + rest
        return f"<path>/{path.rstrip('/').rpartition('/')[2]}"


_IN_BYTES = re.compile(rb"/(?:home|Users)/\w")
