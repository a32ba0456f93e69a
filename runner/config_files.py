"""Configuration files: the values they give, in the order in which they count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner import strict_yaml
from runner.errors import ConfigFileError, did_you_mean
from runner.strict_yaml import ListNode, MappingNode, Node, Scalar

SUFFIXES = ("", ".yaml", ".yml")


@dataclass(frozen=True)
class ConfigValue:
    """One value of a configuration file, not yet converted to the type of its parameter."""

    name: str
    node: Node
    file: Path
    line: int


def read_config(name: str, configs_folder: Path) -> list[ConfigValue]:
    """Read a configuration file after those that it extends: of two values of one name the later one counts.

    Args:
        name: A path, or the name of a file in *configs_folder* with or without its suffix.
        configs_folder: Where bare names are looked up.

    Raises:
        ConfigFileError: a file is missing or no strict YAML mapping, or files extend each other in a circle.
    """
    reader = _Reader(configs_folder)
    reader.read(find_config(name, Path(), configs_folder, place="--config"))
    return reader.values


class _Reader:
    """Collects the values of files, each file once: what two files share must not undo what the first one says."""

    def __init__(self, configs_folder: Path) -> None:
        self.values: list[ConfigValue] = []
        self._configs_folder = configs_folder
        self._done: set[Path] = set()

    def read(self, file: Path, chain: tuple[Path, ...] = ()) -> None:
        resolved = file.resolve()
        if resolved in chain:
            circle = " -> ".join(map(str, (*chain[chain.index(resolved) :], resolved)))
            raise ConfigFileError(f"The configuration files extend each other in a circle: {circle}.")
        if resolved in self._done:
            return
        values = _values_in(file)
        for value in values:
            if value.name == "extends":
                self._read_extended(value, (*chain, resolved))
        self.values += [value for value in values if value.name != "extends"]
        self._done.add(resolved)

    def _read_extended(self, value: ConfigValue, chain: tuple[Path, ...]) -> None:
        place = f"{value.file}:{value.line}"
        for node in value.node.items if isinstance(value.node, ListNode) else (value.node,):
            if not isinstance(node, Scalar) or node.is_null:
                raise ConfigFileError(f"{place}: extends takes the name of a file or a list of names.")
            self.read(find_config(node.text, value.file.parent, self._configs_folder, place=place), chain)


def _values_in(file: Path) -> list[ConfigValue]:
    root = strict_yaml.read_file(file)
    if isinstance(root, Scalar) and root.is_null:
        return []
    if not isinstance(root, MappingNode):
        raise ConfigFileError(f"{file}:{root.line}: the file must be a mapping, lines like name: value.")
    values: dict[str, ConfigValue] = {}
    for key, node in root.items:
        value = ConfigValue(_name(key), node, file, key.line)
        first = values.setdefault(value.name, value)
        if first is not value:
            raise ConfigFileError(f"{file}:{key.line}: {value.name} is already in line {first.line}.")
    return list(values.values())


def _name(key: Scalar) -> str:
    return key.text.replace("-", "_")


def find_config(name: str, folder: Path, configs_folder: Path, *, place: str) -> Path:
    """Return the file called *name*, as a path from *folder* or as a bare name in *configs_folder*.

    Raises:
        ConfigFileError: there is none; the message begins with *place*.
    """
    candidates = list(_candidates(name, [folder, configs_folder]))
    for candidate in candidates:
        if _is_file(candidate):
            return candidate
    known = sorted(file.stem for file in configs_folder.glob("*.y*ml") if file.suffix in SUFFIXES)
    looked = ", ".join(dict.fromkeys(map(str, candidates)))
    raise ConfigFileError(
        f"{place}: there is no configuration file {name!r}; looked for {looked}.{did_you_mean(Path(name).stem, known)}"
    )


def _candidates(name: str, folders: Sequence[Path]) -> Iterator[Path]:
    try:
        path = Path(name).expanduser()
    except RuntimeError:  # ~name of a user who does not exist
        path = Path(name)
    is_bare = path.name == name
    for folder in folders if is_bare else folders[:1]:
        for suffix in SUFFIXES:
            yield folder / (str(path) + suffix)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # too long a name
        return False
