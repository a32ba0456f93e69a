"""A tensor that stands for a batch of activations which are those of one image but for a box in each row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils import _pytree as pytree

from runner.saliency.reach import Boxes, Kernel, hull

LARGEST_PART = 0.5
"""Boxes that are a larger part of the pixels are not worth it: all pixels are computed."""

MOVE = 32
"""Multiplications of a convolution in the time in which a CPU copies a number."""

_aten = torch.ops.aten


class Recording:
    """The steps of the whole image through the model; a step that comes again is not computed again."""

    def __init__(self) -> None:
        self._steps: list[tuple[list[Any], Tensor]] = []
        self.rewind()

    def rewind(self) -> None:
        """Begin a forward pass."""
        self.num_steps = 0
        self.full = 0.0
        """Multiplications of the layers on boxes for each row of the batch, were they not on boxes."""
        self.done = 0.0
        """What they need on boxes."""

    def result(self, function: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Return what *function* gives for the whole image."""
        given = [function, *pytree.tree_leaves((args, kwargs))]
        known, result = self._steps[self.num_steps] if self.num_steps < len(self._steps) else ([], None)
        if result is None or len(known) != len(given) or not all(map(_is_equal, known, given)):
            del self._steps[self.num_steps :]
            result = function(*args, **kwargs)
            self._steps.append((given, result))
        self.num_steps += 1
        return result

    def count(self, full: float, done: float) -> None:
        """Add the work of a layer."""
        self.full += full
        self.done += done


def _is_equal(known: Any, given: Any) -> bool:
    if known is given:
        return True
    if isinstance(known, Tensor) and isinstance(given, Tensor):
        return known.dtype == given.dtype and torch.equal(known, given)
    return type(known) is type(given) and bool(known == given)


class Patched(Tensor):
    """Activations (B, C, *size) of which only those in a box of each row are not those of the whole image.

    The model's own code runs on it. Convolutions, pooling and what treats each pixel by itself make boxes out of boxes.
    For anything else, and where boxes have become too large, it turns into an ordinary tensor.
    """

    recording: Recording
    base: Tensor
    """Of the whole image, (1, C, *size)."""
    patch: Tensor
    """What is in the boxes, (B, C, *size of a box)."""
    boxes: Boxes
    _full: Tensor | None

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, recording: Recording, base: Tensor, patch: Tensor, boxes: Boxes) -> Patched:
        """Return what looks like a tensor with all pixels."""
        self: Patched = Tensor._make_wrapper_subclass(
            cls,
            (len(patch), *base.shape[1:]),
            strides=(base.numel(), *base.stride()[1:]),
            dtype=base.dtype,
            device=base.device,
        )
        self.recording, self.base, self.patch, self.boxes, self._full = recording, base, patch, boxes, None
        return self

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Compute boxes if that can be, else all pixels."""
        del types
        kwargs = kwargs or {}
        result = (_windowed if func in _LAYERS else _pixelwise)(func, args, kwargs)
        if result is None:
            args, kwargs = pytree.tree_map_only(Patched, Patched.full, (args, kwargs))
            result = func(*args, **kwargs)
        return result

    @property
    def lengths(self) -> torch.Size:
        """Pixels along each axis."""
        return self.base.shape[2:]

    @property
    def is_full(self) -> bool:
        """Whether it is an ordinary tensor by now, to which something may have been written."""
        return self._full is not None

    def full(self) -> Tensor:
        """Return all pixels, (B, C, *size); always the same tensor."""
        if self._full is None:
            self._full = _empty(self.base, len(self.patch), self.lengths).copy_(self.base)
            for row, place, patch in zip(self._full, self.boxes, self.patch, strict=True):
                row[place] = patch
            self.recording.count(0, MOVE * self.base.numel())
        return self._full

    def at(self, boxes: Boxes) -> Tensor:
        """Return what is in boxes that contain the own ones, (B, C, *size of a box)."""
        return self.patch if boxes.is_same(self.boxes) else self.crop(boxes, self.base, self.boxes)

    def crop(self, boxes: Boxes, base: Tensor, own: Boxes) -> Tensor:
        """Return what is in *boxes* of the padded *base*, in which the patch is at *own*."""
        out = _empty(base, len(self.patch), boxes.size.tolist())
        for row, place, inner, patch in zip(out, boxes, own.within(boxes), self.patch, strict=True):
            row.copy_(base[0][place])
            row[inner] = patch
        return out


def _given(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return all arguments of *func* by name, those included that were left out."""
    arguments = func._schema.arguments
    defaults = {each.name: each.default_value for each in arguments if each.has_default_value()}
    return defaults | dict(zip((each.name for each in arguments), args, strict=False)) | dict(kwargs)


def _empty(like: Tensor, rows: int, lengths: Sequence[int]) -> Tensor:
    """Return an empty tensor (rows, C, *lengths) in the memory format of another."""
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(like.ndim, torch.contiguous_format)
    memory_format = last if like.is_contiguous(memory_format=last) else torch.contiguous_format
    shape = (rows, like.shape[1], *lengths)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=memory_format)


# --- what treats each pixel by itself -------------------------------------------------------------------------------


def _pixelwise(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """Return what *func* gives, if it treats each pixel by itself."""
    leaves = pytree.tree_leaves((args, kwargs))
    patched = [each for each in leaves if isinstance(each, Patched)]
    first, lengths = patched[0], patched[0].lengths
    if any(each.is_full or each.lengths != lengths for each in patched) or not _is_pixelwise(func, args, leaves):
        return None
    boxes = hull([each.boxes for each in patched], lengths)
    if boxes.part(lengths) > LARGEST_PART:
        return None
    in_place = func._schema.is_mutable
    base_args, base_kwargs = pytree.tree_map_only(Patched, lambda each: each.base, (args, kwargs))
    base = first.recording.result(*((_on_copy, func) if in_place else (func,)), *base_args, **base_kwargs)
    own_args, own_kwargs = pytree.tree_map_only(Patched, lambda each: each.at(boxes), (args, kwargs))
    patch = func(*own_args, **own_kwargs)
    first.recording.count(MOVE * base.numel(), MOVE * base.numel() * boxes.part(lengths))
    if in_place:
        first.base, first.patch, first.boxes = base, patch, boxes
    return first if patch is first.patch else Patched(first.recording, base, patch, boxes)


def _is_pixelwise(func: Any, args: tuple[Any, ...], leaves: Sequence[Any]) -> bool:
    """Tell whether *func* treats each pixel by itself, the same way everywhere and in each row."""
    if func in _PER_CHANNEL:
        return isinstance(args[0], Patched) and not _given(func, args, {}).get(_PER_CHANNEL[func])
    plain = [each for each in leaves if isinstance(each, Tensor) and not isinstance(each, Patched)]
    if func is _aten.cat.default:
        return not plain and args[1:] == (1,)
    if torch.Tag.pointwise not in func.tags or torch.Tag.nondeterministic_seeded in func.tags:
        return False
    if func._schema.is_mutable and not func._schema.name.endswith("_"):  # has an argument "out"
        return False
    num_axes = next(len(each.lengths) for each in leaves if isinstance(each, Patched))
    return all(_is_same_everywhere(each, num_axes) for each in plain)


def _is_same_everywhere(values: Tensor, num_axes: int) -> bool:
    """Tell whether values have at most an axis for channels."""
    return values.ndim <= num_axes + 2 and all(
        length == 1 for axis, length in enumerate(reversed(values.shape)) if axis != num_axes
    )


def _on_copy(func: Any, first: Tensor, *others: Any, **kwargs: Any) -> Tensor:
    """Do on a copy what *func* does in place."""
    result: Tensor = func(first.clone(), *others, **kwargs)
    return result


_PER_CHANNEL = {
    _aten.batch_norm.default: "training",
    _aten.dropout.default: "train",
    _aten.feature_dropout.default: "train",
    _aten.prelu.default: "",
    _aten.hardswish.default: "",
    _aten.hardswish_.default: "",
    _aten.to.dtype: "",
    _aten.contiguous.default: "",
}
"""What treats each pixel by itself without saying so, and the argument with which it does not."""


# --- convolutions and pooling ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """A convolution or a pooling."""

    kernel: Kernel
    work: int
    """Multiplications for each number that comes out, about."""
    value: float
    """Of the padding."""
    apply: Callable[[Tensor], Tensor]
    """The same without padding."""


def _windowed(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """Return what a convolution or a pooling gives for boxes."""
    image, others = args[0], args[1:]
    if not isinstance(image, Patched) or image.is_full or any(isinstance(each, Patched) for each in others):
        return None
    layer = _LAYERS[func](_given(func, args, kwargs), len(image.lengths))
    if layer is None:
        return None
    base = image.recording.result(func, image.base, *others, **kwargs)
    lengths = base.shape[2:]
    boxes = layer.kernel.reached(image.boxes, lengths)
    if boxes.part(lengths) > LARGEST_PART:
        return None
    padded = image.recording.result(
        functional.pad, image.base, layer.kernel.margins(image.lengths, lengths), value=layer.value
    )
    own = Boxes(image.boxes.starts + layer.kernel.padding, image.boxes.size)
    crop = image.crop(layer.kernel.read(boxes), padded, own)
    work = layer.work * base.numel()
    image.recording.count(work, work * boxes.part(lengths) + MOVE * crop[0].numel())
    return Patched(image.recording, base, layer.apply(crop), boxes)


def _convolution(given: Mapping[str, Any], num_axes: int) -> Layer:
    weight, stride, padding, dilation = (given[name] for name in ("weight", "stride", "padding", "dilation"))
    size = (np.array(weight.shape[2:]) - 1) * _each(dilation, num_axes) + 1
    if isinstance(padding, str):
        padding = (size - 1) // 2 if padding == "same" else 0
    convolve = {2: torch.conv2d, 3: torch.conv3d}[num_axes]
    return Layer(
        Kernel(size, _each(stride, num_axes), _each(padding, num_axes)),
        weight[0].numel(),
        0.0,
        lambda crop: convolve(crop, weight, given["bias"], stride, 0, dilation, given["groups"]),
    )


def _max_pool(given: Mapping[str, Any], num_axes: int) -> Layer:
    size, dilation = (_each(given[name], num_axes) for name in ("kernel_size", "dilation"))
    stride = _each(given["stride"] or size, num_axes)
    pool = {2: torch.max_pool2d, 3: torch.max_pool3d}[num_axes]
    return Layer(
        Kernel((size - 1) * dilation + 1, stride, _each(given["padding"], num_axes)),
        MOVE,
        -math.inf,
        lambda crop: pool(crop, size.tolist(), stride.tolist(), 0, dilation.tolist()),
    )


def _average_pool(given: Mapping[str, Any], num_axes: int) -> Layer | None:
    size, padding = (_each(given[name], num_axes) for name in ("kernel_size", "padding"))
    stride = _each(given["stride"] or size, num_axes)
    if given["ceil_mode"] or (padding.any() and not given["count_include_pad"]):
        return None  # at borders it divides by another number
    pool = {2: functional.avg_pool2d, 3: functional.avg_pool3d}[num_axes]
    return Layer(
        Kernel(size, stride, padding),
        MOVE,
        0.0,
        lambda crop: pool(crop, size.tolist(), stride.tolist(), divisor_override=given["divisor_override"]),
    )


def _each(value: Any, num_axes: int) -> NDArray[np.int64]:
    return np.broadcast_to(np.array(value, dtype=np.int64), (num_axes,))


_LAYERS: dict[Any, Callable[[Mapping[str, Any], int], Layer | None]] = {
    _aten.conv2d.default: _convolution,
    _aten.conv2d.padding: _convolution,
    _aten.conv3d.default: _convolution,
    _aten.conv3d.padding: _convolution,
    _aten.max_pool2d.default: _max_pool,
    _aten.max_pool3d.default: _max_pool,
    _aten.avg_pool2d.default: _average_pool,
    _aten.avg_pool3d.default: _average_pool,
}
"""The layers that make boxes out of boxes, as inference mode knows them."""
