"""``python runner.py doctor``: one line for each thing that a run needs, with the cure where it is broken.

torch and torchvision are imported in processes of their own only: a broken one may raise, hang or crash.
"""

from __future__ import annotations

import configparser
import fcntl
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, TextIO

from packaging.requirements import Requirement

from runner.atomic_files import write_text
from runner.environment import gpu_names
from runner.errors import EXIT_DONE, EXIT_FAILED
from runner.version import __version__

DISTRIBUTION = "lightcase"
OUTPUTS = Path("outputs")
CONTAINERS = Path("containers")
COMPROMISED = {"2.6.2", "2.6.3"}
"""Releases of Lightning of 30 April 2026 that stole credentials when imported (GHSA-w37p-236h-pfx3)."""

_GIB = 2**30
_TORCH_PAGE = "https://pytorch.org/get-started/locally"
_PROBE_SECONDS = 300
_TORCH_PROBE = """
import json, torch
devices = ["MPS"] if torch.backends.mps.is_available() else []
if torch.cuda.is_available():
    for index in range(torch.cuda.device_count()):
        torch.ones(2, device=f"cuda:{index}").sum().item()  # fails where the build lacks the GPU's architecture
        devices.append(torch.cuda.get_device_name(index))
print(json.dumps([torch.__version__, torch.version.cuda or torch.version.hip, devices]))
"""


class Finding(NamedTuple):
    """What a check found; ``level`` is ok, warn or FAIL, ``cure`` what to do about it."""

    level: str
    subject: str
    text: str
    cure: str = ""

    def __str__(self) -> str:
        cure = f"  -> {self.cure}" if self.cure else ""
        return f"{self.level:<4}  {self.subject:<20}  {self.text}{cure}"


def doctor(output: TextIO) -> int:
    """Write the findings of all checks, one a line, and return the exit code: 0 unless something FAILs."""
    code = EXIT_DONE
    encoding = output.encoding or "utf-8"
    for check in CHECKS:
        for finding in check():
            line = str(finding).replace("\n", " ")
            output.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
            output.flush()
            if finding.level == "FAIL":
                code = EXIT_FAILED
    return code


def check_python() -> Iterable[Finding]:
    """Say which Python this is: the wrong one is the most frequent reason of missing packages."""
    yield Finding("ok", "python", f"{platform.python_version()} in {sys.prefix}")


def check_requirements() -> Iterable[Finding]:
    """Check the versions of the packages that the framework needs."""
    installed = _version(DISTRIBUTION)
    where = "installed" if installed else "run from its folder"
    yield Finding("ok", DISTRIBUTION, f"{installed or __version__}, {where}")
    for requirement in _requirements():
        version = _version(requirement.name)
        cure = f"pip install '{requirement.name}{requirement.specifier}'"
        if version is None:
            yield Finding("FAIL", requirement.name, "not installed", cure)
        elif not requirement.specifier.contains(version, prereleases=True):
            yield Finding("FAIL", requirement.name, f"{version}, but {requirement.specifier} is needed", cure)
        else:
            yield Finding("ok", requirement.name, version)


def _requirements() -> list[Requirement]:
    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        settings = configparser.ConfigParser()
        settings.read(Path(__file__).parent.parent / "setup.cfg", encoding="utf-8")
        listed = settings.get("options", "install_requires", fallback="").splitlines()
        lines = [line for line in listed if line.strip() and not line.startswith("#")]
    requirements = map(Requirement, lines)
    return [each for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_lightning() -> Iterable[Finding]:
    """Check for the stolen releases, and for a second copy of Lightning under its other name."""
    for name in ("pytorch-lightning", "lightning"):
        if _version(name) in COMPROMISED:
            yield Finding(
                "FAIL",
                name,
                f"{_version(name)} steals credentials when it is imported (GHSA-w37p-236h-pfx3)",
                f"pip uninstall {name}; then replace every password and key that this machine could read",
            )
    if _version("lightning"):
        yield Finding(
            "warn",
            "lightning",
            f"{_version('lightning')} beside pytorch-lightning: neither accepts modules made with the other",
            "pip uninstall lightning, and import pytorch_lightning in your files",
        )


def check_torch() -> Iterable[Finding]:
    """Check that torch can be imported and computes on the GPUs of the machine."""
    done = _python(_TORCH_PROBE)
    if done.returncode:
        yield Finding("FAIL", "torch devices", _last_line(done), f"install the build for this machine: {_TORCH_PAGE}")
        return
    version, cuda, devices = json.loads(done.stdout.splitlines()[-1])
    build = f"torch {version} ({f'CUDA/ROCm {cuda}' if cuda else 'CPU build'})"
    gpus = gpu_names()
    if devices or not gpus:
        yield Finding("ok", "torch devices", f"{build} sees {', '.join(devices) or 'no GPU'}")
        return
    unseen = f"{build} does not see the {gpus[0]}"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not cuda:
        yield Finding("warn", "torch devices", unseen, f"install a build with CUDA: {_TORCH_PAGE}")
    elif hidden is not None:
        yield Finding("warn", "torch devices", unseen, f"unset CUDA_VISIBLE_DEVICES, which is {hidden!r}")
    else:
        reason = re.search(r"Warning: (.*)", done.stderr)
        cure = f"update the driver, or install a build for an older CUDA: {_TORCH_PAGE}"
        yield Finding("FAIL", "torch devices", f"{unseen}: {reason[1] if reason else 'no reason given'}", cure)


def check_torchvision() -> Iterable[Finding]:
    """Check that torchvision is absent or fits: a wrong one breaks ``import pytorch_lightning``."""
    if importlib.util.find_spec("torchvision") is None:
        yield Finding("ok", "torchvision", "not installed, and not needed")
        return
    cure = "pip uninstall torchvision"
    version, torch = _version("torchvision"), _version("torch") or ""
    needed = map(Requirement, importlib.metadata.requires("torchvision") or []) if version else ()
    for requirement in needed:
        if requirement.name == "torch" and not requirement.specifier.contains(torch, prereleases=True):
            yield Finding("FAIL", "torchvision", f"{version} needs torch{requirement.specifier}, not {torch}", cure)
            return
    done = _python("import torchvision")
    if done.returncode:
        yield Finding("FAIL", "torchvision", f"cannot be imported: {_last_line(done)}", cure)
    else:
        yield Finding("ok", "torchvision", f"{version}")


def _python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer within {_PROBE_SECONDS} s")


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip() or f"the process ended with {done.returncode}").splitlines()[-1]


def check_outputs() -> Iterable[Finding]:
    """Check that runs can be written: files synced, renamed, locked and deleted, and room on the disk."""
    folder = OUTPUTS if OUTPUTS.is_dir() else Path()
    probe = folder / f".doctor.{os.getpid()}"
    try:
        write_text(probe, "probe")
        try:
            with probe.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            probe.unlink()
    except OSError as error:
        cure = "make the folder writable, or start runs in another folder"
        yield Finding("FAIL", "outputs", f"cannot write, rename, lock or delete in {folder.absolute()}: {error}", cure)
    else:
        yield Finding("ok", "outputs", f"{OUTPUTS.absolute()} can be written")
    free = shutil.disk_usage(folder).free / _GIB
    level = "ok" if free >= 5 else "warn" if free >= 0.5 else "FAIL"
    yield Finding(level, "disk", f"{free:.1f} GiB free", "" if level == "ok" else "delete what is not needed")


def check_containers() -> Iterable[Finding]:
    """Check that there is a folder of containers, and that each file in it is Python."""
    from runner.container_loader import scan_folder

    if not CONTAINERS.is_dir():
        cure = "go to the folder of your project, or: python runner.py new MyContainer"
        yield Finding("warn", "containers", f"there is no {CONTAINERS.absolute()}", cure)
        return
    scan = scan_folder(CONTAINERS)
    yield Finding("ok", "containers", f"{len(scan.containers)} in {CONTAINERS.absolute()}")
    for file, reason in scan.unreadable.items():
        yield Finding("warn", "containers", f"{file} cannot be read: {reason}", "correct the file")


def check_git() -> Iterable[Finding]:
    """Check that git is there, to record the code of runs."""
    program = shutil.which("git")
    if program is None:
        yield Finding("warn", "git", "not found: runs will not record the state of their code", "install git")
    else:
        yield Finding("ok", "git", program)


def check_shared_memory() -> Iterable[Finding]:
    """Check the shared memory, through which the workers of data loaders hand over batches."""
    if sys.platform != "linux":
        return
    shared = Path("/dev/shm")  # noqa: S108 - only measured
    size = shutil.disk_usage(shared).total / _GIB if shared.is_dir() else 0.0
    if size < 1:
        cure = "docker run --shm-size=8g ..., or num_workers=0 in data loaders"
        yield Finding("warn", str(shared), f"{size:.2f} GiB: workers of data loaders may die with a bus error", cure)
    else:
        yield Finding("ok", str(shared), f"{size:.1f} GiB")


def check_variables() -> Iterable[Finding]:
    """Check for environment variables that change what Lightning and torch do behind everyone's back."""
    troubles = []
    if os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "0") not in ("", "0"):
        troubles.append(("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "lets every checkpoint run code when it is read"))
    troubles += [
        (name, "is ignored: set the parameter of the container instead")
        for name in sorted(os.environ)
        if name.startswith("PL_TRAINER_")
    ]
    from_srun = "SLURM_STEP_ID" in os.environ or os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    if "SLURM_NTASKS" in os.environ and not from_srun:
        count = os.environ["SLURM_NTASKS"]
        troubles.append(("SLURM_NTASKS", f"makes Lightning expect {count} processes, but srun did not start this one"))
    for name, effect in troubles:
        yield Finding("warn", name, effect, f"unset {name}")
    if not troubles:
        yield Finding("ok", "variables", "none that changes Lightning or torch")


def check_text() -> Iterable[Finding]:
    """Check that all characters can be printed."""
    encoding = sys.stdout.encoding or ""
    if encoding.lower().replace("-", "") == "utf8":
        yield Finding("ok", "text", encoding)
    else:
        yield Finding("warn", "text", f"{encoding}: some characters will be shown as codes", "export PYTHONUTF8=1")


CHECKS: tuple[Callable[[], Iterable[Finding]], ...] = (
    check_python,
    check_requirements,
    check_lightning,
    check_torch,
    check_torchvision,
    check_outputs,
    check_containers,
    check_git,
    check_shared_memory,
    check_variables,
    check_text,
)
