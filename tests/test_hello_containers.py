"""The containers that ship: their data, and that each learns what it promises."""

from __future__ import annotations

import importlib
import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer, seed_everything
from torch import Tensor
from torch.utils.data import DataLoader

from runner import LightningContainer, LightningModuleWithOptimizer


def load(file: str, name: str) -> Any:
    """Import by name, as the runner does: the examples are written to be read, not for strict type checks."""
    return getattr(importlib.import_module(f"containers.{file}"), name)


HelloLesion = load("hello_lesion", "HelloLesion")
HelloDigits = load("hello_digits", "HelloDigits")
HelloRegression = load("hello_regression", "HelloRegression")
HelloGAN = load("hello_gan", "HelloGAN")
CONTAINERS = [HelloLesion, HelloDigits, HelloRegression, HelloGAN]
PARTS = ["train", "val", "test"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """On a busy machine the threads of such small networks mostly wait for one another."""
    number = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(number)


def make(cls: type[LightningContainer], **values: Any) -> Any:
    container = cls()
    for name, value in values.items():
        setattr(container, name, value)
    container.validate()
    return container


def data_of(container: LightningContainer) -> Any:
    data = container.get_data_module()
    data.setup("fit")
    return data


def whole(loader: DataLoader[Any]) -> list[Tensor]:
    """Return everything a loader gives, in one batch."""
    batches = list(loader)
    return [torch.cat([batch[index] for batch in batches]) for index in range(len(batches[0]))]


def loader_of(data: Any, part: str) -> DataLoader[Any]:
    loader: DataLoader[Any] = getattr(data, f"{part}_dataloader")()
    return loader


def rows_of(tensor: Tensor) -> set[bytes]:
    return {row.numpy().tobytes() for row in tensor}


def train_and_test(
    container: LightningContainer, *, seed: int = 42
) -> tuple[dict[str, float], LightningModule, LightningDataModule]:
    """Do what the runner does, with a bare Trainer and without choosing the best epoch."""
    seed_everything(seed, verbose=False)
    model = container.create_model()
    if isinstance(model, LightningModuleWithOptimizer):
        model.use_parameters(container)
    container._model = model
    data = container.get_data_module()
    trainer = Trainer(
        max_epochs=container.num_epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(model, data)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    (tested,) = trainer.test(model, data, verbose=False)
    return logged | dict(tested), model, data


# --- all -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", CONTAINERS)
def test_defaults_are_valid(cls: type[LightningContainer]) -> None:
    """The values that a container sets in its constructor pass its own check."""
    make(cls)


@pytest.mark.parametrize("cls", CONTAINERS)
def test_parameters_are_documented(cls: type[LightningContainer]) -> None:
    """Every parameter a container adds has a text for --help."""
    own = [name for name in vars(cls) if name in cls.param]
    assert own
    assert all(cls.param[name].doc for name in own)


def test_containers_import_nothing_heavy() -> None:
    """Importing the containers loads neither torch, Lightning, scikit-image nor scikit-learn, so --help is quick."""
    modules = ", ".join(cls.__module__ for cls in CONTAINERS)
    heavy = "{'torch', 'pytorch_lightning', 'skimage', 'sklearn'}"
    code = f"import sys, {modules}; print(sorted({heavy} & set(sys.modules)))"
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("cls", CONTAINERS)
def test_same_seed_gives_same_data(cls: type[LightningContainer]) -> None:
    """The data depend on random_seed alone, not on the state of any random generator."""
    first, second = (whole(data_of(make(cls, random_seed=3)).test_dataloader()) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("cls", [HelloLesion, HelloRegression, HelloGAN])
def test_other_seed_gives_other_data(cls: type[LightningContainer]) -> None:
    """Data that are made by chance differ from seed to seed."""
    first, second = (whole(data_of(make(cls, random_seed=seed)).test_dataloader()) for seed in (3, 4))
    assert not torch.equal(first[0], second[0])


@pytest.mark.parametrize("cls", CONTAINERS)
def test_parts_share_nothing(cls: type[LightningContainer]) -> None:
    """No item is in two of training, validation and test data."""
    data = data_of(make(cls))
    train, val, test = (rows_of(whole(loader_of(data, part))[0]) for part in PARTS)
    assert not train & val
    assert not train & test
    assert not val & test


# --- HelloLesion ---------------------------------------------------------------------------------------------------


def test_lesion_batch() -> None:
    """Patches are colour images from 0 to 1 with a label and a mask of the same size."""
    images, labels, masks = whole(data_of(make(HelloLesion)).test_dataloader())
    assert images.shape == (200, 3, 48, 48)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert labels.shape == (200,)
    assert masks.shape == (200, 48, 48)
    assert masks.dtype == torch.bool


@pytest.mark.parametrize("part", PARTS)
def test_half_of_the_patches_have_a_lesion(part: str) -> None:
    """Half of each part has a lesion, and exactly these patches have a mask that is not empty."""
    _, labels, masks = whole(loader_of(data_of(make(HelloLesion)), part))
    assert labels.float().mean() == 0.5
    assert torch.equal(masks.flatten(1).any(dim=1), labels.bool())


def test_parts_come_from_disjoint_columns() -> None:
    """Training, validation and test patches are cut from columns of the photograph that do not overlap."""
    columns = load("hello_lesion_parts", "COLUMNS")
    ranges = sorted(columns.values())
    assert set(columns) == set(PARTS)
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(ranges))


def test_lesion_is_dark_inside_its_mask_only() -> None:
    """Planting makes a patch darker inside the mask and leaves it as it is outside."""
    plain, planted = (
        whole(data_of(make(HelloLesion, lesion_contrast=contrast)).test_dataloader()) for contrast in (0.0, 0.5)
    )
    assert (planted[0] <= plain[0]).all()
    assert torch.equal((planted[0] < plain[0]).any(dim=1), planted[2])


def test_lesion_size_and_number_are_parameters() -> None:
    """lesion_radius sets the size of the masks, num_patches the number of patches."""
    data = data_of(make(HelloLesion, lesion_radius=8, num_patches=50))
    _, labels, masks = whole(data.train_dataloader())
    assert len(labels) == 50
    sizes = masks[labels == 1].sum(dim=(1, 2)).float()
    assert sizes.min() > 2.9 * 8**2
    assert sizes.max() < 3.3 * 8**2


def test_saliency_truth_is_the_mask() -> None:
    """The container hands the planted masks to the saliency phase, with the images and labels of the same patches."""
    container = make(HelloLesion)
    batch = next(iter(data_of(container).test_dataloader()))
    assert container.get_saliency_truth(batch) is batch[2]
    assert container.get_saliency_images(batch) is batch[0]
    assert torch.equal(container.get_saliency_labels(batch), batch[1])


@pytest.mark.parametrize("num_layers", [1, 7])
def test_lesion_model_takes_any_number_of_layers(num_layers: int) -> None:
    """The network has one convolution per layer asked for, and two outputs."""
    model = make(HelloLesion, num_layers=num_layers).create_model()
    assert sum(isinstance(module, torch.nn.Conv2d) for module in model.modules()) == num_layers
    assert model(torch.rand(2, 3, 48, 48)).shape == (2, 2)


@pytest.fixture(scope="module")
def lesion_run() -> tuple[dict[str, float], LightningModule, LightningDataModule]:
    return train_and_test(make(HelloLesion))


def test_lesions_are_found(lesion_run: tuple[dict[str, float], LightningModule, LightningDataModule]) -> None:
    """HelloLesion tells at least 97 % of the test patches right, and logs what it says it logs."""
    metrics, _, _ = lesion_run
    assert metrics["test_acc"] >= 0.97
    assert {"train_loss", "val_loss", "val_acc", "test_loss"} <= set(metrics)


def test_maps_peak_inside_the_lesions(
    lesion_run: tuple[dict[str, float], LightningModule, LightningDataModule],
) -> None:
    """At least 95 % of xaitk-saliency's RISE maps of patches with a lesion peak inside it."""
    _, model, data = lesion_run
    images, labels, masks = whole(loader_of(data, "test"))
    container = make(HelloLesion)
    chosen = labels[: container.saliency_limit] == 1
    found = [
        mask.flatten()[rise_map(model, image, container).argmax()]
        for image, mask in zip(images[: len(chosen)][chosen], masks[: len(chosen)][chosen], strict=True)
    ]
    assert torch.stack(found).float().mean() >= 0.95


def rise_map(model: LightningModule, image: Tensor, container: LightningContainer) -> Tensor:
    """Return the map of the class lesion, (H, W), by the steps that the container's saliency parameters ask for."""
    from xaitk_saliency.impls.gen_classifier_conf_sal.rise_scoring import RISEScoring
    from xaitk_saliency.impls.perturb_image.rise import RISEGrid

    assert container.saliency_fill == "mean"
    assert container.saliency_targets == [1]
    probability = container.saliency_mask_probability
    perturb = RISEGrid(container.saliency_num_masks, container.saliency_grid_size, probability, seed=0, threads=0)
    shown = perturb(image.permute(1, 2, 0).numpy())
    visible = torch.from_numpy(shown)[:, None]
    with torch.no_grad():
        scores = model.eval()(image * visible + image.mean(dim=(1, 2), keepdim=True) * (1 - visible)).softmax(dim=1)
    centred = (scores - scores.mean(dim=0)).numpy()
    return torch.from_numpy(RISEScoring(probability).generate(centred[0], centred, shown)[1])


# --- HelloDigits ---------------------------------------------------------------------------------------------------


def test_digits_batch() -> None:
    """Digits are grey images of 32 x 32 pixels from 0 to 1."""
    images, labels = whole(data_of(make(HelloDigits)).test_dataloader())
    assert images.shape == (360, 1, 32, 32)
    assert images.dtype == torch.float32
    assert images.min() == 0
    assert images.max() == 1
    assert labels.dtype == torch.int64


@pytest.mark.parametrize("part", PARTS)
def test_digits_are_stratified(part: str) -> None:
    """Each of the ten digits makes up about a tenth of each part."""
    _, labels = whole(loader_of(data_of(make(HelloDigits)), part))
    assert ((labels.bincount() / len(labels) - 0.1).abs() < 0.01).all()


def test_digits_split_is_fixed() -> None:
    """Runs with different seeds test the same digits."""
    first, second = (whole(data_of(make(HelloDigits, random_seed=seed)).test_dataloader()) for seed in (1, 2))
    assert torch.equal(first[0], second[0])


def test_digits_are_told_apart() -> None:
    """HelloDigits tells at least 95 % of the test digits right."""
    metrics, _, _ = train_and_test(make(HelloDigits))
    assert metrics["test_acc"] >= 0.95
    assert {"train_loss", "val_loss", "val_acc", "test_loss"} <= set(metrics)


# --- HelloRegression -----------------------------------------------------------------------------------------------


def test_folds_are_disjoint_and_complete() -> None:
    """Each point that is not for the test validates in exactly one fold and trains in all others."""
    folds = [
        data_of(make(HelloRegression, number_of_cross_validation_splits=3, cross_validation_split_index=index))
        for index in range(3)
    ]
    validated = [rows_of(whole(fold.val_dataloader())[0]) for fold in folds]
    tested = rows_of(whole(folds[0].test_dataloader())[0])
    everything = rows_of(folds[0].points.tensors[0])
    assert sum(map(len, validated)) == len(set.union(*validated))
    assert set.union(*validated) == everything - tested
    for fold, val in zip(folds, validated, strict=True):
        assert rows_of(whole(fold.train_dataloader())[0]) == everything - tested - val


def test_folds_share_the_test_points() -> None:
    """All folds of a cross validation are tested on the same points."""
    values = {"number_of_cross_validation_splits": 4}
    first, second = (
        whole(data_of(make(HelloRegression, cross_validation_split_index=index, **values)).test_dataloader())
        for index in (0, 3)
    )
    assert torch.equal(first[0], second[0])


def test_points_are_read_from_local_dataset(tmp_path: Path) -> None:
    """With local_dataset the points are those of its points.csv."""
    (tmp_path / "points.csv").write_text("x,y\n0.5,1\n0.25,-2\n")
    points = make(HelloRegression, local_dataset=tmp_path).get_data_module().points
    assert torch.cat(points.tensors, dim=1).tolist() == [[0.5, 1], [0.25, -2]]


def test_missing_points_are_found_early(tmp_path: Path) -> None:
    """A local_dataset without points.csv is an error before anything runs."""
    with pytest.raises(ValueError, match=r"there is no points\.csv"):
        make(HelloRegression, local_dataset=tmp_path)


def test_curve_is_fitted_and_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error on the test points is hardly above the points' own, and report.txt says the same as the metric."""
    monkeypatch.chdir(tmp_path)
    container = make(HelloRegression)
    metrics, _, _ = train_and_test(container)
    container.create_report()
    assert metrics["test_mae"] < 0.1  # errors of size 0.1 are 0.08 on average
    assert f"Mean absolute error: {metrics['test_mae']:.4f}" in (tmp_path / "report.txt").read_text()


# --- HelloGAN ------------------------------------------------------------------------------------------------------


def test_distance_of_shifted_points() -> None:
    """The distance of points from themselves is 0, and shifted points are 2 / pi of the shift away."""
    distance = load("hello_gan_parts", "distance")
    points = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    assert distance(points, points[torch.randperm(100)]) == pytest.approx(0)
    assert float(distance(points, points + torch.tensor([3.0, 0.0]))) == pytest.approx(3 * 2 / torch.pi, rel=0.01)


def test_ring_has_radius_one() -> None:
    """Without spread all points lie in eight places on a circle of radius 1."""
    (points,) = whole(data_of(make(HelloGAN, spread=0.0)).test_dataloader())
    assert torch.allclose(points.norm(dim=1), torch.ones(len(points)))
    assert len({(round(x, 3) + 0.0, round(y, 3) + 0.0) for x, y in points.tolist()}) == 8


def test_gan_learns_the_ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Generated points come four times as near to real ones as before training, and the report shows them."""
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    container = make(HelloGAN)
    metrics, _, _ = train_and_test(container)
    container.create_report()
    assert metrics["test_distance"] < metrics["test_distance_untrained"] / 4
    assert metrics["test_distance_real"] < metrics["test_distance"]
    assert {"g_loss", "d_loss", "val_distance"} <= set(metrics)
    with Image.open("points.png") as picture:
        assert picture.size == (400, 400)
