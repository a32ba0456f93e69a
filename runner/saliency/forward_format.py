"""The trained model in the format in which its forward passes are cheapest; the model itself is not changed."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

log = logging.getLogger(__name__)

Score = Callable[[nn.Module, Tensor], Tensor]
"""From a model and images (B, C, *size) to scores (B, K)."""

TOLERANCE = 1e-4
"""A format whose scores differ by more than this part of their range is not used: it computes something else."""

ACTIVATION_BYTES = {"cpu": 8 * 2**20, "cuda": 2**30}
"""What the largest layer's input and output may need for a batch. On a CPU they should stay in the caches, a GPU wants
large batches. Measured by ``tests/benchmarks/forward_formats.py``; far more is paid for with page faults."""

BATCH_SIZES = {"cpu": (4, 1024), "cuda": (16, 4096)}
"""Smallest and largest batch that is chosen."""

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


@dataclass(frozen=True)
class Format:
    """A model ready for many forward passes."""

    model: nn.Module
    memory_format: torch.memory_format = torch.contiguous_format
    """Of the weights, and so of what is between convolutions; images come with the channels first all the same."""
    autocast: torch.dtype | None = None
    """The type in which it computes where that is not its own."""
    num_folded: int = 0
    """How many batch norms were folded into the convolution before them."""

    def describe(self) -> str:
        """Return the format in a few words."""
        kind = "" if self.autocast is None else f", {str(self.autocast).removeprefix('torch.')}"
        return f"{str(self.memory_format).removeprefix('torch.')}, {self.num_folded} batch norms folded{kind}"

    def scores(self, score: Score, images: Tensor) -> Tensor:
        """Return the scores of *images*."""
        if self.autocast is None:
            return score(self.model, images)
        with torch.autocast(images.device.type, self.autocast):
            return score(self.model, images).float()


def exact_format(model: nn.Module, score: Score, image: Tensor) -> Format:
    """Return the cheapest format that gives the scores of *model* but for rounding.

    Batch norms are folded into the convolutions whose output they get, and convolutions have their channels last. Each
    is checked on images of noise as well as on *image*; what raises or gives other scores is left out, as for a model
    that calls ``view`` where only ``reshape`` works with that format.

    Args:
        model: In evaluation mode.
        score: Its scores.
        image: One image of the size to come, (1, C, *size).
    """
    plain = Format(model)
    images, expected = _probe(plain, score, image)
    pairs = _foldable_pairs(model, score, images)
    last = _CHANNELS_LAST.get(image.ndim)
    has_convolutions = any(isinstance(module, _CONVOLUTIONS[1:]) for module in model.modules())
    formats = [(pairs, last), ([], last), (pairs, None)] if has_convolutions and pairs else [([], last)]
    for folded, memory_format in formats if has_convolutions or pairs else []:
        candidate = _reformatted(model, memory_format or torch.contiguous_format, folded)
        if _agrees(candidate, score, images.clone(), expected):
            return candidate
    return plain


def _probe(plain: Format, score: Score, image: Tensor) -> tuple[Tensor, Tensor]:
    """Return images to compare formats on, (B, C, *size), and their scores.

    A blank image would hide what a format changes, so there is noise as well; without, where a model refuses that.
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(3, *image.shape[1:], generator=generator).to(image)
    noise = noise * noise.new_tensor([1, 0.2, 0.05]).view(3, *[1] * (image.ndim - 1))
    noise += noise.new_tensor([0, 0.5, 0]).view(3, *[1] * (image.ndim - 1))
    try:
        images = torch.cat([image, noise])
        return images, plain.scores(score, images.clone())  # models may write into what they get
    except Exception:  # of the model: if it is not the noise, it will raise again
        images = torch.cat([image, image.flip(-1), image / 2, image.flip(-2)])
        return images, plain.scores(score, images.clone())


def fast_format(exact: Format, score: Score, images: Tensor) -> Format:
    """Return a format that gives up the last digits: bfloat16 where the device computes in it, and ``torch.compile``.

    Args:
        exact: What to start from.
        score: The scores of its model.
        images: A batch as they will come, (B, C, *size).
    """
    autocast = torch.bfloat16 if _computes_in_bfloat16(images.device) else None
    if images.device.type == "cuda" or any(map(shutil.which, ("c++", "g++", "clang++"))):
        model: Any = torch.compile(exact.model, dynamic=False)
        compiled = replace(exact, model=model, autocast=autocast)
        try:
            compiled.scores(score, images)
        except Exception as error:  # whatever the compiler raises, the model works without it
            log.warning("saliency: not compiled, %s: %s", type(error).__name__, str(error).split("\n")[0])
        else:
            return compiled
    return replace(exact, autocast=autocast)


@contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """Let float32 be float32, and the same at each repetition, on a GPU too."""
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Keep the Trainer's precision to the model: masks and sums stay in float32."""
    return torch.autocast(device.type, enabled=False)


def probed_batch_size(form: Format, score: Score, image: Tensor) -> int:
    """Return how many images a forward pass should take, a power of two.

    It follows from the memory of the largest layer for one image, and not from a clock: forward passes of another size
    differ in the last digits, so that a clock would give other maps on each rank and at each repetition.

    Args:
        form: The model.
        score: Its scores.
        image: One image of the size to come, (1, C, *size).
    """
    largest = image.nbytes
    is_scripted = any(isinstance(module, torch.jit.ScriptModule) for module in form.model.modules())

    def watch(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        nonlocal largest
        if not any(module.children()):
            largest = max(largest, sum(each.nbytes for each in (*args, output) if isinstance(each, Tensor)) // 2)

    with _watching(form.model, watch):
        form.scores(score, image.repeat(2, *[1] * (image.ndim - 1)))  # some models cannot take a single image
    smallest, biggest = BATCH_SIZES.get(image.device.type, BATCH_SIZES["cpu"])
    if is_scripted:  # whose layers cannot be watched
        biggest = min(biggest, 64)
    fitting = ACTIVATION_BYTES.get(image.device.type, ACTIVATION_BYTES["cpu"]) // largest
    return int(min(max(smallest, 2 ** (max(1, fitting).bit_length() - 1)), biggest))


@contextmanager
def _watching(model: nn.Module, watch: Callable[[nn.Module, tuple[Any, ...], Any], None]) -> Iterator[None]:
    """Call *watch* with input and output of each module of *model* but scripted ones, which have no hooks."""
    with ExitStack() as hooks:
        for module in model.modules():
            if not isinstance(module, torch.jit.ScriptModule):
                hooks.enter_context(module.register_forward_hook(watch))
        yield


Pair = tuple[nn.Module, nn.Module]
"""A convolution and the batch norm that gets its output."""


def _reformatted(model: nn.Module, memory_format: torch.memory_format, folded: Sequence[Pair]) -> Format:
    """Return a copy in another format, with some batch norms folded into the convolutions before them."""
    clones: dict[int, nn.Module] = {}
    clone = _clone(model, clones)
    new: dict[int, nn.Module] = {}
    for convolution, norm in folded:
        new[id(clones[id(convolution)])] = fuse_conv_bn_eval(convolution, norm)  # type: ignore[arg-type,type-var]
        new[id(clones[id(norm)])] = nn.Identity()
    for module in list(clone.modules()):
        if not isinstance(module, torch.jit.ScriptModule):
            for name, child in module._modules.items():
                module._modules[name] = new.get(id(child), child)
    if memory_format != torch.contiguous_format:
        for module in clone.modules():
            weight = module._parameters.get("weight") if isinstance(module, _CONVOLUTIONS[1:]) else None
            if weight is not None and not isinstance(module, torch.jit.ScriptModule):
                # contiguous() leaves weights of one channel as they are, which torch then takes for channels first
                last = torch.empty_like(weight, memory_format=_CHANNELS_LAST[weight.ndim]).copy_(weight.detach())
                module._parameters["weight"] = nn.Parameter(last, requires_grad=False)
    return Format(clone, memory_format, num_folded=len(folded))


def clone_modules(model: nn.Module) -> nn.Module:
    """Return a new tree of modules over the same parameters, whose parts can be replaced without a trace in *model*."""
    return _clone(model, {})


def _clone(module: nn.Module, known: dict[int, nn.Module]) -> nn.Module:
    if isinstance(module, torch.jit.ScriptModule):
        return module
    if id(module) not in known:
        clone = known[id(module)] = object.__new__(type(module))
        # _modules and _parameters are dicts, and so copied; lists and sets as well, forward() may write into them
        state = {
            name: value.copy() if type(value) in (dict, list, set) else value for name, value in vars(module).items()
        }
        clone.__dict__.update(state)
        for name, child in module._modules.items():
            clone._modules[name] = None if child is None else _clone(child, known)
    return known[id(module)]


def _foldable_pairs(model: nn.Module, score: Score, images: Tensor) -> list[Pair]:
    """Return the convolutions and batch norms to fold: those that are called once, one with the other's output.

    A forward pass is watched, instead of torch.fx following the code: that would change ``nn.Module`` for all threads
    meanwhile, leave its proxies in what the model remembers, and end at the first branch.
    """
    produced: dict[int, tuple[nn.Module, Tensor]] = {}
    calls: Counter[nn.Module] = Counter()
    pairs: list[Pair] = []

    def watch(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        calls[module] += 1
        if isinstance(module, _CONVOLUTIONS):
            produced[id(output)] = module, output  # kept, so that no other tensor gets the number
        elif isinstance(module, _BATCH_NORMS) and args and id(args[0]) in produced:
            pairs.append((produced[id(args[0])][0], module))

    with _watching(model, watch):
        score(model, images.clone())
    return [pair for pair in pairs if calls[pair[0]] == calls[pair[1]] == 1 and _is_foldable(*pair)]


def _is_foldable(convolution: nn.Module, norm: nn.Module) -> bool:
    kinds: dict[type[nn.Module], type[nn.Module]] = dict(zip(_CONVOLUTIONS, _BATCH_NORMS, strict=True))
    if kinds.get(type(convolution)) is not type(norm) or norm.training or norm.running_mean is None:
        return False
    return not any(each._forward_hooks or each._forward_pre_hooks for each in (convolution, norm))


def _agrees(candidate: Format, score: Score, image: Tensor, expected: Tensor) -> bool:
    try:
        scores = candidate.scores(score, image)
    except Exception:  # of the model's own code, for instance view() on channels that are last
        log.debug("saliency: %s raises", candidate.describe(), exc_info=True)
        return False
    bound = TOLERANCE * max(1.0, float(expected.nan_to_num(0, 0, 0).abs().max()))
    return scores.shape == expected.shape and bool(
        torch.isclose(scores, expected, rtol=0, atol=bound, equal_nan=True).all()
    )


def _computes_in_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
