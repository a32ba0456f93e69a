"""Peak memory over the number of masks and of images, for the engine and xaitk-saliency's high level.

Run it: ``OMP_NUM_THREADS=1 python tests/benchmarks/saliency_memory.py [--rounds=3]``. Each measurement is the
``ru_maxrss`` of a process of its own, with a model that needs next to nothing (a mean over patches and one linear
layer) and images of 3 x 224 x 224 that come in batches of 8, as from a loader. "start" is a process that has imported
all and explained nothing.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from runner.saliency.fused import FusedStrategy
from tests.benchmarks.saliency_timing import chosen, make_parser, print_table, write_json
from tests.benchmarks.saliency_xaitk import TorchClassifier, high_level
from tests.saliency_samples import Sample

CASES = {
    f"{method}_{masks}_{images}": (method, masks, images)
    for method, masks, images in (
        ("start", 0, 0),
        *(("engine", masks, 1) for masks in (200, 1000, 4000)),
        *(("engine", 200, images) for images in (16, 64)),
        *(("high", masks, 1) for masks in (200, 1000, 4000)),
    )
}
BATCH = 8


def stub() -> nn.Module:
    """Return the model."""
    torch.manual_seed(0)
    return nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(3 * 14 * 14, 10)).eval()


def batches(num_images: int) -> Iterator[Tensor]:
    """Yield the images, which are made when they are needed."""
    generator = torch.Generator().manual_seed(1)
    for start in range(0, num_images, BATCH):
        yield torch.rand(min(BATCH, num_images - start), 3, 224, 224, generator=generator)


def explain(method: str, num_masks: int, num_images: int) -> None:
    """Make the maps and drop them."""
    if method == "engine":
        container = Sample(
            saliency_method="rise",
            saliency_num_masks=num_masks,
            saliency_grid_size=8,
            saliency_targets="all",
            saliency_batch_size=None,
        )
        strategy = FusedStrategy(container, stub(), min(BATCH, num_images))
        with torch.inference_mode():
            for images in batches(num_images):
                for _ in strategy.explain(images, [-1] * len(images), None):
                    pass
    if method == "high":
        classifier = TorchClassifier(stub(), num_classes=10, batch_size=32)
        for images in batches(num_images):
            for image in images:
                array = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
                high_level(classifier, array, {"n": num_masks, "s": 8})


def peak(name: str) -> float:
    """Return the peak memory of a new process that runs a case, in MiB."""
    command = [sys.executable, __file__, "--child", name]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__, 3, list(CASES))
    parser.add_argument("--child", help="run this case here and print the peak memory")
    options = parser.parse_args()
    if options.child:
        torch.set_num_threads(1)
        explain(*CASES[options.child])
        unit = 2**20 if sys.platform == "darwin" else 2**10
        print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit))
        return
    names = chosen(options.cases, list(CASES))
    peaks = {name: [peak(name) for _ in range(options.rounds)] for name in names}
    median = {name: statistics.median(each) for name, each in peaks.items()}
    rows = []
    for name in names:
        method, masks, images = CASES[name]
        least = median.get(f"{method}_200_1")
        rows.append([method, masks, images, f"{median[name]:.0f}", median[name] / least if least else ""])
    print_table(("method", "masks", "images", "peak MiB", "ratio to 200 masks, 1 image"), rows)
    write_json(options.json, peaks)


if __name__ == "__main__":
    main()
