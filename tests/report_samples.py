"""Run folders to make reports of: with everything in them, made without training anything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runner.run_folder import RunFolder
from runner.saliency.explanation import Explanation, scaled_maps
from runner.saliency.storage import SaliencyFolder

HOSTILE = (
    "<script>document.title = 'caught'</script>", '"><img src=x onerror="document.title=\'caught\'">',
    "\x1b]0;x\x07\0\u202e", "A" * 10_000, "</style></script><style>*{display:none}</style>", "{{7*7}}{% raw %}",
    "' onload='x", "漢字" * 40, "javascript:alert(1)", "&lt;b&gt;",
)  # fmt: skip

CLASSES = ("healthy", "lesion")

CONFIG = """# Hello: a sample
model: "Hello"

# --- Trainer parameters ---
num_epochs: 8  # command line, default 100
limit_test_batches: null  # default

# --- Saliency parameters ---
saliency_method: "rise"  # container, default "none"
saliency_limit: 64  # container, default null
saliency_checks: ["deletion", "insertion"]  # default
"""

LOG = """2026-11-21T14:43:43Z INFO     rank0 start     runner.run_record: Hello  ·  seed 42
2026-11-21T14:43:44Z WARNING  rank0 train     runner.trainer: something is odd
2026-11-21T14:43:45Z WARNING  rank0 train     runner.trainer: something is odd
2026-11-21T14:43:46Z WARNING  rank0 train     py.warnings: /x/site-packages/y.py:21: noise of a library
"""

TRACEBACK = """2026-11-21T14:43:47Z ERROR    rank0 train     runner.traceback: phase train failed
Traceback (most recent call last):
  File "/x/model.py", line 3, in training_step
    raise ValueError("the step is <b>wrong</b>")
ValueError: the step is <b>wrong</b>
"""


def make_run(
    path: Path, *, num_images: int = 12, classes: Sequence[str] = CLASSES, state: str = "completed"
) -> RunFolder:
    """Make the folder of a run with metrics, evaluation and maps."""
    folder = RunFolder(path)
    folder.checkpoints.mkdir(parents=True)
    folder.config.write_text(CONFIG)
    phases = {"train": {"state": "completed", "seconds": 7.5, "peak_memory": 5 * 10**8, "peak_gpu_memory": 2 * 10**9}}
    phases["inference"] = {"state": "skipped", "seconds": 0.0, "reason": "nothing to infer"}
    status = {"model": "Hello", "state": state, "phase": "end", "phases": phases, "attempts": 1, "uptime_seconds": 75.0}
    write(folder.status, status | {"started": "2026-11-21T14:43:43+00:00", "exit_reason": "done"})
    git = {"commit": "9a906db4a9983d40", "branch": "main", "dirty": True}
    software = {"version": "0.1.0", "python": "CPython 3.11.7", "packages": {"torch": "2.13.0"}}
    write(folder.environment, {"command_line": ["runner.py", "--model=Hello"], "git": git, **software})
    folder.diff.write_text("+ a line\n")
    best = {"monitor": "val_loss", "score": 0.1, "epoch": 3}
    train = {"metrics": {"val_loss": 0.1}, "steps": 150, "epochs": 5, "best": best, "num_parameters": 4334}
    test = {"metrics": {"test_loss": 0.2, "test_acc": 0.93}, "num_items": 100}
    saliency = {
        "metrics": {"num_images": num_images, "deletion_auc": 0.1, "random_deletion_auc": 0.4},
        "method": "RISE",
        "split": "test",
    }
    write(folder.results, {"train": train, "test": test, "saliency": saliency})
    rows = [f"{n},{30 * n + 29},{1 / (n + 1)},{1.2 / (n + 1)},{0.5 + n / 10}" for n in range(5)]
    folder.metrics.write_text("\n".join(["epoch,step,train_loss,val_loss,val_acc", *rows]) + "\n")
    write(folder.evaluation, classification(classes))
    folder.predictions.write_text("index,id,label,prediction\n")
    folder.log.write_text(LOG)
    (folder.checkpoints / "last.ckpt").write_bytes(b"x" * 5000)
    if num_images:
        make_maps(SaliencyFolder(folder.saliency), num_images)
    return folder


def make_maps(folder: SaliencyFolder, num_images: int) -> None:
    """Write maps of discs on noise; every sixth image is wrong, every fifth map weak, every fourth off target."""
    chance = np.random.default_rng(0)
    rows, columns = np.mgrid[:64, :64]
    folder.open({"saliency_method": "rise"})
    explanations = []
    for index in range(num_images):
        label, y, x = index % 2, *chance.integers(14, 50, 2)
        truth = (rows - y) ** 2 + (columns - x) ** 2 < 49
        image = 0.3 * chance.random((3, 64, 64)) + 0.5 * (truth & (label == 1))
        at_y, at_x = (y, x) if index % 4 != 1 else (63 - y, 63 - x)
        raw = np.exp(-((rows - at_y) ** 2 + (columns - at_x) ** 2) / 90) * (0.002 if index % 5 == 0 else 0.3)
        found = scaled_maps(raw[None] + 0.0001 * chance.random((1, 64, 64)))
        sure = 0.55 + 0.4 * chance.random()
        lesion = sure if (label == 1) == (index % 6 > 0) else 1 - sure
        measures = {name: np.array([chance.random()], np.float32) for name in ("entropy", "mask_correlation")}
        measures |= {"deletion_auc": np.array([0.1]), "random_deletion_auc": np.array([0.4])}
        explanations.append(
            Explanation(
                index=index, image=image.astype(np.float32), **found._asdict(), targets=np.array([1]), label=label,
                scores=np.array([1 - lesion, lesion], np.float32), truth=truth if label else np.zeros_like(truth),
                num_masks=300, quality=np.array([0.9], np.float32), measures=measures,
            )
        )  # fmt: skip
        folder.write(explanations[-1])
    folder.seal()
    folder.write_index(explanations)


def classification(classes: Sequence[str]) -> dict[str, Any]:
    """What evaluation.json of a classifier holds."""
    count = len(classes)
    confusion = (np.eye(count, dtype=int) * 40 + np.arange(count * count).reshape(count, count) % 5).tolist()
    interval = {"value": 0.93, "low": 0.88, "high": 0.97, "level": 0.95, "method": "bootstrap, 2000 resamples of items"}
    per_class = [
        {
            "name": name,
            "support": 50,
            "precision": 0.9,
            "recall": 0.91,
            "f1": 0.9,
            "auc": 0.97,
            "average_precision": 0.9,
        }
        for name in classes
    ]
    x = np.linspace(0, 1, 100)
    curves = [{"name": name, "x": x.tolist(), "y": (x**0.2).tolist()} for name in classes[:1]]
    bins = [
        {"low": at - 0.1, "high": at, "confidence": at - 0.05, "accuracy": at**1.2, "count": int(100 * at)}
        for at in np.linspace(0.5, 1, 6).tolist()
    ]
    return {
        "kind": "classification", "phase": "test", "num_items": 100, "num_classes": count, "classes": list(classes),
        "main": "accuracy", "intervals": {"auc": {**interval, "value": 0.972}, "accuracy": interval},
        "confusion": confusion, "per_class": per_class, "roc": curves,
        "pr": [{**each, "y": each["x"][::-1]} for each in curves], "calibration": {"ece": 0.047, "bins": bins},
    }  # fmt: skip


def regression(number: int = 500) -> dict[str, Any]:
    """What evaluation.json of a regression holds."""
    chance = np.random.default_rng(0)
    target = chance.normal(20, 5, number)
    points = {"name": "age", "target": target.tolist(), "prediction": (target + chance.normal(0, 1, number)).tolist()}
    interval = {"value": 0.8, "low": 0.7, "high": 0.9, "level": 0.95, "method": "bootstrap"}
    return {
        "kind": "regression", "phase": "test", "num_items": number, "outputs": ["age"], "main": "mae",
        "intervals": {"mae": interval, "r2": {**interval, "low": None}}, "points": [points],
    }  # fmt: skip


def write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))
