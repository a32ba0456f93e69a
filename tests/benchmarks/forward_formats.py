"""CPU milliseconds per image of a forward pass in each format and batch size, and what the engine chooses.

Run it: ``OMP_NUM_THREADS=1 python tests/benchmarks/forward_formats.py [--rounds=3] [--cases=cnn64]``. The last columns
say how the engine's format in the batch size that it derives from ``ACTIVATION_BYTES`` compares with the best of all.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule

sys.path.insert(0, str(Path(__file__).parents[2]))

from runner.saliency.forward_format import exact_format, probed_batch_size
from tests.benchmarks.saliency_formats import BATCH_SIZES, formats, seconds_per_image
from tests.benchmarks.saliency_models import NotebookMLP, ResNet18, SmallCNN
from tests.benchmarks.saliency_timing import chosen, make_parser, print_table, write_json

CASES: dict[str, tuple[Callable[[], LightningModule], tuple[int, int, int]]] = {
    "resnet18": (ResNet18, (3, 224, 224)),
    "cnn64": (SmallCNN, (3, 64, 64)),
    "cnn28": (lambda: SmallCNN(1), (1, 28, 28)),
    "mlp": (NotebookMLP, (3, 32, 32)),
}
LARGEST = {"resnet18": 128}
COLUMNS = ("model", "format", *(f"b{size}" for size in BATCH_SIZES), "batch size chosen", "chosen / best of its row")
COLUMNS = (*COLUMNS, "chosen / best of all")


def measured(name: str, rounds: int) -> list[list[Any]]:
    """Return the rows of a model: milliseconds per image, formats and batch sizes taking turns."""
    make, shape = CASES[name]
    torch.manual_seed(0)
    model = make().eval()
    sizes = [size for size in BATCH_SIZES if size <= LARGEST.get(name, BATCH_SIZES[-1])]
    images = torch.rand(sizes[-1], *shape)
    found = formats(model, images[:1])
    prepared = {each: form.prepared(images) for each, form in found.items()}
    pairs = [(each, size) for each in found for size in sizes]
    times: dict[tuple[str, int], list[float]] = {pair: [] for pair in pairs}
    for _ in range(rounds):
        for each, size in pairs:
            times[each, size].append(1000 * seconds_per_image(found[each].model, prepared[each][:size]))
    median = {pair: statistics.median(values) for pair, values in times.items()}
    with torch.inference_mode():
        form = exact_format(model, lambda module, batch: module(batch), images[:1])
        batch_size = probed_batch_size(form, lambda module, batch: module(batch), images[:1])
    rows = []
    for each in found:
        row = [name, each, *(median.get((each, size), "") for size in BATCH_SIZES)]
        if each == list(found)[-1]:  # the engine's
            at_choice = median[each, min(batch_size, sizes[-1])]
            own = min(median[each, size] for size in sizes)
            row += [batch_size, at_choice / own, at_choice / min(median.values())]
        rows.append(row + [""] * (len(COLUMNS) - len(row)))
    return rows


def main() -> None:
    """Measure and print."""
    options = make_parser(__doc__, 3, list(CASES)).parse_args()
    torch.set_num_threads(1)
    rows = [row for name in chosen(options.cases, list(CASES)) for row in measured(name, options.rounds)]
    print_table(COLUMNS, rows)
    write_json(options.json, {"columns": COLUMNS, "rows": rows})


if __name__ == "__main__":
    main()
