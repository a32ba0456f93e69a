"""How many masks a map needs when it stops at a target quality. Run: ``python tests/benchmarks/adaptive_masks.py``.

HelloDigits is trained with seed 42, and RISE maps of test images are compared by Pearson correlation with centred maps
of 16384 other masks. ``--confidence`` and ``--min_masks`` try other values than those in ``runner/saliency``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import Trainer, seed_everything
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from runner.container_loader import find_container
from runner.saliency import engine, quality
from runner.saliency.fused import FusedStrategy
from tests.benchmarks.saliency_timing import chosen, make_parser, print_table, silence, write_json

Array = NDArray[Any]

REPOSITORY = Path(__file__).parents[2]
HelloDigits = find_container("HelloDigits", REPOSITORY / "containers")
CASES = ("fixed", "adaptive")
FIXED = (256, 512, 1024, 2048, 4096)
LIMIT = 4096
REFERENCE_SEED = 1234
REFERENCE_MASKS = 16384
COLUMNS = (
    "masks", "mean", "largest", "4096 / mean", "measured median", "least", "share >= target", "predicted - measured",
    "mean absolute", "largest absolute", "share within 0.03",
)  # fmt: skip


def trained() -> tuple[nn.Module, Tensor, float]:
    """Return the model of HelloDigits, the images of its test set, and the accuracy there."""
    seed_everything(42, workers=True, verbose=False)
    container = HelloDigits()
    model, data = container.create_model(), container.get_data_module()
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(max_epochs=container.num_epochs, accelerator="cpu", enable_checkpointing=False, **quiet)
    trainer.fit(model, data)
    images, labels = data.test_dataloader().dataset.tensors  # the whole test set
    model.eval()
    with torch.inference_mode():
        return model, images, float((model(images).argmax(dim=1) == labels).float().mean())


def explained(model: nn.Module, images: Tensor, **values: Any) -> tuple[Array, Array, Array]:
    """Return the map (pixels,), the number of masks and the predicted quality of each image."""
    container = HelloDigits()
    for name, value in values.items():
        setattr(container, f"saliency_{name}", value)
    with torch.inference_mode():
        raw = list(FusedStrategy(container, model, len(images)).explain(images, [-1] * len(images), None))
    maps = np.stack([each.maps[0].ravel() for each in raw])
    predicted = [float(each.quality[0]) for each in raw if each.quality is not None]
    return maps, np.array([each.num_masks for each in raw]), np.array(predicted)


def compared(model: nn.Module, images: Tensor, seeds: int, reference: Array, **values: Any) -> tuple[Array, ...]:
    """Return the number of masks, the predicted and the measured quality of each image with each seed."""
    found = [explained(model, images, seed=seed, **values) for seed in range(seeds)]
    measured = [np.corrcoef(a, b)[0, 1] for maps, _, _ in found for a, b in zip(maps, reference, strict=True)]
    return np.concatenate([each[1] for each in found]), np.concatenate([each[2] for each in found]), np.array(measured)


def row(name: str, target: float, masks: Array, predicted: Array, measured: Array) -> list[Any]:
    """Return a row of the table."""
    off = predicted - measured
    return [
        name, float(masks.mean()), int(masks.max()), float(LIMIT / masks.mean()), float(np.median(measured)),
        float(measured.min()), float((measured >= target).mean()), float(off.mean()), float(np.abs(off).mean()),
        float(np.abs(off).max()), float((np.abs(off) <= 0.03).mean()),
    ]  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__, 3, CASES)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--targets", default="0.95", help="separated by commas")
    parser.add_argument("--confidence", default=str(quality.CONFIDENCE), help="separated by commas")
    parser.add_argument("--min_masks", default=str(engine.MIN_MASKS), help="separated by commas")
    options = parser.parse_args()
    cases = chosen(options.cases, CASES)
    torch.set_num_threads(1)
    silence()
    model, images, accuracy = trained()
    images = images[: options.images]
    reference, _, _ = explained(model, images, seed=REFERENCE_SEED, num_masks=REFERENCE_MASKS)
    targets = [float(each) for each in options.targets.split(",")]
    rows = []
    if "fixed" in cases:
        for number in FIXED:
            found = compared(model, images, options.rounds, reference, num_masks=number)
            rows.append(row(f"fixed {number}", targets[0], *found))
    settings = [(c, m, t) for c in options.confidence.split(",") for m in options.min_masks.split(",") for t in targets]
    for confidence, min_masks, target in settings if "adaptive" in cases else []:
        quality.CONFIDENCE, engine.MIN_MASKS = float(confidence), int(min_masks)
        found = compared(model, images, options.rounds, reference, num_masks=LIMIT, target_quality=target)
        name = f"target {target}, confidence {confidence}, at least {min_masks}"
        rows.append(row(name, target, *found))
    print(f"test accuracy {accuracy:.3f}; {len(images)} images, {options.rounds} seeds; target {targets[0]}")
    print_table(COLUMNS, rows)
    write_json(options.json, {"columns": COLUMNS, "rows": rows})


if __name__ == "__main__":
    main()
