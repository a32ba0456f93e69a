"""The points of a grid are numbered without gaps or repetitions, and what was added to a grid is known exactly."""

import json
import time
from collections.abc import Sequence
from enum import Enum
from itertools import product
from typing import Any

import param
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import LightningContainer
from runner.errors import ParameterError, UsageError
from runner.params.kinds import IntOrFloat
from runner.sweep.expressions import dimension_from_text
from runner.sweep.space import Condition, Dimension, SearchSpace, SpaceError, check_space

Point = frozenset[tuple[str, str]]


def space_of(**axes: str) -> SearchSpace:
    return SearchSpace(tuple(dimension_from_text(name, text) for name, text in axes.items()))


def listed(name: str, values: Sequence[str], condition: Condition | None = None) -> Dimension:
    return Dimension(name, values=tuple(values), condition=condition)


def points_of(*spaces: SearchSpace) -> list[Point]:
    return [frozenset(space.point(index).items()) for space in spaces for index in range(space.num_points or 0)]


# --- points ---------------------------------------------------------------------------------------------------------


def test_the_last_dimension_is_the_fastest() -> None:
    space = space_of(a="x,y", b="0..2")
    assert space.num_points == 6
    assert [tuple(space.point(index).values()) for index in range(6)] == list(product("xy", "012"))
    assert list(space.point(0)) == ["a", "b"]


def test_a_grid_without_dimensions_has_one_point() -> None:
    assert (SearchSpace(()).num_points, SearchSpace(()).point(0)) == (1, {})


@pytest.mark.parametrize("index", [-1, 6, 10**30])
def test_there_are_no_other_points(index: int) -> None:
    with pytest.raises(IndexError):
        space_of(a="x,y", b="0..2").point(index)


def test_a_continuous_dimension_has_no_grid() -> None:
    space = space_of(a="x,y", b="uniform(0,1)")
    assert space.num_points is None
    with pytest.raises(IndexError):
        space.point(0)


def test_a_huge_grid_answers_at_once() -> None:
    start = time.process_time()
    space = space_of(a="0..999999999", b="0..1:0.001", c=",".join(map(str, range(1000))))
    assert space.num_points == 10**9 * 1001 * 1000
    assert space.point(space.num_points - 1) == {"a": "999999999", "b": "1.0", "c": "999"}
    assert time.process_time() - start < 0.2


def test_conditional_parameters_are_varied_only_where_they_exist() -> None:
    space = SearchSpace(
        (
            listed("nesterov", ("on", "off"), Condition("momentum", ("0.9",))),
            listed("optimizer", ("adam", "sgd")),
            listed("momentum", ("0", "0.9"), Condition("optimizer", ("sgd",))),
            listed("seed", ("1", "2")),
        )
    )
    assert [each.name for each in space.dimensions] == ["optimizer", "momentum", "nesterov", "seed"]
    assert space.num_points == 8
    assert [" ".join(space.point(index).values()) for index in range(8)] == [
        "adam 1",
        "adam 2",
        "sgd 0 1",
        "sgd 0 2",
        "sgd 0.9 on 1",
        "sgd 0.9 on 2",
        "sgd 0.9 off 1",
        "sgd 0.9 off 2",
    ]


def test_a_condition_may_be_about_a_value_of_a_huge_range() -> None:
    space = SearchSpace(
        (Dimension("n", low=0, high=10**9, is_int=True), listed("x", "abc", Condition("n", ("7", "1000000000"))))
    )
    assert space.num_points == 10**9 + 1 + 4
    assert [space.point(index) for index in (6, 7, 9, 10, 10**9 + 4)] == [
        {"n": "6"},
        {"n": "7", "x": "a"},
        {"n": "7", "x": "c"},
        {"n": "8"},
        {"n": "1000000000", "x": "c"},
    ]


def test_values_of_conditions_are_kept_as_the_parent_writes_them() -> None:
    space = SearchSpace((listed("x", "ab", Condition("rate", ("0.001", "1e-3", "0.0010"))), listed("rate", ("1e-3",))))
    assert space.dimensions[1].condition == Condition("rate", ("1e-3",))
    assert space.num_points == 2


def test_thousands_of_dimensions_that_depend_on_each_other() -> None:
    chain = [listed("p0", "ab")] + [listed(f"p{i}", "ab", Condition(f"p{i - 1}", ("a",))) for i in range(1, 3000)]
    space = SearchSpace(tuple(reversed(chain)))
    assert space.num_points == 3001
    assert len(space.point(0)) == 3000
    assert space.point(3000) == {"p0": "b"}


@pytest.mark.parametrize(
    ("dimensions", "message"),
    [
        ([listed("a", "xy"), listed("a", "z")], "a is there twice."),
        ([listed("b", "z", Condition("aa", ("x",)))], "b depends on aa, which does not vary in the sweep."),
        (
            [listed("optimizer", "x"), listed("b", "z", Condition("optimiser", ("x",)))],
            "b depends on optimiser, which does not vary in the sweep. Did you mean optimizer?",
        ),
        (
            [listed("a", ("adam", "sgd")), listed("b", "z", Condition("a", ("adm",)))],
            "b depends on a being adm; allowed: adam,sgd. Did you mean adam?",
        ),
        ([listed("a", "x"), listed("b", "z", Condition("a", ()))], "b depends on a, but on no value of it."),
        (
            [Dimension("a", low=0, high=1), listed("b", "z", Condition("a", ("0.5",)))],
            "b depends on a, which has no steps: uniform(0.0,1.0).",
        ),
        ([listed("a", "x", Condition("a", ("x",)))], "a depends in a circle on a."),
        (
            [listed("a", "x", Condition("b", ("x",))), listed("b", "x", Condition("a", ("x",)))],
            "a depends in a circle on a, b.",
        ),
    ],
)
def test_dimensions_that_do_not_go_together(dimensions: list[Dimension], message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        SearchSpace(tuple(dimensions))
    assert (str(caught.value), caught.value.parameter) == (
        message,
        dimensions[-1].name if "a d" not in message else "a",
    )


@st.composite
def conditional_spaces(draw: st.DrawFn) -> SearchSpace:
    dimensions: list[Dimension] = []
    for place in range(draw(st.integers(1, 5))):
        values = [str(each) for each in range(draw(st.integers(1, 3)))]
        condition = None
        if draw(st.booleans()) and dimensions:
            parent = draw(st.sampled_from(dimensions))
            assert parent.num_values is not None
            allowed = st.sampled_from([parent.value(index) for index in range(parent.num_values)])
            condition = Condition(parent.name, tuple(draw(st.lists(allowed, min_size=1, unique=True))))
        if draw(st.booleans()):
            dimensions.append(listed(f"p{place}", values, condition))
        else:
            made = Dimension(f"p{place}", low=0, high=len(values) - 1, is_int=True, condition=condition)
            dimensions.append(made)
    shuffled = st.permutations(dimensions)
    return SearchSpace(tuple(draw(shuffled)))


def brute_force(space: SearchSpace) -> set[Point]:
    """All settings that there are, by trying every combination and leaving out what does not exist."""
    names = [each.name for each in space.dimensions]
    found = set()
    for values in product(*([each.value(i) for i in range(each.num_values or 0)] for each in space.dimensions)):
        point: dict[str, str] = {}
        for each, value in zip(space.dimensions, values, strict=True):
            if each.is_active(point):
                point[each.name] = value
        assert list(point) == [name for name in names if name in point]
        found.add(frozenset(point.items()))
    return found


@given(conditional_spaces())
def test_each_setting_is_one_point(space: SearchSpace) -> None:
    points = points_of(space)
    assert len(points) == space.num_points
    assert len(set(points)) == len(points)
    assert set(points) == brute_force(space)


@given(conditional_spaces())
def test_a_space_is_the_same_after_json(space: SearchSpace) -> None:
    assert SearchSpace.from_json(json.loads(json.dumps(space.to_json()))) == space


@pytest.mark.parametrize(
    "body", [None, [], {}, {"dimensions": {}}, {"dimensions": [{}]}, {"dimensions": [], "more": 1}]
)
def test_json_is_read_strictly(body: object) -> None:
    with pytest.raises(UsageError, match="This is no "):
        SearchSpace.from_json(body)


def test_json_of_dimensions_that_do_not_go_together() -> None:
    dimension = listed("a", "x").to_json()
    with pytest.raises(UsageError, match="a is there twice"):
        SearchSpace.from_json({"dimensions": [dimension, dimension]})


# --- what was added -------------------------------------------------------------------------------------------------


def test_nothing_was_added() -> None:
    space = space_of(a="1,2", b="uniform(0,1)")
    assert space.difference(space) == []
    assert space_of(a="2,1", b="0..3").difference(space_of(b="0,1,2,3", a="1,2")) == []


def test_a_new_value_makes_a_new_box() -> None:
    old, new = space_of(a="1,2", b="x,y"), space_of(a="1,2,3", b="x,y,z")
    boxes = new.difference(old)
    assert [[each.describe() for each in box.dimensions] for box in boxes] == [["3", "x,y,z"], ["1,2", "z"]]


def test_ranges_of_any_size_can_be_extended() -> None:
    old, new = space_of(a="10..1000000000", b="x"), space_of(a="0..2000000000", b="x")
    (below, above) = new.difference(old)
    assert [box.dimensions[0].describe() for box in (below, above)] == ["0..9", "1000000001..2000000000"]


def test_a_sweep_can_be_extended_again_and_again() -> None:
    """The boxes of all extensions before count, however they were cut."""
    have = [space_of(a="1,2", b="x")]
    for new in (space_of(a="1,2,3", b="x"), space_of(a="1,2,3", b="x,y"), space_of(a="0..5", b="z,x,y")):
        have += new.difference(*have)
        assert len(points_of(*have)) == len(set(points_of(*have))) == new.num_points
        assert new.difference(*have) == []


@given(
    st.lists(
        st.lists(st.sets(st.integers(0, 4), min_size=1), min_size=3, max_size=3).map(tuple),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(["list", "range"]),
)
def test_boxes_are_disjoint_and_complete(axes: list[tuple[set[int], ...]], kind: str) -> None:
    """However often values are added."""
    grown: list[set[int]] = [set(), set(), set()]
    have: list[SearchSpace] = []
    for more in axes:
        grown = [one | other for one, other in zip(grown, more, strict=True)]
        texts = [f"{min(each)}..{max(each)}" if kind == "range" else ",".join(map(str, each)) for each in grown]
        new = space_of(**dict(zip("abc", texts, strict=True)))
        have += new.difference(*have)
        points = points_of(*have)
        assert len(points) == len(set(points))
        assert set(points) == set(points_of(new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ({"a": "1,2"}, {"a": "2,3"}, "a had 1 before"),
        ({"a": "0..5"}, {"a": "2..3"}, "a had 0..1, 4..5 before"),
        ({"a": "0..5"}, {"a": "7..9"}, "a had 0..5 before"),
        ({"a": "0..6:2"}, {"a": "1..7:2"}, "a had 0,2,4,6 before"),
        ({"a": "1"}, {"b": "1"}, "a varied before; b did not vary before"),
        ({"a": "uniform(0,1)"}, {"a": "uniform(0,2)"}, "a was uniform(0.0,1.0), now uniform(0.0,2.0)"),
        ({"a": "1,2"}, {"a": "log(1,2)"}, "a was 1,2, now log(1.0,2.0)"),
        ({"a": "1", "b": "log(1,2)"}, {"a": "1,2", "b": "log(1,2)"}, "without steps"),
        ({"a": "0..1000000"}, {"a": "0..1000000:2"}, "too many values to compare"),
    ],
)
def test_only_values_can_be_added(old: dict[str, str], new: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        space_of(**new).difference(space_of(**old))
    assert message in str(caught.value)


def test_spaces_with_conditions_must_be_the_same() -> None:
    parent = listed("a", "xy")
    old = SearchSpace((parent, listed("b", "z", Condition("a", ("x",)))))
    assert old.difference(old) == []
    for dimension in (listed("b", "z", Condition("a", ("y",))), listed("b", "zw", Condition("a", ("x",)))):
        with pytest.raises(UsageError, match="condition"):
            SearchSpace((parent, dimension)).difference(old)


# --- what the container takes ---------------------------------------------------------------------------------------


class Size(Enum):
    SMALL = 1
    LARGE = 2


class Swept(LightningContainer):
    count = param.Integer(default=1, bounds=(0, 100))
    rate = param.Number(default=0.1, bounds=(0, 1), inclusive_bounds=(False, True))
    size = param.ClassSelector(class_=Size, default=Size.SMALL)
    kernel: Any = param.Selector(default=3, objects=[1, 3, 5])
    part = IntOrFloat(default=1.0)
    widths = param.List(default=[8], item_type=int)
    label = param.String(default="")
    flag = param.Boolean(default=False)
    maybe = param.Integer(default=None, allow_None=True)
    fixed = param.Integer(default=1, constant=True)


def made() -> Swept:
    return Swept()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "axes",
    [
        {"count": "1,2", "rate": "1e-3,1", "size": "SMALL,LARGE", "kernel": "1,5", "flag": "on,off"},
        {"widths": "[8,16],[32]", "label": "a,b,''", "maybe": "None,3", "part": "1,1.0"},
        {"count": "0..100", "rate": "log(1e-4,1)", "part": "uniform(0,1)"},
        {"rate": "0.25..1:0.25", "count": "int(1,64,log)", "kernel": "1..5:2", "maybe": "0..3"},
        {"random_seed": "0..4", "rate": "int(1,1)"},
    ],
)
def test_values_that_the_container_takes(axes: dict[str, str]) -> None:
    check_space(space_of(**axes), made())


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("cuont", "1,2", "Swept has no parameter 'cuont'. Did you mean count?"),
        ("lr", "1,2", "Did you mean l_rate?"),
        ("resume", "a,b", "resume is an option of the program"),
        ("fixed", "1,2", "cannot be set from outside"),
        ("count", "1,x", "count=x: 'x' is not an int; allowed: int in [0, 100]."),
        ("count", "1,101", "count=101: "),
        ("count", "0..101", "count=101: "),
        ("count", "uniform(0,1)", "count takes whole numbers; write int(0,1), or int: true"),
        ("count", "0..1:0.5", "whole numbers"),
        ("rate", "uniform(0,1)", "rate=0.0: "),
        ("rate", "int(1,2)", "rate=2: "),
        ("rate", "1e-3,0.001", "rate: 1e-3 and 0.001 mean the same value."),
        ("rate", "1,1.0", "1 and 1.0 mean the same value"),
        ("size", "SMALL,small", "SMALL and small mean the same value"),
        ("widths", "[1,2],'1, 2'", "[1,2] and 1, 2 mean the same value"),
        ("size", "TINY", "one of SMALL, LARGE"),
        ("kernel", "1..5", "kernel=2: "),
        ("kernel", "uniform(1,5)", "kernel=1.0"),
        ("label", "0..4", "label=0..4: a range is for numbers"),
        ("flag", "0..1", "flag=0..1: a range is for numbers"),
    ],
)
def test_values_that_the_container_does_not_take(name: str, text: str, message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        check_space(space_of(**{name: text}), made())
    assert str(caught.value).startswith("--sweep: ")
    assert message in str(caught.value)


def test_ten_thousand_values_are_checked_fast() -> None:
    start = time.process_time()
    space = space_of(rate=",".join(str((each + 1) / 10_001) for each in range(10_000)))
    check_space(space, made())
    assert space.num_points == 10_000
    assert time.process_time() - start < 2
