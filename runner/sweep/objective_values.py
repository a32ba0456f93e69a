"""What a trial is worth: the values of the objectives, out of what its run measured."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from runner.errors import did_you_mean
from runner.run_folder import RunFolder
from runner.sweep.trials import COMPLETED, FAILED, Objective, Trial


def with_values(trial: Trial, objectives: Sequence[Objective], folder: RunFolder) -> Trial:
    """Return a trial that came to its end with the values of *objectives*, as completed.

    Without a finite value for each it has failed, and says why.
    """
    values = []
    for objective in objectives:
        metric = objective.metric
        value = _value(metric, trial.metrics, folder)
        if value is None:
            there = ", ".join(sorted(trial.metrics)) or "none"
            hint = did_you_mean(metric, trial.metrics)
            reason = f"the metric {metric} was not measured.{hint} There are: {there}"
            return replace(trial, state=FAILED, values=None, reason=reason)
        if not math.isfinite(value):
            return replace(trial, state=FAILED, values=None, reason=f"{metric} is {value}")
        values.append(value)
    return replace(trial, state=COMPLETED, values=tuple(values) if objectives else None, reason="")


def _value(metric: str, metrics: Mapping[str, float], folder: RunFolder) -> float | None:
    """Return what a phase after training measured, else the value of the best epoch, whose weights are kept."""
    results = read_json(folder.results)
    after = [results[name].get("metrics", {}) for name in ("test", "inference", "saliency") if name in results]
    if not any(metric in found for found in after):
        best = results.get("train", {}).get("best", {}).get("epoch")
        by_epoch = epoch_values(folder.metrics, metric)
        if best is not None and best - 1 in by_epoch:
            return by_epoch[best - 1]
    return metrics.get(metric)


def epoch_values(metrics: Path, metric: str) -> dict[int, float]:
    """Return a metric after each epoch, counted from 0, from metrics.csv; the last one where an epoch has several."""
    found: dict[int, float] = {}
    with suppress(OSError):
        text = metrics.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]  # the last line may be about to be written
        for row in csv.DictReader(io.StringIO(whole)):
            with suppress(ValueError, TypeError, KeyError):
                if row.get(metric):
                    found[int(row["epoch"])] = float(row[metric])
    return found


def read_json(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds, or nothing where it cannot be read."""
    with suppress(OSError, ValueError):
        value = json.loads(path.read_text(encoding="utf-8"))
        return value if isinstance(value, dict) else {}
    return {}
