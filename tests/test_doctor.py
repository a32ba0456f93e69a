"""The doctor finds what is broken, says the cure, and does not break itself."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEALTHY_TORCH = """
__version__ = "2.13.0+cpu"
class version: cuda = hip = None
class backends:
    class mps: is_available = staticmethod(lambda: False)
class cuda: is_available = staticmethod(lambda: False)
"""
"""What the doctor asks of torch, in a file that is imported in no time."""


def run_doctor(where: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    program = "import sys; from runner.doctor import doctor; sys.exit(doctor(sys.stdout))"
    return subprocess.run(
        [sys.executable, "-c", program], cwd=where, env=environment, capture_output=True, text=True, check=False
    )


class Machine:
    """A working directory, and a folder that comes first on the path of Python and of programs."""

    def __init__(self, tmp_path: Path) -> None:
        self.here, self.first = tmp_path / "project", tmp_path / "first"
        self.here.mkdir()
        self.add("torch.py", HEALTHY_TORCH)

    def add(self, name: str, content: str) -> None:
        """Put a module, a package's file or a program first on the paths."""
        path = self.first / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(0o755)

    def add_distribution(self, name: str, version: str, *requirements: str) -> None:
        """Let a package look installed."""
        needs = "".join(f"Requires-Dist: {each}\n" for each in requirements)
        self.add(
            f"{name}-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
        )

    def doctor(self, **variables: str) -> tuple[int, list[str]]:
        """Return exit code and lines of the doctor; with ``PATH`` given, only that."""
        environment = {
            "PATH": f"{self.first}:{os.environ['PATH']}",
            "PYTHONPATH": f"{self.first}:{ROOT}",
            "PYTHONUTF8": "1",
            **{name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")},
        }
        done = run_doctor(self.here, environment | variables)
        assert done.stderr == ""
        return done.returncode, done.stdout.splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def line(lines: list[str], subject: str) -> str:
    """Return the one line about a subject, with single blanks."""
    [found] = [" ".join(each.split()) for each in lines if each[6:].startswith(f"{subject}  ")]
    return found


def test_this_very_machine_is_fit_to_run() -> None:
    """Where these tests run, the real torch and all requirements are fine, and the exit code is 0."""
    done = run_doctor(ROOT, os.environ)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert {each[:6] for each in lines} <= {"ok    ", "warn  "}
    assert line(lines, "pytorch-lightning").startswith("ok pytorch-lightning 2.6.")
    assert " sees " in line(lines, "torch devices")
    assert line(lines, "containers").endswith(f"in {ROOT / 'containers'}")


def test_an_empty_project_is_no_failure(machine: Machine) -> None:
    """Without a containers folder there is a warning with the command that makes one; the outputs are not made."""
    code, lines = machine.doctor()
    assert code == 0
    assert line(lines, "containers").startswith("warn containers there is no ")
    assert line(lines, "containers").endswith("runner.py new MyContainer")
    assert line(lines, "variables").startswith("ok")
    assert line(lines, "outputs").startswith("ok")
    assert list(machine.here.iterdir()) == []


def test_a_broken_torchvision_is_named_with_its_cure(machine: Machine) -> None:
    """A torchvision that cannot be imported fails with its own message."""
    machine.add("torchvision/__init__.py", "raise RuntimeError('operator torchvision::nms does not exist')")
    code, lines = machine.doctor()
    assert code == 1
    assert line(lines, "torchvision") == (
        "FAIL torchvision cannot be imported: RuntimeError: operator torchvision::nms does not exist"
        " -> pip uninstall torchvision"
    )


def test_a_torchvision_for_another_torch_is_not_even_imported(machine: Machine) -> None:
    """A torchvision whose metadata asks for another torch fails by that alone."""
    machine.add("torchvision/__init__.py", "")
    machine.add_distribution("torchvision", "0.1.0", "numpy", "torch (==1.0.0)")
    code, lines = machine.doctor()
    assert code == 1
    assert line(lines, "torchvision").startswith("FAIL torchvision 0.1.0 needs torch==1.0.0, not ")


def test_stolen_releases_of_lightning_are_named(machine: Machine) -> None:
    """The releases that stole credentials fail, under both names; a second Lightning is a warning of its own."""
    machine.add_distribution("pytorch_lightning", "2.6.2")
    machine.add_distribution("lightning", "2.6.3")
    code, lines = machine.doctor()
    assert code == 1
    text = "\n".join(lines)
    assert "2.6.2 steals credentials" in text
    assert "2.6.3 steals credentials" in text
    assert "warn  lightning             2.6.3 beside pytorch-lightning" in text
    assert "FAIL  pytorch-lightning     2.6.2, but <2.7,>=2.6.6 is needed  -> pip install" in text


def test_requirements_are_those_of_the_installed_distribution(machine: Machine) -> None:
    """What the installed distribution asks for is checked: version, presence, and no extras."""
    machine.add_distribution(
        "lightcase", "9.9", "numpy>=99", "missing-package>=1", "param>=2", "other-package; extra == 'other'"
    )
    code, lines = machine.doctor()
    assert code == 1
    assert line(lines, "lightcase") == "ok lightcase 9.9, installed"
    assert line(lines, "numpy").endswith("but >=99 is needed -> pip install 'numpy>=99'")
    assert line(lines, "missing-package") == ("FAIL missing-package not installed -> pip install 'missing-package>=1'")
    assert line(lines, "param").startswith("ok")
    assert "other-package" not in "".join(lines)


def test_a_torch_that_cannot_be_imported_fails(machine: Machine) -> None:
    """A torch whose libraries are missing fails with its own message, and the other checks still run."""
    machine.add("torch.py", "raise ImportError('libcudart.so.13: cannot open shared object file')")
    code, lines = machine.doctor()
    assert code == 1
    assert "FAIL torch devices ImportError: libcudart.so.13" in line(lines, "torch devices")
    assert line(lines, "git").startswith("ok")


@pytest.mark.parametrize(
    ("cuda", "variables", "level", "said"),
    [
        ("None", {}, "warn", "(CPU build) does not see the Tesla T4, 450.1 -> install a build with CUDA"),
        ("'13.0'", {}, "FAIL", "does not see the Tesla T4, 450.1: CUDA initialization: the driver is too old"),
        ("'13.0'", {"CUDA_VISIBLE_DEVICES": ""}, "warn", "-> unset CUDA_VISIBLE_DEVICES, which is ''"),
    ],
)
def test_a_gpu_that_torch_does_not_see_is_named(
    machine: Machine, cuda: str, variables: dict[str, str], level: str, said: str
) -> None:
    """Where the machine has a GPU and torch finds none, the reason is the build, the driver or a variable."""
    machine.add("nvidia-smi", "#!/bin/sh\necho 'Tesla T4, 450.1'\n")
    warn = "import warnings; warnings.warn('CUDA initialization: the driver is too old')\n"
    machine.add("torch.py", HEALTHY_TORCH.replace("cuda = hip = None", f"cuda, hip = {cuda}, None") + warn)
    code, lines = machine.doctor(**variables)
    found = line(lines, "torch devices")
    assert found.startswith(f"{level} torch devices torch 2.13.0+cpu ")
    assert said in found
    assert code == int(level == "FAIL")


def test_misleading_variables_are_named(machine: Machine) -> None:
    """Each variable that changes Lightning or torch is a warning with its cure, as a missing git is."""
    machine.add("bin/nothing", "")
    code, lines = machine.doctor(
        TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD="1",
        PL_TRAINER_MAX_EPOCHS="3",
        SLURM_NTASKS="4",
        PATH=str(machine.first / "bin"),
        PYTHONUTF8="0",
        PYTHONIOENCODING="ascii",
    )
    assert code == 0
    for name in ("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "PL_TRAINER_MAX_EPOCHS", "SLURM_NTASKS"):
        [found] = [each for each in lines if each.startswith(f"warn  {name} ")]
        assert found.endswith(f"-> unset {name}")
    assert line(lines, "git").startswith("warn")
    assert line(lines, "text").startswith("warn text ascii")


def test_a_process_of_srun_is_no_stray(machine: Machine) -> None:
    """SLURM_NTASKS is as it should be where srun started the process."""
    assert line(machine.doctor(SLURM_NTASKS="4", SLURM_STEP_ID="0")[1], "variables").startswith("ok")


def test_outputs_that_cannot_be_written_fail(machine: Machine) -> None:
    """A folder for outputs in which no file can be made fails; nothing is left behind in one where it can."""
    outputs = machine.here / "outputs"
    outputs.symlink_to("/proc/self")
    code, lines = machine.doctor()
    assert code == 1
    assert line(lines, "outputs").startswith("FAIL outputs cannot write, rename, lock or delete in ")
    outputs.unlink()
    outputs.mkdir()
    assert line(machine.doctor()[1], "outputs").startswith("ok")
    assert list(outputs.iterdir()) == []


def test_files_of_containers_are_read_but_not_imported(machine: Machine) -> None:
    """A file that is no Python is a warning; names that cannot be printed are shown as codes."""
    folder = machine.here / "containers"
    folder.mkdir()
    (folder / "größe.py").write_text("class (")
    (folder / "good.py").write_text(
        "from runner import LightningContainer\nclass Mine(LightningContainer): pass\nraise SystemExit\n"
    )
    code, lines = machine.doctor(PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert code == 0
    assert any(each.startswith("ok    containers            1 in ") for each in lines)
    assert any("gr\\xf6\\xdfe.py cannot be read: " in each and "-> correct the file" in each for each in lines)
