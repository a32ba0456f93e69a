"""Which weights are tested and explained, and why."""

from __future__ import annotations

import logging
from pathlib import Path

from runner.checkpoints import find_checkpoint, load_weights
from runner.errors import CheckpointError
from runner.run_state import Run

log = logging.getLogger(__name__)


def use_chosen_weights(run: Run) -> None:
    """Load the weights that the phases after training use, once; the log says which file and why.

    Raises:
        CheckpointError: the file is missing or does not fit the model.
    """
    if run.weights_from is not None:
        return
    path, why = _choose(run)
    if path is None:
        run.weights_from = why
    else:
        load_weights(run.model, path, trust=run.container.trust_checkpoint)
        inside = path.is_relative_to(run.folder.path)
        run.weights_from = str(path.relative_to(run.folder.path) if inside else path)
    log.info("weights: %s (%s)", run.weights_from, why)


def _choose(run: Run) -> tuple[Path | None, str]:
    asked = run.container.get_checkpoint_to_test()
    if asked is not None:
        path = Path(asked).absolute()
        if not path.is_file():
            raise CheckpointError(f"get_checkpoint_to_test returned {path}, which is no file.")
        return path, "chosen by get_checkpoint_to_test"
    if run.container.src_checkpoint is not None and not run.container.train:
        return find_checkpoint(run.container.src_checkpoint)
    written = run.folder.read_results().get("train", {}).get("checkpoint")
    if run.container.train and written is not None and not (run.folder.checkpoints / written).is_file():
        raise CheckpointError(f"{run.folder.checkpoints / written} is missing, with the weights that training chose.")
    if run.folder.best_checkpoint.is_file():
        return run.folder.best_checkpoint, "the best epoch"
    if run.folder.last_checkpoint.is_file():
        return run.folder.last_checkpoint, "the last epoch; no metric says which is the best"
    return None, "as training left them; no checkpoint was written"
