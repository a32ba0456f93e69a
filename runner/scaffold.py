"""``python runner.py new MyContainer``: a container file that runs, and a test for it."""

from __future__ import annotations

import keyword
import os
import re
from pathlib import Path
from string import Template

from runner.container_loader import scan_folder, shown_path
from runner.errors import UsageError

TEMPLATES = Path(__file__).parent / "templates"


def new_container(name: str, containers: Path, tests: Path) -> list[Path]:
    """Write a container class *name* below *containers* and a test below *tests*; return both files.

    Raises:
        UsageError: the name cannot be that of a container, or is taken; nothing was written.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise UsageError(f"{name!r} cannot be the name of a container; {_valid_name(name)!r} can.")
    file = _snake_case(name)
    folder_from_tests = Path(os.path.relpath(containers.absolute(), tests.absolute())).as_posix()
    contents = {
        containers / f"{file}.py": _template("container.py.txt"),
        tests / f"test_{file}.py": _template("test_container.py.txt"),
    }
    for path, template in contents.items():
        if path.exists():
            raise UsageError(f"{shown_path(path)} exists already and is left as it is; choose another name.")
        if re.search(rf"\b{name}\b", template.template):
            raise UsageError(f"{name} is a name that the new file needs for something else; choose another name.")
    _refuse_second_of_name(name, containers)
    try:
        for path, template in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as opened:
                opened.write(template.substitute(name=name, containers=folder_from_tests))
    except OSError as error:
        raise UsageError(f"Cannot write {path}: {error.strerror}.") from error
    return list(contents)


def _template(name: str) -> Template:
    return Template((TEMPLATES / name).read_text(encoding="utf-8"))


def _refuse_second_of_name(name: str, containers: Path) -> None:
    found = scan_folder(containers).containers if containers.is_dir() else []
    for other in found:
        if other.name == name:
            raise UsageError(f"There is a container {name} already: {shown_path(other.file)}:{other.line}.")


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _valid_name(name: str) -> str:
    """Return *name* in CamelCase, with what it needs in front to be an identifier."""
    camel = "".join(word[0].upper() + word[1:] for word in re.findall(r"[A-Za-z0-9]+", name))
    valid = camel.isidentifier() and not keyword.iskeyword(camel)
    return camel if valid else f"My{camel or 'Container'}"
