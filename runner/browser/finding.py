"""Which run a word on the command line means."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from runner.errors import UsageError, did_you_mean, nearest
from runner.run_folder import RunFolder
from runner.shown import printable
from runner.sweep.sweep_folder import SWEEPS, SweepFolder, sweeps_in

LATEST = "latest"


def find_run(outputs: Path, word: str) -> Path:
    """Return the folder of a run: a path, a name, a part of a name that only one run has, ``latest``, ``SWEEP/12``.

    Raises:
        UsageError: there is no such run, or more than one.
    """
    for path in _places(outputs, word):
        with suppress(OSError, ValueError):  # a word that can be no name of a file
            if RunFolder(path).can_resume:
                return path.resolve()
    names = run_names(outputs)
    if word == LATEST and names:
        return outputs / names[-1]
    matches = [name for name in names if name.startswith(word)] or [name for name in names if word in name]
    if len(matches) == 1 and word:
        return outputs / matches[0]
    if matches and word:
        shown = ", ".join(printable(name) for name in matches[-5:]) + (", ..." if len(matches) > 5 else "")
        raise UsageError(f"{len(matches)} runs are called like {word!r}: {shown}.")
    if sweep := _sweep(outputs, word):
        raise UsageError(f"{printable(word)} is a sweep; write {printable(sweep.name)}/0 for its first trial.")
    raise UsageError(f"There is no run {word!r} below {outputs}.{printable(_hint(word, names), 1000)}")


def find_run_to_remove(outputs: Path, word: str) -> Path:
    """Return the folder of a run as :func:`find_run` does, but not through a link to somewhere else.

    Raises:
        UsageError: there is no such run, or more than one; it is a link; or the outputs folder itself lies in it.
    """
    path = find_run(outputs, word)
    for place in _places(outputs, word):
        with suppress(OSError, ValueError):
            if place.is_symlink() and place.resolve() == path and place.parent.resolve() != path.parent:
                raise UsageError(f"{printable(str(place))} is a link to {printable(str(path))}. Nothing is removed.")
    if outputs.resolve().is_relative_to(path):
        raise UsageError(f"{printable(str(path))} is no run of its own: the outputs folder lies in it.")
    return path


def find_run_or_sweep(outputs: Path, word: str) -> Path:
    """Return the folder of a run, or of a sweep by its path or name.

    Raises:
        UsageError: there is neither, or more than one.
    """
    if sweep := _sweep(outputs, word):
        return sweep
    try:
        return find_run(outputs, word)
    except UsageError:
        hint = did_you_mean(word, [each.name for each in sweeps_in(outputs)])
        if not hint:
            raise
        raise UsageError(f"There is no run and no sweep {word!r} below {outputs}.{hint}") from None


def run_names(outputs: Path) -> list[str]:
    """Return the names of all runs below *outputs* but for trials, those made last at the end."""
    if not outputs.is_dir():
        return []
    folders = (each for each in outputs.iterdir() if not each.name.startswith(".") and not each.is_symlink())
    return sorted(each.name for each in folders if RunFolder(each).can_resume)


def is_sweep(path: Path) -> bool:
    """Tell whether *path* is the folder of a sweep."""
    return (path / "plan.json").is_file()


def is_trial(path: Path) -> bool:
    """Tell whether *path* is the folder of a trial of a sweep."""
    return path.parent.name == "points" and is_sweep(path.parent.parent)


def name_of(path: Path) -> str:
    """Return the name by which a run is known: of its folder, or ``SWEEP/12``."""
    return f"{path.parent.parent.name}/{path.name}" if is_trial(path) else path.name


def _sweep(outputs: Path, word: str) -> Path | None:
    for path in (Path(word), outputs / word, outputs / SWEEPS / word):
        with suppress(OSError, ValueError):
            if is_sweep(path):
                return path.resolve()
    return None


def _places(outputs: Path, word: str) -> list[Path]:
    sweep, _, number = word.rpartition("/")
    is_trial_number = bool(sweep) and number.isdecimal() and len(number) < 20
    trials = [SweepFolder(outputs / SWEEPS / sweep).point(int(number))] if is_trial_number else []
    return [Path(word), outputs / word, *trials]


def _hint(word: str, names: list[str]) -> str:
    """Name what is alike: whole names, or the models in them."""
    models = {name.partition("_")[2]: name for name in names}
    alike = [models[each] for each in nearest(word, models)]
    hint = did_you_mean(word, names) or (f" Did you mean {' or '.join(alike)}?" if alike else "")
    return hint or (f" The newest is {names[-1]}." if names else " There is none at all.")
