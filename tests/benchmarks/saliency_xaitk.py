"""xaitk-saliency as users write it, for the saliency benchmarks: its stacks, its steps, and xaitk-jatic's notebook.

The notebook is ``docs/examples/lightning/xaitk-lightning.ipynb``. Threads stay off except there: with them
xaitk-saliency needs more CPU time, not less.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningModule, Trainer
from smqtk_classifier.interfaces.classify_image import ClassifyImage
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info
from xaitk_saliency.impls.gen_classifier_conf_sal.occlusion_scoring import OcclusionScoring
from xaitk_saliency.impls.gen_classifier_conf_sal.rise_scoring import RISEScoring
from xaitk_saliency.impls.gen_image_classifier_blackbox_sal.rise import RISEStack
from xaitk_saliency.impls.gen_image_classifier_blackbox_sal.slidingwindow import SlidingWindowStack
from xaitk_saliency.impls.perturb_image.rise import RISEGrid
from xaitk_saliency.impls.perturb_image.sliding_window import SlidingWindow
from xaitk_saliency.utils.masking import occlude_image_batch

Array = NDArray[Any]

NOTEBOOK_BATCH = 256


class TorchClassifier(ClassifyImage):
    """A model behind xaitk-saliency's interface, in batches; images are float32 (H, W, C)."""

    def __init__(self, model: nn.Module, num_classes: int, batch_size: int) -> None:
        self.model = model
        self.num_classes = num_classes
        self.batch_size = batch_size

    def get_labels(self) -> Sequence[int]:
        return list(range(self.num_classes))

    def classify_images(self, img_iter: Array | Iterable[Array]) -> Iterator[dict[Any, Any]]:
        images = iter(img_iter)
        while batch := list(islice(images, self.batch_size)):
            tensor = torch.stack([torch.from_numpy(image.transpose(2, 0, 1)) for image in batch])
            with torch.inference_mode():
                scores = self.model(tensor).softmax(dim=1).numpy()
            for row in scores:
                yield dict(zip(self.get_labels(), row, strict=True))

    def get_config(self) -> dict[str, Any]:
        return {}


def high_level(classifier: ClassifyImage, image: Array, method: Mapping[str, int]) -> Array:
    """Return the maps of all classes, float (K, H, W).

    Args:
        classifier: The model.
        image: float32 (H, W, C).
        method: ``window`` and ``stride``, or ``n`` masks from a grid of ``s`` cells.
    """
    stack: Any
    if "window" in method:
        stack = SlidingWindowStack((method["window"],) * 2, (method["stride"],) * 2, threads=0)
    else:
        stack = RISEStack(n=method["n"], s=method["s"], p1=0.5, seed=0, threads=0)
    return np.asarray(stack.generate(image, classifier))


def low_level(model: nn.Module, image: Array, method: Mapping[str, int], batch_size: int) -> Array:
    """Return the maps of all classes, made by the steps of xaitk-jatic's Lightning notebook, in its predict_step."""
    perturber: Any
    scoring: Any
    if "window" in method:
        perturber, scoring = SlidingWindow((method["window"],) * 2, (method["stride"],) * 2), OcclusionScoring()
    else:
        perturber, scoring = RISEGrid(n=method["n"], s=method["s"], p1=0.5, seed=0, threads=0), RISEScoring(0.5)
    masks = perturber(image)
    images = occlude_image_batch(image, masks, threads=0)
    with torch.inference_mode():
        reference = _scores(model, torch.from_numpy(image).permute(2, 0, 1)[None].contiguous())
        perturbed = [_scores(model, batch) for batch in DataLoader(_Images(images), batch_size)]
    each = [{label: score.item() for label, score in enumerate(row)} for batch in perturbed for row in batch]
    scores = np.array([list(row.values()) for row in each])
    return np.asarray(scoring(reference[0].numpy(), scores, masks))


def _scores(model: nn.Module, images: Tensor) -> Tensor:
    scores: Tensor = model(images).softmax(dim=1)
    return scores


class _Images(Dataset[Tensor]):
    def __init__(self, images: Array) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(self.images[index]).permute(2, 0, 1).contiguous()


def notebook(classifier: NotebookClassifier, picture: Array, method: Mapping[str, int]) -> Array:
    """Return the maps of a picture, uint8 (H, W, C), as the notebook makes them at the high level."""
    threads = classifier.num_workers  # the notebook has 4 of both
    stack = SlidingWindowStack((method["window"],) * 2, (method["stride"],) * 2, threads=threads)
    stack.fill = [128, 128, 128]
    return np.asarray(stack.generate(picture, classifier))


class NotebookClassifier(ClassifyImage):
    """The notebook's: each call is a ``Trainer.predict`` with a new loader that loads the checkpoint."""

    def __init__(self, model: LightningModule, folder: Path, num_classes: int, num_workers: int) -> None:
        self.num_classes = num_classes
        self.num_workers = num_workers
        self.model = _Predicting(model)
        quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        self.trainer = Trainer(accelerator="cpu", enable_checkpointing=False, default_root_dir=folder, **quiet)
        self.checkpoint = folder / f"{num_workers}.ckpt"
        self.trainer.strategy.connect(self.model)
        self.trainer.save_checkpoint(self.checkpoint)

    def get_labels(self) -> Sequence[int]:
        return list(range(self.num_classes))

    def classify_images(self, img_iter: Array | Iterable[Array]) -> Iterator[dict[Any, Any]]:
        loader = DataLoader(_Stream(img_iter), batch_size=NOTEBOOK_BATCH, num_workers=self.num_workers)
        batches: Any = self.trainer.predict(self.model, loader, ckpt_path=self.checkpoint, weights_only=True)
        for batch in batches:
            for row in batch:
                yield dict(zip(self.get_labels(), row.tolist(), strict=True))

    def get_config(self) -> dict[str, Any]:
        return {}


class _Predicting(LightningModule):
    def __init__(self, model: LightningModule) -> None:
        super().__init__()
        self.model = model

    def predict_step(self, batch: Tensor) -> Tensor:
        return _scores(self.model, batch)


class _Stream(IterableDataset[Tensor]):
    """Pictures of bytes, normalised on their way to the model; each worker takes every n-th batch of them."""

    def __init__(self, images: Iterable[Array]) -> None:
        self.images = images

    def __iter__(self) -> Iterator[Tensor]:
        worker = get_worker_info()
        for number, image in enumerate(self.images):
            if worker is None or number // NOTEBOOK_BATCH % worker.num_workers == worker.id:
                yield (torch.from_numpy(image.transpose(2, 0, 1)).float() / 255 - 0.5) / 0.5
