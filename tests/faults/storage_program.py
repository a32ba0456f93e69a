"""Everything a run and a sweep write to disk, without torch, and resumable: for faults at each of its system calls."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from runner.atomic_files import link_or_copy, write_json, write_text
from runner.checkpoint_files import check_checkpoint_file, write_checkpoint_file
from runner.errors import CheckpointError
from runner.metrics_table import MetricsTable, drop_rows
from runner.run_folder import RunFolder
from runner.run_seal import check_run, seal_run, unseal_run
from runner.saliency.explanation import Explanation
from runner.saliency.storage import SaliencyFolder
from runner.status_file import StatusFile
from runner.sweep.dimensions import Dimension
from runner.sweep.plan import SweepPlan
from runner.sweep.space import SearchSpace
from runner.sweep.sweep_folder import Control, SweepFolder, sweeps_in
from runner.sweep.trials import Objective, Trial

EPOCHS, IMAGES = 3, 4
PLAN = SweepPlan(
    model="M", container_name="M", containers="/nowhere", namespace=None, code="c", fixed={},
    spaces=(SearchSpace((Dimension("x", values=("1", "2")),)),), sampler="grid", seed=0, num_trials=None,
    repeats=({},), objectives=(Objective("loss", "minimize"),), pruner=None,
)  # fmt: skip


def main(root: Path) -> None:
    """Go through a run and a sweep below *root*, or on with what is there."""
    folder = _run(root / "outputs")
    unseal_run(folder)
    status = StatusFile(folder, "M")
    if "train" not in status.phases:
        _train(folder, status)
        folder.add_results("train", {"metrics": {"loss": 0.5}})
        status.phase_completed("train", 1.0, None)
    if "saliency" not in status.phases:
        _explain(folder)
        folder.add_results("saliency", {"metrics": {"num_images": IMAGES}})
        status.phase_completed("saliency", 1.0, None)
    status.update(state="completed")
    seal_run(folder)
    folder.unlock()
    _sweep(root)


def _run(outputs: Path) -> RunFolder:
    for path in sorted(outputs.glob("2*")):
        if RunFolder(path).can_resume:
            return RunFolder.open(path)
    folder = RunFolder.create(outputs, "M")
    write_text(folder.config, "num_epochs: 3\n")
    return folder


def _train(folder: RunFolder, status: StatusFile) -> None:
    epoch = 0
    for path in (folder.last_checkpoint, folder.previous_checkpoint):
        try:
            check_checkpoint_file(path)
        except (FileNotFoundError, CheckpointError):
            continue
        with np.load(path) as content:
            epoch = int(content["epoch"]) + 1
        break
    drop_rows(folder.metrics, epoch)
    metrics = MetricsTable(folder.metrics)
    for each in range(epoch, EPOCHS):
        metrics.add({"epoch": each, "loss": 1 / (each + 1)}, step=each)
        if each == 1:
            metrics.add({"epoch": each, "extra": 3.0}, step=each)
        metrics.save()
        if folder.last_checkpoint.is_file():
            link_or_copy(folder.last_checkpoint, folder.previous_checkpoint)
        weights = np.random.default_rng(each).random(500)
        write_checkpoint_file(folder.last_checkpoint, lambda file, e=each, w=weights: np.savez(file, epoch=e, w=w))  # type: ignore[misc]
        status.update(epochs_finished=each + 1)
        link_or_copy(folder.last_checkpoint, folder.best_checkpoint)
    link_or_copy(folder.last_checkpoint, folder.best_checkpoint)
    folder.previous_checkpoint.unlink(missing_ok=True)


def _explain(folder: RunFolder) -> None:
    store = SaliencyFolder(folder.saliency, shard_size=2)
    done = store.open({"method": "rise"})
    for index in sorted(set(range(IMAGES)) - done):
        image = np.full((1, 3, 3), index, np.float32)
        maps = np.full((1, 3, 3), index / IMAGES, np.float32)
        ones = np.ones(1, np.float32)
        explanation = Explanation(
            index=index, image=image, maps=maps, strength=ones, flags=np.array(["ok"]), targets=np.zeros(1, np.int64),
            scores=ones,
        )  # fmt: skip
        store.write(explanation)
    store.seal()


def _sweep(root: Path) -> None:
    outputs = root / "sweeping"
    found = sweeps_in(outputs)
    sweep = found[0] if found else SweepFolder.create(outputs, "M", PLAN.to_json(), Control())
    sweep.clean()
    if len(sweep.read_plans()) < 2:
        sweep.add_plan(PLAN.addition([SearchSpace((Dimension("x", values=("3",)),))]), 2)
    if sweep.read_control().priority != 4:
        sweep.change_control(priority=4, paused="")
    plan = SweepPlan.of(sweep)
    for number in sorted(set(range(plan.total)) - sweep.sealed().keys()):
        sweep.begin(number, number, plan.params(number), [])
        folder = RunFolder(sweep.point(number))
        assert folder.try_lock()
        folder.clean()
        write_json(sweep.attempts(number), {"attempts": 1})
        sweep.seal(Trial(number, number, "completed", plan.params(number), {"loss": float(number)}, (1.0,)), "c")
        folder.unlock()


def contents(root: Path) -> dict[str, object]:
    """Return what must be there in the end, and nothing that depends on the time."""
    [run] = [path for path in (root / "outputs").glob("2*") if (path / "status.json").is_file()]
    folder = RunFolder(run)
    assert check_run(folder).is_sealed
    assert check_run(folder).is_whole
    found: dict[str, object] = {}
    for path in [folder.config, folder.metrics, folder.results, *sorted(folder.saliency.rglob("*.npz"))]:
        found[path.relative_to(run).as_posix()] = path.read_bytes()
    for path in sorted(folder.checkpoints.iterdir()):
        with np.load(path) as content:
            found[path.name] = (int(content["epoch"]), content["w"].tobytes())
    found["rest"] = sorted(path.name for path in folder.path.rglob("*") if path.name.endswith((".tmp", ".part")))
    [sweep] = sweeps_in(root / "sweeping")
    results = {number: sweep.read_result(number, state) for number, state in sweep.sealed().items()}
    found["sweep"] = [
        (number, body["state"], body["params"], body["order"]) for number, body in sorted(results.items())
    ]
    found["control"], found["plans"] = sweep.read_control(), len(sweep.read_plans())
    found["sweep rest"] = [path.name for path in sweep.results.iterdir() if path.name.startswith(".0")]
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    os._exit(0)
