"""A model that knows nothing, to compare maps with."""

from __future__ import annotations

import torch
from torch import nn

from runner.saliency.forward_format import clone_modules


def randomized_copy(model: nn.Module, seed: int) -> nn.Module:
    """Return a copy of *model* with random weights, for the model parameter randomisation test.

    Adebayo et al. 2018 (arXiv:1810.03292), all layers at once: a map that stays the same does not explain the model.
    Weights are permuted within each tensor, which keeps their scale, so that scores neither vanish nor saturate as they
    may after a new initialisation. Running statistics of batch norms stay: they belong to the scale, too.

    Args:
        model: Is not changed, nor are torch's random generators.
        seed: Of the permutations.

    Raises:
        NotImplementedError: a part of the model is TorchScript.
    """
    copy = clone_modules(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False), torch.no_grad():  # gradient methods cannot use weights made in inference mode
        for module in copy.modules():
            if isinstance(module, torch.jit.ScriptModule):
                raise NotImplementedError("the weights of TorchScript modules cannot be replaced in a copy")
            for name, parameter in list(module._parameters.items()):
                if parameter is not None:
                    places = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
                    values = parameter.flatten()[places].view_as(parameter)
                    module._parameters[name] = nn.Parameter(values, requires_grad=False)
    return copy
