"""What each part says of its own maps, so that putting parts together reads no map again.

To read all maps takes one process longer than many need to make them. So each part writes the rows of its maps and
their summary, and which files are whole. These are put together by copying rows, and by adding sums that do not depend
on the order.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runner.atomic_files import atomic_file
from runner.saliency.checked_files import write_checked
from runner.saliency.map_files import DAMAGED
from runner.saliency.part import Part
from runner.saliency.storage import SaliencyFolder, SavedMaps
from runner.saliency.summary import Summary

_NAME = re.compile(r"\d+-of-(\d{1,6})")


def write_part_tables(folder: SaliencyFolder) -> None:
    """Write the rows and the summary of the maps of one part, which it alone has made.

    Args:
        folder: With the part.
    """
    summary = Summary()
    folder.write_index(summary.watch(SavedMaps(folder.path, folder.owns)))
    write_checked(folder.checked, folder.own_files("npz"))
    with atomic_file(folder.summary) as file:
        summary.save(file)


def put_together(folder: SaliencyFolder, num_images: int) -> Summary | None:
    """Write index.csv from the tables of parts, where these are about all maps that there are, and return the summary.

    Args:
        folder: The whole.
        num_images: How many images have maps.

    Returns:
        None where parts are missing, were interrupted, or do not fit together; nothing is written then.
    """
    matches = (_NAME.fullmatch(place.name) for place in folder.parts.glob("*-of-*"))
    for of in sorted({int(match[1]) for match in matches if match}):
        parts = [folder.of_part(Part(number, of)) for number in range(of)]
        summary = _added([part.summary for part in parts])
        if summary is not None and summary.num_images == num_images:
            with atomic_file(folder.index) as file:
                file.writelines(_rows([part.index for part in parts], folder.shard_size))
            return summary
    return None


def _added(files: Sequence[Path]) -> Summary | None:
    """Return the summaries of all parts as one; None where one is missing or damaged, or sizes of maps differ."""
    summary, sizes = Summary(), set()
    try:
        for file in files:
            with np.load(file, allow_pickle=False) as archive:
                saved: Mapping[str, Any] = dict(archive)
            summary.take(saved)
            sizes |= {tuple(saved["pairs_shape"].tolist())} - {()}
    except DAMAGED:
        return None
    return summary if len(sizes) <= 1 else None


def _rows(tables: Sequence[Path], shard_size: int) -> Iterator[bytes]:
    """Yield the lines of one table out of those of the parts, by index; a few of them are in memory at a time."""
    heads: list[tuple[int, int, int]] = []
    for number, table in enumerate(tables):
        with table.open("rb") as file:
            header = file.readline()
            first = file.readline()
        if number == 0:
            yield header
        if first:
            heads.append((_index(first), number, len(header)))
    heapq.heapify(heads)
    while heads:
        index, number, position = heapq.heappop(heads)
        end = index - index % shard_size + shard_size  # up to there all rows are of this part
        with tables[number].open("rb") as file:
            file.seek(position)
            for line in file:
                if _index(line) >= end:
                    heapq.heappush(heads, (_index(line), number, position))
                    break
                position += len(line)
                yield line


def _index(line: bytes) -> int:
    return int(line.partition(b",")[0])
