"""What a run writes down about itself before it begins: config.yaml, environment.json, the first lines it prints."""

from __future__ import annotations

import inspect
import logging
import re
import shlex
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from runner.atomic_files import write_text
from runner.command_line import program_name
from runner.container import LightningContainer
from runner.environment import record_environment, redact_arguments, redact_urls
from runner.help_text import config_text
from runner.log_setup import FILE_ONLY
from runner.number_text import format_metrics, format_seconds
from runner.preparation import Plan, Prepared
from runner.run_folder import RunFolder
from runner.run_state import PhaseResult
from runner.status_file import StatusFile

log = logging.getLogger(__name__)


def record(plan: Plan, prepared: Prepared, folder: RunFolder) -> None:
    """Write config.yaml and environment.json, and say what is run."""
    values = prepared.values
    if folder.config.is_file():  # resumed: who set a value stays known
        earlier = re.findall(
            r"^(\w+): .*  # (.*?)(?:, default .*)?$", folder.config.read_text(encoding="utf-8"), re.MULTILINE
        )
        known = dict(earlier)
        for name, origin in values.origins.items():
            if origin.startswith(folder.config.name):
                values.origins[name] = known.get(name, origin)
    _write_config(prepared, folder)
    import_module("torch")  # so that the record has its build and devices
    environment = record_environment(folder, list(plan.command_line), _code_folder(prepared.container))
    _say_start(prepared, folder, environment)


def _write_config(prepared: Prepared, folder: RunFolder) -> None:
    """Write config.yaml, without passwords in URLs: a run that needs one must be given it again."""
    write_text(folder.config, redact_urls(config_text(prepared.values, prepared.model, docs=False)))


def record_found(prepared: Prepared, folder: RunFolder, names: Iterable[str]) -> None:
    """Write config.yaml anew with values that Lightning's tuner found."""
    for name in names:
        prepared.values.origins[name] = "Lightning's tuner"
    _write_config(prepared, folder)


def _code_folder(container: LightningContainer) -> Path:
    try:
        file = inspect.getsourcefile(type(container))
    except (OSError, TypeError):  # it was made in a notebook
        file = None
    return Path(file).absolute().parent if file and Path(file).is_file() else Path.cwd()


def resume_command(folder: RunFolder) -> str:
    """Return the command that goes on with the run."""
    return f"{program_name()} --resume={shlex.quote(str(shown(folder.path)))}"


def shown(path: Path) -> Path:
    """Return *path* relative to the working directory where it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _say_start(prepared: Prepared, folder: RunFolder, environment: dict[str, Any]) -> None:
    git = environment.get("git") or {}
    commit = f"git {git['commit'][:7]}{' +changes' if git.get('dirty') else ''}" if git.get("commit") else "no git"
    seed = prepared.container.effective_random_seed
    log.info("%s  ·  %s  ·  %s  ·  seed %d", prepared.name, shown(folder.path), commit, seed)
    changed = [
        redact_arguments([f"--{name}={getattr(prepared.container, name)}"])[0] + f" ({origin})"
        for name, origin in prepared.values.origins.items()
        if origin not in ("default", "container")
    ]
    if changed and len(changed) <= 12:
        log.info("set: %s", "  ".join(text.removeprefix("--").replace("=", " ", 1) for text in changed))


def say_outcome(name: str, outcome: PhaseResult, seconds: float) -> None:
    """Say what came out of a phase, or, in the file only, why there was nothing to do."""
    if outcome.skipped:
        logging.getLogger(FILE_ONLY).info("%s skipped: %s", name, outcome.skipped)
        return
    items = outcome.details.get("num_items")
    count = f"  {items} items" if isinstance(items, int) else ""
    numbers = format_metrics(outcome.metrics, outcome.details.get("intervals"))
    best = outcome.details.get("best", {}).get("epoch")
    count += f"  (best epoch {best})" if best not in (None, outcome.details.get("epochs")) else ""
    log.info("%-9s %s%s  %s", name, numbers, count, format_seconds(seconds))


def warn_if_untested(status: StatusFile) -> None:
    """Warn where a run has neither tested the model nor let it infer."""
    phases = status.phases
    if all(phases.get(name, {}).get("state") == "skipped" for name in ("test", "inference")):
        log.warning("the model was not tested: %s", phases["test"]["reason"])
