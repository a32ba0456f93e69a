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


def test_nothing_is_shared_but_what_is_shared_within() -> None:
    """Training the copy moves no statistics of the model; a weight used in two places is one in the copy, too."""
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 3)).eval()
    model[2].weight = model[0].weight
    before = {name: value.clone() for name, value in model.state_dict().items()}
    copy = cast(nn.Sequential, randomized_copy(model, 0))
    assert copy[2].weight is copy[0].weight
    own = {id(value) for value in (*copy.parameters(), *copy.buffers())}
    assert not own & {id(value) for value in (*model.parameters(), *model.buffers())}
    copy.train()(IMAGES)
    assert copy[1].num_batches_tracked == 1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_use_the_new_weights(kind: type[nn.LSTM | nn.GRU | nn.RNN]) -> None:
    """They keep a second list of their weights, which must not be the model's."""
    model = kind(4, 5)
    copy = randomized_copy(model, 0)
    values = torch.rand(7, 2, 4)
    with torch.no_grad():
        expected, found = model(values)[0], copy(values)[0]
        assert (expected - found).abs().max() > 0.01
        rebuilt = kind(4, 5)
        rebuilt.load_state_dict(copy.state_dict())
        torch.testing.assert_close(found, rebuilt(values)[0])


def test_scores_of_a_deep_network_still_vary() -> None:
    """With batch norms that have seen data, the copy tells images apart far beyond rounding."""
    torch.manual_seed(0)
    layers = [each for _ in range(12) for each in (nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())]
    model = nn.Sequential(nn.Conv2d(3, 8, 3), *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    images = torch.rand(32, 3, 16, 16)
    with torch.no_grad():
        for _ in range(40):
            model(images)
        scores = randomized_copy(model.eval(), 0)(images).softmax(dim=1)
    assert scores.std(dim=0).max() > 1e-5
    assert scores.max() < 0.999
