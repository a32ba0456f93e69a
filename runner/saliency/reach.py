"""Boxes of pixels, and how far they reach through convolutions and pooling."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Boxes:
    """One box for each row of a batch, all of the same size."""

    starts: NDArray[np.int64]
    """(rows, axes)."""
    size: NDArray[np.int64]
    """(axes,)."""

    def __iter__(self) -> Iterator[tuple[slice, ...]]:
        """Yield what selects the box of each row from (C, *size)."""
        for start in self.starts.tolist():
            yield (slice(None), *(slice(a, a + n) for a, n in zip(start, self.size.tolist(), strict=True)))

    def is_same(self, other: Boxes) -> bool:
        """Tell whether these are the very same boxes."""
        return np.array_equal(self.size, other.size) and np.array_equal(self.starts, other.starts)

    def part(self, lengths: Sequence[int]) -> float:
        """Return what part of all pixels a box is."""
        return float(self.size.prod() / math.prod(lengths))

    def within(self, outer: Boxes) -> Boxes:
        """Return the same boxes as seen from *outer*."""
        return Boxes(self.starts - outer.starts, self.size)


def hull(boxes: Sequence[Boxes], lengths: Sequence[int]) -> Boxes:
    """Return boxes that contain all boxes of the same row; *lengths* are those of the image."""
    starts = np.min([each.starts for each in boxes], axis=0)
    stops = np.max([each.starts + each.size for each in boxes], axis=0)
    size = (stops - starts).max(axis=0)
    return Boxes(np.minimum(starts, np.array(lengths) - size), size)


@dataclass(frozen=True)
class Kernel:
    """What a convolution or a pooling reads, along each axis."""

    size: NDArray[np.int64]
    """From the first pixel to the last, dilation included."""
    stride: NDArray[np.int64]
    padding: NDArray[np.int64]
    """Before the first pixel."""

    def reached(self, boxes: Boxes, lengths: Sequence[int]) -> Boxes:
        """Return where the output, of *lengths*, may change if the input changes in *boxes*."""
        span = np.maximum(self.size, self.stride)
        size = np.minimum((boxes.size + span - 2) // self.stride + 1, lengths)
        starts = -((span - 1 - self.padding - boxes.starts) // self.stride)
        return Boxes(np.clip(starts, 0, lengths - size), size)

    def read(self, boxes: Boxes) -> Boxes:
        """Return what is read for the output in *boxes*, counted from the first pixel of the padding.

        Pixels after the last one that is read are in it as long as they do not make the output larger. So it contains
        the input boxes from which *boxes* were reached.
        """
        return Boxes(boxes.starts * self.stride, boxes.size * self.stride + self.size - 1)

    def margins(self, before: Sequence[int], after: Sequence[int]) -> list[int]:
        """Return the padding as ``torch.nn.functional.pad`` takes it, from the lengths of the input and the output."""
        last = np.array(after) * self.stride + self.size - 1 - self.padding - before
        return [int(each) for pair in zip(self.padding[::-1], last[::-1], strict=True) for each in pair]
