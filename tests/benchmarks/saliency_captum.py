"""The engine's sliding windows beside Captum's Occlusion and FeatureAblation: same maps, CPU seconds per image.

Run it: ``OMP_NUM_THREADS=1 python tests/benchmarks/saliency_captum.py [--rounds=3] [--cases=cnn28]``. Windows tile the
image (stride = window, which divides the side), so that all three hide the same parts; a map is the drop of the
predicted class's score in each part. Captum has the best ``perturbations_per_eval`` of 1 to 64, found by the clock
before, and either the plain model or the engine's own format. "digits" is HelloDigits, trained, with a real digit, in
which parts matter; the other models have random weights.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import FeatureAblation, Occlusion  # type: ignore[import-untyped]
from numpy.typing import NDArray
from pytorch_lightning import LightningModule
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from runner.saliency.fused import FusedStrategy
from tests.benchmarks.adaptive_masks import trained
from tests.benchmarks.saliency_formats import formats
from tests.benchmarks.saliency_models import ResNet18, SmallCNN
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
from tests.saliency_samples import Sample

Array = NDArray[Any]
Work = Callable[[], Array]

EVALS = (1, 4, 8, 16, 32, 64)
CASES: dict[str, tuple[Callable[[], LightningModule], tuple[int, int, int], int]] = {
    "resnet18": (ResNet18, (3, 224, 224), 16),
    "cnn64": (SmallCNN, (3, 64, 64), 4),
    "cnn28": (lambda: SmallCNN(1), (1, 28, 28), 2),
}
"""Model, image, window."""
METHODS = ("occlusion plain", "occlusion format", "ablation plain", "ablation format")
COLUMNS = ("case", "windows", "engine s", *(f"{name} s" for name in METHODS))
COLUMNS = (*COLUMNS, *(f"engine / {name}" for name in METHODS), "largest value", "largest difference")


def engine(model: nn.Module, image: Tensor, window: int) -> Work:
    """Return what makes the engine's map, (H, W), before it is scaled."""
    container = Sample(
        saliency_window_size=window, saliency_stride=window, saliency_batch_size=None, saliency_targets="predicted"
    )
    strategy = FusedStrategy(container, model, 1)

    def work() -> Array:
        with torch.inference_mode():
            [raw] = strategy.explain(image, [-1], None)
        return np.asarray(raw.maps[0])

    return work


def captum(model: nn.Module, image: Tensor, window: int, *, ablation: bool) -> Callable[[int], Array]:
    """Return what makes Captum's map, (H, W), from ``perturbations_per_eval``."""

    def forward(images: Tensor) -> Tensor:
        scores: Tensor = model(images).softmax(dim=1)
        return scores

    with torch.inference_mode():
        target = int(forward(image).argmax())
    num_channels, side = image.shape[1], image.shape[2]
    places = torch.arange(side) // window
    patches = (places[:, None] * (side // window) + places)[None, None].expand(1, num_channels, -1, -1)

    def work(evals: int) -> Array:
        with torch.inference_mode():
            if ablation:
                method = FeatureAblation(forward)
                found = method.attribute(image, target=target, feature_mask=patches, perturbations_per_eval=evals)
            else:
                shape = (num_channels, window, window)
                found = Occlusion(forward).attribute(
                    image, shape, strides=shape, target=target, perturbations_per_eval=evals
                )
        return np.asarray(found[0, 0])  # the same in all channels

    return work


def fastest(work: Callable[[int], Array]) -> int:
    """Return the fastest ``perturbations_per_eval``."""
    seconds = {evals: min(cpu_seconds(partial(work, evals)) for _ in range(2)) for evals in EVALS}
    return min(seconds, key=lambda evals: seconds[evals])


def methods(model: nn.Module, image: Tensor, window: int) -> dict[str, Work]:
    """Return what takes turns."""
    best = list(formats(model, image).values())[-1].model
    result = {"engine": engine(model, image, window)}
    for name in METHODS:
        own = best if name.endswith("format") else model
        work = captum(own, image, window, ablation=name.startswith("ablation"))
        result[name] = partial(work, fastest(work))
    return result


def prepared(name: str) -> tuple[nn.Module, Tensor, int]:
    """Return model, image and window of a case."""
    if name == "digits":
        model, images, _ = trained()
        return model, images[:1], 4
    make, shape, window = CASES[name]
    torch.manual_seed(0)
    return make().eval(), torch.rand(1, *shape), window


def agreement(maps: Mapping[str, Array]) -> list[float]:
    """Return the largest value of the engine's map, and its largest difference to the others, both in scores."""
    own = maps["engine"]
    return [float(np.abs(own).max()), max(float(np.abs(each - own).max()) for each in maps.values())]


def main() -> None:
    """Measure and print."""
    options = make_parser(__doc__, 3, [*CASES, "digits"]).parse_args()
    torch.set_num_threads(1)
    silence()
    rows, numbers = [], {}
    for name in chosen(options.cases, [*CASES, "digits"]):
        model, image, window = prepared(name)
        works = methods(model, image, window)
        seconds = numbers[name] = take_turns(works, options.rounds)
        rows.append(
            [name, (image.shape[2] // window) ** 2, *(statistics.median(seconds[each]) for each in works)]
            + [ratio(seconds, "engine", each) for each in METHODS]
            + agreement({each: work() for each, work in works.items()})
        )
    print_table(COLUMNS, rows)
    write_json(options.json, numbers)


if __name__ == "__main__":
    main()
