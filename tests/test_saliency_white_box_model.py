"""Captum's methods leave the model, the images and the inference mode as they were."""

import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from runner.errors import RunFailedError
from runner.saliency.white_box import WhiteBoxStrategy
from tests.saliency_samples import ConvModel
from tests.white_box_samples import IMAGES, METHODS, Logits, made


class InPlace(ConvModel):
    """Writes into its input and into what its layers give."""

    def forward(self, images: Tensor) -> Tensor:
        images.sub_(0.5).relu_()
        return super().forward(images)


@pytest.mark.parametrize("method", METHODS)
def test_the_model_and_the_images_are_as_before(method: str) -> None:
    """Flags, gradients, hooks, mode, weights and buffers; whatever the method and the model do to their input."""
    model = InPlace().eval()
    parameters = list(model.parameters())
    for parameter in parameters[::2]:
        parameter.requires_grad_(False)
    parameters[1].grad = torch.ones_like(parameters[1])
    state = {name: value.clone() for name, value in model.state_dict().items()}
    images = IMAGES.clone()
    made(method, model, images)
    assert torch.equal(images, IMAGES)
    assert [each.requires_grad for each in parameters] == [bool(place % 2) for place in range(len(parameters))]
    assert parameters[1].grad is not None
    assert torch.equal(parameters[1].grad, torch.ones_like(parameters[1]))
    assert [place for place, each in enumerate(parameters) if each.grad is not None] == [1]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    for each in model.modules():
        assert not each._forward_hooks
        assert not each._forward_pre_hooks
        assert not each._backward_hooks
        assert not each.training


@pytest.mark.parametrize("method", METHODS)
def test_hooks_are_gone_after_an_error(method: str) -> None:
    class Failing(Logits):
        num_calls = 0

        def get_saliency_scores(self, model: nn.Module, images: Tensor) -> Tensor:
            Failing.num_calls += 1
            scores = super().get_saliency_scores(model, images)
            if Failing.num_calls == 3:
                raise ValueError("out of luck")
            return scores

    model = ConvModel()
    with pytest.raises(ValueError, match="out of luck"):
        made(method, model, kind=Failing)
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in model.modules())


@pytest.mark.parametrize("method", METHODS)
def test_frozen_parameters_change_no_map(method: str) -> None:
    expected = made(method, ConvModel())
    model = ConvModel().requires_grad_(False)
    for raw, other in zip(made(method, model), expected, strict=True):
        np.testing.assert_allclose(raw.maps, other.maps, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_inference_mode_is_left_for_the_maps_only(method: str) -> None:
    """Whoever takes the maps from the iterator is in the mode in which it was."""
    strategy = WhiteBoxStrategy(Logits(saliency_method=method), ConvModel().eval())
    with torch.inference_mode():
        for _ in strategy.explain(IMAGES.clone(), [-1, -1], None):
            assert torch.is_inference_mode_enabled()
    with torch.no_grad():
        for _ in strategy.explain(IMAGES, [-1, -1], None):
            assert not torch.is_grad_enabled()


@pytest.mark.parametrize("method", METHODS)
def test_maps_do_not_depend_on_the_images_that_come_together(method: str) -> None:
    """Bit for bit."""
    together = made(method, ConvModel())
    alone = [raw for image in IMAGES for raw in made(method, ConvModel(), image[None])]
    for first, second in zip(together, alone, strict=True):
        np.testing.assert_array_equal(first.maps, second.maps)


# --- Captum is an extra -------------------------------------------------------------------------------------------


def test_without_captum_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("captum", "captum.attr"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        RunFailedError, match=r'saliency_method=occlusion needs Captum.*pip install "lightcase\[captum\]"'
    ):
        WhiteBoxStrategy(Logits(saliency_method="occlusion"), ConvModel())
