"""Configuration is read as YAML 1.2 without its traps."""

import math
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner import strict_yaml
from runner.errors import ConfigFileError
from runner.strict_yaml import (
    MAX_DEPTH,
    ListNode,
    MappingNode,
    Scalar,
    YamlError,
    flow,
    from_plain,
    parse,
    quote,
    read_file,
    resolve,
    to_plain,
)

ANY_TEXT = st.text(st.characters(exclude_categories=[]))  # surrogates and control characters too
KEYS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), ANY_TEXT)
PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), ANY_TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=8,
)


def same(one: Any, other: Any) -> bool:
    """Compare with types, the sign of zero and NaN."""
    return repr(one) == repr(other)


def refusal(text: str) -> str:
    with pytest.raises(YamlError) as caught:
        to_plain(parse(text))
    return f"{caught.value.line}: {caught.value}"


def test_nodes_keep_text_quotes_and_lines() -> None:
    """What was written stays known: the digits, the quotes and the line."""
    assert parse("a: 1.50\nb:\n  - 'x'\n  - ~\n") == MappingNode(
        (
            (Scalar("a", line=1), Scalar("1.50", line=1)),
            (Scalar("b", line=2), ListNode((Scalar("x", quoted=True, line=3), Scalar("~", line=4)), line=3)),
        )
    )


def test_a_block_scalar_counts_as_quoted() -> None:
    """Text after a bar is text, whatever it looks like."""
    assert to_plain(parse("|\n  1\n")) == "1\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-2", 0.01),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-0.0", -0.0),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("+7", 7),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        (".nan", math.nan),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'1'", "1"),
    ],
)
def test_plain_scalars_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    """Numbers, truth values and null follow the core schema."""
    assert same(to_plain(parse(text)), value)


@pytest.mark.parametrize(
    "text", ["on", "no", "Yes", "y", "12:30:00", "1_000", "2024-01-02", "0b1", "=", "tRue", "inf", "nan", "1e", "٣"]
)
def test_what_only_yaml_1_1_converts_stays_text(text: str) -> None:
    """The surprises of YAML 1.1 are gone."""
    assert to_plain(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "3: key 'a' is already in line 1"),
        ("a: 1\n'a': 3", "2: key 'a' is already in line 1"),
        ("1: a\n0x1: b", "2: key '0x1' is already in line 1"),
        ("x:\n  {b: 1, b: 2}", "2: key 'b' is already in line 2"),
        ("a: &x 1", "1: anchors (&)"),
        ("\na: *x", "2: anchors (&) and aliases (*)"),
        ("a: !!python/object/apply:os.system [ls]", "1: tags are not allowed"),
        ("a: !!int 3", "1: tags are not allowed"),
        ("! a", "1: tags are not allowed"),
        ("a: {<<: {b: 1}}", "1: merge keys"),
        ("a\n---\nb", "2: a second document"),
        ("[a]: 1", "1: a key must be a single value"),
        ("{a:1}", "1: 'a:1' has no value; write a blank after the colon"),
        ("a: b: c", "1: mapping values are not allowed here"),
        ("x: 1\n\ty: 2", "2: "),
        ("x: [1\ny: 2", "2: "),
        ("x: 1\ny: \0", "2: character U+0000"),
        ("x: \ud800", "1: character U+D800"),
        ('x: "\\UFFFFFFFF"', "1: no YAML"),
        ("%YAML " + "9" * 5000 + ".1\n---\na", "1: no YAML"),
        ("a: 1\nb: 1e999", "2: the number 1e999 is too large"),
        ("a: 1\nb: " + "9" * 5000, "2: the number 99999999999999999999... is too large"),
        ("a:\n  " + "[" * 60, f"2: nested deeper than {MAX_DEPTH} levels"),
        ("[" + "1," * 50_001 + "]", "1: more than 50000 values"),
        ("x" * 1_000_001, "1: more than 1000000 bytes"),
    ],
)
def test_the_traps_of_yaml_are_refused_with_their_line(text: str, message: str) -> None:
    """Whatever is not plain data in one document is an error at its line."""
    assert refusal(text).startswith(message)


def test_fifty_levels_are_enough() -> None:
    """The greatest depth allowed can be read."""
    assert parse("[" * MAX_DEPTH + "]" * MAX_DEPTH)


@pytest.mark.parametrize("text", ["[" * 900_000, "{a: " * 200_000, "- " * 400_000, "? " * 400_000, "[1," * 300_000])
def test_a_bomb_is_refused_at_once(text: str) -> None:
    """Depth costs neither the stack nor time."""
    start = time.process_time()
    refusal(text)
    assert time.process_time() - start < 5


def test_aliases_cannot_multiply() -> None:
    """The billion laughs stop at the first one."""
    laughs = [f"{name}: &{name} [{', '.join(['*' + last] * 9)}]" for last, name in zip("abcd", "bcde", strict=True)]
    assert refusal("\n".join(["a: &a [ha]", *laughs])).startswith("1: anchors")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: 1\nb: \xe9\n", ":2: not UTF-8."),
        ("a: 1".encode("utf-16"), ":1: not UTF-8."),
        (b"a: 1\na: 2", ":2: key 'a' is already in line 1."),
        (b" " * 1_000_001, ":1: more than 1000000 bytes."),
    ],
)
def test_errors_in_a_file_name_file_and_line(tmp_path: Path, content: bytes, message: str) -> None:
    """The place of a mistake can be clicked on."""
    file = tmp_path / "a.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigFileError) as caught:
        read_file(file)
    assert str(caught.value) == f"{file}{message}"


def test_a_missing_file_is_an_error_without_line(tmp_path: Path) -> None:
    """A file that is not there is told apart from one that is wrong."""
    with pytest.raises(ConfigFileError, match=r"none\.yaml: cannot be read: No such file"):
        read_file(tmp_path / "none.yaml")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    """Files from editors that write a BOM are read."""
    file = tmp_path / "a.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1")
    assert to_plain(read_file(file)) == {"a": 1}


@settings(deadline=None)
@given(ANY_TEXT)
@example("\0\x07\n\r\x1f\x7f\x85\xa0\u2028\ud83d\ude00\udcff\ufeff\U0001f600\"'\\")
def test_a_quoted_text_comes_back(text: str) -> None:
    """Any text survives quoting, in printable ASCII."""
    written = quote(text)
    assert written.isascii()
    assert written.isprintable()
    assert parse(written) == Scalar(text, quoted=True)


@settings(deadline=None, max_examples=150)
@given(PLAIN)
@example({"k" * 3000: {"l" * 3000: [1, None]}})
@example([1e-7, 1e22, -0.0, 5e-324, math.inf, -math.inf, math.nan])
def test_plain_values_come_back_from_one_line(value: Any) -> None:
    """Values of every plain type survive writing and reading, with their types."""
    written = flow(from_plain(value))
    assert "\n" not in written
    assert same(to_plain(parse(written)), value)


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_floats_to_older_parsers_too(number: float) -> None:
    """YAML 1.1 reads 1e-05 as text; what is written here it reads as a number."""
    assert same(yaml.safe_load(flow(from_plain(number))), number)


@pytest.mark.parametrize("value", [object(), {"a": {1, 2}}, [b"x"], {(1, 2): 3}, 1j])
def test_objects_have_no_text(value: object) -> None:
    """What cannot be written is refused and never written as something else."""
    with pytest.raises(ValueError, match="has no text form"):
        from_plain(value)


def test_a_list_in_itself_has_no_text() -> None:
    """A cycle is refused before it fills the stack."""
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ValueError, match="nested deeper"):
        from_plain(value)


YAML_LIKE = st.lists(st.sampled_from([*"[]{},:-?&*!|>'\"%#@` \n\ta1.", ": ", "- ", "---", "\n  ", "<<", "\\x", "\\u"]))


@settings(deadline=None, max_examples=400)
@given(st.one_of(ANY_TEXT, YAML_LIKE.map("".join)))
def test_no_text_breaks_the_parser(text: str) -> None:
    """Any text is a document or a YamlError."""
    with suppress(YamlError):
        to_plain(parse(text))


@settings(deadline=None)
@given(st.binary())
def test_no_bytes_break_the_reader(tmp_path: Path, content: bytes) -> None:
    """Any file is a document or a ConfigFileError."""
    file = tmp_path / "a.yaml"
    file.write_bytes(content)
    with suppress(ConfigFileError):
        assert read_file(file)


def test_unsafe_loaders_are_not_in_the_source() -> None:
    """Nothing in the program builds Python objects out of YAML."""
    source = Path(__file__).parents[1] / "runner"
    for file in source.rglob("*.py"):
        assert not re.search(r"yaml\.(load|full_load|unsafe_load|UnsafeLoader|FullLoader)\b", file.read_text()), file


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *((word, True) for word in ("true", "True", "TRUE")),
        *((word, False) for word in ("false", "False", "FALSE")),
        *((word, None) for word in ("", "~", "null", "Null", "NULL")),
        *((word, word) for word in ("tRUE", "nULL", "on", "off", "yes", "no", "y", "n", "None")),
    ],
)
def test_words_that_mean_something(word: str, value: object) -> None:
    """Those of YAML 1.2's core schema and no others."""
    assert resolve(word) is value or resolve(word) == value
    assert Scalar(word).is_null is (value is None)
    assert not Scalar(word, quoted=True).is_null


def test_limits_are_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million bytes, 50 levels, so many values; one more is too much."""
    file = tmp_path / "a.yaml"
    for extra, message in ((0, ""), (1, "more than 1000000 bytes")):
        file.write_text("#" * (1_000_000 + extra))
        assert refused(lambda: read_file(file)) == (f"{file}:1: {message}." if message else "")
        assert refused(lambda: parse("#" * (1_000_000 + extra))) == message  # noqa: B023
    assert refused(lambda: parse("[" * 50 + "]" * 50)) == ""
    assert refused(lambda: parse("[" * 52 + "]" * 52)) == "nested deeper than 50 levels"
    assert refused(lambda: parse("a: " + "[" * 50 + "]" * 50)) == ""
    assert refused(lambda: parse("a: " + "[" * 51 + "]" * 51)) == "nested deeper than 50 levels"
    monkeypatch.setattr(strict_yaml, "MAX_NODES", 5)
    assert refused(lambda: parse("[1, 2, {3: 4}]")) == "more than 5 values"
    assert refused(lambda: parse("[1, {3: 4}]")) == ""


def test_what_is_written_can_be_read_inside_of_a_file() -> None:
    """48 levels, so that a mapping and a list around it are left."""
    deep: list[Any] = []
    for _ in range(48):
        deep = [deep]
    text = flow(from_plain(deep))
    assert to_plain(parse(f"a: [{text}]")) == {"a": [deep]}
    assert refused(lambda: from_plain([deep])) == "a value nested deeper than 48 levels has no text form"


@pytest.mark.parametrize(
    ("character", "written"),
    [
        ("\x00", "\\x00"), ("\x1f", "\\x1f"), (" ", " "), ("~", "~"), ("\x7f", "\\x7f"), ("ÿ", "\\xff"),
        ("Ā", "\\u0100"), ("\uffff", "\\uffff"), ("\U00010000", "\\U00010000"), ('"', '\\"'), ("\\", "\\\\"),
        ("\u2028", "\\u2028"),
    ],
)  # fmt: skip
def test_characters_as_they_are_written(character: str, written: str) -> None:
    """In printable ASCII, with YAML's escapes of two, four and eight digits."""
    assert quote(character) == f'"{written}"'
    assert to_plain(parse(quote(character))) == character


def refused(do: Callable[[], object]) -> str:
    """Return the message with which it is refused, empty if it is not."""
    try:
        do()
    except (ValueError, ConfigFileError) as error:
        return str(error)
    return ""
