"""``runs export``: a run as one zip file that says nothing of the machine it ran on, with digests of its own."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zipfile
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO

from runner.atomic_files import sync_folder, temporary_name
from runner.browser.finding import name_of
from runner.browser.packed_files import CannotUnpackError, pieces_of
from runner.browser.private_words import PrivateWords
from runner.browser.records import config_values, read_environment
from runner.errors import RunFailedError, UsageError
from runner.folder_lock import is_locked
from runner.run_folder import RunFolder
from runner.run_seal import check_run, files_of_run
from runner.sealed_files import place, sealed_bytes
from runner.shown import printable

_LARGEST_TEXT = 64 * 2**20
_SUFFIXES_OF_TEXT = frozenset({".yaml", ".json", ".log", ".csv", ".txt", ".diff", ".md", ".html"})
_PACKED = frozenset({".png", ".npz", ".ckpt", ".zip", ".gz", ".jpg"})
_STAND_INS = re.compile("<(path|run|site-packages)>")
_NO_TEXT = re.compile(r"[\0-\x06\x0e-\x1a]")
_MAPS = re.compile(r"[0-9]+(-[0-9]+)?\.npz")
_CHUNK = 2**20
_REMOTE = re.compile(r'("remote": )"[^"]*"')


def export(path: Path, target: Path) -> list[str]:
    """Write a run to a zip file, whole or not at all, and return what to say.

    Texts are rewritten by :class:`PrivateWords`. Other files stay as they are; one that holds a private word is left
    out, and named. The digests in the file are those of what is in it: ``runs verify`` works where it is unpacked.

    Raises:
        UsageError: there is a file of that name, or the run is running.
        RunFailedError: the run is damaged, or the file cannot be written.
    """
    target = target.expanduser().absolute()
    folder = RunFolder(path)
    _check(folder, target)
    words = _private_words(folder)
    temporary = temporary_name(target)
    try:
        with temporary.open("wb") as file:
            left_out = _write(folder, words, file)
        place(temporary, target)
        sync_folder(target.parent)
    except FileExistsError:
        raise UsageError(f"{target} is there already; nothing is written over.") from None
    except OSError as error:
        raise RunFailedError(f"{target} cannot be written: {error.strerror or error}.") from error
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    lines = [
        f"left out, since it holds a path or a name of this machine, or cannot be looked into: {name}"
        for name in left_out
    ]
    return [*lines, f"{name_of(path)}: {target}, {target.stat().st_size / 1e6:.1f} MB"]


def _check(folder: RunFolder, target: Path) -> None:
    if target.exists():
        raise UsageError(f"{target} is there already; nothing is written over.")
    if not target.parent.is_dir():
        raise UsageError(f"There is no folder {target.parent} to write {target.name} to.")
    if is_locked(folder.path):
        raise UsageError(f"{printable(name_of(folder.path))} is running; export it when it has ended.")
    findings = check_run(folder)
    if not findings.is_whole:
        lost = ", ".join((*findings.damaged, *findings.missing))
        raise RunFailedError(f"{printable(name_of(folder.path))} is damaged or not whole, and is not exported: {lost}.")


def _private_words(folder: RunFolder) -> PrivateWords:
    hosts = {str(each.get("host") or "") for each in (read_environment(folder), _status(folder))}
    texts = (_text(file) or "" for file in (folder.config, folder.environment, folder.log))
    values = [read_environment(folder), {name: value for name, value, _ in config_values(folder)}]
    said = (each.partition("=")[2] if each.startswith("-") else each for each in _texts_in(values))
    paths = [str(folder.path), *(each for each in said if each.startswith("/") and "\n" not in each)]
    return PrivateWords.of(folder.path.name, texts, hosts, paths, _vocabulary(folder))


def _vocabulary(folder: RunFolder) -> Iterator[str]:
    """Yield the names that the run's own files are made of."""
    environment = {**read_environment(folder), "packages": None}  # some are called like people
    records = (folder.results, folder.evaluation, *folder.saliency.glob("*.json"))
    for record in (_status(folder), environment, *map(_json, records)):
        yield from _keys_in(record)
    yield from (name for name, _, _ in config_values(folder))
    yield from (str(_status(folder).get(name)) for name in ("model", "state", "phase"))
    for table in (folder.metrics, folder.predictions, *folder.saliency.glob("*.csv")):
        yield (_text(table) or "").partition("\n")[0]
    own = (value for value in (getattr(folder, name) for name in dir(folder)) if isinstance(value, Path))
    yield from (each.stem for each in own if each != folder.path)
    for parent in (folder.checkpoints, folder.saliency):
        yield from (each.stem for each in parent.rglob("*"))


def _json(path: Path) -> object:
    try:
        return json.loads(_text(path) or "{}")
    except (ValueError, RecursionError):
        return {}


def _keys_in(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _keys_in(each)


def _texts_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts_in(each)


def _status(folder: RunFolder) -> dict[str, object]:
    try:
        return folder.read_status()
    except RunFailedError:
        return {}


def _files(folder: RunFolder) -> Iterator[tuple[str, Path]]:
    for name, file in files_of_run(folder.path):
        if not (file.name.startswith(".") and file.suffix == ".tmp"):
            yield name, file
    if folder.labels.is_file():
        yield folder.labels.name, folder.labels


def _write(folder: RunFolder, words: PrivateWords, file: IO[bytes]) -> list[str]:
    """Write the zip file; return the names of the files that are left out."""
    top = _shown(folder.path.name, words, ())
    digests: dict[str, str] = {}
    taken = {folder.digests.name}
    left_out = []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in _files(folder):
            text = _text(path)
            if text is None and not _is_own_map(folder, path) and _holds(path, words):
                left_out.append(name)
                continue
            if text is not None and path == folder.environment:
                text = _REMOTE.sub(r'\1"<remote>"', text)
            shown = _shown(name, words, taken)
            taken.add(shown)
            entry = zipfile.ZipInfo(f"{top}/{shown}")
            entry.compress_type = zipfile.ZIP_STORED if path.suffix in _PACKED else zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            with archive.open(entry, "w", force_zip64=True) as written:
                digest = _put(written, path, None if text is None else _rewritten(text, path, words))
            if path != folder.labels:
                digests[shown] = digest
        archive.writestr(f"{top}/{folder.digests.name}", sealed_bytes({"files": digests}))
    return left_out


def _shown(name: str, words: PrivateWords, taken: Collection[str]) -> str:
    """Return the name that a file has in the zip file: without private words, of whole characters, and of its own."""
    shown = os.fsencode(words.cleaned(name)).decode("utf-8", "replace")
    path, number = PurePosixPath(shown), 1
    while shown in taken:
        number += 1
        shown = str(path.with_name(f"{path.stem}-{number}{path.suffix}"))
    return shown


def _rewritten(text: str, path: Path, words: PrivateWords) -> str:
    text = words.cleaned(text)
    return _STAND_INS.sub(r"&lt;\1&gt;", text) if path.suffix.lower() == ".html" else text


def _put(written: IO[bytes], path: Path, text: str | None) -> str:
    """Write a text, or the bytes of a file, and return their sha256."""
    if text is not None:
        content = text.encode("utf-8", "surrogateescape")
        written.write(content)
        return hashlib.sha256(content).hexdigest()
    with path.open("rb") as file:
        shutil.copyfileobj(file, written, _CHUNK)
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _text(path: Path) -> str | None:
    """Return the text of a file, whatever it is called; None where it holds something else."""
    try:
        if path.suffix in _PACKED or not path.is_file() or path.stat().st_size > _LARGEST_TEXT:
            return None
        content = path.read_bytes()
        if path.suffix.lower() in _SUFFIXES_OF_TEXT:
            return content.decode("utf-8", "surrogateescape")
        text = content.decode("utf-8")
        return None if _NO_TEXT.search(text) else text
    except (OSError, UnicodeDecodeError):
        return None


def _is_own_map(folder: RunFolder, path: Path) -> bool:
    """Tell whether a file is numbers of a saliency map and no more."""
    return path.parent == folder.saliency / "maps" and _MAPS.fullmatch(path.name) is not None


def _holds(path: Path, words: PrivateWords) -> bool:
    """Tell whether a file that cannot be rewritten holds a private word, or cannot be looked into."""
    try:
        return any(map(words.are_in, pieces_of(path)))
    except CannotUnpackError:
        return True
