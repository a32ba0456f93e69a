"""A copy with random weights, and the model as it was."""

from typing import cast

import pytest
import torch
from pytorch_lightning import Trainer
from torch import nn

from runner.saliency.randomization import randomized_copy
from tests.saliency_samples import ConvModel

IMAGES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_the_copy_predicts_something_else() -> None:
    """Every weight tensor is permuted: other scores, of the same scale, the same for the same seed."""
    model = ConvModel().eval()
    first, again, other = (randomized_copy(model, seed) for seed in (0, 0, 1))
    with torch.no_grad():
        scores, random = model(IMAGES), first(IMAGES)
        assert torch.equal(random, again(IMAGES))
        assert not torch.equal(random, other(IMAGES))
    assert (scores - random).abs().max() > 0.1
    assert 0.1 < random.std() / scores.std() < 10
    for name, value in model.named_parameters():
        permuted = first.get_parameter(name)
        assert torch.equal(permuted.flatten().sort().values, value.flatten().sort().values)


def test_model_and_generators_are_not_touched() -> None:
    """Weights, statistics, modes, the Trainer and torch's random state stay as they are."""
    model = ConvModel().eval()
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    model.trainer = trainer
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    copy = cast(ConvModel, randomized_copy(model, 0))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(each.requires_grad for each in model.parameters())
    assert copy.trainer is trainer
    assert not copy.training
    with torch.inference_mode():
        randomized_copy(nn.Sequential(nn.Linear(4, 4, bias=False)), 0)


def test_torchscript_cannot_be_randomized() -> None:
    """The weights of a scripted part are the user's own: there is no copy, and they stay."""
    scripted = torch.jit.script(nn.Sequential(nn.Linear(4, 4)))
    before = {name: value.clone() for name, value in scripted.state_dict().items()}
    with pytest.raises(NotImplementedError, match="TorchScript"):
        randomized_copy(nn.Sequential(nn.Linear(4, 4), scripted), 0)
    assert all(torch.equal(value, before[name]) for name, value in scripted.state_dict().items())
