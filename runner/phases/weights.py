"""Which weights are tested and explained, and why."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from runner.checkpoints import find_checkpoint, load_weights
from runner.container import LightningContainer
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


def _warn_of_other_settings(run: Run, checkpoint: Path) -> None:
    """Say where the container's own parameters are others than those the weights were trained with."""
    cls = type(run.container)
    own = set(cls.param) - set(LightningContainer.param)
    then, now = (_settings(config) for config in (checkpoint.parents[1] / run.folder.config.name, run.folder.config))
    changed = [name for name in sorted(own & then.keys() & now.keys()) if then[name] != now[name]]
    if then.get("model", "").strip('"').rpartition(":")[2].rpartition(".")[2] == cls.__name__ and changed:
        other = (f"{name} was {then[name]}, is {now[name]}" for name in changed)
        log.warning("other settings than the weights were trained with: %s", "; ".join(other))


def _settings(config: Path) -> dict[str, str]:
    """Return the values in a config.yaml that a run wrote, as they stand there."""
    try:
        lines = config.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return {}
    found = (re.fullmatch(r"(\w+): (.*?)(?:  # .*)?", line) for line in lines)
    return {match[1]: match[2] for match in found if match}


def _choose(run: Run) -> tuple[Path | None, str]:
    asked = run.container.get_checkpoint_to_test()
    if asked is not None:
        path = Path(asked).absolute()
        if not path.is_file():
            raise CheckpointError(f"get_checkpoint_to_test returned {path}, which is no file.")
        return path, "chosen by get_checkpoint_to_test"
    if run.container.src_checkpoint is not None and not run.container.train:
        path, why = find_checkpoint(run.container.src_checkpoint)
        _warn_of_other_settings(run, path)
        return path, why
    written = run.folder.read_results().get("train", {}).get("checkpoint")
    if run.container.train and written is not None and not (run.folder.checkpoints / written).is_file():
        raise CheckpointError(f"{run.folder.checkpoints / written} is missing, with the weights that training chose.")
    if run.folder.best_checkpoint.is_file():
        return run.folder.best_checkpoint, "the best epoch"
    if run.folder.last_checkpoint.is_file():
        return run.folder.last_checkpoint, "the last epoch; no metric says which is the best"
    return None, "as training left them; no checkpoint was written"
