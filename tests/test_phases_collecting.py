"""What is collected while a model is tested: real Trainers on small models, files in a run folder."""

import csv
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from runner import InnerEyeInference
from runner.phases.collecting import shown_intervals
from runner.phases.inference import infer
from runner.phases.testing import test as run_test
from runner.run_folder import RunFolder
from runner.run_state import PhaseResult, Run
from tests.saliency_samples import Loaders, Sample

NUM_ITEMS = 10
FEATURES = torch.arange(NUM_ITEMS).reshape(-1, 1) / NUM_ITEMS
LABELS = (torch.arange(NUM_ITEMS) > 3).long()


class Model(LightningModule):
    """Class 1 where the number is above 0.45, so that one of ten items is wrong."""

    def __init__(self, returned: Callable[[list[Tensor], Tensor], Any]) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 2)
        with torch.no_grad():
            self.layer.weight[:] = torch.tensor([[-10.0], [10.0]])
            self.layer.bias[:] = torch.tensor([4.5, -4.5])
        self.returned = returned

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.layer(features)
        return logits


class Scored(Model):
    def test_step(self, batch: list[Tensor]) -> Any:
        logits = self(batch[0])
        self.log("test_acc", (logits.argmax(dim=1) == batch[1]).float().mean(), on_epoch=True, on_step=False)
        return self.returned(batch, logits)


class Predicting(Model):
    def predict_step(self, batch: list[Tensor]) -> Any:
        return self.returned(batch, self(batch[0]))


class Inferring(InnerEyeInference, Model):
    def get_inference_input(self, item: list[Tensor]) -> Tensor:
        return item[0]

    def inference_step(self, item: Any, batch_idx: int, model_output: Any) -> None:
        pass


class PredictData(LightningDataModule):
    def predict_dataloader(self) -> Any:
        return loader()


class WithHook(Sample):
    def get_predictions(self, batch: Any, output: Any) -> Mapping[str, Any] | None:
        if isinstance(output, Tensor):
            return {"logits": output, "labels": batch[1]}
        return output  # type: ignore[no-any-return]


def in_form(batch: list[Tensor], logits: Tensor) -> dict[str, Any]:
    return {
        "loss": logits.mean(),
        "logits": logits,
        "labels": batch[1],
        "ids": [f"item {x:.1f}" for x in batch[0][:, 0]],
    }


def loader() -> DataLoader[Any]:
    return DataLoader(TensorDataset(FEATURES, LABELS), batch_size=4)


def make_run(path: Path, model: LightningModule, data: Any = None, **values: Any) -> Run:
    container = values.pop("container", Sample)(**values)
    path.mkdir(exist_ok=True)
    return Run(container, RunFolder(path), model, data or Loaders(loader))


def table(run: Run) -> list[dict[str, str]]:
    with run.folder.predictions.open(newline="") as file:
        return list(csv.DictReader(file))


def evaluation(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.folder.evaluation.read_text())
    return found


def check_whole(run: Run, phase: str) -> None:
    rows = table(run)
    assert [int(row["index"]) for row in rows] == list(range(NUM_ITEMS))
    assert [int(row["label"]) for row in rows] == LABELS.tolist()
    assert [int(row["prediction"]) for row in rows] == [0] * 5 + [1] * 5
    expected = torch.sigmoid(20 * FEATURES[:, 0] - 9)
    assert [float(row["score_1"]) for row in rows] == pytest.approx(expected.tolist(), rel=1e-5)
    found = evaluation(run)
    assert (found["phase"], found["num_items"], found["confusion"]) == (phase, NUM_ITEMS, [[4, 0], [1, 5]])


def test_what_test_step_returns_is_collected(tmp_path: Path) -> None:
    """Every item once, in the order of the data; the interval stands under the name that the model logs."""
    run = make_run(tmp_path, Scored(in_form))
    result = run_test(run)
    check_whole(run, "test")
    assert [row["id"] for row in table(run)][:2] == ["item 0.0", "item 0.1"]
    interval = result.details["intervals"]["test_acc"]
    assert interval["value"] == pytest.approx(0.9)
    assert interval["low"] < 0.9 < interval["high"]
    assert result.metrics["test_acc"] == pytest.approx(0.9)


def test_a_container_can_say_it_for_its_model(tmp_path: Path) -> None:
    """For a test_step that returns something else."""
    run = make_run(tmp_path, Scored(lambda batch, logits: logits), container=WithHook)
    run_test(run)
    check_whole(run, "test")


def test_a_model_without_test_step_is_tested_by_its_predict_step(tmp_path: Path) -> None:
    """Where it gives scores and labels for the data to predict."""
    run = make_run(tmp_path, Predicting(in_form), PredictData())
    result = run_test(run)
    check_whole(run, "test")
    assert result.skipped is None
    assert result.details["num_items"] == NUM_ITEMS
    assert list(result.details["intervals"]) == ["accuracy"]


@pytest.mark.parametrize("data", [PredictData, lambda: Loaders(loader)])
def test_a_predict_step_without_labels_is_no_test(data: Callable[[], Any], tmp_path: Path) -> None:
    """It may be there for other reasons; the run says why there was no test."""
    result = run_test(make_run(tmp_path, Predicting(lambda batch, logits: logits), data()))
    assert result.skipped is not None
    assert result.skipped.startswith("the model has neither test_step nor")
    assert not list(tmp_path.iterdir())


def test_the_inference_of_inner_eye_is_collected(tmp_path: Path) -> None:
    """Of the test set only, from what forward returned and the container makes of it."""
    run = make_run(
        tmp_path, Inferring(in_form), container=WithHook, inference_on_val_set=True, inference_on_test_set=True
    )
    result = infer(run)
    check_whole(run, "inference")
    assert list(result.details["intervals"]) == ["accuracy"]


def test_measures_are_metrics_as_well(tmp_path: Path) -> None:
    """Beside those that the model logs, so that sweeps and conditions may name them."""
    result = run_test(make_run(tmp_path, Scored(in_form)))
    assert set(result.measures) == {"accuracy", "macro_f1", "auc", "ece"}
    assert result.measures["accuracy"] == pytest.approx(0.9)
    assert set(result.metrics) == {"test_acc"}


@pytest.mark.parametrize("odd", [Tensor.to_sparse, lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)])
def test_tensors_that_numpy_does_not_have(
    odd: Callable[[Tensor], Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Are told in a warning; the test itself is good."""
    run = make_run(tmp_path, Scored(lambda batch, logits: {"logits": odd(logits), "labels": batch[1]}))
    assert run_test(run).metrics["test_acc"] == pytest.approx(0.9)
    assert "predictions cannot be evaluated: batch 0: logits: " in caplog.text


def test_a_model_that_tells_no_class_apart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Is told, since its accuracy may look good."""
    same = torch.tensor([5.0, 0.0])
    answer = {"names": ["healthy", "ill"]}
    run = make_run(
        tmp_path, Scored(lambda batch, logits: answer | {"logits": same.expand_as(logits), "labels": batch[1]})
    )
    run_test(run)
    assert "every item is predicted as healthy" in caplog.text
    caplog.clear()
    run_test(make_run(tmp_path / "other", Scored(in_form)))
    assert "every item" not in caplog.text


def test_metrics_of_the_inference(tmp_path: Path) -> None:
    """What the model says after the last hook, as numbers."""

    class Measuring(Inferring):
        def get_inference_metrics(self) -> Mapping[str, Any]:
            return {"test_dice": torch.tensor(0.5)}

    assert infer(make_run(tmp_path, Measuring(in_form))).metrics == {"test_dice": 0.5}


def test_half_precision_and_regression(tmp_path: Path) -> None:
    """bfloat16, which NumPy does not have, is no hindrance."""
    run = make_run(
        tmp_path,
        Scored(lambda batch, logits: {"predictions": logits.bfloat16(), "targets": logits, "names": ["a", "b"]}),
    )
    run_test(run)
    assert evaluation(run)["outputs"] == ["a", "b"]
    assert list(table(run)[0]) == ["index", "id", "target_a", "prediction_a", "target_b", "prediction_b"]


@pytest.mark.parametrize(
    "returned",
    [
        lambda batch, logits: None,
        lambda batch, logits: logits.mean(),
        lambda batch, logits: {"loss": logits.mean()},
        lambda batch, logits: {"loss": logits.mean(), "logits": logits},
    ],
    ids=["none", "tensor", "loss", "no labels"],
)
def test_other_models_are_left_in_peace(
    returned: Callable[[list[Tensor], Tensor], Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is not meant for us is no reason to say anything; files of an earlier attempt go."""
    run = make_run(tmp_path, Scored(returned))
    run.folder.predictions.write_text("old")
    result = run_test(run)
    assert "intervals" not in result.details
    assert not list(tmp_path.iterdir())
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING and each.name.startswith("runner")]


def nan_in_second_batch(batch: list[Tensor], logits: Tensor) -> dict[str, Any]:
    return {"logits": logits / (batch[0].amin() - 0.4).clamp(max=0), "labels": batch[1]}


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (nan_in_second_batch, "batch 1: logits are not all finite"),
        (lambda batch, logits: {"logits": logits, "labels": batch[1] + 1}, "the label of item 4 is 2"),
        (lambda batch, logits: {"scores": logits, "labels": batch[1]}, "there are scores, labels"),
        (lambda batch, logits: in_form(batch, logits) if len(batch[0]) == 4 else None, "1 of 3 batches have none"),
    ],
    ids=["nan", "label", "scores", "some"],
)
def test_a_wrong_form_is_one_warning(
    returned: Callable[[list[Tensor], Tensor], Any], message: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And no reason to fail."""
    result = run_test(make_run(tmp_path, Scored(returned)))
    assert result.metrics["test_acc"] == pytest.approx(0.9)
    [warning] = [each for each in caplog.records if each.name == "runner.phases.collecting"]
    assert message in warning.getMessage()
    assert "docs/predictions.md" in warning.getMessage()
    assert not list(tmp_path.iterdir())


def test_a_hook_that_returns_no_mapping_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One that raises is the user's own mistake."""
    run_test(make_run(tmp_path, Scored(lambda batch, logits: [1]), container=WithHook))
    assert "batch 0: needed is a mapping, not a list" in caplog.text


def test_a_hook_that_raises_fails_the_test(tmp_path: Path) -> None:
    """Its exception comes through."""

    class Raising(Sample):
        def get_predictions(self, batch: Any, output: Any) -> Mapping[str, Any] | None:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run_test(make_run(tmp_path, Scored(in_form), container=Raising))


@pytest.mark.parametrize(
    ("metrics", "name"),
    [
        ({"test_loss": 0.9, "test_acc": 0.9000001}, "test_acc"),
        ({"test_acc": 0.8}, "accuracy"),
        ({"test_f1": 0.9}, "accuracy"),
        ({}, "accuracy"),
    ],
)
def test_the_interval_stands_under_the_name_of_the_same_number(metrics: dict[str, float], name: str) -> None:
    """A metric of another value, or about something else, is not the one."""
    found = {"main": "accuracy", "intervals": {"accuracy": {"value": 0.9, "low": 0.8, "high": 1.0, "level": 0.95}}}
    assert shown_intervals(found, metrics) == {"intervals": {name: {"value": 0.9, "low": 0.8, "high": 1.0}}}


def test_nothing_to_show() -> None:
    """Without an evaluation results.json is as before."""
    assert shown_intervals(None, {"test_acc": 0.9}) == {}
    assert PhaseResult().details == {}


def test_no_cell_is_a_formula(tmp_path: Path) -> None:
    """Spreadsheets would run what names of files and classes say."""
    run_test(
        make_run(
            tmp_path,
            Scored(lambda b, x: {"logits": x, "labels": b[1], "ids": ["=cmd()"] * len(x), "names": ["-a", "@b"]}),
        )
    )
    text = (tmp_path / "predictions.csv").read_text()
    assert text.startswith("index,id,label,prediction,score_-a,score_@b\n0,'=cmd(),'-a,'-a,")
