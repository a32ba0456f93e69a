"""Maps for detectors: against xaitk-saliency's DRISEStack, and on detectors whose reasons are known."""

from collections.abc import Hashable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.distance import cosine
from smqtk_detection.interfaces.detect_image_objects import DetectImageObjects
from smqtk_image_io.bbox import AxisAlignedBoundingBox
from torch import Tensor, nn
from xaitk_saliency.impls.gen_detector_prop_sal.drise_scoring import DRISEScoring
from xaitk_saliency.impls.gen_object_detector_blackbox_sal.drise import DRISEStack
from xaitk_saliency.impls.perturb_image.mc_rise import MCRISEGrid
from xaitk_saliency.impls.perturb_image.random_grid import RandomGrid
from xaitk_saliency.impls.perturb_image.rise import RISEGrid
from xaitk_saliency.interfaces.gen_detector_prop_sal import GenerateDetectorProposalSaliency

from runner.errors import RunFailedError
from runner.saliency.detections import DetectionStrategy, padded, similarities
from runner.saliency.mask_weights import WeightedMasks
from runner.saliency.raw_maps import RawMaps
from tests.saliency_samples import Sample

LARGE, SMALL = (slice(4, 9), slice(9, 14)), (slice(12, 15), slice(2, 5))
"""Rows and columns of the bright squares."""

EMPTY = torch.zeros(3, 20, 18)
SQUARES = torch.zeros(3, 20, 18)
SQUARES[:, LARGE[0], LARGE[1]] = 1
SQUARES[:, SMALL[0], SMALL[1]] = 0.8


class SquareDetector(nn.Module):
    """Finds what is bright and touches: class 0 from 12 pixels on, else class 1; sure where it is bright."""

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self._found(each.mean(dim=0).double().numpy()) for each in images]

    def _found(self, image: Any) -> Tensor:
        parts, count = ndimage.label(image > 0.2)
        rows = []
        for number, (ys, xs) in enumerate(ndimage.find_objects(parts), start=1):
            pixels = image[parts == number]
            kind = [1.0, 0.0] if len(pixels) >= 12 else [0.0, 1.0]
            rows.append([xs.start, ys.start, xs.stop - 1, ys.stop - 1, pixels.mean(), *kind])
        return torch.tensor(rows, dtype=torch.float32).reshape(count, 7)


class Detecting(Sample):
    """A container around a detector that returns what its container wants."""

    def get_saliency_detections(self, model: nn.Module, images: Tensor) -> Any:
        return model(images)


class XaitkDetector(DetectImageObjects):
    """The same detector behind xaitk-saliency's interface."""

    def detect_objects(
        self, img_iter: Iterable[Any]
    ) -> Iterator[list[tuple[AxisAlignedBoundingBox, dict[Hashable, float]]]]:
        for image in img_iter:
            [found] = SquareDetector()(torch.from_numpy(image).permute(2, 0, 1)[None])
            yield [
                (AxisAlignedBoundingBox(row[:2], row[2:4]), dict(enumerate((row[4] * row[5:]).tolist())))
                for row in found.double().numpy()
            ]

    def get_config(self) -> dict[str, Any]:
        return {}


def made(
    images: Tensor = SQUARES[None], model: nn.Module | None = None, pair: Any = None, **values: Any
) -> list[RawMaps]:
    container = Detecting(**({"saliency_method": "drise", "saliency_num_masks": 200} | values))
    with torch.inference_mode():
        return list(DetectionStrategy(container, model or SquareDetector(), pair).explain(images, [-1], None))


def scaled(maps: Any) -> Any:
    return maps / np.abs(maps).max(axis=(1, 2), keepdims=True)


# --- equal to xaitk-saliency --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", [0.0, 0.3, [0.1, 0.3, 0.4]])
def test_maps_are_those_of_drise_stack(fill: Any) -> None:
    """DRISEStack itself, with the same detector behind smqtk's interface, gives the same maps to 1e-5."""
    [raw] = made(saliency_targets="all", saliency_fill=fill, saliency_seed=3)
    [found] = SquareDetector()(SQUARES[None])
    stack = DRISEStack(n=200, s=4, p1=0.5, seed=3, threads=0, fill=fill)
    reference = found.numpy()
    image = SQUARES.permute(1, 2, 0).numpy()
    expected = stack.generate(image, reference[:, :4], reference[:, 5:], XaitkDetector(), reference[:, 4])
    assert expected.shape == raw.maps.shape == (2, 20, 18)
    np.testing.assert_allclose(scaled(raw.maps), expected, atol=1e-5)


def test_strength_is_the_mean_similarity_behind_the_masks_that_show_a_pixel() -> None:
    """Computed in loops of plain Python from the paper's formula, not by the code under test."""
    [raw] = made(saliency_targets=[0])
    masks = RISEGrid(n=200, s=4, p1=0.5, seed=0, threads=0).perturb(np.zeros((20, 18)))
    [reference] = SquareDetector()(SQUARES[None])
    weights = []
    for mask in torch.from_numpy(masks).float():
        [found] = SquareDetector()((SQUARES * mask)[None])
        weights.append(max((_similarity(row, reference[0]) for row in found), default=0.0))
    expected = np.tensordot(weights, masks, axes=(0, 0)) / masks.sum(axis=0)
    np.testing.assert_allclose(raw.maps[0], expected, atol=1e-5)
    assert raw.mean_mask is not None
    np.testing.assert_allclose(raw.mean_mask, masks.mean(axis=0), atol=1e-5)


def _similarity(first: Tensor, second: Tensor) -> float:
    width, height = (min(first[2 + axis], second[2 + axis]) - max(first[axis], second[axis]) + 1 for axis in (0, 1))
    common = max(float(width), 0) * max(float(height), 0)
    areas = [float((each[2] - each[0] + 1) * (each[3] - each[1] + 1)) for each in (first, second)]
    alike = 1 - float(cosine(first[5:], second[5:]))
    return common / (sum(areas) - common) * alike * float(first[4])


def test_similarities_are_those_of_drise_scoring() -> None:
    """With one mask per pixel DRISEScoring's map is the similarities themselves, up to its scale."""
    generator = torch.Generator().manual_seed(0)
    reference, perturbed = (torch.rand(*size, generator=generator) for size in ((3, 9), (12, 5, 9)))
    for each in (reference, perturbed):
        each[..., :2] *= 10
        each[..., 2:4] = each[..., :2] + 12 * each[..., 2:4]
    pixels = np.eye(12).reshape(12, 3, 4)
    expected = DRISEScoring().generate(reference.numpy(), perturbed.numpy(), pixels)
    weights = similarities(perturbed, reference).numpy()
    np.testing.assert_allclose(scaled(weights.T.reshape(3, 3, 4)), expected, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 200])
def test_maps_do_not_depend_on_the_size_of_blocks(batch_size: int) -> None:
    """Blocks only say how much memory there is; the two halves of the masks are the same ones as well."""
    [expected] = made(saliency_batch_size=16)
    [raw] = made(saliency_batch_size=batch_size)
    np.testing.assert_allclose(raw.maps, expected.maps, atol=1e-6)
    assert raw.quality is not None
    assert expected.quality is not None
    np.testing.assert_allclose(raw.quality, expected.quality, atol=1e-4)
    assert raw.num_masks == 200


# --- known answers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "square"), [(0, LARGE), (1, SMALL)])
def test_map_peaks_in_the_square_that_was_found(target: int, square: tuple[slice, slice]) -> None:
    """Each detection is explained by its own square."""
    [raw] = made(saliency_targets=[target], saliency_num_masks=600, saliency_grid_size=6)
    assert raw.targets.tolist() == [target]
    row, column = np.unravel_index(raw.maps[0].argmax(), raw.maps[0].shape)
    assert square[0].start - 1 <= row <= square[0].stop
    assert square[1].start - 1 <= column <= square[1].stop


def test_scores_are_objectness_times_the_best_class_and_predicted_is_the_best() -> None:
    [raw] = made(saliency_targets="predicted")
    np.testing.assert_allclose(raw.scores, [1.0, 0.8], atol=1e-6)
    assert raw.scores.dtype == np.float32
    assert raw.targets.tolist() == [0]
    [raw] = made(saliency_targets="top5")
    assert raw.targets.tolist() == [0, 1]


def test_a_detector_that_always_sees_the_same_gives_its_objectness_everywhere() -> None:
    """The unit of the strength: 1 for a detection that is there behind each mask, times objectness."""

    class Sure(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.tensor([[2.0, 3.0, 8.0, 9.0, 0.7, 0.1, 0.9]]).expand(len(images), 1, 7)

    [raw] = made(model=Sure())
    np.testing.assert_allclose(raw.maps, 0.7, atol=1e-5)
    np.testing.assert_allclose(raw.scores, [0.63], atol=1e-6)


def test_quality_tells_a_map_of_few_masks_from_one_of_many() -> None:
    """Both are compared with a map of 4000 other masks, as the prediction says."""
    [best] = made(saliency_num_masks=4000, saliency_seed=9)
    for count in (60, 1000):
        [raw] = made(saliency_num_masks=count)
        true = np.corrcoef(raw.maps[0].ravel(), best.maps[0].ravel())[0, 1]
        assert raw.quality is not None
        assert raw.quality[0] == pytest.approx(true, abs=0.1)
    assert made(saliency_num_masks=1)[0].quality is None


# --- images without detections, and numbers that are none ---------------------------------------------------------


def test_image_without_detections_has_no_targets_and_the_others_are_explained() -> None:
    """Its arrays are empty, of the right number of axes."""
    empty, full = made(torch.stack([EMPTY, SQUARES]))
    assert empty.maps.shape == (0, 20, 18)
    assert empty.scores.shape == empty.targets.shape == (0,)
    assert empty.targets.dtype == np.int64
    assert empty.num_masks == 0
    assert full.maps.shape == (1, 20, 18)
    np.testing.assert_array_equal(full.maps, made()[0].maps)


def test_masks_behind_which_nothing_is_found_count_as_nothing() -> None:
    """Padding scores 0, in the formula here as in xaitk-saliency's; so do detections without a class."""
    found = torch.tensor([[0.0, 0.0, 2.0, 2.0, 0.7, 0.1, 0.9]])
    both = padded([found, found[:0]], 7)
    assert both.shape == (2, 1, 7)
    np.testing.assert_allclose(similarities(both, found)[:, 0].numpy(), [0.7, 0], atol=1e-6)
    [maps] = DRISEScoring().generate(found.numpy(), both.numpy(), np.eye(2).reshape(2, 1, 2))
    np.testing.assert_allclose(maps, [[1, 0]], atol=1e-6)
    without_class = torch.cat([found[:, :5], torch.zeros(1, 2)], dim=1)
    assert similarities(without_class[None], found).item() == 0
    assert similarities(padded([found[:0]], 7), found).item() == 0


def test_nan_in_a_detection_gives_a_map_that_is_not_finite() -> None:
    """Whatever the other masks say."""

    class Broken(SquareDetector):
        def forward(self, images: Tensor) -> list[Tensor]:
            found = super().forward(images)
            if len(found) > 1:
                found[3] = torch.full((1, 7), torch.nan)
            return found

    assert np.isnan(made(model=Broken())[0].maps).all()


def test_indices_choose_among_the_detections_that_there_are() -> None:
    """Another image has another number of them, so that a missing one is no mistake."""
    empty, full = made(torch.stack([EMPTY, SQUARES]), saliency_targets=[1, 7])
    assert empty.targets.tolist() == []
    assert full.targets.tolist() == [1]


# --- other pairs --------------------------------------------------------------------------------------------------


def test_pair_with_the_masks_of_drise_gives_the_same_maps() -> None:
    """xaitk-saliency's own scoring, with its strength computed again at the peak."""
    [expected] = made(saliency_targets="all")
    pair = (RISEGrid(n=200, s=4, p1=0.5, seed=0, threads=0), DRISEScoring())
    [raw] = made(pair=pair, saliency_method="custom", saliency_targets="all")
    np.testing.assert_allclose(raw.maps, expected.maps, atol=1e-5)
    np.testing.assert_array_equal(raw.scores, expected.scores)
    assert raw.num_masks == 200


def test_pair_of_ones_own_is_handed_all_masks_and_its_maps_come_as_they_are() -> None:
    """With padded detections in one array, as the interface of xaitk-saliency has it."""

    class Counting(GenerateDetectorProposalSaliency):
        def generate(self, ref_dets: Any, perturbed_dets: Any, perturbed_masks: Any) -> Any:
            assert perturbed_dets.shape[0] == len(perturbed_masks) == 30
            assert perturbed_dets.shape[2] == 7
            return np.stack([np.full((20, 18), row[4] * len(perturbed_masks)) for row in ref_dets])

        def get_config(self) -> dict[str, Any]:
            return {}

    pair = (RandomGrid(n=30, s=(4, 4), p1=0.5, seed=0, threads=0), Counting())
    [raw] = made(pair=pair, saliency_method="custom", saliency_targets="all")
    np.testing.assert_allclose(raw.maps[:, 0, 0], [30, 24], rtol=1e-6)


def test_pair_whose_masks_or_maps_have_another_shape_is_refused() -> None:
    class Flat(DRISEScoring):
        def generate(self, ref_dets: Any, perturbed_dets: Any, perturbed_masks: Any) -> Any:
            return np.zeros((5, 5))

    with pytest.raises(RunFailedError, match=r"MCRISEGrid made masks of shape \(2, 10, 20, 18\)"):
        made(pair=(MCRISEGrid(n=10, s=4, p1=0.5, k=2, seed=0, threads=0), DRISEScoring()))
    with pytest.raises(RunFailedError, match=r"maps of shape \(5, 5\) for 1 targets and an image of 20 x 18"):
        made(pair=(RISEGrid(n=10, s=4, p1=0.5, seed=0, threads=0), Flat()))


# --- mistakes -----------------------------------------------------------------------------------------------------


class Returning(nn.Module):
    """A detector that returns what it was given."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def forward(self, images: Tensor) -> Any:
        return self.value(len(images))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda n: None, "returned a NoneType, not one float tensor"),
        (lambda n: [torch.ones(2, 7)] * (n + 1), "returned a list of 2, not one float tensor"),
        (lambda n: [np.ones((2, 7))] * n, "returned a ndarray in it"),
        (lambda n: torch.ones(n, 2, 5), r"torch.float32 \(2, 5\) for an image"),
        (lambda n: torch.ones(n, 2, 7).long(), r"torch.int64 \(2, 7\) for an image"),
        (lambda n: torch.ones(n, 2, 7 if n == 1 else 8), "2 class scores for one image and 3 for another"),
    ],
)
def test_what_is_no_detection_is_refused(value: Any, message: str) -> None:
    """The message says what came and what was wanted."""
    with pytest.raises(RunFailedError, match=message):
        made(model=Returning(value))


def test_labels_choose_no_detection_and_volumes_have_none() -> None:
    with pytest.raises(RunFailedError, match="saliency_targets=label is for classes; detections are chosen with"):
        made(saliency_targets="label")
    with pytest.raises(RunFailedError, match=r"returned volumes, \(1, 3, 4, 8, 8\)"):
        made(torch.zeros(1, 3, 4, 8, 8))


# --- sums ---------------------------------------------------------------------------------------------------------


def test_weighted_masks_are_zero_where_no_mask_counts() -> None:
    """As xaitk-saliency's weight_regions_by_scalar has it."""
    weighted = WeightedMasks(1, (1, 3), torch.device("cpu"))
    weighted.add(torch.tensor([[2.0], [4.0]]), torch.tensor([[[[1.0, 0.5, 0.0]]], [[[1.0, 0.0, 0.0]]]]))
    np.testing.assert_allclose(weighted.maps().numpy(), [[[3, 2, 0]]])
    np.testing.assert_allclose(weighted.mean_mask().numpy(), [[1, 0.25, 0]])
