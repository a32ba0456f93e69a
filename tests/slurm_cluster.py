"""A real Slurm on this one machine, with ports, keys and folders of its own, for the tests."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.free_ports import free_port
from tests.sweep_samples import REPOSITORY, command, wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
CPUS = 6
"""How many the node says it has; nobody counts."""

_CONFIGURATION = """
ClusterName=lightcase
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket
CredType=cred/munge
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
MailProg=/bin/true
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
FirstJobId={first_job}
ReturnToService=0
JobRequeue=1
KillWait=30
MinJobAge=10
InactiveLimit=0
SlurmctldDebug=info
SlurmdDebug=info
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={node_port} CPUs={cpus} State=UNKNOWN
PartitionName=short Nodes={node} Default=YES MaxTime=120 State=UP
"""


def missing_programs() -> list[str]:
    """Return what a Slurm of our own would need and this machine does not have."""
    return [name for name in PROGRAMS if _which(name) is None]


class Cluster:
    """A running Slurm."""

    node = "here"

    def __init__(self, configuration: Path) -> None:
        self.environment = os.environ | {"SLURM_CONF": str(configuration)}

    def __call__(self, *argv: str) -> str:
        """Run one of Slurm's commands and return what it prints."""
        done = subprocess.run(argv, env=self.environment, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def node_fails(self, job: str) -> None:
        """Take the node away from a job, and give it back once nothing of the job is left on it."""
        self("scontrol", "update", f"NodeName={self.node}", "State=DOWN", "Reason=test")
        wait_until(lambda: self.state(job) == "PENDING" and not _has_steps(job))
        self("scontrol", "update", f"NodeName={self.node}", "State=RESUME")

    def start_again(self, job: str) -> None:
        """Let a job that was requeued start now: Slurm would have it wait for two minutes.

        The node looks after what a job has left in ever longer pauses. A start before it has seen the end of the last
        one is refused ("Duplicate jobid"), and the node is drained.
        """

        def is_running() -> bool:
            if self("sinfo", "--noheader", "--format=%t").startswith("dr"):
                self("scontrol", "update", f"NodeName={self.node}", "State=RESUME")
            with suppress(AssertionError):  # it has started meanwhile
                self("scontrol", "update", f"JobId={job}", "StartTime=now")
            time.sleep(0.5)
            return self.state(job) == "RUNNING"

        time.sleep(1.1)  # a start in the second of the requeue dies: "Job credential revoked"
        wait_until(is_running)

    def program(self, folder: Path, *argv: str, code: int = 0) -> str:
        """Run Lightcase in *folder*; return what it printed to stdout, or to stderr if it is to fail."""
        environment = self.environment | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            command(*argv), cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=180
        )
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if code == 0 else done.stderr

    def state(self, job: str) -> str:
        """Return the state of a job, or an empty text when Slurm has forgotten it."""
        argv = ["squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T"]
        done = subprocess.run(argv, env=self.environment, capture_output=True, text=True, check=False, timeout=60)
        return done.stdout.strip()


@contextmanager
def cluster(root: Path) -> Iterator[Cluster]:
    """Start munge, the controller and one node; stop all three in the end, with every job that still runs."""
    root.chmod(0o755)
    for name in ("state", "spool"):
        (root / name).mkdir()
    configuration = root / "slurm.conf"
    controller_port = free_port()
    node_port = next(port for port in iter(free_port, None) if port != controller_port)
    configuration.write_text(
        _CONFIGURATION.format(
            root=root, user=getpass.getuser(), node=Cluster.node, host=socket.gethostname().split(".")[0], cpus=CPUS,
            controller_port=controller_port, node_port=node_port,
            first_job=controller_port * 1000,  # no job of another cluster of ours has the same number
        )
    )  # fmt: skip
    key = root / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    slurm = Cluster(configuration)
    names = {"key-file": key, "seed-file": root / "munge.seed", "log-file": root / "munged.log",
             "pid-file": root / "munged.pid", "socket": root / "munge.socket"}  # fmt: skip
    munge = ["munged", "--foreground", "--force", *(f"--{name}={path}" for name, path in names.items())]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for argv in (munge, ["slurmctld", "-D", "-c"], ["slurmd", "-D", "-c", "-N", Cluster.node]):
            program = [str(_which(argv[0])), *argv[1:]]
            with (root / f"{argv[0]}.out").open("wb") as output:
                processes.append(
                    subprocess.Popen(program, env=slurm.environment, stdout=output, stderr=output, cwd=root)
                )
            if argv is munge:
                wait_until((root / "munge.socket").exists)
        wait_until(lambda: _is_up(slurm))
        yield slurm
    finally:
        with suppress(AssertionError, subprocess.TimeoutExpired):
            _end_jobs(slurm)
        for process in reversed(processes):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _has_steps(job: str) -> bool:
    """Tell whether Slurm's process for a step of the job is there."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if path.read_bytes().startswith(f"slurmstepd: [{job}.".encode()):
                return True
    return False


def _end_jobs(slurm: Cluster) -> None:
    if slurm("squeue", "--noheader"):
        slurm("scancel", f"--user={getpass.getuser()}")
        wait_until(lambda: not slurm("squeue", "--noheader"), 60)


def _is_up(slurm: Cluster) -> bool:
    done = subprocess.run(
        ["sinfo", "--noheader", "--format=%t"], env=slurm.environment, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() == "idle"


def _which(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
