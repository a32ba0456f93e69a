"""Incremental passes: the same numbers as ordinary ones, with less work, whatever the network is made of."""

import copy
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from runner.saliency import patched
from runner.saliency.forward_format import Format, exact_format
from runner.saliency.incremental import IncrementalFormat, boxes_of, incremental_format
from runner.saliency.masks import Masks, RadialMasks, WindowMasks
from runner.saliency.patched import Patched, Recording
from runner.saliency.reach import Boxes, Kernel, hull

CPU = torch.device("cpu")


def flat(model: nn.Module, images: Tensor) -> Tensor:
    """All that comes out of the network is its scores, so that nothing can hide in a mean."""
    return cast(Tensor, model(images)).flatten(1)


def mean(model: nn.Module, images: Tensor) -> Tensor:
    return cast(Tensor, model(images)).flatten(2).mean(dim=2)


def hidden(image: Tensor, masks: Masks, start: int, stop: int) -> Tensor:
    return torch.lerp(image, 1 - image, masks.rows(start, stop))


def windows_of(masks: Masks) -> Boxes:
    """The boxes that masks hide, found pixel by pixel."""
    found = [np.argwhere(mask[0].numpy()) for mask in masks.rows(1, masks.num_masks + 1)]
    sizes = np.max([each.max(axis=0) - each.min(axis=0) + 1 for each in found], axis=0)
    starts = [np.zeros(len(masks.size), dtype=np.int64), *(each.min(axis=0) for each in found)]
    return Boxes(np.minimum(starts, np.array(masks.size) - sizes), sizes)


def assert_same(model: nn.Module, image: Tensor, masks: Masks, batch: int = 5) -> IncrementalFormat:
    """All rows of masks, and those beyond the last one, give what ordinary passes give."""
    incremental, whole = IncrementalFormat(Format(model), windows_of(masks)), image[0]
    with torch.inference_mode():
        for start in range(0, masks.num_masks + 1, batch):
            images = hidden(image, masks, start, start + batch)
            incremental.expect(whole, start)
            given, expected = incremental.scores(flat, images), flat(model, images)
            assert type(given) is Tensor
            bound = 2e-6 * max(1.0, float(expected.nan_to_num(0, 0, 0).abs().max()))
            torch.testing.assert_close(given, expected, rtol=0, atol=bound, equal_nan=True)
    return incremental


class Wrapped(nn.Module):
    """Does something beside what another network does."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.network(images))


class Work(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the multiplications of convolutions that are really done."""

    done = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(issubclass(each, Patched) for each in types):
            return NotImplemented
        result = func(*args, **(kwargs or {}))
        if "conv" in str(func):
            self.done += result.numel() * args[1][0].numel()
        return result


def work_of(call: Callable[[], Any]) -> int:
    with torch.inference_mode(), Work() as work:  # type: ignore[no-untyped-call]
        call()
    return int(work.done)


# --- any chain of layers --------------------------------------------------------------------------------------------


@st.composite
def convolutions(draw: st.DrawFn, width: int) -> nn.Module:
    groups, stride = draw(st.sampled_from([1, 1, 2])), draw(st.integers(1, 3))
    padding: Any = (draw(st.integers(0, 3)), draw(st.integers(0, 3)))
    if stride == 1 and draw(st.booleans()):
        padding = "same"
    size = (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    return nn.Conv2d(width, 4, size, stride, padding, draw(st.integers(1, 2)), 1 if width == 3 else groups)


@st.composite
def poolings(draw: st.DrawFn) -> nn.Module:
    size = draw(st.integers(1, 4))
    stride, padding, ceil = draw(st.integers(1, 4)), draw(st.integers(0, size // 2)), draw(st.booleans())
    if draw(st.booleans()):
        return nn.MaxPool2d(size, stride, padding, draw(st.integers(1, 2)), ceil_mode=ceil)
    return nn.AvgPool2d(size, stride, padding, ceil_mode=ceil, count_include_pad=draw(st.booleans()))


ACTIVATIONS: list[Callable[[], nn.Module]] = [
    nn.ReLU,
    lambda: nn.ReLU(inplace=True),
    nn.GELU,
    lambda: nn.SiLU(inplace=True),
    lambda: nn.PReLU(4),
    nn.Hardswish,
    nn.ReLU6,
    nn.Dropout,
    nn.Identity,
    nn.Dropout2d,
    lambda: nn.BatchNorm2d(4),
]


@st.composite
def chains(draw: st.DrawFn) -> nn.Module:
    torch.manual_seed(draw(st.integers(0, 100)))
    layers = [draw(convolutions(3))]
    for kind in draw(st.lists(st.sampled_from(["convolution", "pooling", "activation"]), max_size=5)):
        if kind == "activation":
            layers.append(draw(st.sampled_from(ACTIVATIONS))())
        else:
            layers.append(draw(convolutions(4) if kind == "convolution" else poolings()))
    model = nn.Sequential(*layers).eval()
    for norm in model:
        if isinstance(norm, nn.BatchNorm2d):
            cast(Tensor, norm.running_mean).normal_()
            cast(Tensor, norm.running_var).uniform_(0.5, 2)
    return model


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@settings(max_examples=300, deadline=None)
@given(
    model=chains(),
    size=st.tuples(st.integers(9, 30), st.integers(9, 30)),
    window=st.integers(1, 12),
    stride=st.integers(4, 12),
    largest=st.sampled_from([0.5, 1.0]),
    last=st.booleans(),
)
def test_any_chain_gives_what_ordinary_passes_give(
    model: nn.Module, size: tuple[int, int], window: int, stride: int, largest: float, last: bool
) -> None:
    """Kernels, strides, padding, dilation, groups, pooling, borders: each number is that of the ordinary pass."""
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    try:
        with torch.inference_mode():
            model(image)
    except RuntimeError:  # nothing is left of so small an image
        assume(False)
    if last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patched, "LARGEST_PART", largest)
        assert_same(model, image, WindowMasks(window, stride, size, CPU))


@settings(max_examples=200, deadline=None)
@given(
    size=st.integers(1, 6),
    stride=st.integers(1, 6),
    padding=st.integers(0, 5),
    length=st.integers(6, 30),
    begin=st.integers(0, 29),
    box=st.integers(1, 10),
)
def test_boxes_reach_what_changes(size: int, stride: int, padding: int, length: int, begin: int, box: int) -> None:
    """The box of the output has all that changes, and is no larger than it must be away from borders."""
    assume(begin + box <= length)
    lengths = (length + 2 * padding - size) // stride + 1
    kernel = Kernel(*(np.array([each]) for each in (size, stride, padding)))
    boxes = kernel.reached(Boxes(np.array([[begin]]), np.array([box])), [lengths])
    image = torch.zeros(1, 1, length)
    image[..., begin : begin + box] = 1
    changed = functional.conv1d(image, torch.ones(1, 1, size), stride=stride, padding=padding)[0, 0].nonzero()
    first, stop = boxes.starts.item(), (boxes.starts + boxes.size).item()
    assert first >= 0
    assert stop <= lengths
    assert all(first <= int(each) < stop for each in changed)
    assert stop - first <= (box + max(size, stride) - 2) // stride + 1
    read = kernel.read(boxes)
    assert read.starts.item() <= begin + padding
    assert begin + padding + box <= (read.starts + read.size).item()
    assert (read.starts + read.size).item() <= sum(kernel.margins([length], [lengths])) + length


def test_hulls_contain_all_boxes() -> None:
    """Boxes of different places and sizes have one hull for each row, all of one size, inside the image."""
    first = Boxes(np.array([[0, 4], [6, 7]]), np.array([2, 3]))
    second = Boxes(np.array([[3, 5], [7, 6]]), np.array([3, 1]))
    result = hull([first, second], [10, 10])
    assert result.size.tolist() == [6, 4]
    assert result.starts.tolist() == [[0, 4], [4, 6]]


# --- networks with branches, and what boxes cannot follow -----------------------------------------------------------


class Block(nn.Module):
    """A part of a network that is written as a function of its input."""

    def __init__(self, function: Callable[["Block", Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.shrink = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.around = nn.Conv2d(4, 4, 1, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.scale = nn.Parameter(torch.rand(4, 1, 1))
        self.place = nn.Parameter(torch.rand(1, 1, 32, 24))
        self.body = function

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, x)


def in_place(self: Block, x: Tensor) -> Tensor:
    y = self.norm(self.conv(x)).relu_()
    y += x
    y *= self.scale
    return cast(Tensor, y)


def downsampled(self: Block, x: Tensor) -> Tensor:
    y = self.conv(self.shrink(x).relu())
    return cast(Tensor, (y + self.around(x)).relu())


def read_wider(self: Block, x: Tensor) -> Tensor:
    x += self.conv(x)
    return x * 2


def concatenated(self: Block, x: Tensor) -> Tensor:
    return torch.cat([x, self.conv(x), self.conv(self.conv(x))], 1)


def aliased(self: Block, x: Tensor) -> Tensor:
    y = self.conv(x)
    functional.dropout(y, training=False).relu_()
    return cast(Tensor, y)


def stacked(self: Block, x: Tensor) -> Tensor:
    return torch.cat([x, self.conv(x)], dim=2)


def written_elsewhere(self: Block, x: Tensor) -> Tensor:
    y = torch.empty(x.shape)
    torch.add(x, 1, out=y)
    y += self.conv(x)
    return y


def chosen(self: Block, x: Tensor) -> Tensor:
    return torch.where(self.conv(x) > 0, x, 0.1 * x - 1)


def up_and_down(self: Block, x: Tensor) -> Tensor:
    up = functional.interpolate(self.shrink(x), scale_factor=2)
    return torch.cat([up, x], dim=1)


def gated(self: Block, x: Tensor) -> Tensor:
    return cast(Tensor, x * self.conv(x).mean(dim=(2, 3), keepdim=True).sigmoid())


def normalised(self: Block, x: Tensor) -> Tensor:
    return functional.instance_norm(self.conv(x))


def placed(self: Block, x: Tensor) -> Tensor:
    return cast(Tensor, self.conv(x + self.place))


def written(self: Block, x: Tensor) -> Tensor:
    y = self.conv(x)
    z = y
    y[:, 0] = 0.5
    y[:, :, 3:5].add_(1)
    return cast(Tensor, self.conv(z))


def reused(self: Block, x: Tensor) -> Tensor:
    y = self.conv(x)
    flipped = y.flip(3)
    y.relu_()
    return cast(Tensor, y + flipped)


def padded(self: Block, x: Tensor) -> Tensor:
    return cast(Tensor, self.conv(functional.pad(x, (1, 2, 0, 1), mode="reflect")))


def steered(self: Block, x: Tensor) -> Tensor:
    y = self.conv(x)
    return cast(Tensor, self.conv(y) if y[0].mean() > float(self.scale.mean()) - 0.5 else -y)


def shuffled(self: Block, x: Tensor) -> Tensor:
    """Each row is multiplied by another number."""
    return x * torch.arange(1, len(x) + 1).view(-1, 1, 1, 1)


FOLLOWED = [in_place, downsampled, read_wider, concatenated, chosen, aliased]
NOT_FOLLOWED = [
    stacked,
    written_elsewhere,
    up_and_down,
    gated,
    normalised,
    placed,
    written,
    reused,
    padded,
    steered,
    shuffled,
]


@pytest.mark.parametrize("function", FOLLOWED + NOT_FOLLOWED)
def test_branches_give_what_ordinary_passes_give(function: Callable[[Block, Tensor], Tensor]) -> None:
    """Residual sums, concatenation, writing in place, and all that needs more than boxes, twice in a row."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Block(function), nn.ReLU(inplace=True), nn.MaxPool2d(2)).eval()
    image = torch.randn(1, 3, 32, 24)
    incremental = assert_same(model, image, WindowMasks(5, 6, (32, 24), CPU))
    assert incremental.recording.num_steps > 1


@pytest.mark.parametrize("function", FOLLOWED)
def test_branches_are_followed_on_boxes(function: Callable[[Block, Tensor], Tensor]) -> None:
    """Less than half the multiplications are done where boxes can be followed."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Block(function), nn.MaxPool2d(2)).eval()
    image, masks = torch.randn(1, 3, 32, 24), WindowMasks(3, 6, (32, 24), CPU)
    incremental = assert_same(model, image, masks)
    images = hidden(image, masks, 5, 10)
    incremental.expect(image[0], 5)
    done = work_of(lambda: incremental.scores(flat, images))
    assert 0 < done < 0.5 * work_of(lambda: flat(model, images))


def test_preprocessing_in_the_model_is_followed() -> None:
    """The usual normalisation of channels treats each pixel by itself."""

    class Normalised(Wrapped):
        def forward(self, images: Tensor) -> Tensor:
            shift, scale = torch.rand(3), torch.rand(3) + 0.5
            return super().forward((images - shift[:, None, None]) / scale[None, :, None, None])

    torch.manual_seed(0)
    model = Normalised(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())).eval()
    image, masks = torch.rand(1, 3, 32, 32), WindowMasks(4, 8, (32, 32), CPU)
    incremental, whole = IncrementalFormat(Format(model), windows_of(masks)), image[0]
    with torch.inference_mode():
        for start in (0, 5):  # the numbers are other ones each time
            images = hidden(image, masks, start, start + 5)
            incremental.expect(whole, start)
            torch.manual_seed(start)
            found = incremental.scores(flat, images)
            torch.manual_seed(start)
            torch.testing.assert_close(found, flat(model, images), rtol=0, atol=1e-6)


def test_each_image_has_its_own_activations() -> None:
    """The next image is not pasted into the activations of the one before."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)).eval()
    masks = WindowMasks(4, 8, (24, 24), CPU)
    incremental = IncrementalFormat(Format(model), windows_of(masks))
    with torch.inference_mode():
        for number in range(3):
            image = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(number))
            whole = image[0]
            for start in (4, 0, 8):
                images = hidden(image, masks, start, start + 4)
                incremental.expect(whole, start)
                torch.testing.assert_close(incremental.scores(flat, images), flat(model, images), rtol=0, atol=1e-6)


def test_the_whole_image_goes_through_the_model_once() -> None:
    """After the first pass of an image nothing but boxes is computed."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)).eval()
    image, masks = torch.rand(1, 3, 64, 64), WindowMasks(4, 16, (64, 64), CPU)
    incremental, only = IncrementalFormat(Format(model), windows_of(masks)), image[0]

    def pass_from(start: int) -> None:
        incremental.expect(only, start)
        incremental.scores(flat, hidden(image, masks, start, start + 4))

    whole = work_of(lambda: model(image))
    first, second = work_of(lambda: pass_from(0)), work_of(lambda: pass_from(4))
    assert first - second == whole
    assert second == 4 * (6 * 6 * 27 * 4 + 8 * 8 * 36 * 4)


def test_volumes_are_followed_too() -> None:
    """Three axes work as two do."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(4, 4, (1, 3, 2)), nn.AvgPool3d(2)
    ).eval()
    image, masks = torch.randn(1, 1, 14, 20, 17), WindowMasks(4, 7, (14, 20, 17), CPU)
    incremental = assert_same(model, image, masks)
    assert incremental.recording.done < 0.5 * incremental.recording.full


def test_discs_are_followed_too() -> None:
    """What hides the image need not be a window."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 4, 5)).eval()
    assert_same(model, torch.randn(1, 3, 40, 30), RadialMasks(4, 7, (40, 30), CPU))


@pytest.mark.parametrize(
    "masks",
    [
        WindowMasks(5, 3, (20, 13), CPU),
        WindowMasks(9, 7, (8, 40), CPU),
        RadialMasks(6, 5, (33, 17), CPU),
        WindowMasks(4, 3, (5, 9, 8), CPU),
    ],
)
def test_boxes_of_masks(masks: Masks) -> None:
    """The boxes are those found pixel by pixel, at borders as well."""
    found, expected = boxes_of(masks), windows_of(masks)
    assert found.size.tolist() == expected.size.tolist()
    assert found.starts.tolist() == expected.starts.tolist()


# --- when it is used ------------------------------------------------------------------------------------------------


def large() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2), nn.Conv2d(32, 8, 3)).eval()


def made(
    model: nn.Module, size: int = 128, window: int = 16, score: Any = mean, device: torch.device = CPU
) -> IncrementalFormat | None:
    image = torch.rand(1, 3, size, size, device=device)
    with torch.inference_mode():
        form = exact_format(model, score, image)
        return incremental_format(form, score, image, WindowMasks(window, 16, (size, size), device), 4)


def test_it_is_used_where_it_gains() -> None:
    """A network of convolutions on a large image; what it hides is found from the masks."""
    model = large()
    before, modules = copy.deepcopy(model.state_dict()), [id(each) for each in model.modules()]
    incremental = made(model)
    assert incremental is not None
    assert incremental.describe() == "channels_last, 1 batch norms folded, incremental"
    assert [id(each) for each in model.modules()] == modules
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    image, masks = torch.rand(1, 3, 128, 128), WindowMasks(16, 16, (128, 128), CPU)
    with torch.inference_mode():
        for start in range(0, masks.num_masks + 1, 8):
            images = hidden(image, masks, start, start + 8)
            incremental.expect(image[0], start)
            found, expected = incremental.scores(mean, images), mean(model, images)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


class Noisy(Wrapped):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + torch.rand(1) * 0.01


class Unwilling(Wrapped):
    """Wants to know where in the memory its input is."""

    def forward(self, images: Tensor) -> Tensor:
        assert images.numpy() is not None
        return super().forward(images)


class Leaving(Wrapped):
    """A part of what it computes are Python's numbers."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * float(images[1:].mean())


def test_it_is_not_used_where_it_does_not_gain() -> None:
    """Small images, large windows, no convolution, too little work."""
    assert made(large(), size=32) is None
    assert made(large(), window=100) is None
    assert made(nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU()).eval(), size=48) is None
    assert made(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 4), nn.Unflatten(1, (4, 1, 1))), size=64) is None


@pytest.mark.parametrize("kind", [Noisy, Unwilling])
def test_it_is_not_used_where_it_cannot_be(kind: type[nn.Module]) -> None:
    """Models with other scores each time, and those that want memory behind a tensor."""
    assert made(kind(large())) is None


def test_what_leaves_torch_is_computed_in_full() -> None:
    """A model that turns its input into Python numbers gets the right ones."""
    image, masks = torch.rand(1, 3, 16, 16), WindowMasks(3, 8, (16, 16), CPU)
    assert_same(Leaving(nn.Conv2d(3, 4, 3)).eval(), image, masks, batch=2)


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.Dropout2d(0.5), nn.RReLU()])
def test_what_is_random_is_not_followed(layer: nn.Module) -> None:
    """Random numbers are drawn for all pixels, as they would be otherwise."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), layer, nn.Conv2d(4, 4, 3)).train()
    image, masks = torch.rand(1, 3, 24, 24), WindowMasks(3, 8, (24, 24), CPU)
    incremental = IncrementalFormat(Format(model), windows_of(masks))
    with torch.inference_mode():
        images = hidden(image, masks, 0, 4)
        incremental.expect(image[0], 0)
        torch.manual_seed(0)
        found = incremental.scores(flat, images)
        torch.manual_seed(0)
        torch.testing.assert_close(found, flat(model, images), rtol=0, atol=1e-6)


def test_another_device_has_ordinary_passes() -> None:
    """It is made for CPUs."""
    image = torch.rand(1, 3, 128, 128, device="meta")
    masks = WindowMasks(16, 16, (128, 128), CPU)
    assert incremental_format(Format(large()), mean, image, masks, 4) is None


def test_a_step_that_is_known_is_not_repeated() -> None:
    """A recording knows a step by its function and its arguments, and forgets what followed one that changed."""
    calls: list[float] = []

    def add(first: Tensor, second: float) -> Tensor:
        calls.append(second)
        return first + second

    recording, image = Recording(), torch.zeros(2)
    for second in (1.0, 1.0, 3.0, 3.0):
        recording.rewind()
        middle = recording.result(add, image, second)
        assert recording.result(add, middle, 5.0).tolist() == [second + 5] * 2
    assert calls == [1.0, 5.0, 3.0, 5.0]
