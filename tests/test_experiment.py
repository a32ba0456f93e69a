"""Whole runs from Python: phases, folder, contract, resume. Real trainings of tiny models."""

import csv
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from runner import RunResult, run
from runner.errors import CheckpointError, ParameterError, RunFailedError, UsageError

CONTAINERS = Path(__file__).parent / "containers"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A clean working directory; sys.path as before afterwards."""
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path


def start(model: str | None = None, **values: Any) -> RunResult:
    values.setdefault("logger", [])
    return run(model, containers=CONTAINERS, quiet=True, **values)


def rows(result: RunResult) -> list[dict[str, str]]:
    with (result.folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def status(folder: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((folder / "status.json").read_text())
    return value


def weights(folder: Path, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / "checkpoints" / name, weights_only=True)["state_dict"]
    return state


def test_a_run_trains_and_tests(project: Path) -> None:
    """A run leaves the fixed files, a row of metrics per epoch, and says what it measured."""
    result = start("Plain", num_epochs=3)
    names = {path.name for path in result.folder.iterdir()}
    expected = {"config.yaml", "status.json", "metrics.csv", "results.json", "run.log", "environment.json"}
    assert expected | {"checkpoints", "test_step.txt"} <= names
    assert [row["epoch"] for row in rows(result)] == ["0", "1", "2"]
    assert result.metrics["test_loss"] == pytest.approx(result.metrics["val_loss"])
    assert result.phases == {"train": "completed", "test": "completed", "inference": "skipped", "saliency": "skipped"}
    assert status(result.folder)["state"] == "completed"
    assert json.loads((result.folder / "results.json").read_text())["test"]["num_items"] == 40
    assert result.folder.parent == project / "outputs"


def test_the_process_is_as_before_afterwards(project: Path) -> None:
    """Working directory, environment, signal handlers and torch's switches are given back, also after a failure."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    environment = dict(os.environ)
    with pytest.raises(ZeroDivisionError):
        start("FailsInTraining", deterministic=True)
    assert Path.cwd() == project
    assert dict(os.environ) == environment
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_failed_run_says_so_in_its_folder(project: Path) -> None:
    """status.json names the reason, run.log has the traceback."""
    with pytest.raises(ZeroDivisionError):
        start("FailsInTraining")
    folder = (project / "outputs" / "latest").resolve()
    assert status(folder)["state"] == "failed"
    assert status(folder)["phase"] == "train"
    assert "a bug in user code" in status(folder)["exit_reason"]
    assert "awkward.py" in (folder / "run.log").read_text()


def test_the_container_is_called_in_the_documented_order() -> None:
    """Hooks come in InnerEye's order, in the run folder from setup to create_report."""
    result = start("Recorder", num_epochs=1)
    assert (result.folder / "report.txt").read_text().splitlines() == [
        "init",
        "validate launch",
        "setup run",
        "create_model run",
        "get_data_module run",
        "global run",
        "local run",
        "all run",
        "create_report run",
    ]


def test_trainer_arguments_win_over_parameters() -> None:
    """What get_trainer_arguments returns beats the parameter of the same name."""
    result = start("Arguments", num_epochs=1, limit_train_batches=2)
    assert rows(result)[-1]["step"] == "2"


def test_an_unknown_trainer_argument_is_named() -> None:
    """An argument that the Trainer does not know is named, with the nearest that it knows."""
    with pytest.raises(UsageError, match=r"'limit_train_batchs'.*Did you mean limit_train_batches"):
        start("WrongArgument")


@pytest.mark.parametrize(("limit", "last_step"), [(1, "0"), (1.0, "4"), (0.4, "1")])
def test_counts_and_fractions_of_batches_differ(limit: float, last_step: str) -> None:
    """The int 1 is one batch, the float 1.0 all of them."""
    assert rows(start("Plain", num_epochs=1, limit_train_batches=limit))[-1]["step"] == last_step


def test_no_batches_means_none() -> None:
    """limit_val_batches=0 turns validation off."""
    result = start("Plain", num_epochs=1, limit_val_batches=0)
    assert "val_loss" not in result.metrics


@pytest.mark.parametrize("model", ["DictStream", "NothingButTraining", "NoTestData", "PathInHyperParameters"])
def test_awkward_models_run(model: str) -> None:
    """Dicts, data without length, no validation, no test data, hyper-parameters with paths: all go through."""
    result = start(model, num_epochs=2)
    assert result.phases["train"] == "completed"
    expected = "completed" if model in ("DictStream", "PathInHyperParameters") else "skipped"
    assert result.phases["test"] == expected


def test_inner_eye_inference_is_called_in_the_order_of_the_page() -> None:
    """Train, Val, Test as enabled, from the inference data module; it runs instead of test_step."""
    result = start("Inference", num_epochs=1, inference_on_train_set=True)
    calls = (result.folder / "inference.txt").read_text().splitlines()
    train = ["epoch_start Train", *(f"step {index} 8" for index in range(5)), "epoch_end"]
    test = ["epoch_start Test", "step 0 25", "step 1 15", "epoch_end"]
    assert calls == ["start", *train, *test, "end"]
    assert result.phases["test"] == "skipped"
    assert not (result.folder / "test_step.txt").exists()


@pytest.mark.parametrize(
    ("settings", "splits"),
    [
        ({}, ["Test"]),
        ({"inference_on_test_set": False, "inference_on_val_set": True}, ["Val"]),
        ({"number_of_cross_validation_splits": 3, "cross_validation_split_index": 1}, []),
    ],
)
def test_which_splits_inference_runs_on(settings: dict[str, Any], splits: list[str]) -> None:
    """By default the test set only, in a cross validation fold nothing; flags win."""
    result = start("Inference", num_epochs=1, **settings)
    file = result.folder / "inference.txt"
    calls = file.read_text().splitlines() if file.exists() else []
    assert [call.removeprefix("epoch_start ") for call in calls if call.startswith("epoch_start")] == splits


def test_fast_dev_run_goes_through_all_phases() -> None:
    """One batch of everything, to see that it works."""
    result = start("Plain", fast_dev_run=True)
    assert (result.phases["train"], result.phases["test"]) == ("completed", "completed")


@pytest.mark.parametrize("switch", [{"barebones": True}, {"enable_checkpointing": False}])
def test_runs_without_checkpoints_are_tested_with_the_weights_at_hand(switch: dict[str, Any]) -> None:
    """Where no checkpoint is written, the test uses the weights that training left."""
    result = start("Plain", num_epochs=1, **switch)
    assert "test_loss" in result.metrics
    assert list((result.folder / "checkpoints").iterdir()) == []


def test_the_same_seed_gives_the_same_bits() -> None:
    """Two runs with the same seed and --deterministic have equal weights; another seed does not."""
    one, two, other = (start("Plain", deterministic=True, random_seed=seed) for seed in (1, 1, 2))
    same = [torch.equal(value, weights(two.folder)[name]) for name, value in weights(one.folder).items()]
    assert all(same)
    assert any(not torch.equal(value, weights(other.folder)[name]) for name, value in weights(one.folder).items())


def test_a_run_from_its_own_config_is_the_same_run() -> None:
    """config.yaml of a run, given as --config, repeats it bit by bit."""
    first = start("Plain", l_rate=0.3, num_epochs=3, random_seed=7)
    again = run(config=first.folder / "config.yaml", containers=CONTAINERS, quiet=True)
    assert rows(first) == rows(again)


def test_weights_can_be_tested_without_training() -> None:
    """train=False with a file or a run folder gives the same test result as the run that trained."""
    trained = start("Plain")
    for source in ("outputs/latest", trained.folder, trained.folder / "checkpoints" / "best.ckpt"):
        tested = start("Plain", train=False, src_checkpoint=source)
        assert tested.metrics["test_loss"] == trained.metrics["test_loss"]
        assert tested.phases["train"] == "skipped"
        assert not (tested.folder / "metrics.csv").exists()


def test_training_can_start_from_weights() -> None:
    """load_weights_only begins with the weights and with epoch 0."""
    first = start("Plain", num_epochs=4)
    second = start("Plain", num_epochs=1, src_checkpoint=first.folder, load_weights_only=True)
    assert float(rows(second)[0]["val_loss"]) < float(rows(first)[0]["val_loss"])
    assert [row["epoch"] for row in rows(second)] == ["0"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train": False}, "say which with --src_checkpoint"),
        ({"src_checkpoint": "nowhere"}, "there is no file or run folder"),
        ({"load_weights_only": True}, "needs src_checkpoint"),
        ({"local_dataset": "nowhere"}, "local_dataset: there is no"),
        ({"regression_test_folder": "nowhere"}, "regression_test_folder: there is no"),
        ({"early_stopping_patience": 1}, "needs monitor"),
        ({"number_of_cross_validation_splits": 1}, "at least 2"),
        ({"cross_validation_split_index": 0}, "needs number_of_cross_validation_splits"),
        ({"num_epochs": 0}, "num_epochs=0"),
        ({"num_epoch": 1}, "Did you mean num_epochs"),
        pytest.param(
            {"logger": ["wandb"]},
            r"pip install 'lightcase\[wandb\]'",
            marks=pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed"),
        ),
        ({"min_l_rate": 1.0}, "must not be above l_rate"),
        ({"model_variant": "big"}, "no variants"),
    ],
)
def test_contradictions_are_refused_before_anything_happens(
    project: Path, values: dict[str, Any], message: str
) -> None:
    """What cannot work is refused with the reason, and no folder is made."""
    with pytest.raises(ParameterError, match=message):
        run("Plain", containers=CONTAINERS, quiet=True, **values)
    assert not (project / "outputs").exists()


def test_training_from_a_checkpoint_needs_to_say_how(project: Path) -> None:
    """src_checkpoint with training is refused, with the three things that may have been meant."""
    (project / "a.ckpt").touch()
    with pytest.raises(ParameterError, match=r"--load_weights_only.*--train=False.*--resume"):
        start("Plain", src_checkpoint="a.ckpt")


def test_a_checkpoint_that_would_run_code_is_refused(project: Path) -> None:
    """A pickle payload is not executed; the switch that would allow it is named, and allows it."""
    good = start("Plain")
    evil = torch.load(good.folder / "checkpoints" / "last.ckpt", weights_only=True) | {"extra": _Payload()}
    torch.save(evil, project / "evil.ckpt")
    with pytest.raises(CheckpointError, match="--trust_checkpoint"):
        start("Plain", train=False, src_checkpoint="evil.ckpt")
    assert not (project / "marker").exists()
    start("Plain", train=False, src_checkpoint="evil.ckpt", trust_checkpoint=True)
    assert (project / "marker").exists()


class _Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("marker").absolute(),)


def test_early_stopping_and_its_monitor() -> None:
    """Training ends when the monitored metric stops improving, and the result says so."""
    result = start("Plain", num_epochs=50, monitor="val_loss", early_stopping_patience=0, l_rate=0.0)
    details = json.loads((result.folder / "results.json").read_text())["train"]
    assert details["epochs"] < 50
    assert details["stopped_by"] == "early stopping"


def test_a_monitor_that_nobody_logs_is_named() -> None:
    """A misspelt monitor ends the run after its first epoch, with the nearest metric."""
    with pytest.raises(RunFailedError, match=r"monitor=val_los: .*Did you mean val_loss\?"):
        start("Plain", monitor="val_los")


def test_best_and_last_differ_when_the_loss_rises() -> None:
    """best.ckpt is the epoch with the least loss, not the last one."""
    result = start("Plain", num_epochs=3, monitor="val_loss", monitor_mode="max")
    best = torch.load(result.folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert (best["epoch"], torch.load(result.folder / "checkpoints" / "last.ckpt", weights_only=True)["epoch"]) == (
        0,
        2,
    )


def test_the_k_best_epochs_are_kept() -> None:
    """save_top_k keeps k files beside last.ckpt, and best.ckpt is the best of them."""
    result = start("Plain", num_epochs=5, save_top_k=2)
    names = sorted(path.name for path in (result.folder / "checkpoints").iterdir())
    assert len([name for name in names if name.startswith("epoch")]) == 2
    assert {"best.ckpt", "last.ckpt"} <= set(names)


def test_a_finished_run_is_left_as_it_is() -> None:
    """Resuming a run that is complete does nothing to its results."""
    result = start("Plain")
    before = {path: path.read_bytes() for path in result.folder.rglob("*.ckpt")}
    again = start(resume=result.folder)
    assert again.metrics == result.metrics
    assert {path: path.read_bytes() for path in result.folder.rglob("*.ckpt")} == before


def test_more_epochs_go_on_where_the_run_stopped() -> None:
    """Resuming with more epochs trains only the new ones, into the same metrics file, and tests again."""
    result = start("Plain", num_epochs=2)
    again = start(resume=result.folder, num_epochs=4)
    assert again.folder == result.folder
    assert [row["epoch"] for row in rows(again)] == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_epochs": 2}, "num_epochs=2 is not above the 2 epochs"),
        ({"model": "WithOptimizer"}, "is a run of Plain, not of WithOptimizer"),
    ],
)
def test_a_resume_that_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    """No epochs left, or another container: refused with the reason."""
    result = start("Plain", num_epochs=2)
    with pytest.raises(UsageError, match=message):
        start(resume=result.folder, **values)


def test_a_folder_that_is_no_run_cannot_be_resumed(project: Path) -> None:
    """A mistyped folder is said to be no run folder."""
    with pytest.raises(UsageError, match="is no run folder"):
        start(resume=project)


def test_metrics_of_a_class_given_directly() -> None:
    """run() takes a class as well as a name."""
    from runner.container_loader import find_container

    cls = find_container("Plain", CONTAINERS)
    assert "test_loss" in run(cls, num_epochs=1, quiet=True, logger=[]).metrics


def test_optimizer_settings_without_effect_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """A set learning rate that nothing reads gives a warning; one that is read does not."""
    start("Plain", num_epochs=1, l_rate=0.5)
    assert "l_rate (argument of run()): set, but without effect" in capsys.readouterr().err
    start("WithOptimizer", num_epochs=1, l_rate=0.5)
    assert "without effect" not in capsys.readouterr().err


def test_the_learning_rate_finder_sets_the_rate() -> None:
    """find_lr replaces l_rate before training, and the record says who did."""
    result = start("WithOptimizer", num_epochs=1, find_lr=True)
    assert "# Lightning's tuner" in (result.folder / "config.yaml").read_text()


def test_the_batch_size_finder_sets_the_size() -> None:
    """find_batch_size raises the data module's batch_size, so that an epoch has fewer steps."""
    before = rows(start("Sized", num_epochs=1))[-1]["step"]
    after = rows(start("Sized", num_epochs=1, find_batch_size=True))[-1]["step"]
    assert (before, after) == ("19", "0")


@pytest.mark.parametrize("content", ["same", "other", "none"])
def test_expected_files_are_compared(project: Path, content: str) -> None:
    """A run whose files differ from the expected ones fails; an expected folder without files is an error."""
    expected = project / "expected"
    expected.mkdir()
    if content != "none":
        text = rows_text(start("Plain"))
        (expected / "metrics.csv").write_text(text if content == "same" else text.replace("0,4", "0,5"))
    if content == "same":
        start("Plain", regression_test_folder=expected)
        return
    with pytest.raises((RunFailedError, UsageError), match=r"metrics\.csv" if content == "other" else "is empty"):
        start("Plain", regression_test_folder=expected)


def rows_text(result: RunResult) -> str:
    return (result.folder / "metrics.csv").read_text()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"max_steps": 1000},
        {"max_steps": 17},
        {"check_val_every_n_epoch": 2, "monitor": "val_loss"},
        {"val_check_interval": 3, "monitor": "val_loss"},
        {"val_check_interval": 0.4},
        {"autosave_every_n_val_epochs": 2},
        {"accumulate_grad_batches": 2, "fail_at_step": 5},
        {"save_top_k": 2},
        {"monitor": "train_loss"},
        {"l_rate_scheduler": "Cosine", "l_rate_warmup": "Linear", "l_rate_warmup_epochs": 2},
        {"optimizer_type": "SGD", "gradient_clip_val": 0.1},
    ],
)
def test_a_failed_run_goes_on_to_the_same_bits(project: Path, settings: dict[str, Any]) -> None:
    """However training, validation and checkpoints are scheduled, a resumed run ends as if it had never failed."""
    settings = {"fail_at_step": 13} | settings
    whole = {name: value for name, value in settings.items() if name != "fail_at_step"}
    step = settings["fail_at_step"]
    reference = start("Failing", fail_at_step=0, output_to="whole", **whole)
    with pytest.raises(RuntimeError, match="failing once"):
        start("Failing", fail_at_step=step, output_to="failed", **whole)
    again = start(resume="failed/latest")
    assert rows(again) == rows(reference)
    for name in ("last.ckpt", "best.ckpt"):
        for key, value in weights(reference.folder, name).items():
            assert torch.equal(value, weights(again.folder, name)[key])
    assert (
        json.loads((again.folder / "results.json").read_text())["train"]["steps"]
        == (json.loads((reference.folder / "results.json").read_text())["train"]["steps"])
    )


def test_a_run_that_stopped_early_stays_stopped() -> None:
    """A completed run is not trained on by a resume, however it came to its end."""
    for settings in ({"monitor": "val_loss", "early_stopping_patience": 0, "l_rate": 0.0}, {"max_steps": 6}):
        result = start("Plain", num_epochs=20, **settings)
        before = rows(result)
        assert rows(start(resume=result.folder)) == before


def test_a_random_split_is_the_same_in_every_phase_and_attempt() -> None:
    """A split drawn from the global generator is that of the training, also when only testing."""
    trained = start("RandomSplit", num_epochs=1)
    tested = start("RandomSplit", train=False, src_checkpoint=trained.folder)
    assert (trained.folder / "tested.txt").read_text() == (tested.folder / "tested.txt").read_text()


def test_callbacks_of_ones_own_do_not_get_in_the_way() -> None:
    """A ModelCheckpoint from get_callbacks works beside ours, and the test does without it."""
    result = start("OwnCallbacks", num_epochs=1)
    assert (result.folder / "mine" / "mine.ckpt").is_file()
    assert result.phases["test"] == "completed"


def test_numpy_numbers_in_a_checkpoint_do_not_keep_it_from_being_read() -> None:
    """What a model adds to its checkpoint may hold NumPy numbers."""
    assert start("StepMetric", num_epochs=1).phases["test"] == "completed"


def test_what_a_resume_may_change() -> None:
    """Saliency and inference settings reopen their phases; the optimizer's settings are refused."""
    result = start("Inference", num_epochs=1)
    (result.folder / "inference.txt").unlink()
    again = start(resume=result.folder, inference_on_val_set=True)
    assert "epoch_start Val" in (again.folder / "inference.txt").read_text()
    with pytest.raises(ParameterError, match=r"l_rate: the run in .* cannot change it"):
        start(resume=result.folder, l_rate=0.5)


def test_passwords_in_urls_are_not_kept() -> None:
    """A password in a URL is in no file of the run, and a resume asks for it again."""
    secret = f"canary{os.getpid()}"
    result = start("Plain", num_epochs=1, tag=f"--tokenizer=bert https://bob:{secret}@host/x")
    for file in result.folder.rglob("*"):
        assert not file.is_file() or secret.encode() not in file.read_bytes()
    with pytest.raises(ParameterError, match="tag: the record of the run does not keep passwords"):
        start(resume=result.folder)


def test_the_best_state_of_several_validations_in_an_epoch_is_kept() -> None:
    """best.ckpt has the weights whose validation gave the best score."""
    result = start("Plain", num_epochs=2, val_check_interval=3)
    details = json.loads((result.folder / "results.json").read_text())
    assert details["test"]["metrics"]["test_loss"] == pytest.approx(details["train"]["best"]["score"])


def test_the_profiler_and_tensorboard_write_into_the_run_folder() -> None:
    """What they write lies in the run folder and nowhere else."""
    result = start("Plain", num_epochs=1, profiler="simple", logger=["tensorboard"])
    assert list((result.folder / "profiler").iterdir())
    assert list((result.folder / "tensorboard").glob("events.*"))
