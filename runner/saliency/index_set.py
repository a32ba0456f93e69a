"""A set of indices of images that takes less than a byte for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set

_PAGE = 1024


class IndexSet(Set[int]):
    """Numbers from 0 on: a page of bits for each 1024 of them that has any. A Python set takes 60 bytes a number."""

    def __init__(self, indices: Iterable[int] = ()) -> None:
        self._pages: dict[int, int] = {}
        self._number = 0
        self.update(indices)

    def add(self, index: int) -> None:
        """Put *index* in."""
        page, bit = index // _PAGE, 1 << index % _PAGE
        bits = self._pages.get(page, 0)
        self._number += not bits & bit
        self._pages[page] = bits | bit

    def update(self, indices: Iterable[int]) -> None:
        """Put all *indices* in."""
        for index in indices:
            self.add(index)

    def has_all(self, start: int, stop: int) -> bool:
        """Tell whether all numbers from *start* up to, not including, *stop* are in."""
        while start < stop:
            end = min(stop, start - start % _PAGE + _PAGE)
            wanted = (1 << end - start) - 1
            if self._pages.get(start // _PAGE, 0) >> start % _PAGE & wanted != wanted:
                return False
            start = end
        return True

    def __contains__(self, index: object) -> bool:
        return isinstance(index, int) and bool(self._pages.get(index // _PAGE, 0) >> index % _PAGE & 1)

    def __len__(self) -> int:
        return self._number

    def __iter__(self) -> Iterator[int]:
        """Yield the numbers in order."""
        for page in sorted(self._pages):
            bits = self._pages[page]
            yield from (page * _PAGE + place for place in range(bits.bit_length()) if bits >> place & 1)
