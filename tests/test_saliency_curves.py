"""Deletion and insertion against curves that can be written down."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from runner.saliency.curves import deletion_insertion
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
    start = in_region(blurred(image, 0.5)[None])[0, 1].item()
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


def test_scores_that_are_no_numbers() -> None:
    """NaN scores give NaN areas and nothing else."""
    found = deletion_insertion(
        lambda images: torch.full((len(images), 2), torch.nan), torch.ones(1, 4, 4), torch.zeros(1, 1, 1),
        torch.rand(1, 4, 4), torch.tensor([1]),
    )  # fmt: skip
    assert all(math.isnan(value[0]) for value in found.values())
