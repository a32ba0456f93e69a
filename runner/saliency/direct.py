"""``explain``: maps from Python, without container, run folder or Trainer."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from runner.container import LightningContainer
from runner.errors import ParameterError, RunFailedError
from runner.param_values import check
from runner.saliency.explainer import checked_images, explanation_of
from runner.saliency.explanation import Explanation
from runner.saliency.forward_format import full_precision
from runner.saliency.pictures import draw_contact_sheet, full_color, sheet_places
from runner.saliency.strategies import create_strategy

Array = NDArray[Any]
Scores = Callable[[nn.Module, Tensor], Tensor]

_NOT_HERE = ("none", "drise", "sbsm", "custom")


@dataclass(frozen=True, repr=False)
class SaliencyMaps:
    """The maps of B images, T of each; *size* is (H, W), or (D, H, W) for volumes. In a notebook it draws itself."""

    maps: Array
    """float32 (B, T, *size) in [-1, 1], each divided by its largest absolute value as xaitk-saliency does; positive
    where evidence lies, all zero where the map is constant or not finite."""
    strength: Array
    """float32 (B, T): the largest absolute value of each map before, in the unit of the scores; NaN if not finite."""
    scores: Array
    """float32 (B, K): the scores of the images."""
    targets: Array
    """int64 (B, T): which of the scores each map explains."""
    num_masks: Array
    """int64 (B,): how many perturbed images each map comes from."""
    quality: Array
    """float32 (B, T): predicted correlation with the map of infinitely many masks; NaN where it cannot be told."""
    explanations: list[Explanation]
    """The same per image, with the image and for MC-RISE the map of each colour."""

    def __len__(self) -> int:
        """Return B."""
        return len(self.maps)

    def __repr__(self) -> str:
        """Return what there is, in a line."""
        maps = " x ".join(map(str, self.maps.shape[2:]))
        return f"<SaliencyMaps of {len(self)} images, {self.maps.shape[1]} maps of {maps} each>"

    def _repr_png_(self) -> bytes:
        shown = [self.explanations[place] for place in sheet_places(len(self))]
        picture = io.BytesIO()
        full = full_color(self.strength[np.isfinite(self.strength)].tolist())
        draw_contact_sheet(shown, full, f"Saliency  ·  {len(shown)} of {len(self)} images").save(picture, "PNG")
        return picture.getvalue()


def explain(
    model: nn.Module,
    images: Tensor | Array,
    *,
    method: str = "rise",
    num_masks: int = 1000,
    grid_size: int = 8,
    mask_probability: float = 0.5,
    window_size: int = 8,
    stride: int = 4,
    fill: str | float | Sequence[float] = 0.0,
    centered: bool = True,
    targets: str | int | Sequence[int] = "predicted",
    seed: int = 0,
    batch_size: int | None = None,
    precision: str = "exact",
    strategy: str = "fused",
    target_quality: float | None = None,
    scores: Scores | None = None,
) -> SaliencyMaps:
    """Explain what *model* predicts for *images*.

    Args:
        model: Any module; it is as before afterwards, in the same mode on the same device.
        images: float (B, C, H, W) or (B, C, D, H, W), tensor or array, as the model takes them, after preprocessing.
        method: ``rise``, ``mc_rise``, ``random_grid``, ``sliding_window``, ``sliding_radial``, or Captum's
            ``integrated_gradients``, ``grad_cam``, ``occlusion``.
        num_masks: Masks per image for methods with random masks.
        grid_size: Cells of the small grid per side; ``random_grid``: pixels per cell.
        mask_probability: Probability that a cell is visible, between 0 and 1.
        window_size: Side of the window, or radius of the disc, in pixels.
        stride: Step between windows in pixels.
        fill: What hides parts of an image, in the space of *images*: a number, one number per channel, ``zero``,
            ``mean`` or ``blur``. For ``mc_rise`` the colours one after the other.
        centered: Whether to subtract the mean score over the masks, for methods with random masks.
        targets: ``predicted``, ``all``, ``top3`` (any number of best classes), an index of the scores, or several.
        seed: Of the masks.
        batch_size: Images per forward pass; None: found by a probe of the model.
        precision: ``exact`` or ``fast``; see ``saliency_precision``.
        strategy: ``fused``, ``low_level`` or ``high_level``; see ``saliency_strategy``.
        target_quality: Stop when the predicted correlation with the map of infinitely many masks is this high.
        scores: From model and images to one score per image and class, float (B, K). By default softmax of the model's
            output, or sigmoid where that has one column.

    Raises:
        ValueError: an argument has a value that is not allowed, or does not fit the images or the model.
    """
    if method in _NOT_HERE:
        raise ValueError(f"explain() has no method {method!r}; a container has.")
    values = {
        "method": method, "num_masks": num_masks, "grid_size": grid_size, "mask_probability": mask_probability,
        "window_size": window_size, "stride": stride, "fill": fill, "centered": centered, "seed": seed,
        "targets": targets if isinstance(targets, str) else np.atleast_1d(np.asarray(targets)).tolist(),
        "batch_size": batch_size, "precision": precision, "strategy": strategy, "target_quality": target_quality,
    }  # fmt: skip
    try:
        return _explained(model, images, _Settings(scores, values))
    except (RunFailedError, ParameterError) as error:  # which speaks of the parameters and methods of a container
        words = str(error).replace(" Override get_saliency_images to say where in a batch the images are.", "")
        raise ValueError(words.replace("get_saliency_", "").replace("saliency_", "")) from error


def _explained(model: nn.Module, images: Tensor | Array, container: LightningContainer) -> SaliencyMaps:
    images = checked_images(torch.as_tensor(images)).detach()
    if not images.isfinite().all():
        raise RunFailedError("images: there are values that are not finite.")
    with _prepared(model) as device:
        images = images.to(device)
        raw = list(create_strategy(container, model, images, len(images)).explain(images, [-1] * len(images), None))
    explanations = [
        explanation_of(place, image, each) for place, (image, each) in enumerate(zip(images, raw, strict=True))
    ]
    no_quality = np.full(explanations[0].strength.shape, np.nan, dtype=np.float32)
    return SaliencyMaps(
        maps=np.stack([each.maps for each in explanations]),
        strength=np.stack([each.strength for each in explanations]),
        scores=np.stack([each.scores for each in explanations]),
        targets=np.stack([each.targets for each in explanations]),
        num_masks=np.array([each.num_masks for each in explanations]),
        quality=np.stack([no_quality if each.quality is None else each.quality for each in explanations]),
        explanations=explanations,
    )


class _Settings(LightningContainer):
    """The arguments of :func:`explain` as a container, which is what strategies take their settings from."""

    def __init__(self, scores: Scores | None, values: dict[str, Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._scores = scores
        for name, value in values.items():
            parameter = f"saliency_{name}"
            try:
                check(type(self).param[parameter], value)
            except ValueError as error:
                raise ValueError(f"explain: {name}={value!r}: {error}") from None
            setattr(self, parameter, value)
        self.validate()

    def get_saliency_scores(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return what the caller's function does, if there is one."""
        if self._scores is None:
            return super().get_saliency_scores(model, images)
        return self._scores(model, images)


@contextmanager
def _prepared(model: nn.Module) -> Iterator[torch.device]:
    """Put *model* into evaluation mode without gradients; yield its device."""
    modes = {module: module.training for module in model.modules() if hasattr(module, "training")}
    tensors = [*model.parameters(), *model.buffers()]
    device = tensors[0].device if tensors else torch.device("cpu")
    if any(modes.values()):
        model.eval()
    try:
        # no_grad: what a model keeps from inference mode could not be trained on. Precision is what this function says.
        with torch.no_grad(), full_precision(device):
            yield device
    finally:
        for module, mode in modes.items():
            if module.training != mode:
                module.training = mode
