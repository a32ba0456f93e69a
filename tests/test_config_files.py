"""Configuration files give values in the order in which they count."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.config_files import ConfigValue, read_config
from runner.errors import ConfigFileError
from runner.strict_yaml import Scalar

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write files into a launch folder that has a folder ``configs``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()

    def write_file(name: str, text: str) -> Path:
        file = Path(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write_file


def read(name: str) -> list[tuple[str, str]]:
    return [(value.name, str(value.node)) for value in read_config(name, Path("configs"))]


def refusal(name: str) -> str:
    with pytest.raises(ConfigFileError) as caught:
        read_config(name, Path("configs"))
    return str(caught.value)


def test_a_value_knows_where_it_stands(write: Write) -> None:
    """Name, text as written, file and line of each value are kept."""
    file = write("a.yaml", "# head\nl_rate: 1e-3\n")
    assert read_config("a.yaml", Path("configs")) == [ConfigValue("l_rate", Scalar("1e-3", line=2), file, 2)]


@pytest.mark.parametrize("name", ["fast", "fast.yaml", "configs/fast", "configs/fast.yaml", "./configs/fast.yaml"])
def test_a_file_is_found_by_path_or_by_its_bare_name(write: Write, name: str) -> None:
    """The folder and the suffix may be left out."""
    write("configs/fast.yaml", "num_epochs: 1")
    assert read(name) == [("num_epochs", "1")]


def test_the_other_suffix_is_found_too(write: Write) -> None:
    """A bare name finds .yml as well as .yaml."""
    write("configs/fast.yml", "num_epochs: 1")
    assert read("fast") == [("num_epochs", "1")]


def test_a_file_at_hand_wins_over_one_in_the_configs_folder(write: Write) -> None:
    """A path means what it says, whatever else has the name."""
    write("fast.yaml", "num_epochs: 1")
    write("configs/fast.yaml", "num_epochs: 2")
    assert read("fast") == [("num_epochs", "1")]


def test_only_bare_names_are_looked_up_in_the_configs_folder(write: Write) -> None:
    """A path means the file that it says, or none."""
    write("configs/sub/a.yaml", "x: 1")
    assert "looked for sub/a.yaml" in refusal("sub/a.yaml")
    assert read("configs/sub/a.yaml") == [("x", "1")]


def test_a_folder_is_no_file(write: Write) -> None:
    """A folder of the name does not hide the file."""
    write("fast/other.txt", "")
    write("configs/fast.yaml", "num_epochs: 2")
    assert read("fast") == [("num_epochs", "2")]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}"])
def test_an_empty_file_gives_no_values(write: Write, text: str) -> None:
    """Nothing in a file is not a mistake."""
    write("a.yaml", text)
    assert read("a.yaml") == []


def test_dashes_are_underscores(write: Write) -> None:
    """A name may be written as on the command line."""
    write("a.yaml", "num-epochs: 1\n'tag': x")
    assert read("a.yaml") == [("num_epochs", "1"), ("tag", "x")]


def test_extended_files_come_first(write: Write) -> None:
    """What a file says itself comes after what it extends, wherever the line with extends stands."""
    write("deep/a.yaml", "tag: a\nextends: [b, ../c.yml]\nl_rate: 1")
    write("deep/b.yaml", "tag: b")
    write("c.yml", "extends: base\ntag: c")
    write("configs/base.yaml", "tag: base")
    assert read("deep/a.yaml") == [("tag", "b"), ("tag", "base"), ("tag", "c"), ("tag", "a"), ("l_rate", "1")]


def test_extends_looks_beside_the_file_first(write: Write) -> None:
    """A file beside the one that names it is nearer than one in the configs folder."""
    write("deep/a.yaml", "extends: base")
    write("deep/base.yaml", "tag: near")
    write("configs/base.yaml", "tag: far")
    assert read("deep/a.yaml") == [("tag", "near")]


def test_a_file_that_two_extend_is_read_once(write: Write) -> None:
    """What the first of two files changes in their common base is not undone by the second."""
    write("a.yaml", "extends: [b, c]")
    write("b.yaml", "extends: base\ntag: b")
    write("c.yaml", "extends: base\nl_rate: 1")
    write("base.yaml", "tag: base")
    assert read("a.yaml") == [("tag", "base"), ("tag", "b"), ("l_rate", "1")]


def test_a_circle_is_shown(write: Write) -> None:
    """Files that extend each other are refused with the whole circle, and without what led to it."""
    write("start.yaml", "extends: a")
    write("a.yaml", "extends: b")
    write("b.yaml", "extends: configs/../a.yaml")
    a, b = Path("a.yaml").resolve(), Path("b.yaml").resolve()
    assert refusal("start.yaml") == f"The configuration files extend each other in a circle: {a} -> {b} -> {a}."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1", "a.yaml:1: the file must be a mapping"),
        ("\nhello", "a.yaml:2: the file must be a mapping"),
        ("a: 1\na: 2", "a.yaml:2: key 'a' is already in line 1."),
        ("a-b: 1\nx: 1\na_b: 2", "a.yaml:3: a_b is already in line 1."),
        ("a: 1\nb: *x", "a.yaml:2: anchors"),
        ("x: 1\nextends:", "a.yaml:2: extends takes the name of a file or a list of names."),
        ("extends: {a: b}", "a.yaml:1: extends takes"),
        ("extends: [[b]]", "a.yaml:1: extends takes"),
        (
            "\nextends: other",
            "a.yaml:2: there is no configuration file 'other'; looked for other, other.yaml, other.yml, ",
        ),
        ('extends: "\\0"', "a.yaml:1: there is no configuration file"),
        (f"extends: {'x' * 5000}", "a.yaml:1: there is no configuration file"),
    ],
)
def test_a_mistake_in_a_file_is_shown_with_its_place(write: Write, text: str, message: str) -> None:
    """Every message begins with file and line."""
    write("a.yaml", text)
    assert refusal("a.yaml").startswith(message)


@pytest.mark.parametrize(
    ("name", "looked"),
    [
        ("fats", "fats, fats.yaml, fats.yml, configs/fats, configs/fats.yaml, configs/fats.yml"),
        ("sub/fats.yaml", "sub/fats.yaml, sub/fats.yaml.yaml, sub/fats.yaml.yml"),
        ("~nobody-of-that-name/fats", "~nobody-of-that-name/fats, "),
    ],
)
def test_a_missing_file_is_told_with_places_and_near_names(write: Write, name: str, looked: str) -> None:
    """The message says where the program looked, and which names there are that look alike."""
    write("configs/fast.yaml", "")
    message = refusal(name)
    assert message.startswith(f"--config: there is no configuration file {name!r}; looked for {looked}")
    assert message.endswith(" Did you mean fast?")


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(["extends", "a", "-", ":", " ", "\n", "[", "]", ",", "a.yaml", "tag", "&", "'"])))
def test_no_file_breaks_the_reader(write: Write, parts: list[str]) -> None:
    """Any file gives values or a ConfigFileError."""
    write("a.yaml", "".join(parts))
    with suppress(ConfigFileError):
        read("a.yaml")
