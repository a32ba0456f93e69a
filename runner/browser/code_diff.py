"""The code of two runs, compared: commit and uncommitted changes of the one against those of the other."""

from __future__ import annotations

import difflib
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.browser.records import read_environment
from runner.environment import GitError, git
from runner.foreign_files import read_text
from runner.run_folder import RunFolder

_COMMIT = re.compile(r"[0-9a-f]{40,64}")
_MOST_LINES = 5_000


@dataclass(frozen=True)
class CodeDiff:
    """What a comparison of the code of two runs gave."""

    summary: str
    lines: tuple[str, ...] = ()
    """A unified diff."""


def code_diff(one: RunFolder, other: RunFolder, repository: Path) -> CodeDiff:
    """Compare the code of two runs.

    Where *repository* has the commits of both, their files are compared as they were; else the uncommitted changes,
    line by line.

    Args:
        one: The first run.
        other: The second.
        repository: A folder of the repository that the runs came from.
    """
    commits = [_commit(run) for run in (one, other)]
    try:
        texts = [_text(run.diff) for run in (one, other)]
    except OSError as error:
        return CodeDiff(f"not compared: {Path(error.filename).name} of a run cannot be read: {error.strerror}")
    if commits[0] == commits[1] and texts[0] == texts[1]:
        same = f"both at {commits[0][:10]}" if commits[0] else "no git, no saved changes"
        return CodeDiff(f"the same: {same}")
    try:
        lines = _between(repository, one, other, commits)
        summary = "from the first to the second"
    except (GitError, OSError, ValueError):
        before, after = (text.splitlines() for text in texts)
        lines = list(difflib.unified_diff(before[:_MOST_LINES], after[:_MOST_LINES], "first", "second", lineterm=""))
        moved = f"{commits[0][:10] or 'no commit'} and {commits[1][:10] or 'no commit'}"
        same = "the commit is the same" if commits[0] == commits[1] else f"commits {moved}, which are not both here"
        summary = f"{same}; difference of the uncommitted changes"
    if len(lines) > _MOST_LINES:
        summary += f"; the first {_MOST_LINES} of {len(lines)} lines"
    return CodeDiff(summary, tuple(lines[:_MOST_LINES]))


def _between(repository: Path, one: RunFolder, other: RunFolder, commits: list[str]) -> list[str]:
    """Let git compare the files of both; what that makes lies in a temporary folder, not in the repository."""
    objects = git(repository, "rev-parse", "--path-format=absolute", "--git-path", "objects").decode().strip()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "objects").mkdir()
        known = {"GIT_OBJECT_DIRECTORY": str(place / "objects"), "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects}
        trees = []
        for number, (run, commit) in enumerate(zip((one, other), commits, strict=True)):
            variables: dict[str, Any] = known | {"GIT_INDEX_FILE": str(place / f"index{number}")}
            if not commit:
                raise ValueError("no commit is known")
            git(repository, "read-tree", commit, **variables)
            if run.diff.is_file() and run.diff.stat().st_size:
                top = Path(os.fsdecode(git(repository, "rev-parse", "--show-toplevel")).strip())
                git(top, "apply", "--cached", "--whitespace=nowarn", str(run.diff.absolute()), **variables)
            trees.append(git(repository, "write-tree", **variables).decode().strip())
        plain = ("--no-ext-diff", "--no-textconv", "--no-color", "--no-relative")
        return git(repository, "diff", *plain, *trees, "--", **known).decode("utf-8", "replace").splitlines()


def _commit(run: RunFolder) -> str:
    state = read_environment(run).get("git")
    commit = state.get("commit") if isinstance(state, dict) else None
    return commit if isinstance(commit, str) and _COMMIT.fullmatch(commit) else ""


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except FileNotFoundError:
        return ""
