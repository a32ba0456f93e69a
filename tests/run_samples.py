"""Run folders as runs leave them, without running anything."""

import json
import os
import time
from pathlib import Path
from typing import Any

from runner.run_folder import RunFolder
from runner.run_seal import seal_run


def make_run(outputs: Path, name: str = "Model", *, sealed: bool = True, **values: Any) -> Path:
    """Make a run that ended.

    Args:
        outputs: Where.
        name: Of the model.
        sealed: Whether it has digests.
        **values: ``state``, ``metrics`` of the test, ``environment``, ``diff``, and parameters.
    """
    folder = RunFolder.create(outputs, name)
    state = values.pop("state", "completed")
    metrics = values.pop("metrics", {"test_acc": 0.5})
    environment = values.pop("environment", {"python": "CPython 3.11", "packages": {"torch": "2.10"}})
    if diff := values.pop("diff", ""):
        folder.diff.write_text(diff)
    parameters = {"l_rate": 0.01, "num_epochs": 3, "tag": ""} | values
    lines = "".join(f"{key}: {json.dumps(value)}  # {'command line' if key in values else 'default'}\n"
                    for key, value in parameters.items())  # fmt: skip
    folder.config.write_text(f"# {name}: it does.\nmodel: {json.dumps(name)}\n\n# --- Parameters ---\n{lines}")
    status = {"model": name, "state": state, "phase": "end", "epochs_finished": 3, "uptime_seconds": 12.5}
    folder.status.write_text(json.dumps(status | {"phases": {"test": {"state": "completed", "seconds": 1.0}}}))
    folder.results.write_text(json.dumps({"train": {"metrics": {"val/loss": 0.25}}, "test": {"metrics": metrics}}))
    folder.environment.write_text(json.dumps(environment))
    folder.log.write_text("2026-01-01 all went well\n")
    if sealed:
        seal_run(folder)
    folder.unlock()
    return folder.path


def age(path: Path, seconds: float = 100) -> None:
    """Let a run look as if nothing had changed in it for long, so that the index takes it up."""
    then = time.time() - seconds
    for each in (*path.iterdir(), path):
        os.utime(each, (then, then))
