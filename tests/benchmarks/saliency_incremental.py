"""What incremental passes gain for windows slid over images of 512 x 512 pixels.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.saliency_incremental

CPU seconds with one thread of all that a map needs: making masks, hiding, forward passes, sums. Every fourth batch of
the map is done, spread over the image, so that the pass of the whole image counts four times as much as it does in a
map. Full passes are in the engine's format (batch norms folded, channels last) and its batch size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from runner.saliency.forward_format import exact_format, probed_batch_size
from runner.saliency.incremental import IncrementalFormat, incremental_format
from runner.saliency.masks import WindowMasks
from runner.saliency.perturbations import Occluding
from tests.benchmarks.saliency_models import BasicBlock, ResNet18, randomize
from tests.benchmarks.saliency_timing import chosen, make_parser, print_table, ratio, take_turns, write_json

SIZE, STRIDE, EVERY = 512, 32, 4
WINDOWS = (32, 64)


def plain(widths: tuple[int, ...] = (16, 32, 64, 128, 128)) -> nn.Module:
    """Return pairs of convolutions with pooling between them, as in VGG: 3.7 GMAC for an image."""
    layers: list[nn.Module] = []
    before = 3
    for width in widths:
        for num_in in (before, width):
            layers += [nn.Conv2d(num_in, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        layers.append(nn.MaxPool2d(2))
        before = width
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10))
    randomize(model)
    return model


class StemOnly(ResNet18):
    """ResNet-18 whose blocks cannot be followed: what the chain of layers at its beginning gains alone."""

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits; copying the channels one by one wants all pixels."""
        features = torch.stack(self.stem(images).unbind(dim=1), dim=1)
        return cast(Tensor, self.head(self.blocks(features).mean(dim=(2, 3))))


class DownsamplingFirst(nn.Module):
    """A small network that quickly makes its image small: little to gain from."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 64, 8, 8), nn.ReLU())
        self.blocks = nn.Sequential(*(BasicBlock(64, 64, 1) for _ in range(8)))
        self.head = nn.Linear(64, 10)
        randomize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        return cast(Tensor, self.head(self.blocks(self.stem(images)).mean(dim=(2, 3))))


CASES: dict[str, Callable[[], nn.Module]] = {
    "plain": plain,
    "resnet18": ResNet18,
    "resnet18 stem only": StemOnly,
    "8 blocks at 64": DownsamplingFirst,
}


def logits(model: nn.Module, images: Tensor) -> Tensor:
    """Return the scores."""
    return cast(Tensor, model(images))


def sample_image() -> Tensor:
    """Return an image with coarse and fine structure, (1, 3, SIZE, SIZE)."""
    y, x = torch.meshgrid(*[torch.linspace(0, 1, SIZE)] * 2, indexing="ij")
    waves = torch.stack([torch.sin(9 * x + 3 * y), torch.cos(15 * x * y), torch.sin(20 * x * x - 5 * y)])
    noise = torch.randn(3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    return (0.5 + 0.4 * waves + 0.1 * noise)[None]


class Map:
    """Makes every fourth batch of a map."""

    def __init__(self, score: Callable[[Tensor], Tensor], image: Tensor, masks: WindowMasks, batch_size: int) -> None:
        self.score = score
        self.image = image
        self.method = Occluding(masks)
        self.batch_size = batch_size
        self.incremental: IncrementalFormat | None = None
        self.scores = torch.empty(0)

    def __call__(self) -> None:
        """Add up the drops of all classes."""
        masks, batch_size = self.method.masks, self.batch_size
        images, sums = self.image.new_zeros(batch_size, *self.image.shape), torch.zeros(10, SIZE * SIZE)
        scores = []
        for start in range(0, masks.num_masks + 1, EVERY * batch_size):
            rows = masks.rows(start, start + batch_size)
            self.method.hide(self.image, self.image.mean(), rows, images)
            if self.incremental is not None:
                self.incremental.expect(self.image, start)
            scores.append(self.score(images))
            sums += (scores[0][0] - scores[-1]).T @ rows.flatten(1)
        self.scores = torch.cat(scores)


def compare(model: nn.Module, window: int, rounds: int) -> tuple[list[object], dict[str, list[float]]]:
    """Return the rest of a row of the table, and all times."""
    image, masks = sample_image(), WindowMasks(window, STRIDE, (SIZE, SIZE), torch.device("cpu"))
    form = exact_format(model, logits, image)
    batch_size = probed_batch_size(form, logits, image)
    incremental = incremental_format(form, logits, image, masks, batch_size)
    if incremental is None:
        return [batch_size, "-", "-", "not used", "-"], {}
    full = Map(lambda images: form.scores(logits, images), image[0], masks, batch_size)
    boxes = Map(lambda images: incremental.scores(logits, images), image[0], masks, batch_size)
    boxes.incremental = incremental
    seconds = take_turns({"full": full, "incremental": boxes}, rounds)
    count = len(full.scores)
    drops = (full.scores[:1] - full.scores).abs().max()
    error = float((full.scores - boxes.scores).abs().max() / drops)
    each = [1000 * sorted(seconds[name])[rounds // 2] / count for name in ("full", "incremental")]
    return [batch_size, *each, ratio(seconds, "full", "incremental"), error], seconds


def main() -> None:
    """Print the table."""
    parser = make_parser(__doc__, 3, list(CASES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows, numbers = [], {}
    with torch.inference_mode():
        for name in chosen(arguments.cases, list(CASES)):
            for window in WINDOWS:
                row, numbers[f"{name}, {window}"] = compare(CASES[name](), window, arguments.rounds)
                rows.append([name, window, *row])
    print_table(["network", "window", "batch", "full ms/mask", "incremental", "ratio", "error / largest drop"], rows)
    write_json(arguments.json, numbers)


if __name__ == "__main__":
    main()
