"""``--resume=FOLDER --saliency_part=3/16``: one of several processes that make the saliency maps of a trained run."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runner.atomic_files import write_json
from runner.command_line import Request
from runner.errors import EXIT_DONE, RunFailedError, RunInterrupted, UsageError
from runner.experiment import MORE_TRAINING
from runner.folder_lock import FolderLock, at_work
from runner.log_setup import FILE_ONLY, RunContext, console_logging, log_to_file
from runner.preparation import Plan, Prepared, prepare
from runner.process_state import run_environment
from runner.run_folder import RunFolder
from runner.run_record import record, resume_command, shown
from runner.run_seal import unseal_run
from runner.run_setup import set_up
from runner.saliency.part import Part
from runner.stop_signals import StopSignals

log = logging.getLogger(__name__)


def saliency_part(request: Request, plan_fields: Mapping[str, Any], outcome: dict[str, Any]) -> int:
    """Make the maps of the part that *request* asks for; return the exit code.

    Args:
        request: With ``saliency_part`` set.
        plan_fields: What the run is, for :class:`~runner.preparation.Plan`.
        outcome: Gets the model and the run folder, for ``--json``.

    Raises:
        UsageError: there is no such part or run, it is not trained yet, or another process works in it.
        RunFailedError: images could not be explained, or none at all.
        RunInterrupted: a signal stopped it.
    """
    part = Part.parse(request.saliency_part or "")
    if request.resume is None:
        raise UsageError("--saliency_part needs --resume=FOLDER: the run, trained, whose maps are to be made.")
    if request.sweep or request.enqueue:
        raise UsageError("--saliency_part is for one run: leave --sweep and --enqueue out.")
    plan = Plan(**plan_fields)
    with console_logging(request.log_level, quiet=request.quiet) as context:
        folder = RunFolder(Path(request.resume).resolve())
        prepared = make_part(plan, folder, part, context)
        log.info("part %s is done; when all are: %s", part, resume_command(folder))
    outcome.update(model=prepared.name, folder=folder.path)
    return EXIT_DONE


def make_part(plan: Plan, folder: RunFolder, part: Part, context: RunContext) -> Prepared:
    """Make the maps of *part* that are missing in the run in *folder*; see :func:`saliency_part` for what it raises.

    It keeps a plain ``--resume`` out while it works, and the other way round, but no other part. Each side takes its
    own lock first and then looks for the other's, so that of two that begin at once never both go on. The run's
    status.json and run.log stay as they are; the log is beside the lock.
    """
    if not folder.can_resume:
        raise UsageError(f"{folder.path} is no run folder: it has no {folder.config.name} and {folder.status.name}.")
    place = folder.saliency_parts / part.name
    place.mkdir(parents=True, exist_ok=True)
    context.phase, lock, stop = "saliency", FolderLock(place), StopSignals()
    try:
        with stop.installed(), log_to_file(place / "part.log", context), _told(part, folder, place):
            prepared = stop.interruptible(_open, plan, folder, part, lock)
            with run_environment(folder.path):
                stop.interruptible(_explain, prepared, folder, part, stop)
        return prepared
    finally:
        lock.give_back()


@contextmanager
def _told(part: Part, folder: RunFolder, place: Path) -> Iterator[None]:
    """Write into the part's log how it ended."""
    try:
        yield
    except RunInterrupted as error:
        log.warning("%s. Go on with: %s --saliency_part=%s", error, resume_command(folder), part)
        raise
    except UsageError:  # nothing was started
        raise
    except Exception:
        logging.getLogger(FILE_ONLY).exception("part %s failed", part)
        log.info("part %s failed; its log is in %s", part, shown(place))
        raise


def _open(plan: Plan, folder: RunFolder, part: Part, lock: FolderLock) -> Prepared:
    """Take the part's lock and check everything, one process at a time.

    Values that are not the run's are written down by the first part to come, so that the others may leave them out.
    """
    with FolderLock(folder.saliency).held():
        if not lock.take():
            raise UsageError(f"{folder.path}: another process makes part {part} of the saliency maps.")
        if at_work([folder.path]):
            raise folder.in_use()
        prepared = prepare(plan)
        _check(prepared, folder)
        _refuse_other_division(folder, part)
        unseal_run(folder)
        if prepared.changed:
            others = [each for each in folder.saliency_parts_at_work if each != part.name]
            if others:
                raise UsageError(
                    f"{', '.join(sorted(prepared.changed))}: other values than those of the parts that are being made: "
                    f"{', '.join(others)}. All parts of a run have the same ones."
                )
            record(plan, prepared, folder)
            _reopen(folder)
    log.info("%s  ·  %s  ·  part %s of the saliency maps", prepared.name, shown(folder.path), part)
    return prepared


def _reopen(folder: RunFolder) -> None:
    """Let a run whose maps were complete say that they are not any more."""
    status = folder.read_status()
    if status.get("phases", {}).pop("saliency", {}).get("state") == "completed":
        write_json(folder.status, status | {"state": "interrupted", "exit_reason": "maps are made anew, in parts"})


def _refuse_other_division(folder: RunFolder, part: Part) -> None:
    """Refuse a part that would write into files of parts which are being made."""
    end = part.name.partition("-of-")[2]
    others = sorted(each for each in folder.saliency_parts_at_work if each.partition("-of-")[2] != end)
    if others:
        raise UsageError(f"part {part}: other parts are being made, {', '.join(others)}; one division at a time.")


def _check(prepared: Prepared, folder: RunFolder) -> None:
    """Refuse a run whose weights are not there yet, or are about to change, and one without maps."""
    container, more = prepared.container, sorted(prepared.changed & MORE_TRAINING)
    is_trained = folder.read_status().get("phases", {}).get("train", {}).get("state") == "completed"
    if container.train and (more or not is_trained):
        why = f"{', '.join(more)}: this would train on" if more else f"{folder.path} is not trained yet"
        raise UsageError(f"{why}; parts are for what comes after. First: {resume_command(folder)}")
    if container.saliency_method == "none":
        raise UsageError("saliency_method is none: say which maps to make, such as --saliency_method=rise.")


def _explain(prepared: Prepared, folder: RunFolder, part: Part, stop: StopSignals) -> None:
    from pytorch_lightning import seed_everything

    from runner.phases.explaining import complaint, explain_part, reason_against_explaining

    run = set_up(prepared, folder, stop)
    seed_everything(prepared.container.effective_random_seed, workers=True, verbose=False)
    reason = reason_against_explaining(run)
    if reason:
        raise RunFailedError(reason)
    if failures := explain_part(run, part):
        raise RunFailedError(complaint(run, part, failures))
