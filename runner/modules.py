"""What users' models inherit: the hooks of ``InnerEyeInference``, and an optimizer set by the container's values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from pytorch_lightning import LightningModule

from runner.optimizers import create_optimizer, create_scheduler
from runner.params import OptimizerParams, TrainerParams

if TYPE_CHECKING:
    from pytorch_lightning.utilities.types import OptimizerLRScheduler

    from runner.container import LightningContainer


Group = TypeVar("Group", OptimizerParams, TrainerParams)


class ModelExecutionMode(Enum):
    """The part of the data that inference runs on."""

    TRAIN = "Train"
    TEST = "Test"
    VAL = "Val"


class InnerEyeInference:
    """Hooks of a model that evaluates itself item by item; inherit it beside ``LightningModule``.

    They are called in this order, in the run folder, with the model in evaluation mode and without gradients::

        model.on_inference_start()
        for dataset_split in the enabled splits:
            model.on_inference_epoch_start(dataset_split, is_ensemble_model=False)
            for batch_idx, item in enumerate(the data loader of the split):
                model_output = model.forward(model.get_inference_input(item))
                model.inference_step(item, batch_idx, model_output)
            model.on_inference_epoch_end()
        model.on_inference_end()
        model.get_inference_metrics()
    """

    def on_inference_start(self) -> None:
        """Prepare inference, for example open files."""

    def on_inference_epoch_start(self, dataset_split: ModelExecutionMode, is_ensemble_model: bool) -> None:
        """Prepare inference on one split of the data; there are no ensembles yet."""

    def get_inference_input(self, item: Any) -> Any:
        """Return what goes into ``forward``: the batch itself, unless it holds more than the model takes."""
        return item

    def inference_step(self, item: Any, batch_idx: int, model_output: Any) -> None:
        """Evaluate the output for one batch; without this method the runner calls ``test_step`` instead."""
        raise NotImplementedError(f"{type(self).__name__} must define inference_step().")

    def on_inference_epoch_end(self) -> None:
        """Finish inference on one split of the data, for example write its metrics."""

    def on_inference_end(self) -> None:
        """Finish inference."""

    def get_inference_metrics(self) -> Mapping[str, float]:
        """Return what the run records as metrics of the inference, by which runs and sweeps can be compared."""
        return {}


def _copy_of(group: type[Group], source: LightningContainer | type[Group]) -> Group:
    """Return the parameters of *group* with the values they have in *source*: a container, or the group's defaults."""
    create: Callable[..., Group] = group  # param types no constructor
    return create(**{name: deepcopy(getattr(source, name)) for name in group.param if name != "name"})


class LightningModuleWithOptimizer(LightningModule):
    """A Lightning module whose optimizer and learning rate schedule are those of the container's parameters.

    The parameters have their defaults until the runner calls :meth:`use_parameters`, after ``create_model``.
    """

    _optimizer_params = _copy_of(OptimizerParams, OptimizerParams)
    _trainer_params = _copy_of(TrainerParams, TrainerParams)

    def use_parameters(self, container: LightningContainer) -> None:
        """Take the container's values, for this module and all modules of the kind inside it.

        They are copied: a container that the module kept would end up in copies and pickles of the module.
        """
        for module in self.modules():
            if isinstance(module, LightningModuleWithOptimizer):
                module._optimizer_params = _copy_of(OptimizerParams, container)
                module._trainer_params = _copy_of(TrainerParams, container)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer and the schedule, which is stepped once an epoch."""
        optimizer = create_optimizer(self._optimizer_params, self.parameters())
        scheduler = create_scheduler(self._optimizer_params, optimizer, self._trainer_params.num_epochs)
        return {"optimizer": optimizer, "lr_scheduler": scheduler}
