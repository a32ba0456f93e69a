"""What a run does: which phases, from which weights, with which seed."""

from __future__ import annotations

import param

from runner.errors import ParameterError
from runner.params.kinds import path_parameter


class WorkflowParams(param.Parameterized):
    """Settings of the run as a whole."""

    random_seed = param.Integer(
        default=42,
        bounds=(0, 2**32 - 1),
        doc="Seed of Python's, NumPy's and torch's random generators. In a cross validation fold the index of the "
        "fold is added.",
    )
    train = param.Boolean(
        default=True,
        doc="Train the model. With --train=False, --src_checkpoint says which weights to test and explain.",
    )
    src_checkpoint = path_parameter(
        doc="Checkpoint file, or run folder (its best.ckpt, else its last.ckpt), to take the weights from."
    )
    load_weights_only = param.Boolean(
        default=False,
        doc="Start training from the weights in src_checkpoint: epochs, optimizer and schedule begin anew.",
    )
    trust_checkpoint = param.Boolean(
        default=False,
        doc="Allow checkpoints to run code while they are read. Only for files whose author you trust.",
    )
    model_variant = param.String(
        default="", doc="Name of a preset, given to the container's set_model_variant before all other values."
    )
    tag = param.String(default="", doc="A label of your own, kept in the record of the run.")
    number_of_cross_validation_splits = param.Integer(
        default=0, bounds=(0, None), doc="Number of folds of a cross validation; 0 for none."
    )
    cross_validation_split_index = param.Integer(
        default=-1, bounds=(-1, None), doc="Which fold this run trains on, counted from 0; -1 outside cross validation."
    )
    test_on_all_devices = param.Boolean(
        default=False,
        doc="Share the test set among all devices of the training, each item once, instead of testing on one device.",
    )
    inference_on_train_set = param.Boolean(
        default=None, allow_None=True, doc="Run InnerEyeInference on the training set (default: no)."
    )
    inference_on_val_set = param.Boolean(
        default=None, allow_None=True, doc="Run InnerEyeInference on the validation set (default: no)."
    )
    inference_on_test_set = param.Boolean(
        default=None, allow_None=True, doc="Run InnerEyeInference on the test set (default: yes)."
    )
    regression_test_folder = path_parameter(
        doc="Folder with files that this run is expected to write; a difference makes the run fail."
    )
    regression_test_csv_tolerance = param.Number(
        default=0.0,
        bounds=(0.0, None),
        doc="Relative tolerance for numbers in expected CSV and JSON files; all other files are compared exactly.",
    )

    @property
    def is_cross_validation_fold(self) -> bool:
        """Whether this run trains one fold of a cross validation."""
        return self.number_of_cross_validation_splits > 1 and self.cross_validation_split_index >= 0

    @property
    def effective_random_seed(self) -> int:
        """The seed to use: ``random_seed``, plus the index of the fold in a cross validation."""
        offset = self.cross_validation_split_index if self.is_cross_validation_fold else 0
        return (self.random_seed + offset) % 2**32

    def validate(self) -> None:
        """Check what no single bound can express.

        Raises:
            ParameterError: two values contradict each other.
        """
        splits, index = self.number_of_cross_validation_splits, self.cross_validation_split_index
        if splits == 1:
            raise ParameterError("number_of_cross_validation_splits=1: a cross validation needs at least 2 splits.")
        if splits == 0 and index != -1:
            raise ParameterError(
                f"cross_validation_split_index={index} needs number_of_cross_validation_splits of at least 2."
            )
        if splits > 1 and index >= splits:
            raise ParameterError(
                f"cross_validation_split_index={index} must be below number_of_cross_validation_splits={splits}."
            )
        if self.load_weights_only and self.src_checkpoint is None:
            raise ParameterError("load_weights_only needs src_checkpoint: the weights to start from.")
