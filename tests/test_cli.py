"""The program as users run it: processes in a clean folder; of each kind one that a shell would start so, too."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.faults import programs

REPOSITORY = Path(__file__).parents[1]


class Done(NamedTuple):
    """A run of the program that has ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of one's own: a containers folder and nothing else."""
    shutil.copytree(REPOSITORY / "tests" / "containers", tmp_path / "containers")
    return tmp_path


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"} | more


def start(project: Path, *argv: str, **variables: str) -> Done:
    """Run the program to its end, in a process that has torch already."""
    program = programs.start(project, *argv, first=None, separate=True, OMP_NUM_THREADS="1", **variables)
    return Done(program.wait(), program.output, program.errors)


def start_anew(project: Path, *argv: str, module: bool = False, **variables: str) -> Done:
    """Run it as a shell does."""
    program = ["-m", "runner"] if module else [str(REPOSITORY / "runner.py")]
    done = subprocess.run(
        [sys.executable, *program, *argv],
        cwd=project,
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def imports_torch(project: Path, *argv: str) -> bool:
    """Tell whether the program imports torch for these arguments."""
    code = (
        "import sys; from runner.cli import main; code = main(sys.argv[1:]); "
        "sys.exit(77 if 'torch' in sys.modules else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], cwd=project, env=environment(), capture_output=True, check=False
    )
    return done.returncode == 77


def folders(project: Path) -> list[Path]:
    outputs = project / "outputs"
    return [path for path in outputs.iterdir() if path.name != "latest"] if outputs.exists() else []


def test_list_shows_name_place_and_summary(project: Path) -> None:
    """list and --list give a line per container, sorted by name."""
    listed = start_anew(project, "list")
    assert listed.returncode == 0
    assert re.search(r"^Plain +containers/plain\.py:\d+ +A line through points", listed.stdout, re.MULTILINE)
    assert start(project, "--list").stdout == listed.stdout


def test_list_help_and_errors_do_not_import_torch(project: Path) -> None:
    """What answers at once imports nothing heavy."""
    light = project / "containers" / "light.py"
    light.write_text("from runner import LightningContainer\nclass Light(LightningContainer):\n    '''Light.'''\n")
    for argv in (["list"], ["--help"], ["--model=Light", "--help"], ["--model=Light", "--print_config"]):
        assert not imports_torch(project, *argv), argv
    for argv in (["--model=Light", "--num_epoch=1"], ["--model=Nope"], ["--model=Light", "--num_epochs=0"]):
        assert not imports_torch(project, *argv), argv


def test_help_of_a_container_shows_its_own_parameters_first(project: Path) -> None:
    """Type, default, bounds and doc of each parameter, the container's own before the groups."""
    text = start(project, "--model=Plain", "--help").stdout
    assert re.search(r"--num_layers .*1.*10.*default: 4", text)
    assert "Number of layers, unused." in text
    titles = [line for line in text.splitlines() if line.endswith("arameters:") or line.startswith("Parameters of")]
    order = ["Parameters of Plain", "Workflow", "Dataset", "Trainer", "Optimizer", "Saliency"]
    assert [next(name for name in order if title.startswith(name)) for title in titles] == order
    assert "--precision" in text
    assert "--output_to" in text


def test_print_config_is_a_valid_config(project: Path) -> None:
    """What --print_config prints can be given back as --config and prints the same."""
    first = start(project, "--model=WithOptimizer", "--l_rate=1e-2", "--num_layers=7", "--print_config")
    assert first.returncode == 0
    assert "# Learning rate at the start" in first.stdout
    (project / "printed.yaml").write_text(first.stdout)
    assert start(project, "--config=printed.yaml", "--print_config").stdout == first.stdout


def test_nothing_to_run_lists_what_there_is(project: Path) -> None:
    """Without --model and without HelloLesion the program lists the containers and exits with 2."""
    done = start(project)
    assert done.returncode == 2
    assert "There are: " in done.stderr
    assert "Plain" in done.stderr


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--model=Plian"], "Did you mean Plain?"),
        (["--model=Plain", "--num_layer=7"], "Plain has no parameter 'num_layer'. Did you mean --num_layers"),
        (["--model=Plain", "--num_lay=7"], "Plain has no parameter 'num_lay'. Did you mean --num_layers?"),
        (["--model=Plain", "--max_epochs=7"], "Did you mean --num_epochs?"),
        (["--model=Plain", "--num_layers=99"], "10"),
        (["--model=Plain", "--num_layers=x"], "--num_layers=x"),
        (["--model=Plain", "--num_layers"], "--num_layers needs a value"),
        (["--model=Plain", "--train=Train"], "--train=Train"),
        (["--model=Plain", "--train=False"], "--src_checkpoint"),
        (["--model=Plain", "--resume=nowhere"], "is no run folder"),
        (["--model=Plain", "--config=nowhere"], "nowhere"),
        (["--model=Clash"], "Clash.log_level has the name of the program's own option --log_level"),
        (["--model=Misspelt"], "misspelt.py:11: Misspelt has no parameter 'num_epoch'. Did you mean 'num_epochs'?"),
    ],
)
def test_mistakes_end_in_one_line_before_anything_happens(project: Path, argv: list[str], message: str) -> None:
    """Usage errors exit with 2, without a traceback, without a folder."""
    done = start(project, *argv)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert folders(project) == []


def test_a_broken_container_shows_its_own_traceback(project: Path) -> None:
    """An import error ends with exit code 1 and begins with the user's file; others in the folder still run."""
    done = start(project, "--model=Broken")
    assert done.returncode == 1
    assert "does_not_exist" in done.stderr
    assert "container_loader.py" not in done.stderr
    assert "broken.py" in done.stderr


def test_a_bug_in_user_code_shows_its_traceback_and_how_to_go_on(project: Path) -> None:
    """A failed run exits with 1, prints the traceback, the folder and the command to resume."""
    done = start_anew(project, "--model=FailsInTraining", "--json")
    assert done.returncode == 1
    assert "ZeroDivisionError: a bug in user code" in done.stderr
    assert "awkward.py" in done.stderr
    assert re.search(r"Go on with: python runner\.py --resume=outputs/\S+_FailsInTraining", done.stderr)
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert (outcome["state"], outcome["exit_code"]) == ("failed", 1)


def test_the_last_line_can_be_json(project: Path) -> None:
    """--json ends stdout with one object that says how it went."""
    done = start_anew(project, "--model=Plain", "--num_epochs=1", "--json", "--quiet", module=True)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert {"state", "model", "folder", "metrics", "phases", "exit_code"} <= set(outcome)
    assert outcome["state"] == "completed"
    assert Path(outcome["folder"]).is_dir()
    refused = start(project, "--model=Nope", "--json")
    assert json.loads(refused.stdout.splitlines()[-1])["exit_code"] == 2


def test_output_without_a_terminal_is_plain_lines(project: Path) -> None:
    """One line per epoch, no control characters, no advertising; the last lines are metrics, report and folder."""
    done = start_anew(project, "--model=Plain", "--num_epochs=3")
    assert len(re.findall(r"^epoch \d/3 ", done.stdout, re.MULTILINE)) == 3
    assert not re.search(r"[\x1b\r]", done.stdout + done.stderr)
    assert "litlogger" not in done.stdout + done.stderr
    assert done.stderr == ""
    assert re.match(r"outputs/\S+_Plain$", done.stdout.splitlines()[-1])
    assert re.match(r"report: outputs/\S+/report.html$", done.stdout.splitlines()[-2])
    assert "test_loss" in done.stdout.splitlines()[-3]


def test_output_to_another_folder(project: Path) -> None:
    """--output_to puts the run folder there and leaves outputs alone."""
    assert start(project, "--model=Plain", "--num_epochs=1", "--output_to=else/where").returncode == 0
    assert len(list((project / "else" / "where").glob("*_Plain"))) == 1
    assert folders(project) == []


def test_from_any_folder(project: Path, tmp_path: Path) -> None:
    """The same program from another folder, with a path or a containers folder."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for argv in (["--model=../containers/plain.py:Plain"], ["--model=Plain", "--containers=../containers"]):
        done = start(elsewhere, *argv, "--num_epochs=1", "--quiet")
        assert done.returncode == 0, done.stderr
        assert len(folders(elsewhere)) == 1
        config = (folders(elsewhere)[0] / "config.yaml").read_text()
        assert f"model: {project / 'containers' / 'plain.py'}:Plain" in config.replace('"', "")
        shutil.rmtree(elsewhere / "outputs")


def test_two_processes_train_in_one_folder(project: Path) -> None:
    """DDP on two CPU processes works from a relative script path with a relative data set, with one test."""
    (project / "data").mkdir()
    script = os.path.relpath(REPOSITORY / "runner.py", project)
    argv = [sys.executable, script, "--model=Plain", "--accelerator=cpu", "--devices=2", "--strategy=ddp"]
    done = subprocess.run(
        [*argv, "--local_dataset=data", "--num_epochs=2"],
        cwd=project,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    assert len(folders(project)) == 1
    folder = folders(project)[0]
    log = (folder / "run.log").read_text()
    assert "rank1" in log
    assert json.loads((folder / "results.json").read_text())["test"]["num_items"] == 40
    assert len(re.findall(r"^epoch \d/2", done.stdout, re.MULTILINE)) == 2


def state_of(folder: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((folder / "status.json").read_text())
    return value


def test_a_stopped_run_goes_on_to_the_same_bits(project: Path) -> None:
    """Terminated in the middle of an epoch, a resumed run ends as if it had never stopped; see also tests/faults."""
    number, code, state = signal.SIGTERM, 143, "interrupted"
    whole = start(project, "--model=Dying", "--die_at_step=0", "--output_to=whole", "--logger=")
    assert whole.returncode == 0, whole.stderr
    stopped = start(project, "--model=Dying", f"--signal_number={number}", "--output_to=stopped", "--logger=")
    assert stopped.returncode == code
    folder = (project / "stopped" / "latest").resolve()
    assert state_of(folder)["state"] == state
    assert f"--resume=stopped/{folder.name}" in stopped.stderr
    assert (folder / "checkpoints" / "interrupted.ckpt").exists()
    resumed = start(project, "--resume=stopped/latest", "--logger=")
    assert resumed.returncode == 0, resumed.stderr
    assert (folder / "metrics.csv").read_text() == (project / "whole" / "latest" / "metrics.csv").read_text()
    compare = (
        "import torch; a, b = (torch.load(f'{n}/latest/checkpoints/last.ckpt') for n in ('whole', 'stopped')); "
        "assert all(torch.equal(a['state_dict'][k], b['state_dict'][k]) for k in a['state_dict']); "
        "assert str(a['optimizer_states']) == str(b['optimizer_states']); assert a['global_step'] == b['global_step']"
    )
    subprocess.run([sys.executable, "-c", compare], cwd=project, check=True)


def test_a_stopped_run_may_go_on_in_the_middle_of_an_epoch(project: Path) -> None:
    """Without --deterministic a terminated run loses no step: it goes on from interrupted.ckpt."""
    stopped = start(project, "--model=Dying", f"--signal_number={signal.SIGTERM}", "--deterministic=False", "--logger=")
    assert stopped.returncode == 143
    resumed = start(project, "--resume=outputs/latest", "--logger=")
    assert resumed.returncode == 0, resumed.stderr
    assert "going on from checkpoints/interrupted.ckpt" in resumed.stdout
    result = json.loads((project / "outputs" / "latest" / "results.json").read_text())
    assert result["train"]["steps"] == 25
    assert not (project / "outputs" / "latest" / "checkpoints" / "interrupted.ckpt").exists()


def test_a_signal_in_a_validation_is_no_failure(project: Path) -> None:
    """SIGTERM while a model is validated ends the run as interrupted, and no epoch is missing after a resume."""
    assert start(project, "--model=StoppedInValidation", "--logger=").returncode == 143
    folder = (project / "outputs" / "latest").resolve()
    assert state_of(folder)["state"] == "interrupted"
    assert start(project, "--resume=outputs/latest").returncode == 0
    rows = (folder / "metrics.csv").read_text().splitlines()[1:]
    assert [row.partition(",")[0] for row in rows] == ["0", "1", "2"]


def test_finished_epochs_outlive_an_older_interruption(project: Path) -> None:
    """After SIGTERM, a resume and kill -9, the run goes on from its newest epoch, not from the interruption."""
    settings = ["--model=Dying", "--deterministic=False", "--die_at_step=7", "--signal_number=15", "--logger="]
    assert start(project, *settings).returncode == 143
    folder = (project / "outputs" / "latest").resolve()
    (folder / "died").unlink()
    assert start(project, f"--resume={folder}", "--die_at_step=18", "--signal_number=9").returncode == -9
    assert "going on from checkpoints/last.ckpt" in start(project, f"--resume={folder}").stdout
    rows = (folder / "metrics.csv").read_text().splitlines()[1:]
    assert [row.partition(",")[0] for row in rows] == ["0", "1", "2", "3", "4"]


def test_signals_outside_training_stop_at_once(project: Path) -> None:
    """SIGTERM while the container prepares itself ends the run at once, with its status written."""
    process = subprocess.Popen(
        [sys.executable, str(REPOSITORY / "runner.py"), "--model=SlowSetup", "--quiet"],
        cwd=project,
        env=environment(),
        stderr=subprocess.DEVNULL,
    )
    programs.wait_for((project / "setting_up").exists)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 143
    assert state_of(project / "outputs" / "latest")["exit_reason"] == "stopped by SIGTERM"  # not by force
    assert state_of(project / "outputs" / "latest")["state"] == "interrupted"


def test_nobody_reading_is_no_traceback(project: Path) -> None:
    """A closed pipe ends the output, not in a traceback."""
    command = f"{sys.executable} {REPOSITORY / 'runner.py'} --help | head -1"
    done = subprocess.run(
        command, shell=True, cwd=project, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("Usage:")
    assert "Traceback" not in done.stderr


def test_trainer_variables_are_ignored(project: Path) -> None:
    """PL_TRAINER_... variables do not change a run behind one's back."""
    done = start(project, "--model=Plain", "--num_epochs=1", PL_TRAINER_LIMIT_VAL_BATCHES="0")
    assert "val_loss" in done.stdout
    assert "ignoring PL_TRAINER_LIMIT_VAL_BATCHES" in done.stderr


def test_version(project: Path) -> None:
    """--version prints the version of the distribution."""
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", start_anew(project, "--version").stdout)
