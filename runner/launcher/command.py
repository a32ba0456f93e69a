"""``--launcher=slurm``: make the folder of a run or sweep, and submit jobs that work in it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from runner.atomic_files import write_text
from runner.command_line import Override, Request, program_name
from runner.container_values import ContainerValues
from runner.environment import is_secret, redact_urls
from runner.errors import EXIT_DONE, RunFailedError, UsageError
from runner.help_text import config_text
from runner.launcher.job import RunJob
from runner.launcher.options import LOCAL, LaunchOptions, check_folder, launch_options
from runner.launcher.submission import Shape, Submission
from runner.log_setup import console_logging
from runner.param_values import settable_parameters
from runner.preparation import TRUST, Plan, Prepared, prepare
from runner.queued_run import mark_queued, mark_stuck
from runner.run_folder import RunFolder
from runner.run_record import shown
from runner.slurm_jobs import cancel_jobs, jobs_of, read_launches
from runner.sweep.command import dry_run_text, limits_of, slots_of, wanted_of
from runner.sweep.joining import outputs_folder, sweep_to_work_on
from runner.sweep.request import Wanted, whole_number
from runner.sweep.sweep_folder import SWEEPS, SweepFolder

_WORKER_OPTIONS = ("devices_per_trial", "trial_timeout", "stall_timeout", "sweep_time", "max_failures", "fail_fast")


def launch(request: Request, plan: Plan, *, is_sweep: bool, on_folder: Callable[[Path], None]) -> int:
    """Submit what the command line describes, instead of running it here.

    Args:
        request: The command line.
        plan: Container, configuration files and values.
        is_sweep: Whether it describes a sweep.
        on_folder: Called with the folder of the run or sweep as soon as it exists.

    Returns:
        The exit code.

    Raises:
        UsageError: something is wrong, and nothing was made or submitted.
        RunFailedError: Slurm does not take the job, although it said it would.
    """
    with console_logging(request.log_level, quiet=request.quiet):
        return (_launch_sweep if is_sweep else _launch_run)(request, plan, on_folder)


# --- a run ----------------------------------------------------------------------------------------------------------


def _launch_run(request: Request, plan: Plan, on_folder: Callable[[Path], None]) -> int:
    earlier = _earlier_options(RunFolder(plan.resume).jobs) if plan.resume is not None else {}
    options = launch_options(request, earlier)
    prepared = prepare(plan)
    _refuse_secrets(prepared.values, is_new=plan.resume is None)
    path = plan.resume.resolve() if plan.resume is not None else _new_folder(outputs_folder(request), prepared.name)
    check_folder(path)
    parts = _checked_parts(request, prepared, options)
    shape = _shape(prepared)
    submission = Submission(RunFolder(path).jobs, options, parts or 1, shape)
    if request.dry_run:
        return _print_scripts(submission, RunFolder(path).jobs, options, shape if parts else None)
    submission.check()
    folder = _open(plan, prepared, outputs_folder(request))
    on_folder(folder.path)
    job = RunJob(folder.path, _place(plan, prepared), Path.cwd(), _changes(plan), not prepared.container.deterministic,
                 may_requeue="no_requeue" not in options.sbatch)  # fmt: skip
    try:
        if folder.path != path:  # its name has the time
            submission = Submission(folder.jobs, options, parts or 1, shape)
        number = _submit_parts(job, submission, parts, options, shape) if parts else submission.submit([job])
    except BaseException as error:
        with suppress(OSError):
            mark_stuck(
                folder, str(error) if isinstance(error, RunFailedError) else "interrupted while it was submitted"
            )
        raise
    finally:
        folder.unlock()  # for the job, which waits for that
    _say(f"job {number}", options, folder)
    return EXIT_DONE


def _submit_parts(job: RunJob, parts: Submission, count: int, options: LaunchOptions, shape: Shape) -> str:
    """Submit the jobs of the parts and the one that merges; return its number. All of them, or none."""
    first = parts.submit([_part(job, each, count) for each in range(1, count + 1)])
    try:
        return Submission(RunFolder(job.folder).jobs, options, 1, shape, after=first).submit([job])
    except BaseException:
        with suppress(RunFailedError):
            cancel_jobs([int(first)])
        raise


def _open(plan: Plan, prepared: Prepared, outputs: Path) -> RunFolder:
    """Make the folder of a new run, or take that of an old one, locked, and let it say that it waits."""
    if plan.resume is None:
        folder = RunFolder.create(outputs, prepared.name)
        write_text(folder.config, redact_urls(config_text(prepared.values, prepared.model, docs=False)))
    else:
        folder = RunFolder.open(plan.resume)
        try:
            _refuse_worked_on(plan.resume)
        except BaseException:
            folder.unlock()
            raise
    mark_queued(folder, model=prepared.name, phase="start", phases={}, epochs_finished=0)
    return folder


def _refuse_worked_on(path: Path) -> None:
    jobs = jobs_of(RunFolder(path.resolve()).jobs)
    if jobs is None:
        raise UsageError(f"{path}: Slurm does not say whether its last job is still there; try again later.")
    if jobs:
        names = ", ".join(job.name for job in jobs)
        raise UsageError(f"{path} is worked on already, by job {names}; {program_name()} queue shows it.")


def _new_folder(outputs: Path, name: str) -> Path:
    """Return about how the folder of a new run will be called."""
    return outputs / f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}_{name}"


def _place(plan: Plan, prepared: Prepared) -> list[str]:
    """Return the arguments by which the job finds the container, and what the record of the run cannot say."""
    namespace = [f"--model_configs_namespace={plan.namespace}"] if plan.namespace is not None else []
    trust = [f"--{TRUST}"] if prepared.container.trust_checkpoint else []
    return [f"--containers={plan.containers.absolute()}", *namespace, *trust]


def _changes(plan: Plan) -> list[str]:
    """Return the arguments that change values of a run that goes on; a new run has written all of them down."""
    if plan.resume is None:
        return []
    overrides = [each for each in plan.overrides if each.name != TRUST]
    return [*(f"--config={file}" for file in plan.config), *map(_argument, overrides)]


def _argument(override: Override) -> str:
    return f"--{override.flag}" if override.value is None else f"--{override.flag}={override.value}"


def _shape(prepared: Prepared) -> Shape:
    """Return the processes of a job: one for each device, where their number is known."""
    devices, nodes = prepared.container.devices, prepared.container.num_nodes
    count = len(devices) if isinstance(devices, list) else devices if isinstance(devices, int) and devices > 0 else 0
    if nodes > 1 and not count:
        raise UsageError(f"--launcher=slurm with --num_nodes={nodes}: say how many devices each has: --devices=4.")
    return Shape(nodes, max(1, count))


def _refuse_secrets(values: ContainerValues, *, is_new: bool) -> None:
    """Refuse values that the record of a run does not keep, since that is where the job reads them."""
    container = values.container
    for name in settable_parameters(type(container)) if is_new else ():
        value = getattr(container, name)
        is_lost = value and is_secret(name, value) and not values.is_set_by_code(name)
        if is_lost or (isinstance(value, str) and redact_urls(value) != value):
            raise UsageError(
                f"{name}: a job reads values from the record of the run, which holds no secrets; let the container "
                "read it from an environment variable or a file."
            )


def _earlier_options(folder: Path) -> Mapping[str, str]:
    """Return the options of ``sbatch`` that a run or sweep was submitted with the last time."""
    return next((each.options for each in reversed(read_launches(folder)) if each.options), {})


# --- saliency in parts ----------------------------------------------------------------------------------------------


def _checked_parts(request: Request, prepared: Prepared, options: LaunchOptions) -> int:
    """Return in how many parts the data are to be explained; 0 for a job that does everything."""
    if request.saliency_parts is None:
        return 0
    parts = whole_number("saliency_parts", request.saliency_parts, least=2)
    if options.launcher == LOCAL:
        raise UsageError("--saliency_parts needs --launcher=slurm: nothing else starts a job after others.")
    finished = RunFolder(Path(request.resume)).read_status().get("phases", {}) if request.resume else {}
    if prepared.container.train and "train" not in finished:
        raise UsageError(
            "--saliency_parts: the jobs would each train a model. Train first, then give --resume=<the run folder>, or "
            "--train=False with --src_checkpoint."
        )
    return parts


def _part(job: RunJob, number: int, count: int) -> RunJob:
    return replace(job, arguments=[*job.arguments, f"--saliency_part={number}/{count}"], is_part=True)


# --- a sweep --------------------------------------------------------------------------------------------------------


def _launch_sweep(request: Request, plan: Plan, on_folder: Callable[[Path], None]) -> int:
    if request.enqueue or request.saliency_parts:
        name = "enqueue" if request.enqueue else "saliency_parts"
        raise UsageError(f"--{name} has no place beside --launcher for a sweep.")
    earlier = _earlier_options(Path(request.resume) / "launcher") if request.resume else {}
    options = launch_options(request, earlier)
    if request.workers is None:
        raise UsageError(f"--launcher={options.launcher}: say how many jobs are to share the trials: --workers=4.")
    workers = whole_number("workers", request.workers, least=1)
    base = replace(plan, resume=None, output_to=None)
    wanted = wanted_of(request, base)
    slots_of(request), limits_of(request, wanted)
    name = wanted.plan.container_name if wanted is not None else "Sweep"
    path = Path(request.resume).resolve() if request.resume else _new_folder(outputs_folder(request) / SWEEPS, name)
    check_folder(path)
    submission = Submission(path / "launcher", options, workers, Shape())
    if request.dry_run:
        if wanted is not None:
            print(dry_run_text(wanted.plan), end="\n\n")
        return _print_scripts(submission, path / "launcher", options, None)
    submission.check()
    sweep = sweep_to_work_on(request, wanted, base)
    on_folder(sweep.path)
    if sweep.path != path:
        submission = Submission(sweep.jobs, options, workers, Shape())
    arguments = ["--workers=1", *_worker_arguments(request, wanted)]
    job = RunJob(sweep.path, arguments, Path.cwd(), may_requeue="no_requeue" not in options.sbatch)
    number = submission.submit([job] * workers)
    _say(f"job {number}" if workers == 1 else f"jobs {number}_0 to {number}_{workers - 1}", options, sweep)
    return EXIT_DONE


def _worker_arguments(request: Request, wanted: Wanted | None) -> Sequence[str]:
    """Return the arguments of each worker: the limits of the command line, else those of the sweep's file."""
    values = {name: getattr(request, name) for name in _WORKER_OPTIONS}
    if wanted is not None and values["sweep_time"] is None and wanted.time is not None:
        values["sweep_time"] = f"{wanted.time:g}"
    if wanted is not None and values["max_failures"] is None and wanted.max_failures is not None:
        values["max_failures"] = str(wanted.max_failures)
    return [f"--{name}" if value is True else f"--{name}={value}" for name, value in values.items() if value]


# --- both -----------------------------------------------------------------------------------------------------------


def _print_scripts(submission: Submission, folder: Path, options: LaunchOptions, merging: Shape | None) -> int:
    """Print what would be submitted.

    Args:
        submission: The jobs.
        folder: Where the launcher would keep them.
        options: What was asked for.
        merging: Shape of the job that would come after all others; None if there is none.
    """
    if options.launcher == LOCAL:
        print("A process in the background of this machine; there is no script.")
        return EXIT_DONE
    print(submission.script, end="")
    if merging is not None:
        print("\n# and when these have ended:\n")
        print(Submission(folder, options, 1, merging, after="JOB").script, end="")
    return EXIT_DONE


def _say(jobs: str, options: LaunchOptions, folder: RunFolder | SweepFolder) -> None:
    path = shown(folder.path)
    cancel = f"queue cancel {shlex.quote(str(path))} stops it"
    if options.launcher == LOCAL:
        is_sweep = isinstance(folder, SweepFolder)
        how = f"{program_name()} {cancel}" if is_sweep else f"kill {jobs.removeprefix('job ')} stops it"
        print(f"Running in the background; {how}. What it prints: {shown(folder.jobs)}")
    else:
        print(f"Submitted to Slurm: {jobs}. {program_name()} queue shows the state, {cancel}.")
    print(path)
