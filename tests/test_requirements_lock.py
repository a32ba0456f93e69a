"""requirements.lock: the versions of constraints.txt, each with digests of its files. setup.cfg: the least versions."""

import configparser
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).parents[1]


def pinned(name: str) -> dict[str, str]:
    text = (REPOSITORY / name).read_text()
    return {match[1].lower().replace("_", "-"): match[2] for match in re.finditer(r"(?m)^([\w.-]+)==([\w.+]+)", text)}


def test_it_has_the_same_versions() -> None:
    """Whoever changes one changes both."""
    assert pinned("requirements.lock") == pinned("constraints.txt")


def test_each_has_digests() -> None:
    """Nothing is installed without."""
    text = (REPOSITORY / "requirements.lock").read_text()
    for entry in re.split(r"(?m)^(?=[\w.-]+==)", text)[1:]:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


def requirements() -> list[Requirement]:
    """Return what setup.cfg asks for, extras included."""
    parser = configparser.ConfigParser()
    parser.read(REPOSITORY / "setup.cfg")
    texts = [parser["options"]["install_requires"], *parser["options.extras_require"].values()]
    lines = (line.strip() for text in texts for line in text.splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("torch", "2.9.1"), ("pytorch-lightning", "2.6.2"), ("pytorch-lightning", "2.6.3"),
        ("pytorch-lightning", "2.6.5"), ("jinja2", "3.1.5"), ("pillow", "12.3.0"), ("scikit-learn", "1.4.2"),
        ("pydicom", "3.0.1"), ("pyyaml", "5.3.1"), ("azure-identity", "1.16.0"),
    ],
)  # fmt: skip
def test_versions_with_known_holes_are_refused(name: str, version: str) -> None:
    """Wherever they are asked for; the reasons stand in setup.cfg."""
    found = [each for each in requirements() if each.name.lower() == name]
    assert found
    assert not [str(each) for each in found if each.specifier.contains(version)]


def test_the_tested_versions_are_allowed() -> None:
    """And each package that is asked for is among them."""
    versions = pinned("constraints.txt")
    assert not [str(each) for each in requirements() if not each.specifier.contains(versions[each.name.lower()])]
