"""The saliency section: images with their maps, and what all maps say together."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from runner.foreign_files import read_bytes
from runner.reports.chosen_maps import (
    MOST_BYTES,
    MOST_PIXELS,
    MOST_TARGETS,
    NOT_SHOWN,
    MapRow,
    choose,
    full_strength,
    read_rows,
)
from runner.reports.map_checks import map_checks
from runner.reports.record import RunRecord, mapping
from runner.reports.thumbnails import Thumbnail, thumbnail
from runner.saliency.explanation import OK, Explanation
from runner.saliency.measures import PairwiseCorrelation
from runner.saliency.storage import SaliencyFolder
from runner.shown import format_number, printable

SHOWN_FAILURES = 5

MOST_SETTINGS = 200

_MOST_OF_SETTINGS = 1_000_000

_NUMBERS = (
    ("quality", "quality"),
    ("energy_in_truth", "energy in truth"),
    ("deletion_auc", "deletion"),
    ("random_deletion_auc", "deletion, random"),
    ("insertion_auc", "insertion"),
    ("random_insertion_auc", "insertion, random"),
    ("entropy", "entropy (bits)"),
    ("mask_correlation", "like the mean mask"),
    ("randomization_correlation", "like a random model"),
    ("repeatability", "repeatability"),
    ("num_masks", "masks"),
)


@dataclass(frozen=True)
class Tile:
    """One image of the gallery."""

    index: int
    picture: Thumbnail
    label: str
    """Empty where it is not known."""
    predicted: str
    score: str
    target: str
    """The class that the map explains."""
    facts: list[str]
    """Out of ``wrong``, ``right``, ``off``, ``on``, ``weak``: what it is filtered by."""
    group: str
    """The class that it is filtered by: the label, else the prediction."""
    order: dict[str, float]
    """What it is sorted by: loss, confidence, target score, strength; only those that are known."""
    numbers: list[tuple[str, str]]
    alt: str


def gallery(record: RunRecord) -> dict[str, Any] | None:
    """Return what the section shows; None for a run without maps."""
    folder = SaliencyFolder(record.folder.saliency)
    (rows, total), failures = read_rows(folder), folder.failures
    if not rows and not failures:
        return None
    full = full_strength(rows)
    chosen, how = choose(rows, full)
    pairs = PairwiseCorrelation()
    tiles, damaged = [], []
    for row in chosen:
        try:
            explanation = row.explanation(folder)
            tile = _tile(record, row, explanation, full)
            pairs.add(explanation.maps[_place(row, explanation)])
        except NOT_SHOWN:
            damaged.append(row.index)
        else:
            tiles.append(tile)
    found = record.results.get("saliency", {})
    return {
        "tiles": tiles,
        "total": total,
        "how": how or ("evenly spread" if total > len(rows) else ""),
        "damaged": damaged,
        "most": f"{MOST_PIXELS / 1e6:.0f} million pixels, {MOST_TARGETS:,} targets or {MOST_BYTES / 1e6:.0f} MB",
        "failures": [f"image {each.index}: {each}" for each in failures[:SHOWN_FAILURES]],
        "num_failed": len(failures),
        "num_flagged": sum(row.flag != OK for row in rows),
        "full": format_number(full),
        "method": str(found.get("method", "")),
        "split": str(found.get("split", "")),
        "weights": str(found.get("weights") or ""),
        "settings": _settings(folder),
        "checks": map_checks(rows, record.metrics_of("saliency"), pairs.result()),
        "groups": sorted({tile.group for tile in tiles}),
        "facts": {fact for tile in tiles for fact in tile.facts},
        "orders": {name for tile in tiles for name in tile.order},
        "has_truth": any(tile.picture.outline for tile in tiles),
    }


def _settings(folder: SaliencyFolder) -> list[tuple[str, str]]:
    try:
        found = json.loads(read_bytes(folder.settings, _MOST_OF_SETTINGS))
    except (OSError, ValueError, RecursionError):
        return []
    return [(str(name), json.dumps(value)) for name, value in mapping(found).items()][:MOST_SETTINGS]


def _place(row: MapRow, explanation: Explanation) -> int:
    """Return where the map of the row lies in ``targets``."""
    return [int(target) for target in explanation.targets].index(row.target)


def _tile(record: RunRecord, row: MapRow, explanation: Explanation, full: float) -> Tile:
    place = _place(row, explanation)
    picture = thumbnail(explanation, place, full)
    label = "" if row.label is None else record.class_name(row.label)
    is_class = bool(label or record.classes) or len(explanation.scores) > 1  # a single score may be of no class
    predicted, target = (record.class_name(each) if is_class else "score" for each in (row.predicted, row.target))
    order = _order(row, explanation.scores)
    numbers = [(name, order[key]) for key, name in (("loss", "loss"), ("score", "score of its class")) if key in order]
    numbers += [(name, row.numbers[key]) for key, name in _NUMBERS if key in row.numbers]
    facts = _facts(row, full)
    return Tile(
        index=row.index,
        picture=picture,
        label=label,
        predicted=predicted,
        score=f"{row.score:.3f}",
        target=target,
        facts=facts,
        group=printable(label or predicted, 60),
        order=order,
        numbers=[("strength", _strength(row)), *((name, format_number(value)) for name, value in numbers)],
        alt=_alt(row, label, predicted, target),
    )


def _strength(row: MapRow) -> str:
    return f"{row.strength:.3g}" if row.flag == OK else row.flag.replace("_", " ")


def _facts(row: MapRow, full: float) -> list[str]:
    facts = [] if row.label is None else ["wrong" if row.is_wrong else "right"]
    facts += [] if row.is_on_target is None else ["off" if row.is_off_target else "on"]
    return [*facts, "weak"] if row.is_weak(full) else facts


def _order(row: MapRow, scores: Any) -> dict[str, float]:
    """Return the numbers that tiles are sorted by.

    The loss is the cross entropy of the label, where the scores are probabilities; of a single score that of class 1.
    """
    found = {"confidence": row.score, "strength": row.strength}
    if 0 <= row.target < len(scores):
        found["score"] = float(scores[row.target])
    elif len(scores) == 1:
        found["score"] = float(scores[0])
    probability = _probability(row.label, scores)
    if probability is not None:
        found["loss"] = -math.log(max(probability, 1e-7))
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _probability(label: int | None, scores: Sequence[float] | Any) -> float | None:
    values = np.asarray(scores, dtype=float)
    if label is None or not len(values) or not ((values >= 0) & (values <= 1.0001)).all():
        return None
    if len(values) == 1 and label in (0, 1):
        return float(values[0] if label else 1 - values[0])
    return float(values[label]) if label < len(values) else None


def _alt(row: MapRow, label: str, predicted: str, target: str) -> str:
    words = [f"image {row.index}", f"predicted {printable(predicted, 60)} ({row.score:.3f})"]
    words += [f"label {printable(label, 60)}"] if label else []
    words.append(f"map of {printable(target, 60)}, strength {_strength(row)}")
    if row.is_on_target is not None:
        words.append("its peak is on target" if row.is_on_target else "its peak is off target")
    return ", ".join(words)
