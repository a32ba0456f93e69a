"""Saliency: ``Trainer.predict`` with the trained model inside an ``Explainer``, then the table and the pictures."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
from pytorch_lightning import Trainer
from pytorch_lightning.utilities.combined_loader import CombinedLoader

from runner.phases.testing import has_loader
from runner.phases.weights import use_chosen_weights
from runner.progress import format_seconds
from runner.run_state import PhaseResult, Run
from runner.saliency.data import Items, open_items
from runner.saliency.explainer import Explainer
from runner.saliency.explanation import Explanation
from runner.saliency.methods import describe_method
from runner.saliency.pictures import draw_contact_sheet, draw_overlay, full_color, save, sheet_places
from runner.saliency.settings import map_settings
from runner.saliency.storage import SaliencyFolder, SavedMaps
from runner.trainer import create_evaluation_trainer

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 5.0


def explain(run: Run) -> PhaseResult:
    """Make the saliency maps that are still missing, then write the table and the pictures of all of them.

    Metrics are those of each image's main map (see ``Explanation.main``): ``mean_strength`` over the maps that are not
    flagged; where the truth is known, ``peak_in_truth`` and ``energy_in_truth`` over the images whose truth is not
    empty. ``num_flagged`` counts images with a map that is constant or not finite.

    Raises:
        RunFailedError: the container's ``get_saliency_`` methods and parameters do not fit the data or the model.
    """
    container = run.container
    if container.saliency_method == "none":
        return PhaseResult(skipped="saliency_method is none")
    split = container.saliency_split
    if not has_loader(split, run.model, run.inference_data):
        return PhaseResult(skipped=f"there is no data to explain: {split}_dataloader is not defined")
    use_chosen_weights(run)
    folder = SaliencyFolder(run.folder.saliency)
    title = describe_method(container)
    _make_missing_maps(run, folder, _Progress(title))
    saved = SavedMaps(folder.path)
    if not saved:
        return PhaseResult(skipped=f"there is no data to explain: {split}_dataloader gives nothing")
    metrics = _summarize(saved, folder, title)
    return PhaseResult(metrics, {"method": title, "split": split, "weights": run.weights_from})


def _make_missing_maps(run: Run, folder: SaliencyFolder, progress: _Progress) -> None:
    container = run.container
    trainer = create_evaluation_trainer(run, [])
    loaders = _loaders(run, trainer)
    done = folder.open(map_settings(container, run.model))

    def keep(explanation: Explanation) -> None:
        folder.write(explanation)
        progress.count()

    def refuse(index: int, error: Exception) -> None:
        raise error

    explainer = Explainer(container, run.model, run.inference_data, keep, refuse)
    max_batches = trainer.limit_predict_batches
    for items in open_items(loaders, done, max_items=container.saliency_limit, max_batches=max_batches):
        progress.expect(items)
        if items.num_missing != 0:
            explainer.items = items
            trainer.limit_predict_batches = items.batch_limit
            trainer.predict(explainer, items.batches, return_predictions=False)
    progress.end()


def _loaders(run: Run, trainer: Trainer) -> list[Any]:
    """Return the loaders of the split, after the data module's ``prepare_data`` and ``setup``."""
    data, split = run.inference_data, run.container.saliency_split
    source: Any = run.model if data is None else data
    source.trainer = trainer
    if data is not None:
        data.prepare_data()
        data.setup("test" if split == "test" else "fit")
    loaders = getattr(source, f"{split}_dataloader")()
    if loaders is None:
        return []
    combined = loaders if isinstance(loaders, CombinedLoader) else CombinedLoader(loaders)
    return list(combined.flattened)


def _summarize(saved: SavedMaps, folder: SaliencyFolder, title: str) -> dict[str, float]:
    """Write index.csv and all pictures; return the metrics. One image is in memory at a time."""
    rows: list[dict[str, Any]] = []
    strengths: list[float] = []
    main: dict[str, list[float]] = {"mean_strength": [], "peak_in_truth": [], "energy_in_truth": []}
    num_flagged = 0
    for explanation in saved:
        rows += folder.index_rows(explanation)
        flagged = [explanation.is_flagged(place) for place in range(len(explanation.targets))]
        usable = explanation.strength[~np.array(flagged)]
        strengths += usable.tolist()
        num_flagged += any(flagged)
        place = explanation.main
        peak, energy = explanation.peak_in_truth(place), explanation.energy_in_truth(place)
        if not flagged[place]:
            main["mean_strength"].append(float(explanation.strength[place]))
        if peak is not None and energy is not None:
            main["peak_in_truth"].append(peak)
            main["energy_in_truth"].append(energy)
    folder.write_index(rows)
    _draw(saved, folder, full_color(strengths), title)
    means = {name: float(np.mean(values)) for name, values in main.items() if values}
    return {"num_images": len(saved), "num_flagged": num_flagged} | means


def _draw(saved: SavedMaps, folder: SaliencyFolder, full: float, title: str) -> None:
    for explanation in saved:
        save(draw_overlay(explanation, full), folder.overlay_file(explanation.index))
    places = sheet_places(len(saved))
    shown = f"{len(places)} of {len(saved)} images, evenly spread" if len(places) < len(saved) else "all images"
    sheet = draw_contact_sheet([saved[place] for place in places], full, f"Saliency  ·  {title}  ·  {shown}")
    save(sheet, folder.contact_sheet)


class _Progress:
    """Logs how far the phase is, with the time left, a line every few seconds and one at the end."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._total: int | None = 0
        self._num_before = 0
        self._num_made = 0
        self._start = self._last_line = time.monotonic()

    def expect(self, items: Items) -> None:
        """Add the images of another loader; their number may be unknown."""
        if items.total is None or items.num_missing is None or self._total is None:
            self._total = None
            return
        self._total += items.total
        self._num_before += items.total - items.num_missing

    def count(self) -> None:
        """Count one image that was explained."""
        self._num_made += 1
        now = time.monotonic()
        if now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            left = None if self._total is None else self._total - self._num_before - self._num_made
            seconds = None if left is None else left / self._rate(now)
            self._say(now, "" if seconds is None else f"  {format_seconds(seconds)} left")

    def end(self) -> None:
        """Say how it ended."""
        now = time.monotonic()
        self._say(now, f"  {format_seconds(now - self._start)}")

    def _say(self, now: float, rest: str) -> None:
        num_done = self._num_before + self._num_made
        count = f"{num_done}/{self._total}" if self._total is not None else f"{num_done}"
        rate = f"  {self._rate(now):.1f} images/s" if self._num_made else ""
        log.info("saliency %s  %s%s%s", count, self._title, rate, rest)

    def _rate(self, now: float) -> float:
        return self._num_made / max(now - self._start, 1e-9)
