"""The high-level strategy: xaitk-saliency drives, and sees the model through its ``ClassifyImage`` interface."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from smqtk_classifier.interfaces.classify_image import ClassifyImage
from torch import Tensor
from xaitk_saliency.impls.gen_image_classifier_blackbox_sal.occlusion_based import PerturbationOcclusion
from xaitk_saliency.impls.perturb_image.mc_rise import MCRISEGrid
from xaitk_saliency.interfaces.gen_classifier_conf_sal import GenerateClassifierConfidenceSaliency
from xaitk_saliency.interfaces.gen_image_classifier_blackbox_sal import GenerateImageClassifierBlackboxSaliency
from xaitk_saliency.interfaces.perturb_image import PerturbImage

from runner.saliency.classifier import Classifier, as_array
from runner.saliency.methods import BlackBox, Method
from runner.saliency.occlusion import Fill, fill_values, occlude

Array = NDArray[Any]


class ModelClassifier(ClassifyImage):
    """A model behind xaitk-saliency's interface; the labels are the indices of the classes to use."""

    def __init__(self, classifier: Classifier, classes: Sequence[int]) -> None:
        self._classifier = classifier
        self._classes = list(classes)
        self.num_classified = 0

    def get_labels(self) -> Sequence[int]:
        """Return the indices of the classes."""
        return self._classes

    def classify_images(self, img_iter: Array | Iterable[Array]) -> Iterator[dict[Any, Any]]:
        """Yield index to score for each image, float32 (H, W, C); infinity becomes NaN, which xaitk-saliency takes."""
        for scores in self._classifier.score_each(img_iter):
            self.num_classified += 1
            finite = np.where(np.isinf(scores), np.nan, scores)
            yield {index: finite[index] for index in self._classes}

    def get_config(self) -> dict[str, Any]:
        """Return nothing: a live model has no configuration."""
        return {}


class ColorOcclusion(GenerateImageClassifierBlackboxSaliency):
    """What ``PerturbationOcclusion`` is, for the masks of MC-RISE.

    xaitk-saliency's own ``MCRISEStack`` takes no other scoring and clips colours to 0..255, which is wrong for images
    that were normalised.
    """

    def __init__(self, perturber: PerturbImage, generator: GenerateClassifierConfidenceSaliency, colors: Fill) -> None:
        self._perturber = perturber
        self._generator = generator
        self._colors = colors

    def _generate(self, ref_image: Array, blackbox: ClassifyImage) -> Array:
        labels = blackbox.get_labels()
        masks = self._perturber.perturb(ref_image)
        [reference] = blackbox.classify_images([ref_image])
        perturbed = blackbox.classify_images(occlude(ref_image, masks, self._colors))
        return self._generator.generate(
            np.asarray([reference[label] for label in labels]),
            np.asarray([[scores[label] for label in labels] for scores in perturbed]),
            masks,
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"perturber": self._perturber, "generator": self._generator, "colors": self._colors}


class HighLevelStrategy:
    """Hands each image and the model to an implementation of ``GenerateImageClassifierBlackboxSaliency``."""

    def __init__(self, method: Method | BlackBox) -> None:
        self.every_class = isinstance(method, BlackBox) or method.every_class
        self._generator: Any = method.generator if isinstance(method, BlackBox) else _as_generator(method)
        self._fill = method.fill
        self._sets_fill = getattr(self._generator, "fill", "none to set") is None

    def raw_maps(self, image: Tensor, classifier: Classifier, classes: Sequence[int]) -> tuple[Array, int]:
        """Return the maps of an image and the number of masks; as :meth:`LowLevelStrategy.raw_maps` does.

        A black box from the container has ``saliency_fill`` put into its attribute ``fill`` where it left that None.
        """
        array = as_array(image)
        if self._sets_fill:
            self._generator.fill = fill_values(self._fill, array)
        blackbox = ModelClassifier(classifier, classes)
        maps = np.asarray(self._generator.generate(array, blackbox))
        return maps, blackbox.num_classified - 1  # without the whole image


def _as_generator(method: Method) -> GenerateImageClassifierBlackboxSaliency:
    if isinstance(method.perturber, MCRISEGrid):
        return ColorOcclusion(method.perturber, method.scoring, method.fill)
    return PerturbationOcclusion(method.perturber, method.scoring)
