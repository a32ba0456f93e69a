"""ImageClassifier: from a folder of images to a tested and explained model."""

from __future__ import annotations

import csv
import importlib
import math
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import Trainer
from sklearn.metrics import roc_auc_score, roc_curve
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from runner import run
from runner.errors import ParameterError, RunFailedError
from runner.experiment import RunResult
from tests.lesion_folder import make_lesion_folder

REPOSITORY = Path(__file__).parents[1]


def load(file: str, name: str) -> Any:
    """Import by name, as the runner does."""
    return getattr(importlib.import_module(f"containers.{file}"), name)


ImageClassifier = load("image_classifier", "ImageClassifier")
QUICK: dict[str, Any] = {"image_size": 16, "num_features": 4, "num_epochs": 1, "saliency_method": "none", "logger": []}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """On a busy machine the threads of such small networks mostly wait for one another."""
    number = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(number)


@pytest.fixture(scope="module")
def lesions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lesion_folder(tmp_path_factory.mktemp("data") / "lesions")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lesion_folder(tmp_path_factory.mktemp("data") / "few", number=60, size=16)


@pytest.fixture(scope="module")
def trained(lesions: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    values: dict[str, Any] = {"image_size": 64, "num_epochs": 8, "saliency_num_masks": 30, "saliency_limit": 4}
    return start(lesions, tmp_path_factory.mktemp("outputs"), **values)


def start(folder: Path, output_to: Path, **values: Any) -> RunResult:
    return run(
        ImageClassifier, local_dataset=folder, image_folder="pictures", output_to=output_to, quiet=True, **values
    )


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def make(folder: Path, **values: Any) -> Any:
    container = ImageClassifier()
    for name, value in ({"local_dataset": folder, "image_folder": "pictures", "image_size": 16} | values).items():
        setattr(container, name, value)
    container.validate()
    return container


# --- the job -------------------------------------------------------------------------------------------------------


def test_lesions_are_told_apart(trained: RunResult) -> None:
    """On 400 made lesions the test AUC is at least 0.95, and the maps are there."""
    assert trained.metrics["test_auc"] >= 0.95
    assert trained.metrics["test_sensitivity_at_0.9"] >= 0.8
    assert {"test_acc", "test_loss", "val_auc", "val_loss", "train_loss"} <= set(trained.metrics)
    assert len(trained.maps) == 4
    assert trained.maps[0].image.min() >= 0
    assert trained.maps[0].image.max() <= 1


def test_split_file(trained: RunResult) -> None:
    """split.csv lists every image once; no patient is in two parts; classes have their shares."""
    found = rows(trained.folder / "split.csv")
    assert len({row["image"] for row in found}) == len(found) == 400
    parts = {row["group"]: row["part"] for row in found}
    assert all(row["part"] == parts[row["group"]] for row in found)
    for part, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
        labels = Counter(row["label"] for row in found if row["part"] == part)
        assert labels["malignant"] == pytest.approx(100 * share, abs=2)
        assert labels["benign"] == pytest.approx(300 * share, abs=4)


def test_resume_is_exact(few: Path, tmp_path: Path) -> None:
    """Two epochs and, after a resume, two more give the weights of four in one go, augmentation included."""
    values = QUICK | {"deterministic": True, "l_rate_scheduler": "Step", "augment_rotation": 90.0}
    whole = start(few, tmp_path, **values | {"num_epochs": 4})
    half = start(few, tmp_path, **values | {"num_epochs": 2})
    resumed = run(ImageClassifier, resume=half.folder, num_epochs=4, quiet=True)
    first, second = (
        torch.load(each.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for each in (whole, resumed)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_resume_keeps_the_parts(few: Path, tmp_path: Path) -> None:
    """Images that came later are left out, with a warning; nothing else about the parts may change."""
    folder = tmp_path / "data"
    shutil.copytree(few, folder)
    result = start(folder, tmp_path, **QUICK)
    before = (result.folder / "split.csv").read_bytes()
    table = (folder / "labels.csv").read_text()
    header, rest = table.split("\n", 1)
    shutil.copy(folder / "pictures" / "lesion_0000.png", folder / "pictures" / "later.png")
    (folder / "labels.csv").write_text(f"{header}\nlater;P_new;benign\n{rest}")
    run(ImageClassifier, resume=result.folder, num_epochs=2, quiet=True)
    assert (result.folder / "split.csv").read_bytes() == before
    assert "1 images ('later') not in split.csv" in (result.folder / "run.log").read_text()
    with pytest.raises(ParameterError, match=r"split_seed: the run .* has 0 and cannot change it"):
        run(ImageClassifier, resume=result.folder, num_epochs=3, split_seed=5, quiet=True)
    (folder / "labels.csv").write_text(table.replace("lesion_0001;", "lesion_0001;P_new", 1))
    with pytest.raises(RunFailedError, match="'lesion_0001' had label"):
        run(ImageClassifier, resume=result.folder, num_epochs=3, quiet=True)
    (folder / "labels.csv").write_text("\n".join(table.split("\n")[:-3]))
    with pytest.raises(RunFailedError, match=r"of split\.csv are gone"):
        run(ImageClassifier, resume=result.folder, num_epochs=3, quiet=True)


def test_weights_are_for_their_classes_and_images(trained: RunResult, lesions: Path, tmp_path: Path) -> None:
    """Others are refused; and names stand in the files about the test."""
    values: dict[str, Any] = {"train": False, "src_checkpoint": trained.folder, "saliency_method": "none"}
    with pytest.raises(RunFailedError, match=r"trained with class_names=benign,malignant.* has malignant,benign"):
        start(lesions, tmp_path, **values, image_size=64, class_names=["malignant", "benign"])
    with pytest.raises(RunFailedError, match="trained with image_size=64"):
        start(lesions, tmp_path, **values, image_size=32)
    row = rows(trained.folder / "predictions.csv")[0]
    assert row["id"].startswith("lesion_")
    assert row["label"] in ("benign", "malignant")
    assert "score_malignant" in row


def test_precision_and_accumulation_are_flags(few: Path, tmp_path: Path) -> None:
    """bf16 on a CPU, and a step for every two batches."""
    result = start(few, tmp_path, **QUICK, precision="bf16-mixed", accumulate_grad_batches=2, batch_size=7)
    assert result.state == "completed"
    steps = torch.load(result.folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    number = Counter(row["part"] for row in rows(result.folder / "split.csv"))["train"]
    assert steps == math.ceil(math.ceil(number / 7) / 2)


def test_folds(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every patient that is not for the test validates in exactly one fold; the test part is the same in all."""
    folds = []
    for index in range(3):
        (tmp_path / str(index)).mkdir()
        monkeypatch.chdir(tmp_path / str(index))
        container = make(few, number_of_cross_validation_splits=3, cross_validation_split_index=index)
        container.setup()
        folds.append(container._parts.numbers)
    assert folds[0]["test"] == folds[1]["test"] == folds[2]["test"]
    validated = [number for fold in folds for number in fold["val"]]
    assert sorted(validated + folds[0]["test"]) == list(range(60))
    assert all(not set(fold["train"]) & set(fold["val"]) for fold in folds)


def test_unreadable_images_are_listed(few: Path, tmp_path: Path) -> None:
    """They are left out, the others stay in their parts; with fail the run ends, and says which."""
    folder = tmp_path / "data"
    shutil.copytree(few, folder)
    before = start(folder, tmp_path, **QUICK)
    for number in (3, 7):
        (folder / "pictures" / f"lesion_{number:04d}.png").write_bytes(b"no picture")
    after = start(folder, tmp_path, **QUICK)
    bad = rows(after.folder / "unreadable_images.csv")
    assert [row["image"] for row in bad] == ["lesion_0003", "lesion_0007"]
    assert "2 of 60 images cannot be read" in (after.folder / "run.log").read_text()
    left = [row for row in rows(before.folder / "split.csv") if row["image"] not in ("lesion_0003", "lesion_0007")]
    assert rows(after.folder / "split.csv") == left
    with pytest.raises(RunFailedError, match="2 of 60 images cannot be read: 'lesion_0003' is no PNG"):
        start(folder, tmp_path, **QUICK, unreadable_images="fail")


def test_too_few_patients(tmp_path: Path) -> None:
    """The message says how many were found; a label that spreadsheets or terminals would obey does no harm."""
    lines = ["image,label,patient"]
    for number in range(4):
        Image.new("L", (16, 16)).save(tmp_path / f"{number}.png")
        lines.append(f'{number},"{("=1+1", "b" + chr(10) + "forged")[number % 2]}",P{number // 2}')
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    with pytest.raises(RunFailedError, match="there are 4 images of 2 patients in 2 classes; needed is"):
        run(ImageClassifier, local_dataset=tmp_path, output_to=tmp_path / "outputs", quiet=True, **QUICK)
    (folder,) = (path for path in (tmp_path / "outputs").iterdir() if not path.is_symlink())
    assert {row["label"] for row in rows(folder / "split.csv")} == {"'=1+1", "b\nforged"}
    assert {row["slice"] for row in rows(folder / "split.csv")} == {""}
    assert not any(line.startswith("forged") for line in (folder / "run.log").read_text().splitlines())


def test_many_classes_are_told_in_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """A column of numbers by mistake does not fill the screen; and a folder may be given by way of another."""
    (tmp_path / "data").mkdir()
    (tmp_path / "launch").mkdir()
    monkeypatch.chdir(tmp_path / "launch")
    for number in range(60):
        Image.new("L", (16, 16)).save(tmp_path / "data" / f"{number}.png")
    table = "image,label\n" + "\n".join(f"{number},{number / 7:.6f}" for number in range(60))
    (tmp_path / "data" / "labels.csv").write_text(table)
    container = make(Path("../data"), image_folder="../data")
    container.setup()
    assert all(len(message) < 500 for message in caplog.messages)
    assert any("more classes is in the test part" in message for message in caplog.messages)


def test_one_folder_per_class(tmp_path: Path) -> None:
    """Without a labels file: PNG, JPEG, DICOM and NIfTI files together, three classes."""
    import pydicom

    nibabel: Any = importlib.import_module("nibabel")
    ct = Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm"
    random = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(4):
            picture = Image.fromarray(random.integers(0, 256, (20, 30, 3), dtype=np.uint8))
            picture.save(tmp_path / "data" / name / f"{number}.{'png' if number % 2 else 'jpg'}")
        shutil.copy(ct, tmp_path / "data" / name / "ct.dcm")
        volume = nibabel.Nifti1Image(random.integers(0, 99, (8, 9, 5)).astype(np.int16), np.eye(4))
        volume.to_filename(tmp_path / "data" / name / "mr.nii.gz")
    result = run(ImageClassifier, local_dataset=tmp_path / "data", output_to=tmp_path, quiet=True, **QUICK)
    assert Counter(row["label"] for row in rows(result.folder / "split.csv")) == {"a": 6, "b": 6, "c": 6}
    assert 0 <= result.metrics["test_auc"] <= 1


def test_configuration_of_the_melanoma_job(few: Path, tmp_path: Path) -> None:
    """configs/melanoma.yaml reads a folder that is laid out as the challenge's."""
    folder = tmp_path / "isic"
    (folder / "train").mkdir(parents=True)
    lines = ["image_name,patient_id,sex,target"]
    for row in csv.DictReader((few / "labels.csv").open(), delimiter=";"):
        Image.open(few / "pictures" / f"{row['image']}.png").save(folder / "train" / f"{row['image']}.jpg")
        lines.append(f"{row['image']},{row['patient']},male,{int(row['label'] == 'malignant')}")
    (folder / "train.csv").write_text("\n".join(lines))
    result = run(
        ImageClassifier, config=REPOSITORY / "configs" / "melanoma.yaml", local_dataset=folder,
        image_cache=tmp_path / "cache", output_to=tmp_path, quiet=True, **QUICK,
    )  # fmt: skip
    assert Counter(row["label"] for row in rows(result.folder / "split.csv")) == {"0": 45, "1": 15}
    assert len([path for path in (tmp_path / "cache").rglob("*") if path.is_file()]) == 60


# --- mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"label_column": "labels"}, "Did you mean label?"),
        ({"labels_file": "lables.csv"}, "there is no lables.csv"),
        ({"class_weights": "1,2,3"}, "balanced, none, or 2 numbers above 0"),
        ({"class_weights": "even"}, "balanced, none, or 2 numbers above 0"),
        ({"val_share": 0.5, "test_share": 0.5}, "leave nothing to train on"),
        ({"image_window": (40, 0)}, "the width must be above 0"),
        ({"image_window": (40, float("nan"))}, "both must be numbers"),
        ({"architecture": "resnet18"}, "small, timm/NAME or monai/NAME"),
        ({"architecture": "timm/"}, "small, timm/NAME or monai/NAME"),
        ({"pretrained": True}, "not for small"),
    ],
)
def test_mistakes_are_found_before_the_run(few: Path, tmp_path: Path, values: dict[str, Any], words: str) -> None:
    """With clear words, and no run folder."""
    with pytest.raises(ParameterError, match=words.replace("?", r"\?")):
        start(few, tmp_path / "outputs", **values)
    assert not (tmp_path / "outputs").exists()


def test_a_folder_is_needed(tmp_path: Path) -> None:
    """And must be one."""
    with pytest.raises(ParameterError, match="ImageClassifier needs --local_dataset=FOLDER"):
        run(ImageClassifier, output_to=tmp_path, quiet=True)
    (tmp_path / "no_folder").touch()
    with pytest.raises(ParameterError, match=r"no_folder is no folder"):
        run(ImageClassifier, local_dataset=tmp_path / "no_folder", output_to=tmp_path, quiet=True)


@pytest.mark.parametrize(
    ("architecture", "installed", "words"),
    [
        ("timm/resnet18", set(), "needs timm: pip install timm torchvision, from the index that pytorch.org names"),
        ("timm/resnet18", {"timm"}, "needs torchvision: pip install timm torchvision, from the index"),
        ("monai/resnet18", {"timm", "torchvision"}, "needs monai: pip install monai"),
    ],
)
def test_packages_that_are_not_there(
    few: Path, monkeypatch: pytest.MonkeyPatch, architecture: str, installed: set[str], words: str
) -> None:
    """Are named before the run, with what else they take."""
    monkeypatch.setattr("containers.image_classifier.find_spec", lambda name: name in installed or None)
    with pytest.raises(ValueError, match=f"architecture={architecture} {words}"):
        make(few, architecture=architecture)


# --- parts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2, 5])
def test_focal_loss_is_the_formula(gamma: float) -> None:
    """-w (1 - p)^gamma log p of the true class, as in the paper's equation 5, for two classes and for three."""
    random = np.random.default_rng(0)
    for num_classes in (2, 3):
        scores = random.normal(0, 3, (50, num_classes))
        labels = random.integers(0, num_classes, 50)
        weights = random.uniform(0.5, 3, num_classes)
        p = (np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True))[np.arange(50), labels]
        expected = (-weights[labels] * (1 - p) ** gamma * np.log(p)).mean()
        found = load("image_classifier_model", "focal_loss")(
            torch.tensor(scores), torch.tensor(labels), gamma, torch.tensor(weights)
        )
        assert found.item() == pytest.approx(expected, rel=1e-9)


def test_focal_loss_of_a_sure_model() -> None:
    """Has no gradient that is NaN or infinite, however sure and however wrong."""
    for gamma in (0, 0.5, 2):
        scores = torch.tensor([[200.0, -200.0], [200.0, -200.0]], requires_grad=True)
        load("image_classifier_model", "focal_loss")(scores, torch.tensor([0, 1]), gamma, torch.ones(2)).backward()
        assert scores.grad is not None
        assert scores.grad.isfinite().all()


@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_metrics_are_those_of_scikit_learn(num_classes: int) -> None:
    """AUC, and sensitivity where the specificity is at least 0.8; of several classes the means over those there are."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % min(num_classes, 3)
    scores = torch.randn(60, num_classes, generator=random) + nn.functional.one_hot(labels, num_classes) * 1.0
    settings = load("image_classifier_model", "ImageSettings")([str(each) for each in range(num_classes)], 16, 1, None)
    model = load("image_classifier_model", "ClassifierModel")(nn.Flatten(), [1.0] * num_classes, 2.0, 0.8, settings)
    images = scores[:, None, None] * 0.225 + 0.449  # what the normalisation of grey images takes away again
    data = DataLoader(TensorDataset(images, labels, labels, labels), batch_size=13)
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    (found,) = trainer.test(model, data, verbose=False)
    aucs, sensitivities = [], []
    probabilities = scores.softmax(dim=1).numpy()
    for each in [1] if num_classes == 2 else range(3):
        aucs.append(roc_auc_score(labels == each, probabilities[:, each]))
        false_positives, true_positives, _ = roc_curve(labels == each, probabilities[:, each], drop_intermediate=False)
        sensitivities.append(true_positives[1 - false_positives >= 0.8 - 1e-9].max())
    assert found["test_auc"] == pytest.approx(np.mean(aucs), abs=1e-5)
    assert found["test_sensitivity_at_0.8"] == pytest.approx(np.mean(sensitivities), abs=1e-5)
    assert found["test_acc"] == pytest.approx((scores.argmax(dim=1) == labels).float().mean().item())


def test_test_step_gives_scores_and_labels(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Probabilities and true classes, for whoever draws curves of them."""
    monkeypatch.chdir(tmp_path)
    container = make(few)
    container.setup()
    model, data = container.create_model().eval(), container.get_data_module()
    monkeypatch.setattr(model, "log", lambda *_, **__: None)
    batch = next(iter(data.test_dataloader()))
    given = model.test_step(batch)
    assert given["probabilities"].shape == (len(batch[0]), 2)
    assert given["probabilities"].sum(dim=1).tolist() == pytest.approx([1.0] * len(batch[0]))
    assert given["labels"] is batch[1]
    assert given["names"] == ["benign", "malignant"]
    files = [row["image"] for row in rows(Path("split.csv")) if row["part"] == "test"]
    assert list(given["ids"]) == files[: len(batch[0])]


def test_balanced_weights(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give both classes the same sum, and 1 in the mean over the images."""
    monkeypatch.chdir(tmp_path)
    container = make(few)
    container.setup()
    labels = np.array(container._parts.labels("train"))
    weights = np.array(container._parts.balanced_weights())
    assert weights[labels].mean() == pytest.approx(1)
    assert weights[labels][labels == 0].sum() == pytest.approx(weights[labels][labels == 1].sum())


Augmentation = load("image_classifier_data", "Augmentation")
IMAGES = torch.rand(6, 3, 12, 12, generator=torch.Generator().manual_seed(0))
SEEDS = [(1, 0, number) for number in range(6)]


def test_no_augmentation() -> None:
    """Leaves images as they are."""
    assert torch.allclose(Augmentation("none", 0, 0)(IMAGES, SEEDS), IMAGES, atol=1e-5)


def test_flips() -> None:
    """Each image is itself or its mirror image, and both occur; with both, up and down as well."""
    changed = Augmentation("horizontal", 0, 0)(IMAGES, SEEDS)
    mirrored = [torch.allclose(one, other.flip(2), atol=1e-5) for one, other in zip(changed, IMAGES, strict=True)]
    same = [torch.allclose(one, other, atol=1e-5) for one, other in zip(changed, IMAGES, strict=True)]
    assert all(one != other for one, other in zip(mirrored, same, strict=True))
    assert 0 < sum(mirrored) < 6
    both = Augmentation("both", 0, 0)(IMAGES.repeat(5, 1, 1, 1), [(2, 0, number) for number in range(30)])
    kinds = {
        tuple(dims)
        for one, other in zip(both, IMAGES.repeat(5, 1, 1, 1), strict=True)
        for dims in ([], [1], [2], [1, 2])
        if torch.allclose(one, other.flip(dims), atol=1e-5)
    }
    assert kinds == {(), (1,), (2,), (1, 2)}


def test_an_image_is_changed_by_its_seed_alone() -> None:
    """Not by the images that come with it; and another epoch changes it otherwise."""
    augmentation = Augmentation("both", 180, 0.3)
    together = augmentation(IMAGES, SEEDS)
    assert torch.allclose(augmentation(IMAGES[4:5], SEEDS[4:5])[0], together[4], atol=1e-6)
    assert not torch.allclose(augmentation(IMAGES[4:5], [(1, 1, 4)])[0], together[4], atol=1e-2)
    assert together.min() >= 0
    assert together.max() <= 1


def test_a_turned_disc_is_a_disc() -> None:
    """Turning by any angle neither stretches nor shifts."""
    rows_, columns = np.mgrid[:33, :33] - 16
    edge = np.clip((12 - np.hypot(rows_, columns)) / 5, 0, 1)  # a sharp one would be blurred
    disc = torch.tensor(edge, dtype=torch.float32).expand(8, 1, 33, 33)
    turned = Augmentation("both", 180, 0)(disc, [(3, 0, number) for number in range(8)])
    assert (turned - disc).abs().max() < 0.05


@pytest.mark.parametrize("name", ["DenseNet121", "resnet18", "efficientnet-b0", "SEResNet50"])
def test_models_of_monai(name: str) -> None:
    """Each family takes grey images and gives three scores."""
    pytest.importorskip("monai")
    network = load("image_classifier_networks", "create_network")(f"monai/{name}", 1, 3, 0, pretrained=False)
    assert network.eval()(torch.rand(2, 1, 64, 64)).shape == (2, 3)


def test_unknown_models_of_monai() -> None:
    """The nearest name is offered."""
    pytest.importorskip("monai")
    with pytest.raises(ParameterError, match=r"no classifier 'DenseNet120'\. Did you mean .*monai/DenseNet121"):
        load("image_classifier_networks", "create_network")("monai/DenseNet120", 1, 3, 0, pretrained=False)


def test_models_of_timm() -> None:
    """Where timm is installed, with the torchvision that it needs."""
    pytest.importorskip("timm")
    create = load("image_classifier_networks", "create_network")
    assert create("timm/resnet18", 1, 3, 0, pretrained=False).eval()(torch.rand(2, 1, 64, 64)).shape == (2, 3)
    with pytest.raises(ParameterError, match="timm has no 'resnet19'"):
        create("timm/resnet19", 1, 3, 0, pretrained=False)


def test_mistakes_are_found_without_torch(few: Path) -> None:
    """Reading the labels and --help load neither torch nor Lightning, and importing the jobs nothing heavy at all."""
    code = (
        "import sys, containers.segmentation, containers.image_classifier as c\n"
        "assert not {'torch', 'pytorch_lightning', 'PIL', 'pydicom', 'nibabel'} & set(sys.modules)\n"
        f"job = c.ImageClassifier(); job.local_dataset = {str(few)!r}; job.image_folder = 'pictures'; job.validate()\n"
        "assert not {'torch', 'pytorch_lightning', 'pydicom', 'nibabel', 'sklearn', 'scipy'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
