"""What hides parts of an image: values, and that it means the model's input space."""

from typing import Any

import numpy as np
import pytest
import torch
from skimage.filters import gaussian
from torch import Tensor
from xaitk_saliency.impls.gen_image_classifier_blackbox_sal.rise import RISEStack
from xaitk_saliency.impls.gen_image_classifier_blackbox_sal.slidingwindow import SlidingWindowStack

from runner import explain
from runner.errors import RunFailedError
from runner.saliency.fills import blurred, fill_of
from tests.saliency_samples import ConvModel

IMAGE = torch.rand(3, 20, 14, generator=torch.Generator().manual_seed(0))
MEAN, STD = torch.tensor([0.48, 0.45, 0.4]).view(3, 1, 1), torch.tensor([0.22, 0.23, 0.25]).view(3, 1, 1)


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        ("zero", torch.zeros(3)),
        ("mean", IMAGE.mean(dim=(1, 2))),
        (0.25, torch.full((3,), 0.25)),
        ([0.1, 0.2, 0.3], torch.tensor([0.1, 0.2, 0.3])),
    ],
)
def test_values(fill: Any, expected: Tensor) -> None:
    """Words and numbers stand for one value per channel."""
    made = fill_of(fill, IMAGE).broadcast_to(IMAGE.shape)
    torch.testing.assert_close(made, expected.view(3, 1, 1).broadcast_to(IMAGE.shape))


@pytest.mark.parametrize("sigma", [0.5, 2.0, 30.0])
def test_blur_is_that_of_skimage(sigma: float) -> None:
    """The blur equals skimage's Gaussian, also where it is wider than the image."""
    expected = gaussian(IMAGE.permute(1, 2, 0).numpy(), sigma, channel_axis=-1)  # type: ignore[no-untyped-call]
    np.testing.assert_allclose(blurred(IMAGE, sigma).permute(1, 2, 0).numpy(), expected, atol=1e-6)


def test_blur_of_a_volume_has_three_axes() -> None:
    """A volume is blurred along its depth as well."""
    volume = torch.zeros(1, 9, 9, 9)
    volume[0, 4, 4, 4] = 1
    made = blurred(volume, 1.5)
    assert made.sum().item() == pytest.approx(1, abs=1e-2)
    torch.testing.assert_close(made, made.permute(0, 3, 1, 2))


def test_fill_must_fit_the_channels() -> None:
    """Two numbers for three channels are refused."""
    with pytest.raises(RunFailedError, match=r"saliency_fill has 2 numbers.*3 channels"):
        fill_of([1.0, 2.0], IMAGE)


class Raw:
    """A classifier of raw images, 0 to 255, that normalises them itself, as xaitk-saliency's users write it."""

    def __init__(self, model: ConvModel) -> None:
        self.model = model

    def get_labels(self) -> list[int]:
        return [0, 1, 2, 3]

    def classify_images(self, images: Any) -> Any:
        for image in [images] if isinstance(images, np.ndarray) else images:
            tensor = (torch.from_numpy(np.asarray(image, dtype=np.float32)).permute(2, 0, 1) / 255 - MEAN) / STD
            with torch.inference_mode():
                yield dict(enumerate(self.model(tensor[None]).softmax(dim=1)[0].tolist()))


@pytest.mark.parametrize("method", ["rise", "sliding_window"])
def test_a_fill_in_raw_space_is_carried_through_preprocessing(method: str) -> None:
    """Grey in the raw picture and then normalised is the normalised grey in the model's input space."""
    model = ConvModel().eval()
    raw = np.random.default_rng(0).integers(0, 256, (16, 16, 3))
    stack: Any = RISEStack(60, 4, 0.5, seed=0, threads=0)
    if method == "sliding_window":
        stack = SlidingWindowStack((4, 4), (2, 2))
    stack.fill = [128, 128, 128]
    # RISE mixes: whole numbers would be cut off, and that is not what is compared here
    expected = stack(raw.astype(np.float64) if method == "rise" else raw.astype(np.uint8), Raw(model))
    images = (torch.from_numpy(raw).permute(2, 0, 1)[None].float() / 255 - MEAN) / STD
    fill = ((128 / 255 - MEAN) / STD).flatten().tolist()
    made = explain(
        model, images, method=method, num_masks=60, grid_size=4, window_size=4, stride=2, fill=fill, centered=False,
        targets="all",
    )  # fmt: skip
    np.testing.assert_allclose(made.maps[0], expected, atol=1e-3)
    black = explain(
        model, images, method=method, num_masks=60, grid_size=4, window_size=4, stride=2, fill=0.0, centered=False,
        targets="all",
    )  # fmt: skip
    assert np.abs(black.maps[0] - expected).max() > 0.05, "another fill must make a difference"
