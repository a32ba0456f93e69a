"""Help, ``--print_config`` and config.yaml: all say what is declared, and what they print can be read back."""

import re
from pathlib import Path
from typing import Any

import param
import pytest

from runner import LightningContainer
from runner.command_line import COMMANDS, OPTIONS, Override
from runner.config_files import read_config
from runner.container_values import ContainerValues, build_container
from runner.help_text import WIDTH, config_text, container_help, parameter_groups, program_help
from runner.param_values import settable_parameters
from runner.params import GROUPS, LRSchedulerType


class Mine(LightningContainer):
    """The first line: of the docstring.

    The second paragraph.
    """

    num_layers = param.Integer(default=4, bounds=(1, 10), doc="Number of layers.")
    a_long_doc = param.String(default="x", doc="A word " * 60 + "and an end.")
    without_doc = param.Boolean(default=False)
    l_rate = param.Number(default=0.5, bounds=(0, None), doc="My own learning rate.")
    _private = param.Integer(default=1)
    fixed = param.Integer(default=1, constant=True)


def values(config: Path | None = None, **overrides: str) -> ContainerValues:
    settings = read_config(str(config), Path("configs")) if config else []
    settings = [each for each in settings if each.name != "model"]
    return build_container(Mine, settings, [Override(name, text, name) for name, text in overrides.items()])


def test_the_help_of_the_program_has_all_options_and_commands() -> None:
    """Every option with its doc and the name of its value, every command, the exit codes."""
    text = program_help("lightcase")
    assert text.startswith("Usage: lightcase --model=NAME")
    flat = " ".join(text.split())
    for name, option in OPTIONS.items():
        assert f"--{name}{'=' + option.value if option.value else ''} {option.doc}" in flat
    for name, doc in COMMANDS.items():
        assert f"{name} {doc}" in flat
    assert "0 done, 1 the run failed, 2 wrong usage, 130 stopped by Ctrl-C, 143 by SIGTERM" in flat


@pytest.mark.parametrize("text", [program_help("python runner.py"), container_help(values(), "python runner.py")])
def test_help_fits_a_terminal(text: str) -> None:
    """Docs are broken into lines; a line that names a parameter with its choices may be longer."""
    docs = [line for line in text.splitlines() if line.startswith("  ") and not re.match(r"  --\w+  \(", line)]
    assert docs
    assert max(map(len, docs)) <= WIDTH
    assert not any(line != line.rstrip() for line in text.splitlines())


def test_the_help_of_a_container_names_it() -> None:
    """Class, first paragraph of its docstring, and where it is defined."""
    text = container_help(values(), "lightcase")
    assert text.startswith(
        "Usage: lightcase --model=Mine [--name=value ...]\n\nMine: The first line: of the docstring.\n"
    )
    assert "second paragraph" not in text
    assert re.search(r"Defined in .*test_help_text\.py:\d+\.", text)


def test_the_help_of_a_container_has_every_parameter_once() -> None:
    """All that can be set, those of the container first; nothing that cannot."""
    text = container_help(values(), "lightcase")
    shown = re.findall(r"^  --(\w+)", text.partition("Parameters of Mine:")[2], re.MULTILINE)
    own = ["num_layers", "a_long_doc", "without_doc"]
    assert sorted(shown[:3]) == sorted(own)
    names = [name for name in shown if name in settable_parameters(Mine)]
    assert sorted(names) == sorted(settable_parameters(Mine))
    assert "--_private" not in text
    assert "--fixed" not in text


def test_each_parameter_has_kind_default_and_doc() -> None:
    """The default is that of the container, whichever way it was set."""
    text = container_help(values(), "lightcase")
    assert re.search(r"--num_layers  \(int in \[1, 10\]; default: 4\)\n      Number of layers\.\n", text)
    assert re.search(r"--l_rate  \(.*; default: 0\.5\)\n      My own learning rate\.\n", text)
    assert re.search(r"--local_dataset  \(.*; default: (empty|None)\)\n      Folder of the data set\.\n", text)
    assert "and an end." in text


def test_groups_follow_the_containers_own() -> None:
    """Own parameters first, then workflow, data, trainer, optimizer, saliency; an overridden one stays in its group."""
    groups = dict(parameter_groups(Mine))
    titles = [f"{group.__name__.removesuffix('Params')} parameters" for group in GROUPS]
    assert list(groups) == ["Parameters of Mine", *titles]
    assert "l_rate" in groups["Optimizer parameters"]
    names = [name for each in groups.values() for name in each]
    assert sorted(names) == sorted(set(names)) == sorted(settable_parameters(Mine))


def test_a_container_without_own_parameters_has_no_such_group() -> None:
    """The framework's groups alone."""

    class Bare(LightningContainer):
        """Bare."""

    assert next(title for title, _ in parameter_groups(Bare)) == "Workflow parameters"


@pytest.mark.parametrize("docs", [True, False])
def test_the_config_is_read_back_as_the_same_values(tmp_path: Path, docs: bool) -> None:
    """Odd texts, paths, enums, lists, tuples, None and infinities survive."""
    first = values(
        a_long_doc="# no: comment, 'é' \"quoted\"\nsecond line",
        l_rate="1e-7",
        num_layers="7",
        l_rate_scheduler="MultiStep",
        l_rate_multi_step_milestones="1,2",
        adam_betas="0.5,0.25",
        local_dataset=str(tmp_path / "a b: c"),
        extra_local_dataset_paths=f"{tmp_path},{tmp_path / 'more'}",
        limit_train_batches="1.0",
        limit_val_batches="1",
        devices="0,1",
        tag="None",
        monitor="null",
        saliency_fill="0.5",
        without_doc="true",
    )
    file = tmp_path / "config.yaml"
    file.write_text(config_text(first, "Mine", docs=docs), encoding="utf-8")
    again = values(config=file)
    for name in settable_parameters(Mine):
        one, two = getattr(first.container, name), getattr(again.container, name)
        assert (two, type(two)) == (one, type(one)), name
    assert again.container.l_rate_scheduler is LRSchedulerType.MultiStep


def test_the_config_says_who_set_each_value() -> None:
    """The record of a run has origins; for reading before a run, each parameter is explained instead."""
    record = config_text(values(num_layers="7"), "path/file.py:Mine", docs=False)
    assert record.startswith("# Mine: The first line: of the docstring.\nmodel: ")
    assert re.search(r"^num_layers: 7  # command line, default 4$", record, re.MULTILINE)
    assert re.search(r"^l_rate: 0\.5  # container, default 0\.0001$", record, re.MULTILINE)
    assert re.search(r"^num_epochs: 100  # default$", record, re.MULTILINE)
    explained = config_text(values(num_layers="7"), "Mine", docs=True)
    assert re.search(r"^# Number of layers\. \[int in \[1, 10\]\]\nnum_layers: 7$", explained, re.MULTILINE)
    assert "# command line" not in explained


def test_the_model_is_part_of_the_config(tmp_path: Path) -> None:
    """What --model was can be read back, however odd the path is."""
    file = tmp_path / "config.yaml"
    model = "/a folder/with: colon/#1/file.py:Mine"
    file.write_text(config_text(values(), model, docs=False))
    (first, *_) = read_config(str(file), Path("configs"))
    node: Any = first.node
    assert (first.name, str(node), node.text) == ("model", model, model)
