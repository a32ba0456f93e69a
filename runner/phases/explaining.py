"""Saliency: ``Trainer.predict`` with the trained model inside an ``Explainer``, then the table and the pictures."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.utilities.combined_loader import CombinedLoader

from runner.phases.testing import has_loader
from runner.phases.weights import use_chosen_weights
from runner.ranks import share_phase
from runner.run_state import PhaseResult, Run
from runner.saliency.data import open_items
from runner.saliency.explainer import Explainer
from runner.saliency.explanation import Explanation
from runner.saliency.failures import Failure, message_of
from runner.saliency.methods import describe_method
from runner.saliency.part import WHOLE, Part
from runner.saliency.part_tables import put_together, write_part_tables
from runner.saliency.pictures import draw_contact_sheet, draw_overlay, full_color, overlay_places, save, sheet_places
from runner.saliency.progress import ProgressLines, explaining_progress
from runner.saliency.settings import map_settings
from runner.saliency.storage import SaliencyFolder, SavedMaps
from runner.saliency.summary import Summary
from runner.saliency.writer import BackgroundWriter
from runner.trainer import create_evaluation_trainer, processes_per_machine

log = logging.getLogger(__name__)

SECONDS_BETWEEN_CHECKS = 1.0

MAX_NAMED = 10
"""Images that the message about failures names; the record has them all."""


def explain(run: Run) -> PhaseResult:
    """Make the saliency maps that are still missing, then write the table and the pictures of all of them.

    Where the run has several processes, each makes those of its part of the images, and the first does the rest. See
    :func:`finish_explaining` for what it returns.

    Raises:
        RunFailedError: the container's ``get_saliency_`` methods and parameters do not fit the data or the model.
    """
    skipped = reason_against_explaining(run)
    if skipped:
        _warn_of_settings_without_effect(run)
        return PhaseResult(skipped=skipped)
    per_machine = processes_per_machine(run.container)
    num_parts = per_machine * run.container.num_nodes
    if num_parts == 1:
        explain_part(run, WHOLE)
    else:
        part = Part(run.place.rank_among(per_machine), num_parts)
        share_phase(run, per_machine, "saliency", lambda check: explain_part(run, part, check))
    if not run.place.is_first:
        return PhaseResult(skipped="the first process puts the parts together")
    return finish_explaining(run, num_parts)


def _warn_of_settings_without_effect(run: Run) -> None:
    """Say it where everything about maps was asked for but a method."""
    container = run.container
    asked = [name for name, by in run.set_by.items() if name.startswith("saliency_") and by != "container"]
    # the record of a run sets all of them, most to what they are anyway
    asked = sorted(name for name in asked if getattr(container, name) != container.param[name].default)
    if container.saliency_method == "none" and asked:
        log.warning("%s: set, but without effect: saliency_method is none", ", ".join(asked))


def reason_against_explaining(run: Run) -> str | None:
    """Return why there is nothing to explain; None if there is."""
    split = run.container.saliency_split
    if run.container.saliency_method == "none":
        return "saliency_method is none"
    if not has_loader(split, run.model, run.inference_data):
        return f"there is no data to explain: {split}_dataloader is not defined"
    return None


def explain_part(run: Run, part: Part, check: Callable[[], None] = lambda: None) -> list[Failure]:
    """Make the maps of one part of the images that are still missing, and return which of them could not be made.

    Other processes may make other parts at the same time; nobody else may work in the run folder. Nothing is written
    but maps and, in a folder of the part's own, what :func:`finish_explaining` needs.

    Args:
        run: The run.
        part: Which of the images.
        check: Called now and then; raises where this process is to stop.

    Raises:
        RunFailedError: the container's ``get_saliency_`` methods and parameters do not fit the data or the model.
    """
    use_chosen_weights(run)
    folder, title = _folder(run, part), describe_method(run.container)
    if not part.is_whole:
        title += f"  part {part}"
    with explaining_progress(title, bar=run.container.enable_progress_bar) as progress:
        agreement = _make_missing_maps(run, folder, progress, check)
    if agreement is not None:
        folder.write_agreement(agreement)
    if not part.is_whole:
        write_part_tables(folder)
    return folder.failures


def finish_explaining(run: Run, num_parts: int) -> PhaseResult:
    """Take in what so many parts have recorded, and write the table and the pictures of all maps.

    Metrics are those of each image's main map (see ``Explanation.main``): ``mean_strength`` over the maps that are not
    flagged; where the truth is known, ``peak_in_truth`` and ``energy_in_truth`` over the images whose truth is not
    empty; the means of ``num_masks``, ``quality`` and each measure over the images that have them; and
    ``mean_pairwise_correlation``. ``num_flagged`` counts images with a map that is constant or not finite,
    ``num_failed`` those that could not be explained, with which the phase has failed after all else is done.
    ``fast_agreement`` is there with ``saliency_precision=fast``.
    """
    folder, title = _folder(run, WHOLE), describe_method(run.container)
    agreement = folder.merge(num_parts)
    saved, failures, split = SavedMaps(folder.path), folder.failures, run.container.saliency_split
    if not saved and not failures:
        return PhaseResult(skipped=f"there is no data to explain: {split}_dataloader gives nothing")
    metrics = _summarize(saved, folder, title, run.container.saliency_overlays, run.folder.read_classes())
    folder.forget_parts()
    metrics["num_failed"] = len(failures)
    if agreement is not None:
        metrics["fast_agreement"] = agreement
    details = {"method": title, "split": split, "weights": run.weights_from}
    return PhaseResult(metrics, details, failed=complaint(run, WHOLE, failures) if failures else None)


def _folder(run: Run, part: Part) -> SaliencyFolder:
    container = run.container
    return SaliencyFolder(run.folder.saliency, container.saliency_shard_size, container.saliency_dtype, part)


def _make_missing_maps(
    run: Run, folder: SaliencyFolder, progress: ProgressLines, check: Callable[[], None]
) -> float | None:
    """Make them; return how well the first fast ones agree with exact ones, None where all are exact."""
    container = run.container
    trainer = create_evaluation_trainer(run, [])
    loaders = _loaders(run, trainer)
    done = folder.open(map_settings(container, run.model))

    last_check = time.monotonic()

    def keep(explanation: Explanation) -> None:
        nonlocal last_check
        run.stop.stop_if_requested()
        if time.monotonic() - last_check > SECONDS_BETWEEN_CHECKS:
            last_check = time.monotonic()
            check()
        writer.put(folder.write, explanation)
        progress.count(explanation.num_masks)

    def fail(index: int, error: Exception) -> None:
        log.warning("saliency: image %d cannot be explained: %s: %s", index, type(error).__name__, message_of(error))
        writer.put(folder.write_failure, index, error)
        progress.count_failed()

    explainer = Explainer(container, run.model, run.inference_data, keep, fail)
    limits: dict[str, Any] = {"max_items": container.saliency_limit, "max_batches": trainer.limit_predict_batches}
    with BackgroundWriter() as writer:
        for items in open_items(loaders, done, fail, owns=folder.owns, **limits):
            progress.expect(items)
            if items.num_missing != 0:
                explainer.items = items
                trainer.limit_predict_batches = items.batch_limit
                trainer.predict(explainer, items.batches, return_predictions=False)
    folder.seal()
    if folder.part.is_whole:  # a part may be a few corrupt images by chance
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
    summary = put_together(folder, len(saved))
    if summary is None:
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


def complaint(run: Run, part: Part, failures: Sequence[Failure]) -> str:
    """Say which images could not be explained, why, and what to do."""
    named = ", ".join(str(each.index) for each in failures[:MAX_NAMED])
    if failures[MAX_NAMED:]:
        named += f" and {len(failures) - MAX_NAMED} more"
    return (
        f"saliency: {len(failures)} image{'s' if failures[1:] else ''} could not be explained: {named}. "
        f"Image {failures[0].index}: {failures[0]}\n"
        f"All of them are in {_folder(run, part).failure_record}; --resume={run.folder.path} tries them again."
    )
