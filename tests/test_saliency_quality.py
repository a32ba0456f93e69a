"""The predicted quality of a map, against maps whose truth is known."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from runner.saliency.quality import correlation, predicted_quality, reaches


def halves(noise: float, pixels: int = 200_000) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return a map and two measurements of it with independent noise, (1, 1, pixels) each."""
    generator = torch.Generator().manual_seed(0)
    truth, first, second = torch.randn(3, 1, 1, pixels, generator=generator)
    return truth, truth + noise * first, truth + noise * second


def test_correlation_is_pearsons() -> None:
    """Each map's correlation is that of numpy."""
    a, b = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    expected = [np.corrcoef(x.flatten(), y.flatten())[0, 1] for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(correlation(a, b).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("noise", [0.1, 0.5, 1.0, 3.0])
def test_prediction_meets_the_truth(noise: float) -> None:
    """From the halves alone comes the correlation of their mean with the truth, which is 1 / sqrt(1 + noise^2 / 2)."""
    truth, first, second = halves(noise)
    predicted = predicted_quality(first, second).item()
    measured = correlation((first + second) / 2, truth).item()
    assert predicted == pytest.approx(measured, abs=0.01)
    assert predicted == pytest.approx(1 / np.sqrt(1 + noise**2 / 2), abs=0.01)


@given(st.floats(-1, 1))
def test_prediction_is_a_correlation(q: float) -> None:
    """Whatever the halves are, the prediction is between 0 and 1; 0 where they contradict each other."""
    angle = np.arccos(q)
    first = torch.tensor([[1.0, 0.0, -1.0, 0.0]], dtype=torch.float64)
    second = torch.tensor([[np.cos(angle), np.sin(angle), -np.cos(angle), -np.sin(angle)]], dtype=torch.float64)
    predicted = predicted_quality(first, second).item()
    assert 0 <= predicted <= 1
    if q < -1e-6:
        assert predicted == 0


def test_maps_without_information_have_no_quality() -> None:
    """Constant maps and NaN have no quality, and never reach a target."""
    varying = torch.rand(1, 4, 4)
    for other in (torch.ones(1, 4, 4), torch.full((1, 4, 4), torch.nan)):
        assert predicted_quality(varying, other).isnan().all()
        assert not reaches(0.1, varying, other, 64)


def test_reaching_a_target_needs_more_than_luck() -> None:
    """The fewer independent values a map has, the more the halves must agree; all targets must."""
    _, first, second = halves(0.4)
    quality = predicted_quality(first, second).item()
    assert reaches(quality - 0.001, first, second, 10**9)
    assert not reaches(quality - 0.001, first, second, 25)
    assert not reaches(quality + 0.001, first, second, 10**9)
    _, bad_first, bad_second = halves(3.0)
    assert not reaches(quality - 0.001, torch.cat([first, bad_first]), torch.cat([second, bad_second]), 10**9)
