"""Maps for similarity: against xaitk-saliency's SBSMStack, and on descriptors whose reasons are known."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from smqtk_descriptors.interfaces.image_descriptor_generator import ImageDescriptorGenerator
from torch import Tensor, nn
from xaitk_saliency.impls.gen_descriptor_sim_sal.similarity_scoring import SimilarityScoring
from xaitk_saliency.impls.gen_image_similarity_blackbox_sal.sbsm import SBSMStack
from xaitk_saliency.impls.perturb_image.rise import RISEGrid
from xaitk_saliency.impls.perturb_image.sliding_window import SlidingWindow
from xaitk_saliency.interfaces.gen_descriptor_sim_sal import GenerateDescriptorSimilaritySaliency
from xaitk_saliency.utils.masking import weight_regions_by_scalar

from runner.errors import RunFailedError
from runner.saliency.raw_maps import RawMaps
from runner.saliency.similarity import SimilarityStrategy
from tests.saliency_samples import REGION, ConvModel, Sample

GENERATOR = torch.Generator().manual_seed(4)
IMAGES = torch.rand(2, 3, 16, 16, generator=GENERATOR)
QUERIES = torch.rand(4, 3, 16, 16, generator=GENERATOR)


class RegionDescriptor(nn.Module):
    """Two features: the mean of REGION, and that of all pixels a hundred times less."""

    def forward(self, images: Tensor) -> Tensor:
        region = images[(..., *REGION)].flatten(1).mean(dim=1)
        return torch.stack([region, images.flatten(1).mean(dim=1) / 100], dim=1)


class Describing(Sample):
    """A container around a model whose output is a descriptor."""

    def get_saliency_descriptors(self, model: nn.Module, images: Tensor) -> Any:
        return model(images)


class XaitkDescriptor(ImageDescriptorGenerator):
    """The same model behind xaitk-saliency's interface."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def generate_arrays_from_images(self, img_mat_iter: Iterable[Any]) -> Iterator[Any]:
        for image in img_mat_iter:
            with torch.no_grad():
                yield self.model(torch.from_numpy(image).permute(2, 0, 1)[None])[0].numpy()

    def get_config(self) -> dict[str, Any]:
        return {}


def made(
    images: Tensor = IMAGES, queries: Any = QUERIES, model: nn.Module | None = None, pair: Any = None, **values: Any
) -> list[RawMaps]:
    container = Describing(**({"saliency_method": "sbsm"} | values))
    strategy = SimilarityStrategy(container, (model or ConvModel(num_classes=6)).eval(), pair)
    with torch.inference_mode():
        return list(strategy.explain(images, [-1] * len(images), queries))


def arrays(images: Tensor) -> list[Any]:
    return [each.permute(1, 2, 0).numpy() for each in images]


def scaled(maps: Any) -> Any:
    return maps / np.abs(maps).max(axis=(1, 2), keepdims=True)


# --- equal to xaitk-saliency --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", [0.0, 0.3, [0.1, 0.3, 0.4]])
def test_maps_are_those_of_sbsm_stack(fill: Any) -> None:
    """SBSMStack itself, with the same model behind smqtk's interface, gives the same maps to 1e-5."""
    model = ConvModel(num_classes=6).eval()
    stack = SBSMStack((5, 5), (3, 3), fill=fill)
    all_raw = made(model=model, saliency_targets="all", saliency_fill=fill, saliency_window_size=5, saliency_stride=3)
    for image, raw in zip(arrays(IMAGES), all_raw, strict=True):
        expected = stack.generate(image, arrays(QUERIES), XaitkDescriptor(model))
        assert expected.shape == raw.maps.shape == (4, 16, 16)
        np.testing.assert_allclose(scaled(raw.maps), expected, atol=1e-5)
        assert raw.num_masks == 36


def test_strength_is_the_mean_move_away_behind_the_windows_that_hide_a_pixel() -> None:
    """From xaitk-saliency's masks and weighting, before it scales the map to 1."""
    model = ConvModel(num_classes=6).eval()
    [raw] = made(IMAGES[:1], model=model, saliency_targets="all")
    masks = SlidingWindow((4, 4), (2, 2)).perturb(arrays(IMAGES)[0])
    with torch.no_grad():
        hidden = model(IMAGES[:1] * torch.from_numpy(masks).float()[:, None])
        before, after = cdist(model(IMAGES[:1]), model(QUERIES)), cdist(hidden, model(QUERIES))
    expected = weight_regions_by_scalar(np.clip(after - before, 0, None), masks)
    np.testing.assert_allclose(raw.maps, expected, atol=1e-5)
    np.testing.assert_allclose(raw.scores, -before[0], atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 200])
def test_maps_do_not_depend_on_the_size_of_blocks(batch_size: int) -> None:
    for expected, raw in zip(made(), made(saliency_batch_size=batch_size), strict=True):
        np.testing.assert_allclose(raw.maps, expected.maps, atol=1e-5)


# --- known answers ------------------------------------------------------------------------------------------------


def test_map_points_at_the_region_that_is_alike() -> None:
    """The descriptor of two images is the same because of REGION: a window over it moves it away by the mean there."""
    image, query = torch.zeros(1, 3, 16, 16), torch.rand(1, 3, 16, 16) * 0.2
    image[(..., *REGION)] = query[(..., *REGION)] = 0.9
    [raw] = made(image, query, RegionDescriptor())
    row, column = np.unravel_index(raw.maps[0].argmax(), raw.maps[0].shape)
    assert REGION[0].start <= row < REGION[0].stop
    assert REGION[1].start <= column < REGION[1].stop
    assert 0.4 < raw.maps.max() < 0.9  # the mean over windows that hide all of REGION, or part of it
    np.testing.assert_allclose(raw.maps[0, :2, :5], 0, atol=1e-3)


def test_windows_that_bring_the_image_nearer_count_as_nothing() -> None:
    """The image has a bright region that the query has not; hiding it is no evidence for their likeness."""
    image = torch.zeros(1, 3, 16, 16)
    image[(..., *REGION)] = 1
    [raw] = made(image, torch.zeros(1, 3, 16, 16), RegionDescriptor())
    assert raw.maps.max() == 0


def test_scores_are_how_close_queries_are_and_the_nearest_is_predicted() -> None:
    """The distance with the other sign; the image itself is at distance 0."""
    queries = torch.cat([QUERIES, IMAGES[:1]])
    [raw] = made(IMAGES[:1], queries)
    assert raw.targets.tolist() == [4]
    assert raw.scores.shape == (5,)
    assert raw.scores[4] == pytest.approx(0, abs=1e-5)
    assert (raw.scores[:4] < -0.01).all()
    [raw] = made(IMAGES[:1], queries, saliency_targets="top3")
    assert raw.targets.tolist() == (-raw.scores).argsort()[:3].tolist()
    [raw] = made(IMAGES[:1], queries, saliency_targets=[3, 1])
    assert raw.targets.tolist() == [3, 1]


def test_a_single_query_is_explained() -> None:
    [raw] = made(IMAGES[:1], QUERIES[:1])
    assert raw.targets.tolist() == [0]
    assert raw.maps.shape == (1, 16, 16)


def test_volumes_have_maps_of_their_size_and_a_single_slice_is_an_image() -> None:
    """Windows have three axes; with a single slice the map is the one of the image."""

    class Projecting(RegionDescriptor):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images.amax(dim=2) if images.ndim == 5 else images)

    volumes = torch.zeros(1, 3, 6, 16, 16)
    volumes[(0, slice(None), 4, *REGION)] = 0.9
    [raw] = made(volumes, volumes, Projecting(), saliency_window_size=3, saliency_stride=1)
    assert raw.maps.shape == (1, 6, 16, 16)
    assert np.unravel_index(raw.maps[0].argmax(), raw.maps[0].shape)[0] in (3, 4, 5)
    assert raw.maps[0, 0].max() == 0
    [flat] = made(IMAGES[:1, :, None], QUERIES[:, :, None], Projecting())
    [image] = made(IMAGES[:1], QUERIES, Projecting())
    np.testing.assert_allclose(flat.maps[:, 0], image.maps, atol=1e-6)


def test_nan_in_a_descriptor_gives_a_map_that_is_not_finite() -> None:
    class Broken(RegionDescriptor):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images).where(images.mean(dim=(1, 2, 3))[:, None] > 0.48, torch.nan)

    image = torch.full((1, 3, 16, 16), 0.5)
    [raw] = made(image, image, Broken())
    assert np.isfinite(raw.scores).all()
    assert np.isnan(raw.maps).all()


# --- other pairs --------------------------------------------------------------------------------------------------


def test_pair_with_the_windows_of_sbsm_gives_the_same_maps() -> None:
    """xaitk-saliency's own scoring, with its strength computed again at the peak."""
    pair = (SlidingWindow((4, 4), (2, 2)), SimilarityScoring())
    expected = made(saliency_targets="all")
    for raw, other in zip(made(pair=pair, saliency_targets="all"), expected, strict=True):
        np.testing.assert_allclose(raw.maps, other.maps, atol=1e-5)
        assert raw.num_masks == other.num_masks == 64


def test_strength_of_a_pair_is_in_the_unit_of_its_metric() -> None:
    """The cosine does not see how long descriptors are, so that a model with outputs ten times as large is the same."""
    model = ConvModel(num_classes=6).eval()
    pair = (RISEGrid(n=20, s=4, p1=0.5, seed=0, threads=0), SimilarityScoring("cosine"))
    [raw] = made(IMAGES[:1], model=model, pair=pair)
    masks = RISEGrid(n=20, s=4, p1=0.5, seed=0, threads=0).perturb(arrays(IMAGES)[0])
    with torch.no_grad():
        hidden = model(IMAGES[:1] * torch.from_numpy(masks).float()[:, None])
        query = model(QUERIES[raw.targets])
        before, after = cdist(model(IMAGES[:1]), query, "cosine"), cdist(hidden, query, "cosine")
    expected = weight_regions_by_scalar(np.clip(after - before, 0, None), masks)
    np.testing.assert_allclose(raw.maps, expected, atol=1e-5)


def test_pair_of_ones_own_is_handed_all_masks_and_its_maps_come_as_they_are() -> None:
    class Counting(GenerateDescriptorSimilaritySaliency):
        def generate(self, ref_descr: Any, query_descrs: Any, perturbed_descrs: Any, perturbed_masks: Any) -> Any:
            assert ref_descr.shape == (6,)
            assert query_descrs.shape == (4, 6)
            assert perturbed_descrs.shape == (len(perturbed_masks), 6)
            return np.full((4, 16, 16), len(perturbed_masks))

        def get_config(self) -> dict[str, Any]:
            return {}

    [raw] = made(IMAGES[:1], pair=(SlidingWindow((4, 4), (2, 2)), Counting()), saliency_targets="all")
    assert (raw.maps == 64).all()


# --- mistakes -----------------------------------------------------------------------------------------------------


class Returning(nn.Module):
    """A model that returns what it was given."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def forward(self, images: Tensor) -> Any:
        return self.value(len(images))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda n: None, r"returned a NoneType, not a float tensor \(4, number of features\)"),
        (lambda n: torch.ones(n, 2, 2), r"returned torch.float32 \(4, 2, 2\) for 4 images"),
        (lambda n: torch.ones(n, 0), r"returned torch.float32 \(4, 0\)"),
        (lambda n: torch.ones(n + 1, 2), r"returned torch.float32 \(5, 2\)"),
        (lambda n: torch.ones(n, 2).long(), r"returned torch.int64 \(4, 2\)"),
    ],
)
def test_what_is_no_descriptor_is_refused(value: Any, message: str) -> None:
    """The message says what came and what was wanted."""
    with pytest.raises(RunFailedError, match=f"get_saliency_descriptors {message}"):
        made(model=Returning(value))


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (None, r"define get_saliency_queries\(\) in the container"),
        ([QUERIES], "get_saliency_queries returned a list, not a float tensor"),
        (QUERIES[0], r"get_saliency_queries returned \(3, 16, 16\)"),
        (QUERIES[:0], r"get_saliency_queries returned \(0, 3, 16, 16\)"),
    ],
)
def test_queries_must_be_there_and_images(queries: Any, message: str) -> None:
    with pytest.raises(RunFailedError, match=message):
        made(queries=queries)


def test_targets_must_be_queries() -> None:
    with pytest.raises(RunFailedError, match="there is no query 4, get_saliency_queries gives 4, counted from 0"):
        made(saliency_targets=[0, 4])
    with pytest.raises(RunFailedError, match="saliency_targets=label is for classes; queries are chosen with"):
        made(saliency_targets="label")


def test_pairs_of_xaitk_saliency_take_no_volumes() -> None:
    with pytest.raises(RunFailedError, match=r"returned volumes, \(2, 3, 1, 16, 16\)"):
        made(IMAGES[:, :, None], QUERIES[:, :, None], pair=(SlidingWindow(), SimilarityScoring()))
