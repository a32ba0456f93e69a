"""index.csv: one row per map."""

from __future__ import annotations

import codecs
import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from runner.atomic_files import atomic_file
from runner.saliency.explanation import Explanation

MEASURES = (
    "entropy", "mask_correlation", "deletion_auc", "insertion_auc", "random_deletion_auc", "random_insertion_auc",
    "randomization_correlation", "repeatability",
)  # fmt: skip
"""The names in ``Explanation.measures``, in the order of their columns."""

COLUMNS = (
    "index", "file", "label", "predicted", "score", "target", "strength", "flag",
    "peak_row", "peak_col", "peak_slice", "peak_in_truth", "energy_in_truth", "num_masks", "quality", *MEASURES,
)  # fmt: skip


def index_rows(explanation: Explanation, file: str) -> list[dict[str, Any]]:
    """Return the rows of one image, one per map; empty where there is nothing to say.

    Args:
        explanation: The image.
        file: Where its maps lie, as it stands in the table.
    """
    return [_row(explanation, place, file) for place in range(len(explanation.targets))]


def write_index(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the table as its rows come, whole or not at all."""
    with atomic_file(path) as file:
        writer = csv.DictWriter(codecs.getwriter("utf-8")(file), COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _row(explanation: Explanation, place: int, file: str) -> dict[str, Any]:
    *depth, row, column = explanation.peak(place) or ("", "")
    in_truth, energy = explanation.peak_in_truth(place), explanation.energy_in_truth(place)
    measured = {"quality": explanation.quality} | {name: explanation.measures.get(name) for name in MEASURES}
    return {
        "index": explanation.index,
        "file": file,
        "label": "" if explanation.label < 0 else explanation.label,
        "predicted": explanation.predicted,
        "score": f"{explanation.predicted_score:.6g}",
        "target": int(explanation.targets[place]),
        "strength": f"{explanation.strength[place]:.6g}",
        "flag": str(explanation.flags[place]),
        "peak_row": row,
        "peak_col": column,
        "peak_slice": depth[0] if depth else "",
        "peak_in_truth": "" if in_truth is None else int(in_truth),
        "energy_in_truth": "" if energy is None else f"{energy:.6g}",
        "num_masks": explanation.num_masks,
    } | {name: "" if values is None else _number(values[place]) for name, values in measured.items()}


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
