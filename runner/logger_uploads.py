"""Sends what a run has drawn to the loggers that the user chose: TensorBoard, MLflow and Weights & Biases."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from pytorch_lightning.loggers import MLFlowLogger, TensorBoardLogger, WandbLogger

from runner.environment import redact
from runner.reports.page import report_page
from runner.run_folder import RunFolder
from runner.run_seal import digests_of
from runner.saliency.storage import SaliencyFolder

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

    from runner.run_state import Run

log = logging.getLogger(__name__)

MOST_PICTURES = 64
"""Of single images; of more, some that are evenly spread over the data set."""


def upload(run: Run) -> None:
    """Send the contact sheet, pictures of single saliency maps and report.html, where they are there.

    A picture is tagged with its image's index in the data set, in the logger's own run. TensorBoard gets the pictures
    only, other loggers than these three nothing. The report is that of this moment; the one in the folder comes after.
    What a logger raises is a warning: the files are in the run folder.
    """
    pictures, step = pictures_of(run.folder), int(run.folder.read_results().get("train", {}).get("steps", 0))
    with tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=run.folder.path) as scratch:
        report = Path(scratch, run.folder.report.name)
        for logger in run.loggers:
            try:
                if isinstance(logger, MLFlowLogger | WandbLogger) and not report.exists():
                    report.write_text(report_page(run.folder, digests_of(run.folder)), encoding="utf-8")
                _send(logger, pictures, report, step, run.folder.path.name)
            except Exception as error:  # whatever a server, a disk or another version of a package makes of it
                name, said = type(logger).__name__, redact(str(error))  # which may hold an address with its password
                log.warning("%s did not take the pictures and the report of the run: %s", name, said)


def pictures_of(folder: RunFolder) -> dict[str, Path]:
    """Return the pictures to send: ``contact_sheet``, and the index of each image with six digits."""
    saliency = SaliencyFolder(folder.saliency)
    overlays = sorted(path for path in saliency.overlays.glob("*.png") if path.stem.isdigit())
    places = np.unique(np.linspace(0, len(overlays) - 1, min(len(overlays), MOST_PICTURES)).round().astype(int))
    found = [saliency.contact_sheet, *(overlays[place] for place in places)]
    return {path.stem: path for path in found if path.is_file()}


def _send(logger: Logger, pictures: dict[str, Path], report: Path, step: int, name: str) -> None:
    if isinstance(logger, TensorBoardLogger) and pictures:
        for tag, path in pictures.items():
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            logger.experiment.add_image(f"saliency/{tag}", pixels, step, dataformats="HWC")
        logger.experiment.close()
    elif isinstance(logger, MLFlowLogger):
        for path in pictures.values():
            logger.experiment.log_artifact(logger.run_id, str(path), "saliency")
        logger.experiment.log_artifact(logger.run_id, str(report))
    elif isinstance(logger, WandbLogger):
        _send_to_wandb(logger, pictures, report, step, name)


def _send_to_wandb(logger: WandbLogger, pictures: dict[str, Path], report: Path, step: int, name: str) -> None:
    import wandb

    sheet = {tag: path for tag, path in pictures.items() if not tag.isdigit()}
    single = {tag: path for tag, path in pictures.items() if tag.isdigit()}
    for key, chosen in {"saliency/contact_sheet": sheet, "saliency/images": single}.items():
        if chosen:
            captions = [f"{name} {tag}" for tag in chosen]
            logger.log_image(key, [str(path) for path in chosen.values()], step, caption=captions)
    artifact = wandb.Artifact(f"report-{logger.experiment.id}", type="report")
    artifact.add_file(str(report))
    logger.experiment.log_artifact(artifact)
