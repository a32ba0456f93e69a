"""From a prepared container to a ``Run`` that the phases can work on, in every process of the run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from runner.atomic_files import link_or_copy
from runner.errors import CheckpointError, RunFailedError
from runner.places import find_place
from runner.preparation import Prepared
from runner.run_folder import RunFolder
from runner.stop_signals import StopSignals

if TYPE_CHECKING:
    from runner.run_state import Run

log = logging.getLogger(__name__)


def set_up(prepared: Prepared, folder: RunFolder, stop: StopSignals) -> Run:
    """Seed, then call ``setup``, ``create_model`` and ``get_data_module`` in this order, in the run folder.

    Raises:
        RunFailedError: one of them returned something else than it must.
    """
    from pytorch_lightning import LightningModule, seed_everything

    from runner.modules import LightningModuleWithOptimizer
    from runner.run_state import Run, checked_data_module

    container = prepared.container
    seed_everything(container.effective_random_seed, workers=True, verbose=False)
    container.setup()
    container.watch_reads()
    model = container.create_model()
    if not isinstance(model, LightningModule):
        raise RunFailedError(f"{prepared.name}.create_model() returned a {type(model).__name__}, no LightningModule.")
    for module in model.modules():
        if isinstance(module, LightningModuleWithOptimizer):
            module.use_parameters(container)
    container._model = model
    data = checked_data_module(container.get_data_module(), "get_data_module")
    return Run(container, folder, model, data, find_place(), stop=stop, set_by=prepared.values.origins)


def find_resume_checkpoint(run: Run) -> Path | None:
    """Return the checkpoint to go on from; None where no epoch was finished.

    The middle of an epoch, where a signal stopped the run, saves time; but the data of the rest of the epoch comes in
    another order then. With ``deterministic`` the epoch is done again, so that the result has the same bits.

    Raises:
        CheckpointError: there are some, but all are damaged.
    """
    from runner.checkpoint_files import check_checkpoint_file

    folder, damaged = run.folder, []
    candidates = [folder.last_checkpoint, folder.previous_checkpoint]
    if not run.container.deterministic:
        candidates.insert(0, folder.interrupted_checkpoint)
    for path in filter(Path.is_file, candidates):
        try:
            check_checkpoint_file(path)
        except CheckpointError as error:
            log.warning("%s", error)
            damaged.append(path)
            continue
        if path == folder.previous_checkpoint:
            link_or_copy(path, folder.last_checkpoint)  # training takes it for that from here
            return folder.last_checkpoint
        return path
    if damaged:
        raise CheckpointError(f"All checkpoints of {folder.path} to go on from are damaged; start another run.")
    return None
