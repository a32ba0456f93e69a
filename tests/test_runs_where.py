"""The language of ``--where``: it means what Python means, and no text whatever makes it fall over."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.browser.records import MISSING
from runner.browser.where import Where
from runner.errors import UsageError

VALUES: dict[str, Any] = {
    "l_rate": 0.003,
    "num_epochs": 3,
    "state": "completed",
    "tags": ["good", "baseline"],
    "train": True,
    "monitor": None,
    "val/loss": 0.25,
    "test.test_acc": 0.98,
    "adam_betas": [0.9, 0.999],
    "broken": float("nan"),
}


def lookup(name: str) -> Any:
    return VALUES.get(name, MISSING)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("l_rate < 0.01 and state == 'completed'", True),
        ("l_rate<1e-3 or num_epochs>=3", True),
        ("0.001 < l_rate <= 0.003", True),
        ("not (l_rate < 0.01)", False),
        ("not not train", True),
        ("'good' in tags and 'draft' not in tags", True),
        ("'comp' in state", True),
        ('state in ("failed", "completed",)', True),
        ("num_epochs in [1, 2]", False),
        ("adam_betas == [0.9, 0.999]", True),
        ("`val/loss` < .3", True),
        ("test.test_acc > 0.9", True),
        ("monitor == none", True),
        ("train == true", True),
        ("num_epochs > -1", True),
        ("broken < 1", False),
        ("broken != 1", True),
        ("state == 'it\\'s'", False),
        # what a run does not have, or what cannot be compared, does not match, and neither does its opposite
        ("nowhere < 1", False),
        ("not nowhere < 1", False),
        ("nowhere == none", False),
        ("nowhere < 1 or train", True),
        ("state < 3", False),
        ("not state < 3", False),
        ("3 in state", False),
        ("nowhere not in ('a', 'b')", False),
        ("1 in (nowhere, 1)", True),
        ("2 not in (nowhere, 1)", False),
        ("l_rate in ()", False),
        ("l_rate not in []", True),
        ("'\\n' in 'a\nb'", True),
        ("'\\\\n' == 'n'", False),
    ],
)
def test_conditions(condition: str, expected: bool) -> None:
    """Each form of the grammar once."""
    assert Where(condition).matches(lookup) is expected


@pytest.mark.parametrize(
    ("condition", "words", "column"),
    [
        ("l_rate = 3", "write ==", 8),
        ("l_rate < ", "not the end", 10),
        ("val/loss < 3", "backticks", 4),
        ("(l_rate < 3", ") expected", 12),
        ("l_rate < 3)", "not ')'", 11),
        ("a && b", "write and", 3),
        ("a == 'b", "the text has no end", 6),
        ("`val/loss < 3", "the other `", 1),
        ("a not b", "in expected", 7),
        ("and a", "not 'and'", 1),
        ("a b", "and, or or the end expected", 3),
        ("__import__('os').system('true')", "cannot read '.system'", 17),
        ("", "not the end", 1),
        ("a\t== \x1b[31m", "cannot read '\\\\x1b'", 6),
    ],
)
def test_errors_point_at_the_place(condition: str, words: str, column: int) -> None:
    """The mark stands below the character that cannot be read; control characters are shown as text."""
    with pytest.raises(UsageError) as caught:
        Where(condition)
    message, line, mark = str(caught.value).split("\n")
    assert words in message
    assert f"column {column}" in message
    assert set(mark.strip()) == {"^"}
    assert line.isprintable()
    if condition.isprintable():
        assert mark.index("^") - 2 == column - 1


def test_what_is_too_much() -> None:
    """Long conditions and deep ones are refused, not tried; flat ones may be long."""
    for condition in ("(" * 5000 + "1" + ")" * 5000, "[" * 60, "x" * 20_000):
        with pytest.raises(UsageError):
            Where(condition)
    assert Where(" and ".join(["train"] * 1000)).matches(lookup)
    assert Where("not " * 2000 + "train").matches(lookup)
    assert Where("1" * 300 + " < 1e300").matches(lookup)


# --- against Python -------------------------------------------------------------------------------------------------

NUMBERS = {"a": 3, "b": 0.25, "c": -7.5, "d": 1e-3, "yes": True}
TEXTS = {"s": "completed", "t": "HelloLesion"}
number = st.one_of(
    st.sampled_from(sorted(NUMBERS)), st.integers(-99, 99).map(str), st.floats(-1e6, 1e6).map(repr), st.just("3")
)
text = st.one_of(st.sampled_from(sorted(TEXTS)), st.sampled_from(["'completed'", '"Hello"', "'x y'", "''", "'o'"]))
order = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
contained = st.sampled_from(["in", "not in"])
atom = st.one_of(
    st.builds(lambda x, op, y: f"{x} {op} {y}", number, order, number),
    st.builds(lambda x, p, y, q, z: f"{x} {p} {y} {q} {z}", number, order, number, order, number),
    st.builds(lambda x, op, y: f"{x} {op} {y}", text, order, text),
    st.builds(lambda x, word, y: f"{x} {word} {y}", text, contained, text),
    st.builds(lambda x, word, ys: f"{x} {word} [{', '.join(ys)}]", number, contained, st.lists(number, max_size=4)),
    number,
)
condition = st.recursive(
    atom,
    lambda inner: st.one_of(
        st.builds(lambda x: f"not {x}", inner),
        st.builds(lambda x: f"({x})", inner),
        st.builds(lambda x, op, y: f"{x} {op} {y}", inner, st.sampled_from(["and", "or"]), inner),
    ),
    max_leaves=12,
)


@given(condition)
@settings(max_examples=400, deadline=None)
def test_it_means_what_python_means(written: str) -> None:
    """Conditions that are also Python come out as Python has them."""
    values = NUMBERS | TEXTS
    expected = bool(eval(written, {"__builtins__": {}}, values))
    assert Where(written).matches(lambda name: values.get(name, MISSING)) is expected


WORDS = "a b.c `x/y` 1 -2.5 'x' \" ' ` ( ) [ ] , < <= == != = in not and or none \\ \x00 \x1b é 世 / . 1e9"
tokens = st.lists(st.sampled_from(WORDS.split(" ")) | st.text(max_size=5), max_size=25)
anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(MISSING)


@given(tokens.map(" ".join) | st.text(), st.dictionaries(st.sampled_from(["a", "b.c", "x/y"]), anything))
@settings(max_examples=500, deadline=None)
def test_no_text_makes_it_fall_over(written: str, values: dict[str, Any]) -> None:
    """It is a condition, or it is refused with one message that can be printed."""
    where = refusal = None
    try:
        where = Where(written)
    except UsageError as error:
        refusal = str(error).replace("\n", "")
    if where is None:
        assert refusal
        assert refusal.isprintable()
    else:
        assert where.matches(lambda name: values.get(name, MISSING)) in (True, False)
