"""``LightningContainer``: the one class a user writes. It imports neither torch nor Lightning."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import ParameterError
from runner.params import GROUPS, DatasetParams, OptimizerParams, SaliencyParams, TrainerParams, WorkflowParams
from runner.params.kinds import is_path_parameter

if TYPE_CHECKING:
    from pytorch_lightning import Callback, LightningDataModule, LightningModule
    from torch import Tensor, nn

IMAGE_KEYS = ("image", "images", "x", "input", "inputs")
LABEL_KEYS = ("label", "labels", "y", "target", "targets", "class")


_OPTIMIZER_NAMES = frozenset(name for name in OptimizerParams.param if name != "name")


class MisspeltParameterError(ParameterError, AttributeError):
    """An attribute was set whose name is nearly that of a parameter."""


class LightningContainer(WorkflowParams, DatasetParams, TrainerParams, OptimizerParams, SaliencyParams):
    """A model, its data and every setting of an experiment, under one name.

    Override at least :meth:`create_model` and :meth:`get_data_module`. A parameter declared in the class body
    (``num_layers = param.Integer(default=4)``) can be set from the command line and from YAML. The class is made
    without arguments; values from configuration files and the command line are set afterwards, then
    :meth:`validate` runs. From :meth:`setup` to :meth:`create_report` the working directory is the run folder.
    """

    needs_local_dataset = False
    """Whether a run is refused without ``local_dataset``; help and configuration are shown all the same."""

    fixed_on_resume: tuple[str, ...] = ()
    """Names of parameters that ``--resume`` refuses to change, because they decide who is trained on, for example."""

    _model: LightningModule | None = None
    _names_read: set[str] | None = None

    def __getattribute__(self, name: str) -> Any:
        """Return an attribute; reads of optimizer parameters are noted while :meth:`watch_reads` is on."""
        if name in _OPTIMIZER_NAMES:
            read = super().__getattribute__("_names_read")
            if read is not None:
                read.add(name)
        return super().__getattribute__(name)

    def watch_reads(self) -> None:
        """Note from now on which optimizer parameters are read, to tell the user of settings without effect."""
        self._names_read = set()

    def unread_optimizer_parameters(self) -> set[str]:
        """Return the optimizer parameters that nobody has read since :meth:`watch_reads`."""
        return set(_OPTIMIZER_NAMES - (self._names_read or set()))

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a text for a Path parameter becomes an absolute Path, a misspelt parameter an error."""
        if name in type(self).param:
            if isinstance(value, str) and is_path_parameter(type(self).param[name]):
                value = Path(value).expanduser().absolute()
        elif not name.startswith("_") and not hasattr(self, name):
            self._refuse_misspelling(name)
        super().__setattr__(name, value)

    def _refuse_misspelling(self, name: str) -> None:
        known = [other for other in type(self).param if other != "name"]
        matches = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
        if matches:
            raise MisspeltParameterError(
                f"{type(self).__name__} has no parameter {name!r}. Did you mean {matches[0]!r}? "
                "(For an attribute of your own, declare it in the class body or start its name with an underscore.)"
            )

    # --- what to train, on what ------------------------------------------------------------------------------------

    def create_model(self) -> LightningModule:
        """Return the model. Called once per run, after :meth:`setup`; data sets should not be needed here."""
        raise NotImplementedError(f"{type(self).__name__} must define create_model().")

    def get_data_module(self) -> LightningDataModule:
        """Return the data for training, validation and test. Called once per run."""
        raise NotImplementedError(f"{type(self).__name__} must define get_data_module().")

    def get_inference_data_module(self) -> LightningDataModule:
        """Return the data for ``InnerEyeInference`` and for saliency, by default those of :meth:`get_data_module`."""
        return self.get_data_module()

    def setup(self) -> None:
        """Prepare what the model or the data need, for example files. Called in the run folder, before the model."""

    def validate(self) -> None:
        """Check the values of all parameters, before any folder is made; call ``super().validate()`` first.

        Raises:
            ValueError: a value cannot work; the message is shown to the user without a traceback.
        """
        for group in GROUPS:
            if hasattr(group, "validate"):
                group.validate(self)

    def set_model_variant(self, model_variant: str) -> None:
        """Set the values that ``--model_variant`` stands for; configuration files and the command line still win.

        Raises:
            ValueError: there is no variant of that name.
        """
        raise ValueError(f"{type(self).__name__} has no variants, so not {model_variant!r} either.")

    # --- how to train ----------------------------------------------------------------------------------------------

    def get_trainer_arguments(self) -> dict[str, Any]:
        """Return arguments for Lightning's ``Trainer``; they win over the parameters of the same name.

        ``callbacks`` and ``logger`` are added to those of the runner, ``profiler`` replaces the parameter's.
        """
        return {}

    def get_callbacks(self) -> list[Callback]:
        """Return callbacks that are added to those of the runner."""
        return []

    def before_training_on_global_rank_zero(self) -> None:
        """Run once before training, in the first process of all machines."""

    def before_training_on_local_rank_zero(self) -> None:
        """Run before training in the first process of each machine, after the global hook."""

    def before_training_on_all_ranks(self) -> None:
        """Run before training in every process, after the other two hooks."""

    def get_checkpoint_to_test(self) -> Path | None:
        """Return the checkpoint to test and explain, or None for best.ckpt where there is one, else last.ckpt."""
        return None

    def get_parameter_search_space(self) -> Mapping[str, Any]:
        """Return the parameters that a sweep varies: name to values, as in a sweep's YAML file."""
        return {}

    def get_predictions(self, batch: Any, output: Any) -> Mapping[str, Any] | None:  # noqa: ARG002 - for users to override
        """Return what was predicted for a batch of the test and what is true, or None where there is nothing to say.

        By default *output* itself, if it is a mapping in the documented form.

        Args:
            batch: As the data loader gave it.
            output: What ``test_step`` or ``predict_step`` returned; in an ``InnerEyeInference``, what ``forward`` did.

        Returns:
            For classes ``{"logits": float (B, K), "labels": int (B,)}``, or ``probabilities`` instead of logits; for
            numbers ``{"predictions": float (B, P), "targets": float (B, P)}``. One column of logits or probabilities
            stands for the second of two classes. Optional for both: ``ids`` of the B items, ``names`` of the columns.
        """
        from runner.evaluation.predictions import means_form

        return output if isinstance(output, Mapping) and means_form(output) else None

    # --- afterwards ------------------------------------------------------------------------------------------------

    def create_report(self) -> None:
        """Write what you want to keep of the run into the working directory. Called last, after all phases."""

    # --- saliency --------------------------------------------------------------------------------------------------

    def get_saliency_images(self, batch: Any) -> Tensor:
        """Return the images of a batch as the model takes them: float, (B, C, H, W) or, for volumes, (B, C, D, H, W).

        By default the first element of a sequence, the entry ``image``, ``x`` or ``input`` of a mapping, or the batch.
        """
        images: Tensor = _pick(batch, 0, IMAGE_KEYS, whole=True)
        return images

    def get_saliency_scores(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return one score per image and class, float (B, K), a probability by default.

        By default softmax of the model's output, or sigmoid where it has only one column, as (B, 1).
        """
        output: Tensor = model(images)
        output = output.reshape(len(output), -1)
        return output.sigmoid() if output.shape[1] == 1 else output.softmax(dim=1)

    def get_saliency_labels(self, batch: Any) -> Tensor | None:
        """Return the true classes of a batch, int (B,), or None where there are none.

        By default the second element of a sequence, or the entry ``label``, ``y`` or ``target`` of a mapping.
        """
        labels = _pick(batch, 1, LABEL_KEYS, whole=False)
        return None if labels is None else labels.reshape(len(labels), -1)[:, 0].long()

    def get_saliency_detections(self, model: nn.Module, images: Tensor) -> Sequence[Tensor]:
        """Return what a detector finds in each image, for ``saliency_method=drise``.

        Returns:
            One float tensor (P, 4 + 1 + K) per image, or one (B, P, 4 + 1 + K) for all: box as x1, y1, x2, y2 in
            pixels, objectness, and K class scores. P may differ between images.
        """
        raise NotImplementedError(f"{type(self).__name__} must define get_saliency_detections() for this method.")

    def get_saliency_descriptors(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return the descriptor of each image, float (B, F), for ``saliency_method=sbsm``."""
        raise NotImplementedError(f"{type(self).__name__} must define get_saliency_descriptors() for this method.")

    def get_saliency_queries(self, batch: Any) -> Tensor | None:  # noqa: ARG002 - for users to override
        """Return the images whose similarity to those of a batch is explained, float (Q, C, H, W), or None."""
        return None

    def get_saliency_truth(self, batch: Any) -> Tensor | None:  # noqa: ARG002 - for users to override
        """Return where the evidence truly lies, bool (B, H, W) or (B, D, H, W), or None where that is not known."""
        return None

    def get_saliency_generator(self) -> Any:
        """Return what makes the maps for ``saliency_method=custom``.

        A pair of xaitk-saliency's ``PerturbImage`` and ``GenerateClassifierConfidenceSaliency`` (for detectors
        ``GenerateDetectorProposalSaliency``, for similarity ``GenerateDescriptorSimilaritySaliency``), or a
        ``GenerateImageClassifierBlackboxSaliency``; each as an object or as its JSON configuration (a dict with
        ``type``). A pair may also be a dict with ``perturber`` and ``generator``.
        """
        raise NotImplementedError(f"{type(self).__name__} must define get_saliency_generator() for this method.")

    # --- for reading -----------------------------------------------------------------------------------------------

    @property
    def model(self) -> LightningModule:
        """The model of the run.

        Raises:
            ValueError: it has not been made yet.
        """
        if self._model is None:
            raise ValueError("No Lightning module has been set yet.")
        return self._model


def _pick(batch: Any, index: int, keys: Sequence[str], *, whole: bool) -> Any:
    if isinstance(batch, Mapping):
        return next((batch[key] for key in keys if key in batch), None)
    if isinstance(batch, Sequence) and not isinstance(batch, str):
        return batch[index] if len(batch) > index else None
    return batch if whole else None
