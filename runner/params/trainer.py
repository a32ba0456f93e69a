"""Lightning's Trainer: every flag that has a textual value, under the Trainer's own name."""

from __future__ import annotations

from typing import Any

import param

from runner.errors import ParameterError
from runner.params.kinds import BoolOrInt, Devices, IntOrFloat

NOT_TRAINER_ARGUMENTS = (
    "num_epochs",
    "monitor",
    "monitor_mode",
    "early_stopping_patience",
    "save_top_k",
    "autosave_every_n_val_epochs",
    "find_lr",
    "find_batch_size",
    "logger",
)
"""Parameters of ``TrainerParams`` that the runner itself turns into arguments, callbacks or loggers."""

PRECISIONS = [
    "32-true",
    "16-mixed",
    "bf16-mixed",
    "16-true",
    "bf16-true",
    "64-true",
    "transformer-engine",
    "transformer-engine-float16",
    "bf16",
    "16",
    "32",
    "64",
    16,
    32,
    64,
]
LOGGERS = ["tensorboard", "wandb", "mlflow"]


class TrainerParams(param.Parameterized):
    """Settings of Lightning's Trainer, and of the callbacks that go with it."""

    num_epochs = param.Integer(default=100, bounds=(1, None), doc="Number of epochs to train (Trainer: max_epochs).")
    min_epochs = param.Integer(
        default=None, bounds=(1, None), allow_None=True, doc="Train at least this many epochs, early stopping or not."
    )
    max_steps = param.Integer(
        default=-1, bounds=(-1, None), doc="Stop after this many optimizer steps; -1 for no limit."
    )
    min_steps = param.Integer(
        default=None, bounds=(1, None), allow_None=True, doc="Train at least this many optimizer steps."
    )
    max_time = param.String(
        default=None,
        allow_None=True,
        regex=r"^\d+:\d\d:\d\d:\d\d$",
        doc="Stop training after this time, DD:HH:MM:SS.",
    )
    limit_train_batches = IntOrFloat(
        default=None, allow_None=True, doc="Batches of a training epoch: an int is that many, a float that fraction."
    )
    limit_val_batches = IntOrFloat(default=None, allow_None=True, doc="Batches of a validation epoch, as above.")
    limit_test_batches = IntOrFloat(default=None, allow_None=True, doc="Batches of the test, as above.")
    limit_predict_batches = IntOrFloat(
        default=None, allow_None=True, doc="Batches of the saliency phase, as above; saliency_limit counts images."
    )
    overfit_batches = IntOrFloat(
        default=0.0, doc="Train and validate on this part of the training data only: a test of the model."
    )
    val_check_interval = IntOrFloat(
        default=None,
        allow_None=True,
        time=True,
        doc="Validate after this many batches or this fraction of an epoch, or after a time DD:HH:MM:SS.",
    )
    check_val_every_n_epoch = param.Integer(
        default=1, bounds=(1, None), allow_None=True, doc="Validate every n epochs; None: count batches over epochs."
    )
    num_sanity_val_steps = param.Integer(
        default=0, bounds=(-1, None), doc="Validation batches to try before training begins; -1 for all."
    )
    log_every_n_steps = param.Integer(
        default=50, bounds=(0, None), doc="Steps between rows of metrics that are logged per step."
    )
    accumulate_grad_batches = param.Integer(
        default=1, bounds=(1, None), doc="Sum the gradients of this many batches before each optimizer step."
    )
    gradient_clip_val = param.Number(
        default=None, bounds=(0, None), allow_None=True, doc="Clip gradients at this size; None for no clipping."
    )
    gradient_clip_algorithm = param.Selector[Any](
        default=None, objects=[None, "norm", "value"], doc="Clip the norm (Lightning's default) or each value."
    )
    accelerator = param.Selector[Any](
        default="auto", objects=["auto", "cpu", "gpu", "cuda", "mps", "tpu"], doc="Kind of device to train on."
    )
    devices = Devices(default="auto", doc="Devices to train on: auto, a number, -1 for all, or indices like 0,2.")
    strategy = param.String(
        default="auto", doc="How processes share the work: auto, ddp, fsdp, ... (Lightning's names)."
    )
    num_nodes = param.Integer(default=1, bounds=(1, None), doc="Number of machines.")
    precision = param.Selector[Any](
        default="32-true", objects=PRECISIONS, doc="Number format of weights and arithmetic."
    )
    sync_batchnorm = param.Boolean(default=False, doc="Share batch norm statistics between processes.")
    use_distributed_sampler = param.Boolean(default=True, doc="Give each process its own part of the data.")
    deterministic = param.Selector[Any](
        default=None,
        objects=[None, False, True, "warn"],
        doc="Use only deterministic algorithms: the same seed gives the same bits on the same machine.",
    )
    benchmark = param.Boolean(default=None, allow_None=True, doc="Let cuDNN choose the fastest algorithm by trial.")
    inference_mode = param.Boolean(default=True, doc="Use torch.inference_mode, not no_grad, in validation and test.")
    detect_anomaly = param.Boolean(
        default=False, doc="Find the operation that makes a NaN in the backward pass (slow)."
    )
    fast_dev_run = BoolOrInt(default=False, doc="Run one batch (or n) of everything, to see that it works.")
    barebones = param.Boolean(
        default=False, doc="Measure bare speed: no logging, checkpoints, progress bar or sanity check."
    )
    profiler = param.Selector[Any](
        default=None,
        objects=[None, "simple", "advanced", "pytorch", "xla"],
        doc="Measure where the time goes; the result is a file in the run folder.",
    )
    enable_checkpointing = param.Boolean(default=True, doc="Write best.ckpt and last.ckpt.")
    enable_progress_bar = param.Boolean(default=True, doc="Show progress: a bar on a terminal, else a line per epoch.")
    enable_model_summary = param.Boolean(default=True, doc="Write the table of layers to run.log.")
    enable_autolog_hparams = param.Boolean(default=True, doc="Send saved hyper-parameters to the loggers.")
    reload_dataloaders_every_n_epochs = param.Integer(
        default=0, bounds=(0, None), doc="Ask the data module for new loaders every n epochs; 0: never."
    )
    model_registry = param.String(default=None, allow_None=True, doc="Name of the model in Lightning's registry.")
    logger = param.ListSelector(
        default=None,
        objects=LOGGERS,
        allow_None=True,
        doc="Loggers beside metrics.csv: a list, or empty for none. None: tensorboard where it is installed.",
    )
    monitor = param.String(
        default=None,
        allow_None=True,
        doc="Metric that decides which epoch is the best. None: a validation loss, where one is logged.",
    )
    monitor_mode = param.Selector[Any](
        default="auto",
        objects=["auto", "min", "max"],
        doc="Whether less or more is better. auto: more for accuracies, AUC, F1, Dice and the like, else less.",
    )
    early_stopping_patience = param.Integer(
        default=None,
        bounds=(0, None),
        allow_None=True,
        doc="Stop after this many validations without improvement of monitor; None: never.",
    )
    save_top_k = param.Integer(
        default=1, bounds=(-1, None), doc="Keep the checkpoints of the k best epochs; 0 for none, -1 for all."
    )
    autosave_every_n_val_epochs = param.Integer(
        default=1, bounds=(0, None), doc="Write last.ckpt every n epochs, and always at the end; 0: only at the end."
    )
    find_lr = param.Boolean(default=False, doc="Before training, find l_rate with Lightning's learning rate finder.")
    find_batch_size = param.Boolean(
        default=False, doc="Before training, find the largest batch_size of the data module that fits."
    )

    def validate(self) -> None:
        """Check what no single bound can express.

        Raises:
            ParameterError: two values contradict each other.
        """
        if self.early_stopping_patience is not None and self.monitor is None:
            raise ParameterError("early_stopping_patience needs monitor: the metric that should improve.")
        if self.min_epochs is not None and self.min_epochs > self.num_epochs:
            raise ParameterError(f"min_epochs={self.min_epochs} must not be above num_epochs={self.num_epochs}.")

    def trainer_arguments(self) -> dict[str, Any]:
        """Return the values that go to ``Trainer(...)`` as they are: all that are set, by the Trainer's names."""
        names = [name for name in TrainerParams.param if name not in NOT_TRAINER_ARGUMENTS and name != "name"]
        values = {name: getattr(self, name) for name in names}
        passed = {name: value for name, value in values.items() if value is not None}
        return passed | {"max_epochs": self.num_epochs, "check_val_every_n_epoch": self.check_val_every_n_epoch}
