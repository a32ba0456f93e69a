"""The command line as text: what is a command, an option of the program, or a value for the container."""

import re
import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.command_line import OPTIONS, Override, Request, parse_command_line, program_name, truth_value
from runner.errors import UsageError


def overrides(*argv: str) -> list[tuple[str, str | None]]:
    return [(each.name, each.value) for each in parse_command_line(argv).overrides]


def test_nothing_asks_for_a_run() -> None:
    """An empty command line is a request to run, with every option at its default."""
    assert parse_command_line([]) == Request()
    assert {name: value for name, value in vars(Request()).items() if value} == {"command": "run", "log_level": "INFO"}


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_sets_what_it_is_called(name: str) -> None:
    """And nothing else; those that may be repeated collect, and only --sweep may stand alone."""
    option = OPTIONS[name]
    values = ["debug", "info"] if name == "log_level" else ["a", "b"]
    argv = [f"--{name.replace('_', '-')}={value}" for value in values] if option.value else [f"--{name}"]
    expected = tuple(values) if option.repeatable else (values[0].upper() if name == "log_level" else values[0])
    request = parse_command_line(argv if option.repeatable else argv[:1])
    assert {key for key, value in vars(request).items() if value != vars(Request())[key]} - {name} == set()
    assert getattr(request, name) == (expected if option.value else True)
    if option.value and name != "sweep":
        with pytest.raises(UsageError, match=f"--{name} needs a value: --{name}={re.escape(option.value)}"):
            parse_command_line([f"--{name}"])


def test_a_sweep_may_stand_alone() -> None:
    """But not without what it was given a sign for."""
    assert parse_command_line(["--sweep", "--sweep", "x=1,2", "--sweep"]).sweep == ("", "x=1,2", "")
    with pytest.raises(UsageError, match="--sweep needs a value: --sweep=NAME=VALUES"):
        parse_command_line(["--sweep="])


@pytest.mark.parametrize("level", ["debug", "Info", "WARNING", "error", "critical"])
def test_log_levels(level: str) -> None:
    """In any case."""
    assert parse_command_line(["--log_level", level]).log_level == level.upper()


@pytest.mark.parametrize(
    ("argv", "arguments"),
    [
        (["list"], ()),
        (["new", "A"], ("A",)),
        (["new", "--containers", "A"], None),  # a name is still wanted, so that it is taken for that
        (["new", "--quiet", "A"], ("A",)),
        (["new", "A", "--containers", "there"], ("A",)),
        (["queue"], ()),
        (["runs"], ()),
        (["queue", "priority", "S", "3"], ("priority", "S", "3")),
        (["trial", "folder", "3"], ("folder", "3")),
        (["runs", "verify", *map(str, range(20))], ("verify", *map(str, range(20)))),
    ],
)
def test_arguments_of_commands(argv: list[str], arguments: tuple[str, ...] | None) -> None:
    """As many as each takes; options may stand between them."""
    if arguments is None:
        with pytest.raises(UsageError):
            parse_command_line(argv)
    else:
        request = parse_command_line(argv)
        assert (request.command, request.arguments) == (argv[0], arguments)


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("/a/runner/__main__.py", "python -m runner"),
        ("/bin/lightcase", "lightcase"),
        ("runner.py", "python runner.py"),
        ("", "python runner.py"),
    ],
)
def test_hints_name_the_program_as_it_was_called(program: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that they can be typed; in a notebook there may be no name at all."""
    monkeypatch.setattr(sys, "argv", [program] if program else [])
    assert program_name() == expected


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--num_layers=7"], [("num_layers", "7")]),
        (["--num_layers", "7"], [("num_layers", "7")]),
        (["--num-layers=7"], [("num_layers", "7")]),
        (["--x", "-1e-3"], [("x", "-1e-3")]),
        (["--x", "-.5"], [("x", "-.5")]),
        (["--flag", "--x=1"], [("flag", None), ("x", "1")]),
        (["--empty="], [("empty", "")]),
        (["--text=a=b"], [("text", "a=b")]),
        (["--no-flag"], [("no_flag", None)]),
    ],
)
def test_values_for_the_container(argv: list[str], expected: list[tuple[str, str | None]]) -> None:
    """Names may have dashes, values may follow after a blank, and nothing is converted."""
    assert overrides(*argv) == expected


def test_options_of_the_program_are_told_from_values() -> None:
    """Options of the program get fields of their own; --config may be repeated."""
    request = parse_command_line(["--model=A", "--config=x", "--config", "y", "--json", "--log_level=debug", "--k=1"])
    assert (request.model, request.config, request.json, request.log_level) == ("A", ("x", "y"), True, "DEBUG")
    assert request.overrides == (Override("k", "1", "k"),)


@pytest.mark.parametrize(("text", "expected"), [("--quiet=off", False), ("--no-quiet", False), ("--quiet", True)])
def test_switches_of_the_program(text: str, expected: bool) -> None:
    """A switch of the program has the same spellings as a boolean of the container."""
    assert parse_command_line([text]).quiet is expected


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--model"], "--model needs a value: --model=NAME"),
        (["--model="], "--model needs a value"),
        (["--model=A", "--model=B"], "--model is given twice"),
        (["--k=1", "--k=2"], "--k is given twice"),
        (["--num-k=1", "--num_k=2"], "is given twice"),
        (["-i=1"], "Cannot read '-i=1'"),
        (["--"], "Cannot read '--'"),
        (["--=3"], "Cannot read '--=3'"),
        (["--no-model"], "did you mean --model?"),
        (
            ["lst"],
            "no command 'lst'; commands are list, new, doctor, work, queue, runs, report, completion, trial. Did you",
        ),
        (["HelloLesion"], "--model=HelloLesion"),
        (["list", "more"], "Unexpected argument 'more'; options look like --name=value."),
        (["list", "doctor"], "Unexpected argument 'doctor'; options look like --name=value."),
        (["--model=A", "list"], "Unexpected argument 'list'; the command list comes first."),
        (["--model=A", "more"], "Unexpected argument 'more'; options look like --name=value."),
        (["queue", "a", "b", "c", "d"], "Unexpected argument 'd'"),
        (["trial", "folder"], "trial needs a sweep and a number."),
        (["trial", "folder", "3", "4"], "Unexpected argument '4'"),
        (["--no-quiet=off"], "Cannot read --no-quiet; did you mean --quiet?"),
        (["--list", "--list"], "--list is given twice"),
        (["new"], "new needs the name"),
        (["new", "A", "B"], "Unexpected argument 'B'"),
        (["--log_level=loud"], "use one of DEBUG"),
        (["--quiet=maybe"], "no truth value"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(argv: list[str], message: str) -> None:
    """Every mistake on the command line itself is one line that says what is wrong."""
    with pytest.raises(UsageError) as caught:
        parse_command_line(argv)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("word", ["true", "T", "On", "YES", "y", "1"])
def test_true_words(word: str) -> None:
    """Truth has six spellings, in any case."""
    assert truth_value(word) is True


@pytest.mark.parametrize("word", ["false", "F", "oFF", "NO", "n", "0"])
def test_false_words(word: str) -> None:
    """Falsehood has six spellings, in any case."""
    assert truth_value(word) is False


def test_every_option_is_a_field() -> None:
    """The table of options and the fields of Request are the same names."""
    assert set(OPTIONS) | {"command", "arguments", "overrides", "slurm"} == set(Request.__dataclass_fields__)


@given(st.lists(st.text(max_size=12), max_size=5))
def test_no_words_break_the_parser(words: list[str]) -> None:
    """Whatever is typed gives a request or a usage error, nothing else."""
    with suppress(UsageError):
        parse_command_line(words)


@given(st.from_regex(r"[a-z][a-z_]{1,8}x", fullmatch=True), st.text(max_size=20))
def test_any_value_arrives_as_it_was_typed(name: str, value: str) -> None:
    """The text after the first equals sign reaches the container unchanged."""
    if name not in OPTIONS and name.removeprefix("no_") not in OPTIONS:
        assert overrides(f"--{name}={value}") == [(name, value)]


def test_options_for_sbatch() -> None:
    """They are kept as they were typed, apart from those of the container; twice is once too often."""
    request = parse_command_line(["--launcher=slurm", "--slurm_time=60", "--slurm-no-requeue", "--time=3"])
    assert request.slurm == (("time", "60"), ("no_requeue", None))
    assert [each.name for each in request.overrides] == ["time"]
    with pytest.raises(UsageError, match="given twice"):
        parse_command_line(["--slurm_time=60", "--slurm_time=70"])
