"""The trained model in the format in which its forward passes are cheapest; the model itself is not changed."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

log = logging.getLogger(__name__)

Score = Callable[[nn.Module, Tensor], Tensor]
"""From a model and images (B, C, *size) to scores (B, K)."""

TOLERANCE = 1e-4
"""A format whose scores differ by more than this part of their range is not used: it computes something else."""

ACTIVATION_BYTES = {"cpu": 13 * 2**20, "cuda": 2**30}
"""What the largest layer's input and output may need for a batch. On a CPU they should stay in the caches, a GPU wants
large batches. Measured by ``tests/benchmarks/forward_formats.py``."""

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

    Batch norms are folded into the convolutions before them where ``torch.fx`` can follow the model, and convolutions
    have their channels last. Each is checked on *image*; what raises or gives other scores is left out, as
    for a model that calls ``view`` where only ``reshape`` works with that format.

    Args:
        model: In evaluation mode.
        score: Its scores.
        image: One image of the size to come, (1, C, *size).
    """
    plain = Format(model)
    expected = plain.scores(score, image)
    last = _CHANNELS_LAST.get(image.ndim)
    has_convolutions = any(isinstance(module, _CONVOLUTIONS[1:]) for module in model.modules())
    for fold, memory_format in ((True, last), (False, last), (True, None)):
        if memory_format is not None and not has_convolutions:
            continue
        candidate = _reformatted(model, memory_format or torch.contiguous_format, fold=fold)
        if candidate is not None and _agrees(candidate, score, image, expected):
            return candidate
    return plain


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

    def watch(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        nonlocal largest
        if not any(module.children()):
            largest = max(largest, sum(each.nbytes for each in (*args, output) if isinstance(each, Tensor)))

    with ExitStack() as hooks:
        for module in form.model.modules():
            hooks.enter_context(module.register_forward_hook(watch))
        form.scores(score, image)
    smallest, biggest = BATCH_SIZES.get(image.device.type, BATCH_SIZES["cpu"])
    fitting = ACTIVATION_BYTES.get(image.device.type, ACTIVATION_BYTES["cpu"]) * len(image) // largest
    return int(min(max(smallest, 2 ** (max(1, fitting).bit_length() - 1)), biggest))


def _reformatted(model: nn.Module, memory_format: torch.memory_format, *, fold: bool) -> Format | None:
    """Return a copy in another format; None where there is nothing to fold and nothing else was asked for."""
    clone = clone_modules(model)
    num_folded = _fold(clone) if fold else 0
    if fold and not num_folded:
        return None
    if memory_format != torch.contiguous_format:
        for module in clone.modules():
            if isinstance(module, _CONVOLUTIONS[1:]) and module.weight.ndim in _CHANNELS_LAST:
                weight = module.weight.detach().contiguous(memory_format=_CHANNELS_LAST[module.weight.ndim])
                module._parameters["weight"] = nn.Parameter(weight, requires_grad=False)
    return Format(clone, memory_format, num_folded=num_folded)


def clone_modules(model: nn.Module) -> nn.Module:
    """Return a new tree of modules over the same parameters, whose parts can be replaced without a trace in *model*."""
    return _clone(model, {})


def _clone(module: nn.Module, known: dict[int, nn.Module]) -> nn.Module:
    if isinstance(module, torch.jit.ScriptModule):
        return module
    if id(module) not in known:
        clone = known[id(module)] = object.__new__(type(module))
        # containers as well, because forward() may write into them while torch.fx follows it
        state = {
            name: value.copy() if type(value) in (dict, list, set) else value for name, value in vars(module).items()
        }
        clone.__dict__.update(state)
        for name, child in module._modules.items():
            clone._modules[name] = None if child is None else _clone(child, known)
    return known[id(module)]


def _fold(module: nn.Module) -> int:
    """Fold batch norms into the convolutions before them, in place; return how many.

    ``torch.fx`` only finds the pairs. Where it cannot follow a module, it tries the parts of it.
    """
    try:
        graph = fx.Tracer().trace(module)
    except Exception:  # torch.fx raises whatever the code of the module does with its proxies
        return sum(_fold(child) for child in module.children())
    calls = [node for node in graph.nodes if node.op == "call_module"]
    counts = Counter(node.target for node in calls)
    modules = dict(module.named_modules())
    num_folded = 0
    for node in calls:
        before = node.args[0] if node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
            continue
        pair = (str(before.target), str(node.target))
        if counts[before.target] == counts[node.target] == 1 and _is_foldable(modules[pair[0]], modules[pair[1]]):
            fused = fuse_conv_bn_eval(modules[pair[0]], modules[pair[1]])
            _replace(module, pair[0], fused)
            _replace(module, pair[1], nn.Identity())
            num_folded += 1
    return num_folded


def _is_foldable(convolution: nn.Module, norm: nn.Module) -> bool:
    kinds: dict[type[nn.Module], type[nn.Module]] = dict(zip(_CONVOLUTIONS, _BATCH_NORMS, strict=True))
    if kinds.get(type(convolution)) is not type(norm) or norm.training or norm.running_mean is None:
        return False
    return not any(each._forward_hooks or each._forward_pre_hooks for each in (convolution, norm))


def _replace(root: nn.Module, name: str, new: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    root.get_submodule(parent)._modules[last] = new


def _agrees(candidate: Format, score: Score, image: Tensor, expected: Tensor) -> bool:
    try:
        scores = candidate.scores(score, image)
    except Exception:  # of the model's own code, for instance view() on channels that are last
        return False
    bound = TOLERANCE * max(1.0, float(expected.nan_to_num(0, 0, 0).abs().max()))
    return scores.shape == expected.shape and bool(
        torch.isclose(scores, expected, rtol=0, atol=bound, equal_nan=True).all()
    )


def _computes_in_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
