"""Segmentation2D and Segmentation3D: patches to train on, whole images to be judged by."""

from __future__ import annotations

import csv
import importlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from runner import run
from runner.errors import ParameterError
from runner.experiment import RunResult


def load(file: str, name: str) -> Any:
    """Import by name, as the runner does."""
    return getattr(importlib.import_module(f"containers.{file}"), name)


Segmentation2D = load("segmentation", "Segmentation2D")
Segmentation3D = load("segmentation", "Segmentation3D")
CONTAINERS = [Segmentation2D, Segmentation3D]
TINY: dict[str, Any] = {
    "num_cases": 10, "image_size": 30, "patch_size": 16, "ring_radius": 6, "num_epochs": 1, "num_features": 2,
    "num_levels": 2, "saliency_num_masks": 8, "logger": [],
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """On a busy machine the threads of such small networks mostly wait for one another."""
    number = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(number)


def make(cls: Any, **values: Any) -> Any:
    container = cls()
    for name, value in values.items():
        setattr(container, name, value)
    container.validate()
    return container


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return run(
        Segmentation2D, output_to=tmp_path_factory.mktemp("outputs"), quiet=True, logger=[],
        saliency_limit=3, saliency_num_masks=100, inference_on_val_set=True,
    )  # fmt: skip


# --- the job -------------------------------------------------------------------------------------------------------


def test_rings_are_outlined(trained: RunResult) -> None:
    """The mean Dice of the whole test images is at least 0.85, and each case has a row and a picture."""
    found = rows(trained.folder / "segmentation" / "dice_Test.csv")
    assert len(found) == 16
    assert np.mean([float(row["dice"]) for row in found]) >= 0.85
    assert len(rows(trained.folder / "segmentation" / "dice_Val.csv")) == 16
    pictures = sorted((trained.folder / "segmentation" / "Test").glob("*.png"))
    assert [path.name for path in pictures] == [f"case_{number:03d}.png" for number in range(16)]
    assert Image.open(pictures[0]).size == (288, 288)


def test_maps_point_at_the_rings(trained: RunResult) -> None:
    """What makes the model outline more lies where the closed rings are."""
    assert trained.metrics["peak_in_truth"] == 1
    assert len(trained.maps) == 3
    assert "class 0" not in (trained.folder / "report.html").read_text()  # what is explained is no class


def test_patches_are_no_substitute_for_whole_images(trained: RunResult) -> None:
    """The same weights, applied to patches that are put together, are wrong more often, above all near the seams."""
    container = make(Segmentation2D)
    model = container.create_model()
    model.load_state_dict(torch.load(trained.folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"])
    data = container.get_inference_data_module()
    data.setup()
    images, masks = (torch.cat([data.cases[part].tensors[place] for part in ("test", "val")]) for place in (0, 1))
    with torch.no_grad():
        whole, pieced = (model.eval()(images) > 0, torch.zeros_like(masks, dtype=torch.bool))
        for row, column in itertools.product((0, container.patch_size), repeat=2):
            where = (..., slice(row, row + container.patch_size), slice(column, column + container.patch_size))
            pieced[where] = model(images[where]) > 0
    dice = load("segmentation_parts", "dice")
    saved = [
        float(row["dice"])
        for part in ("Test", "Val")
        for row in rows(trained.folder / "segmentation" / f"dice_{part}.csv")
    ]
    assert dice(whole, masks).tolist() == pytest.approx(saved, abs=1e-4)
    assert dice(pieced, masks).mean() < dice(whole, masks).mean()
    distance = (torch.arange(container.image_size) - container.patch_size + 0.5).abs()
    near = torch.minimum(distance[:, None], distance[None]) < 5
    wrong_whole, wrong_pieced = ((found != masks)[:, 0, near].sum().item() for found in (whole, pieced))
    assert wrong_pieced > 1.5 * wrong_whole


@pytest.mark.parametrize("cls", CONTAINERS)
def test_a_run_from_end_to_end(cls: Any, tmp_path: Path) -> None:
    """Images and volumes alike: inference and saliency on whole ones."""
    result = run(cls, output_to=tmp_path, quiet=True, **TINY, saliency_limit=2)
    assert result.phases["inference"] == result.phases["saliency"] == "completed"
    assert len(rows(result.folder / "segmentation" / "dice_Test.csv")) == 2
    assert result.maps[0].maps.shape[1:] == (30,) * cls.num_dimensions


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"patch_size": 80}, "must not be above"),
        ({"ring_radius": 20}, "below a quarter"),
        ({"patch_size": 8, "num_levels": 6}, "at most 3 levels fit"),
    ],
)
def test_mistakes(values: dict[str, Any], words: str, tmp_path: Path) -> None:
    """Patches and rings that do not fit."""
    with pytest.raises(ParameterError, match=words):
        run(Segmentation2D, output_to=tmp_path, quiet=True, **values)


# --- parts ---------------------------------------------------------------------------------------------------------


def test_dice_is_the_formula() -> None:
    """2 |P and T| / (|P| + |T|): of random masks, and of two squares that overlap by a quarter."""
    dice = load("segmentation_parts", "dice")
    random = np.random.default_rng(0)
    one, other = random.random((5, 1, 8, 9)) < 0.3, random.random((5, 1, 8, 9)) < 0.5
    expected = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in zip(one, other, strict=True)]
    assert dice(torch.tensor(one), torch.tensor(other)).tolist() == pytest.approx(expected)
    squares = torch.zeros(2, 1, 12, 12, dtype=torch.bool)
    squares[0, 0, 0:4, 0:4] = squares[1, 0, 2:6, 2:6] = True
    assert dice(squares[:1], squares[1:]).item() == pytest.approx(2 * 4 / 32)


def test_dice_of_nothing() -> None:
    """Nothing to outline and nothing outlined is right, one of them is wrong."""
    dice = load("segmentation_parts", "dice")
    empty, full = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    assert [dice(*pair).item() for pair in ((empty, empty), (empty, full), (full, empty), (full, full))] == [1, 0, 0, 1]


def test_dice_has_a_gradient() -> None:
    """For probabilities, as the loss needs it, also where there is nothing to outline."""
    probabilities = torch.full((2, 1, 4, 4), 0.3, requires_grad=True)
    load("segmentation_parts", "dice")(probabilities, torch.zeros(2, 1, 4, 4)).sum().backward()
    assert probabilities.grad is not None
    assert probabilities.grad.isfinite().all()


@pytest.mark.parametrize("num_dimensions", [2, 3])
def test_u_net_takes_any_size(num_dimensions: int) -> None:
    """Sizes that do not halve are padded, and the scores have the size of the image."""
    network = load("segmentation_parts", "UNet")(num_dimensions, 2, 3).eval()
    for size in ((8, 8, 8), (9, 13, 6)):
        images = torch.rand(1, 1, *size[:num_dimensions])
        assert network(images).shape == images.shape


@pytest.mark.parametrize("cls", CONTAINERS)
def test_data(cls: Any) -> None:
    """Training patches come from the images that inference on the training set sees; parts share nothing."""
    values = {
        name: value for name, value in TINY.items() if name in ("num_cases", "image_size", "patch_size", "ring_radius")
    }
    container = make(cls, **values)
    patches, whole = container.get_data_module(), container.get_inference_data_module()
    patches.setup()
    whole.setup()
    for part in ("train", "val", "test"):
        assert all(
            torch.equal(*pair) for pair in zip(patches.cases[part].tensors, whole.cases[part].tensors, strict=True)
        )
    images = [{image.numpy().tobytes() for image in whole.cases[part].tensors[0]} for part in ("train", "val", "test")]
    assert not images[0] & images[1] | images[0] & images[2] | images[1] & images[2]
    image, mask = next(iter(patches.train_dataloader()))
    assert image.shape == mask.shape == (len(image), 1, *[16] * cls.num_dimensions)
    image, mask = next(iter(whole.test_dataloader()))
    assert image.shape == mask.shape == (1, 1, *[30] * cls.num_dimensions)
    assert set(mask.unique().tolist()) <= {0.0, 1.0}


def test_closed_rings_are_the_truth() -> None:
    """The mask is a closed disc of pixels: its rim is bright, and outside there is nothing but open rings."""
    rings = load("segmentation_data", "Rings")((60, 60), 9, 0.0)
    images, masks = rings.make(20, (0,)).tensors
    bright = images > 0.6
    assert masks.any()
    filled = masks[:, 0].bool()
    assert (bright[:, 0] & filled).flatten(1).any(dim=1)[filled.flatten(1).any(dim=1)].all()
    assert images.min() == pytest.approx(0.3)
    assert images.max() == pytest.approx(0.7)


def test_saliency_scores_are_the_share_that_is_outlined() -> None:
    """The mean probability of all pixels, one score per image; labels are none, the truth is the mask."""
    container = make(Segmentation2D)
    scores = container.get_saliency_scores(lambda images: images, torch.zeros(3, 1, 4, 4))
    assert scores.tolist() == [[0.5]] * 3
    mask = torch.ones(3, 1, 4, 4)
    assert container.get_saliency_labels([mask, mask]) is None
    assert container.get_saliency_truth([mask, mask]).shape == (3, 4, 4)


def test_outlines() -> None:
    """Blue around the truth, orange around what was found, which is drawn last."""
    draw, blue, orange = (
        load("segmentation_parts", name) for name in ("draw_outlines", "TRUTH_COLOR", "PREDICTION_COLOR")
    )
    image, true, found = np.zeros((288, 288), np.float32), np.zeros((288, 288), bool), np.zeros((288, 288), bool)
    true[10:20, 10:20] = found[15:30, 15:30] = True
    picture = np.asarray(draw(image, true, found))
    assert tuple(picture[10, 12]) == blue
    assert tuple(picture[15, 18]) == orange
    assert tuple(picture[12, 12]) == (0, 0, 0)
    volume = [np.stack([np.zeros_like(each), each]) for each in (image, true, found)]
    assert np.array_equal(np.asarray(draw(*volume)), picture)
