"""``runs tag`` and ``runs note``: what the user says about a run, in labels.json beside the run's own files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from runner.atomic_files import write_json
from runner.browser.finding import name_of
from runner.browser.records import read_record
from runner.errors import RunFailedError, UsageError
from runner.run_folder import RunFolder
from runner.shown import printable

_LONGEST_TAG = 60
_MOST_TAGS = 100
_LONGEST_NOTE = 5_000


def tag(path: Path, words: Sequence[str], *, remove: bool = False) -> str:
    """Give a run tags, or take them away, and return what to say.

    Raises:
        UsageError: a word can be no tag, or the run does not have a tag that is to be removed.
        RunFailedError: the folder cannot be written.
    """
    bad = [word for word in words if not word or len(word) > _LONGEST_TAG or not word.isprintable() or "," in word]
    if bad:
        raise UsageError(f"{printable(bad[0], 80)!r} is no tag: a tag has 1 to {_LONGEST_TAG} characters and no comma.")
    tags, note = _labels(path)
    missing = [word for word in words if word not in tags]
    if remove and missing:
        raise UsageError(f"{printable(name_of(path))} has no tag {missing[0]!r}; it has {', '.join(tags) or 'none'}.")
    tags = [each for each in tags if each not in words] if remove else [*tags, *dict.fromkeys(missing)]
    if len(tags) > _MOST_TAGS:
        raise UsageError(f"A run has at most {_MOST_TAGS} tags.")
    _write(path, tags, note)
    return f"{name_of(path)}: {', '.join(tags) or 'no tags'}"


def note(path: Path, text: str) -> str:
    """Give a run a note in place of the one it has, or take it away with an empty text; return what to say.

    Raises:
        UsageError: the note is too long.
        RunFailedError: the folder cannot be written.
    """
    if len(text) > _LONGEST_NOTE:
        raise UsageError(f"A note has at most {_LONGEST_NOTE} characters.")
    _write(path, _labels(path)[0], text)
    return f"{name_of(path)}: {printable(text, 200) or 'no note'}"


def _labels(path: Path) -> tuple[list[str], str]:
    record = read_record(path, path.name)
    return (list(record.tags), record.note) if record else ([], "")


def _write(path: Path, tags: Sequence[str], note: str) -> None:
    labels = RunFolder(path).labels
    try:
        write_json(labels, {"tags": list(tags), "note": note})
    except OSError as error:
        raise RunFailedError(f"{labels} cannot be written: {error.strerror or error}.") from error
