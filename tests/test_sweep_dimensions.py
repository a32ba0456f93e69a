"""Dimensions are lists or ranges, with exact decimals and text that is read as the same number."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from runner.errors import UsageError
from runner.sweep.dimensions import Condition, Dimension, value_text

DECIMALS = st.decimals(-1000, 1000, places=4).map(float)
STEPS = st.decimals("0.0001", 50, places=4).map(float)


def values_of(dimension: Dimension) -> list[str]:
    return [dimension.value(index) for index in range(dimension.num_values or 0)]


def test_floats_count_as_the_decimals_they_are_written_as() -> None:
    """No 0.30000000000000004."""
    assert values_of(Dimension("x", low=0, high=0.4, step=0.1)) == ["0.0", "0.1", "0.2", "0.3", "0.4"]
    assert values_of(Dimension("x", low=1e-5, high=4e-5, step=1e-5)) == ["1e-05", "2e-05", "3e-05", "4e-05"]


def test_what_the_step_does_not_reach_is_cut_off() -> None:
    assert Dimension("x", low=0, high=1, step=0.3).ends == (0.0, 0.9)
    assert Dimension("x", low=1, high=8, step=3, is_int=True).ends == (1, 7)
    assert Dimension("x", low=0, high=1, step=0.3) == Dimension("x", low=0.0, high=0.95, step=0.3)


@given(DECIMALS, DECIMALS, STEPS)
def test_a_range_with_steps_is_the_same_after_json(low: float, high: float, step: float) -> None:
    """Cutting off what the step does not reach is done once: also where a sum of decimals has no float."""
    assume(low + step <= high)
    made = Dimension("x", low=low, high=high, step=step)
    assert Dimension.from_json(json.loads(json.dumps(made.to_json()))) == made
    assert made.num_values is not None
    for index in {0, 1, made.num_values // 2, made.num_values - 1}:
        assert made.index_of(made.value(index)) == index
        assert low <= float(made.value(index)) <= high
    assert made.value(made.num_values - 1) == repr(made.high)
    with pytest.raises(IndexError):
        made.value(made.num_values)


@given(st.floats(-1e300, 1e300), st.floats(1e-300, 1e300), st.integers(0, 50))
@example(-268435456.2558594, 4 * 5.960464477539063e-08, 9)
@example(-268435456.2558594, 5.960464477539063e-08, 1)
def test_odd_floats_make_distinct_values(low: float, step: float, count: int) -> None:
    try:
        made = Dimension("x", low=low, high=low + count * step, step=step)
    except ValueError as error:
        assert "step" in str(error)  # noqa: PT017 - the step is larger than the range, or lost in it
        return
    assert Dimension.from_json(json.loads(json.dumps(made.to_json()))) == made
    values = values_of(made)
    assert len(set(map(float, values))) == len(values)
    assert [made.index_of(value) for value in values] == list(range(len(values)))


def test_ranges_of_any_size_answer_at_once() -> None:
    made = Dimension("x", low=0, high=10**30, is_int=True)
    assert made.num_values == 10**30 + 1
    assert made.value(10**29) == str(10**29)
    assert made.index_of(str(10**30)) == 10**30
    assert Dimension("x", low=1e-300, high=1e300, step=1e285).num_values is not None


def test_a_continuous_range_has_no_values() -> None:
    made = Dimension("x", low=0, high=1)
    assert (made.num_values, made.index_of("0.5"), made.ends) == (None, None, (0.0, 1.0))
    assert type(made.low) is float
    with pytest.raises(IndexError):
        made.value(0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": ()}, "empty"),
        ({"values": ("a", "b", "a")}, "a is there twice"),
        ({"values": ("a",), "low": 1}, "not both"),
        ({"low": 1}, "both ends"),
        ({"low": 2, "high": 1}, "larger than the high end"),
        ({"low": 0, "high": 1, "log": True}, "above 0"),
        ({"low": 0, "high": float("inf")}, "finite"),
        ({"low": float("nan"), "high": 1}, "finite"),
        ({"low": 0, "high": 10**400}, "too large"),
        ({"low": 0, "high": 1, "step": 0}, "larger than 0"),
        ({"low": 0, "high": 1, "step": -0.5}, "larger than 0"),
        ({"low": 0, "high": 1, "step": 1.5}, "larger than the range"),
        ({"low": 0, "high": 1, "step": float("nan")}, "finite"),
        ({"low": 1e17, "high": 1e18, "step": 1.0}, "too small"),
        ({"low": 1, "high": 2, "step": 0.1, "log": True}, "no step"),
        ({"low": 1, "high": 8, "step": 2, "log": True, "is_int": True}, "no step"),
        ({"low": 0.5, "high": 2, "is_int": True}, "whole"),
    ],
)
def test_what_is_no_dimension(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Dimension("x", **arguments)


def test_values_are_found_by_text_then_by_number_of_the_same_type() -> None:
    listed = Dimension("x", values=("1e-3", "1", "1.0", "abc", "nan"))
    found = [listed.index_of(text) for text in ("0.001", "1", "1.0", "1.00", "01", "abc", "nan", "2")]
    assert found == [0, 1, 2, 2, 1, 3, 4, None]
    whole = Dimension("x", low=0, high=8, step=2, is_int=True)
    assert [whole.index_of(text) for text in ("4", "4.0", "3", "10", "-2", "inf", "x", "")] == [2, *[None] * 7]
    assert Dimension("x", low=0, high=1, step=0.25).index_of("5e-1") == 2


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers())
def test_sampled_numbers_lose_nothing(real: float, whole: int) -> None:
    assert float(value_text(Dimension("x", low=0, high=1), real)) == real
    assert value_text(Dimension("x", low=0, high=1, is_int=True), whole) == str(whole)


def test_numbers_of_numpy_are_written_as_numbers() -> None:
    assert value_text(Dimension("x", low=0, high=1), np.float64(0.1)) == "0.1"
    assert value_text(Dimension("x", low=0, high=9, is_int=True), np.float64(3)) == "3"


def test_describe() -> None:
    described = {
        "a,b": Dimension("x", values=("a", "b")),
        "0,1,2,3,4,5,...": Dimension("x", values=tuple(map(str, range(9)))),
        "0..4": Dimension("x", low=0, high=4, is_int=True),
        "0..4:2": Dimension("x", low=0, high=4, step=2, is_int=True),
        "0.0..1.0:0.5": Dimension("x", low=0, high=1, step=0.5),
        "uniform(0.0,1.0)": Dimension("x", low=0, high=1),
        "log(0.1,1.0)": Dimension("x", low=0.1, high=1, log=True),
        "int(2,8,log)": Dimension("x", low=2, high=8, log=True, is_int=True),
    }
    assert {text: made.describe() for text, made in described.items()} == {text: text for text in described}


def test_a_condition_holds_where_the_other_parameter_has_one_of_the_values() -> None:
    made = Dimension("x", values=("1",), condition=Condition("optimizer", ("sgd", "lion")))
    assert made.is_active({"optimizer": "lion"})
    assert not made.is_active({"optimizer": "adam"})
    assert not made.is_active({})
    assert replace(made, condition=None).is_active({})


@pytest.mark.parametrize(
    "change",
    [
        {"name": 1},
        {"values": "ab"},
        {"values": [1]},
        {"values": []},
        {"low": True},
        {"log": 1},
        {"more": 1},
        {"condition": {"parameter": "a"}},
        {"condition": {"parameter": "a", "values": [1]}},
        {"condition": []},
    ],
)
def test_json_is_read_strictly(change: dict[str, Any]) -> None:
    body = Dimension("x", values=("1",), condition=Condition("y", ("2",))).to_json()
    assert Dimension.from_json(body).condition == Condition("y", ("2",))
    wrong: list[Any] = [body | change, None, [], {}]
    for each in wrong:
        with pytest.raises(UsageError, match="no dimension"):
            Dimension.from_json(each)
