"""What the README's tables and docs/jobs.md name is there, and the example of docs/porting.md runs."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import runner
from runner import LightningContainer, run
from runner.command_line import OPTIONS

DOCS = Path(__file__).parents[1] / "docs"
README = (DOCS.parent / "README.md").read_text()
PORTING = README[README.index("## Coming from elsewhere") : README.index("## The command line")]
ImageClassifier = importlib.import_module("containers.image_classifier").ImageClassifier
Segmentation2D = importlib.import_module("containers.segmentation").Segmentation2D


def known_options() -> set[str]:
    return {name for cls in (ImageClassifier, Segmentation2D) for name in cls.param} | set(OPTIONS)


def options_in(text: str) -> set[str]:
    return {name.replace("-", "_") for name in re.findall(r"--([a-z][\w-]*)", text)}


def right_column(text: str) -> str:
    return "\n".join(line.split("|")[2] for line in text.splitlines() if line.startswith("| "))


def test_options_of_the_jobs() -> None:
    """Every --name in docs/jobs.md is one."""
    assert options_in((DOCS / "jobs.md").read_text()) - known_options() == set()


def test_options_of_azureml() -> None:
    """So is every one in docs/azureml.md, but one of Azure's own program."""
    assert options_in((DOCS / "azureml.md").read_text()) - known_options() == {"file"}


def test_options_of_the_porting_tables() -> None:
    """So is every one on the right in the README's tables."""
    right = right_column(PORTING)
    assert options_in(right) - known_options() - {"features", "num_features"} == set()


def test_names_of_the_porting_tables() -> None:
    """What is imported from runner is there, and so is every method of the container."""
    right = right_column(PORTING)
    imported = {name for names in re.findall(r"from runner import ([\w, ]+)", right) for name in names.split(", ")}
    assert len(imported) >= 7
    assert all(hasattr(runner, name) for name in imported)
    methods = set(re.findall(r"`((?:get|set|create)_\w+)`", right))
    assert len(methods) >= 6
    assert all(hasattr(LightningContainer, name) for name in methods)


def test_the_same_is_the_same() -> None:
    """Where the right side says "the same", the name on the left is one here."""
    lines = [line for line in PORTING.splitlines() if line.endswith("| the same |")]
    names = {name for line in lines for name in re.findall(r"`(?:--)?(\w+)[`=]", line)}
    assert len(names) >= 10
    assert {name for name in names if not hasattr(ImageClassifier, name) and name not in known_options()} == set()


def test_the_example_runs(tmp_path: Path) -> None:
    """The ported script trains and tests."""
    code = re.findall(r"```python\n(.*?)```", (DOCS / "porting.md").read_text(), re.DOTALL)[1]
    (tmp_path / "ported.py").write_text(code)
    result = run(f"{tmp_path / 'ported.py'}:Ported", features=32, output_to=tmp_path, quiet=True)
    assert result.metrics["test_loss"] < 0.7


@pytest.mark.parametrize("name", ["HelloLesion", "HelloDigits", "HelloGAN", "HelloRegression"])
def test_containers_of_the_table(name: str) -> None:
    """Containers that are recommended exist."""
    assert f"`{name}`" in README
    module = {"HelloLesion": "hello_lesion", "HelloDigits": "hello_digits", "HelloGAN": "hello_gan"}
    assert hasattr(importlib.import_module(f"containers.{module.get(name, 'hello_regression')}"), name)
