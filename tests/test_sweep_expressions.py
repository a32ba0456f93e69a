"""Axes as they are typed after --sweep."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runner.errors import UsageError
from runner.sweep.dimensions import Dimension
from runner.sweep.expressions import parse_axis

ANY_TEXT = st.text(st.characters(exclude_categories=[]))
LIKELY_TEXT = st.text(st.sampled_from("0123456789.,:;eE+-()[]{}\"'\\ \nabinflogchoiceut"), max_size=30)
ITEMS = st.text(st.characters(codec="utf-8", exclude_characters="\"'"), max_size=8)


def values_of(text: str) -> list[str]:
    made = parse_axis("x", text)
    return [made.value(index) for index in range(made.num_values or 0)]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1e-3,3e-3,1e-2", ["1e-3", "3e-3", "1e-2"]),
        ("adam", ["adam"]),
        (" 1 , 2 ", ["1", "2"]),
        ("[1,2],[3,4]", ["[1,2]", "[3,4]"]),
        ('["a,]", b],{c: "d,\\"e"}', ['["a,]", b]', '{c: "d,\\"e"}']),
        ("(1,2),(3,4)", ["(1,2)", "(3,4)"]),
        ("\"a,b\",'c'", ["a,b", "c"]),
        ("'\"None\"',None", ['"None"', "None"]),
        ("'0..4','log(1,2)'", ["0..4", "log(1,2)"]),
        ('a,""', ["a", ""]),
        ("don't,won't", ["don't", "won't"]),
        ("../a,/b/../c", ["../a", "/b/../c"]),
        ("f(1),g(2)", ["f(1)", "g(2)"]),
        ("choice(a,b)", ["a", "b"]),
        ("choice( 'a,b' ,[c,d])", ["a,b", "[c,d]"]),
        ("0..4", ["0", "1", "2", "3", "4"]),
        ("-2..2:2", ["-2", "0", "2"]),
        ("3..3", ["3"]),
        ("0..1:0.25", ["0.0", "0.25", "0.5", "0.75", "1.0"]),
        ("0..1:0.3", ["0.0", "0.3", "0.6", "0.9"]),
        ("0.1 .. 0.3 : 1e-1", ["0.1", "0.2", "0.3"]),
        ("-.5...5:.5", ["-0.5", "0.0", "0.5"]),
        ("int(2,5)", ["2", "3", "4", "5"]),
    ],
)
def test_values(text: str, values: list[str]) -> None:
    assert values_of(text) == values


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("log(1e-4,1e-1)", Dimension("x", low=1e-4, high=0.1, log=True)),
        ("uniform(0,0.5)", Dimension("x", low=0.0, high=0.5)),
        ("uniform( -1 , 1 )", Dimension("x", low=-1.0, high=1.0)),
        ("int(2,64,log)", Dimension("x", low=2, high=64, step=1, log=True, is_int=True)),
        ("0..1000000000", Dimension("x", low=0, high=10**9, step=1, is_int=True)),
    ],
)
def test_ranges(text: str, made: Dimension) -> None:
    assert parse_axis("x", text) == made


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "values are needed"),
        ("  ", "values are needed"),
        ("choice()", "the list is empty"),
        ("1,,2", "missing at a comma"),
        ("1,2,", "missing at a comma"),
        ("a,b,a", "a is there twice"),
        ("4..0", "low end 4 is larger than the high end 0"),
        ("uniform(1,0)", "larger than the high end"),
        ("log(0,1)", "above 0"),
        ("int(0,8,log)", "above 0"),
        ("0..4:0", "step must be larger than 0"),
        ("0..4:-1", "step must be larger than 0"),
        ("0..1:2", "larger than the range"),
        ("0..inf", "finite"),
        ("-inf..0:1", "finite"),
        ("uniform(nan,1)", "finite"),
        ("uniform(0,1e999)", "too large"),
        ("0..0.5", "needs a step, such as 0..0.5:0.05; all numbers between are uniform(0,0.5)"),
        ("0..x", "is no range"),
        ("0..4,8", "0..4 must stand alone"),
        ("log(1,2),3", "log(1,2) must stand alone"),
        ("[1,2", "a ] is missing"),
        ("[1,2)", "a ) closes nothing"),
        ("log(1,2", "a ) is missing"),
        ("a]", "a ] closes nothing"),
        ("'a,b", "a closing ' is missing"),
        ("lgo(1,2)", "no function lgo, only choice, int, log, uniform; put a text with brackets in quotes. Did"),
        ("loguniform(1,2)", "Did you mean log?"),
        ("log(1)", "a low and a high end: log(1e-4,1e-1)"),
        ("uniform(1,2,3)", "a low and a high end"),
        ("uniform(a,b)", "'a' is not a number"),
        ("int(0.5,2)", "0.5 is not a whole number"),
        ("int(1,2,lgo)", "int(2,8) or int(2,64,log)"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_the_flag_as_typed(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_axis("l_rate", text)
    assert str(caught.value).startswith(f"--sweep l_rate={text}: ")
    assert message in str(caught.value)
    assert str(caught.value)[-1] in ".?"


def test_a_long_text_is_cut_in_messages() -> None:
    with pytest.raises(UsageError) as caught:
        parse_axis("x", ",".join(["1"] * 10_000))
    assert len(str(caught.value)) < 200


@given(st.one_of(ANY_TEXT, LIKELY_TEXT))
@example("0..\u0663")
@example("(" * 5000)
@example("1" * 5000 + "..2")
@example("0..1e308:1e-308")
def test_any_text_is_read_or_refused_and_what_is_read_survives_json(text: str) -> None:
    try:
        made = parse_axis("x", text)
    except UsageError:
        return
    assert Dimension.from_json(json.loads(json.dumps(made.to_json()))) == made
    if made.values is None:
        assert parse_axis("x", made.describe()) == made


@given(st.lists(ITEMS, min_size=1, unique=True), st.sampled_from("\"'"))
def test_quotes_protect_everything(items: list[str], quote: str) -> None:
    assert values_of(",".join(f"{quote}{item}{quote}" for item in items)) == items
