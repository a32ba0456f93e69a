"""Numbers as people read them."""

import pytest
import torch

from runner.number_text import format_metrics, format_seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (0.04, "0.0 s"),
        (4.06, "4.1 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (60, "1 min 00 s"),
        (60.6, "1 min 01 s"),
        (200, "3 min 20 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (3600, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (86400, "24 h 00 min"),
        (360_000, "100 h 00 min"),
    ],
)
def test_times_are_as_long_as_they_need_to_be(seconds: float, text: str) -> None:
    """Seconds with one decimal, minutes with seconds, hours with minutes."""
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("metrics", "text"),
    [
        ({}, ""),
        ({"val_loss": 0.05123456}, "val_loss 0.05123"),
        ({"a": 1, "b": torch.tensor(0.5)}, "a 1  b 0.5"),
        ({"a": 1e-9, "b": float("nan"), "c": float("inf")}, "a 1e-09  b nan  c inf"),
    ],
)
def test_metrics_have_four_digits(metrics: dict[str, float], text: str) -> None:
    """Numbers and tensors alike, two blanks between them."""
    assert format_metrics(metrics) == text


def test_confidence_intervals_stand_behind_their_values() -> None:
    """Those of what is no metric come last; one that is not known is left out."""
    interval = {"value": 0.99, "low": 0.97512, "high": 1.0}
    unknown = {"value": 0.5, "low": float("nan"), "high": float("nan")}
    metrics = {"test_loss": 0.03451, "test_acc": 0.99}
    assert format_metrics(metrics, {"test_acc": interval}) == "test_loss 0.03451  test_acc 0.99 (95 % CI 0.975-1)"
    assert format_metrics({"a": 1}, {"accuracy": interval}) == "a 1  accuracy 0.99 (95 % CI 0.975-1)"
    assert format_metrics({}, {"mae": unknown}) == "mae 0.5"
