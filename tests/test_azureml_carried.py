"""What was typed here is what the program gets in the job: through bash, with paths that are there."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.azureml.carried import carried_words, command_text, inside, refuse_placeholder
from runner.command_line import parse_command_line
from runner.errors import UsageError
from runner.preparation import Plan, prepare_container

CONTAINER = '''
from pathlib import Path
import param
from runner import LightningContainer

class Mine(LightningContainer):
    """With a path and a secret."""

    atlas = param.ClassSelector(class_=Path, default=None, allow_None=True)
    token = param.String(default="")
    note = param.String(default="")
    server = param.Dict(default={})
    places = param.List(default=[], item_type=str)
'''

words = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12), max_size=5)


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project as the working directory, with a file of each kind inside and outside."""
    folder = tmp_path / "code"
    for name in ("containers/mine.py", "configs/quick.yaml", "data/atlas.nii", "outputs/run/best.ckpt"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).touch()
    (folder / "containers" / "mine.py").write_text(CONTAINER)
    (folder / "configs" / "quick.yaml").write_text(f"num_epochs: 2\natlas: {folder}/data/atlas.nii\n")
    (tmp_path / "outside.yaml").write_text("num_epochs: 2\n")
    (folder / "extends.yaml").write_text("extends: ../outside.yaml\n")
    (folder / "linked.yaml").symlink_to(tmp_path / "outside.yaml")
    (folder / "secret.yaml").write_text("num_epochs: 2\ntoken: abc\n")
    (folder / "deep.yaml").write_text("num_epochs: 2\nserver: {port: 80, login: {name: me, password: abc}}\n")
    (folder / "list.yaml").write_text("places:\n- here\n- https://me:abc@example.org\n")
    (folder / "url.yaml").write_text("note: https://me:abc@example.org\n")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr("sys.argv", [str(folder / "runner.py")])
    return folder


def carried(code: Path, *argv: str, mounted: tuple[str, ...] = ()) -> list[str]:
    """Return the words of the job."""
    request = parse_command_line(["--model=Mine", *argv])
    plan = Plan(model=request.model, config=request.config, overrides=request.overrides)
    return carried_words(request, prepare_container(plan), code, mounted)


@given(words)
def test_a_shell_reads_the_words_again(words: list[str]) -> None:
    """Whatever they hold."""
    assert shlex.split(command_text(words, {})) == words


def test_bash_gives_the_program_what_was_typed() -> None:
    """The real one: quotes, dollars, stars, lines, another script."""
    typed = [
        "it's",
        '"x"',
        "$HOME `id` $(id)",
        "a\nb\tc",
        "*",
        "",
        "~",
        "\\",
        "!!",
        "größe 漢字",
        "-n",
        "#x",
        "a;b|c&d>e",
    ]
    command = command_text(typed, {"place": "${{inputs.dataset}}"}).replace("${{inputs.dataset}}", "/mnt/my data/$x")
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == [*typed, "--place=/mnt/my data/$x"]


def test_all_that_was_typed_is_carried(code: Path) -> None:
    """Names as they were typed, switches, negations, options of the program."""
    found = carried(
        code, "--note=a b", "--num-epochs=3", "--no-train", "--deterministic", "--quiet", "--log_level=debug"
    )
    own = ["--note=a b", "--num-epochs=3", "--no-train", "--deterministic"]
    assert found == ["python", "runner.py", "--model=Mine", "--log_level=debug", "--quiet", *own]


def test_the_package_is_called_where_no_script_is_uploaded(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must be installed in the environment of the job."""
    monkeypatch.setattr("sys.argv", ["/usr/bin/lightcase"])
    assert carried(code)[:3] == ["python", "-m", "runner"]


def test_paths_are_those_of_the_uploaded_folder(code: Path) -> None:
    """Of the command line and of files, whether they were absolute or not."""
    found = carried(code, f"--containers={code}/containers", "--config=quick")
    assert found[2:] == [
        "--model=Mine",
        "--containers=containers",
        "--config=configs/quick.yaml",
        "--atlas=data/atlas.nii",
    ]
    assert carried(code, f"--atlas={code}/data/../data/atlas.nii")[-1] == "--atlas=data/atlas.nii"
    further = carried(code, f"--extra_local_dataset_paths=data,{code}/configs")[-1]
    assert further == "--extra_local_dataset_paths=data,configs"
    assert carried(code, "--atlas=None")[-1] == "--atlas=None"


def test_mounted_data_replace_what_was_typed(code: Path) -> None:
    """The path of this machine is not there."""
    assert carried(code, "--local_dataset=/data/here", mounted=("local_dataset",))[2:] == ["--model=Mine"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--atlas=/data/atlas.nii"], "atlas: /data/atlas.nii is not in .*code, the folder that is uploaded; copy it"),
        (["--atlas=../outside.yaml"], "atlas: .*/outside.yaml is not in"),
        (["--atlas=outputs/run/best.ckpt"], "atlas: .*best.ckpt is in outputs/, which is not uploaded"),
        (["--local_dataset=/data"], "or say where it lies in Azure with --azure_dataset_id"),
        (["--config=../outside.yaml"], "outside.yaml is not in"),
        (["--config=extends.yaml"], "--config=extends.yaml: .*outside.yaml is not in"),
        (["--containers=/tmp"], "--containers: /tmp is not in"),
        (["--config=linked.yaml"], "--config=linked.yaml: .*outside.yaml is not in"),
        (["--config=secret.yaml"], "secret.yaml:2: token is a secret"),
        (["--config=url.yaml"], "url.yaml:1: note is a secret"),
        (["--config=deep.yaml"], "deep.yaml:2: password is a secret"),
        (["--config=list.yaml"], "list.yaml:1: places is a secret"),
        (["--token=abc"], "--token is a secret"),
        (["--server={'port': 80, 'password': 'abc'}"], "--server is a secret"),
        (["--server={login: [{password: abc}]}"], "--server is a secret"),
        (["--note=https://me:abc@example.org"], "--note is a secret"),
        (["--note=${{inputs.dataset}}"], "holds \\$\\{\\{, which AzureML replaces"),
        (["--note=a\udcffb"], "not UTF-8"),
    ],
)
def test_what_would_not_arrive_is_refused(code: Path, argv: list[str], message: str) -> None:
    """With one sentence that says what to do."""
    with pytest.raises(UsageError, match=message):
        carried(code, *argv)


def test_how_much_is_said_is_carried(code: Path) -> None:
    """Options of the program go along, too."""
    found = carried(code, "--log_level=debug", "--quiet", "--json", "--model_configs_namespace=containers.mine")
    assert found[3:] == ["--model_configs_namespace=containers.mine", "--log_level=debug", "--quiet", "--json"]


def test_a_model_that_a_file_names(code: Path) -> None:
    """As a run's config.yaml does, by its path here."""
    (code / "run.yaml").write_text(f"model: {code}/containers/mine.py:Mine\n")
    request = parse_command_line(["--config=run.yaml"])
    found = carried_words(request, prepare_container(Plan(config=request.config)), code, ())
    assert found[2:] == ["--model=containers/mine.py:Mine", "--config=run.yaml"]


def test_a_container_from_elsewhere_is_refused(code: Path, tmp_path: Path) -> None:
    """Though its name needs no path."""
    (tmp_path / "elsewhere.py").write_text(CONTAINER)
    sys.path.append(str(tmp_path))
    request = parse_command_line(["--model=elsewhere.Mine"])
    with pytest.raises(UsageError, match=r"--azureml: Mine: .*elsewhere.py is not in"):
        carried_words(request, prepare_container(Plan(model=request.model)), code, ())


def test_the_folder_may_be_entered_by_a_link(code: Path) -> None:
    """What is named by the link is in it."""
    (code.parent / "link").symlink_to(code)
    assert carried(code, f"--atlas={code.parent}/link/data/atlas.nii")[-1] == "--atlas=data/atlas.nii"


def test_a_model_of_another_folder_is_refused(code: Path) -> None:
    """Its file would not be there."""
    assert inside(code / "containers" / "mine.py", code, "--model") == "containers/mine.py"
    with pytest.raises(UsageError, match="--model: "):
        inside(code.parent / "mine.py", code, "--model")


def test_a_dollar_alone_is_no_placeholder() -> None:
    """Nor are braces."""
    refuse_placeholder("$HOME ${HOME} {{x}}")
