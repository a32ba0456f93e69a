"""The containers that ship, run as a newcomer runs them: what the README promises of each."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.faults import programs

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the containers and configurations that ship."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("containers", "configs"):
        shutil.copytree(REPOSITORY / name, folder / name)
    return folder


def start(project: Path, *argv: str) -> Path:
    """Run the program in a process that has torch already, and return the run folder."""
    return project / programs.run(project, *argv, seconds=500).splitlines()[-1]


def start_anew(project: Path, *argv: str) -> Path:
    """Run the program as from a clone, and return the run folder."""
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "runner.py"), *argv],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    return project / done.stdout.splitlines()[-1]


def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for phase in json.loads((folder / "results.json").read_text()).values():
        found |= phase.get("metrics", {})
    return found


def evaluation(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())
    return found


def test_the_first_run(project: Path) -> None:
    """Without arguments the lesions are found, and the maps peak inside them."""
    folder = start_anew(project)
    found = metrics(folder)
    assert folder.name.endswith("_HelloLesion")
    assert found["test_acc"] >= 0.97
    assert found["peak_in_truth"] >= 0.95
    assert found["num_images"] == 64
    assert evaluation(folder)["classes"] == ["healthy", "lesion"]
    assert evaluation(folder)["intervals"]["accuracy"]["value"] == pytest.approx(found["test_acc"])
    assert len((folder / "predictions.csv").read_text().splitlines()) == 201
    maps = sorted((folder / "saliency" / "maps").iterdir())
    with np.load(maps[1]) as saved:
        assert saved["maps"].shape == (1, 48, 48)
        assert np.abs(saved["maps"]).max() == pytest.approx(1)
        assert saved["strength"].shape == (1,)
    with Image.open(folder / "saliency" / "contact_sheet.png") as sheet:
        assert min(sheet.size) > 500
    assert len(list((folder / "saliency" / "overlays").iterdir())) == 64


def test_a_harder_preset_is_harder(project: Path) -> None:
    """The preset that ships lowers the contrast of the lesions, which costs accuracy."""
    folder = start(project, "--model=HelloLesion", "--config=hello_lesion_hard", "--saliency_method=none")
    assert metrics(folder)["test_acc"] < 0.97


def test_digits(project: Path) -> None:
    """Handwritten digits are told apart."""
    folder = start(project, "--model=HelloDigits", "--saliency_limit=3")
    found = metrics(folder)
    assert found["test_acc"] >= 0.95
    assert evaluation(folder)["intervals"]["accuracy"]["value"] == pytest.approx(found["test_acc"])
    assert found["num_images"] == 3


def test_regression(project: Path) -> None:
    """The regression writes its report and has nothing to explain."""
    folder = start(project, "--model=HelloRegression")
    assert (folder / "report.txt").read_text().strip()
    assert not (folder / "saliency").exists()
    assert evaluation(folder)["intervals"]["mae"]["value"] == pytest.approx(metrics(folder)["test_mae"])


def test_gan(project: Path) -> None:
    """The generator comes far closer to the real points than it began."""
    folder = start(project, "--model=HelloGAN")
    assert metrics(folder)["test_distance"] < 0.25


def test_the_example_of_the_readme(project: Path) -> None:
    """The container printed in the README learns, and its maps can be made."""
    page = (REPOSITORY / "README.md").read_text()
    example = next(block for block in page.split("```python\n")[1:] if "class Spot(" in block).partition("```")[0]
    (project / "containers" / "my_model.py").write_text(example)
    found = metrics(start(project, "--model=Spot", "--num_channels=16"))
    assert found["test_loss"] < 0.1


def test_a_new_container_and_its_test(project: Path) -> None:
    """What `new` writes runs, and so does the test that it writes."""
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "runner.py"), "new", "FreshModel"],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "wrote containers/fresh_model.py" in done.stdout
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout
    assert " passed" in tested.stdout
