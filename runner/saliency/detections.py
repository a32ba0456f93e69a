"""Maps for detectors: which pixels make it find what it found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize
from xaitk_saliency.impls.gen_detector_prop_sal.drise_scoring import DRISEScoring
from xaitk_saliency.interfaces.gen_detector_prop_sal import GenerateDetectorProposalSaliency
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
from runner.saliency.masks import Masks, rise_masks
from runner.saliency.perturbations import draw_of
from runner.saliency.raw_maps import RawMaps
from runner.saliency.targets import chosen_targets

if TYPE_CHECKING:
    from runner.container import LightningContainer

Array = NDArray[Any]
Pair = tuple[PerturbImage, GenerateDetectorProposalSaliency]

BOX, OBJECTNESS, CLASSES = slice(0, 4), 4, slice(5, None)
"""Columns of a detection."""


class DetectionStrategy:
    """D-RISE (Petsiuk et al. 2021, arXiv:2006.03204), or another pair of masks and scoring for detectors.

    The image is shown to the detector behind random masks. A mask counts as much as the most similar detection behind
    it resembles the one to explain: overlap times likeness of the class scores times objectness. A map's value is the
    mean of that, from 0 to 1, over the masks that show the pixel: xaitk-saliency's ``DRISEScoring`` before it is scaled
    to 1.

    The targets are detections of the whole image; its scores are objectness times the best class score of each. An
    image in which nothing is found has no targets.
    """

    def __init__(self, container: LightningContainer, model: nn.Module, pair: Pair | None = None) -> None:
        """Take what to explain.

        Args:
            container: Says how; see its ``saliency_`` parameters and ``get_saliency_detections``.
            model: The trained model, in evaluation mode.
            pair: Other masks and scoring than those of D-RISE, from ``get_saliency_generator``. The maps of
                ``DRISEScoring`` keep their strength, those of another scoring come as they are.
        """
        self._container = container
        self._model = model
        self._pair = pair
        self._batch_size = container.saliency_batch_size or BATCH_SIZE
        self._plans: dict[tuple[int, ...], Masks] = {}

    def explain(self, images: Tensor, labels: Sequence[int], queries: Tensor | None) -> Iterator[RawMaps]:
        """Yield the maps of each image, in order; see :class:`~runner.saliency.raw_maps.Strategy`."""
        del labels, queries
        if images.ndim != 4:
            raise RunFailedError(
                f"get_saliency_images returned volumes, {tuple(images.shape)}; saliency for detectors explains images "
                "(B, C, H, W) only."
            )
        for image in images:
            yield self._explain(image)

    def _explain(self, image: Tensor) -> RawMaps:
        with exact_arithmetic(image.device):
            [detections] = self._detections(image[None].clone())
            scores = (detections[:, OBJECTNESS] * detections[:, CLASSES].amax(dim=1)).cpu().numpy()
            targets = self._targets(scores)
            maps = np.zeros((0, *image.shape[1:]), dtype=np.float32)
            found = RawMaps(maps=maps, scores=scores, targets=np.array(targets, dtype=np.int64))
            if not targets:
                return found
            if self._pair is None:
                return self._drise(image, detections[targets], found)
            return self._by_pair(image, detections[targets], found, self._pair)

    def _drise(self, image: Tensor, reference: Tensor, found: RawMaps) -> RawMaps:
        fill = fill_of(self._container.saliency_fill, image)
        weighted = WeightedMasks(len(reference), tuple(image.shape[1:]), image.device)
        for rows in blocks_of(self._plan(image), self._batch_size):
            detections = self._detections(torch.lerp(fill, image, rows.to(image.dtype)))
            weighted.add(similarities(padded(detections, reference.shape[1]), reference), rows)
        quality = weighted.quality()
        return replace(
            found,
            maps=weighted.maps().cpu().numpy(),
            num_masks=weighted.count,
            mean_mask=weighted.mean_mask().cpu().numpy(),
            quality=None if quality is None else quality.cpu().numpy(),
        )

    def _by_pair(self, image: Tensor, reference: Tensor, found: RawMaps, pair: Pair) -> RawMaps:
        perturber, generator = pair
        masks = visible_masks(perturber, image)
        fill = fill_of(self._container.saliency_fill, image)
        detections: list[Tensor] = []
        for images in hidden_blocks(image, fill, masks, self._batch_size):
            detections += self._detections(images)
        perturbed = padded(detections, reference.shape[1])
        made = generator.generate(reference.cpu().numpy(), perturbed.cpu().numpy(), masks)
        maps = checked_maps(made, len(reference), image)
        if isinstance(generator, DRISEScoring):
            maps = maps * strengths_at_peaks(maps, similarities(perturbed, reference).cpu().numpy(), masks)
        return replace(found, maps=maps, num_masks=len(masks))

    def _plan(self, image: Tensor) -> Masks:
        size = tuple(image.shape[1:])
        if size not in self._plans:
            with full_precision(image.device):
                self._plans[size] = rise_masks(draw_of(self._container), size, image.device)
        return self._plans[size]

    def _targets(self, scores: Array) -> list[int]:
        """Return which detections are explained; of a list those that there are, because each image has its own."""
        choice = self._container.saliency_targets
        if choice == "label":
            raise RunFailedError(
                "saliency_targets=label is for classes; detections are chosen with predicted (the best one), all, top3 "
                "(any number of best ones) or a list of indices."
            )
        if not isinstance(choice, str):
            return [each for each in choice if each < len(scores)]
        return chosen_targets(choice, scores, -1) if len(scores) else []

    def _detections(self, images: Tensor) -> list[Tensor]:
        """Return what is found in each of *images*, float32 (P, 5 + K) each, with another P for each.

        Raises:
            RunFailedError: ``get_saliency_detections`` returned something else.
        """
        given: Any = self._container.get_saliency_detections(self._model, images)
        wanted = f"one float tensor (P, 4 + 1 + number of classes) for each of {len(images)} images"
        if not isinstance(given, Sequence | Tensor) or len(given) != len(images):
            many = f" of {len(given)}" if isinstance(given, Sequence | Tensor) else ""
            raise RunFailedError(f"get_saliency_detections returned a {type(given).__name__}{many}, not {wanted}.")
        for each in given:
            if not isinstance(each, Tensor):
                raise RunFailedError(f"get_saliency_detections returned a {type(each).__name__} in it, not {wanted}.")
            if each.ndim != 2 or each.shape[1] <= CLASSES.start or not each.is_floating_point():
                raise RunFailedError(
                    f"get_saliency_detections returned {each.dtype} {tuple(each.shape)} for an image, not {wanted}."
                )
        return [each.detach().float() for each in given]


def padded(detections: Sequence[Tensor], num_columns: int) -> Tensor:
    """Return the detections of n images as one tensor, float32 (n, P, 5 + K) with the largest P, at least 1.

    What is filled in has objectness 0, and ones elsewhere as in xaitk-saliency, whose cosine of zeros is NaN.

    Args:
        detections: float32 (P, 5 + K) of each image.
        num_columns: 5 + K.

    Raises:
        RunFailedError: an image has another number of classes.
    """
    num_proposals = max(1, *(len(each) for each in detections))
    filled = detections[0].new_ones(len(detections), num_proposals, num_columns)
    filled[..., OBJECTNESS] = 0
    for row, each in zip(filled, detections, strict=True):
        if len(each) and each.shape[1] != num_columns:
            raise RunFailedError(
                f"get_saliency_detections returned {num_columns - 5} class scores for one image and "
                f"{each.shape[1] - 5} for another."
            )
        row[: len(each)] = each
    return filled


def similarities(detections: Tensor, reference: Tensor) -> Tensor:
    """Return how much the most similar detection of each image resembles each of *reference* (Petsiuk et al., eq. 2).

    Args:
        detections: float32 (n, P, 5 + K).
        reference: float32 (T, 5 + K).

    Returns:
        float32 (n, T): the largest overlap times cosine of the class scores times objectness; 0 where there are no
        class scores above 0.
    """
    with full_precision(detections.device):
        alike = normalize(detections[..., CLASSES], dim=-1) @ normalize(reference[:, CLASSES], dim=-1).T
        overlap = _overlap(detections[..., None, BOX], reference[:, BOX])
        return (overlap * alike * detections[..., OBJECTNESS, None]).amax(dim=1)


def _overlap(first: Tensor, second: Tensor) -> Tensor:
    """Return intersection over union of boxes x1, y1, x2, y2 whose last pixels belong to them, as xaitk-saliency."""
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    common = (high - low + 1).clamp(min=0).prod(dim=-1)
    areas = [(each[..., 2:] - each[..., :2] + 1).prod(dim=-1) for each in (first, second)]
    return common / (areas[0] + areas[1] - common + torch.finfo(torch.float64).eps)
