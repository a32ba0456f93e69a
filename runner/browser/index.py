"""All runs below a folder, with an index that saves reading them again. The index is never the truth.

``.runs_index`` holds what was read of each run, and when its files had changed last. What has changed since is read
anew; an index that is missing, damaged or of another version is made anew; where it cannot be written nothing is lost
but time.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from runner.atomic_files import atomic_file
from runner.browser.records import RunRecord, is_metric, read_record, with_live_states
from runner.queued_run import QUEUED
from runner.run_folder import RunFolder

INDEX = ".runs_index"
_VERSION = 1
_RECENT_NS = 2_000_000_000
"""Files that changed so shortly before they were read may change again within one tick of the disk's clock."""

_ANY = RunFolder(Path())
_WATCHED = (_ANY.status.name, _ANY.results.name, _ANY.labels.name, ".")

_Signature = list[int]
"""Time of the last change in ns, and size, of each of these."""

_Entry = tuple[_Signature, RunRecord]


def records_in(root: Path, prefix: str = "") -> list[RunRecord]:
    """Return the runs whose folders lie in *root*, those made last at the end.

    Args:
        root: The outputs folder, or the folder of a sweep's trials.
        prefix: What the names of the runs begin with: ``SWEEP/`` for trials.
    """
    known = _read(root, prefix)
    found: dict[str, _Entry] = {}
    to_keep: dict[str, _Entry] = {}
    latest = time.time_ns() - _RECENT_NS
    for name in _folders(root):
        signature = _signature(f"{root}/{name}")
        if signature is None:
            continue
        entry = known.get(name)
        if entry is None or entry[0] != signature:
            record = read_record(root / name, prefix + name)
            if record is None:
                continue
            entry = (signature, record)
        found[name] = entry
        if entry[1].state not in ("running", QUEUED) and max(signature[::2]) < latest:
            to_keep[name] = entry
    if to_keep.keys() != known.keys() or any(to_keep[name] is not known[name] for name in to_keep):
        with suppress(OSError):
            _write(root, to_keep)
    return with_live_states([found[name][1] for name in sorted(found)])


def _folders(root: Path) -> list[str]:
    try:
        with os.scandir(root) as entries:
            return [each.name for each in entries if each.name[0] != "." and each.is_dir(follow_symlinks=False)]
    except (OSError, ValueError):  # ValueError: NUL in the name
        return []


def _signature(path: str) -> _Signature | None:
    """Return when the folder of a run and its files were changed, and their sizes; None where no run is in it.

    Files that are only ever replaced by rename, such as config.yaml, change the folder's own time.
    """
    signature = []
    for file in _WATCHED:  # ten thousand times: texts are much faster than paths
        try:
            found = os.stat(f"{path}/{file}")  # noqa: PTH116
        except OSError:
            if file == _WATCHED[0]:
                return None
            signature += [0, -1]
        else:
            signature += [found.st_mtime_ns, found.st_size]
    return signature


def _read(root: Path, prefix: str) -> dict[str, _Entry]:
    """Return what the index holds; nothing where there is none that can be used."""
    if not (root / INDEX).is_file():  # a pipe would be waited for
        return {}
    try:
        head, body = (root / INDEX).read_bytes().split(b"\n", 1)
        if head != _head(body):
            return {}
        content = json.loads(body)
        bases: dict[str, dict[str, Any]] = content["parameters"]
        return {name: (entry[0], _unpacked(root / name, prefix + name, entry[1:], bases))
                for name, entry in content["runs"].items()}  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return {}


def _write(root: Path, entries: Mapping[str, _Entry]) -> None:
    bases: dict[str, dict[str, Any]] = {}
    for _, record in entries.values():
        bases.setdefault(record.model, dict(record.parameters))
    runs = {name: [signature, *_packed(record, bases)] for name, (signature, record) in entries.items()}
    body = json.dumps({"parameters": bases, "runs": runs}, separators=(",", ":")).encode()
    with atomic_file(root / INDEX) as file:
        file.write(_head(body) + b"\n" + body)


def _head(body: bytes) -> bytes:
    return b"lightcase runs %d %08x" % (_VERSION, zlib.crc32(body))


def _packed(record: RunRecord, bases: Mapping[str, Mapping[str, Any]]) -> Iterable[Any]:
    """Return a record as JSON; of its parameters, only those that differ from the first run of its model."""
    base = bases[record.model]
    changed = {name: value for name, value in record.parameters.items() if not _is_same(base.get(name, record), value)}
    absent = [name for name in base if name not in record.parameters]
    yield from (record.model, record.state, record.phase, record.date, record.seconds, record.epochs, record.reason)
    yield from (record.metrics, changed, absent, record.tags, record.note)


def _is_same(one: Any, other: Any) -> bool:
    """Tell whether two values of config.yaml are one; ``1`` and ``true``, which Python takes for equal, are two."""
    return type(one) is type(other) and one == other and (not isinstance(one, list | dict) or repr(one) == repr(other))


def _unpacked(path: Path, name: str, values: list[Any], bases: Mapping[str, dict[str, Any]]) -> RunRecord:
    model, state, phase, date, seconds, epochs, reason, metrics, changed, absent, tags, note = values
    texts = (model, state, phase, date, reason, note, *tags)
    numbers = (seconds, epochs, *(value for phase in metrics.values() for value in phase.values()))
    if (
        not isinstance(tags, list)
        or not all(isinstance(each, str) for each in texts)
        or not all(map(is_metric, numbers))
    ):
        raise TypeError
    parameters = bases[model] | changed
    for each in absent:
        del parameters[each]
    return RunRecord(
        path, name, model, state, phase, date, seconds, epochs, reason, metrics, parameters, tuple(tags), note
    )
