"""The engine's CPU seconds per image, beside those of forward passes alone and of xaitk-saliency for the same masks.

Run it: ``OMP_NUM_THREADS=1 python tests/benchmarks/saliency_engine.py [--rounds=3] [--cases=cnn64_rise200]``.

- plain: forward passes alone for as many images as there are masks and the image itself, in batches of 32 (MLP: 256);
- best: the same in the fastest of four formats (plain, channels last, batch norms folded, both) or the engine's own,
  in the fastest batch size from 4 to 1024; both are found by the clock before. All tensors are made before;
- engine: the fused strategy, for all classes, with all it does for an image. What it does once for all images of a size
  is under "once";
- high and low: xaitk-saliency's stacks, and its steps as in xaitk-jatic's Lightning notebook, on the plain model. The
  maps are the same;
- notebook: that notebook's high level, two ``Trainer.predict`` for each image, with its 4 workers or with none.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningModule
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from runner.saliency.explanation import scaled_maps
from runner.saliency.fused import FusedStrategy
from tests.benchmarks.saliency_formats import best_batch_size, best_format, formats, run_passes
from tests.benchmarks.saliency_models import NotebookMLP, ResNet18, SmallCNN
from tests.benchmarks.saliency_timing import (
    chosen,
    cpu_seconds,
    make_parser,
    print_table,
    ratio,
    silence,
    take_turns,
    write_json,
)
from tests.benchmarks.saliency_xaitk import NotebookClassifier, TorchClassifier, high_level, low_level, notebook
from tests.saliency_samples import Sample

Array = NDArray[Any]


@dataclass(frozen=True)
class Case:
    """What is explained, and how."""

    model: Callable[[], LightningModule]
    shape: tuple[int, int, int]
    method: dict[str, int]
    """``window`` and ``stride``, or ``n`` masks from a grid of ``s`` cells."""
    num_images: int = 1
    num_classes: int = 10
    batch_size: int = 32
    """Of the plain forward passes and of xaitk-saliency."""
    targets: str = "all"


LARGE, MIDDLE, SMALL, TINY = (3, 224, 224), (3, 64, 64), (1, 28, 28), (3, 32, 32)


def small_cnn(num_channels: int, num_classes: int) -> Callable[[], LightningModule]:
    """Return what makes a SmallCNN."""
    return lambda: SmallCNN(num_channels, num_classes)


CASES = {
    "resnet18_rise200": Case(ResNet18, LARGE, {"n": 200, "s": 8}),
    "resnet18_sliding": Case(ResNet18, LARGE, {"window": 50, "stride": 20}),
    "cnn64_rise200": Case(small_cnn(3, 10), MIDDLE, {"n": 200, "s": 8}),
    "cnn64_rise1000": Case(small_cnn(3, 10), MIDDLE, {"n": 1000, "s": 8}),
    "cnn64_sliding": Case(small_cnn(3, 10), MIDDLE, {"window": 14, "stride": 6}),
    "cnn28_rise200": Case(small_cnn(1, 10), SMALL, {"n": 200, "s": 8}, num_images=16),
    "cnn28_rise1000": Case(small_cnn(1, 10), SMALL, {"n": 1000, "s": 8}),
    "cnn28_sliding": Case(small_cnn(1, 10), SMALL, {"window": 6, "stride": 2}),
    "mlp_sliding": Case(NotebookMLP, TINY, {"window": 2, "stride": 1}, batch_size=256),
    "mlp_rise400": Case(NotebookMLP, TINY, {"n": 400, "s": 8}, batch_size=256),
    "mlp_rise50": Case(NotebookMLP, TINY, {"n": 50, "s": 8}, num_images=16, batch_size=256),
}
CLASSES = {
    f"cnn64_classes{number}": Case(
        small_cnn(3, number), MIDDLE, {"n": 1000, "s": 8}, num_classes=number, targets="predicted"
    )
    for number in (10, 1000)
}
"""One class explained: of 1000 it must not be dearer than of 10, but for the head of the model."""
PASSES = ("case", "masks", "images", "plain ms/mask", "best ms/mask", "best format", "exact_format / best format")
SECONDS = (
    "case", "best s", "engine s", "once s", "high s", "low s", "notebook s", "notebook, no workers, s",
    "**engine / best**", "**engine / high**", "best / high", "engine / low", "**engine / notebook**",
    "engine / notebook, no workers", "largest difference to high",
)  # fmt: skip


class Measured:
    """A case with all that is measured in it."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case = case
        torch.manual_seed(0)
        self.model = case.model().eval()
        self.images = torch.rand(case.num_images, *case.shape, generator=torch.Generator().manual_seed(1))
        self.arrays = [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in self.images]
        self.num_masks = case.method.get("n") or (-(-case.shape[1] // case.method["stride"])) ** 2
        self.folder = folder

    def container(self) -> Sample:
        """Return the engine's settings."""
        case, method = self.case, self.case.method
        values: dict[str, Any] = {"saliency_batch_size": None, "saliency_targets": case.targets}
        if "n" in method:
            values |= {"saliency_method": "rise", "saliency_centered": False}
            values |= {"saliency_num_masks": method["n"], "saliency_grid_size": method["s"]}
        else:
            values |= {"saliency_window_size": method["window"], "saliency_stride": method["stride"]}
        return Sample(**values)

    def explained(self, strategy: FusedStrategy) -> list[Array]:
        """Return the engine's maps of all images."""
        with torch.inference_mode():
            raw = strategy.explain(self.images, [-1] * len(self.images), None)
            return [scaled_maps(each.maps).maps for each in raw]

    def high(self) -> list[Array]:
        """Return xaitk-saliency's maps of all images."""
        classifier = TorchClassifier(self.model, self.case.num_classes, self.case.batch_size)
        return [high_level(classifier, each, self.case.method) for each in self.arrays]

    def low(self) -> None:
        """Make maps by the steps of the notebook."""
        for each in self.arrays:
            low_level(self.model, each, self.case.method, self.case.batch_size)

    def methods(self, best: Callable[[], None], pool: Tensor) -> dict[str, Callable[[], Any]]:
        """Return what takes turns."""
        case = self.case
        strategy = FusedStrategy(self.container(), self.model, case.num_images)
        first = cpu_seconds(lambda: self.explained(strategy))
        self.once = first - cpu_seconds(lambda: self.explained(strategy))
        maps = self.explained(strategy)
        result: dict[str, Callable[[], Any]] = {
            "plain": lambda: run_passes(self.model, pool, case.batch_size),
            "best": best,
            "engine": lambda: self.explained(strategy),
            "high": self.high,
        }
        expected = self.high()
        self.difference = float("nan")
        if case.targets == "all":
            self.difference = max(float(np.abs(a - b).max()) for a, b in zip(maps, expected, strict=True))
            result["low"] = self.low
        if case.model is NotebookMLP and "window" in case.method:
            result |= {"notebook": self.notebook(num_workers=4), "notebook_0": self.notebook(num_workers=0)}
        return result

    def notebook(self, num_workers: int) -> Callable[[], Any]:
        """Return what makes a map as the notebook does at the high level."""
        classifier = NotebookClassifier(self.model, self.folder, self.case.num_classes, num_workers)
        picture = (self.arrays[0] * 255).astype(np.uint8)
        return lambda: notebook(classifier, picture, self.case.method)


def measured(name: str, case: Case, rounds: int, folder: Path) -> tuple[list[Any], list[Any], dict[str, Any]]:
    """Return a row of each table, and all numbers."""
    this = Measured(case, folder)
    pool = torch.rand((this.num_masks + 1) * case.num_images, *case.shape)
    found = formats(this.model, pool[:1])
    ms = best_format(found, pool)
    best = found[next(iter(ms))]
    prepared = best.prepared(pool)
    size = best_batch_size(best.model, prepared)
    seconds = take_turns(this.methods(lambda: run_passes(best.model, prepared, size), pool), rounds)
    median = {each: statistics.median(values) / case.num_images for each, values in seconds.items()}

    def times(first: str, second: str) -> float | str:
        return ratio(seconds, first, second) if second in seconds else ""

    per_mask = 1000 / (this.num_masks + 1)
    passes = [
        name, this.num_masks, case.num_images, median["plain"] * per_mask, median["best"] * per_mask,
        f"{next(iter(ms))}, batches of {size}", ms.get("exact_format", ms["plain"]) / min(ms.values()),
    ]  # fmt: skip
    row = [
        name, median["best"], median["engine"], this.once,
        *(median.get(each, "") for each in ("high", "low", "notebook", "notebook_0")),
        times("engine", "best"), times("engine", "high"), times("best", "high"),
        *(times("engine", each) for each in ("low", "notebook", "notebook_0")), this.difference,
    ]  # fmt: skip
    return passes, row, {"seconds": seconds, "formats": ms, "batch_size": size}


def main() -> None:
    """Measure and print."""
    options = make_parser(__doc__, 3, [*CASES, *CLASSES]).parse_args()
    cases = CASES | CLASSES
    torch.set_num_threads(1)
    silence()
    passes, rows, numbers = [], [], {}
    for name in chosen(options.cases, list(cases)):
        print(name, file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            first, second, numbers[name] = measured(name, cases[name], options.rounds, Path(folder))
        passes.append(first)
        rows.append(second)
        write_json(options.json, numbers)
    print_table(PASSES, passes)
    print_table(SECONDS, rows)


if __name__ == "__main__":
    main()
