"""Optimizers get their settings; learning rates follow InnerEye's trajectories, in one go and after a resume."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from runner import (
    LightningContainer,
    LightningModuleWithOptimizer,
    LRSchedulerType,
    LRWarmUpType,
    OptimizerParams,
    OptimizerType,
)
from runner.optimizers import create_optimizer, create_scheduler

WARM_UP = {"l_rate_warmup": LRWarmUpType.Linear, "l_rate_warmup_epochs": 2}
TRAJECTORIES: dict[str, tuple[dict[str, Any], list[float]]] = {
    "Exponential": ({}, [0.001, 0.0009, 0.00081, 0.000729, 0.0006561]),
    "Exponential after warm-up": (WARM_UP, [3.333333e-4, 6.666667e-4, 0.001, 0.0009, 0.00081]),
    "Step": ({"l_rate_step_step_size": 2}, [0.001, 0.001, 1e-4, 1e-4, 1e-5]),
    "Polynomial": ({}, [0.001, 0.000999978, 0.000999949, 0.000999908, 0.000999839]),
    "Polynomial to a minimum": (
        {"l_rate_polynomial_gamma": 1.0, "min_l_rate": 5e-4},
        [0.001, 0.0009, 0.0008, 0.0007, 0.0006],
    ),
    "Cosine": ({}, [0.001, 0.000904508, 0.000654508, 0.000345492, 9.54915e-5]),
    "Cosine after warm-up": (WARM_UP, [3.333333e-4, 6.666667e-4, 0.001, 0.00075, 0.00025]),
    "MultiStep": ({"l_rate_multi_step_milestones": [2]}, [0.001, 0.001, 1e-4, 1e-4, 1e-4]),
}
"""What InnerEye's own scheduler did with ``l_rate=1e-3`` in 5 epochs; the polynomial to a minimum is by hand."""


class Line(LightningModuleWithOptimizer):
    """One weight, and a note of the learning rate at the start of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.l_rates: list[float] = []

    def on_train_epoch_start(self) -> None:
        self.l_rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        return self.layer(batch[0]).square().mean()  # type: ignore[no-any-return]


def fit(container: LightningContainer, folder: Path, num_epochs: int, checkpoint: Path | None = None) -> list[float]:
    """Train a line for some of the container's epochs; return its learning rates and leave ``line.ckpt`` behind."""
    model = Line()
    model.use_parameters(container)
    trainer = Trainer(
        max_epochs=num_epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(model, DataLoader(TensorDataset(torch.ones(4, 1)), batch_size=2), ckpt_path=checkpoint)
    trainer.save_checkpoint(folder / "line.ckpt")
    return model.l_rates


@pytest.mark.parametrize("name", TRAJECTORIES)
def test_schedules_follow_the_trajectories_of_inner_eye(name: str, tmp_path: Path) -> None:
    """In a real training each schedule gives InnerEye's learning rates, also when stopped and resumed after epoch 3."""
    values, expected = TRAJECTORIES[name]
    container = make_container(
        num_epochs=5, l_rate=1e-3, l_rate_scheduler=LRSchedulerType[name.split(maxsplit=1)[0]], **values
    )
    in_one_go = fit(container, tmp_path, 5)
    assert in_one_go == pytest.approx(expected, rel=0, abs=1e-9)  # l_rate to 1e-6
    stopped = fit(container, tmp_path, 3)
    resumed = fit(container, tmp_path, 5, tmp_path / "line.ckpt")
    assert stopped + resumed == in_one_go


@pytest.mark.parametrize("schedule", [LRSchedulerType.Polynomial, LRSchedulerType.Cosine])
def test_beyond_the_last_epoch_the_minimum_stays(schedule: LRSchedulerType) -> None:
    """When training goes on longer than planned, the learning rate stays at its minimum."""
    params = make_container(l_rate=1e-2, min_l_rate=1e-3, l_rate_scheduler=schedule)
    assert l_rates(params, num_epochs=3, steps=6)[3:] == pytest.approx([1e-3] * 3)


def test_a_warm_up_longer_than_training_only_rises() -> None:
    """With more epochs of warm-up than of training, the learning rate is still rising at the end."""
    params = make_container(l_rate=1.0, l_rate_warmup=LRWarmUpType.Linear, l_rate_warmup_epochs=9)
    assert l_rates(params, num_epochs=3, steps=3) == pytest.approx([0.1, 0.2, 0.3])


def test_a_learning_rate_of_zero_stays_zero() -> None:
    """A learning rate of 0 is no division by zero."""
    params = make_container(l_rate=0.0, l_rate_scheduler=LRSchedulerType.Cosine)
    assert l_rates(params, num_epochs=2, steps=3) == [0.0] * 3


@pytest.mark.parametrize(
    ("kind", "cls", "expected"),
    [
        ("Adam", torch.optim.Adam, {"betas": (0.5, 0.6), "eps": 0.01, "amsgrad": False}),
        ("AMSGrad", torch.optim.Adam, {"betas": (0.5, 0.6), "eps": 0.01, "amsgrad": True}),
        ("AdamW", torch.optim.AdamW, {"betas": (0.5, 0.6), "eps": 0.01, "amsgrad": False}),
        ("SGD", torch.optim.SGD, {"momentum": 0.7, "nesterov": False}),
        ("RMSprop", torch.optim.RMSprop, {"alpha": 0.8, "eps": 0.01, "momentum": 0.7, "centered": False}),
    ],
)
def test_each_optimizer_gets_its_settings(kind: str, cls: type, expected: dict[str, Any]) -> None:
    """Every optimizer has the learning rate, the weight decay and what else applies to it."""
    params = make_container(
        optimizer_type=OptimizerType[kind],
        l_rate=0.25,
        weight_decay=0.125,
        adam_betas=(0.5, 0.6),
        opt_eps=0.01,
        momentum=0.7,
        rms_alpha=0.8,
    )
    optimizer = create_optimizer(params, nn.Linear(1, 1).parameters())
    assert type(optimizer) is cls
    assert {"lr": 0.25, "weight_decay": 0.125, **expected}.items() <= optimizer.defaults.items()


def make_container(**values: Any) -> LightningContainer:
    create: Callable[..., LightningContainer] = LightningContainer  # param types no constructor
    return create(**values)


def l_rates(params: OptimizerParams, num_epochs: int, steps: int) -> list[float]:
    """Return the learning rates of so many epochs, whatever *num_epochs* the schedule was made for."""
    optimizer = create_optimizer(params, nn.Linear(1, 1).parameters())
    scheduler = create_scheduler(params, optimizer, num_epochs)
    rates = []
    for _ in range(steps):
        rates.append(float(scheduler.get_last_lr()[0]))
        optimizer.step()
        scheduler.step()
    return rates
