"""Maps from inside the model, by Captum: integrated gradients, Grad-CAM, and its occlusion."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from runner.errors import RunFailedError, did_you_mean
from runner.saliency.classifier import checked_scores
from runner.saliency.fills import fill_of
from runner.saliency.forward_format import exact_arithmetic
from runner.saliency.mask_weights import BATCH_SIZE
from runner.saliency.raw_maps import RawMaps
from runner.saliency.targets import chosen_targets

if TYPE_CHECKING:
    from runner.container import LightningContainer

log = logging.getLogger(__name__)

CONVERGENCE = 0.05
"""Sundararajan et al. advise that the attributions add up to the difference of the scores within 5 per cent."""

TARGETS_TOGETHER = 16
"""Classes whose maps Captum's occlusion adds up at once: it holds each pass's images once for every class."""

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)


class WhiteBoxStrategy:
    """Captum's methods. All but occlusion need gradients, for which they leave Lightning's inference mode.

    Values are in the unit of the scores, which are those of ``get_saliency_scores``:

    - ``integrated_gradients`` (Sundararajan et al. 2017, arXiv:1703.01365): the share of each pixel, all its channels
      together, in the difference between the scores of the image and of the fill; the map adds up to it.
    - ``grad_cam`` (Selvaraju et al. 2017, arXiv:1610.02391): the channels of a layer, each weighted with the mean
      gradient of the score, added up. By definition (eq. 2) only what speaks for the class is kept: no value is below
      0. Enlarged linearly.
    - ``occlusion`` (Zeiler and Fergus 2014, arXiv:1311.2901): by how much the score drops, on the mean of the windows
      that hide the pixel. The windows lie within the image, those of ``sliding_window`` reach over its border.

    Where a model is so sure that its probabilities do not change, gradients vanish and maps are constant: let
    ``get_saliency_scores`` return logits then.
    """

    def __init__(self, container: LightningContainer, model: nn.Module) -> None:
        """Take what to explain.

        Args:
            container: Says how; see its ``saliency_`` parameters and ``get_saliency_scores``.
            model: The trained model, in evaluation mode. It is not changed.

        Raises:
            RunFailedError: Captum is not installed, or occlusion would leave out pixels.
        """
        self._container = container
        self._model = model
        self._captum = _imported_captum(container.saliency_method)
        self._batch_size = container.saliency_batch_size or BATCH_SIZE
        self._layer: nn.Module | None = None
        self._has_warned = False
        if container.saliency_method == "occlusion" and container.saliency_stride > container.saliency_window_size:
            raise RunFailedError(
                f"saliency_method=occlusion: saliency_stride={container.saliency_stride} is larger than "
                f"saliency_window_size={container.saliency_window_size}; no window would hide the pixels in between."
            )

    def explain(self, images: Tensor, labels: Sequence[int], queries: Tensor | None) -> Iterator[RawMaps]:
        """Yield the maps of each image, in order; see :class:`~runner.saliency.raw_maps.Strategy`."""
        del queries
        for image, label in zip(images, labels, strict=True):
            yield self._explain(image, label)

    def _explain(self, image: Tensor, label: int) -> RawMaps:
        attribute = {
            "integrated_gradients": self._integrated_gradients,
            "grad_cam": self._grad_cam,
            "occlusion": self._occlusion,
        }[self._container.saliency_method]
        with torch.inference_mode(False), exact_arithmetic(image.device):
            images = image.detach().clone()[None]  # tensors from inference mode have no gradients
            baseline = fill_of(self._container.saliency_fill, images[0]).expand_as(images)
            scores = self._scores(images)[0]
            targets = chosen_targets(self._container.saliency_targets, scores.cpu().numpy(), label)
            wanted = torch.tensor(targets, device=scores.device)
            usable = scores[wanted].isfinite()
            maps = images.new_full((len(targets), *image.shape[1:]), math.nan, dtype=torch.float32)
            if usable.any():
                maps[usable] = attribute(images, baseline, wanted[usable]).detach().float()
        return RawMaps(
            maps=maps.cpu().numpy(),
            scores=scores.float().cpu().numpy(),
            targets=np.array(targets, dtype=np.int64),
            num_masks=self._num_windows(image.shape[1:]) if self._container.saliency_method == "occlusion" else 0,
        )

    def _integrated_gradients(self, images: Tensor, baseline: Tensor, targets: Tensor) -> Tensor:
        """Return maps, (T, *size), of one image, (1, C, *size)."""
        method = self._captum.IntegratedGradients(self._differentiable_scores)
        maps = torch.cat(
            [
                method.attribute(
                    images,
                    baseline,
                    target=int(target),
                    n_steps=self._container.saliency_num_steps,
                    internal_batch_size=self._batch_size,
                ).sum(dim=1)
                for target in targets
            ]
        )
        end, start = (self._scores(each)[0, targets] for each in (images, baseline))
        self._check_convergence(maps.flatten(1).sum(dim=1), end, start)
        return maps

    def _check_convergence(self, totals: Tensor, end: Tensor, start: Tensor) -> None:
        """Warn once when attributions do not add up to the difference of the scores, each (T,), beyond rounding."""
        delta = (totals - (end - start)).abs()
        too_far = delta > CONVERGENCE * (end - start).abs() + 1e-3 * torch.maximum(end.abs(), start.abs())
        if too_far.any() and not self._has_warned:
            self._has_warned = True
            worst = int(delta.where(too_far, 0).argmax())
            log.warning(
                "saliency: integrated gradients add up to %.4g instead of %.4g, the difference between the scores of "
                "the image and of the fill; raise saliency_num_steps (now %d). Said once only.",
                totals[worst],
                end[worst] - start[worst],
                self._container.saliency_num_steps,
            )

    def _grad_cam(self, images: Tensor, baseline: Tensor, targets: Tensor) -> Tensor:
        """Return maps, (T, *size), of one image, (1, C, *size)."""
        del baseline
        if self._layer is None:
            self._layer = self._find_layer(images)
        method = self._captum.LayerGradCam(self._differentiable_scores, self._layer)
        small = torch.cat(
            [
                method.attribute(images.expand(len(some), *images.shape[1:]), target=some, relu_attributions=True)
                for some in torch.split(targets, self._batch_size)
            ]
        )
        mode = "bilinear" if images.ndim == 4 else "trilinear"
        enlarged: Tensor = self._captum.LayerAttribution.interpolate(small.float(), tuple(images.shape[2:]), mode)
        return enlarged[:, 0]

    def _find_layer(self, images: Tensor) -> nn.Module:
        """Return the layer that ``saliency_layer`` names, or the last convolution that gives a map.

        Raises:
            RunFailedError: there is none.
        """
        name = self._container.saliency_layer
        modules = dict(self._model.named_modules())
        if name is None:
            candidates = [module for module in modules.values() if isinstance(module, _CONVOLUTIONS)]
        elif name in modules:
            candidates = [modules[name]]
        else:
            raise RunFailedError(f"saliency_layer: the model has no layer {name!r}.{did_you_mean(name, modules)}")
        outputs = self._outputs(candidates, images)
        with_map = [
            module
            for module, output in outputs
            if isinstance(output, Tensor) and output.ndim == images.ndim and math.prod(output.shape[2:]) > 1
        ]
        if with_map:
            return with_map[-1]
        if name is None:
            raise RunFailedError("grad_cam finds no convolution whose output is a map: name a layer in saliency_layer.")
        [gave] = [_kind(output) for _, output in outputs[-1:]] or ["nothing, the scores do not use it"]
        raise RunFailedError(
            f"saliency_layer={name}: grad_cam needs a layer that gives a map, (B, channels, size of {images.ndim - 2} "
            f"axes); this one gives {gave}."
        )

    def _outputs(self, modules: Sequence[nn.Module], images: Tensor) -> list[tuple[nn.Module, Any]]:
        """Return which of *modules* are called for the scores, in this order, and what they give."""
        called: list[tuple[nn.Module, Any]] = []

        def watch(module: nn.Module, args: Any, output: Any) -> None:
            del args
            called.append((module, output))

        with ExitStack() as hooks:
            for module in modules:
                hooks.enter_context(module.register_forward_hook(watch))
            self._scores(images)
        return called

    def _occlusion(self, images: Tensor, baseline: Tensor, targets: Tensor) -> Tensor:
        """Return maps, (T, *size), of one image, (1, C, *size). All channels of a pixel have the same value."""
        container, channels = self._container, images.shape[1]
        maps: list[Tensor] = []
        for some in torch.split(targets, TARGETS_TOGETHER):
            method = self._captum.Occlusion(self._columns(some))
            drops: Tensor = method.attribute(
                images,
                sliding_window_shapes=(channels, *self._window(images.shape[2:])),
                strides=(1, *[container.saliency_stride] * (images.ndim - 2)),
                baselines=baseline,
                perturbations_per_eval=self._batch_size,
            )
            maps.append(drops[:, 0])
        return torch.cat(maps)

    def _columns(self, targets: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda images: self._scores(images)[:, targets]

    def _window(self, size: Sequence[int]) -> list[int]:
        return [min(self._container.saliency_window_size, length) for length in size]

    def _num_windows(self, size: Sequence[int]) -> int:
        stride = self._container.saliency_stride
        return math.prod(
            math.ceil((length - side) / stride) + 1 for length, side in zip(size, self._window(size), strict=True)
        )

    def _scores(self, images: Tensor) -> Tensor:
        """Return checked scores without gradients; the copy is for models that write into their input."""
        with torch.no_grad():
            return checked_scores(self._container, self._model, images.clone())

    def _differentiable_scores(self, images: Tensor) -> Tensor:
        scores = self._container.get_saliency_scores(self._model, images.clone())
        if not scores.requires_grad:
            raise RunFailedError(
                f"saliency_method={self._container.saliency_method} needs gradients, but the scores of "
                "get_saliency_scores have none: neither it nor the model may use detach, no_grad, inference_mode, "
                "argmax or numpy on the way to them."
            )
        return scores


def _imported_captum(method: str) -> Any:
    try:
        import captum.attr  # type: ignore[import-untyped]
    except ImportError as error:
        raise RunFailedError(
            f'saliency_method={method} needs Captum, which is not installed: pip install "lightcase[captum]"'
        ) from error
    return captum.attr


def _kind(output: Any) -> str:
    return str(tuple(output.shape)) if isinstance(output, Tensor) else f"a {type(output).__name__}"
