"""Values of parameters are read from, and written to, the command line and YAML."""

import datetime
import math
import os
import threading
from contextlib import suppress
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import param
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner.container import LightningContainer
from runner.param_values import (
    accepts_bare_flag,
    check,
    describe,
    from_node,
    from_text,
    has_text_form,
    settable_parameters,
    to_text,
    to_yaml,
)
from runner.params.kinds import BoolOrInt, Devices, IntOrFloat
from runner.params.saliency import Fill, Targets
from runner.strict_yaml import MappingNode, YamlError, parse

Parameter = param.Parameter[Any]


class Colour(Enum):
    """Names, values, aliases, and names that differ in case only."""

    RED = "rot"
    Green = 2
    green = "Green's other"
    none = None
    verde = 2  # noqa: PIE796 - an alias


class Level(IntEnum):
    """Members that are ints."""

    low = 1
    high = 2


class Joined(param.Parameter):  # type: ignore[type-arg]
    """A user's parameter that reads words between commas and writes nothing itself."""

    def from_text(self, text: str) -> list[str]:
        return text.split(",")


class Point(param.Parameter):  # type: ignore[type-arg]
    """A user's parameter that reads and writes."""

    def from_text(self, text: str) -> complex:
        return complex(text)

    def to_text(self, value: complex) -> str:
        return f"{value.real}{value.imag:+}j"


def same(one: Any, other: Any) -> bool:
    """Compare with types, the sign of zero and NaN."""
    return type(one) is type(other) and repr(one) == repr(other)


def from_yaml(parameter: Parameter, text: str) -> Any:
    return from_node(parameter, parse(text))


def refusal(parameter: Parameter, text: str) -> str:
    """Return why the text is refused, by its kind or by the parameter's own check."""
    with pytest.raises(ValueError) as caught:
        check(parameter, from_text(parameter, text))
    return str(caught.value)


def list_of(kind: Any) -> Parameter:
    return param.List(default=[], item_type=kind)


def any_of(*classes: type) -> Parameter:
    return param.ClassSelector[Any](class_=classes, default=None, allow_None=True)


def optional(cls: Any, **options: Any) -> Parameter:
    parameter: Parameter = cls(default=None, allow_None=True, **options)
    return parameter


# --- reading ----------------------------------------------------------------------------------------------------------

HERE = Path.cwd()
PATH_LIKE: Any = os.PathLike
EVENT: Parameter = param.Event(False)  # type: ignore[no-untyped-call]
FOUR = param.Selector[Any](objects=["16", 16, True, "Warn"])
NAMED = param.Selector[Any](objects={"small": (3, 3), "large": (9, 9)})
OPEN = param.Selector[Any](objects={"small": (3, 3), "large": (9, 9), "/a": Path("/a")}, check_on_set=False)


@pytest.mark.parametrize(
    ("parameter", "text", "value"),
    [
        (param.ClassSelector(class_=type(HERE), default=HERE), "a", HERE / "a"),
        (any_of(int, tuple), "(5)", (5,)),
        (any_of(int, tuple), "5,6", (5, 6)),
        (any_of(int, tuple), "5", 5),
        (param.Integer(4), "7", 7),
        (param.Integer(4), "-7", -7),
        (param.Integer(4), "007", 7),
        (optional(param.Integer), "None", None),
        (param.Number(0.5), "1", 1),
        (param.Number(0.5), "1.0", 1.0),
        (param.Number(0.5), "1e-2", 0.01),
        (param.Number(0.5), "-inf", -math.inf),
        (param.Magnitude(0.5), ".5", 0.5),
        (param.Boolean(False), "oN", True),
        (param.Boolean(True), "N", False),
        (EVENT, "1", True),
        (optional(param.Boolean), "None", None),
        (param.String(""), "", ""),
        (param.String(""), " None ", " None "),
        (param.String(""), "None", "None"),
        (param.String(""), '"a"', '"a"'),
        (optional(param.String), "None", None),
        (optional(param.String), "none", "none"),
        (optional(param.String), '"None"', "None"),
        (optional(param.String), '""None""', '"None"'),
        (list_of(int), "1,2, 3", [1, 2, 3]),
        (list_of(int), "[1,2]", [1, 2]),
        (list_of(int), "1,", [1]),
        (list_of(int), "", []),
        (list_of(int), "[]", []),
        (list_of(str), "a, b", ["a", "b"]),
        (list_of(str), '["a,b", c]', ["a,b", "c"]),
        (list_of(str), "", []),
        (list_of(str), "null,1", ["null", "1"]),
        (list_of(float), "1,2.5", [1.0, 2.5]),
        (list_of(bool), "on,off", [True, False]),
        (list_of(Path), "/a,b", [Path("/a"), HERE / "b"]),
        (list_of(Colour), "rot,green", [Colour.RED, Colour.green]),
        (list_of((int, str)), "1,a", [1, "a"]),
        (list_of(None), "1,a,true,1e-1,null", [1, "a", True, 0.1, None]),
        (list_of(dict), "[{a: 1}]", [{"a": 1}]),
        (optional(param.List, item_type=int), "None", None),
        (param.NumericTuple((0.1, 0.2)), "0.5,1", (0.5, 1)),
        (param.NumericTuple((0.1, 0.2)), "(0.5, 1)", (0.5, 1)),
        (param.NumericTuple((0.1, 0.2)), "[0.5, 1]", (0.5, 1)),
        (param.Tuple((1, "a")), "1,a", (1, "a")),
        (param.Tuple((1, "a")), '(1,"b,c")', (1, "b,c")),
        (param.XYCoordinates((0.0, 0.0)), "1,2.5", (1, 2.5)),
        (param.Range((0.0, 1.0)), "0,0.5", (0, 0.5)),
        (param.Dict({}), '{"a":1,"b":[1,{"c":null}]}', {"a": 1, "b": [1, {"c": None}]}),
        (param.Dict({}), "{a: 1e-3, 'b': no}", {"a": 0.001, "b": "no"}),
        (param.ClassSelector(class_=Colour, default=Colour.RED), "red", Colour.RED),
        (param.ClassSelector(class_=Colour, default=Colour.RED), "ROT", Colour.RED),
        (param.ClassSelector(class_=Colour, default=Colour.RED), "green", Colour.green),
        (param.ClassSelector(class_=Colour, default=Colour.RED), "GREEN", Colour.Green),
        (param.ClassSelector(class_=Colour, default=Colour.RED), "2", Colour.Green),
        (param.ClassSelector(class_=Colour, default=Colour.RED), "None", Colour.none),
        (param.ClassSelector(class_=Level, default=Level.low), "2", Level.high),
        (param.ClassSelector(class_=Path, default=HERE), "a/b", HERE / "a/b"),
        (param.ClassSelector(class_=Path, default=HERE), "~/b", Path.home() / "b"),
        (param.ClassSelector(class_=PATH_LIKE, default=HERE), "b", HERE / "b"),
        (param.ClassSelector(class_=float, default=0.5), "1", 1.0),
        (param.ClassSelector(class_=bool, default=False), "yes", True),
        (param.ClassSelector(class_=list, default=[]), "1,a", [1, "a"]),
        (param.ClassSelector(class_=tuple, default=()), "1,a", (1, "a")),
        (any_of(str, int, bool), "1", 1),
        (any_of(str, int, bool), "true", True),
        (any_of(str, int, bool), "a,b", "a,b"),
        (any_of(str, int, bool), '"1"', "1"),
        (any_of(list, dict), "a,b", ["a", "b"]),
        (any_of(list, dict), '{"a":1}', {"a": 1}),
        (any_of(str, list), "a", "a"),
        (any_of(str, list), "[a]", ["a"]),
        (any_of(list, tuple), "(1,2)", (1, 2)),
        (any_of(int, float, Path), "x", HERE / "x"),
        (param.Path(check_exists=False), "x", str(HERE / "x")),
        (param.Path(search_paths=["/usr"]), "bin", "bin"),
        (param.Foldername(str(HERE)), "~", str(Path.home())),
        (FOUR, "warn", "Warn"),
        (FOUR, "true", True),
        (FOUR, "16", 16),
        (FOUR, '"16"', "16"),
        (NAMED, "LARGE", (9, 9)),
        (param.Selector[Any](objects=[0.00001, 1.0]), "1e-5", 0.00001),
        (param.Selector[Any](objects=[None, "a"]), "None", None),
        (param.Selector[Any](objects=[int, Colour.RED]), "int", int),
        (param.Selector[Any](objects=[int, Colour.RED]), "red", Colour.RED),
        (param.Selector[Any](objects=["a"], check_on_set=False), "3", 3),
        (param.Selector[Any](objects=["a"], check_on_set=False), "A", "A"),
        (param.Selector[Any](objects={"small": (3, 3)}, check_on_set=False), "small", (3, 3)),
        (param.Selector[Any](objects=[int], check_on_set=False), "int", int),
        (param.ListSelector(objects=["a", "b", 3]), "3,A", [3, "a"]),
        (param.ListSelector(objects=["a", "b", 3]), "", []),
        (param.Date(), "2024-02-29T01:02:03", datetime.datetime(2024, 2, 29, 1, 2, 3)),
        (param.Date(), "2024-02-29", datetime.date(2024, 2, 29)),
        (param.CalendarDate(), "2024-02-29", datetime.date(2024, 2, 29)),
        (
            param.CalendarDateRange((datetime.date(2023, 1, 1), datetime.date(2024, 1, 1))),
            "2024-01-02,2024-01-03",
            (datetime.date(2024, 1, 2), datetime.date(2024, 1, 3)),
        ),
        (param.Color("#ffffff"), "#00ff00", "#00ff00"),
        (param.Bytes(b""), "é\udcff", b"\xc3\xa9\xff"),
        (param.Parameter(1), "1e-2", 0.01),
        (param.Parameter(1), "no", "no"),
        (param.Parameter(1), "[1, a]", [1, "a"]),
        (param.Parameter(1), '"1"', "1"),
        (param.Parameter(), "None", None),
        (IntOrFloat(1), "1.0", 1.0),
        (optional(IntOrFloat), "None", None),
        (Devices("auto"), "0,", [0]),
        (Joined(), "a,b", ["a", "b"]),
        (Point(1j), "1+2j", 1 + 2j),
    ],
)
def test_the_command_line_is_read_by_the_type_of_the_parameter(parameter: Parameter, text: str, value: object) -> None:
    """Each text means one value, of the right type, that the parameter takes."""
    read = from_text(parameter, text)
    assert same(read, value)
    check(parameter, read)


@pytest.mark.parametrize(
    ("parameter", "text", "value"),
    [
        (param.Integer(4), "010", 10),
        (param.Integer(4), "'7'", 7),
        (optional(param.Integer), "null", None),
        (optional(param.Integer), "", None),
        (optional(param.Integer), "None", None),
        (param.Number(1.0), ".inf", math.inf),
        (param.Number(1.0), "1e-2", 0.01),
        (param.Boolean(False), "on", True),
        (param.String(""), "1.50", "1.50"),
        (param.String(""), "no", "no"),
        (optional(param.String), "None", None),
        (optional(param.String), "~", None),
        (optional(param.String), "'None'", "None"),
        (optional(param.String), "'null'", "null"),
        (optional(param.String), "|\n  a\n  b\n", "a\nb\n"),
        (list_of(str), "[1.50, 'null', no]", ["1.50", "null", "no"]),
        (list_of(str), "a, b", ["a", "b"]),
        (list_of(str), "'a, b'", ["a, b"]),
        (list_of(int), "\n- 1\n- 2", [1, 2]),
        (list_of(Path), "[b]", [HERE / "b"]),
        (list_of(None), "['1', 1]", ["1", 1]),
        (param.NumericTuple((0.1, 0.2)), "[0.5, 1]", (0.5, 1)),
        (param.NumericTuple((0.1, 0.2)), "0.5, 1", (0.5, 1)),
        (param.Dict({}), "a:\n  b: [1, on]", {"a": {"b": [1, "on"]}}),
        (param.ClassSelector(class_=Colour, default=Colour.RED), "rot", Colour.RED),
        (param.ClassSelector(class_=Path, default=HERE), "b", HERE / "b"),
        (FOUR, "16", 16),
        (FOUR, "'16'", "16"),
        (FOUR, "true", True),
        (NAMED, "small", (3, 3)),
        (param.Selector[Any](objects=[1, 2]), "'2'", 2),
        (param.Selector[Any](objects=[1], check_on_set=False), "'1'", "1"),
        (any_of(str, int), "'1'", "1"),
        (any_of(str, int), "1", 1),
        (any_of(str, list), "[1]", [1]),
        (param.CalendarDate(), "2024-02-29", datetime.date(2024, 2, 29)),
        (param.Parameter(1), "{a: '1'}", {"a": "1"}),
        (Devices("auto"), "[0, 1]", [0, 1]),
        (Devices("auto"), "[0]", [0]),
        (Devices("auto"), "2", 2),
        (Targets("all"), "[3]", [3]),
        (Fill("zero"), "[0.5]", [0.5]),
        (Joined(), "[a, b]", ["a", "b"]),
        (Joined(), "a", ["a"]),
    ],
)
def test_yaml_is_read_by_the_type_of_the_parameter(parameter: Parameter, text: str, value: object) -> None:
    """A scalar without quotes means what it does on the command line; quotes make text of it."""
    read = from_yaml(parameter, text)
    assert same(read, value)
    check(parameter, read)


# --- refusing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameter", "text", "words"),
    [
        (param.Integer(4, bounds=(1, None)), "3.7", ["'3.7' is not an int", "int >= 1"]),
        (param.Integer(4, bounds=(1, None)), "", ["a value is needed", "int >= 1"]),
        (param.Integer(4, bounds=(1, None)), "0", ["at least 1", "int >= 1"]),
        (param.Integer(4), "1_000", ["'1_000'", "int"]),
        (param.Integer(4), "٣", ["'٣'"]),
        (param.Integer(4), "9" * 5000, ["too many digits"]),
        (param.Integer(4), "None", ["'None'"]),
        (param.Number(0.5), "x", ["'x' is not a number", "float"]),
        (param.NumericTuple((0.1, 0.2)), "(1,23", ["'(1' is not a number"]),
        (optional(param.Array), "no.npy", ["'no.npy' is no Array as nested lists, or file"]),
        (param.Number(0.5), "1e999", ["'1e999' is too large"]),
        (param.Number(0.5), "1_0.0", ["'1_0.0'"]),
        (param.Number(0.5, bounds=(0, 1), inclusive_bounds=(False, True)), "nan", ["nan", "float in (0, 1]"]),
        (param.Number(0.5, bounds=(None, 1)), "2", ["at most 1", "float <= 1"]),
        (param.Range((0.1, 0.2), bounds=(0, 1)), "nan,1", ["nan", "in [0, 1]"]),
        (param.Boolean(False), "maybe", ["'maybe'", "true/false"]),
        (param.Boolean(False), "", ["a value is needed", "true or false"]),
        (list_of(int), "1,a", ["'a' is not an int", "list of int"]),
        (list_of(int), "1,,2", ["''", "list of int"]),
        (list_of(int), "[1,{a: b}]", ["is not int"]),
        (param.List([0], item_type=int, bounds=(1, 2)), "", ["list of int, at least 1 long, at most 2 long"]),
        (param.NumericTuple((0.1, 0.2)), "0.5", ["1 instead of 2", "tuple of 2 float"]),
        (param.Dict({}), "{a:1}", ["write a blank after the colon", "mapping like {a: 1}"]),
        (param.Dict({}), "[1]", ["mapping like {a: 1}"]),
        (param.Dict({}), "", ["a value is needed"]),
        (param.ClassSelector(class_=Level, default=Level.low), "mid", ["'mid'", "one of low, high"]),
        (param.ClassSelector(class_=Path, default=HERE), "", ["a value is needed", "path"]),
        (param.ClassSelector(class_=Path, default=HERE), "~nobody-of-that-name/x", ["~nobody"]),
        (param.ClassSelector(class_=float, default=0.5), "9" * 400, ["too large"]),
        (param.Path(str(HERE)), "/no/such/folder", ["/no/such/folder", "not found"]),
        (FOUR, "17", ["'17'", "one of 16, True, Warn"]),
        (FOUR, '"16', ["cannot be read"]),
        (NAMED, "medium", ["one of small, large"]),
        (optional(param.Selector, objects=["a"]), "b", ["one of a or None"]),
        (param.ListSelector(objects=["a", "b"]), "a,c", ["'c'", "list out of a, b"]),
        (any_of(int, dict), "x", ["'x' is not int or mapping like {a: 1}"]),
        (param.Date(), "tomorrow", ["'tomorrow'", "YYYY-MM-DD"]),
        (param.CalendarDate(), "2023-02-29", ["'2023-02-29'", "date YYYY-MM-DD"]),
        (param.CalendarDate(), "2023-02-28T01:02", ["'2023-02-28T01:02' is not a date YYYY-MM-DD"]),
        (param.Color("#ffffff"), "blurple", ["blurple"]),
        (param.Bytes(b""), "\ud800", ["no bytes"]),
        (param.String("a", regex="^a+$"), "b", ["text matching ^a+$"]),
        (param.Parameter(1), "", ["a value is needed"]),
        (param.Parameter(1), "[1", ["cannot be read"]),
        (IntOrFloat(1), "2.5", ["2.5", "a float from 0.0 to 1.0"]),
        (BoolOrInt(False), "maybe", ["'maybe'", "true, false or an int"]),
        (Targets("all"), "some", ["'some'", "class indices"]),
    ],
)
def test_a_refusal_says_what_was_given_and_what_is_allowed(parameter: Parameter, text: str, words: list[str]) -> None:
    """Whoever made a mistake learns from the message how to mend it."""
    message = refusal(parameter, text)
    assert [word for word in words if word not in message] == []
    assert len(message) < 400


@pytest.mark.parametrize(
    ("parameter", "text", "words"),
    [
        (param.Integer(4), "null", "null"),
        (param.Integer(4), "[1]", r"'\[1\]' is not int"),
        (param.String(""), "", "a value is needed, not null; allowed: text"),
        (param.String(""), "[a]", "is not text"),
        (list_of(str), "[a, null]", "not null"),
        (list_of(str), "", r"\[\] is the empty list"),
        (list_of(int), "{a: 1}", "list of int"),
        (param.Dict({}), "'{a: 1}'", "mapping like"),
        (any_of(int, list), "{a: 1}", "is not int or list"),
        (Point(1j), "[1, 2]", "complex"),
        (Point(1j), "{a: 1}", "complex"),
    ],
)
def test_a_node_of_the_wrong_kind_is_refused(parameter: Parameter, text: str, words: str) -> None:
    """Lists, mappings and null are taken only where they fit."""
    with pytest.raises(ValueError, match=words):
        from_yaml(parameter, text)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        (param.Integer(4), True),
        (param.Number(4.0), False),
        (param.NumericTuple((0.1, 0.2)), (True, 0.5)),
        (param.Number(4.0, bounds=(0, None)), math.nan),
        (param.List(default=[], item_type=int), ["a"]),
        (param.Path(str(HERE)), "/no/such/folder"),
    ],
)
def test_every_refusal_is_a_value_error(parameter: Parameter, value: object) -> None:
    """The param library's TypeError and OSError, and what it lets pass by mistake, all become ValueError."""
    with pytest.raises(ValueError, match="allowed: "):
        check(parameter, value)


def test_nan_is_a_number_where_there_are_no_bounds() -> None:
    """Without bounds nothing is refused that is a number."""
    check(param.Number(0.5), math.nan)


# --- writing ----------------------------------------------------------------------------------------------------------

ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=20) | st.sampled_from(
    [
        "None",
        '"None"',
        "null",
        "~",
        "1",
        "1.0",
        "true",
        "no",
        "",
        " ",
        "[a]",
        "{a: 1}",
        "a,b",
        "'",
        '"',
        "#",
        "a: b",
        "-",
    ]
)
NUMBERS = st.integers() | st.floats()
SCALARS = st.none() | st.booleans() | NUMBERS | ANY_TEXT
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT | st.integers(), inner, max_size=3),
    max_leaves=6,
)
DICTS = st.dictionaries(ANY_TEXT | st.integers() | st.booleans().map(str), PLAIN, max_size=4)
PATHS = st.text(st.characters(exclude_characters="/\0", exclude_categories=[]), min_size=1, max_size=9).map(
    lambda name: Path("/") / name
)
DATES = st.dates()
TIMES = st.datetimes().map(lambda moment: moment.replace(fold=0))
OBJECTS = ["16", 16, True, "true", None, "None", "a,b", '"q"', "[1]", 1.5, 1e-05, int, Colour.RED, (1, 2), ""]
COLOURS = st.sampled_from(Colour)


def pairs(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, Any]]:
    return st.tuples(values, values)


def ordered(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, Any]]:
    return pairs(values).map(lambda pair: (min(pair), max(pair)))


ROUND_TRIPS: dict[str, tuple[Parameter, st.SearchStrategy[Any]]] = {
    "Integer": (param.Integer(0), st.integers()),
    "Integer or None": (optional(param.Integer), st.none() | st.integers()),
    "Number": (param.Number(0.0), NUMBERS),
    "Boolean": (param.Boolean(False), st.booleans()),
    "Boolean or None": (optional(param.Boolean), st.none() | st.booleans()),
    "String": (param.String(""), ANY_TEXT),
    "String or None": (optional(param.String), st.none() | ANY_TEXT),
    "List of int": (list_of(int), st.lists(st.integers(), max_size=4)),
    "List of float": (list_of(float), st.lists(st.floats(), max_size=4)),
    "List of bool": (list_of(bool), st.lists(st.booleans(), max_size=4)),
    "List of str": (list_of(str), st.lists(ANY_TEXT, max_size=4)),
    "List of str or None": (optional(param.List, item_type=str), st.none() | st.lists(ANY_TEXT, max_size=4)),
    "List of Path": (list_of(Path), st.lists(PATHS, max_size=4)),
    "List of Enum": (list_of(Colour), st.lists(COLOURS, max_size=4)),
    "List of dict": (list_of(dict), st.lists(DICTS, max_size=3)),
    "List of list": (list_of(list), st.lists(st.lists(SCALARS, max_size=3), max_size=3)),
    "List of int or str": (list_of((int, str)), st.lists(st.integers() | ANY_TEXT, max_size=4)),
    "List": (param.List(default=[]), st.lists(PLAIN, max_size=4)),
    "Tuple": (param.Tuple((0, 0)), pairs(PLAIN)),
    "NumericTuple": (param.NumericTuple((0, 0)), pairs(NUMBERS)),
    "XYCoordinates": (param.XYCoordinates((0.0, 0.0)), pairs(NUMBERS)),
    "Range": (param.Range((0.0, 1.0)), pairs(NUMBERS)),
    "Dict": (param.Dict({}), DICTS),
    "Dict or None": (optional(param.Dict), st.none() | DICTS),
    "Enum": (param.ClassSelector(class_=Colour, default=Colour.RED), COLOURS),
    "Enum or None": (optional(param.ClassSelector, class_=Colour), st.none() | COLOURS),
    "IntEnum": (param.ClassSelector(class_=Level, default=Level.low), st.sampled_from(Level)),
    "class Path": (param.ClassSelector(class_=Path, default=HERE), PATHS),
    "class Path or None": (optional(param.ClassSelector, class_=Path), st.none() | PATHS),
    "class str": (param.ClassSelector(class_=str, default=""), ANY_TEXT),
    "class float": (param.ClassSelector(class_=float, default=0.0), st.floats()),
    "class bool": (param.ClassSelector(class_=bool, default=False), st.booleans()),
    "class list": (param.ClassSelector(class_=list, default=[]), st.lists(PLAIN, max_size=4)),
    "class tuple": (param.ClassSelector(class_=tuple, default=()), st.lists(PLAIN, max_size=4).map(tuple)),
    "class dict": (param.ClassSelector(class_=dict, default={}), DICTS),
    "classes str, int, float, bool": (any_of(str, int, float, bool), SCALARS),
    "classes str, list, dict": (any_of(str, list, dict), st.none() | ANY_TEXT | st.lists(PLAIN, max_size=3) | DICTS),
    "classes int, tuple": (any_of(int, tuple), st.none() | st.integers() | pairs(PLAIN)),
    "classes Path, int, Enum": (any_of(Path, int, Level), PATHS | st.integers() | st.sampled_from(Level)),
    "classes str, Path": (any_of(str, Path), st.sampled_from([Path("/a/b.c"), Path("/-_+1")]) | ANY_TEXT),
    "classes str, Enum": (any_of(str, Colour), COLOURS.filter(lambda colour: colour.value) | ANY_TEXT),
    "Path": (param.Path(check_exists=False), PATHS.map(str)),
    "Filename or None": (optional(param.Filename, check_exists=False), st.none() | PATHS.map(str)),
    "Selector": (param.Selector[Any](objects=OBJECTS), st.sampled_from(OBJECTS)),
    "Selector with names": (NAMED, st.sampled_from([(3, 3), (9, 9)])),
    "Selector of what else": (param.Selector[Any](objects=[1, "a"], check_on_set=False), PLAIN),
    "ListSelector": (param.ListSelector(objects=OBJECTS), st.lists(st.sampled_from(OBJECTS), max_size=4)),
    "Date": (param.Date(), DATES | TIMES),
    "CalendarDate": (param.CalendarDate(), DATES),
    "DateRange": (param.DateRange((datetime.date(2024, 1, 1), datetime.date(2024, 1, 1))), ordered(TIMES)),
    "CalendarDateRange": (
        param.CalendarDateRange((datetime.date(2024, 1, 1), datetime.date(2024, 1, 1))),
        ordered(DATES),
    ),
    "Color": (param.Color("#ffffff"), st.from_regex(r"#[0-9a-f]{6}", fullmatch=True) | st.just("red")),
    "Bytes": (param.Bytes(b""), st.binary(max_size=9)),
    "Bytes or None": (optional(param.Bytes), st.none() | st.just(b"None") | st.binary(max_size=9)),
    "Parameter": (param.Parameter(), PLAIN),
    "Parameter, not None": (param.Parameter(1, allow_None=False), PLAIN),
    "Array": (
        param.Array(np.array([])),
        st.lists(st.floats(width=64), min_size=1, max_size=4).map(np.array) | st.just(np.eye(2, dtype=int)),
    ),
    "IntOrFloat": (IntOrFloat(0), st.integers(0) | st.floats(0, 1)),
    "IntOrFloat, time or None": (
        IntOrFloat(None, allow_None=True, time=True),
        st.none() | st.integers(0) | st.floats(0, 1) | st.just("00:12:00:00"),
    ),
    "BoolOrInt": (BoolOrInt(False), st.booleans() | st.integers(0)),
    "Devices": (Devices("auto"), st.sampled_from(["auto", -1, 3]) | st.lists(st.integers(0), min_size=1, max_size=4)),
    "Fill": (
        Fill("zero"),
        st.sampled_from(["zero", "blur"]) | NUMBERS | st.lists(st.integers() | st.floats(allow_nan=False), min_size=1),
    ),
    "Targets": (Targets("all"), st.sampled_from(["all", "label"]) | st.lists(st.integers(0), min_size=1, max_size=4)),
    "own form": (Point(0j), st.complex_numbers(allow_nan=False, allow_infinity=False)),
}


@pytest.mark.parametrize("kind", ROUND_TRIPS)
def test_values_come_back_as_they_were(kind: str) -> None:
    """Every valid value survives the way through the command line and through YAML."""
    parameter, values = ROUND_TRIPS[kind]

    @settings(deadline=None, max_examples=100, database=None)
    @given(values)
    def come_back(value: Any) -> None:
        if kind != "Range":
            check(parameter, value)
        assert same(from_text(parameter, to_text(parameter, value)), value)
        line = to_yaml(parameter, value)
        assert line.isprintable()
        assert same(from_yaml(parameter, line), value)
        entry = parse(f"name: {line}  # comment")
        assert isinstance(entry, MappingNode)
        assert same(from_node(parameter, entry.items[0][1]), value)

    come_back()


@pytest.mark.parametrize(
    ("parameter", "value", "text", "line"),
    [
        (param.Number(0.5), 1e-5, "1.0e-05", "1.0e-05"),
        (param.Boolean(False), True, "true", "true"),
        (param.String(""), "a b", "a b", '"a b"'),
        (optional(param.String), "None", '"None"', '"None"'),
        (optional(param.String), None, "None", "null"),
        (list_of(str), ["a", "b"], "a,b", '["a", "b"]'),
        (list_of(str), ["a,b"], '["a,b"]', '["a,b"]'),
        (list_of(str), [], "[]", "[]"),
        (param.NumericTuple((0.9, 0.999)), (0.9, 0.999), "0.9,0.999", "[0.9, 0.999]"),
        (param.Dict({}), {"a": [1, None]}, '{"a": [1, null]}', '{"a": [1, null]}'),
        (param.ClassSelector(class_=Level, default=Level.low), Level.high, "high", '"high"'),
        (FOUR, 16, "16", "16"),
        (FOUR, "16", '"16"', '"16"'),
        (NAMED, (9, 9), "large", '"large"'),
        (param.Integer(1), np.int64(3), "3", "3"),
        (param.Number(1.0), np.float32(0.5), "0.5", "0.5"),
        (param.Date(), np.datetime64("2024-01-02T03:04:05"), "2024-01-02T03:04:05", '"2024-01-02T03:04:05"'),
        (Devices("auto"), [0, 2], "0,2", '"0,2"'),
        (Devices("auto"), [0], "[0]", '"[0]"'),
        (BoolOrInt(False), False, "False", "False"),
        (IntOrFloat(1), 0.5, "0.5", "0.5"),
        (any_of(str, int), "a b", "a b", '"a b"'),
        (any_of(str, int), "7", '"7"', '"7"'),
        (OPEN, 7, "7", "7"),
        (OPEN, "other", "other", '"other"'),
        (param.Parameter(1), "a b", "a b", '"a b"'),
        (param.Parameter(1), "1", '"1"', '"1"'),
        (param.Parameter(1), "9" * 5000, f'"{"9" * 5000}"', f'"{"9" * 5000}"'),
    ],
)
def test_values_are_written_simply(parameter: Parameter, value: object, text: str, line: str) -> None:
    """Quotes and brackets appear on the command line only where they are needed."""
    assert (to_text(parameter, value), to_yaml(parameter, value)) == (text, line)


@pytest.mark.parametrize(("value", "name"), [((3, 3), "small"), ((9, 9), "large"), (Path("/a"), "/a")])
def test_objects_of_an_open_choice_have_their_names(value: object, name: str) -> None:
    """Also where other values are allowed."""
    assert to_yaml(OPEN, value) == f'"{name}"'
    for text in (name, to_text(OPEN, value)):
        assert from_text(OPEN, text) is dict(OPEN.names)[name]


def test_an_object_without_text_is_refused() -> None:
    """A value that no text can stand for is never written as something else."""
    with pytest.raises(ValueError, match="object has no text form"):
        to_yaml(param.Parameter(), object())


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([parameter for parameter, _ in ROUND_TRIPS.values()]), ANY_TEXT | st.text("[](){}\"',:1e. -"))
@example(param.Dict({}), "\ud800")
@example(param.Array(np.array([])), "[[1],[2,3]]")
@example(param.Array(np.array([])), "missing.npy")
def test_no_text_breaks_a_parameter(parameter: Parameter, text: str) -> None:
    """Any text is a value or a ValueError, on the command line and in YAML."""
    with suppress(ValueError):
        from_text(parameter, text)
    with suppress(ValueError, YamlError):
        from_node(parameter, parse(text))


# --- which parameters -------------------------------------------------------------------------------------------------


class Everything(param.Parameterized):
    """Parameters that can be set, and others that cannot."""

    number = param.Integer(1)
    anything = param.Parameter()
    own = Joined()
    _private = param.Integer(1)
    fixed = param.Integer(1, constant=True)
    shown = param.Integer(1, readonly=True)
    call = param.Callable(print)
    act = param.Action(print)
    hooks = param.HookList([])
    parts = param.Composite(attribs=["number"])
    kind = param.ClassSelector(class_=int, default=bool, is_instance=False)
    thing = param.ClassSelector(class_=threading.Thread, default=None)
    things = param.List([], item_type=(int, threading.Thread))
    loss = param.Parameter(object())
    table = param.Dict({"a": object()})
    made = param.Number(default=lambda: 1.0)  # type: ignore[call-overload]


def test_only_parameters_with_a_text_can_be_set() -> None:
    """Private, constant and readonly parameters, callables and objects stay out."""
    assert list(settable_parameters(Everything)) == ["number", "anything", "own"]


def test_every_parameter_of_the_framework_can_be_set() -> None:
    """Nothing that the container declares is lost, and every default is what its text says."""
    known = settable_parameters(LightningContainer)
    assert set(known) == {name for name in LightningContainer.param if name != "name"}
    for parameter in known.values():
        assert same(from_text(parameter, to_text(parameter, parameter.default)), parameter.default)


def test_a_parameter_without_text_form_says_so() -> None:
    """Asking for the text of a callable is an error, not nonsense."""
    assert not has_text_form(Everything.param["call"])
    assert not has_text_form(any_of(object))
    with pytest.raises(ValueError, match="Callable has no text form"):
        from_text(Everything.param["call"], "print")


@pytest.mark.parametrize(
    ("parameter", "accepted"),
    [
        (param.Boolean(False), True),
        (EVENT, True),
        (BoolOrInt(False), True),
        (FOUR, True),
        (param.ClassSelector(class_=bool, default=False), True),
        (any_of(str, bool), True),
        (param.Selector[Any](objects=[1, "True"]), False),
        (param.ListSelector(objects=[True]), False),
        (param.Integer(1), False),
        (param.String(""), False),
        (param.Parameter(True), False),
        (list_of(bool), False),
    ],
)
def test_a_bare_flag_means_true_where_true_is_a_value(parameter: Parameter, accepted: bool) -> None:
    """``--flag`` alone is enough for parameters that may be True."""
    assert accepts_bare_flag(parameter) is accepted


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        (param.Integer(1, bounds=(1, None)), "int >= 1"),
        (param.Integer(1, bounds=(0, None), inclusive_bounds=(False, True)), "int > 0"),
        (param.Number(0.5, bounds=(0, 1), inclusive_bounds=(False, False)), "float in (0, 1)"),
        (param.Number(0.5, bounds=(None, 1), inclusive_bounds=(True, False)), "float < 1"),
        (param.Magnitude(0.5), "float in [0.0, 1.0]"),
        (optional(param.Integer, bounds=(1, None)), "int >= 1 or None"),
        (param.Selector[Any](objects=["zero", "mean"]), "one of zero, mean"),
        (param.Selector[Any](objects=["a", None]), "one of a or None"),
        (param.Selector[Any](objects=[]), "any value or None"),
        (param.Selector[Any](objects=["a"], check_on_set=False), "a, any value"),
        (param.ClassSelector(class_=Path, default=HERE), "path"),
        (optional(param.ClassSelector, class_=Path), "path or None"),
        (list_of(int), "list of int"),
        (param.List(["a", "b"], item_type=str, bounds=(2, None)), "list of text, at least 2 long"),
        (any_of(str, int), "int or text or None"),
        (param.Range((0.0, 1.0), bounds=(0, 1)), "tuple of 2 float in [0, 1]"),
        (param.Callable(print), "Callable"),
        (param.Array(np.array([])), "Array as nested lists, or file"),
        (Joined(default=[]), "Joined"),
        (param.Boolean(False), "true or false"),
        (param.Bytes(b""), "bytes"),
        (param.CalendarDate(), "date YYYY-MM-DD or None"),
        (param.Date(), "date YYYY-MM-DD or time YYYY-MM-DDTHH:MM:SS or None"),
        (Targets("all"), "predicted, label, all, top3 (any number of best classes), or class indices like 0,3"),
    ],
)
def test_help_says_what_a_parameter_takes(parameter: Parameter, text: str) -> None:
    """Type, bounds and choices in a few words."""
    assert describe(parameter) == text


@pytest.mark.parametrize("name", ["a.pkl", "a.h5", "a.hdf5", "a.pkl.gz"])
def test_tables_are_not_read_from_files_that_may_run_code(name: str) -> None:
    """A value in a configuration file must not unpickle anything."""
    with pytest.raises(ValueError, match="could run code"):
        from_text(param.Array(np.array([])), name)


def test_an_array_is_read_from_its_file(tmp_path: Path) -> None:
    """What the param library reads from files is read from files."""
    file = tmp_path / "a.npy"
    np.save(file, np.arange(3))
    assert from_text(param.Array(np.array([])), str(file)).tolist() == [0, 1, 2]
