"""``runs``: what is listed is what is there, with and without an index, whatever the files hold."""

import csv
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runner
from runner.browser import index
from runner.browser.command import ACTIONS
from runner.browser.index import INDEX, records_in
from runner.browser.records import MISSING, RunRecord, read_record
from runner.cli import main
from runner.command_line import COMMAND_OPTIONS
from runner.folder_lock import FolderLock
from runner.run_folder import RunFolder
from runner.sweep.sweep_folder import Control, SweepFolder
from tests.run_samples import age, make_run
from tests.test_sweep_history import make_plan

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three runs of two models."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    outputs = tmp_path / "outputs"
    make_run(outputs, "Alpha", l_rate=0.1, metrics={"test_acc": 0.9})
    make_run(outputs, "Beta", l_rate=0.001, depth=4, metrics={"test_acc": 0.7, "test_auc": None})
    make_run(outputs, "Gamma", state="failed", metrics={})
    return outputs


def listed(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["runs", *options]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def models(capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    return [each["model"] for each in json.loads(listed(capsys, "--format=json", *options))]


def test_the_table(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Newest last; what differs has a column; what there is no room for is named."""
    title, *rows = listed(capsys).splitlines()
    assert title.split() == ["name", "state", "age", "time", "test_acc", "test_auc", "val/loss", "l_rate"]
    assert [row.split()[0].split("_")[1] for row in rows] == ["Alpha", "Beta", "Gamma"]
    assert rows[1].split()[-4:] == ["0.7", "nan", "0.25", "0.001"]
    assert rows[2].split()[-4:] == ["-", "-", "0.25", "0.01"]


def test_a_narrow_terminal(outputs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The main metric stays longest."""
    monkeypatch.setenv("COLUMNS", "70")
    lines = listed(capsys).splitlines()
    assert max(map(len, lines)) <= 70
    assert "test_acc" in lines[0]
    assert lines[-1].startswith("not shown: ")


def test_choosing_and_sorting(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Conditions, order and number."""
    assert models(capsys, "--where", "l_rate < 0.05 and state == 'completed'") == ["Beta"]
    assert models(capsys, "--where=`val/loss` == 0.25 and model in ('Alpha', 'Gamma')") == ["Alpha", "Gamma"]
    assert models(capsys, "--where=depth > 1") == ["Beta"]
    assert models(capsys, "--where=not depth > 1") == []
    assert models(capsys, "--where=date > '2020'") == ["Alpha", "Beta", "Gamma"]
    assert models(capsys, "--sort=test_acc") == ["Beta", "Alpha", "Gamma"]
    assert models(capsys, "--sort=-test_acc") == ["Alpha", "Beta", "Gamma"]
    assert models(capsys, "--sort=-name") == ["Gamma", "Beta", "Alpha"]
    assert models(capsys, "--last=2") == ["Beta", "Gamma"]


def test_what_was_asked_about_is_shown(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A column that decides on the rows, or their order, is never left out."""
    title = listed(capsys, "--where=num_epochs < 5 and state != 'failed'", "--sort=-epochs").splitlines()[0].split()
    assert {"num_epochs", "epochs", "state"} <= set(title)
    assert title.count("state") == 1


def test_formats(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """CSV and JSON have everything unless columns are chosen; NaN is null in JSON."""
    rows = list(csv.DictReader(listed(capsys, "--format=csv").splitlines()))
    assert [row["depth"] for row in rows] == ["", "4", ""]
    assert rows[0]["l_rate"] == "0.1"
    found = json.loads(listed(capsys, "--format=json", "--columns=model,test_auc,tags"))
    assert found[1] == {"model": "Beta", "test_auc": None, "tags": []}
    assert listed(capsys, "--format=md", "--columns=model,test_acc").splitlines()[:3] == [
        "| model | test_acc |",
        "|---|---|",
        "| Alpha | 0.9 |",
    ]


def test_python(outputs: Path) -> None:
    """The same from Python, as flat records; nothing heavy is loaded."""
    found = runner.runs("test_acc > 0.8")
    assert [each["model"] for each in found] == ["Alpha"]
    assert found[0]["l_rate"] == 0.1
    assert found[0]["folder"] == str(next(outputs.glob("*_Alpha")))
    assert len(runner.runs(output_to=outputs)) == 3
    code = (
        "import sys, runner; assert runner.runs(); print({'torch', 'pandas', 'pytorch_lightning'} & set(sys.modules))"
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True) == "set()\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--where=l_rat < 1"], "no run has 'l_rat'. Did you mean l_rate?\n  l_rat < 1\n  ^^^^^"),
        (["--where=l_rate <"], "not the end"),
        (["--sort=test_ac"], "Did you mean test_a"),
        (["--columns=name,stat"], "Did you mean state"),
        (["--format=cvs"], "Did you mean csv?"),
        (["--last=0"], "from 1 on"),
        (["--wher=x"], "Did you mean --where?"),
        (["--where"], "--where needs a value"),
        (["--yes"], "--yes is for runs rm"),
        (["shw"], "Did you mean show?"),
        (["show"], "Write: runs show RUN"),
        (["show", "Alpah"], "Did you mean"),
        (["show", "2"], "3 runs are called like"),
        (["show", "x" * 5000], "There is no run"),
        (["show", "\0"], "There is no run"),
        (["show", "latest", "--last=1"], "--last is for runs"),
        (["--sweep=nowhere"], "There is no sweep"),
    ],
)
def test_mistakes(outputs: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and one message."""
    assert main(["runs", *options]) == 2
    assert words in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Every action and option of the command."""
    text = listed(capsys, "--help")
    assert all(f"runs {name} " in text for name in [*ACTIONS, "verify"])
    assert all(f"--{name}" in text for name in COMMAND_OPTIONS["runs"])


WORDS = (
    "show compare tag note export rm verify latest 2 Alpha --where --where=a --sort --sort=- --last --last=1e9 "
    "--columns=, --columns=name --format=md --format=csv --sweep --sweep=x --html=/ --remove --yes --yes=no --help / "
    ".. -x -- outputs outputs/latest --output_to=/dev/null \x1b é x.zip --where=l_rate>0 --sort=-tags"
)


@given(
    st.lists(
        st.sampled_from(WORDS.split(" ")) | st.text(max_size=300).map(lambda word: re.sub("[/\0]", "", word)),
        max_size=5,
    )
)
@settings(max_examples=150, deadline=None)
def test_no_command_line_ends_in_a_traceback(
    outputs: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    """Each does what it says, or is refused with one message."""
    code = main(["runs", *words])
    said = capsys.readouterr().err
    assert code in (0, 1, 2)
    assert "Traceback" not in said
    assert code == 1 or bool(said) == (code == 2)


def test_nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """No folder is no mistake, and none is made."""
    monkeypatch.chdir(tmp_path)
    assert "There are no runs" in listed(capsys)
    assert json.loads(listed(capsys, "--format=json", "--where=l_rate < 1")) == []
    assert not (tmp_path / "outputs").exists()


def test_running_and_killed(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """status.json says ``running`` of both; the lock knows."""
    path = make_run(outputs, "Zeta", state="running", sealed=False)
    age(path)
    assert records_in(outputs)[-1].state == "killed"
    lock = FolderLock(path)
    assert lock.take()
    assert records_in(outputs)[-1].state == "running"
    lock.give_back()
    assert models(capsys, "--where=state == 'killed'") == ["Zeta"]


def test_trials_of_a_sweep(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only where they are asked for; they are found by name and number."""
    sweep = SweepFolder.create(outputs, "Swept", make_plan().to_json(), Control())
    make_run(outputs, "Trial").rename(sweep.point(3))
    assert "Trial" not in models(capsys)
    for option in ("--sweep", f"--sweep={sweep.name}"):
        assert json.loads(listed(capsys, option, "--format=json"))[0]["name"] == f"{sweep.name}/000003"
    assert listed(capsys, "show", f"{sweep.name}/3").startswith(f"{sweep.name}/000003")


@pytest.mark.parametrize("content", [b"", b"[1, 2", b'{"state": {"a": 1}, "phases": 3}', b"\xff\xfe\0", b"[" * 100_000])
@pytest.mark.parametrize("file", ["status.json", "results.json", "config.yaml", "labels.json", "environment.json"])
def test_damaged_files(outputs: Path, file: str, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """A run with a damaged file is listed and shown, with what is left of it."""
    path = next(outputs.glob("*_Beta"))
    (path / file).write_bytes(content)
    assert "_Beta" in listed(capsys)
    assert "_Beta" in listed(capsys, "show", path.name)


def test_hostile_texts(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing that a terminal would obey is printed, and no spreadsheet takes a cell for a formula."""
    path = make_run(outputs, "Evil", note_="\x1b]0;title\x07", formula="=1+1")
    RunFolder(path).labels.write_text(json.dumps({"tags": ["\x1b[2J"], "note": "=cmd()\n\x07"}))
    for options in ((), ("--format=csv",), ("--format=md",), ("show", path.name)):
        assert listed(capsys, *options).replace("\n", "").isprintable()
    assert ",'=1+1" in listed(capsys, "--format=csv")


def test_numbers_that_no_float_can_hold(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a metric it is dropped; as a parameter it is the largest there is."""
    big = 10**400
    path = make_run(outputs, "Big", metrics={"big": big, "test_acc": 0.1}, l_rate=big)
    make_run(outputs, "Small", metrics={"big": 1})
    assert models(capsys, "--sort=-big")[0] == "Small"
    assert models(capsys, "--sort=-l_rate")[0] == "Big"
    for words in ([], ["show", path.name], ["compare", path.name, "Small"], ["--format=csv"]):
        listed(capsys, *words)


def test_texts_that_no_file_can_hold(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lone surrogates and control characters are escapes, and the JSON is JSON."""
    note = "é\ud800\x85\U000e0001"
    RunFolder(next(outputs.glob("*_Alpha"))).labels.write_text(json.dumps({"note": note}))
    text = listed(capsys, "--format=json")
    assert json.loads(text)[0]["note"] == note
    assert "é" in text
    assert text.replace("\n", "").isprintable()
    listed(capsys, "--format=csv")
    listed(capsys)


def test_a_sweep_is_no_run(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How to name a trial is said."""
    sweep = SweepFolder.create(outputs, "Swept", make_plan().to_json(), Control())
    assert main(["runs", "show", sweep.name]) == 2
    assert f"{sweep.name} is a sweep; write {sweep.name}/0 for" in capsys.readouterr().err


# --- the index --------------------------------------------------------------------------------------------------------


def reads(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the models of the runs whose files are read by a listing."""
    read: list[str] = []

    def noted(path: Path, name: str) -> RunRecord | None:
        read.append(name.split("_")[1])
        return read_record(path, name)

    with monkeypatch.context() as patch:
        patch.setattr(index, "read_record", noted)
        records_in(outputs)
    return sorted(read)


def test_only_what_changed_is_read_again(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results, tags and configuration; runs that have gone are forgotten."""
    monkeypatch.setattr(index, "_RECENT_NS", 60 * 10**9)  # the machine may be slow
    assert reads(outputs, monkeypatch) == ["Alpha", "Beta", "Gamma"]
    assert reads(outputs, monkeypatch) == ["Alpha", "Beta", "Gamma"]  # too new to be sure that nothing more comes
    paths = sorted(outputs.glob("2*"))
    for path in paths:
        age(path)
    fresh = str(records_in(outputs))  # as text, since NaN is not equal to itself
    assert reads(outputs, monkeypatch) == []
    assert str(records_in(outputs)) == fresh
    assert [each.value("depth") for each in records_in(outputs)] == [MISSING, 4, MISSING]
    assert main(["runs", "tag", "Beta", "good"]) == 0
    assert reads(outputs, monkeypatch) == ["Beta"]
    assert records_in(outputs)[1].tags == ("good",)
    RunFolder(paths[0]).add_results("test", {"metrics": {"test_acc": 0.1}})
    assert records_in(outputs)[0].metric("test_acc") == 0.1
    paths[2].rename(outputs / ".gone")
    assert len(records_in(outputs)) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content.replace(b"runs 1", b"runs 0"),
        lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
        lambda content: os.urandom(300),
    ],
)
def test_a_damaged_index_is_made_anew(outputs: Path, damage: object) -> None:
    """Whatever is in it, the listing is what the folders say."""
    for path in outputs.glob("2*"):
        age(path)
    fresh = str(records_in(outputs))
    content = (outputs / INDEX).read_bytes()
    (outputs / INDEX).write_bytes(damage(content))  # type: ignore[operator]
    assert str(records_in(outputs)) == fresh
    assert (outputs / INDEX).read_bytes() == content


@pytest.mark.parametrize("place", [4, 5, 8, 11])
def test_an_index_of_wrong_types_is_made_anew(outputs: Path, place: int) -> None:
    """Also where its checksum is right."""
    for path in outputs.glob("2*"):
        age(path)
    fresh = str(records_in(outputs))
    body = json.loads((outputs / INDEX).read_bytes().split(b"\n", 1)[1])
    for entry in body["runs"].values():
        entry[place] = {"test": {"test_acc": [1]}}
    content = json.dumps(body).encode()
    (outputs / INDEX).write_bytes(index._head(content) + b"\n" + content)
    assert str(records_in(outputs)) == fresh


def test_pipes_are_not_waited_for(outputs: Path) -> None:
    """In place of the index or of a file of a run."""
    os.mkfifo(outputs / INDEX)
    assert len(records_in(outputs)) == 3
    path = next(outputs.glob("*_Alpha"))
    (path / "environment.json").unlink()
    os.mkfifo(path / "environment.json")
    assert main(["runs", "show", path.name]) == 0


def test_parameters_come_back_as_they_were(outputs: Path) -> None:
    """Also those that Python takes for equal, and those that other runs of the model do not have."""
    values = [1, True, 1.0, [1, 2], [True, 2], "1", None, {"a": [1]}, "\ud7ff\u2028"]
    for value in values:
        age(make_run(outputs, "Same", value=value))
    age(make_run(outputs, "Same"))
    fresh = [each for each in records_in(outputs) if each.model == "Same"]
    again = [each for each in records_in(outputs) if each.model == "Same"]
    assert (outputs / INDEX).is_file()
    assert [repr(each.parameters) for each in again] == [repr(each.parameters) for each in fresh]
    assert {repr(each.value("value")) for each in again[:-1]} >= {repr(value) for value in values[:-1]}


def test_where_no_index_can_be_written(outputs: Path) -> None:
    """The listing takes longer, that is all."""
    for path in outputs.glob("2*"):
        age(path)
    (outputs / INDEX).mkdir()
    assert len(records_in(outputs)) == 3
    assert len(records_in(outputs)) == 3


def test_many_at_once(outputs: Path) -> None:
    """Listings that write the index at the same time, while runs come and go."""
    found: list[int] = []

    def look() -> None:
        for _ in range(15):
            found.append(len(records_in(outputs)))
            (outputs / INDEX).unlink(missing_ok=True)

    for path in outputs.glob("2*"):
        age(path)
    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [3] * 60
    assert not list(outputs.glob(".*.tmp"))
