"""Logging: a short console, a file with everything, and the process's logging as it was afterwards."""

import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.log_setup import FILE_ONLY, console_logging, log_to_file

Console = pytest.CaptureFixture[str]
LIGHTNING = ("pytorch_lightning", "lightning_fabric", "lightning")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """What a test changes on purpose does not reach the next one."""
    loggers = [logging.getLogger(name) for name in (None, *LIGHTNING)]
    before = [(each.level, each.propagate, list(each.handlers)) for each in loggers]
    with warnings.catch_warnings():
        yield
    for logger, (level, propagate, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.propagate, logger.handlers = propagate, handlers


def say(level: int, text: str, name: str = "containers.mine") -> None:
    logging.getLogger(name).log(level, text)


def fail() -> None:
    raise ZeroDivisionError("a bug")


def test_the_console_has_bare_messages(capsys: Console) -> None:
    """Information goes to stdout as it is; warnings and errors go to stderr with their level."""
    with console_logging("INFO"):
        say(logging.INFO, "epoch 1/3")
        say(logging.WARNING, "look out")
        say(logging.ERROR, "too late")
    assert capsys.readouterr() == ("epoch 1/3\n", "warning: look out\nerror: too late\n")


@pytest.mark.parametrize(
    ("level", "quiet", "shown"),
    [
        ("DEBUG", False, ["debug", "info", "warning", "error"]),
        ("INFO", False, ["info", "warning", "error"]),
        ("WARNING", False, ["warning", "error"]),
        ("ERROR", False, ["error"]),
        ("INFO", True, ["warning", "error"]),
        ("DEBUG", True, ["warning", "error"]),
        ("ERROR", True, ["error"]),
    ],
)
def test_what_the_level_lets_through(capsys: Console, level: str, quiet: bool, shown: list[str]) -> None:
    """--log_level is the least level that is printed; --quiet raises it to warnings, but never lowers it."""
    with console_logging(level, quiet=quiet):
        for name in ("debug", "info", "warning", "error"):
            say(logging.getLevelNamesMapping()[name.upper()], f"({name})")
    out, err = capsys.readouterr()
    assert re.findall(r"\((\w+)\)", out + err) == shown


@pytest.mark.parametrize(
    "name", ["pytorch_lightning.utilities.rank_zero", "lightning_fabric.x", "matplotlib", "urllib3.x"]
)
def test_libraries_are_heard_from_warnings_on(capsys: Console, name: str) -> None:
    """Advertisements and other information of libraries stay off the console, their warnings do not."""
    with console_logging("INFO"):
        say(logging.INFO, "try our product", name)
        say(logging.WARNING, "this will not work", name)
    assert capsys.readouterr() == ("", "warning: this will not work\n")


def test_a_logger_with_a_similar_name_is_no_library(capsys: Console) -> None:
    """torchery is not torch."""
    with console_logging("INFO"):
        say(logging.INFO, "mine", "torchery.model")
    assert capsys.readouterr().out == "mine\n"


def test_debugging_shows_libraries_too(capsys: Console) -> None:
    """With --log_level=debug nothing is held back."""
    with console_logging("DEBUG"):
        say(logging.INFO, "GPU available", "pytorch_lightning")
    assert capsys.readouterr().out == "GPU available\n"


def test_lightning_speaks_once(capsys: Console) -> None:
    """A handler that Lightning gave its own logger does not print what we print or hold back."""
    logger = logging.getLogger("pytorch_lightning")
    logger.addHandler(logging.StreamHandler(sys.stderr))
    with console_logging("INFO"):
        say(logging.INFO, "hidden", "pytorch_lightning")
        say(logging.WARNING, "shown", "pytorch_lightning")
    assert capsys.readouterr() == ("", "warning: shown\n")


def test_the_file_has_everything(tmp_path: Path, capsys: Console) -> None:
    """Also what the console leaves out: libraries and what is below the level; with time, rank and phase."""
    path = tmp_path / "run.log"
    with console_logging("INFO", quiet=True) as context, log_to_file(path, context):
        say(logging.INFO, "first")
        context.phase, context.rank = "train", 1
        say(logging.INFO, "advertisement", "pytorch_lightning")
    assert capsys.readouterr() == ("", "")
    first, second = path.read_text().splitlines()
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert re.fullmatch(rf"{time} INFO     rank0 start     containers\.mine: first", first)
    assert re.fullmatch(rf"{time} INFO     rank1 train     pytorch_lightning: advertisement", second)


def test_the_console_has_no_tracebacks(capsys: Console) -> None:
    """Of an exception that is logged the console shows the message alone."""
    with console_logging("INFO"):
        log_a_failure("containers.mine")
    assert capsys.readouterr() == ("", "error: phase train failed\n")


def test_some_messages_are_for_the_file_only(tmp_path: Path, capsys: Console) -> None:
    """What the program prints itself at the end is logged without the console, with its traceback."""
    path = tmp_path / "run.log"
    with console_logging("DEBUG") as context, log_to_file(path, context):
        log_a_failure(FILE_ONLY)
    assert capsys.readouterr() == ("", "")
    text = path.read_text()
    assert "phase train failed\nTraceback" in text
    assert "in fail" in text
    assert "ZeroDivisionError: a bug" in text


def log_a_failure(name: str) -> None:
    try:
        fail()
    except ZeroDivisionError:
        logging.getLogger(name).exception("phase train failed")


def test_a_second_attempt_appends_to_the_file(tmp_path: Path) -> None:
    """The log of the first attempt stays; odd characters do not keep a line from being written."""
    path = tmp_path / "run.log"
    for text in ("one é", "two \udcff"):
        with console_logging("CRITICAL") as context, log_to_file(path, context):
            say(logging.CRITICAL, text, FILE_ONLY)
    one, two = path.read_text(encoding="utf-8").splitlines()
    assert one.endswith("one é")
    assert two.endswith(r"two \udcff")


def test_warnings_are_logged(tmp_path: Path, capsys: Console) -> None:
    """warnings.warn goes to the console and to the file, again for each run, whatever filters there were."""
    warnings.simplefilter("ignore")
    for number in range(2):
        path = tmp_path / f"run{number}.log"
        with console_logging("INFO") as context, log_to_file(path, context):
            warnings.warn("this is odd", UserWarning, stacklevel=1)
        assert "UserWarning: this is odd" in path.read_text()
        assert "UserWarning: this is odd" in capsys.readouterr().err


def test_warnings_from_inside_libraries_are_in_the_file_only(tmp_path: Path, capsys: Console) -> None:
    """A warning whose place is an installed package is not for the user, unless the level is debug."""
    place = "/lib/site-packages/some/module.py"
    for level, shown in (("INFO", False), ("DEBUG", True)):
        path = tmp_path / f"{level}.log"
        with console_logging(level) as context, log_to_file(path, context):
            warnings.warn_explicit("deprecated", UserWarning, place, 7)
        assert "deprecated" in path.read_text()
        assert ("deprecated" in capsys.readouterr().err) is shown


@pytest.mark.parametrize("fails", [False, True])
def test_logging_is_as_before_afterwards(tmp_path: Path, fails: bool) -> None:
    """Handlers, levels, warnings and Lightning's loggers are given back, also after an exception."""
    root = logging.getLogger()
    mine = logging.NullHandler()
    root.addHandler(mine)
    for name in LIGHTNING:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [mine], False
        logger.setLevel(logging.ERROR)
    showwarning = warnings.showwarning
    before = [(each.level, each.propagate, list(each.handlers)) for each in map(logging.getLogger, (None, *LIGHTNING))]
    try:
        with console_logging("DEBUG") as context, log_to_file(tmp_path / "run.log", context):
            assert logging.getLogger("lightning").handlers == []
            if fails:
                fail()
    except ZeroDivisionError:
        pass
    after = [(each.level, each.propagate, list(each.handlers)) for each in map(logging.getLogger, (None, *LIGHTNING))]
    assert after == before
    assert warnings.showwarning is showwarning


def test_the_file_is_closed_afterwards(tmp_path: Path) -> None:
    """Many runs in one process leave no open files."""
    path = tmp_path / "run.log"
    with console_logging("INFO") as context, log_to_file(path, context):
        say(logging.INFO, "open")
        assert path in open_files()
    assert path not in open_files()
    say(logging.CRITICAL, "after the end")
    assert "after the end" not in path.read_text()


def open_files() -> set[Path]:
    descriptors = Path("/dev/fd").iterdir() if Path("/dev/fd").is_dir() else iter(())
    return {Path(os.path.realpath(each)) for each in descriptors}


def test_output_follows_the_stream_of_the_moment(capsys: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook may exchange sys.stdout while a run is going on."""
    import io

    with console_logging("INFO"):
        other = io.StringIO()
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", other)
            say(logging.INFO, "into the cell")
        say(logging.INFO, "outside")
    assert other.getvalue() == "into the cell\n"
    assert capsys.readouterr().out == "outside\n"
