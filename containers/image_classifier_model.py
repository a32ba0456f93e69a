"""The model of ImageClassifier: normalisation, focal loss, metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC, MulticlassSensitivityAtSpecificity
from torchmetrics.utilities import dim_zero_cat

from runner import LightningModuleWithOptimizer
from runner.errors import RunFailedError
from runner.shown import printable

from .image_classifier_networks import DEVIATION, MEAN


def focal_loss(scores: Tensor, labels: Tensor, gamma: float, weights: Tensor) -> Tensor:
    """Return the mean of -w (1 - p)^gamma log p over a batch, p being the probability of the true class.

    Lin et al., Focal Loss for Dense Object Detection, 2017, arXiv:1708.02002, equation 5, for any number of classes.

    Args:
        scores: float (B, K), before softmax.
        labels: int (B,).
        gamma: 0 gives the weighted cross-entropy; the more, the less count images that are told right already.
        weights: float (K,), of each class.
    """
    log_p = scores.log_softmax(dim=1).gather(1, labels[:, None])[:, 0]
    missed = (-log_p.expm1()).clamp(min=1e-8)  # 0 ** gamma has no gradient for gamma below 1
    return -(weights[labels] * missed**gamma * log_p).mean()


@dataclass(frozen=True)
class ImageSettings:
    """What weights were trained for; other classes or images would make their scores mean something else."""

    class_names: list[str]
    image_size: int
    image_channels: int
    image_window: tuple[float, float] | None

    def saved(self) -> dict[str, Any]:
        """Return them as a checkpoint keeps them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}


class ClassifierModel(LightningModuleWithOptimizer):
    """A network with its normalisation, loss and metrics. What it inherits brings the optimizer.

    ``auc`` and ``sensitivity_at_...`` are about the second of two classes; of more, means over each class that the part
    has against the rest. They are NaN where the part has images of one class only.
    """

    def __init__(
        self,
        network: nn.Module,
        weights: list[float],
        gamma: float,
        specificity: float,
        settings: ImageSettings,
        *,
        may_resize: bool = False,
    ) -> None:
        """Put the parts together; with *may_resize*, weights may come from images of another size or window."""
        super().__init__()
        self.network, self.gamma, self.settings, self.may_resize = network, gamma, settings, may_resize
        self.register_buffer("weights", torch.tensor(weights), persistent=False)
        self.metrics = nn.ModuleDict({part: _metrics(len(weights), specificity) for part in ("val", "test")})
        # "." may be in the name of a metric, but not of a module
        self.names = {"sensitivity": f"sensitivity_at_{specificity:g}"}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the weights are for."""
        checkpoint["image_classifier"] = self.settings.saved()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse weights that are for something else.

        Raises:
            RunFailedError: the classes, their order or the images are others.
        """
        known = checkpoint.get("image_classifier", {})
        for name, value in self.settings.saved().items():
            may_differ = self.may_resize and name in ("image_size", "image_window")
            if name in known and known[name] != value and not may_differ:
                raise RunFailedError(
                    f"The checkpoint was trained with {name}={_said(known[name])}, and this run has {_said(value)}: "
                    f"say --{name}={_said(known[name])}."
                )

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores of the classes, (B, K), for *images* from 0 to 1, (B, C, H, W)."""
        mean, deviation = (
            images.new_tensor(values if images.shape[1] == 3 else [sum(values) / 3]).view(-1, 1, 1)
            for values in (MEAN, DEVIATION)
        )
        return self.network((images - mean) / deviation)

    def training_step(self, batch: list[Any]) -> Tensor:
        """Return the loss to minimise."""
        images, labels, *_ = batch
        loss = focal_loss(self(images).float(), labels, self.gamma, self.weights)
        self.log("train_loss", loss, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: list[Any]) -> None:
        """Take note of a batch of the validation part."""
        self._evaluate("val", batch)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of the validation part."""
        self._log_metrics("val")

    def test_step(self, batch: list[Any]) -> dict[str, Any]:
        """Return the probabilities of the classes, float (B, K), the true classes, int (B,), and the names of both."""
        return {
            "probabilities": self._evaluate("test", batch),
            "labels": batch[1],
            "ids": batch[3],
            "names": self.settings.class_names,
        }

    def on_test_epoch_end(self) -> None:
        """Log the metrics of the test part."""
        self._log_metrics("test")

    def _evaluate(self, part: str, batch: list[Any]) -> Tensor:
        images, labels, *_ = batch
        scores = self(images).float()
        self.log(f"{part}_loss", focal_loss(scores, labels, self.gamma, self.weights), prog_bar=True, sync_dist=True)
        probabilities = scores.softmax(dim=1)
        for metric in self.metrics[part].values():
            metric.update(probabilities, labels)
        return probabilities

    def _log_metrics(self, part: str) -> None:
        for name, metric in self.metrics[part].items():
            self.log(f"{part}_{self.names.get(name, name)}", metric.compute(), prog_bar=True)
            metric.reset()


class _Auc(MulticlassAUROC):
    def compute(self) -> Tensor:
        return _mean_of_defined(super().compute(), dim_zero_cat(self.target))


class _SensitivityAtSpecificity(MulticlassSensitivityAtSpecificity):
    def compute(self) -> Tensor:
        values, _thresholds = super().compute()
        return _mean_of_defined(values, dim_zero_cat(self.target))


def _mean_of_defined(values: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over the classes with images both of them and of others; torchmetrics has 0 for the rest."""
    counts = labels.bincount(minlength=len(values))
    is_defined = (counts > 0) & (counts < len(labels))
    if len(values) == 2:
        is_defined[0] = False
    return values[is_defined].mean()


def _metrics(num_classes: int, specificity: float) -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            "auc": _Auc(num_classes, average=None),
            "sensitivity": _SensitivityAtSpecificity(num_classes, specificity),
            "acc": MulticlassAccuracy(num_classes, average="micro"),
        }
    )


def _said(value: Any) -> str:
    return printable(",".join(map(str, value)) if isinstance(value, list) else str(value))
