"""The form in which models give what they predict: what is taken, and what is told about the rest."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.special import expit, softmax

from runner.evaluation.predictions import TRUTH_OF, FormError, Predictions, join_batches, means_form, read_batch

LOGITS = [[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]]


def joined(*found: dict[str, Any]) -> Predictions:
    return join_batches([read_batch(each) for each in found])


def test_logits_become_probabilities() -> None:
    """By softmax; batches follow one another, and names are numbers where none are given."""
    found = joined({"logits": LOGITS, "labels": [0, 2]}, {"logits": LOGITS[:1], "labels": [1], "loss": 3})
    assert found.kind == "classification"
    np.testing.assert_allclose(found.values, softmax([*LOGITS, LOGITS[0]], axis=1), rtol=1e-6)
    assert found.truth.tolist() == [0, 2, 1]
    assert found.ids == ("", "", "")
    assert found.names == ("0", "1", "2")


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
@pytest.mark.parametrize("key", ["logits", "probabilities"])
def test_one_column_is_the_second_of_two_classes(key: str, shape: tuple[int, ...]) -> None:
    """With labels of floats too, as a binary cross entropy wants them."""
    values = np.array([0.25, 0.75, 1.0], dtype=np.float32).reshape(shape)
    found = joined({key: values, "labels": np.array([0.0, 1.0, 1.0]).reshape(shape), "names": ["no", "yes"]})
    expected = expit(values) if key == "logits" else values
    np.testing.assert_allclose(found.values[:, 1], expected.reshape(-1), rtol=1e-6)
    np.testing.assert_allclose(found.values.sum(axis=1), 1)
    assert found.truth.tolist() == [0, 1, 1]
    assert found.names == ("no", "yes")


def test_huge_logits() -> None:
    """They are as sure as can be, and not NaN."""
    found = joined({"logits": np.array([[3e38, -3e38], [-1e30, 1e30]], dtype=np.float32), "labels": [0, 0]})
    assert found.values.tolist() == [[1, 0], [0, 1]]


def test_probabilities_of_half_precision_are_scaled_to_a_sum_of_one() -> None:
    """Their sum is 1 but for rounding."""
    found = joined({"probabilities": np.array([[0.3331, 0.3331, 0.3331]], dtype=np.float16), "labels": [True]})
    assert found.values.sum() == pytest.approx(1, abs=1e-12)


def test_numbers() -> None:
    """One output or several; ids are of any kind."""
    found = joined(
        {"predictions": [1.0, 2.0], "targets": [[1], [3]], "ids": np.array([7, 8])},
        {"predictions": [4], "targets": [4], "ids": ("x",)},
    )
    assert found.kind == "regression"
    assert found.values.tolist() == [[1], [2], [4]]
    assert found.truth.tolist() == [[1], [3], [4]]
    assert found.ids == ("7", "8", "x")


def test_a_batch_is_no_view_of_what_the_model_returned() -> None:
    """A view would keep all of it in memory, and change with it."""
    for dtype in (np.float32, np.float64):
        values = np.zeros((2, 3), dtype=dtype)
        batch = read_batch({"logits": values, "labels": [0, 1]})
        assert not np.shares_memory(batch.values, values)


def test_an_empty_batch_may_be_among_others() -> None:
    """A model may filter the items of a batch."""
    empty = {"logits": np.empty((0, 3)), "labels": np.empty(0)}
    assert joined(empty, {"logits": LOGITS, "labels": [0, 2]}).truth.tolist() == [0, 2]
    with pytest.raises(FormError, match="there are no items"):
        joined(empty)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({}, "needed are labels with logits or probabilities, or targets with predictions; there are none"),
        ({"scores": [1.0], "labels": [0]}, "there are scores, labels"),
        ({"predictions": [1], "labels": [1]}, "there are predictions, labels"),
        ({"logits": [1.0], "probabilities": [1.0], "labels": [0]}, "there are logits, probabilities, labels"),
        ({"logits": np.zeros((2, 3, 4, 4)), "labels": [0, 1]}, r"logits are \(2, 3, 4, 4\); needed is \(batch,\) or"),
        ({"logits": 1.0, "labels": 0}, r"logits are \(\); needed"),
        ({"logits": LOGITS, "labels": [0]}, r"logits are \(2, 3\), but labels are \(1,\)"),
        ({"logits": LOGITS, "labels": np.eye(3)[:2]}, r"labels are \(2, 3\); needed is \(batch,\)"),
        ({"logits": LOGITS, "labels": [0.5, 1]}, "labels are no whole numbers"),
        ({"logits": LOGITS, "labels": [np.nan, 1]}, "labels are no whole numbers"),
        ({"logits": LOGITS, "labels": [np.inf, 1]}, "labels are no whole numbers"),
        ({"logits": LOGITS, "labels": ["cat", "dog"]}, "labels are no numbers but <U3"),
        ({"logits": LOGITS, "labels": None}, "labels are no numbers but object"),
        ({"logits": [[np.nan, 1.0]], "labels": [0]}, "logits are not all finite"),
        ({"logits": [[1.0, 2.0], [3.0]], "labels": [0, 1]}, "logits: "),
        ({"logits": LOGITS, "labels": [0, 3]}, "the label of item 1 is 3; there are the classes 0 to 2"),
        ({"logits": LOGITS, "labels": [-1, 3]}, "the label of item 0 is -1; there"),
        ({"logits": [1.0], "labels": [2]}, "there are the classes 0 to 1"),
        ({"logits": np.zeros((1, 2001)), "labels": [0]}, "there may be 2000 classes at most"),
        ({"probabilities": LOGITS, "labels": [0, 1]}, "lie between -2 and 3, not 0 and 1; are they logits"),
        ({"probabilities": [[0.5, 0.6]], "labels": [0]}, "probabilities of one item sum to 1.1, not 1"),
        ({"predictions": np.zeros((2, 65)), "targets": np.zeros((2, 65))}, "there may be 64 outputs at most"),
        ({"predictions": np.zeros((2, 2)), "targets": np.zeros(2)}, r"\(2, 2\), but targets are \(2, 1\)"),
        ({"predictions": [1.0], "targets": [np.inf]}, "targets are not all finite"),
        ({"logits": LOGITS, "labels": [0, 1], "ids": "ab"}, "ids: needed is one for each of the 2 items"),
        ({"logits": LOGITS, "labels": [0, 1], "ids": ["a"]}, "ids: needed is one for each of the 2 items"),
        ({"logits": LOGITS, "labels": [0, 1], "ids": 5}, "ids: needed is one"),
        ({"logits": LOGITS, "labels": [0, 1], "names": "abc"}, "names: needed is a list of texts"),
        ({"logits": LOGITS, "labels": [0, 1], "names": ["a", "a", "b"]}, "names: two are the same"),
        ({"logits": LOGITS, "labels": [0, 1], "names": ["a"]}, "names: there are 1 for 3 classes"),
    ],
)
def test_what_is_not_in_the_form_is_told(found: dict[str, Any], message: str) -> None:
    """One sentence says what is there and what is needed."""
    with pytest.raises(FormError, match=message):
        joined(found)


def test_batches_that_do_not_fit_one_another() -> None:
    """Another number of classes, or another kind."""
    with pytest.raises(FormError, match="batch 1 has logits with 2 columns, the first one logits with 3"):
        joined({"logits": LOGITS, "labels": [0, 1]}, {"logits": [[1.0, 2.0]], "labels": [0]})
    with pytest.raises(FormError, match="batch 1 has predictions with 1 columns"):
        joined({"logits": LOGITS, "labels": [0, 1]}, {"predictions": [1.0], "targets": [0]})


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"logits": 0, "labels": 0}, True),
        ({"scores": 0, "targets": 0}, True),
        ({"loss": 0}, False),
        ({"logits": 0, "loss": 0}, False),  # as the models of some libraries return it
        ({"labels": 0}, False),
        ({}, False),
    ],
)
def test_other_mappings_mean_something_else(found: dict[str, Any], expected: bool) -> None:
    """Only scores and truth together are meant for us."""
    assert means_form(found) is expected


VALUES = st.one_of(
    st.none(), st.text(max_size=3), st.floats(), st.integers(), st.lists(st.floats(width=16), max_size=3),
    st.lists(st.text(max_size=2), max_size=3),
    arrays(
        st.sampled_from([np.float16, np.float32, np.float64, np.int8, np.bool_, np.complex64]),
        array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    ),
)  # fmt: skip
FOUND = st.sampled_from(list(TRUTH_OF.items())).flatmap(
    lambda pair: st.fixed_dictionaries(dict.fromkeys(pair, VALUES), optional={"ids": VALUES, "names": VALUES})
)


@settings(deadline=None)
@given(st.lists(FOUND, min_size=1, max_size=2))
def test_anything_is_predictions_or_a_form_error(found: list[dict[str, Any]]) -> None:
    """No other exception, whatever a model returns."""
    try:
        predictions = joined(*found)
    except FormError:
        return
    assert len(predictions.values) == len(predictions.truth) == len(predictions.ids)
    assert np.isfinite(predictions.values).all()
