"""The model of ImageClassifier: normalisation, focal loss, metrics."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchmetrics.classification import (
    BinaryAUROC,
    BinarySensitivityAtSpecificity,
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassSensitivityAtSpecificity,
)

from runner import LightningModuleWithOptimizer

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


class ClassifierModel(LightningModuleWithOptimizer):
    """A network with its normalisation, loss and metrics. What it inherits brings the optimizer.

    ``auc`` and ``sensitivity`` are about the second of two classes; of more, means over each class against the rest.
    """

    def __init__(self, network: nn.Module, weights: list[float], gamma: float, specificity: float) -> None:
        super().__init__()
        self.network, self.gamma = network, gamma
        self.register_buffer("weights", torch.tensor(weights), persistent=False)
        self.metrics = nn.ModuleDict({part: _metrics(len(weights), specificity) for part in ("val", "test")})

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores of the classes, (B, K), for *images* from 0 to 1, (B, C, H, W)."""
        mean, deviation = (
            images.new_tensor(values if images.shape[1] == 3 else [sum(values) / 3]).view(-1, 1, 1)
            for values in (MEAN, DEVIATION)
        )
        return self.network((images - mean) / deviation)

    def training_step(self, batch: list[Tensor]) -> Tensor:
        """Return the loss to minimise."""
        images, labels, _ = batch
        loss = focal_loss(self(images).float(), labels, self.gamma, self.weights)
        self.log("train_loss", loss, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: list[Tensor]) -> None:
        """Take note of a batch of the validation part."""
        self._evaluate("val", batch)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of the validation part."""
        self._log_metrics("val")

    def test_step(self, batch: list[Tensor]) -> dict[str, Tensor]:
        """Return the probabilities of the classes, float (B, K), and the true classes, int (B,)."""
        return {"probabilities": self._evaluate("test", batch), "labels": batch[1]}

    def on_test_epoch_end(self) -> None:
        """Log the metrics of the test part."""
        self._log_metrics("test")

    def _evaluate(self, part: str, batch: list[Tensor]) -> Tensor:
        images, labels, _ = batch
        scores = self(images).float()
        self.log(f"{part}_loss", focal_loss(scores, labels, self.gamma, self.weights), prog_bar=True)
        probabilities = scores.softmax(dim=1)
        for name, metric in self.metrics[part].items():
            is_about_one = len(self.weights) == 2 and name != "acc"
            metric.update(probabilities[:, 1] if is_about_one else probabilities, labels)
        return probabilities

    def _log_metrics(self, part: str) -> None:
        for name, metric in self.metrics[part].items():
            value = metric.compute()
            # Sensitivities come with their thresholds.
            self.log(f"{part}_{name}", value[0].mean() if isinstance(value, tuple) else value, prog_bar=True)
            metric.reset()


def _metrics(num_classes: int, specificity: float) -> nn.ModuleDict:
    accuracy = MulticlassAccuracy(num_classes, average="micro")
    if num_classes == 2:
        return nn.ModuleDict(
            {"auc": BinaryAUROC(), "sensitivity": BinarySensitivityAtSpecificity(specificity), "acc": accuracy}
        )
    sensitivity = MulticlassSensitivityAtSpecificity(num_classes, specificity)
    return nn.ModuleDict({"auc": MulticlassAUROC(num_classes), "sensitivity": sensitivity, "acc": accuracy})
