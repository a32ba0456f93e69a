"""Captum's methods on models whose maps are known in closed form."""

import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from runner.errors import RunFailedError
from runner.saliency import white_box as module
from runner.saliency.classifier import checked_scores
from runner.saliency.white_box import WhiteBoxStrategy
from tests.saliency_samples import ConvModel, RegionModel, Sample
from tests.white_box_samples import IMAGES, METHODS, Logits, made

VOLUMES = torch.rand(2, 1, 4, 6, 5, generator=torch.Generator().manual_seed(3))


def linear(size: tuple[int, ...], num_classes: int = 3) -> nn.Sequential:
    """Return a linear model of images of this size, with a bias."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(size), num_classes))


def weights_of(model: nn.Sequential, size: tuple[int, ...]) -> Any:
    layer = model[1]
    assert isinstance(layer, nn.Linear)
    return layer.weight.detach().view(-1, *size).numpy()


# --- integrated gradients -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [IMAGES, VOLUMES], ids=["images", "volumes"])
@pytest.mark.parametrize("fill", ["zero", "mean", 0.4])
def test_integrated_gradients_of_a_linear_model_are_weight_times_difference_to_the_fill(
    images: Tensor, fill: Any
) -> None:
    """The closed form, all channels of a pixel together."""
    size = tuple(images.shape[1:])
    model = linear(size)
    for image, raw in zip(
        images, made("integrated_gradients", model, images, saliency_targets="all", saliency_fill=fill), strict=True
    ):
        fills = {"zero": 0.0, "mean": image.flatten(1).mean(dim=1).view(-1, *[1] * (image.ndim - 1)), 0.4: 0.4}
        expected = (weights_of(model, size) * (image - fills[fill]).numpy()).sum(axis=1)
        assert raw.maps.dtype == np.float32
        np.testing.assert_allclose(raw.maps, expected, atol=1e-5)
        np.testing.assert_array_equal(raw.targets, [0, 1, 2])
        np.testing.assert_allclose(raw.scores, model(image[None])[0].detach(), atol=1e-5)
        assert raw.num_masks == 0


def test_integrated_gradients_add_up_to_the_difference_of_probabilities() -> None:
    """Completeness (Sundararajan et al. 2017, proposition 1), of a network with the default scores."""
    model, container = ConvModel(), Sample()
    values: dict[str, Any] = {"saliency_targets": "all", "saliency_num_steps": 1000, "saliency_fill": -2.0}
    for image, raw in zip(IMAGES, made("integrated_gradients", model, kind=Sample, **values), strict=True):
        both = torch.stack([image, torch.full_like(image, -2)])
        end, start = checked_scores(container, model, both).numpy()
        np.testing.assert_allclose(raw.maps.sum(axis=(1, 2)), end - start, atol=1e-3)
        assert np.abs(end - start).max() > 0.4


def test_too_few_steps_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """A steep model: with one step the attributions do not add up, and the message names the parameter."""
    model = RegionModel(steepness=60.0)
    with caplog.at_level(logging.WARNING):
        made("integrated_gradients", model, kind=Sample, saliency_targets="all", saliency_num_steps=1)
        assert [record.message.count("raise saliency_num_steps (now 1)") for record in caplog.records] == [1]
        caplog.clear()
        made("integrated_gradients", model, kind=Sample, saliency_targets="all", saliency_num_steps=400)
        assert not caplog.records


# --- Grad-CAM -----------------------------------------------------------------------------------------------------


class Pooled(nn.Module):
    """A convolution, ReLU in place, the mean over the map, and a linear layer."""

    def __init__(self, axes: int = 2) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.convolution = (nn.Conv2d if axes == 2 else nn.Conv3d)(3 if axes == 2 else 1, 5, 2, stride=2)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(5, 4)
        nn.init.normal_(self.head.weight)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self.relu(self.convolution(images)).flatten(2).mean(dim=2))
        return scores


def grad_cam_of(model: Pooled, image: Tensor) -> Tensor:
    """Return the closed form: the mean gradient of a channel is its weight times its share of positive pixels."""
    with torch.no_grad():
        channels = model.convolution(image[None])
        shares = (channels > 0).float().flatten(2).mean(dim=2) / math.prod(channels.shape[2:])  # (1, 5)
        cams = torch.einsum("kc,bc...->kb...", model.head.weight * shares, channels).relu()
        mode = "bilinear" if image.ndim == 3 else "trilinear"
        return functional.interpolate(cams, image.shape[1:], mode=mode, align_corners=False)[:, 0]


@pytest.mark.parametrize("images", [IMAGES, VOLUMES], ids=["images", "volumes"])
@pytest.mark.parametrize("layer", [None, "convolution"])
def test_grad_cam_is_the_closed_form(images: Tensor, layer: str | None) -> None:
    """ReLU in place behind the layer does no harm; only what speaks for a class is kept."""
    model = Pooled(images.ndim - 2)
    images = images - 0.5
    for image, raw in zip(
        images, made("grad_cam", model, images, saliency_targets="all", saliency_layer=layer), strict=True
    ):
        expected = grad_cam_of(model, image)
        np.testing.assert_allclose(raw.maps, expected.numpy(), atol=1e-6)
        assert raw.maps.min() == 0 < raw.maps.max()


@pytest.mark.parametrize("batch_size", [1, 3])
def test_grad_cam_of_many_classes_in_parts_is_the_same(batch_size: int) -> None:
    model = Pooled()
    [raw] = made("grad_cam", model, IMAGES[:1], saliency_targets="all", saliency_batch_size=batch_size)
    np.testing.assert_allclose(raw.maps, grad_cam_of(model, IMAGES[0]).numpy(), atol=1e-6)
    [best] = made("grad_cam", model, IMAGES[:1], saliency_targets="predicted")
    assert best.targets.tolist() == [int(model(IMAGES[:1]).argmax())]
    np.testing.assert_allclose(best.maps, raw.maps[best.targets], atol=1e-6)


class Crossed(nn.Module):
    """The last convolution is neither the last that is declared, nor the last that is called."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.unused = nn.Conv2d(4, 4, 1)
        self.last = nn.Conv2d(6, 4, 3)
        self.first = nn.Conv2d(3, 6, 3)
        self.squeezed = nn.Conv2d(4, 2, 1)
        self.flat = nn.Flatten()
        self.also_unused = nn.Conv2d(4, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        pooled = self.last(self.first(images).relu()).square().mean(dim=(2, 3), keepdim=True)
        scores: Tensor = self.flat(self.squeezed(pooled))
        return scores


def test_the_last_convolution_is_the_last_one_that_gives_a_map() -> None:
    """In the order of calls; those of one pixel, as in squeeze-and-excitation, and unused ones do not count."""
    model = Crossed()
    [chosen], [last], [first] = (
        made("grad_cam", model, IMAGES[:1], saliency_layer=layer) for layer in (None, "last", "first")
    )
    np.testing.assert_array_equal(chosen.maps, last.maps)
    assert not np.allclose(chosen.maps, first.maps)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("lost", r"the model has no layer 'lost'\. Did you mean last"),
        ("flat", r"saliency_layer=flat: grad_cam needs a layer that gives a map.*; this one gives \(1, 2\)"),
        ("squeezed", r"this one gives \(1, 2, 1, 1\)"),
        ("unused", "this one gives nothing, the scores do not use it"),
    ],
)
def test_layers_that_give_no_map_are_refused(layer: str, message: str) -> None:
    """The message names the nearest layer, or what the layer gives."""
    with pytest.raises(RunFailedError, match=message):
        made("grad_cam", Crossed(), saliency_layer=layer)


def test_a_model_without_convolutions_has_no_grad_cam() -> None:
    with pytest.raises(RunFailedError, match="finds no convolution whose output is a map: name a layer"):
        made("grad_cam", linear((3, 16, 16)))


# --- occlusion ----------------------------------------------------------------------------------------------------


def occlusion_of(score: Callable[[Tensor], Tensor], image: Tensor, side: int, stride: int, fill: float) -> Any:
    """Return the mean drop of the scores over the windows that hide each pixel, in loops."""
    size = image.shape[1:]
    starts = [range(0, stride * math.ceil((length - side) / stride) + 1, stride) for length in size]
    drops, times = np.zeros(1), np.zeros(tuple(size))
    for corner in np.array(np.meshgrid(*starts, indexing="ij")).reshape(len(size), -1).T:
        place = tuple(slice(start, start + side) for start in corner)
        hidden = image.clone()
        hidden[(slice(None), *place)] = fill
        drop = (score(image[None]) - score(hidden[None]))[0].detach().numpy()
        mask = np.zeros(tuple(size))
        mask[place] = 1
        drops, times = drops + drop.reshape(-1, *[1] * len(size)) * mask, times + mask
    return drops / times


@pytest.mark.parametrize(("side", "stride"), [(4, 2), (3, 3), (5, 2)])
def test_occlusion_is_the_mean_drop_over_windows(side: int, stride: int) -> None:
    """Computed by hand. All channels are hidden at once, and the drop is counted once, in the unit of the score."""
    model = ConvModel().eval()
    values: dict[str, Any] = {"saliency_window_size": side, "saliency_stride": stride, "saliency_fill": 0.2}
    [raw] = made("occlusion", model, IMAGES[:1], saliency_targets="all", **values)
    expected = occlusion_of(model, IMAGES[0], side, stride, 0.2)
    assert raw.maps.shape == (4, 16, 16)
    np.testing.assert_allclose(raw.maps, expected, atol=1e-4)
    assert raw.num_masks == len(range(0, 16 - side + stride, stride)) ** 2


def test_occlusion_of_a_volume() -> None:
    """The window is as deep as it is wide, and ends where the volume does."""
    model = linear((1, 4, 6, 5)).eval()
    [raw] = made("occlusion", model, VOLUMES[:1], saliency_targets=[2, 0], saliency_window_size=3, saliency_stride=1)
    expected = occlusion_of(model, VOLUMES[0], 3, 1, 0.0)[[2, 0]]
    np.testing.assert_allclose(raw.maps, expected, atol=1e-5)
    assert raw.num_masks == 2 * 4 * 3
    [whole] = made("occlusion", model, VOLUMES[:1], saliency_window_size=50, saliency_stride=7)
    drop = (model(VOLUMES[:1]) - model(torch.zeros_like(VOLUMES[:1])))[0, whole.targets].detach().numpy()
    np.testing.assert_allclose(whole.maps, np.broadcast_to(drop[:, None, None, None], (1, 4, 6, 5)), atol=1e-5)
    assert whole.num_masks == 1


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_occlusion_of_many_classes_in_parts_is_the_same(batch_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the classes that are added up at once nor the images in a forward pass change the maps."""
    model = ConvModel(num_classes=5).eval()
    [expected] = made("occlusion", model, IMAGES[:1], saliency_targets="all")
    monkeypatch.setattr(module, "TARGETS_TOGETHER", 2)
    [raw] = made("occlusion", model, IMAGES[:1], saliency_targets="all", saliency_batch_size=batch_size)
    np.testing.assert_allclose(raw.maps, expected.maps, atol=1e-5)


def test_strides_that_leave_out_pixels_are_refused() -> None:
    with pytest.raises(RunFailedError, match="saliency_stride=5 is larger than saliency_window_size=4"):
        made("occlusion", ConvModel(), saliency_stride=5)


# --- scores -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_single_score_is_explained(method: str) -> None:
    """A model with one output column, whose default score is a sigmoid."""
    for raw in made(method, ConvModel(num_classes=1), kind=Sample):
        assert raw.targets.tolist() == [0]
        assert raw.scores.shape == (1,)
        assert 0 < raw.scores[0] < 1
        assert raw.maps.shape == (1, 16, 16)
        assert np.ptp(raw.maps) > 1e-4


@pytest.mark.parametrize("method", METHODS)
def test_a_score_that_is_nan_has_a_map_of_nan_and_the_others_have_theirs(method: str) -> None:
    class Broken(Logits):
        def get_saliency_scores(self, model: nn.Module, images: Tensor) -> Tensor:
            scores = super().get_saliency_scores(model, images)
            return scores.index_fill(1, torch.tensor([1]), math.nan).index_fill(1, torch.tensor([3]), math.inf)

    expected = made(method, ConvModel(), saliency_targets="all")
    for raw, good in zip(made(method, ConvModel(), kind=Broken, saliency_targets="all"), expected, strict=True):
        assert np.isnan(raw.maps[[1, 3]]).all()
        np.testing.assert_allclose(raw.maps[[0, 2]], good.maps[[0, 2]], atol=1e-6)
        assert np.isnan(raw.scores[1])


@pytest.mark.parametrize("method", METHODS)
def test_a_label_chooses_the_target(method: str) -> None:
    strategy = WhiteBoxStrategy(Logits(saliency_method=method, saliency_targets="label"), ConvModel().eval())
    assert [raw.targets.tolist() for raw in strategy.explain(IMAGES, [3, 1], None)] == [[3], [1]]


@pytest.mark.parametrize("method", ["integrated_gradients", "grad_cam"])
def test_scores_without_gradients_are_refused(method: str) -> None:
    """The message says what may not be on the way to them."""

    class Detached(Logits):
        def get_saliency_scores(self, model: nn.Module, images: Tensor) -> Tensor:
            return super().get_saliency_scores(model, images).detach()

    with pytest.raises(RunFailedError, match=f"saliency_method={method} needs gradients, .* may use detach"):
        made(method, ConvModel(), kind=Detached)


@pytest.mark.parametrize("method", METHODS)
def test_what_are_no_scores_is_refused(method: str) -> None:
    class Flat(Logits):
        def get_saliency_scores(self, model: nn.Module, images: Tensor) -> Tensor:
            return super().get_saliency_scores(model, images)[:, 0]

    with pytest.raises(RunFailedError, match=r"get_saliency_scores returned torch.float32 \(1,\)"):
        made(method, ConvModel(), kind=Flat)
