"""The low-level strategy: the steps of xaitk-saliency one by one, inside ``predict_step``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from runner.saliency.classifier import Classifier, as_array
from runner.saliency.methods import Method
from runner.saliency.occlusion import occlude


class LowLevelStrategy:
    """Perturb, occlude, predict in batches, score (xaitk-jatic's page "Scalability Platforms", PyTorch Lightning)."""

    def __init__(self, method: Method) -> None:
        self.method = method
        self.every_class = method.every_class

    def raw_maps(self, image: Tensor, classifier: Classifier, classes: Sequence[int]) -> tuple[NDArray[Any], int]:
        """Return the maps of an image with their strength, and the number of masks.

        The whole image is predicted alone, as the high-level strategy has to do it: in a batch of another size a
        convolution's result is another one in the last digits.

        Args:
            image: float (C, H, W).
            classifier: The model.
            classes: The columns of the scores to use.

        Returns:
            What the method's scoring returns: (len(classes), H, W) for most; and how many masks there were.
        """
        array = as_array(image)
        masks = self.method.perturber.perturb(array)
        [reference] = classifier.score_each([array])
        perturbed = np.stack(list(classifier.score_each(occlude(array, masks, self.method.fill))))
        columns = list(classes)
        return self.method.scoring.generate(reference[columns], perturbed[:, columns], masks), len(perturbed)
