"""Maps for similarity: which pixels make an image like another one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from torch import Tensor, nn
from xaitk_saliency.impls.gen_descriptor_sim_sal.similarity_scoring import SimilarityScoring
from xaitk_saliency.interfaces.gen_descriptor_sim_sal import GenerateDescriptorSimilaritySaliency
from xaitk_saliency.interfaces.perturb_image import PerturbImage

from runner.errors import RunFailedError
from runner.saliency.fills import fill_of
from runner.saliency.forward_format import exact_arithmetic, full_precision
from runner.saliency.mask_weights import (
    BATCH_SIZE,
    WeightedMasks,
    blocks_of,
    checked_maps,
    hidden_blocks,
    strengths_at_peaks,
    visible_masks,
)
from runner.saliency.masks import Masks, WindowMasks
from runner.saliency.raw_maps import RawMaps
from runner.saliency.targets import chosen_targets

if TYPE_CHECKING:
    from runner.container import LightningContainer

Array = NDArray[Any]
Pair = tuple[PerturbImage, GenerateDescriptorSimilaritySaliency]


class SimilarityStrategy:
    """SBSM (Dong et al. 2019, CVPR workshops), or another pair of masks and scoring for descriptors.

    A window hides one place of the image after the other. A map's value is by how much the image's descriptor moves
    away from the query's, in the unit of the Euclidean distance, on the mean of the windows that hide the pixel; those
    that bring it nearer count as 0. That is xaitk-saliency's ``SimilarityScoring`` before it is scaled to 1.

    The targets are the queries. The scores are how close they are: the distance with the other sign, 0 at most.
    """

    def __init__(self, container: LightningContainer, model: nn.Module, pair: Pair | None = None) -> None:
        """Take what to explain.

        Args:
            container: Says how; see its ``saliency_`` parameters and ``get_saliency_descriptors``.
            model: The trained model, in evaluation mode.
            pair: Other masks and scoring than those of SBSM, from ``get_saliency_generator``. The maps of
                ``SimilarityScoring`` keep their strength, in the unit of its metric; those of another scoring come as
                they are.
        """
        self._container = container
        self._model = model
        self._pair = pair
        self._batch_size = container.saliency_batch_size or BATCH_SIZE
        self._plans: dict[tuple[int, ...], Masks] = {}

    def explain(self, images: Tensor, labels: Sequence[int], queries: Tensor | None) -> Iterator[RawMaps]:
        """Yield the maps of each image, in order; see :class:`~runner.saliency.raw_maps.Strategy`."""
        del labels
        if self._pair is not None and images.ndim != 4:
            raise RunFailedError(
                f"get_saliency_images returned volumes, {tuple(images.shape)}; xaitk-saliency explains images "
                "(B, C, H, W) only. saliency_method=sbsm takes volumes."
            )
        with exact_arithmetic(images.device):
            blocks = torch.split(_checked_queries(queries, images), self._batch_size)
            described = torch.cat([self._described(each) for each in blocks])
        for image in images:
            yield self._explain(image, described)

    def _explain(self, image: Tensor, queries: Tensor) -> RawMaps:
        with exact_arithmetic(image.device):
            descriptor = self._described(image[None].clone())
            closeness = -_distances(descriptor, queries)[0]
            scores = closeness.cpu().numpy()
            targets = self._targets(scores)
            if self._pair is None:
                maps, num_masks = self._sbsm(image, queries[targets], closeness[targets])
            else:
                maps, num_masks = self._by_pair(image, descriptor, queries[targets], self._pair)
        return RawMaps(maps=maps, scores=scores, targets=np.array(targets, dtype=np.int64), num_masks=num_masks)

    def _sbsm(self, image: Tensor, queries: Tensor, closeness: Tensor) -> tuple[Array, int]:
        fill = fill_of(self._container.saliency_fill, image)
        weighted = WeightedMasks(len(queries), tuple(image.shape[1:]), image.device)
        for rows in blocks_of(self._plan(image), self._batch_size):
            described = self._described(torch.lerp(image, fill, rows.to(image.dtype)))
            weighted.add((_distances(described, queries) + closeness).clamp(min=0), rows)
        return weighted.maps().cpu().numpy(), weighted.count

    def _by_pair(self, image: Tensor, descriptor: Tensor, queries: Tensor, pair: Pair) -> tuple[Array, int]:
        perturber, generator = pair
        masks = visible_masks(perturber, image)
        fill = fill_of(self._container.saliency_fill, image)
        described = [self._described(each) for each in hidden_blocks(image, fill, masks, self._batch_size)]
        before, wanted, after = (each.cpu().numpy() for each in (descriptor, queries, torch.cat(described)))
        maps = checked_maps(generator.generate(before[0], wanted, after, masks), len(queries), image)
        if isinstance(generator, SimilarityScoring):
            weights = _moves(before, wanted, after, generator.proximity_metric)
            maps = maps * strengths_at_peaks(maps, weights, 1.0 - masks)
        return maps, len(masks)

    def _plan(self, image: Tensor) -> Masks:
        container, size = self._container, tuple(image.shape[1:])
        if size not in self._plans:
            window, stride = container.saliency_window_size, container.saliency_stride
            self._plans[size] = WindowMasks(window, stride, size, image.device)
        return self._plans[size]

    def _targets(self, scores: Array) -> list[int]:
        """Return which queries are explained, from how close they are."""
        choice = self._container.saliency_targets
        if choice == "label":
            raise RunFailedError(
                "saliency_targets=label is for classes; queries are chosen with predicted (the nearest one), all, top3 "
                "(any number of nearest ones) or a list of indices."
            )
        unknown = [] if isinstance(choice, str) else [each for each in choice if each >= len(scores)]
        if unknown:
            raise RunFailedError(
                f"saliency_targets={list(choice)}: there is no query {unknown[0]}, get_saliency_queries gives "
                f"{len(scores)}, counted from 0."
            )
        return chosen_targets(choice, scores, -1)

    def _described(self, images: Tensor) -> Tensor:
        """Return the descriptors of *images*, float32 (B, F).

        Raises:
            RunFailedError: ``get_saliency_descriptors`` returned something else.
        """
        given: Any = self._container.get_saliency_descriptors(self._model, images)
        wanted = f"a float tensor ({len(images)}, number of features)"
        if not isinstance(given, Tensor):
            raise RunFailedError(f"get_saliency_descriptors returned a {type(given).__name__}, not {wanted}.")
        if given.ndim != 2 or len(given) != len(images) or not given.shape[1] or not given.is_floating_point():
            raise RunFailedError(
                f"get_saliency_descriptors returned {given.dtype} {tuple(given.shape)} for {len(images)} images, "
                f"not {wanted}."
            )
        return given.detach().float()


def _checked_queries(queries: Any, images: Tensor) -> Tensor:
    """Return *queries*, as ``get_saliency_queries`` gave them, in the type of *images* and on their device.

    Raises:
        RunFailedError: there are none, or they are no images.
    """
    if queries is None:
        raise RunFailedError(
            "Similarity is explained to other images, and there are none: define get_saliency_queries() in the "
            "container, which returns them for a batch."
        )
    if not isinstance(queries, Tensor) or queries.ndim != images.ndim or not len(queries):
        kind = tuple(queries.shape) if isinstance(queries, Tensor) else f"a {type(queries).__name__}"
        raise RunFailedError(
            f"get_saliency_queries returned {kind}, not a float tensor with the dimensions of the images, (number of "
            f"queries, {images.shape[1]}, ...)."
        )
    return queries.to(images)


def _distances(first: Tensor, second: Tensor) -> Tensor:
    """Return the Euclidean distances between descriptors (n, F) and (Q, F): float32 (n, Q)."""
    with full_precision(first.device):  # by matrix products they would lose digits
        return torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")


def _moves(before: Array, queries: Array, after: Array, metric: Any) -> Array:
    """Return the weights of ``SimilarityScoring`` with *metric*, float64 (N, Q), from (1, F), (Q, F) and (N, F)."""
    return np.asarray((cdist(queries, after, metric).T - cdist(before, queries, metric)).clip(min=0))
