"""Deletion and insertion against curves that can be written down."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from runner.saliency.curves import BLUR_SIGMA, deletion_insertion
from runner.saliency.fills import blurred
from tests.saliency_samples import REGION, ConvModel

NAMES = {"deletion_auc", "insertion_auc", "random_deletion_auc", "random_insertion_auc"}


def in_region(images: Tensor) -> Tensor:
    """Score 1 is the mean over the region, score 0 the rest to 1."""
    evidence = images[:, :, REGION[0], REGION[1]].mean(dim=(1, 2, 3))
    return torch.stack([1 - evidence, evidence], dim=1)


def region_map(size: tuple[int, int] = (16, 16)) -> Tensor:
    region = torch.zeros(size)
    region[REGION] = 1
    return region


def curves_of(maps: Tensor, target: int = 1, image: Tensor | None = None, **values: Any) -> dict[str, float]:
    white = torch.ones(1, 16, 16) if image is None else image
    fill = torch.zeros(1, 1, 1)
    found = deletion_insertion(in_region, white, fill, maps[None], torch.tensor([target]), **values)
    assert set(found) == NAMES
    return {name: float(value[0]) for name, value in found.items()}


def test_deletion_of_a_perfect_map_in_closed_form() -> None:
    """The 16 pixels that matter go first: the score falls along a line to 0 at 16 of 256 pixels, area 1 / 32."""
    assert curves_of(region_map(), steps=256)["deletion_auc"] == pytest.approx(16 / 256 / 2, abs=1e-6)


def test_deletion_of_the_worst_map_in_closed_form() -> None:
    """The pixels that matter go last: the score stays 1 until then, area 1 - 1 / 32."""
    assert curves_of(-region_map(), steps=256)["deletion_auc"] == pytest.approx(1 - 16 / 256 / 2, abs=1e-6)


def test_insertion_mirrors_deletion() -> None:
    """From a start that scores 0, insertion of the best map is 1 - 1 / 32, and what another class loses."""
    image = torch.zeros(1, 16, 16)
    image[0, REGION[0], REGION[1]] = 1
    start = in_region(blurred(image, BLUR_SIGMA)[None])[0, 1].item()
    assert start < 0.2
    found = curves_of(region_map(), image=image, steps=256)["insertion_auc"]
    assert found == pytest.approx(1 - 16 / 256 / 2 * (1 - start), abs=0.01)
    other = curves_of(region_map(), target=0, image=image, steps=256)["insertion_auc"]
    assert other == pytest.approx(1 - found, abs=1e-6)


def test_a_random_order_is_between() -> None:
    """The mean over seeds of the random deletion is one half; it is the same for the same seed, whatever the map."""
    areas = [curves_of(region_map(), seed=seed)["random_deletion_auc"] for seed in range(40)]
    assert np.mean(areas) == pytest.approx(0.5, abs=0.03)
    assert np.std(areas) > 0
    assert curves_of(-region_map(), seed=3)["random_deletion_auc"] == areas[3]


def test_equal_values_have_a_fixed_order() -> None:
    """A map of equal values goes through the pixels row by row, every time."""
    flat = torch.zeros(16, 16)
    first, second = curves_of(flat, steps=256), curves_of(flat, steps=256)
    assert first == second
    # a pixel that matters goes half a step after its place, 16 row + column; the mean place is 16 x 5.5 + 10.5
    assert first["deletion_auc"] == pytest.approx(99 / 256, abs=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_batches_change_nothing_and_have_one_size(batch_size: int) -> None:
    """Several targets at once, in batches of any size, give what each gives alone; no batch is larger than asked."""
    model, image = ConvModel().eval(), torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    maps, targets = torch.rand(3, 16, 16), torch.tensor([2, 0, 2])
    sizes = set()

    def score(images: Tensor) -> Tensor:
        sizes.add(len(images))
        return torch.as_tensor(model(images)).softmax(dim=1)

    with torch.inference_mode():
        together = deletion_insertion(score, image, image.mean(), maps, targets, batch_size=batch_size)
        assert len(sizes) == 1
        assert max(sizes) <= batch_size
        for place in range(3):
            alone = deletion_insertion(
                score, image, image.mean(), maps[place : place + 1], targets[place : place + 1], batch_size=batch_size
            )
            for name in NAMES:
                assert together[name][place] == pytest.approx(alone[name][0], abs=1e-5)


def test_fewer_steps_come_close() -> None:
    """32 steps are near 256, and small images have a step per pixel at most."""
    maps = torch.rand(16, 16, generator=torch.Generator().manual_seed(1))
    coarse, fine = curves_of(maps, steps=32), curves_of(maps, steps=256)
    assert all(coarse[name] == pytest.approx(fine[name], abs=0.02) for name in NAMES)
    tiny = deletion_insertion(
        lambda images: images.mean(dim=(1, 2, 3))[:, None], torch.ones(1, 2, 2), torch.zeros(1, 1, 1),
        torch.rand(1, 2, 2), torch.tensor([0]), steps=99,
    )  # fmt: skip
    assert tiny["deletion_auc"][0] == pytest.approx(0.5)


def test_volumes() -> None:
    """A volume is hidden voxel by voxel."""
    found = deletion_insertion(
        lambda images: images[:, :, 0].mean(dim=(1, 2, 3))[:, None], torch.ones(1, 2, 4, 4), torch.zeros(1, 1, 1, 1),
        torch.arange(32.0).flip(0).view(1, 2, 4, 4), torch.tensor([0]), steps=32,
    )  # fmt: skip
    assert found["deletion_auc"][0] == pytest.approx(0.25)


def step_by_step(
    score: Callable[[Tensor], Tensor], start: Tensor, finish: Tensor, order: list[int], target: int, steps: int
) -> float:
    """The definition, one pixel and one forward pass at a time."""
    pixels, final = start.clone().flatten(1), finish.flatten(1)
    edges = [round(each) for each in np.linspace(0, len(order), steps + 1)]
    curve = [score(start[None])[0, target].item()]
    for begin, end in itertools.pairwise(edges):
        for pixel in order[begin:end]:
            pixels[:, pixel] = final[:, pixel]
        curve.append(score(pixels.view(1, *start.shape))[0, target].item())
    widths = np.diff(edges) / len(order)
    return float(sum(width * (a + b) / 2 for width, a, b in zip(widths, curve, curve[1:], strict=False)))


@pytest.mark.parametrize("size", [(16, 16), (4, 6, 5)])
def test_areas_are_those_of_the_definition(size: tuple[int, ...]) -> None:
    """A network that is not linear, with ties in the map, per channel fills, pictures and volumes."""
    generator = torch.Generator().manual_seed(0)
    convolution = nn.Conv2d(3, 4, 3) if len(size) == 2 else nn.Conv3d(3, 4, 3)
    model = nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), nn.LazyLinear(5), nn.Softmax(dim=1)).eval()
    image, fill = torch.rand(3, *size, generator=generator), torch.rand(3, *(1,) * len(size), generator=generator)
    maps, targets = torch.rand(2, *size, generator=generator).mul(9).round(), torch.tensor([3, 1])
    with torch.no_grad():
        found = deletion_insertion(model, image, fill, maps, targets, steps=7, batch_size=5, seed=4)
        start, hidden = blurred(image, BLUR_SIGMA), fill.expand_as(image)
        for place, target in enumerate(targets.tolist()):
            values = maps[place].flatten().tolist()
            order = sorted(range(len(values)), key=lambda pixel: -values[pixel])
            assert found["deletion_auc"][place] == pytest.approx(
                step_by_step(model, image, hidden, order, target, 7), abs=1e-6
            )
            assert found["insertion_auc"][place] == pytest.approx(
                step_by_step(model, start, image, order, target, 7), abs=1e-6
            )
            shuffled = np.argsort(np.random.default_rng(4).permutation(len(order))).tolist()
            assert found["random_deletion_auc"][place] == pytest.approx(
                step_by_step(model, image, hidden, shuffled, target, 7), abs=1e-6
            )
            assert found["random_insertion_auc"][place] == pytest.approx(
                step_by_step(model, start, image, shuffled, target, 7), abs=1e-6
            )


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(3, 5), (2, 3, 4)]))
def test_a_linear_score_has_areas_in_closed_form(seed: int, size: tuple[int, ...]) -> None:
    """A pixel that is exchanged as number r of N counts 1 - (r + 1/2) / N; no order beats that of the weights."""
    random = np.random.default_rng(seed)
    number = math.prod(size)
    weights, values = random.normal(size=(2, number))
    image = torch.from_numpy(random.normal(size=(1, *size)).astype(np.float32))
    gain = weights * image.numpy().ravel()  # what the score loses when a pixel turns 0
    linear = torch.from_numpy(weights.astype(np.float32))
    maps = torch.from_numpy(np.stack([values, gain]).reshape(2, *size))
    found = deletion_insertion(
        lambda images: (images.flatten(1) @ linear)[:, None], image, torch.zeros(1), maps, torch.tensor([0, 0]),
        steps=number, seed=seed,
    )  # fmt: skip
    ranks = np.argsort(np.argsort(-values))
    assert found["deletion_auc"][0] == pytest.approx(float(gain @ (ranks + 0.5)) / number, abs=1e-4)
    best = found["deletion_auc"][1]
    assert best <= min(found["deletion_auc"][0], found["random_deletion_auc"][0]) + 1e-4
    change = weights * (image - blurred(image, BLUR_SIGMA)).numpy().ravel()
    inserted = float(gain.sum() - change @ (ranks + 0.5) / number)
    assert found["insertion_auc"][0] == pytest.approx(inserted, abs=1e-4)


@pytest.mark.parametrize("side", [16, 32, 224, 896])
def test_insertion_starts_without_details(side: int) -> None:
    """Stripes of 8 pixels, and of the same part of large images, lose most of their contrast."""
    stripes = (torch.arange(side) // max(4, side // 56) % 2).float().expand(1, side, side).contiguous()
    contrasts: list[float] = []

    def score(images: Tensor) -> Tensor:
        middle = images[:, 0, side // 2, side // 4 : -side // 4]
        contrasts.append(float(middle[0].max() - middle[0].min()))
        return images.mean(dim=(1, 2, 3))[:, None]

    deletion_insertion(score, stripes, torch.zeros(1), torch.rand(1, side, side), torch.tensor([0]), steps=2)
    assert contrasts[0] == 1  # the whole image
    assert contrasts[1] < 0.3  # the start of insertion


def test_the_image_decides_about_type_and_precision() -> None:
    """Fills of another type are converted, scores may be parts of the images, autocast does not touch the blur."""
    image, maps = torch.rand(1, 8, 8), torch.rand(1, 8, 8)
    types = set()

    def score(images: Tensor) -> Tensor:
        types.add(images.dtype)
        return images.flatten(1)

    def areas(image: Tensor, fill: Tensor) -> Any:
        return deletion_insertion(score, image, fill, maps, torch.tensor([9]), batch_size=3)

    expected = areas(image, torch.zeros(1))
    for fill in (torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)):
        assert areas(image, fill) == expected
    assert types == {torch.float32}
    with torch.autocast("cpu", torch.bfloat16):
        assert areas(image, torch.zeros(1)) == expected
    for name, value in areas(image.double(), torch.zeros(1)).items():
        assert value[0] == pytest.approx(expected[name][0], abs=1e-6)


def test_gradients_and_no_maps() -> None:
    """Outside of no_grad nothing keeps a graph; an image without maps has no areas."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    image = torch.rand(1, 4, 4)
    found = deletion_insertion(model, image, torch.zeros(1), torch.rand(1, 4, 4), torch.tensor([1]))
    assert all(np.isfinite(value).all() for value in found.values())
    none = deletion_insertion(model, image, torch.zeros(1), torch.rand(0, 4, 4), torch.zeros(0, dtype=torch.int64))
    assert set(none) == NAMES
    assert all(value.shape == (0,) and value.dtype == np.float32 for value in none.values())


def test_scores_that_are_no_numbers() -> None:
    """NaN scores give NaN areas and nothing else."""
    found = deletion_insertion(
        lambda images: torch.full((len(images), 2), torch.nan), torch.ones(1, 4, 4), torch.zeros(1, 1, 1),
        torch.rand(1, 4, 4), torch.tensor([1]),
    )  # fmt: skip
    assert all(math.isnan(value[0]) for value in found.values())
