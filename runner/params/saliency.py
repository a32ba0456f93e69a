"""Saliency inference: which maps to make, and how. Names are xaitk-saliency's and RISE's."""

from __future__ import annotations

import importlib.util
import re
from typing import Any

import param

from runner.errors import ParameterError
from runner.params.kinds import number_from_text

RANDOM_METHODS = ("rise", "mc_rise", "random_grid")
XAITK_METHODS = (*RANDOM_METHODS, "sliding_window", "sliding_radial")
CAPTUM_METHODS = ("integrated_gradients", "grad_cam", "occlusion")
METHODS = [
    "none", "rise", "sliding_window", "mc_rise", "random_grid", "sliding_radial", "drise", "sbsm",
    *CAPTUM_METHODS, "custom",
]  # fmt: skip
FILLS = ("zero", "mean", "blur")
TARGETS = ("predicted", "label", "all")
CHECKS = ["deletion", "insertion", "randomization", "repeatability"]

_TOP = re.compile(r"top-?([1-9]\d*)")


class Fill(param.Parameter[Any]):
    """What hides a part of an image: ``zero``, ``mean``, ``blur``, a number, or one number per channel."""

    __slots__: list[str] = []

    def _validate(self, val: Any) -> None:
        numbers = val if isinstance(val, list | tuple) and val else [val]
        is_number = all(isinstance(item, int | float) and not isinstance(item, bool) for item in numbers)
        if not (is_number or val in FILLS):
            raise ValueError(f"{self.name!r} takes {self.describe()}, not {val!r}")

    def describe(self) -> str:
        """Say in words what values are allowed."""
        return "zero, mean, blur, a number, or one number per channel like 0.1,0.2,0.3"

    def from_text(self, text: str) -> str | float | list[float]:
        """Read a word, a number, or numbers separated by commas."""
        if text.lower() in FILLS:
            return text.lower()
        if "," in text or text.startswith("["):
            return [number_from_text(part) for part in text.strip("[]").split(",") if part.strip()]
        return number_from_text(text)


class Targets(param.Parameter[Any]):
    """Which classes to explain: ``predicted``, ``label``, ``all``, ``top3``, or class indices."""

    __slots__: list[str] = []

    def _validate(self, val: Any) -> None:
        is_list = isinstance(val, list) and bool(val) and all(type(item) is int and item >= 0 for item in val)
        if not (is_list or val in TARGETS or (isinstance(val, str) and _TOP.fullmatch(val))):
            raise ValueError(f"{self.name!r} takes {self.describe()}, not {val!r}")

    def describe(self) -> str:
        """Say in words what values are allowed."""
        return "predicted, label, all, top3 (any number of best classes), or class indices like 0,3"

    def from_text(self, text: str) -> str | list[int]:
        """Read a word, or class indices separated by commas."""
        if text.lower() in TARGETS or _TOP.fullmatch(text.lower()):
            return text.lower()
        return _indices_from_text(text, self.describe())


class Overlays(param.Parameter[Any]):
    """Of which images to draw overlays: ``all``, ``none``, a number of first ones, or indices."""

    __slots__: list[str] = []

    def _validate(self, val: Any) -> None:
        numbers = val if isinstance(val, list) else [val]
        if val not in ("all", "none") and not all(type(item) is int and item >= 0 for item in numbers):
            raise ValueError(f"{self.name!r} takes {self.describe()}, not {val!r}")

    def describe(self) -> str:
        """Say in words what values are allowed."""
        return "all, none, how many of the first images, or indices of images like [3,17]"

    def from_text(self, text: str) -> str | int | list[int]:
        """Read a word, a number, or indices in brackets or separated by commas."""
        if text.lower() in ("all", "none"):
            return text.lower()
        indices = _indices_from_text(text, self.describe())
        return indices if "," in text or text.startswith("[") or len(indices) != 1 else indices[0]


def num_top_classes(targets: Any) -> int | None:
    """Return 3 for ``top3``, and None for targets that are chosen in another way."""
    found = _TOP.fullmatch(targets) if isinstance(targets, str) else None
    return int(found[1]) if found else None


def _indices_from_text(text: str, allowed: str) -> list[int]:
    try:
        return [int(part) for part in text.strip("[]").split(",") if part.strip()]
    except ValueError:
        raise ValueError(f"{text!r} is none of {allowed}") from None


class SaliencyParams(param.Parameterized):
    """Settings of the saliency phase."""

    saliency_method = param.Selector[Any](
        default="none",
        objects=METHODS,
        doc="How to make saliency maps. drise explains detections, sbsm similarity to other images; "
        "integrated_gradients, grad_cam and occlusion are Captum's; custom: get_saliency_generator of the container.",
    )
    saliency_num_masks = param.Integer(
        default=500,
        bounds=(1, None),
        doc="rise, mc_rise, random_grid, drise: masks per image; more give smoother maps.",
    )
    saliency_grid_size = param.Integer(
        default=8,
        bounds=(1, None),
        doc="rise, mc_rise, drise: cells of the small grid per side. random_grid: pixels per cell.",
    )
    saliency_mask_probability = param.Number(
        default=0.5,
        bounds=(0, 1),
        inclusive_bounds=(False, False),
        doc="rise, mc_rise, random_grid, drise: probability that a cell of the grid is visible.",
    )
    saliency_window_size = param.Integer(
        default=8,
        bounds=(1, None),
        doc="sliding_window, sbsm, occlusion: side of the window in pixels; sliding_radial: radius.",
    )
    saliency_stride = param.Integer(
        default=4,
        bounds=(1, None),
        doc="sliding_window, sliding_radial, sbsm, occlusion: step between windows in pixels.",
    )
    saliency_fill = Fill(
        default="zero",
        doc="What hides a part of an image, in the space of get_saliency_images (the model's input): zero; mean and "
        "blur of the image itself; a number; or one number per channel. mc_rise: its colours, one after the other.",
    )
    saliency_centered = param.Boolean(
        default=True,
        doc="rise, mc_rise, random_grid: subtract the mean of the perturbed scores over the masks before scoring, "
        "which takes the pattern of the masks themselves out of the maps. Sliding methods use differences anyway.",
    )
    saliency_target_quality = param.Number(
        default=None,
        bounds=(0, 1),
        inclusive_bounds=(False, False),
        allow_None=True,
        doc="With fused and random masks: stop before saliency_num_masks when the map's predicted correlation with the "
        "map of infinitely many masks is this high, such as 0.95; None: always all masks.",
    )
    saliency_targets = Targets(
        default="predicted", doc="Classes to explain: predicted, label, all, top3 (the 3 best), or indices like 0,3."
    )
    saliency_layer = param.String(
        default=None, allow_None=True, doc="grad_cam: name of the layer to look at; None: the last convolution."
    )
    saliency_num_steps = param.Integer(
        default=50, bounds=(1, None), doc="integrated_gradients: steps from the fill to the image."
    )
    saliency_split = param.Selector[Any](default="test", objects=["train", "val", "test"], doc="Data to explain.")
    saliency_limit = param.Integer(
        default=None, bounds=(1, None), allow_None=True, doc="Explain only the first n images; None: all."
    )
    saliency_checks = param.ListSelector(
        default=["deletion", "insertion"],
        objects=CHECKS,
        doc="Measures of how good the maps are that need more forward passes. randomization (Adebayo et al.) and "
        "repeatability make each map a second time.",
    )
    saliency_checks_limit = param.Integer(
        default=32, bounds=(0, None), doc="saliency_checks are made on the first n images only."
    )
    saliency_shard_size = param.Integer(
        default=1, bounds=(1, None), doc="Images per file in saliency/maps; larger for very many small images."
    )
    saliency_dtype = param.Selector[Any](
        default="float32", objects=["float32", "float16"], doc="Precision of images and maps in the files."
    )
    saliency_overlays = Overlays(
        default=100, doc="Pictures of single images: all, none, of the first n images, or of images like [3,17]."
    )
    saliency_batch_size = param.Integer(
        default=None,
        bounds=(1, None),
        allow_None=True,
        doc="Perturbed images per forward pass; changes maps by rounding only. None: found by a probe of the model.",
    )
    saliency_precision = param.Selector[Any](
        default="exact",
        objects=["exact", "fast"],
        doc="exact: float32, repeats bit for bit. fast: bfloat16 where the device computes in it, torch.compile where "
        "there is a compiler; the agreement with exact is measured on the first images.",
    )
    saliency_incremental = param.Boolean(
        default=True,
        doc="sliding_window, sliding_radial, with fused and exact, on a CPU: compute again only the activations that a "
        "window changes, where that halves the work and a check finds the same scores.",
    )
    saliency_seed = param.Integer(default=0, bounds=(0, 2**32 - 1), doc="Seed of the masks.")
    saliency_strategy = param.Selector[Any](
        default="fused",
        objects=["fused", "low_level", "high_level"],
        doc="fused: all on the model's device, at the cost of the forward passes. low_level: xaitk-saliency's steps "
        "inside predict_step; high_level: its ClassifyImage interface. All give the same maps.",
    )

    def validate(self) -> None:
        """Check what no single bound can express.

        Raises:
            ParameterError: two values contradict each other.
        """
        if self.saliency_method == "mc_rise" and self.saliency_fill in FILLS:
            raise ParameterError(
                f"saliency_method=mc_rise explains by colours: saliency_fill must be numbers, not {self.saliency_fill}."
            )
        self._refuse_without_effect()
        hooks = {
            "custom": "get_saliency_generator",
            "drise": "get_saliency_detections",
            "sbsm": "get_saliency_descriptors",
        }
        hook = hooks.get(self.saliency_method, "validate")
        if getattr(getattr(type(self), hook, None), "__module__", None) == "runner.container" and hook != "validate":
            raise ParameterError(f"saliency_method={self.saliency_method}: {type(self).__name__} must define {hook}().")

    def _refuse_without_effect(self) -> None:
        """Refuse settings that the method or strategy would silently leave out."""
        method, strategy = self.saliency_method, self.saliency_strategy
        if method in CAPTUM_METHODS and importlib.util.find_spec("captum") is None:
            raise ParameterError(f"saliency_method={method} needs a package: pip install 'lightcase[captum]'.")
        if strategy != "fused" and method not in ("none", "custom", *XAITK_METHODS):
            raise ParameterError(f"saliency_strategy={strategy} is for {', '.join(XAITK_METHODS)}, not for {method}.")
        if self.saliency_target_quality is not None and (
            strategy != "fused" or method not in ("none", *RANDOM_METHODS)
        ):
            raise ParameterError(
                f"saliency_target_quality needs saliency_strategy=fused and one of {', '.join(RANDOM_METHODS)}, "
                f"not saliency_strategy={strategy} and saliency_method={method}."
            )
        if self.saliency_precision == "fast" and (strategy != "fused" or method not in ("none", *XAITK_METHODS)):
            raise ParameterError(
                f"saliency_precision=fast needs saliency_strategy=fused and one of {', '.join(XAITK_METHODS)}, "
                f"not saliency_strategy={strategy} and saliency_method={method}."
            )
