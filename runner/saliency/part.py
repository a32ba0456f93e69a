"""Which images of a data set one of several processes explains."""

from __future__ import annotations

import re
from dataclasses import dataclass

from runner.errors import UsageError

_TEXT = re.compile(r"(\d{1,6})/(\d{1,6})")


@dataclass(frozen=True)
class Part:
    """A part of the images: those in every so many-th file of maps.

    No two parts write to one file. Which part an image belongs to follows from its index alone, so that parts can be
    made in any order, at the same time, on several machines, or once more.
    """

    number: int
    """Which one, from 0."""
    of: int
    """How many there are."""

    @classmethod
    def parse(cls, text: str) -> Part:
        """Read ``3/16``, which counts from 1.

        Raises:
            UsageError: it is something else, or there is no such part.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise UsageError(f"--saliency_part={text}: give number and how many parts there are, such as 3/16.")
        number, of = int(match[1]), int(match[2])
        if not 1 <= number <= of:
            there = f"the parts are 1/{of} to {of}/{of}" if of else "there must be at least one part: 1/1"
            raise UsageError(f"--saliency_part={text}: there is no such part; {there}.")
        return cls(number - 1, of)

    def __str__(self) -> str:
        return f"{self.number + 1}/{self.of}"

    @property
    def is_whole(self) -> bool:
        """Whether these are all images."""
        return self.of == 1

    @property
    def name(self) -> str:
        """A name for files that sorts by number: ``03-of-16``."""
        return f"{self.number + 1:0{len(str(self.of))}}-of-{self.of}"

    def owns(self, index: int, shard_size: int) -> bool:
        """Tell whether the image with *index* belongs to the part.

        Args:
            index: Of the image in the data set, from 0.
            shard_size: How many images share a file.
        """
        return index // shard_size % self.of == self.number


WHOLE = Part(0, 1)
