"""The loop over masks: hide, predict, add up, on the model's device and at the cost of the forward passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from runner.saliency.forward_format import full_precision
from runner.saliency.masks import GridMasks
from runner.saliency.perturbations import Perturbation, Recoloring, Sums
from runner.saliency.quality import predicted_quality, reaches
from runner.saliency.raw_maps import RawMaps, strongest_color
from runner.saliency.targets import target_indices

Array = NDArray[Any]

BLOCK_ROWS = 128
"""Masks that are made, and added up, at once; more forward passes than one may use them."""

BLOCK_BYTES = 8 * 2**20
"""What a block of masks may need at most, unless a single forward pass needs more."""

MIN_MASKS = 256
"""Fewer masks do not say how good a map is; measured on digits, see ``tests/benchmarks/adaptive_masks.py``."""


@dataclass(frozen=True)
class Schedule:
    """How the masks of images are dealt out to forward passes, all of which have the same shape.

    In a pass each image has as many rows as in any other, so that a row's scores do not depend on which images are
    explained together.
    """

    num_images: int
    """Images in a forward pass."""
    num_rows: int
    """Rows of each image in a forward pass."""
    num_passes: int
    """Forward passes with one block of masks."""


def make_schedule(masks_rows: int, row_bytes: int, batch_size: int, num_images: int, *, early: bool) -> Schedule:
    """Return how to fill forward passes of at most *batch_size*.

    Args:
        masks_rows: Rows of the plan of masks, the whole image included.
        row_bytes: Memory of one row of masks.
        batch_size: Images in a forward pass at most.
        num_images: Images that come together.
        early: Whether the quality is looked at after every block.
    """
    if early:  # images come to their ends one by one, and where they may is the same however they come
        num_rows = 2 ** (min(batch_size, 512).bit_length() - 1)
        return Schedule(1, num_rows, max(1, BLOCK_ROWS // num_rows))
    together = min(batch_size // masks_rows, num_images)
    if together > 1:
        return Schedule(together, masks_rows, 1)
    num_rows = math.ceil(masks_rows / math.ceil(masks_rows / batch_size))
    block = min(BLOCK_ROWS, BLOCK_BYTES // row_bytes)
    return Schedule(1, num_rows, max(1, block // num_rows))


class _Job:
    """One image on its way through the masks."""

    def __init__(self, place: int, image: Tensor, fill: Tensor, label: int) -> None:
        self.place = place
        self.image = image
        self.fill = fill
        self.label = label
        self.position = 0
        """The next row of masks."""
        self.scores: list[Tensor] = []
        """Of the targets for the block at hand, float32 (rows, T) each."""

    def begin(self, scores: Tensor, perturbation: Perturbation, choice: str | Sequence[int]) -> None:
        """Choose the targets and make room for their sums.

        Args:
            scores: float (n, K) of the first rows, the whole image first.
            perturbation: The method.
            choice: The parameter ``saliency_targets``.
        """
        self.reference = scores[0].clone()
        self.targets = target_indices(choice, self.reference, self.label)
        chosen = scores[:, self.targets].float()
        # The drop of the score is small beside it, and so is its difference to the mean: few digits are lost in sums.
        self.zero = chosen[0] if perturbation.is_difference or len(chosen) == 1 else chosen[1:].mean(dim=0)
        masks, halves = perturbation.masks, 2 if perturbation.is_random else 1
        shape = (masks.num_planes, *masks.size)
        exact = torch.float64 if scores.device.type != "mps" else torch.float32
        self.sums = [
            Sums(
                weighted=torch.zeros(len(self.targets), *shape, device=scores.device),
                covered=torch.zeros(shape, device=scores.device, dtype=exact),
                total=torch.zeros(len(self.targets), device=scores.device),
            )
            for _ in range(halves)
        ]


class Engine:
    """Makes the maps of images of one size."""

    def __init__(
        self,
        perturbation: Perturbation,
        score: Callable[[Tensor], Tensor],
        *,
        batch_size: int,
        num_images: int,
        targets: str | Sequence[int],
        centered: bool,
        target_quality: float | None,
        expect: Callable[[Tensor, int], None] | None = None,
    ) -> None:
        """Plan the forward passes.

        Args:
            perturbation: The method.
            score: From images (B, C, *size) to scores, float (B, K).
            batch_size: Images in a forward pass at most.
            num_images: Images that come together.
            targets: The parameter ``saliency_targets``.
            centered: Whether to subtract the mean score over the masks.
            target_quality: The predicted correlation with the converged map at which to stop; None: use all masks.
            expect: Is told the image and its first row of masks before each forward pass with one image.
        """
        self.perturbation = perturbation
        masks = perturbation.masks
        self._score = score
        self._expect = expect
        self._targets = targets
        self._centered = centered
        self._target_quality = target_quality if perturbation.is_random else None
        self._num_rows = masks.num_masks + 1
        row_bytes = 4 * masks.num_planes * math.prod(masks.size)
        early = self._target_quality is not None
        self.schedule = make_schedule(self._num_rows, row_bytes, batch_size, num_images, early=early)
        self._pieces = math.prod(masks.grid_shape) if isinstance(masks, GridMasks) else 1
        self._images: Tensor | None = None

    def explain(self, images: Iterable[Tensor], fills: Iterable[Tensor], labels: Iterable[int]) -> Iterator[RawMaps]:
        """Yield the maps of each image, in order.

        Args:
            images: float (C, *size) each, on the device of the masks.
            fills: What hides parts of each image; broadcasts to it.
            labels: The true class of each image, -1 where it is not known.

        Raises:
            RunFailedError: the targets do not exist.
        """
        waiting = (_Job(place, *each) for place, each in enumerate(zip(images, fills, labels, strict=True)))
        active: list[_Job] = []
        finished: dict[int, RawMaps] = {}
        next_place = 0
        while True:
            active += islice(waiting, self.schedule.num_images - len(active))
            if not active:
                return
            self._advance(active)
            for job in [job for job in active if self._is_finished(job)]:
                active.remove(job)
                finished[job.place] = self._result(job)
            while next_place in finished:
                yield finished.pop(next_place)
                next_place += 1

    def _advance(self, active: Sequence[_Job]) -> None:
        """Take each image through its next block of masks."""
        num_rows = self.schedule.num_rows
        left = max(math.ceil((self._num_rows - job.position) / num_rows) for job in active)
        num_passes = min(self.schedule.num_passes, left)
        size = num_rows * num_passes
        with full_precision(active[0].image.device):
            blocks = {
                start: self.perturbation.masks.rows(start, start + size) for start in {job.position for job in active}
            }
        for number in range(num_passes):
            part = slice(number * num_rows, (number + 1) * num_rows)
            images = self._hidden(active, [blocks[job.position][part] for job in active])
            if self._expect is not None:
                self._expect(active[0].image, active[0].position + part.start)
            scores = self._score(images).view(self.schedule.num_images, num_rows, -1)
            for job, own in zip(active, scores, strict=False):
                if not job.position and not number:
                    job.begin(own, self.perturbation, self._targets)
                chosen = own[:, job.targets].float()
                job.scores.append(job.zero - chosen if self.perturbation.is_difference else chosen - job.zero)
        with full_precision(active[0].image.device):
            for job in active:
                self._add_up(job, blocks[job.position])
        for job in active:
            job.position += len(job.scores) * num_rows
            job.scores.clear()

    def _hidden(self, active: Sequence[_Job], rows: Sequence[Tensor]) -> Tensor:
        """Return the images behind their masks, float (num_images * num_rows, C, *size), in memory that is reused."""
        num_rows, image = self.schedule.num_rows, active[0].image
        if self._images is None:
            self._images = image.new_zeros(self.schedule.num_images * num_rows, *image.shape)
        with full_precision(image.device):
            for place, (job, own) in enumerate(zip(active, rows, strict=True)):
                out = self._images[place * num_rows : (place + 1) * num_rows]
                self.perturbation.hide(job.image, job.fill, own, out)
        return self._images

    def _add_up(self, job: _Job, block: Tensor) -> None:
        """Add the scores of a block of masks to the sums of an image: one matrix product for each half of the masks.

        Images are not put together here: the product of a larger matrix would have other last digits.
        """
        start, halves = job.position, len(job.sums)
        scores = torch.cat(job.scores)  # (rows, T)
        weights = torch.cat([scores, torch.ones_like(scores[:, :1])], dim=1)
        matrix = block.flatten(1)
        first, last = max(0, 1 - start), min(len(scores), self._num_rows - start)
        for half, sums in enumerate(job.sums):
            begin = first + (half - (start + first - 1)) % halves  # mask n, in row n + 1, belongs to half n modulo 2
            part = slice(begin, last, halves)
            added = (weights[part].T @ matrix[part]).view(-1, *block.shape[1:])
            sums.add(added[:-1], added[-1], scores[part].sum(dim=0), len(weights[part]))

    def _is_finished(self, job: _Job) -> bool:
        if job.position >= self._num_rows:
            return True
        if self._target_quality is None or job.position <= MIN_MASKS:
            return False
        return reaches(self._target_quality, *self._half_maps(job), self._pieces)

    def _half_maps(self, job: _Job) -> tuple[Tensor, Tensor]:
        first, second = (self._maps(each, job) for each in job.sums)
        if isinstance(self.perturbation, Recoloring):  # (k, T, H, W)
            return first.transpose(0, 1), second.transpose(0, 1)
        return first, second

    def _maps(self, sums: Sums, job: _Job) -> Tensor:
        offset = -sums.total / sums.count if self._centered else job.zero
        return self.perturbation.maps(sums, offset)

    def _result(self, job: _Job) -> RawMaps:
        whole = job.sums[0] if len(job.sums) == 1 else job.sums[0] + job.sums[1]
        usable = job.reference[job.targets].isfinite().view(-1, *[1] * len(self.perturbation.masks.size))
        maps = self._maps(whole, job).where(usable, math.nan).cpu().numpy()
        is_colored = isinstance(self.perturbation, Recoloring)
        return RawMaps(
            maps=strongest_color(maps) if is_colored else maps,
            color_maps=maps if is_colored else None,
            scores=job.reference.float().cpu().numpy(),
            targets=job.targets.cpu().numpy(),
            num_masks=whole.count,
            mean_mask=self._mean_mask(whole),
            quality=self._quality(job),
        )

    def _mean_mask(self, whole: Sums) -> Array | None:
        if not self.perturbation.is_random:
            return None
        mean: Array = (whole.covered.sum(dim=0) / whole.count).float().cpu().numpy()
        return mean

    def _quality(self, job: _Job) -> Array | None:
        if len(job.sums) == 1 or not job.sums[1].count:
            return None
        quality: Array = predicted_quality(*self._half_maps(job)).cpu().numpy()
        return quality
