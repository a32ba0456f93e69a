"""Fused, low level, high level and xaitk-saliency itself: four ways to the same maps."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from smqtk_classifier.interfaces.classify_image import ClassifyImage
from smqtk_core.configuration import to_config_dict
from torch import Tensor
from xaitk_saliency.impls.gen_classifier_conf_sal.rise_scoring import RISEScoring
from xaitk_saliency.impls.gen_classifier_conf_sal.squared_difference_scoring import SquaredDifferenceScoring
from xaitk_saliency.impls.gen_image_classifier_blackbox_sal.mc_rise import MCRISEStack
from xaitk_saliency.impls.gen_image_classifier_blackbox_sal.rise import RISEStack
from xaitk_saliency.impls.gen_image_classifier_blackbox_sal.slidingwindow import SlidingWindowStack
from xaitk_saliency.impls.perturb_image.random_grid import RandomGrid
from xaitk_saliency.impls.perturb_image.sliding_window import SlidingWindow

from runner.errors import RunFailedError
from runner.saliency.classifier import Classifier, as_array
from runner.saliency.explanation import scaled_maps
from runner.saliency.raw_maps import RawMaps
from runner.saliency.strategies import create_strategy
from tests.saliency_samples import ConvModel, RegionModel, Sample

Array = NDArray[Any]
COLORS = [0.2, 0.4, 0.6, 1.0, 0.9, 0.1]


class Custom(Sample):
    """``custom`` with a pair that no other method has."""

    given: Any = (RandomGrid(n=30, s=(3, 5), p1=0.5, seed=2), RISEScoring(p1=0.5))

    def get_saliency_generator(self) -> Any:
        return self.given


def container_for(method: str, strategy: str, **values: Any) -> Custom:
    if method == "mc_rise":
        values.setdefault("saliency_fill", COLORS)
    return Custom(saliency_method=method, saliency_strategy=strategy, **values)


def raw_of(container: Sample, image: Tensor, classes: Sequence[int] = (2, 0), model: Any = None) -> RawMaps:
    container.saliency_targets = list(classes)
    network = (model or ConvModel(len(image))).eval()
    with torch.inference_mode():
        [raw] = create_strategy(container, network, image[None], 1).explain(image[None], [-1], None)
    return raw


def maps_of(container: Sample, image: Tensor, classes: Sequence[int] = (2, 0), model: Any = None) -> dict[str, Array]:
    raw = raw_of(container, image, classes, model)
    colors = (
        {} if raw.color_maps is None else {"color_maps": np.stack([scaled_maps(each).maps for each in raw.color_maps])}
    )
    return scaled_maps(raw.maps)._asdict() | colors


def image_of(num_channels: int = 3, size: tuple[int, int] = (16, 16)) -> Tensor:
    return torch.rand(num_channels, *size, generator=torch.Generator().manual_seed(1))


STRATEGIES = ["fused", "low_level", "high_level"]
METHODS = ["rise", "sliding_window", "mc_rise", "random_grid", "sliding_radial", "custom"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("centered", [True, False])
def test_all_strategies_give_equal_maps(method: str, centered: bool) -> None:
    """For every method the maps of all strategies differ by rounding only, and so do their strengths."""
    results = [
        maps_of(container_for(method, strategy, saliency_centered=centered), image_of()) for strategy in STRATEGIES
    ]
    for name in results[0].keys() - {"flags"}:
        assert np.abs(results[0][name] - results[1][name]).max() < 1e-5, name
        assert np.abs(results[1][name] - results[2][name]).max() < 1e-6, name
    assert results[0]["maps"].shape == (2, 16, 16)
    assert np.ptp(results[0]["maps"]) > 0.5


@pytest.mark.parametrize("fill", ["zero", "mean", "blur", -0.7, [0.1, -0.2, 0.3]])
@pytest.mark.parametrize("method", ["rise", "sliding_radial"])
def test_all_strategies_hide_with_the_same_fill(method: str, fill: Any) -> None:
    """Whatever the fill, the maps of all strategies are equal, and another fill's are not."""
    fused, low, high, other = (
        maps_of(container_for(method, strategy, saliency_fill=value), image_of())["maps"]
        for strategy, value in (("fused", fill), ("low_level", fill), ("high_level", fill), ("low_level", 5.0))
    )
    assert np.abs(fused - low).max() < 1e-5
    assert np.abs(low - high).max() < 1e-6
    assert np.abs(low - other).max() > 1e-3


@pytest.mark.parametrize("num_channels", [1, 2, 5])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_any_number_of_channels(num_channels: int, strategy: str) -> None:
    """Grey images and those with unusual channels are explained as any others."""
    container = container_for("rise", strategy, saliency_fill="mean")
    result = maps_of(container, image_of(num_channels))
    assert result["maps"].shape == (2, 16, 16)
    assert result["flags"].tolist() == ["ok", "ok"]


class OwnClassifier(ClassifyImage):
    """A classifier written against xaitk-saliency alone, in the batches that the container asks for."""

    def __init__(self, model: Any, batch_size: int) -> None:
        self.model, self.batch_size = model.eval(), batch_size

    def get_labels(self) -> Sequence[int]:
        return range(4)

    def classify_images(self, img_iter: Array | Iterable[Array]) -> Iterator[dict[Any, Any]]:
        images = list(img_iter)
        for start in range(0, len(images), self.batch_size):
            batch = np.stack(images[start : start + self.batch_size]).transpose(0, 3, 1, 2)
            with torch.inference_mode():
                scores = self.model(torch.from_numpy(batch.copy())).softmax(dim=1).numpy()
            yield from (dict(enumerate(row)) for row in scores)

    def get_config(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    ("method", "stack"),
    [
        ("rise", RISEStack(n=40, s=4, p1=0.5, seed=0, threads=0)),
        ("sliding_window", SlidingWindowStack((4, 4), (2, 2), threads=0)),
        ("mc_rise", MCRISEStack(n=40, s=4, p1=0.5, fill_colors=[[0.2, 0.4, 0.6], [1.0, 0.9, 0.1]], seed=0, threads=0)),  # type: ignore[list-item]
    ],
)
def test_maps_are_those_of_xaitk_saliency(method: str, stack: Any, strategy: str) -> None:
    """Without centring, our maps are what xaitk-saliency's own stack makes with a classifier of its own."""
    image, model = image_of(), ConvModel()
    expected = stack.generate(as_array(image), OwnClassifier(model, batch_size=16))
    container = container_for(method, strategy, saliency_centered=False)
    result = maps_of(container, image, classes=[3, 1, 0], model=model)
    ours = result["color_maps"] if method == "mc_rise" else result["maps"]
    assert np.abs(ours - expected[..., [3, 1, 0], :, :]).max() < (1e-5 if strategy == "fused" else 1e-6)


def test_centring_changes_rise_and_leaves_the_sliding_methods() -> None:
    """Centring gives other maps for RISE and the same for sliding windows."""
    for method, changes in (("rise", True), ("sliding_window", False)):
        plain, centered = (
            maps_of(container_for(method, "low_level", saliency_centered=value), image_of())["maps"]
            for value in (False, True)
        )
        assert bool(np.abs(plain - centered).max() > 0.01) is changes


def test_negative_colors_are_not_clipped() -> None:
    """MC-RISE takes colours of normalised images as they are, where MCRISEStack would clip them to 0..255."""
    image, model = torch.full((3, 16, 16), 0.5), RegionModel(steepness=0.1)
    for strategy in STRATEGIES:
        dark, black = (
            maps_of(container_for("mc_rise", strategy, saliency_fill=[value] * 3), image, classes=[1], model=model)
            for value in (-5.0, 0.0)
        )
        assert dark["strength"] > 8 * black["strength"]


@pytest.mark.parametrize("strategy", ["low_level", "high_level"])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_black_box_runs_in_both_strategies(strategy: str, as_json: bool) -> None:
    """A black box of the container makes its own maps, with saliency_fill where it has no fill of its own."""
    image, model = image_of(), ConvModel()
    stack = RISEStack(n=20, s=3, p1=0.5, seed=4, threads=0)
    stack.fill = [0.5, 0.5, 0.5]  # type: ignore[list-item]
    expected = stack.generate(as_array(image), OwnClassifier(model, batch_size=16))
    container = container_for("custom", strategy, saliency_fill=[0.5, 0.5, 0.5])
    container.given = to_config_dict(stack) if as_json else RISEStack(n=20, s=3, p1=0.5, seed=4, threads=0)
    result = maps_of(container, image, classes=[0, 1, 2, 3], model=model)
    assert np.abs(result["maps"] - expected).max() < 1e-6


def test_a_black_box_keeps_its_own_fill() -> None:
    """A fill that the container has set on its black box wins over saliency_fill."""
    image, model = image_of(), ConvModel()
    maps = []
    for own_fill, fill in ((0.9, "zero"), (None, 0.9), (None, "zero")):
        container = container_for("custom", "high_level", saliency_fill=fill)
        stack = RISEStack(n=20, s=3, p1=0.5, seed=4, threads=0)
        stack.fill = own_fill  # type: ignore[assignment]
        container.given = stack
        maps.append(maps_of(container, image, model=model, classes=range(4))["maps"])
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-6)
    assert np.abs(maps[0] - maps[2]).max() > 0.01


def test_one_map_for_all_classes() -> None:
    """A scoring that makes a single map for all classes gives both strategies the same one."""
    raw = []
    for strategy in ("low_level", "high_level"):
        container = container_for("custom", strategy)
        container.given = SlidingWindow((5, 3), (3, 2)), SquaredDifferenceScoring()
        raw.append(raw_of(container, image_of(), classes=[3, 0]).maps)
    assert raw[0].shape == (2, 16, 16)
    assert np.array_equal(raw[0][0], raw[0][1])
    assert np.abs(raw[0] - raw[1]).max() < 1e-6


def test_infinite_scores_are_flagged_in_black_boxes_too() -> None:
    """Infinite scores, on which xaitk-saliency's scaling raises, become a flagged map of their class alone."""

    class Infinite(RegionModel):
        def forward(self, images: Tensor) -> Tensor:
            scores = super().forward(images)
            return torch.where(scores < -3, torch.inf, scores)

    class Plain(Custom):
        def get_saliency_scores(self, model: Any, images: Tensor) -> Tensor:
            return torch.as_tensor(model(images))

    for method, strategy in (("rise", "fused"), ("rise", "low_level"), ("rise", "high_level"), ("custom", "low_level")):
        container = Plain(saliency_method=method, saliency_strategy=strategy)
        container.given = RISEStack(n=20, s=3, p1=0.5, seed=4, threads=0)
        result = maps_of(container, image_of(), classes=[0, 1], model=Infinite())
        assert result["flags"].tolist() == ["ok", "not_finite"]


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (torch.rand(4), r"torch.float32 \(4,\) for 4 images"),
        (torch.rand(5, 2), r"torch.float32 \(5, 2\) for 4 images"),
        (torch.rand(4, 0), r"torch.float32 \(4, 0\)"),
        (torch.ones(4, 2, dtype=torch.int64), "torch.int64"),
        ([0.5], "a list"),
        (None, "a NoneType"),
    ],
)
def test_wrong_scores_are_refused(scores: Any, words: str) -> None:
    """Scores that are no float tensor with a row per image are refused with what came and the method's name."""

    class Wrong(Sample):
        def get_saliency_scores(self, model: Any, images: Tensor) -> Any:
            return scores

    classifier = Classifier(Wrong(), RegionModel(), torch.zeros(1))
    with pytest.raises(RunFailedError, match=f"get_saliency_scores returned {words}"):
        classifier.scores(torch.zeros(4, 3, 16, 16))


def test_half_precision_scores_are_widened() -> None:
    """bfloat16 scores, which numpy does not know, come out as float32; float64 ones stay."""

    class Half(Sample):
        dtype = torch.bfloat16

        def get_saliency_scores(self, model: Any, images: Tensor) -> Tensor:
            return super().get_saliency_scores(model, images).to(self.dtype)

    container = Half()
    classifier = Classifier(container, RegionModel(), torch.zeros(1))
    [row] = classifier.score_each([np.zeros((16, 16, 3), dtype=np.float32)])
    assert row.dtype == np.float32
    container.dtype = torch.float64
    [row] = classifier.score_each([np.zeros((16, 16, 3), dtype=np.float32)])
    assert row.dtype == np.float64
