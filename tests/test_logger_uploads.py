"""Pictures and reports in real event files of TensorBoard, on a real MLflow server, and in W&B's offline folder."""

import importlib.util
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger

from runner import run
from runner.logger_uploads import MOST_PICTURES, pictures_of, upload
from runner.metrics_file import MetricsFile
from runner.run_folder import RunFolder
from runner.run_seal import check_run
from runner.run_state import Run
from runner.saliency.storage import SaliencyFolder
from tests import mlflow_samples
from tests.saliency_samples import Sample, make_run

CONTAINERS = Path(__file__).parent / "containers"
NUM_IMAGES = 3

needs_mlflow = pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed")
needs_wandb = pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")


def pixels(value: int) -> np.ndarray[Any, Any]:
    return np.full((4, 6, 3), (value, 20, 30), dtype=np.uint8)


def made_run(path: Path, num_images: int = NUM_IMAGES) -> Run:
    """Return a run that has made pictures, each of its own colour, and a report."""
    made = make_run(path, Sample())
    saliency = SaliencyFolder(made.folder.saliency)
    saliency.overlays.mkdir(parents=True)
    Image.fromarray(pixels(255)).save(saliency.contact_sheet)
    for index in range(num_images):
        Image.fromarray(pixels(index)).save(saliency.overlay_file(10 * index))
    made.folder.add_results("train", {"metrics": {}, "steps": 7})
    return made


# --- which pictures -----------------------------------------------------------------------------------------------


def test_pictures_are_named_by_their_image(tmp_path: Path) -> None:
    """The index is that of the data set, not of the list."""
    found = pictures_of(made_run(tmp_path).folder)
    assert list(found) == ["contact_sheet", "000000", "000010", "000020"]


def test_of_many_pictures_some_are_sent(tmp_path: Path) -> None:
    """Evenly spread, the first and the last among them."""
    made = made_run(tmp_path, num_images=MOST_PICTURES + 36)
    names = list(pictures_of(made.folder))[1:]
    assert len(names) == MOST_PICTURES
    assert (names[0], names[-1]) == ("000000", "000990")


def test_a_run_without_pictures_sends_nothing(tmp_path: Path) -> None:
    """Not even an empty event file."""
    made = make_run(tmp_path, Sample())
    made.loggers = [TensorBoardLogger(tmp_path, name="tensorboard", version="")]
    upload(made)
    assert not (tmp_path / "tensorboard").exists()


# --- TensorBoard --------------------------------------------------------------------------------------------------


def test_tensorboard_has_the_pictures(tmp_path: Path) -> None:
    """One tag per image, at the step at which training ended, with the pixels of the file; beside the metrics."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    made = made_run(tmp_path)
    logger = TensorBoardLogger(tmp_path, name="tensorboard", version="")
    logger.log_metrics({"test_acc": 0.9}, 7)
    logger.finalize("success")
    made.loggers = [MetricsFile(made.folder.metrics), logger, CSVLogger(tmp_path)]
    upload(made)
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0}).Reload()
    tags = ["saliency/contact_sheet", "saliency/000000", "saliency/000010", "saliency/000020"]
    assert set(events.Tags()["images"]) == set(tags)
    assert events.Tags()["scalars"] == ["test_acc"]
    for tag, value in zip(tags, (255, 0, 1, 2), strict=True):
        [event] = events.Images(tag)
        assert event.step == 7
        picture = tmp_path / "picture.png"
        picture.write_bytes(event.encoded_image_string)
        np.testing.assert_array_equal(np.asarray(Image.open(picture)), pixels(value))


def test_a_logger_that_fails_is_a_warning_and_the_others_get_theirs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file stands where TensorBoard wants its folder."""
    made = made_run(tmp_path)
    (tmp_path / "file").touch()
    broken = TensorBoardLogger(tmp_path / "file", name="tensorboard", version="")
    made.loggers = [broken, TensorBoardLogger(tmp_path, name="tensorboard", version="")]
    upload(made)
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert warnings[0].startswith("TensorBoardLogger did not take the pictures and the report of the run: ")
    assert list((tmp_path / "tensorboard").glob("events.*"))


# --- MLflow -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that all tests here share."""
    with mlflow_samples.mlflow_server(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


@needs_mlflow
def test_an_mlflow_server_has_the_artifacts(mlflow_server: str, tmp_path: Path) -> None:
    """In the run of the same name: a picture per image, and the report."""
    from mlflow.tracking import MlflowClient

    made = made_run(tmp_path)
    made.loggers = [MLFlowLogger("Pictures", run_name="2026_Sample", tracking_uri=mlflow_server)]
    upload(made)
    client = MlflowClient(mlflow_server)
    experiment = client.get_experiment_by_name("Pictures")
    assert experiment is not None
    [theirs] = client.search_runs([experiment.experiment_id])
    assert theirs.info.run_name == "2026_Sample"
    found = {each.path for each in client.list_artifacts(theirs.info.run_id, "saliency")}
    names = ("contact_sheet", "000000", "000010", "000020")
    assert found == {f"saliency/{name}.png" for name in names}
    (tmp_path / "copy").mkdir()
    report, picture = (
        client.download_artifacts(theirs.info.run_id, name, str(tmp_path / "copy"))
        for name in ("report.html", "saliency/000010.png")
    )
    assert f" {tmp_path.name}</title>" in Path(report).read_text()
    np.testing.assert_array_equal(np.asarray(Image.open(picture)), pixels(1))


# --- whole runs ---------------------------------------------------------------------------------------------------


@needs_mlflow
@needs_wandb
def test_a_run_sends_what_it_has_drawn(mlflow_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To all three; W&B's run ends with its run, so that the next run has a run of its own; the digests hold."""
    import wandb
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB__SERVICE_WAIT", "300")  # its process may be slow to start
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    settings: dict[str, Any] = {
        "containers": CONTAINERS, "output_to": tmp_path, "quiet": True, "num_epochs": 1, "saliency_limit": 2,
    }  # fmt: skip
    first = run("Tiny", logger=["tensorboard", "mlflow", "wandb"], **settings)
    second = run("Tiny", logger=["wandb", "mlflow"], train=False, src_checkpoint=first.folder, **settings)
    assert wandb.run is None
    for result in (first, second):
        [theirs] = (result.folder / "wandb").glob("offline-run-*")
        assert len(list(theirs.glob("files/media/images/saliency/*.png"))) == 3
        assert check_run(RunFolder(result.folder)).is_whole
    client = MlflowClient(mlflow_server)
    experiment = client.get_experiment_by_name("Tiny")
    assert experiment is not None
    runs = {each.info.run_name: each.info.run_id for each in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {first.folder.name, second.folder.name}
    for run_id in runs.values():
        assert len(client.list_artifacts(run_id, "saliency")) == 3
    assert "test_acc" in client.get_run(runs[second.folder.name]).data.metrics


@needs_wandb
def test_wandb_has_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an artifact of the run, which ends as failed when the folder is sealed while an exception flies."""
    import wandb
    from pytorch_lightning.loggers import WandbLogger

    from runner.reports.page import report_and_seal

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB__SERVICE_WAIT", "300")  # its process may be slow to start
    made = made_run(tmp_path)
    made.loggers = [WandbLogger(name="x", save_dir=tmp_path, project="p")]
    with pytest.raises(ValueError, match="stop"):  # noqa: PT012 - what runs in the block is the test
        try:
            upload(made)
            raise ValueError("stop")
        finally:
            report_and_seal(made.folder)
    assert wandb.run is None
    [record] = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    assert b"report.html" in record.read_bytes()
