"""From a container's name to its class. Files are read, not imported; only the one asked for is imported."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from runner.container import LightningContainer
from runner.errors import ContainerNotFoundError, UserCodeError, did_you_mean

_SKIPPED_FOLDERS = {"__pycache__", "node_modules", "site-packages"}


@dataclass(frozen=True)
class FoundClass:
    """A class statement found by reading a file."""

    name: str
    file: Path
    line: int
    summary: str
    bases: tuple[str, ...]


@dataclass(frozen=True)
class Scan:
    """What reading all files of a folder gave."""

    containers: list[FoundClass]
    others: list[FoundClass]
    unreadable: dict[Path, str]
    """Files that are no valid Python, with the reason."""


def scan_folder(folder: Path) -> Scan:
    """Read every Python file below *folder* and sort its classes into containers and others."""
    files = sorted(_python_files(folder)) if folder.is_dir() else [folder]
    classes: list[FoundClass] = []
    unreadable: dict[Path, str] = {}
    for file in files:
        try:
            classes += _classes_in(file)
        except (SyntaxError, ValueError, OSError, RecursionError) as error:
            unreadable[file] = str(error)
    known = {"LightningContainer"}
    while more := {found.name for found in classes if known & set(found.bases)} - known:
        known |= more
    containers = [found for found in classes if known & set(found.bases) and not found.name.startswith("_")]
    return Scan(containers, [found for found in classes if found not in containers], unreadable)


def find_container(model: str, containers: Path, namespace: str | None = None) -> type[LightningContainer]:
    """Return the container class that *model* names: ``Name``, ``pkg.module.Name`` or ``path/file.py:Name``.

    Raises:
        ContainerNotFoundError: nothing, more than one thing, or no container has that name.
        UserCodeError: importing the file that holds it raised.
    """
    file, separator, name = model.rpartition(":")
    if separator:
        return _from_file(Path(file), name)
    if model.endswith(".py"):
        return _from_file(Path(model), None)
    if not all(part.isidentifier() for part in model.split(".")):
        raise ContainerNotFoundError(
            f"{model!r} is no name of a container: use Name, pkg.module.Name or path/file.py:Name."
        )
    if "." in model:
        return _from_module(model)
    if namespace is not None:
        place = _namespace_place(namespace)
        found = _matches(model, scan_folder(place))
        if found:
            return _load(_only(model, found), _namespace_root(namespace, place))
    scan = scan_folder(containers) if containers.is_dir() else Scan([], [], {})
    found = _matches(model, scan)
    if not found:
        raise _not_found(model, scan, containers, namespace)
    return _load(_only(model, found), _root_of(containers))


def _python_files(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    above |= {folder.resolve()}
    for path in folder.iterdir():
        if path.is_dir():
            is_loop = path.is_symlink() and path.resolve() in above
            if path.name not in _SKIPPED_FOLDERS and not path.name.startswith(".") and not is_loop:
                yield from _python_files(path, above)
        elif path.suffix == ".py":
            yield path


def _classes_in(file: Path) -> Iterator[FoundClass]:
    for node in _top_level(ast.parse(file.read_bytes(), filename=str(file)).body):
        if isinstance(node, ast.ClassDef):
            doc = (ast.get_docstring(node) or "").strip().partition("\n")[0]
            bases = tuple(filter(None, (_last_name(base) for base in node.bases)))
            yield FoundClass(node.name, file, node.lineno, doc, bases)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            alias = _last_name(node.value)  # Other = MyContainer is found as Other
            if alias:
                yield FoundClass(node.targets[0].id, file, node.lineno, f"The same as {alias}.", (alias,))


def _top_level(statements: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in statements:
        yield statement
        if isinstance(statement, ast.If | ast.Try):
            yield from _top_level(statement.body)
            yield from _top_level(statement.orelse)


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript):
        return _last_name(node.value)
    return node.id if isinstance(node, ast.Name) else ""


def _matches(name: str, scan: Scan) -> list[FoundClass]:
    """Return what is called *name*: containers, else classes whose base is not in sight, else broken files."""
    found = [each for each in scan.containers if each.name == name]
    found = found or [each for each in scan.others if each.name == name and each.bases]
    if not found:
        statement = re.compile(rf"^class\s+{name}\b", re.MULTILINE)
        broken = [file for file in scan.unreadable if statement.search(file.read_text(errors="replace"))]
        found = [FoundClass(name, file, 0, "", ()) for file in broken]
    return found


def _only(name: str, found: Sequence[FoundClass]) -> FoundClass:
    if len({(each.file, each.name) for each in found}) > 1:
        places = ", ".join(f"{shown_path(each.file)}:{each.line}" for each in found)
        raise ContainerNotFoundError(
            f"{len(found)} containers are called {name!r}: {places}. Choose one with --model=path/file.py:{name}."
        )
    return found[0]


def _not_found(name: str, scan: Scan, folder: Path, namespace: str | None) -> ContainerNotFoundError:
    names = [each.name for each in scan.containers]
    if namespace is not None:
        names += [each.name for each in scan_folder(_namespace_place(namespace)).containers]
    where = f"below {folder}" if folder.exists() else f"below {folder}, which does not exist"
    where += f" and in {namespace}" if namespace is not None else ""
    hint = did_you_mean(name, names)
    if not hint and names:
        hint = f" There are: {', '.join(sorted(names)[:20])}."
    broken = "".join(f" Could not read {shown_path(file)}: {reason}." for file, reason in scan.unreadable.items())
    return ContainerNotFoundError(f"There is no container {name!r} {where}.{hint}{broken}")


def _from_file(file: Path, name: str | None) -> type[LightningContainer]:
    if not file.is_file():
        raise ContainerNotFoundError(f"There is no file {file} to take a container from.")
    scan = scan_folder(file.absolute())
    if name is not None:
        found = _matches(name, scan)
    else:
        found = scan.containers or [FoundClass("", each, 0, "", ()) for each in scan.unreadable]
    if len(found) != 1:
        names = [each.name for each in scan.containers]
        there = f"it has {', '.join(names)}" if names else "it has none"
        wanted = f"container {name!r}" if name else "single container"
        raise ContainerNotFoundError(f"{file} has no {wanted}; {there}.{did_you_mean(name or '', names)}")
    return _load(found[0], _root_of(file.absolute().parent))


def _from_module(model: str) -> type[LightningContainer]:
    module_name, _, name = model.rpartition(".")
    place = _namespace_place(module_name)
    scan = scan_folder(place)
    found = _matches(name, scan)
    if not found:
        raise _not_found(name, scan, place, None)
    return _load(_only(name, found), _namespace_root(module_name, place))


def _namespace_root(namespace: str, place: Path) -> Path:
    return place.absolute().parents[namespace.count(".")]


def _namespace_place(namespace: str) -> Path:
    """Return the folder of a package, or the file of a module, that Python can import."""
    _put_first(Path.cwd())
    try:
        spec = importlib.util.find_spec(namespace)
    except ModuleNotFoundError as error:
        if error.name is None or not namespace.startswith(error.name):
            raise UserCodeError(f"Importing {namespace} failed.") from error
        spec = None
    except Exception as error:
        raise UserCodeError(f"Importing {namespace} failed.") from error
    place = next(iter(spec.submodule_search_locations or [str(spec.origin)])) if spec is not None else ""
    if not place.endswith(".py") and not Path(place or "?").is_dir():
        raise ContainerNotFoundError(f"There is no package or module {namespace!r} to take containers from.")
    return Path(place)


def _load(found: FoundClass, root: Path) -> type[LightningContainer]:
    module = _import_file(found.file.absolute(), root)
    cls = getattr(module, found.name, None)
    if not (isinstance(cls, type) and issubclass(cls, LightningContainer)):
        raise ContainerNotFoundError(f"{found.name} in {shown_path(found.file)}:{found.line} is no LightningContainer.")
    return cls


def _import_file(file: Path, root: Path) -> ModuleType:
    """Import *file* under the name that code beside it would use, so that relative imports and workers find it."""
    name = ".".join(file.relative_to(root).with_suffix("").parts)
    _put_first(root)
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))  # plain imports of neighbours work as in a script
    stale = sys.modules.get(name)
    if stale is not None and not _is_file(stale, file):
        del sys.modules[name]
    try:
        module = importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise UserCodeError(f"Importing {shown_path(file)} failed.") from error
        raise _shadowed(name, file) from error
    except BaseException as error:  # a module may even call sys.exit(): that must not look like success
        raise UserCodeError(f"Importing {shown_path(file)} failed.") from error
    if not _is_file(module, file):
        raise _shadowed(name, file)
    return module


def _root_of(folder: Path) -> Path:
    """Return what to put on sys.path so that files of *folder* are imported as ``<folder>.<file>``."""
    folder = folder.absolute()
    if "." in folder.name or not folder.name:
        return folder
    root = folder.parent
    while (root / "__init__.py").is_file():
        root = root.parent
    return root


def _put_first(folder: Path) -> None:
    path = str(folder)
    if path in sys.path:
        sys.path.remove(path)
    sys.path.insert(0, path)
    importlib.invalidate_caches()


def _is_file(module: ModuleType, file: Path) -> bool:
    origin = getattr(module, "__file__", None)
    return origin is not None and Path(origin).resolve() == file.resolve()


def _shadowed(name: str, file: Path) -> ContainerNotFoundError:
    top = sys.modules.get(name.partition(".")[0])
    place = getattr(top, "__file__", None) or next(iter(getattr(top, "__path__", ["elsewhere"])))
    return ContainerNotFoundError(
        f"{shown_path(file)} would be imported as {name}, but Python takes that name from {place}. "
        "Rename the folder or the file."
    )


def shown_path(path: Path) -> str:
    """Return *path* as short as it can be said: relative to the working directory where it lies below."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
