"""Forward passes of an image behind windows that compute again only what a window changes, exactly.

The idea is Krypton's: Nakandala et al. 2019, SIGMOD, "Incremental and approximate inference for faster occlusion-based
deep CNN explanations". In the first layers of a convolutional network a window changes little more than what is behind
it. The rest is the same as for the whole image, and is computed once; see :class:`~runner.saliency.patched.Patched`.
"""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch import Tensor

from runner.saliency.forward_format import Format, Score
from runner.saliency.masks import Masks
from runner.saliency.patched import Patched, Recording
from runner.saliency.reach import Boxes

log = logging.getLogger(__name__)

TOLERANCE = 1e-5
"""By how much scores may differ from those of ordinary passes, as a part of the largest: rounding in float32."""

STEP, STEP_OF_A_ROW = 5e6, 5e5
"""Multiplications of a convolution in the time that a CPU needs for a step on boxes, whatever it computes: for a batch,
and for each row of it. Measured, as :data:`~runner.saliency.patched.MOVE`, on a Xeon with AVX-512."""

LEAST_GAIN = 0.5
"""What may be left at most of the work of the layers on boxes. Others follow them, so that all gain less; and more is
within what the estimate is wrong by."""

CHECKED = 4
"""Rows of masks that are checked together: the first, the last, and some in the middle."""

BLOCK = 32
"""Masks that are looked at together to find their boxes."""


class IncrementalFormat:
    """A model whose forward passes compute only what differs from the whole image."""

    def __init__(self, form: Format, windows: Boxes) -> None:
        """Take the parts.

        Args:
            form: The model.
            windows: What each row of masks hides; the first hides nothing.
        """
        self.recording = Recording()
        """Of the image at hand."""
        self._form = form
        self._windows = windows
        self._image: Tensor | None = None
        self._batch_of_one: Tensor | None = None
        self._start = 0

    def describe(self) -> str:
        """Return the format in a few words."""
        return f"{self._form.describe()}, incremental"

    def expect(self, image: Tensor, start: int) -> None:
        """Tell what comes next.

        Args:
            image: The whole image, (C, *size); the same object as long as its content is the same.
            start: The first row of masks.
        """
        if image is not self._image:
            self._image, self._batch_of_one, self.recording = image, image[None], Recording()
        self._start = start

    def scores(self, score: Score, images: Tensor) -> Tensor:
        """Return the scores of *images*, (B, C, *size), that are the one expected but for what their masks hide."""
        assert self._batch_of_one is not None
        self.recording.rewind()
        starts = self._windows.starts[self._start : self._start + len(images)]
        missing = len(images) - len(starts)  # rows beyond the last are the whole image
        boxes = Boxes(np.pad(starts, ((0, missing), (0, 0))), self._windows.size)
        patch = torch.stack([row[place] for row, place in zip(images, boxes, strict=True)])
        with torch.inference_mode():
            return self._form.scores(score, Patched(self.recording, self._batch_of_one, patch, boxes))


def incremental_format(
    form: Format, score: Score, image: Tensor, masks: Masks, batch_size: int
) -> IncrementalFormat | None:
    """Return a format that gives the same scores but for rounding with less work; None if there is none.

    It is checked on *image* behind masks at the borders and in the middle.

    Args:
        form: The model, in a format that keeps float32.
        score: Its scores.
        image: One image of the size to come, (1, C, *size).
        masks: Those that :class:`~runner.saliency.perturbations.Occluding` hides images with.
        batch_size: Images in a forward pass.
    """
    if image.device.type != "cpu":  # the many small copies would have to be few large ones on a GPU
        return None
    candidate = IncrementalFormat(form, boxes_of(masks))
    whole, last = image[0], max(0, masks.num_masks + 1 - CHECKED)
    for start in sorted({0, last // 2, last}):
        hidden = masks.rows(start, start + CHECKED).to(image.dtype)
        images = torch.lerp(image, 1 - image, hidden)
        candidate.expect(whole, start)
        try:
            scores = candidate.scores(score, images)
        except Exception:  # of the model's own code, which may do with its input what only an ordinary tensor can
            log.debug("saliency: full forward passes, since incremental ones raise", exc_info=True)
            return None
        if not _is_gain(candidate.recording, batch_size) or not _agrees(scores, form.scores(score, images)):
            return None
    return candidate


def boxes_of(masks: Masks) -> Boxes:
    """Return the smallest boxes, all of one size, that contain what the rows of masks hide."""
    num_rows = masks.num_masks + 1
    starts = np.zeros((num_rows, len(masks.size)), dtype=np.int64)
    stops = starts.copy()
    for begin in range(0, num_rows, BLOCK):
        part = slice(begin, min(begin + BLOCK, num_rows))
        hidden = (masks.rows(part.start, part.stop) != 0).any(dim=1)
        for axis, length in enumerate(masks.size):
            along = hidden.movedim(axis + 1, 1).flatten(2).any(dim=2).int()  # (rows, length)
            starts[part, axis] = along.argmax(dim=1)
            stops[part, axis] = (length - along.flip(1).argmax(dim=1)) * along.any(dim=1)
    size = (stops - starts).max(axis=0)
    return Boxes(np.minimum(starts, np.array(masks.size) - size), size)


def _is_gain(recording: Recording, batch_size: int) -> bool:
    """Tell whether boxes save more work than what comes with them, in the forward pass that was recorded."""
    steps = recording.num_steps * (STEP / batch_size + STEP_OF_A_ROW)
    return recording.done + steps < LEAST_GAIN * recording.full


def _agrees(scores: Tensor, expected: Tensor) -> bool:
    bound = TOLERANCE * max(1.0, float(expected.nan_to_num(0, 0, 0).abs().max()))
    return bool(torch.isclose(scores, expected, rtol=0, atol=bound, equal_nan=True).all())
