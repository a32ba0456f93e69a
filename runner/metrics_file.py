"""Lightning's logger for metrics.csv."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers.logger import Logger

from runner.metrics_table import L_RATE, MetricsTable


class LearningRates(Callback):
    """Tells metrics.csv the learning rate of each training step: ``l_rate``, of a second optimizer ``l_rate_2``."""

    def __init__(self, metrics: MetricsFile) -> None:
        self._metrics = metrics

    def on_train_batch_start(self, trainer: Trainer, *_arguments: Any) -> None:
        """Look at the first group of parameters of each optimizer, before a scheduler changes it."""
        for number, optimizer in enumerate(trainer.optimizers):
            name = f"{L_RATE}_{number + 1}" if number else L_RATE
            self._metrics.l_rates[name] = float(optimizer.param_groups[0]["lr"])

    def on_train_end(self, *_arguments: Any) -> None:
        """Leave the test alone."""
        self._metrics.l_rates.clear()


class MetricsFile(Logger):
    """Gives what Lightning logs to a :class:`MetricsTable`.

    Args:
        path: The file; rows that are there already are kept.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._table = MetricsTable(path)
        self.l_rates: dict[str, float] = {}
        """Learning rates that go into each row, beside what is logged."""

    @property
    def name(self) -> str:
        """Name that Lightning asks for; there is only one such file in a run."""
        return "metrics"

    @property
    def version(self) -> str:
        """Version that Lightning asks for."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self._table.path.parent)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add *metrics* to the row of their epoch and step."""
        self._table.add({**self.l_rates, **metrics}, step)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: config.yaml has all values."""

    @rank_zero_only
    def save(self) -> None:
        """Write the current row, if something was added to it."""
        self._table.save()

    @rank_zero_only
    def drop_from(self, epoch: int) -> None:
        """Remove the rows of *epoch*, counted from 0, and later: a resumed run does these epochs again."""
        self._table.drop_from(epoch)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left."""
        del status
        self.save()
