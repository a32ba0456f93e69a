"""A model that knows nothing, to compare maps with."""

from __future__ import annotations

import torch
from torch import nn

from runner.saliency.forward_format import clone_modules


def randomized_copy(model: nn.Module, seed: int) -> nn.Module:
    """Return a copy of *model* with random weights, for the model parameter randomisation test.

    Adebayo et al. 2018 (arXiv:1810.03292), all layers at once: a map that stays the same does not explain the model.
    Weights are permuted within each tensor instead of initialised anew, and running statistics of batch norms stay:
    both belong to the scale of the activations, and without it scores hardly vary and maps end up as rounding. Over
    the masks of an image, the scores of four trained networks with 4 to 20 layers vary by 5e-4 to 7e-3 this way, and by
    8e-7 to 3e-4 with new weights and statistics (standard deviations). Statistics taken anew from images would give
    0.01, but there are none here. A tensor of equal numbers stays as it is.

    Args:
        model: Is not changed, nor are torch's random generators. It may be attached to a Trainer, which is not copied.
        seed: Of the permutations.

    Returns:
        Other modules with parameters and buffers of their own, in the same modes on the same devices. Parameters that
        are one in *model* are one in the copy; they take no gradients.

    Raises:
        NotImplementedError: a part of the model is TorchScript.
    """
    copy = clone_modules(model)
    generator = torch.Generator().manual_seed(seed)
    permuted: dict[nn.Parameter, nn.Parameter] = {}
    with torch.inference_mode(False), torch.no_grad():  # gradient methods cannot use weights made in inference mode
        for module in copy.modules():
            if isinstance(module, torch.jit.ScriptModule):
                raise NotImplementedError("the weights of TorchScript modules cannot be replaced in a copy")
            for name, parameter in list(module._parameters.items()):
                if parameter is not None:
                    if parameter not in permuted:
                        places = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
                        values = parameter.flatten()[places].view_as(parameter)
                        permuted[parameter] = nn.Parameter(values, requires_grad=False)
                    module._parameters[name] = permuted[parameter]
            for name, buffer in module._buffers.items():
                module._buffers[name] = None if buffer is None else buffer.clone()
    return copy
