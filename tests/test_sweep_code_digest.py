"""The digest of a container's code changes when its code does, and not otherwise."""

import shutil
from pathlib import Path

import pytest

from runner.container_loader import find_container
from runner.sweep.code_digest import code_digest

MAIN = """
from runner import LightningContainer
from .base import Base

class Mine(Base):
    def create_model(self):
        from .parts import Model
        return Model()
"""


@pytest.fixture
def containers(tmp_path: Path) -> Path:
    """A container that is spread over three files, beside one that has nothing to do with it."""
    folder = tmp_path / "containers"
    folder.mkdir()
    (folder / "mine.py").write_text(MAIN)
    (folder / "base.py").write_text(
        "from runner import LightningContainer\nclass Base(LightningContainer):\n    pass\n"
    )
    (folder / "parts.py").write_text("from . import deeper\nclass Model:\n    pass\n")
    (folder / "deeper.py").write_text("VALUE = 1\n")
    (folder / "other.py").write_text("VALUE = 1\n")
    return folder


def digest(folder: Path) -> str:
    """Return the digest as a new process would see it: from a copy, since modules are imported once."""
    copy = folder.with_name(f"copy{len(list(folder.parent.iterdir()))}")
    shutil.copytree(folder, copy)
    return code_digest(find_container("Mine", copy, None))


@pytest.mark.parametrize("name", ["mine.py", "base.py", "parts.py", "deeper.py"])
def test_all_that_is_imported_counts(containers: Path, name: str) -> None:
    """The file of the class, of its bases, and what they import from beside them, inside functions as well."""
    before = digest(containers)
    assert digest(containers) == before
    file = containers / name
    file.write_text(file.read_text() + "# changed\n")
    assert digest(containers) != before


def test_other_files_do_not_count(containers: Path) -> None:
    """What the container does not import may change."""
    before = digest(containers)
    (containers / "other.py").write_text("VALUE = 2\n")
    assert digest(containers) == before
