"""Dimensions in YAML and in Python."""

from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from runner.errors import ConfigFileError
from runner.strict_yaml import MappingNode, parse
from runner.sweep.axis_nodes import Entry, Source, node_from_python, node_text, read_dimension
from runner.sweep.dimensions import Condition, Dimension

SOURCE = Source("sweep.yaml")


class Size(Enum):
    SMALL = 1
    LARGE = 2


def dimension_of(text: str) -> Dimension:
    return read_dimension(Entry("x", parse(text), 7, SOURCE))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("[1e-3, 3e-3]", ("1e-3", "3e-3")),
        ("- 1.50\n- '1.50 '", ("1.50", "1.50 ")),
        ("[on, true, null, ~, '', 'null']", ("on", "true", "None", "", "null")),
        ("[[1,  2], {a: 'b'}]", ("[1, 2]", '{a: "b"}')),
        ("1e-3,3e-3", ("1e-3", "3e-3")),
        ("'[1,2],[3,4]'", ("[1,2]", "[3,4]")),
        ("adam", ("adam",)),
        ("{values: [a, b]}", ("a", "b")),
        ("{values: 'a,b'}", ("a", "b")),
    ],
)
def test_values_stay_as_they_are_written(text: str, values: tuple[str, ...]) -> None:
    if "~" in text:
        with pytest.raises(ConfigFileError, match="None is there twice"):
            dimension_of(text)
        text = text.replace(" ~,", "")
    assert dimension_of(text) == Dimension("x", values=values)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("0..4", Dimension("x", low=0, high=4, is_int=True)),
        ("log(1e-4, 1e-1)", Dimension("x", low=1e-4, high=0.1, log=True)),
        ("{low: 1, high: 8, int: true}", Dimension("x", low=1, high=8, is_int=True)),
        ("{low: 1, high: 8}", Dimension("x", low=1.0, high=8.0)),
        ("{low: 0, high: 8, step: 2}", Dimension("x", low=0, high=8, step=2, is_int=True)),
        ("{low: 0, high: 8, step: 2, int: off}", Dimension("x", low=0, high=8, step=2)),
        ("{low: 0, high: 1, step: 0.5}", Dimension("x", low=0, high=1, step=0.5)),
        ("{low: 1, high: 8, log: yes, int: yes}", Dimension("x", low=1, high=8, log=True, is_int=True)),
        ("{values: 0..2, when: {y: a}}", Dimension("x", low=0, high=2, is_int=True, condition=Condition("y", ("a",)))),
        ("{low: 0, high: 1, when: {y: [1, 2]}}", Dimension("x", low=0, high=1, condition=Condition("y", ("1", "2")))),
    ],
)
def test_ranges_and_conditions(text: str, made: Dimension) -> None:
    assert dimension_of(text) == made


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a list of values is needed"),
        ("null", "a list of values is needed"),
        ("[]", "the list is empty"),
        ("[1, 1]", "1 is there twice"),
        ("- 1\n-", "a value is needed"),
        ("{values: []}", "the list is empty"),
        ("{values: {a: 1}}", "a list of values is needed"),
        ("{values: [1], log: true}", "values and log do not go together"),
        ("{}", "low and high missing"),
        ("{low: 1, when: {a: 1}}", "high missing"),
        ("{low: 2, high: 1}", "low end 2.0 is larger"),
        ("{low: 0, high: 1, log: true}", "above 0"),
        ("{low: a, high: 1}", "low: 'a' is not a number"),
        ("{low: [1], high: 1}", "low: low takes a single value"),
        ("{low: 1, high: 2, int: maybe}", "'maybe' is no truth value"),
        ("{low: 1, high: 2.5, int: true}", "2.5 is not a whole number"),
        ("{values: [1], when: {a: 1, b: 2}}", "when takes one parameter"),
        ("lgo(1,2)", "Did you mean log?"),
    ],
)
def test_mistakes_are_reported_with_file_and_line(text: str, message: str) -> None:
    with pytest.raises(ConfigFileError) as caught:
        dimension_of(text)
    assert str(caught.value).startswith("sweep.yaml:7: x: ")
    assert message in str(caught.value)
    assert str(caught.value)[-1] in ".?"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("low: 1\nhihg: 2", "sweep.yaml:2: the mapping for x has no key hihg; known are values, low, "),
        ("values: [1]\nwhen: a", "sweep.yaml:2: when must be a mapping"),
    ],
)
def test_mistakes_within_a_mapping_have_their_own_line(text: str, message: str) -> None:
    with pytest.raises(ConfigFileError) as caught:
        dimension_of(text)
    assert str(caught.value).startswith(message)


def test_names_with_hyphens_are_names() -> None:
    assert list(SOURCE.entries(parse("l-rate: 1"), "it")) == ["l_rate"]
    with pytest.raises(ConfigFileError, match=r"sweep\.yaml:2: l_rate is there twice"):
        SOURCE.entries(parse("l-rate: 1\nl_rate: 2"), "it")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Size.SMALL, "SMALL"),
        (Path("a/b"), "a/b"),
        (range(3), "[0, 1, 2]"),
        ((1, 2.5, None, True, "a,b"), '[1, 2.5, null, true, "a,b"]'),
        ({"values": [Size.LARGE, 1e-5]}, '{"values": ["LARGE", 1.0e-05]}'),
        ("log(1e-4,1e-1)", "log(1e-4,1e-1)"),
    ],
)
def test_python_as_yaml(value: Any, text: str) -> None:
    assert node_text(node_from_python(value)) == text


@pytest.mark.parametrize("value", [object(), {1, 2}, [object()], {"a": b"x"}])
def test_objects_without_a_text_form(value: Any) -> None:
    with pytest.raises(ValueError, match="has no text form"):
        node_from_python(value)


def test_a_source_without_lines() -> None:
    source = Source("Mine.get_parameter_search_space()", has_lines=False)
    with pytest.raises(ConfigFileError) as caught:
        read_dimension(Entry("x", MappingNode(()), 1, source))
    assert str(caught.value).startswith("Mine.get_parameter_search_space(): x: low and high missing")
