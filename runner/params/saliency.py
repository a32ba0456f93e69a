"""Saliency inference: which maps to make, and how. Names are xaitk-saliency's and RISE's."""

from __future__ import annotations

from typing import Any

import param

from runner.errors import ParameterError
from runner.params.kinds import number_from_text

METHODS = ["none", "rise", "sliding_window", "mc_rise", "random_grid", "sliding_radial", "custom"]
FILLS = ("zero", "mean", "blur")
TARGETS = ("predicted", "label", "all")


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
    """Which classes to explain: ``predicted``, ``label``, ``all``, or class indices."""

    __slots__: list[str] = []

    def _validate(self, val: Any) -> None:
        is_list = isinstance(val, list) and bool(val) and all(type(item) is int and item >= 0 for item in val)
        if not (is_list or val in TARGETS):
            raise ValueError(f"{self.name!r} takes {self.describe()}, not {val!r}")

    def describe(self) -> str:
        """Say in words what values are allowed."""
        return "predicted, label, all, or class indices like 0,3"

    def from_text(self, text: str) -> str | list[int]:
        """Read a word, or class indices separated by commas."""
        if text.lower() in TARGETS:
            return text.lower()
        try:
            return [int(part) for part in text.strip("[]").split(",") if part.strip()]
        except ValueError:
            raise ValueError(f"{text!r} is none of {self.describe()}") from None


class SaliencyParams(param.Parameterized):
    """Settings of the saliency phase."""

    saliency_method = param.Selector[Any](
        default="none",
        objects=METHODS,
        doc="How to make saliency maps; custom: get_saliency_generator of the container.",
    )
    saliency_num_masks = param.Integer(
        default=500, bounds=(1, None), doc="rise, mc_rise, random_grid: masks per image; more give smoother maps."
    )
    saliency_grid_size = param.Integer(
        default=8,
        bounds=(1, None),
        doc="rise, mc_rise: cells of the small grid per side. random_grid: pixels per cell.",
    )
    saliency_mask_probability = param.Number(
        default=0.5,
        bounds=(0, 1),
        inclusive_bounds=(False, False),
        doc="rise, mc_rise, random_grid: probability that a cell of the grid is visible.",
    )
    saliency_window_size = param.Integer(
        default=8, bounds=(1, None), doc="sliding_window: side of the window in pixels; sliding_radial: radius."
    )
    saliency_stride = param.Integer(
        default=4, bounds=(1, None), doc="sliding_window, sliding_radial: step between windows in pixels."
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
    saliency_targets = Targets(
        default="predicted", doc="Classes to explain: predicted, label, all, or indices like 0,3."
    )
    saliency_split = param.Selector[Any](default="test", objects=["train", "val", "test"], doc="Data to explain.")
    saliency_limit = param.Integer(
        default=None, bounds=(1, None), allow_None=True, doc="Explain only the first n images; None: all."
    )
    saliency_batch_size = param.Integer(
        default=64, bounds=(1, None), doc="Perturbed images per forward pass; changes maps by rounding only."
    )
    saliency_seed = param.Integer(default=0, bounds=(0, 2**32 - 1), doc="Seed of the masks.")
    saliency_strategy = param.Selector[Any](
        default="low_level",
        objects=["low_level", "high_level"],
        doc="low_level: the steps of xaitk-saliency inside predict_step; high_level: its ClassifyImage interface. Both "
        "give the same maps.",
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
        generator = getattr(type(self), "get_saliency_generator", None)
        if self.saliency_method == "custom" and getattr(generator, "__module__", None) == "runner.container":
            raise ParameterError(f"saliency_method=custom: {type(self).__name__} must define get_saliency_generator().")
