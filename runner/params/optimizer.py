"""Optimizer and learning rate schedule of a ``LightningModuleWithOptimizer``. Names and defaults are InnerEye's."""

from __future__ import annotations

import math
from enum import Enum

import param

from runner.errors import ParameterError


class OptimizerType(Enum):
    """The optimizers that ``LightningModuleWithOptimizer`` can make."""

    Adam = "Adam"
    AMSGrad = "AMSGrad"
    AdamW = "AdamW"
    SGD = "SGD"
    RMSprop = "RMSprop"


class LRSchedulerType(Enum):
    """The learning rate schedules that ``LightningModuleWithOptimizer`` can make."""

    Exponential = "Exponential"
    Step = "Step"
    Polynomial = "Polynomial"
    Cosine = "Cosine"
    MultiStep = "MultiStep"


class LRWarmUpType(Enum):
    """How the learning rate rises before the schedule begins."""

    NoWarmUp = "NoWarmUp"
    Linear = "Linear"


class OptimizerParams(param.Parameterized):
    """Settings of optimizer and learning rate schedule."""

    l_rate = param.Number(
        default=1e-4, bounds=(0, None), doc="Learning rate at the start of the schedule, after any warm-up."
    )
    min_l_rate = param.Number(
        default=0.0,
        bounds=(0, None),
        doc="Learning rate that the Polynomial and Cosine schedules end at; not above l_rate.",
    )
    l_rate_scheduler = param.ClassSelector(
        class_=LRSchedulerType, default=LRSchedulerType.Polynomial, doc="Learning rate schedule, stepped once an epoch."
    )
    l_rate_exponential_gamma = param.Number(
        default=0.9, bounds=(0, None), doc="Exponential: factor from one epoch to the next."
    )
    l_rate_step_gamma = param.Number(default=0.1, bounds=(0, None), doc="Step: factor at each step.")
    l_rate_step_step_size = param.Integer(default=50, bounds=(1, None), doc="Step: epochs between steps.")
    l_rate_multi_step_gamma = param.Number(default=0.1, bounds=(0, None), doc="MultiStep: factor at each milestone.")
    l_rate_multi_step_milestones = param.List(
        default=None,
        item_type=int,
        allow_None=True,
        doc="MultiStep: epochs, rising and above 0, at which the learning rate is multiplied.",
    )
    l_rate_polynomial_gamma = param.Number(
        default=1e-4, bounds=(0, None), doc="Polynomial: exponent of the fraction of epochs still to go."
    )
    l_rate_warmup = param.ClassSelector(
        class_=LRWarmUpType,
        default=LRWarmUpType.NoWarmUp,
        doc="How the learning rate rises before the schedule begins.",
    )
    l_rate_warmup_epochs = param.Integer(default=0, bounds=(0, None), doc="Length of the warm-up in epochs.")
    optimizer_type = param.ClassSelector(class_=OptimizerType, default=OptimizerType.Adam, doc="Optimizer.")
    opt_eps = param.Number(
        default=1e-4, bounds=(0, None), doc="Adam, AMSGrad, AdamW, RMSprop: term added to the denominator."
    )
    rms_alpha = param.Number(default=0.9, bounds=(0, 1), doc="RMSprop: smoothing constant.")
    adam_betas = param.NumericTuple(
        default=(0.9, 0.999), length=2, doc="Adam, AMSGrad, AdamW: decay of the running averages, each in [0, 1)."
    )
    momentum = param.Number(default=0.6, bounds=(0, None), doc="SGD and RMSprop: momentum.")
    weight_decay = param.Number(default=1e-4, bounds=(0, None), doc="L2 penalty; decoupled for AdamW.")

    def validate(self) -> None:
        """Check what no single bound can express.

        Raises:
            ParameterError: two values contradict each other.
        """
        if not math.isfinite(self.l_rate):
            raise ParameterError(f"l_rate must be a finite number, not {self.l_rate}.")
        if self.min_l_rate > self.l_rate:
            raise ParameterError(f"min_l_rate={self.min_l_rate} must not be above l_rate={self.l_rate}.")
        if not all(0 <= beta < 1 for beta in self.adam_betas):
            raise ParameterError(f"adam_betas={self.adam_betas}: each must be at least 0 and below 1.")
        if self.l_rate_scheduler is LRSchedulerType.MultiStep:
            milestones = self.l_rate_multi_step_milestones or []
            if not milestones or milestones[0] <= 0 or sorted(set(milestones)) != milestones:
                raise ParameterError(
                    "l_rate_scheduler=MultiStep needs l_rate_multi_step_milestones: rising epochs above 0, "
                    f"not {self.l_rate_multi_step_milestones}."
                )
        if self.l_rate_warmup_epochs and self.l_rate_warmup is LRWarmUpType.NoWarmUp:
            raise ParameterError(
                f"l_rate_warmup_epochs={self.l_rate_warmup_epochs} has no effect with l_rate_warmup=NoWarmUp; "
                "set --l_rate_warmup=Linear."
            )
