"""One run from request to folder. Read this file first: :func:`execute` is the whole program in order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.container import LightningContainer
from runner.environment import redact
from runner.errors import RunFailedError, RunInterrupted, TrialPrunedError
from runner.log_setup import FILE_ONLY, RunContext, log_to_file
from runner.places import Place, find_place
from runner.preparation import Plan, Prepared, prepare
from runner.process_state import run_environment
from runner.queued_run import refuse_queued
from runner.run_folder import RunFolder
from runner.run_record import record, record_found, resume_command, say_outcome, warn_if_untested
from runner.run_seal import unseal_run
from runner.run_setup import find_resume_checkpoint, set_up
from runner.status_file import StatusFile
from runner.stop_signals import StopSignals, say
from runner.taking_part import take_part
from runner.usage import Usage

if TYPE_CHECKING:
    from runner.rendezvous import Rendezvous
    from runner.run_state import Run

log = logging.getLogger(__name__)

MORE_TRAINING = {"num_epochs", "min_epochs", "max_steps", "min_steps", "max_time", "early_stopping_patience"}
"""Parameters that let a training which had come to its end go on when a resumed run changes them."""


@dataclass(frozen=True)
class RunResult:
    """The outcome of a run."""

    state: str
    """``completed``, ``failed`` or ``interrupted``."""
    model: str
    folder: Path
    metrics: dict[str, float]
    """Metrics of all phases; where two have the same name, the later phase's."""
    phases: dict[str, str]
    """Each phase that was reached: ``completed`` or ``skipped``."""

    @property
    def maps(self) -> Sequence[Any]:
        """The saliency maps in the order of the data set, each read from the run folder when it is asked for."""
        from runner.saliency.storage import SavedMaps

        return SavedMaps(RunFolder(self.folder).saliency)

    def _repr_html_(self) -> str:
        """Show metrics, curves and saliency maps in a notebook."""
        from runner.reports.page import notebook_html

        return notebook_html(RunFolder(self.folder))


def execute(plan: Plan, context: RunContext, on_folder: Callable[[Path], None] = lambda folder: None) -> RunResult:
    """Check everything, make or open the run folder, then run the phases in it.

    Args:
        plan: What to run.
        context: Told which phase the run is in, for the log.
        on_folder: Called with the run folder as soon as it exists.

    Raises:
        UsageError: something is wrong and nothing was started.
        RunFailedError: the run could not do what was asked.
        RunInterrupted: a signal stopped it.
    """
    from runner.reports.page import remove_report, report_and_seal

    prepared = prepare(plan)
    place = find_place()
    _check_devices(prepared, place)
    if not place.is_first:
        folder = take_part(plan, prepared, place, context)
        return RunResult("completed", prepared.name, folder.path, {}, {})
    meeting = _meeting(prepared, place)
    if plan.trial is not None:
        folder = plan.trial.folder
    elif plan.resume is not None:
        refuse_queued(plan.resume)
        folder = RunFolder.open(plan.resume)
    else:
        folder = RunFolder.create((plan.output_to or Path("outputs")).expanduser().absolute(), prepared.name)
    try:
        unseal_run(folder)
        remove_report(folder)
        on_folder(folder.path)
        stop = StopSignals()
        with stop.installed():  # until the last files are written
            try:
                with log_to_file(folder.log, context):
                    status = StatusFile(folder, prepared.name)
                    with status.heartbeat():
                        return _run_recorded(plan, prepared, status, stop, context, meeting=meeting)
            finally:
                report_and_seal(folder, plan.trial.other_files if plan.trial is not None else ())
    finally:
        if plan.trial is None:
            folder.unlock()


def _check_devices(prepared: Prepared, place: Place) -> None:
    from runner.trainer import check_devices

    check_devices(prepared.container, place, prepared.num_nodes)


def _meeting(prepared: Prepared, place: Place) -> Rendezvous | None:
    """Return where this process, the first, meets those that somebody else starts; None where it starts them itself."""
    if not place.is_started_outside and prepared.num_nodes == 1:
        return None
    from runner.rendezvous import Rendezvous
    from runner.taking_part import shared_values

    return Rendezvous(place, prepared.num_nodes, shared_values(prepared))


def _run_recorded(
    plan: Plan,
    prepared: Prepared,
    status: StatusFile,
    stop: StopSignals,
    context: RunContext,
    *,
    meeting: Rendezvous | None,
) -> RunResult:
    """Run the phases; whatever happens, status.json and run.log say how it ended."""
    folder = status.folder
    try:
        with stop.installed(partial(_end_by_force, status, resume_command(folder))):
            stop.interruptible(record, plan, prepared, folder)
            if meeting is not None:
                stop.interruptible(meeting.send, folder.path)
            with run_environment(folder.path):
                stop.interruptible(_run_phases, plan, prepared, status, stop, context)
    except RunInterrupted as error:
        status.update(state="interrupted", exit_reason=str(error))
        log.warning("%s in phase %s. Go on with: %s", error, context.phase, resume_command(folder))
        raise
    except TrialPrunedError as error:
        status.update(state="pruned", exit_reason=str(error))
        log.info("%s", error)
        raise
    except BaseException as error:
        status.update(state="failed", exit_reason=redact(f"{type(error).__name__}: {error}"))
        logging.getLogger(FILE_ONLY).exception("phase %s failed", context.phase)
        raise
    return _result(prepared, folder, status)


def _end_by_force(status: StatusFile, command: str, state: str, reason: str) -> None:
    """Write down how the run ended, while the main thread is stuck; it may still write, so there are no digests."""
    from runner.reports.page import write_report

    say(f"Go on with: {command}")
    status.update(state=state, exit_reason=reason)
    write_report(status.folder, {})


def _run_phases(plan: Plan, prepared: Prepared, status: StatusFile, stop: StopSignals, context: RunContext) -> None:
    """Set up the container and go through the phases; those that an earlier attempt finished are left out."""
    folder = status.folder
    _enter(context, status, "setup")
    if prepared.container.number_of_cross_validation_splits and not prepared.container.is_cross_validation_fold:
        log.warning("cross_validation_split_index is not set: this run trains no fold of the cross validation")
    from pytorch_lightning import seed_everything

    from runner.logger_uploads import upload
    from runner.phases import PHASES

    run = set_up(prepared, folder, stop)
    run.on_epoch_finished = lambda epochs: status.update(epochs_finished=epochs)
    run.on_found_values = lambda values: record_found(prepared, folder, values)
    run.should_prune = plan.trial.should_prune if plan.trial is not None else None
    if plan.resume is not None:
        _find_resume_point(run, status, prepared.changed)
    finished = [name for name, outcome in status.phases.items() if outcome["state"] == "completed"]
    for name, phase in PHASES.items():
        if name in finished:
            log.info("%-9s done in an earlier attempt", name)
            continue
        _enter(context, status, name)
        seed_everything(run.container.effective_random_seed, workers=True, verbose=False)  # whatever ran before
        usage = Usage()
        outcome = phase(run)
        if not outcome.skipped:
            folder.add_results(name, {"metrics": outcome.measures | outcome.metrics, **outcome.details})
        say_outcome(name, outcome, usage.seconds())
        if outcome.failed:
            raise RunFailedError(outcome.failed)
        status.phase_completed(name, usage.seconds(), outcome.skipped, usage.memory())
        if name == "saliency" and outcome.skipped and run.container.saliency_method != "none":
            log.warning("no saliency maps: %s", outcome.skipped)
    warn_if_untested(status)
    _enter(context, status, "report")
    prepared.container.create_report()
    _compare_with_expected(prepared.container, folder)
    status.update(state="completed", phase="end", exit_reason="done")
    upload(run)


def _find_resume_point(run: Run, status: StatusFile, changed: frozenset[str]) -> None:
    """Decide where training goes on, and reopen phases that have more to do than when they were completed."""
    from runner.metrics_table import drop_rows

    if "train" in status.phases and run.container.train and changed & MORE_TRAINING:
        run.extends = True
        status.reopen("train", "test", "inference", "saliency")
    if any(name.startswith("saliency_") for name in changed):
        status.reopen("saliency")
    if any(name.startswith("inference_on_") for name in changed):
        status.reopen("inference")
    if status.phases.get("train", {}).get("state") == "completed":
        return
    run.resume_checkpoint = find_resume_checkpoint(run)
    if run.resume_checkpoint is not None:
        log.info("going on from %s", run.resume_checkpoint.relative_to(run.folder.path))
    elif run.container.train:
        log.info("no epoch was finished: training begins anew")
        drop_rows(run.folder.metrics, 0)


def _enter(context: RunContext, status: StatusFile, phase: str) -> None:
    context.phase = phase
    status.update(phase=phase)


def _compare_with_expected(container: LightningContainer, folder: RunFolder) -> None:
    if container.regression_test_folder is None:
        return
    from runner.expected_files import compare_with_expected

    differences = compare_with_expected(
        container.regression_test_folder, folder.path, container.regression_test_csv_tolerance
    )
    if differences:
        raise RunFailedError(
            "Some expected files are missing or differ:\n" + "\n".join(f"  {each}" for each in differences)
        )
    log.info("all files are as in %s", container.regression_test_folder)


def _result(prepared: Prepared, folder: RunFolder, status: StatusFile) -> RunResult:
    metrics: dict[str, float] = {}
    for outcome in folder.read_results().values():
        found = outcome.get("metrics", {})
        metrics |= {name: float("nan") if value is None else value for name, value in found.items()}
    phases = {name: outcome["state"] for name, outcome in status.phases.items()}
    return RunResult("completed", prepared.name, folder.path, metrics, phases)
