"""Optimizers and learning rate schedules out of ``OptimizerParams``; what the values mean is as in InnerEye."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import LambdaLR

from runner.params import LRSchedulerType, LRWarmUpType, OptimizerParams, OptimizerType


def create_optimizer(params: OptimizerParams, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Return the optimizer that ``optimizer_type`` names, with the settings that apply to it."""
    l_rate, weight_decay, eps = params.l_rate, params.weight_decay, params.opt_eps
    if params.optimizer_type is OptimizerType.SGD:
        return SGD(parameters, l_rate, momentum=params.momentum, weight_decay=weight_decay)
    if params.optimizer_type is OptimizerType.RMSprop:
        return RMSprop(parameters, l_rate, params.rms_alpha, eps, weight_decay, params.momentum)
    first, second = params.adam_betas
    if params.optimizer_type is OptimizerType.AdamW:
        return AdamW(parameters, l_rate, (first, second), eps, weight_decay)
    amsgrad = params.optimizer_type is OptimizerType.AMSGrad
    return Adam(parameters, l_rate, (first, second), eps, weight_decay, amsgrad)


def create_scheduler(params: OptimizerParams, optimizer: Optimizer, num_epochs: int) -> LambdaLR:
    """Return the learning rate schedule over *num_epochs* epochs, warm-up included.

    The rate is a function of the epoch's number alone, so a resumed training goes on exactly where it stopped.
    """
    warmup_epochs = params.l_rate_warmup_epochs if params.l_rate_warmup is LRWarmUpType.Linear else 0
    decay = _DECAYS[params.l_rate_scheduler]
    decay_epochs = max(num_epochs - warmup_epochs, 1)

    def factor(epoch: int) -> float:
        if epoch < warmup_epochs:
            return (epoch + 1) / (warmup_epochs + 1)
        return decay(params, epoch - warmup_epochs, decay_epochs)

    return LambdaLR(optimizer, factor)


def _exponential(params: OptimizerParams, epoch: int, _: int) -> float:
    return float(params.l_rate_exponential_gamma**epoch)


def _step(params: OptimizerParams, epoch: int, _: int) -> float:
    return float(params.l_rate_step_gamma ** (epoch // params.l_rate_step_step_size))


def _multi_step(params: OptimizerParams, epoch: int, _: int) -> float:
    return float(params.l_rate_multi_step_gamma ** bisect_right(params.l_rate_multi_step_milestones or [], epoch))


def _polynomial(params: OptimizerParams, epoch: int, num_epochs: int) -> float:
    to_go = max(num_epochs - epoch, 0) / num_epochs
    return _above_minimum(params, to_go**params.l_rate_polynomial_gamma)


def _cosine(params: OptimizerParams, epoch: int, num_epochs: int) -> float:
    # beyond the last epoch the cosine would rise again
    return _above_minimum(params, (1 + math.cos(math.pi * min(epoch / num_epochs, 1))) / 2)


def _above_minimum(params: OptimizerParams, fraction: float) -> float:
    """Return the factor at *fraction* of the way from ``min_l_rate``, 0, up to ``l_rate``, 1."""
    minimum = params.min_l_rate / params.l_rate if params.l_rate else 0.0
    return float(minimum + (1 - minimum) * fraction)


_DECAYS: dict[LRSchedulerType, Callable[[OptimizerParams, int, int], float]] = {
    LRSchedulerType.Exponential: _exponential,
    LRSchedulerType.Step: _step,
    LRSchedulerType.MultiStep: _multi_step,
    LRSchedulerType.Polynomial: _polynomial,
    LRSchedulerType.Cosine: _cosine,
}
