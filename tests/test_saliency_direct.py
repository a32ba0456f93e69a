"""``explain`` from Python: no container, no folder, the model as it was."""

import inspect
import io
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from runner import explain
from runner.saliency.fused import FusedStrategy
from tests.saliency_samples import REGION, ConvModel, Images, RegionModel, Sample

IMAGES = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_signature_is_as_documented() -> None:
    """Names and defaults are what others call it with."""
    parameters = inspect.signature(explain).parameters
    assert list(parameters)[:2] == ["model", "images"]
    defaults = {name: each.default for name, each in parameters.items() if each.kind is each.KEYWORD_ONLY}
    assert defaults == {
        "method": "rise", "num_masks": 1000, "grid_size": 8, "mask_probability": 0.5, "window_size": 8, "stride": 4,
        "fill": 0.0, "centered": True, "targets": "predicted", "seed": 0, "batch_size": None, "precision": "exact",
        "strategy": "fused", "target_quality": None, "scores": None,
    }  # fmt: skip


def test_maps_are_those_of_a_container() -> None:
    """The result holds what the phase would have made with the same settings, scaled to [-1, 1]."""
    model = ConvModel().eval()
    made = explain(model, IMAGES, num_masks=80, grid_size=4, seed=3, fill=0.5, targets="all")
    container = Sample(
        saliency_method="rise", saliency_num_masks=80, saliency_grid_size=4, saliency_seed=3, saliency_fill=0.5,
        saliency_targets="all", saliency_batch_size=None,
    )  # fmt: skip
    with torch.inference_mode():
        raw = list(FusedStrategy(container, model, 4).explain(IMAGES, [-1] * 4, None))
    assert made.maps.shape == (4, 4, 16, 16)
    assert made.maps.dtype == made.strength.dtype == made.scores.dtype == np.float32
    for place, each in enumerate(raw):
        np.testing.assert_allclose(made.maps[place] * made.strength[place][:, None, None], each.maps, atol=1e-6)
        np.testing.assert_allclose(np.abs(made.maps[place]).max(axis=(1, 2)), 1)
        np.testing.assert_allclose(made.scores[place], each.scores)
    assert made.targets.tolist() == [[0, 1, 2, 3]] * 4
    assert made.num_masks.tolist() == [80] * 4
    assert ((made.quality > 0) & (made.quality <= 1)).all()


def test_the_model_is_as_it_was() -> None:
    """A model in training, with a frozen part in evaluation, comes back in just these modes, still to be trained."""
    model = ConvModel().train()
    model.network[1].eval()
    modes = [each.training for each in model.modules()]
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    explain(model, IMAGES, num_masks=10)
    assert [each.training for each in model.modules()] == modes
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    model(IMAGES).sum().backward()
    assert all(each.grad is not None for each in model.parameters())


def test_the_modes_come_back_after_an_error() -> None:
    """When the model raises, its own error comes through, and its modes are back."""

    class Broken(ConvModel):
        def forward(self, images: Tensor) -> Tensor:
            raise KeyError("head")

    model = Broken.__new__(Broken)
    nn.Module.__init__(model)
    model.train()
    with pytest.raises(KeyError, match="head"):
        explain(model, IMAGES)
    assert model.training


def test_maps_point_at_what_the_model_reads() -> None:
    """With an answer that is known, every method finds it; settings of the method reach it."""
    images = Images().images[1::2]
    for method, values in (
        ("rise", {"num_masks": 300, "grid_size": 4}),
        ("sliding_window", {"window_size": 3, "stride": 1}),
        ("sliding_radial", {"window_size": 2, "stride": 1}),
        ("random_grid", {"grid_size": 4, "num_masks": 300}),
        ("mc_rise", {"fill": [0.0, 0.0, 0.0], "num_masks": 300, "grid_size": 4}),
    ):
        made = explain(RegionModel(), images, method=method, **cast(dict[str, Any], values))
        for maps in made.maps[:, 0]:
            row, column = np.unravel_index(maps.argmax(), maps.shape)
            assert REGION[0].start <= row < REGION[0].stop
            assert REGION[1].start <= column < REGION[1].stop


def test_scores_of_ones_own() -> None:
    """``scores`` decides what is explained, here a single number per image."""
    made = explain(
        RegionModel(), IMAGES, num_masks=50, scores=lambda model, images: images.mean(dim=(1, 2, 3))[:, None]
    )
    np.testing.assert_allclose(made.scores[:, 0], IMAGES.mean(dim=(1, 2, 3)).numpy(), atol=1e-6)
    assert made.targets.tolist() == [[0]] * 4


def test_fewer_masks_where_they_are_enough() -> None:
    """``target_quality`` stops early, and the result says what was reached with how many."""
    made = explain(ConvModel(), IMAGES, num_masks=5000, grid_size=4, target_quality=0.9)
    assert (made.num_masks < 5000).all()
    assert (made.quality >= 0.9).all()


def test_volumes() -> None:
    """Volumes give maps of volumes."""
    model = nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    model(torch.zeros(1, 1, 6, 12, 12))
    assert explain(model, torch.rand(2, 1, 6, 12, 12), num_masks=30).maps.shape == (2, 1, 6, 12, 12)


def test_it_draws_itself() -> None:
    """A notebook shows a picture of the images and their maps; the text form is one line."""
    made = explain(ConvModel(), IMAGES, num_masks=40)
    with Image.open(io.BytesIO(made._repr_png_())) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 150
    assert repr(made) == "<SaliencyMaps of 4 images, 1 maps of 16 x 16 each>"
    assert len(made) == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"method": "rice"}, "method='rice'.*rise"),
        ({"method": "drise"}, "explain.. has no method 'drise'"),
        ({"num_masks": 0}, "num_masks=0.*at least 1"),
        ({"mask_probability": 1.0}, "mask_probability=1.0"),
        ({"targets": [9]}, r"targets=\[9\]: there is no class 9"),
        ({"targets": "label"}, "targets=label needs the true class"),
        ({"fill": [1.0, 2.0]}, "fill has 2 numbers.*3 channels"),
        ({"method": "mc_rise", "fill": "mean"}, "fill must be numbers"),
        ({"strategy": "low_level", "target_quality": 0.9}, "target_quality needs strategy=fused"),
        ({"scores": lambda model, images: 3}, "scores returned a int"),
        ({"images": torch.zeros(2, 3, 8, 8, dtype=torch.uint8)}, "images returned torch.uint8"),
        ({"images": torch.full((2, 3, 8, 8), torch.nan)}, "not finite"),
        ({"images": torch.zeros(0, 3, 8, 8)}, r"torch.float32 \(0, 3, 8, 8\)"),
    ],
)
def test_mistakes_are_named(arguments: dict[str, Any], words: str) -> None:
    """Every argument that cannot be used is a ValueError that names it as it is called here."""
    images = arguments.pop("images", IMAGES)
    with pytest.raises(ValueError, match=words) as caught:
        explain(ConvModel(), images, **arguments)
    assert "saliency_" not in str(caught.value).replace("SaliencyParams.saliency_", "")


def test_arrays_indices_and_gradients() -> None:
    """numpy images, one index or an array of them, and images with gradients are taken as they are meant."""
    model = ConvModel()
    expected = explain(model, IMAGES, num_masks=20, targets=[1])
    for images, targets in ((IMAGES.numpy(), 1), (IMAGES.clone().requires_grad_(), np.array([1]))):
        made = explain(model, images, num_masks=20, targets=targets)  # type: ignore[arg-type]
        assert np.array_equal(made.maps, expected.maps)
    with torch.autocast("cpu", torch.bfloat16):
        assert np.array_equal(explain(model, IMAGES, num_masks=20, targets=1).maps, expected.maps)


def test_what_a_model_keeps_can_be_trained_on() -> None:
    """A model that remembers a tensor from its first call can be trained afterwards."""

    class Lazy(ConvModel):
        scale: Tensor | None = None

        def forward(self, images: Tensor) -> Tensor:
            if self.scale is None:
                self.scale = torch.ones(4) * 2
            return super().forward(images) * self.scale

    model = Lazy()
    explain(model, IMAGES, num_masks=10)
    model.train()(IMAGES).sum().backward()
    assert all(each.grad is not None for each in model.parameters())
