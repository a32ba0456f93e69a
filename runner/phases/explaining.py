"""Saliency: ``Trainer.predict`` with the trained model inside an ``Explainer``, then the table and the pictures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.utilities.combined_loader import CombinedLoader

from runner.phases.testing import has_loader
from runner.phases.weights import use_chosen_weights
from runner.run_state import PhaseResult, Run
from runner.saliency.data import open_items
from runner.saliency.explainer import Explainer
from runner.saliency.explanation import Explanation
from runner.saliency.failures import Failure, message_of
from runner.saliency.methods import describe_method
from runner.saliency.pictures import draw_contact_sheet, draw_overlay, full_color, overlay_places, save, sheet_places
from runner.saliency.progress import ProgressLines, explaining_progress
from runner.saliency.settings import map_settings
from runner.saliency.storage import SaliencyFolder, SavedMaps
from runner.saliency.summary import Summary
from runner.saliency.writer import BackgroundWriter
from runner.trainer import create_evaluation_trainer

log = logging.getLogger(__name__)

MAX_NAMED = 10
"""Images that the message about failures names; the record has them all."""


def explain(run: Run) -> PhaseResult:
    """Make the saliency maps that are still missing, then write the table and the pictures of all of them.

    Metrics are those of each image's main map (see ``Explanation.main``): ``mean_strength`` over the maps that are not
    flagged; where the truth is known, ``peak_in_truth`` and ``energy_in_truth`` over the images whose truth is not
    empty; the means of ``num_masks``, ``quality`` and each measure over the images that have them; and
    ``mean_pairwise_correlation``. ``num_flagged`` counts images with a map that is constant or not finite,
    ``num_failed`` those that could not be explained, with which the phase has failed after all else is done.
    ``fast_agreement`` is there with ``saliency_precision=fast``.

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
    folder = SaliencyFolder(run.folder.saliency, container.saliency_shard_size, container.saliency_dtype)
    title = describe_method(container)
    with explaining_progress(title, bar=container.enable_progress_bar) as progress:
        agreement = _make_missing_maps(run, folder, progress)
    saved, failures = SavedMaps(folder.path), folder.failures
    if not saved and not failures:
        return PhaseResult(skipped=f"there is no data to explain: {split}_dataloader gives nothing")
    metrics = _summarize(saved, folder, title, container.saliency_overlays, run.folder.read_classes())
    metrics["num_failed"] = len(failures)
    if agreement is not None:
        metrics["fast_agreement"] = agreement
    details = {"method": title, "split": split, "weights": run.weights_from}
    return PhaseResult(metrics, details, failed=_complaint(run, folder, failures) if failures else None)


def _make_missing_maps(run: Run, folder: SaliencyFolder, progress: ProgressLines) -> float | None:
    """Make them; return how well the first fast ones agree with exact ones, None where all are exact."""
    container = run.container
    trainer = create_evaluation_trainer(run, [])
    loaders = _loaders(run, trainer)
    done = folder.open(map_settings(container, run.model))

    def keep(explanation: Explanation) -> None:
        writer.put(folder.write, explanation)
        progress.count(explanation.num_masks)

    def fail(index: int, error: Exception) -> None:
        log.warning("saliency: image %d cannot be explained: %s: %s", index, type(error).__name__, message_of(error))
        writer.put(folder.write_failure, index, error)
        progress.count_failed()

    explainer = Explainer(container, run.model, run.inference_data, keep, fail)
    max_batches = trainer.limit_predict_batches
    with BackgroundWriter() as writer:
        for items in open_items(loaders, done, fail, max_items=container.saliency_limit, max_batches=max_batches):
            progress.expect(items)
            if items.num_missing != 0:
                explainer.items = items
                trainer.limit_predict_batches = items.batch_limit
                trainer.predict(explainer, items.batches, return_predictions=False)
    folder.seal()
    explainer.raise_if_all_failed()
    return explainer.fast_agreement


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


def _summarize(
    saved: SavedMaps, folder: SaliencyFolder, title: str, overlays: Any, names: Sequence[str]
) -> dict[str, float]:
    """Write index.csv and all pictures; return the metrics. One image is in memory at a time."""
    summary = Summary()
    folder.write_index(summary.watch(saved))
    full = full_color(summary.strengths)
    chosen = overlay_places(overlays, saved.indices)
    for place in chosen:
        save(draw_overlay(saved[place], full, names), folder.overlay_file(saved.indices[place]))
    folder.keep_overlays({saved.indices[place] for place in chosen})
    places = sheet_places(len(saved))
    shown = f"{len(places)} of {len(saved)} images, evenly spread" if len(places) < len(saved) else "all images"
    heading = f"Saliency  ·  {title}  ·  {shown}"
    save(draw_contact_sheet((saved[place] for place in places), full, heading, names), folder.contact_sheet)
    return summary.metrics()


def _complaint(run: Run, folder: SaliencyFolder, failures: Sequence[Failure]) -> str:
    named = ", ".join(str(each.index) for each in failures[:MAX_NAMED])
    if failures[MAX_NAMED:]:
        named += f" and {len(failures) - MAX_NAMED} more"
    return (
        f"saliency: {len(failures)} image{'s' if failures[1:] else ''} could not be explained: {named}. "
        f"Image {failures[0].index}: {failures[0]}\n"
        f"All of them are in {folder.failure_record}; --resume={run.folder.path} tries them again."
    )
