"""What models inherit: they get the container's values, and keep nothing else of it."""

import copy
import inspect
import pickle
from collections.abc import Callable

import pytest
import torch
from pytorch_lightning import LightningModule
from torch import nn

from runner import (
    InnerEyeInference,
    LightningContainer,
    LightningModuleWithOptimizer,
    LRSchedulerType,
    ModelExecutionMode,
    OptimizerType,
)


class Inner(LightningModuleWithOptimizer):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)


class Outer(LightningModuleWithOptimizer):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([nn.Sequential(Inner())])

    @property
    def inner(self) -> Inner:
        sequence = self.parts[0]
        assert isinstance(sequence, nn.Sequential)
        inner = sequence[0]
        assert isinstance(inner, Inner)
        return inner


class Evaluated(InnerEyeInference, LightningModule):
    pass


def make_container() -> LightningContainer:
    create: Callable[..., LightningContainer] = LightningContainer  # param types no constructor
    return create(
        num_epochs=7,
        l_rate=0.5,
        optimizer_type=OptimizerType.SGD,
        l_rate_scheduler=LRSchedulerType.MultiStep,
        l_rate_multi_step_milestones=[3],
    )


def optimizer_of(model: LightningModuleWithOptimizer) -> torch.optim.Optimizer:
    configured = model.configure_optimizers()
    assert isinstance(configured, dict)
    optimizer = configured["optimizer"]
    assert isinstance(optimizer, torch.optim.Optimizer)
    return optimizer


def test_a_model_has_defaults_before_it_gets_values() -> None:
    """Without a runner, for example in a notebook, the optimizer is InnerEye's default: Adam with 1e-4."""
    optimizer = optimizer_of(Inner())
    assert isinstance(optimizer, torch.optim.Adam)
    assert optimizer.defaults["lr"] == 1e-4


def test_a_model_and_the_models_inside_it_get_the_values_of_the_container() -> None:
    """The container's values arrive in the model and in modules of the kind at any depth."""
    model = Outer()
    model.use_parameters(make_container())
    for module in (model, model.inner):
        assert isinstance(optimizer_of(module), torch.optim.SGD)
        assert optimizer_of(module).defaults["lr"] == 0.5
        assert module._trainer_params.num_epochs == 7


def test_values_are_of_one_model_only() -> None:
    """Giving values to one model leaves other models at the defaults."""
    Inner().use_parameters(make_container())
    assert Inner()._optimizer_params.l_rate == 1e-4


def test_values_are_copied() -> None:
    """A later change of the container, even inside a list, does not change the model."""
    container, model = make_container(), Inner()
    model.use_parameters(container)
    container.l_rate = 0.1
    assert container.l_rate_multi_step_milestones is not None
    container.l_rate_multi_step_milestones.append(5)
    assert model._optimizer_params.l_rate == 0.5
    assert model._optimizer_params.l_rate_multi_step_milestones == [3]


def test_the_container_stays_out_of_the_model() -> None:
    """A model can be copied and pickled, and neither holds the container."""
    model = Outer()
    model.use_parameters(make_container())
    assert b"LightningContainer" not in pickle.dumps(model)
    assert copy.deepcopy(model)._optimizer_params.l_rate == 0.5
    assert all("params" not in name for name in model.state_dict())


def test_all_optimizer_parameters_count_as_read() -> None:
    """A model of this kind leaves no optimizer parameter without effect."""
    container = make_container()
    container.watch_reads()
    Inner().use_parameters(container)
    assert container.unread_optimizer_parameters() == set()


def test_hooks_of_inference_do_nothing_by_default() -> None:
    """All hooks of InnerEyeInference may be left out but inference_step, which names itself."""
    model = Evaluated()
    model.on_inference_start()
    model.on_inference_epoch_start(dataset_split=ModelExecutionMode.TEST, is_ensemble_model=False)
    item = object()
    assert model.get_inference_input(item) is item
    with pytest.raises(NotImplementedError, match=r"Evaluated must define inference_step\(\)"):
        model.inference_step(item, batch_idx=0, model_output=None)
    model.on_inference_epoch_end()
    model.on_inference_end()


def test_the_names_of_inner_eye_are_kept() -> None:
    """Old models that use the enum's values or keyword arguments still work."""
    assert [mode.value for mode in ModelExecutionMode] == ["Train", "Test", "Val"]
    assert list(inspect.signature(InnerEyeInference.inference_step).parameters)[1:] == [
        "item",
        "batch_idx",
        "model_output",
    ]
