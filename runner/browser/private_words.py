"""Taking out of the records of a run what says whose machine it ran on: paths, names of users and of machines."""

from __future__ import annotations

import getpass
import html
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from runner.shown import number_of

_START = r"(?:(?<![\w.~/%<+!])|(?<=(?<!#)!)|(?<=(?<![\w-])-[A-Za-z])|(?<=^\+))(?<!<run>)(?<!<path>)(?<!-packages>)"
"""Before a path: not the rest of a word or of an address, ``#!`` or ``</``; but ``-I/...`` and a new line of a diff."""
_PART = r"[\w.@+~%=,-]+"
_PATH = re.compile(rf"{_START}(?:file://)?(/{_PART}(?:/{_PART})+/?)", re.MULTILINE)
_QUOTED_PATH = re.compile(r"""(?<=["'])(--?[\w-]+=)?(/[^"'<>\n\\]+)(?=["'])""")
_PICTURE = re.compile(r"(;base64,[A-Za-z0-9+/=]+)")
_HOME = re.compile(r"/(?:home|Users)/([\w.@+-]+)")
_HOME_IN_BYTES = re.compile(rb"/(?:home|Users)/\w")
_TILDE = re.compile(r"(?<![\w/])~[\w.@+-]*/([\w.@+~%=,/-]*)")
_COMMON = frozenset({"root", "user", "users", "admin", "home", "test", "runner", "data", "ubuntu", "localhost", "work"})
"""Names of users and machines that say nothing, and stand for other things as well."""
_OF_JSON = frozenset({"true", "false", "null", "none", "host", "path", "run", "remote"})
_SHORTEST = 3


@dataclass(frozen=True)
class PrivateWords:
    """What is to be taken out of one run's files."""

    run: str
    """Name of the run folder: what stands before it in a path goes, what stands behind it stays."""
    users: frozenset[str]
    hosts: frozenset[str]
    """In any case."""
    weak: frozenset[str] = frozenset()
    """Names that stand for other things as well: they go from paths alone."""
    paths: frozenset[str] = frozenset()
    """Absolute paths that are known as a whole, blanks and all."""

    @classmethod
    def of(
        cls, run: str, texts: Iterable[str], hosts: Iterable[str], paths: Iterable[str], vocabulary: Iterable[str]
    ) -> PrivateWords:
        """Collect the users in the paths of *texts*, and whoever runs this program.

        Args:
            run: Name of the run folder.
            texts: Records of the run.
            hosts: Names of its machines.
            paths: Absolute paths that are known to be of the machine.
            vocabulary: Names of phases, files, metrics and parameters: no user who is called so may change these.
        """
        known = {each.rstrip("/") for each in (*paths, str(Path.home()), sys.prefix) if each.startswith("/")}
        known |= {str(parent) for each in known for parent in Path(each).parents if " " in str(parent)}
        known = {each for each in known if each.count("/") > 1 and not each.startswith("/dev/")}
        users = {name for text in (*texts, *known) for name in _HOME.findall(text)}
        with suppress(OSError, KeyError):  # a user without a name
            users.add(getpass.getuser())
        machines = {name for host in hosts for name in (host, host.partition(".")[0])}
        names = (users | machines) - _COMMON - {""}
        said = "\n".join(vocabulary).lower()
        weak = {name for name in names if _is_weak(name, said)}
        return cls(run, frozenset(users & names - weak), frozenset(machines & names - weak), frozenset(weak),
                   frozenset(known))  # fmt: skip

    @cached_property
    def _names(self) -> re.Pattern[str] | None:
        users, hosts = (sorted(names, key=len, reverse=True) for names in (self.users, self.hosts))
        either = "|".join([*map(re.escape, users), *(f"(?i:{re.escape(host)})" for host in hosts)])
        return re.compile(rf"(?<!\w)({either})(?!\w)") if either else None

    @cached_property
    def _known(self) -> re.Pattern[str] | None:
        forms = {form for path in self.paths for form in (path, html.escape(path))}
        either = "|".join(map(re.escape, sorted(forms, key=len, reverse=True)))
        return re.compile(rf"{_START}((?:{either})(?:/{_PART})*)(?![\w@~%=+-]|[.,]\w)", re.MULTILINE) if forms else None

    def cleaned(self, text: str) -> str:
        """Return *text* with ``<run>``, ``<site-packages>`` or ``<path>`` in place of what stands before a file's name.

        Names of users and machines become ``user`` and ``host``. ``/dev/null``, ``#!`` lines and pictures in base 64
        stay.
        """
        parts = _PICTURE.split(text)
        return "".join(part if place % 2 else self._cleaned(part) for place, part in enumerate(parts))

    def _cleaned(self, text: str) -> str:
        text = _QUOTED_PATH.sub(lambda match: (match[1] or "") + self._shortened(match[2]), text)
        if self._known:
            text = self._known.sub(lambda match: self._shortened(match[1]), text)
        text = _PATH.sub(lambda match: self._shortened(match[1]), text)
        text = _TILDE.sub(lambda match: f"<path>/{match[1].rpartition('/')[2]}", text)
        return self._names.sub(lambda match: self._stand_in(match[1]), text) if self._names else text

    def _stand_in(self, name: str) -> str:
        return "user" if name in self.users else "host"

    def are_in(self, content: bytes) -> bool:
        """Tell whether bytes that cannot be rewritten hold a private word, a home folder or the place of the run.

        Texts of two or four bytes a character are looked through as well; weak names are not looked for.
        """
        return any(self._are_in(each) for each in (content, content.replace(b"\0", b"")))

    def _are_in(self, content: bytes) -> bool:
        if _HOME_IN_BYTES.search(content) or any(word in content for word in self._bytes[0]):
            return True
        lower = content.lower()
        return any(word in lower for word in self._bytes[1])

    @cached_property
    def _bytes(self) -> tuple[list[bytes], list[bytes]]:
        """Return what is looked for as it is written, and in any case; three letters are too likely by chance."""
        users = [name if len(name) > _SHORTEST else f"/{name}/" for name in self.users]
        hosts = [name.lower() if len(name) > _SHORTEST else f"@{name.lower()}" for name in self.hosts]
        exact = [*users, *self.paths, f"/{self.run}/"]
        return [each.encode("utf-8", "replace") for each in exact], [each.encode("utf-8", "replace") for each in hosts]

    def _shortened(self, path: str) -> str:
        if path.startswith("/dev/") or path == "/":
            return path
        for folder, stands_for in ((f"/{self.run}", "<run>"), ("/site-packages", "<site-packages>")):
            before, found, rest = path.partition(folder)
            if found and before and (not rest or rest[0] == "/"):
                return stands_for + rest
        last = path.rstrip("/").rpartition("/")[2]
        return f"<path>/{'user' if last in self.weak else last}"


def _is_weak(name: str, vocabulary: str) -> bool:
    """Tell whether a name may be part of something else: of a number, or of what the run's own files are made of."""
    if len(name) < _SHORTEST or name.isdecimal() or number_of(name) is not None or name.lower() in _OF_JSON:
        return True
    return re.search(rf"(?<!\w){re.escape(name.lower())}(?!\w)", vocabulary) is not None
