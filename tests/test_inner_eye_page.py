"""The examples of InnerEye's page run as printed, once their "..." are filled and their imports changed."""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner import RunResult, run
from runner.errors import ParameterError

CONTAINERS = Path(__file__).parent / "containers"


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data set in the working directory."""
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "numbers.txt").write_text(" ".join(str(number / 16) for number in range(48)))
    yield tmp_path / "data"
    sys.path[:] = path


def start(model: str, **values: Any) -> RunResult:
    return run(model, containers=CONTAINERS, quiet=True, logger=[], **values)


def test_the_first_example() -> None:
    """A container with local_dataset as a text and num_epochs in __init__; the command line moves the data."""
    result = start("MyContainer", local_dataset="data", num_epochs=3)
    assert result.metrics["test_loss"] < 1
    assert 'azure_dataset_id: "folder_name_in_azure' in (result.folder / "config.yaml").read_text()


def test_its_dataset_is_looked_for_before_anything_happens() -> None:
    """The folder of the example is not there: that is said at once."""
    with pytest.raises(ParameterError, match="local_dataset: there is no /some/local/path"):
        start("MyContainer")


def test_a_parameter_of_ones_own() -> None:
    """num_layers = param.Integer(default=4) can be set to 7."""
    result = start("DummyContainerWithParameters", local_dataset="data", num_epochs=1, num_layers=7)
    assert (result.folder / "layers.txt").read_text() == "7"


def test_trainer_arguments() -> None:
    """gradient_clip_val and limit_train_batches reach the Trainer."""
    result = start("Container1", local_dataset="data", num_epochs=1)
    assert result.phases["train"] == "completed"
    results = (result.folder / "results.json").read_text()
    assert '"steps": 10' in results


def test_the_learning_rate_of_the_optimizer() -> None:
    """--l_rate=1e-2 reaches the optimizer of a LightningModuleWithOptimizer."""
    result = start("ContainerWithOptimizer", local_dataset="data", num_epochs=2, l_rate="1e-2", log_every_n_steps=1)
    with (result.folder / "metrics.csv").open() as file:
        rates = [float(row["l_rate"]) for row in csv.DictReader(file) if row["l_rate"]]
    assert rates[0] == pytest.approx(1e-2)


def test_inference_gets_the_item_itself() -> None:
    """forward gets the whole item, as on the page."""
    result = start("ContainerWithInference", local_dataset="data", num_epochs=1)
    assert (result.folder / "inference.txt").read_text() == "done"
    assert result.phases["inference"] == "completed"
