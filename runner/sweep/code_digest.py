"""A digest of the code of a container, to tell whether trials of a sweep ran the same code."""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Iterator
from pathlib import Path

from runner.container import LightningContainer


def code_digest(cls: type[LightningContainer]) -> str:
    """Return the sha256 of the files that the container's code lies in, wherever they are.

    These are the files of the class and of its bases outside Lightcase, and the modules beside them that they import,
    also inside functions. Packages that are installed are told by their versions instead.
    """
    digest = hashlib.sha256()
    for path in code_files(cls):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode("utf-8", "backslashreplace"))
        digest.update(content)
    return digest.hexdigest()


def code_files(cls: type[LightningContainer]) -> list[Path]:
    """Return the files that :func:`code_digest` reads."""
    files: dict[Path, None] = {}
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] not in ("runner", "param", "builtins"):
            try:
                file = inspect.getsourcefile(base)
            except TypeError:
                file = None
            if file and Path(file).is_file():
                _add_with_imports(Path(file).resolve(), files)
    return list(files)


def _add_with_imports(file: Path, files: dict[Path, None]) -> None:
    if file in files:
        return
    files[file] = None
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # found out, and told, when it is imported
        return
    for module in sorted(set(_imported(tree))):
        path = file.parent.joinpath(*module.split("."))
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if candidate.is_file():
                _add_with_imports(candidate.resolve(), files)


def _imported(tree: ast.AST) -> Iterator[str]:
    """Yield the modules that *tree* may import from the folder it lies in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level <= 1:
            yield from [node.module] if node.module else [name.name for name in node.names]
