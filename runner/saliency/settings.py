"""What decides how the maps of a run come out: parameters and weights."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from runner.container import LightningContainer

_WITHOUT_EFFECT = ("saliency_limit", "saliency_batch_size", "saliency_strategy", "saliency_overlays")
"""Parameters that change how many maps there are or how fast they are made, but no map by more than rounding."""


def map_settings(container: LightningContainer, model: nn.Module) -> dict[str, Any]:
    """Return all that an existing map must have been made with to be kept, for JSON."""
    settings = {
        name: getattr(container, name)
        for name in sorted(container.param)
        if name.startswith("saliency_") and name not in _WITHOUT_EFFECT
    }
    return settings | {"weights": weights_digest(model)}


def weights_digest(model: nn.Module) -> str:
    """Return a SHA-256 of all parameters and buffers of *model*, with their names and types."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        if isinstance(value, Tensor):
            digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
