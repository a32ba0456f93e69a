"""Formats of the forward pass: the same scores, the user's model untouched."""

import copy
from typing import Any, cast

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

from runner.saliency.forward_format import Format, exact_format, fast_format, probed_batch_size

IMAGE = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))


def softmax(model: nn.Module, images: Tensor) -> Tensor:
    return cast(Tensor, model(images)).flatten(1).softmax(dim=1)


def with_statistics(model: nn.Module) -> nn.Module:
    """Give batch norms statistics that matter, and switch to evaluation."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return model.eval()


class Sequence(LightningModule):
    """Two convolutions with batch norm, the way most are written."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 4, 3, bias=False),
            nn.BatchNorm2d(4),
        )

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.features(images)).mean(dim=(2, 3))


class Branching(Sequence):
    """torch.fx cannot follow the whole, but its parts."""

    def forward(self, images: Tensor) -> Tensor:
        if images.mean() > 100:
            return images.mean(dim=(2, 3))
        return super().forward(images)


class Viewing(Sequence):
    """``view`` works only on channels that come first."""

    def forward(self, images: Tensor) -> Tensor:
        features = cast(Tensor, self.features(images))
        return features.view(len(images), -1)[:, :4]


class Twice(Sequence):
    """The first convolution is used a second time, without its batch norm."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + cast(Tensor, self.features[0](images)).mean(dim=(2, 3))[:, :4]


class Hooked(Sequence):
    """Something watches what comes out of the first convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.features[0].register_forward_hook(lambda module, args, output: output * 2)


class Noisy(Sequence):
    """No two forward passes are the same."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + torch.rand(4)


class Volumes(LightningModule):
    """The same for volumes."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4))

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.features(images)).mean(dim=(2, 3, 4))


class Dense(LightningModule):
    """No convolution at all."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Flatten(), nn.LazyLinear(4))
        self.head(IMAGE)

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.head(images))


@pytest.mark.parametrize(
    ("kind", "num_folded", "channels_last"),
    [
        (Sequence, 2, True),
        (Branching, 2, True),
        (Viewing, 2, False),
        (Twice, 1, True),
        (Hooked, 1, True),
        (Noisy, 0, False),
        (Dense, 0, False),
    ],
)
def test_exact_formats_keep_the_scores(kind: type[nn.Module], num_folded: int, channels_last: bool) -> None:
    """Whatever can be folded is, whatever cannot be is left, and the scores stay what they were."""
    torch.manual_seed(0)
    model = with_statistics(kind())
    with torch.inference_mode():
        form = exact_format(model, softmax, IMAGE)
        images = torch.rand(5, 3, 24, 24)
        if kind is not Noisy:
            torch.testing.assert_close(form.scores(softmax, images), softmax(model, images), atol=1e-5, rtol=0)
    assert form.num_folded == num_folded
    assert (form.memory_format == torch.channels_last) is channels_last
    norms = [each for each in form.model.modules() if isinstance(each, nn.BatchNorm2d)]
    if kind in (Sequence, Branching, Viewing):
        assert not norms
        assert type(form.model) is kind


def test_volumes_are_folded_too() -> None:
    """Convolutions over three axes have their batch norm folded."""
    model = with_statistics(Volumes())
    volume = torch.rand(1, 1, 8, 8, 8)
    with torch.inference_mode():
        form = exact_format(model, softmax, volume)
        torch.testing.assert_close(form.scores(softmax, volume), softmax(model, volume), atol=1e-5, rtol=0)
    assert form.num_folded == 1
    assert form.memory_format == torch.channels_last_3d


@pytest.mark.parametrize("kind", [Sequence, Branching, Hooked])
def test_the_model_is_not_changed(kind: type[nn.Module]) -> None:
    """Weights, buffers, modules, hooks, modes and gradients of the user's model stay as they are, to the bit."""
    model = with_statistics(kind())
    before = copy.deepcopy(model.state_dict())
    modules = dict(model.named_modules())
    strides = {name: each.stride() for name, each in model.named_parameters()}
    with torch.inference_mode():
        exact_format(model, softmax, IMAGE)
    assert {name: id(each) for name, each in model.named_modules()} == {
        name: id(each) for name, each in modules.items()
    }
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert {name: each.stride() for name, each in model.named_parameters()} == strides
    assert all(each.requires_grad for each in model.parameters())
    model.train()
    model(IMAGE).sum().backward()  # it can still be trained
    assert all(each.grad is not None for each in model.parameters())


def test_a_model_in_training_is_not_folded() -> None:
    """Batch norms that still count statistics are left."""
    with torch.no_grad():
        assert exact_format(Sequence().train(), softmax, IMAGE).num_folded == 0


def test_the_copy_keeps_the_trainer_and_attributes() -> None:
    """What forward() looks up on the module, even the Trainer, is there in the copy as well."""

    class Asking(Sequence):
        scale = 2.0

        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) * self.scale + float(self.trainer.max_epochs or 0)

    model = with_statistics(Asking())
    model.trainer = Trainer(max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False)  # type: ignore[assignment]
    with torch.inference_mode():
        form = exact_format(model, lambda module, images: module(images), IMAGE)
        torch.testing.assert_close(form.model(IMAGE), model(IMAGE), atol=1e-5, rtol=0)
    assert form.num_folded == 2


def test_errors_of_the_model_come_through() -> None:
    """What raises in the plain model is the user's to see."""

    def broken(model: nn.Module, images: Tensor) -> Tensor:
        raise KeyError("head")

    with pytest.raises(KeyError, match="head"):
        exact_format(Sequence().eval(), broken, IMAGE)


@pytest.mark.parametrize(("kind", "expected"), [(Dense, 512), (Sequence, 256)])
def test_the_batch_size_follows_from_memory(kind: type[nn.Module], expected: int) -> None:
    """The probe gives the same power of two whenever it is asked, and leaves no hook behind."""
    model = with_statistics(kind())
    with torch.inference_mode():
        form = Format(model)
        sizes = {probed_batch_size(form, softmax, IMAGE) for _ in range(3)}
    assert sizes == {expected}
    assert not any(each._forward_hooks for each in model.modules())


def test_larger_images_have_smaller_batches() -> None:
    """A batch of large images is smaller, down to a least one."""
    model = with_statistics(Sequence())
    with torch.inference_mode():
        sizes = [probed_batch_size(Format(model), softmax, torch.zeros(1, 3, n, n)) for n in (16, 64, 256, 1024)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1] == 4


def test_fast_agrees_with_exact() -> None:
    """The fast format gives nearly the same scores, whatever this machine can do to make it fast."""
    model = with_statistics(Sequence())
    images = torch.rand(4, 3, 24, 24)
    with torch.inference_mode():
        exact = exact_format(model, softmax, IMAGE)
        fast = fast_format(exact, softmax, images)
        torch.testing.assert_close(fast.scores(softmax, images), exact.scores(softmax, images), atol=1e-2, rtol=0)
        assert fast.scores(softmax, images).dtype == torch.float32


def test_what_cannot_be_compiled_is_not(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the compiler fails, the model runs without it and a warning says so."""

    def broken(*args: Any, **kwargs: Any) -> Any:
        def call(images: Tensor) -> Tensor:
            raise RuntimeError("no compiler today")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    model = with_statistics(Sequence())
    with torch.inference_mode():
        fast = fast_format(Format(model), softmax, IMAGE)
    assert fast.model is model
    assert "no compiler today" in caplog.text


class Tied(Sequence):
    """Uses the weights of the first convolution a second time, past the module."""

    def forward(self, images: Tensor) -> Tensor:
        back = nn.functional.conv_transpose2d(
            images.mean(dim=1, keepdim=True).expand(-1, 8, -1, -1), cast(Tensor, self.features[0].weight)
        )
        return super().forward(images) + back.mean(dim=(2, 3)).repeat(1, 2)[:, :4]


class InPlace(Sequence):
    """Writes into the images that it gets."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.mul_(2).sub_(1))


class NoSingles(Sequence):
    """Cannot take a single image."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(self.features(images), 1).squeeze()


class Refusing(Sequence):
    """Takes no image with values below 0."""

    def forward(self, images: Tensor) -> Tensor:
        assert images.min() >= 0
        return super().forward(images)


class Batched(Sequence):
    """``view`` that works for a single image with the channels last, and for no other."""

    def forward(self, images: Tensor) -> Tensor:
        features = cast(Tensor, self.features(images))
        rows = features.view(features.shape[0] * features.shape[1], 1, *features.shape[2:])
        return rows.mean(dim=(1, 2, 3)).view(len(images), -1)


@pytest.mark.parametrize("kind", [Tied, InPlace, NoSingles, Refusing, Batched])
@pytest.mark.parametrize("first", [IMAGE, torch.zeros(1, 3, 24, 24)], ids=["image", "blank"])
def test_odd_models_are_read_right(kind: type[nn.Module], first: Tensor) -> None:
    """Whatever a model does, and even if the first image is blank, the format gives its scores for other images."""
    torch.manual_seed(0)
    model = with_statistics(kind())
    images = torch.rand(5, 3, 24, 24)
    with torch.inference_mode():
        before = first.clone()
        form = exact_format(model, softmax, first)
        probed_batch_size(form, softmax, first)
        assert torch.equal(first, before)
        torch.testing.assert_close(
            form.scores(softmax, images.clone()), softmax(model, images.clone()), atol=1e-5, rtol=0
        )


def test_torchscript_is_left_as_it_is() -> None:
    """A model that is TorchScript, or has a part that is, keeps its scores and its weights."""
    torch.manual_seed(0)
    inner = torch.jit.script(with_statistics(Sequence().features))
    for model in (inner, nn.Sequential(inner, nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)).eval()):
        before = copy.deepcopy(model.state_dict())
        with torch.inference_mode():
            form = exact_format(model, lambda module, images: module(images).mean(dim=(2, 3)), IMAGE)
            assert probed_batch_size(form, lambda module, images: module(images).mean(dim=(2, 3)), IMAGE) <= 64
            torch.testing.assert_close(form.model(IMAGE), model(IMAGE), atol=1e-5, rtol=0)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
